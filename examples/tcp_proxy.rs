//! A TCP proxy: it passes the end of each direction on, and at its shutdown gives the connections a
//! grace period.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use futures_lite::AsyncReadExt;
use gopark::context::Context;
use gopark::io::copy_bidirectional;
use gopark::net::{TcpListener, TcpStream};
use gopark::sync::WaitGroup;
use gopark::{block_on, go};

/// Accepts until `accepts` ends. The connections go on until `lives` ends.
async fn proxy(
    accepts: Context,
    lives: Context,
    listener: TcpListener,
    server: SocketAddr,
    connections: WaitGroup,
) {
    while let Ok(accepted) = accepts.run(listener.accept()).await {
        let Ok((client, _peer)) = accepted else { continue };
        let lives = lives.clone();
        connections.go(async move {
            // If one side ends its direction, the other side sees that, and may still answer.
            let forward = async {
                copy_bidirectional(&mut &client, &mut &TcpStream::connect(server).await?).await
            };
            if let Ok(Err(error)) = lives.run(forward).await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

/// Sends a greeting, reads to the end, and then answers with the number of bytes.
async fn count(stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"hello\n").await?;
    let bytes = gopark::io::copy(&mut &stream, &mut futures_lite::io::sink()).await?;
    stream.write_all(bytes.to_string().as_bytes()).await
}

/// Returns a connection whose greeting has arrived.
async fn connect(proxy: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(proxy).await?;
    stream.read_exact(&mut [0; 6]).await?;
    Ok(stream)
}

async fn upload(stream: &TcpStream, bytes: &[u8]) -> io::Result<String> {
    stream.write_all(bytes).await?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    let mut reader = stream;
    reader.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn main() -> io::Result<()> {
    block_on(async {
        let (server, listener) =
            (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let (behind, addr) = (server.local_addr()?, listener.local_addr()?);
        go(async move {
            while let Ok((stream, _peer)) = server.accept().await {
                go(count(stream));
            }
        });
        let (accepts, shut_down) = Context::background().with_cancel();
        let ((lives, cut), connections) = (Context::background().with_cancel(), WaitGroup::new());
        let proxy = go(proxy(accepts, lives, listener, behind, connections.clone()));

        assert_eq!(upload(&connect(addr).await?, &vec![7; 1 << 20]).await?, "1048576");
        let (late, idle) = (connect(addr).await?, connect(addr).await?);
        shut_down.cancel();
        proxy.await.expect("does not panic");
        assert!(TcpStream::connect(addr).await.is_err());
        assert_eq!(upload(&late, b"in time").await?, "7");
        // The remaining connections may live as long as this context.
        let (grace, _) = Context::background().with_timeout(Duration::from_millis(50));
        assert!(grace.run(connections.wait()).await.is_err());
        cut.cancel();
        connections.wait().await;
        assert!(!matches!(idle.read(&mut [0]).await, Ok(1..)));
        println!("the proxy forwarded, let one connection finish, and cut one off");
        Ok(())
    })
}
