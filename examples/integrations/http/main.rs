//! An HTTP service on hyper: a goroutine per connection, time-outs for slow clients, and a graceful
//! shutdown by a signal.
//!
//! Without arguments it runs its own clients, and ends.
//! `… --example http -- --serve 127.0.0.1:8080` serves until Ctrl-C.

mod client;
mod limits;
mod server;
mod slow;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, process};

use client::Client;
use gopark::chan::{self, Receiver, Sender};
use gopark::context::{CancelFunc, Context};
use gopark::signal::{Signal, notify_context};
use gopark::{OnPanic, Runtime, go, unblock};
use hyper::body::Incoming;
use hyper::{Request, Response};
use server::Server;

const PATIENCE: Duration = Duration::from_secs(10);
const CLIENTS: usize = 8;

/// The handler: `/slow` reports that it has begun, and answers when it may; `/bug` panics.
#[derive(Clone)]
struct Service {
    accepted: Arc<AtomicUsize>,
    begun: Sender<()>,
    may_end: Receiver<()>,
}

impl Service {
    async fn handle(self, request: Request<Incoming>) -> Response<String> {
        let path = request.uri().path();
        assert!(path != "/bug", "the bug");
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if path == "/slow" {
            self.begun.send(()).await.expect("main receives as many");
            self.may_end.recv().await;
        }
        Response::new(format!("this is {path}"))
    }
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Go's server recovers from a panic of a handler; here the runtime does.
    let rt = Runtime::builder().on_panic(OnPanic::Isolate).build()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => rt.block_on(async {
            demo().await?;
            slow::demo().await
        }),
        ["--serve", addr] => {
            rt.block_on(serve_until_ctrl_c(addr.parse().map_err(io::Error::other)?))
        }
        _ => Err(io::Error::other("usage: [--serve ADDR]")),
    }
}

async fn serve_until_ctrl_c(addr: SocketAddr) -> io::Result<()> {
    let (ctx, _stop) = notify_context(&Context::background(), &[Signal::INT, Signal::TERM]);
    let server =
        Server::start(ctx, addr, PATIENCE, |_| async { Response::new("hello, world".to_owned()) })
            .await?;
    println!("http://{}/", server.addr);
    let draining = server.closed().await;
    println!("finishing what has begun");
    let in_time = draining.drained(PATIENCE).await;
    println!("{}", if in_time { "bye" } else { "some took too long" });
    Ok(())
}

async fn demo() -> io::Result<()> {
    let ((begun, begins), (end, may_end)) = (chan::unbuffered(), chan::unbuffered());
    let (ctx, stop) = notify_context(&Context::background(), &[Signal::INT]);
    let accepted = Arc::new(AtomicUsize::new(0));
    let service = Service { accepted: accepted.clone(), begun, may_end };
    let handler = move |request| service.clone().handle(request);
    let server = Server::start(ctx, ([127, 0, 0, 1], 0).into(), PATIENCE, handler).await?;
    let addr = server.addr;

    // Some hundred requests, on persistent connections.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            go(async move {
                let mut client = Client::connect(addr).await?;
                for n in 0..50 {
                    assert_eq!(ask(&mut client, &format!("/{n}")).await?, 1);
                }
                io::Result::Ok(client)
            })
        })
        .collect();
    // Meanwhile one request panics the handler. It gets no answer; all others do.
    assert_eq!(ask(&mut Client::connect(addr).await?, "/bug").await?, 0);
    let (mut connected, mut answered) = (Vec::new(), CLIENTS * 50);
    for client in clients {
        connected.push(client.await.expect("does not panic")?);
    }
    println!("{answered} requests answered on {CLIENTS} connections");

    // At the shutdown, half of the clients wait for an answer and the others are idle.
    let mut idle = connected.split_off(CLIENTS / 2);
    let slow: Vec<_> = connected
        .into_iter()
        .map(|mut client| {
            go(async move {
                assert_eq!(ask(&mut client, "/slow").await?, 1);
                ask(&mut client, "/late").await
            })
        })
        .collect();
    for _ in &slow {
        begins.recv().await.expect("they begin");
    }
    interrupt(&stop).await;
    let draining = server.closed().await;
    assert!(
        Client::connect(addr)
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    );
    // A request at this moment may get an answer or none, but never a part of one.
    for client in &mut idle {
        answered += ask(client, "/late").await?;
    }
    end.close();
    for late in slow {
        answered += 1 + late.await.expect("does not panic")?;
    }
    assert!(draining.drained(PATIENCE).await);
    println!("shut down: {answered} requests accepted and answered, new connections are refused");
    assert_eq!(answered, accepted.load(Ordering::Relaxed));
    Ok(())
}

/// Shuts down as Ctrl-C does, or by hand where there are no signals.
async fn interrupt(stop: &CancelFunc) {
    let kill = || process::Command::new("kill").args(["-INT", &process::id().to_string()]).status();
    if !unblock(kill).await.is_ok_and(|status| status.success()) {
        stop.cancel();
    }
}

/// Returns the number of complete answers: one, or none if the connection is closed.
async fn ask(client: &mut Client, path: &str) -> io::Result<usize> {
    let answer = client.get(path).await?;
    assert!(answer.as_ref().is_none_or(|answer| *answer == format!("this is {path}")));
    Ok(usize::from(answer.is_some()))
}
