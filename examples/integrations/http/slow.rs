//! Slow clients, for which the server must not wait.

use std::io;
use std::time::Duration;

use futures_lite::AsyncReadExt;
use gopark::context::Context;
use gopark::net::TcpStream;
use hyper::Response;

use super::PATIENCE;
use super::server::Server;

/// More than fits into the sockets' buffers.
const LARGE: usize = 32 << 20;

pub(crate) async fn demo() -> io::Result<()> {
    let (ctx, shut_down) = Context::background().with_cancel();
    let large = |_| async { Response::new("x".repeat(LARGE)) };
    let server =
        Server::start(ctx, ([127, 0, 0, 1], 0).into(), Duration::from_millis(100), large).await?;

    // This client does not end its request.
    let mut stuck = TcpStream::connect(server.addr).await?;
    stuck.write_all(b"GET / HTTP/1.1\r\nhost: local").await?;
    stuck.read_to_end(&mut Vec::new()).await?;

    // This client does not read the answer. The server waits for it until the time-out, also during
    // its shutdown.
    let deaf = TcpStream::connect(server.addr).await?;
    deaf.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    deaf.read_exact(&mut [0]).await?;
    shut_down.cancel();
    assert!(server.closed().await.drained(PATIENCE).await);
    assert!(deaf.read_exact(&mut vec![0; LARGE]).await.is_err());
    println!("two slow clients were disconnected");
    Ok(())
}
