//! A server, and the latency of its requests.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gopark::context::Context;
use gopark::net::{TcpListener, TcpStream};
use gopark::sync::WaitGroup;
use gopark::{JoinSet, block_on, go};

use crate::page::{grouped, heading, text};

const CLIENTS: usize = 50;
const REQUESTS: usize = 10_000;

pub(crate) fn chapter() {
    heading(
        "A server",
        "Each connection has a goroutine, which reads requests and answers them. A context ends the server. A goroutine that\n\
         waits for its socket is parked, and its worker runs others. An idle worker sleeps in the system's poller, which has\n\
         no thread of its own.",
    );

    let mut latencies = block_on(serve_itself()).expect("sockets");
    latencies.sort();
    println!(
        "{} requests on {CLIENTS} connections; clients and server are in this program",
        grouped(latencies.len())
    );
    histogram(&latencies);
    let within =
        |percent: usize| grouped(latencies[REQUESTS * percent / 100 - 1].as_micros() as usize);
    println!("p50 {} µs, p99 {} µs, the slowest {} µs", within(50), within(99), within(100));
    println!();
    text(
        "The workers are always busy here, so most of a request's latency is the time of the requests before it.",
    );
}

async fn serve(ctx: Context, listener: TcpListener) {
    let connections = WaitGroup::new();
    while let Ok(Ok((stream, _peer))) = ctx.run(listener.accept()).await {
        connections.go(answer(stream));
    }
    connections.wait().await;
}

async fn answer(stream: TcpStream) -> io::Result<()> {
    let mut request = [0; 8];
    while stream.read_exact(&mut request).await.is_ok() {
        request.reverse();
        stream.write_all(&request).await?;
    }
    Ok(())
}

async fn client(server: SocketAddr) -> io::Result<Vec<Duration>> {
    let stream = TcpStream::connect(server).await?;
    let mut latencies = Vec::with_capacity(REQUESTS / CLIENTS);
    for _ in 0..REQUESTS / CLIENTS {
        let (start, mut answer) = (Instant::now(), [0; 8]);
        stream.write_all(b"question").await?;
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"noitseuq");
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

/// Returns the latencies of all requests.
async fn serve_itself() -> io::Result<Vec<Duration>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let (ctx, shut_down) = Context::background().with_cancel();
    let server = go(serve(ctx, listener));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.go(client(addr));
    }
    let mut latencies = Vec::new();
    while let Some(client) = clients.join_next().await {
        latencies.extend(client.expect("does not panic")?);
    }
    shut_down.cancel();
    server.await.expect("does not panic");
    assert_eq!(latencies.len(), REQUESTS);
    Ok(latencies)
}

/// Prints a line for each power of two, in microseconds.
fn histogram(sorted: &[Duration]) {
    const WIDTH: usize = 60;
    let bucket = |latency: &Duration| latency.as_micros().max(1).ilog2();
    let rows: Vec<_> = sorted.chunk_by(|a, b| bucket(a) == bucket(b)).collect();
    let most = rows.iter().map(|row| row.len()).max().unwrap_or(1);
    for row in rows {
        let from = 1_u64 << bucket(&row[0]);
        let bar = "#".repeat((row.len() * WIDTH).div_ceil(most));
        println!("{:>7} to {:>6} µs {:>6}  {bar}", from, 2 * from, row.len());
    }
}
