//! A client with a pool: a thousand goroutines share four connections, which the server closes now
//! and then.

mod client;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::Client;
use gopark::net::{TcpListener, TcpStream};
use gopark::sync::ErrGroup;
use gopark::time::timeout;
use gopark::{block_on, go};

const CONNECTIONS: usize = 4;
const REQUESTS: u32 = 1000;
/// The number of answers after which the server closes a connection.
const ANSWERS: usize = 50;
/// A number that is not answered.
const SILENT: u32 = u32::MAX;

#[derive(Clone, Default)]
struct Server {
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
}

impl Server {
    async fn serve(self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (stream, _peer) = listener.accept().await?;
            self.accepted.fetch_add(1, Ordering::Relaxed);
            self.most_open
                .fetch_max(self.open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let server = self.clone();
            go(async move {
                // A client that has closed the connection is no error.
                _ = answer(&stream).await;
                server.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

async fn answer(stream: &TcpStream) -> io::Result<()> {
    let mut number = [0; 4];
    for _ in 0..ANSWERS {
        stream.read_exact(&mut number).await?;
        if u32::from_be_bytes(number) != SILENT {
            stream.write_all(&number).await?;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (client, server) =
            (Arc::new(Client::new(listener.local_addr()?, CONNECTIONS)), Server::default());
        go(server.clone().serve(listener));

        let group = ErrGroup::new();
        for number in 0..REQUESTS {
            let client = client.clone();
            group.go(async move { client.ask(number).await.map(|answer| assert_eq!(answer, number)) }).await;
        }
        group.wait().await?;
        let accepted = server.accepted.load(Ordering::Relaxed);
        println!("{REQUESTS} requests, {accepted} connections, at most {CONNECTIONS} at a time");
        assert!(server.most_open.load(Ordering::Relaxed) <= CONNECTIONS);
        assert!(accepted <= REQUESTS as usize / ANSWERS + CONNECTIONS);

        // Requests that time out leave no answer that later requests could read.
        for _ in 0..CONNECTIONS {
            assert!(timeout(Duration::from_millis(5), client.ask(SILENT)).await.is_err());
        }
        for number in 0..REQUESTS {
            assert_eq!(client.ask(number).await?, number);
        }
        println!("and {REQUESTS} more, after {CONNECTIONS} that were given up");
        Ok(())
    })
}
