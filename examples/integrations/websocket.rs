//! WebSockets: a counter that all clients see, and that each of them can increment. The crate
//! `async-tungstenite` needs only the traits of `futures-io`, which gopark's sockets implement.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::error::Result;
use async_tungstenite::{accept_async, client_async};
use futures_lite::StreamExt;
use gopark::net::{TcpListener, TcpStream};
use gopark::select::fut;
use gopark::sync::{ErrGroup, WaitGroup, watch};
use gopark::time::timeout;
use gopark::{go, select};

const CLIENTS: u32 = 10;

/// Sends each new count to a client. A slow client misses some, but not the last one.
async fn serve(stream: TcpStream, count: Arc<watch::Sender<u32>>) -> Result<()> {
    let Ok(socket) = timeout(Duration::from_secs(10), accept_async(stream)).await else {
        return Ok(());
    };
    let (mut socket, mut seen) = (socket?, count.subscribe());
    loop {
        select! {
            received = fut(socket.next()) => match received.transpose()? {
                Some(Message::Text(text)) if text == "+1" => count.send_modify(|count| *count += 1),
                // The crate answers a ping.
                Some(_) => {}
                None => return Ok(()),
            },
            _ = seen.changed() => {
                let count = *seen.borrow_and_update();
                socket.send(Message::text(count.to_string())).await?;
            }
        }
    }
}

/// Adds one, and waits until all clients have done so.
async fn client(server: SocketAddr, connected: WaitGroup) -> Result<()> {
    let stream = TcpStream::connect(server).await?;
    let (mut socket, _response) = client_async(format!("ws://{server}/"), stream).await?;
    connected.done();
    connected.wait().await;
    socket.send(Message::text("+1")).await?;
    let mut last = 0;
    while let Some(message) = socket.try_next().await? {
        if let Message::Text(count) = message {
            let count = count.parse().expect("the server sends numbers");
            assert!((last + 1..=CLIENTS).contains(&count), "{count} after {last}");
            last = count;
            if count == CLIENTS {
                socket.close(None).await?;
            }
        }
    }
    Ok(())
}

#[gopark::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (server, count) = (listener.local_addr()?, Arc::new(watch::channel(0).0));
    let (connections, connected, clients) = (WaitGroup::new(), WaitGroup::new(), ErrGroup::new());
    go!([connections, count] async {
        while let Ok((stream, _peer)) = listener.accept().await {
            connections.go(serve(stream, count.clone()));
        }
    });
    connected.add(CLIENTS as usize);
    for _ in 0..CLIENTS {
        clients.go(client(server, connected.clone())).await;
    }
    clients.wait().await.map_err(io::Error::other)?;
    println!("{CLIENTS} clients have added one each: {}", *count.borrow());
    assert_eq!(*count.borrow(), CLIENTS);
    Ok(())
}
