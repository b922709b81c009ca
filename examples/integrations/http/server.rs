//! The server: one goroutine accepts, each connection has another, and a context ends the server.
//!
//! A panic of a handler ends the goroutine of its connection. To let the others go on, run the
//! server on a runtime with `OnPanic::Isolate`.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use std::{convert::Infallible, io};

use gopark::context::Context;
use gopark::net::{HyperTimer, TcpListener, TcpStream};
use gopark::select::fut;
use gopark::sync::WaitGroup;
use gopark::{JoinHandle, go, select};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};

use super::limits::Limited;

/// A server that runs until its context ends.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    ctx: Context,
    accepting: JoinHandle<()>,
    connections: WaitGroup,
}

/// A server that no longer accepts connections.
pub(crate) struct Draining {
    ctx: Context,
    connections: WaitGroup,
}

impl Server {
    /// `patience` limits the time for the head of a request, with the idle time before it, and the
    /// time for each write of an answer.
    pub(crate) async fn start<H, F>(
        ctx: Context,
        addr: SocketAddr,
        patience: Duration,
        handler: H,
    ) -> io::Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<String>> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let connections = WaitGroup::new();
        let accepting = go(accept(ctx.clone(), listener, patience, connections.clone(), handler));
        Ok(Self { addr, ctx, accepting, connections })
    }

    /// Waits until the context has ended and the server no longer accepts. Open connections go on.
    pub(crate) async fn closed(self) -> Draining {
        self.accepting.await.expect("does not panic");
        Draining { ctx: self.ctx, connections: self.connections }
    }
}

impl Draining {
    /// Waits until the open requests are answered. Returns false if some are not within `patience`.
    pub(crate) async fn drained(self, patience: Duration) -> bool {
        let (grace, _) = self.ctx.without_cancel().with_timeout(patience);
        grace.run(self.connections.wait()).await.is_ok()
    }
}

/// Accepts connections. The listener is closed when this ends.
async fn accept<H, F>(
    ctx: Context,
    listener: TcpListener,
    patience: Duration,
    connections: WaitGroup,
    handler: H,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<String>> + Send + 'static,
{
    while let Ok(accepted) = ctx.run(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                // Small answers are sent at once. A failure only costs time.
                _ = stream.set_nodelay(true);
                connections.go(serve(ctx.clone(), stream, patience, handler.clone()));
            }
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

/// Serves one connection until it closes, or, after the context has ended, until the current
/// request is answered.
async fn serve<H, F>(ctx: Context, stream: TcpStream, patience: Duration, handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<String>>,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(HyperTimer::new()).header_read_timeout(patience);
    let mut connection = pin!(http.serve_connection(Limited::new(stream, patience), service));
    select! {
        // A client that has disconnected or was too slow is not logged.
        _ = fut(connection.as_mut()) => return,
        _ = ctx.done() => connection.as_mut().graceful_shutdown(),
    }
    _ = connection.await;
}
