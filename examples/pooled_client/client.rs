//! The client, and its pool of connections.

use std::io;
use std::net::SocketAddr;

use gopark::chan::{self, Receiver, Sender};
use gopark::net::TcpStream;

/// A client that keeps a few connections for later requests.
pub(crate) struct Client {
    server: SocketAddr,
    /// The free places, each with the connection that its last request has left there. A request
    /// takes one, or waits in line.
    free: Receiver<Option<TcpStream>>,
    give_back: Sender<Option<TcpStream>>,
}

impl Client {
    pub(crate) fn new(server: SocketAddr, connections: usize) -> Self {
        let (give_back, free) = chan::bounded(connections);
        for _ in 0..connections {
            give_back.try_send(None).expect("there is room for all");
        }
        Self { server, free, give_back }
    }

    /// Sends a number, and receives the answer.
    pub(crate) async fn ask(&self, number: u32) -> io::Result<u32> {
        let stream = self.free.recv().await.expect("it has a sender here");
        let mut place = Place { stream, give_back: &self.give_back };
        if let Some(stream) = place.stream.take() {
            if let Ok(answer) = place.exchange(stream, number).await {
                return Ok(answer);
            }
            // The server may have closed the connection meanwhile. This request may be sent twice.
        }
        let stream = TcpStream::connect(self.server).await?;
        place.exchange(stream, number).await
    }
}

/// Returns the place when it is dropped.
struct Place<'a> {
    stream: Option<TcpStream>,
    give_back: &'a Sender<Option<TcpStream>>,
}

impl Place<'_> {
    /// Leaves the connection in the place only after a complete exchange. If the exchange fails, or
    /// is dropped before the answer has come, the connection is closed, because the next request
    /// would read this one's answer.
    async fn exchange(&mut self, stream: TcpStream, number: u32) -> io::Result<u32> {
        stream.write_all(&number.to_be_bytes()).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        self.stream = Some(stream);
        Ok(u32::from_be_bytes(answer))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.give_back.try_send(self.stream.take()).expect("there is room for all");
    }
}
