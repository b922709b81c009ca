//! The server: one goroutine owns the list of members, and two per connection read and write its
//! lines.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use futures_lite::StreamExt;
use futures_lite::io::{AsyncBufReadExt, BufReader};
use gopark::chan::{self, Receiver, Sender};
use gopark::go;
use gopark::net::{TcpListener, TcpStream};

/// The number of lines that may wait for a member. One more, and the member is dropped.
const BEHIND: usize = 64;

type Line = Arc<str>;

enum Event {
    Join(SocketAddr, Member),
    Say(SocketAddr, String),
    Leave(SocketAddr),
}

struct Member {
    lines: Sender<Line>,
    stream: TcpStream,
}

impl Drop for Member {
    /// The reader sees the end of the stream, and a write that waits for room fails.
    fn drop(&mut self) {
        _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Serves until it is aborted.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    let (tell, events) = chan::bounded(16);
    go(room(events));
    loop {
        let (stream, peer) = listener.accept().await?;
        go(connection(stream, peer, tell.clone()));
    }
}

/// Owns the list of members, so there is no lock. Never waits for a member.
async fn room(events: Receiver<Event>) {
    let mut members = HashMap::<SocketAddr, Member>::new();
    while let Some(event) = events.recv().await {
        let line: Line = match event {
            Event::Join(peer, member) => {
                members.insert(peer, member);
                format!("* {peer} is here\n").into()
            }
            Event::Say(peer, line) => format!("{peer}: {line}\n").into(),
            Event::Leave(peer) => match members.remove(&peer) {
                Some(_) => format!("* {peer} has gone\n").into(),
                // The member was dropped before.
                None => continue,
            },
        };
        let mut slow = Vec::new();
        members.retain(|peer, member| {
            let has_room = member.lines.try_send(line.clone()).is_ok();
            if !has_room {
                slow.push(Line::from(format!("* {peer} is too slow\n")));
            }
            has_room
        });
        for line in slow {
            members.retain(|_, member| member.lines.try_send(line.clone()).is_ok());
        }
    }
}

/// Reads the lines of one client.
async fn connection(stream: TcpStream, peer: SocketAddr, tell: Sender<Event>) {
    let (lines, queue) = chan::bounded(BEHIND);
    go(write(stream.clone(), queue));
    let member = Member { lines, stream: stream.clone() };
    if tell.send(Event::Join(peer, member)).await.is_err() {
        return;
    }
    let mut lines = BufReader::new(&stream).lines();
    while let Some(Ok(line)) = lines.next().await {
        if tell.send(Event::Say(peer, line)).await.is_err() {
            return;
        }
    }
    _ = tell.send(Event::Leave(peer)).await;
}

/// Writes the lines of the room, until the room drops the member.
async fn write(stream: TcpStream, lines: Receiver<Line>) {
    while let Some(line) = lines.recv().await {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
}
