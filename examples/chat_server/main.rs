//! A chat over TCP: each line goes to all clients, and a client that does not read is dropped.
//!
//! Without arguments it runs its own clients, and ends. `… --example chat_server -- 127.0.0.1:4000`
//! serves telnet or nc.

mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_lite::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use gopark::net::{TcpListener, TcpSocket, TcpStream};
use gopark::sync::Barrier;
use gopark::{JoinSet, block_on, go};

const CLIENTS: usize = 20;
const ROUNDS: usize = 30;
/// The size of the sockets' buffers in bytes: small, so that few lines fit that a client does not
/// read.
const BUFFER: usize = 4096;

fn main() -> io::Result<()> {
    match std::env::args().nth(1) {
        Some(addr) => block_on(async move { server::serve(TcpListener::bind(addr).await?).await }),
        None => block_on(demo()),
    }
}

/// In each round the client sends a line, and receives one of each client. So it is never far
/// behind.
async fn chats(server: SocketAddr, all_are_here: Arc<Barrier>) -> io::Result<usize> {
    let stream = TcpStream::connect(server).await?;
    let mut lines = Lines::of(&stream);
    lines.until("is here").await?;
    all_are_here.wait().await;
    for round in 0..ROUNDS {
        stream.write_all(format!("round {round}: {}\n", "blah ".repeat(20)).as_bytes()).await?;
        for _ in 0..CLIENTS {
            lines.until(&format!("round {round}:")).await?;
        }
    }
    Ok(lines.heard)
}

async fn demo() -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(BUFFER)?; // accepted connections inherit it
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(1024)?;
    let addr = listener.local_addr()?;
    let server = go(server::serve(listener)).abort_on_drop();

    // This client stops reading.
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(BUFFER)?;
    let asleep = socket.connect(addr).await?;
    let mut lines = Lines::of(&asleep);
    lines.until("is here").await?;

    let (mut clients, all_are_here) = (JoinSet::new(), Arc::new(Barrier::new(CLIENTS)));
    for _ in 0..CLIENTS {
        clients.go(chats(addr, all_are_here.clone()));
    }
    let mut heard = 0;
    while let Some(client) = clients.join_next().await {
        heard += client.expect("does not panic")?;
    }
    println!("{CLIENTS} clients heard {heard} lines in {ROUNDS} rounds");
    assert!(heard >= CLIENTS * CLIENTS * ROUNDS);

    // It receives the lines that were in the buffers, and then the end.
    let mut rest = String::new();
    lines.reader.read_to_string(&mut rest).await?;
    let rest = rest.lines().count();
    println!("a client that did not read was dropped after {rest} lines");
    assert!(rest < CLIENTS * ROUNDS);
    drop(server);
    Ok(())
}

/// The lines that a client receives.
struct Lines<'a> {
    reader: BufReader<&'a TcpStream>,
    heard: usize,
}

impl<'a> Lines<'a> {
    fn of(stream: &'a TcpStream) -> Self {
        Self { reader: BufReader::new(stream), heard: 0 }
    }

    /// Reads lines until one contains this text.
    async fn until(&mut self, words: &str) -> io::Result<()> {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            if self.reader.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.heard += 1;
        }
        Ok(())
    }
}
