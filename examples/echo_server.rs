//! An echo server and its clients: each connection has a goroutine, written like blocking code.

use std::io;
use std::net::SocketAddr;

use gopark::context::Context;
use gopark::net::{TcpListener, TcpStream};
use gopark::sync::WaitGroup;
use gopark::{JoinSet, block_on, go};

const CLIENTS: usize = 100;
const ROUNDS: usize = 20;

/// Accepts until the context ends, and then waits for the remaining connections.
async fn serve(ctx: Context, listener: TcpListener) {
    let connections = WaitGroup::new();
    while let Ok(accepted) = ctx.run(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => connections.go(async move {
                // An error ends this connection only.
                if let Err(error) = echo(&stream).await {
                    eprintln!("{peer}: {error}");
                }
            }),
            // Too many open files is no error here: `accept` waits until there are fewer.
            Err(error) => eprintln!("accept: {error}"),
        }
    }
    connections.wait().await;
}

async fn echo(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()), // the client has closed
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

/// Returns the number of bytes that came back.
async fn client(server: SocketAddr, id: usize) -> io::Result<usize> {
    let stream = TcpStream::connect(server).await?;
    let mut bytes = 0;
    for round in 0..ROUNDS {
        let request = format!("client {id}, round {round}");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![0; request.len()];
        stream.read_exact(&mut answer).await?;
        assert_eq!(answer, request.as_bytes());
        bytes += answer.len();
    }
    Ok(bytes)
}

fn main() -> io::Result<()> {
    block_on(async {
        let (ctx, shut_down) = Context::background().with_cancel();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let server = go(serve(ctx, listener));

        let mut clients = JoinSet::new();
        for id in 0..CLIENTS {
            clients.go(client(addr, id));
        }
        let mut bytes = 0;
        while let Some(client) = clients.join_next().await {
            bytes += client.expect("does not panic")?;
        }
        shut_down.cancel();
        server.await.expect("does not panic");
        println!("{CLIENTS} clients, {} requests, {bytes} bytes came back", CLIENTS * ROUNDS);
        // The ids and the rounds have one or two digits.
        assert_eq!(
            bytes,
            CLIENTS * ROUNDS * "client 00, round 00".len() - 10 * ROUNDS - 10 * CLIENTS
        );
        Ok(())
    })
}
