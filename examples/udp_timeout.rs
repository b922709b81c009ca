//! Requests over UDP, which loses packets: each attempt has a time-out, twice the one before, and
//! sends the request again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use gopark::net::UdpSocket;
use gopark::time::timeout;
use gopark::{block_on, go};

const FIRST: Duration = Duration::from_millis(10);
const ATTEMPTS: u32 = 8;

/// A request and its answer have an id and a number.
fn packet(id: u32, number: u32) -> [u8; 8] {
    (u64::from(id) << 32 | u64::from(number)).to_be_bytes()
}

fn parse(packet: [u8; 8]) -> (u32, u32) {
    let both = u64::from_be_bytes(packet);
    ((both >> 32) as u32, both as u32)
}

/// Answers with the square. It loses the first two packets of each request.
async fn serve(socket: UdpSocket) -> io::Result<()> {
    let (mut request, mut seen, mut last) = ([0; 8], 0, None);
    loop {
        let (8, peer) = socket.recv_from(&mut request).await? else { continue };
        let (id, number) = parse(request);
        seen = if last == Some(id) { seen + 1 } else { 1 };
        last = Some(id);
        if seen > 2 {
            socket.send_to(&packet(id, number * number), peer).await?;
        }
    }
}

/// Returns the answer, and the number of attempts.
async fn ask(socket: &UdpSocket, id: u32, number: u32, attempts: u32) -> io::Result<(u32, u32)> {
    for attempt in 0..attempts {
        socket.send(&packet(id, number)).await?;
        let answer = async {
            let mut answer = [0; 8];
            loop {
                // Any other packet is the late answer to an earlier request.
                if socket.recv(&mut answer).await? == 8 && parse(answer).0 == id {
                    return io::Result::Ok(parse(answer).1);
                }
            }
        };
        // A time-out drops the receive, which loses no packet: the next attempt can receive a late
        // answer.
        if let Ok(answer) = timeout(FIRST * 2_u32.pow(attempt), answer).await {
            return Ok((answer?, attempt + 1));
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

async fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(server).await?;
    Ok(socket)
}

fn main() -> io::Result<()> {
    block_on(async {
        let (server, silent) =
            (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
        let socket = connected(server.local_addr()?).await?;
        go(serve(server));
        for number in 1..=5 {
            let (square, attempts) = ask(&socket, number, number, ATTEMPTS).await?;
            println!("{number}² = {square}, after {attempts} attempts");
            assert!(square == number * number && attempts >= 3);
        }
        let error = ask(&connected(silent.local_addr()?).await?, 6, 6, 3).await.unwrap_err();
        println!("a server that does not answer: {error}");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        Ok(())
    })
}
