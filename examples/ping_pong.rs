//! Ping-pong: two players, one ball, one table, and a referee who ends the game. Each player waits
//! for the ball or the whistle, whichever comes first.

use gopark::chan::{self, Receiver, Sender};
use gopark::{block_on, go, select};

struct Ball {
    hits: usize,
}

/// The ends of an unbuffered channel: the ball is always handed from one player to the other.
type Table = (Sender<Ball>, Receiver<Ball>);

/// Plays until the whistle. Returns the number of this player's hits.
async fn player(
    name: &'static str,
    (hit, comes): Table,
    whistle: Receiver<()>,
    report: Sender<String>,
) -> usize {
    let mut own = 0;
    loop {
        let mut ball = select! {
            ball = comes.recv() => ball.expect("the table stays"),
            _ = whistle.recv() => return own,
        };
        ball.hits += 1;
        own += 1;
        if ball.hits <= 4 {
            report.send(format!("{} {name}", ball.hits)).await.unwrap();
        }
        select! {
            sent = hit.send(ball) => sent.unwrap(),
            // This player has the ball when the whistle blows.
            _ = whistle.recv() => return own,
        }
    }
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let table = chan::unbuffered();
    let (blow, whistle) = chan::unbuffered();
    let (report, reports) = chan::unbuffered();
    let ping = go(player("ping", table.clone(), whistle.clone(), report.clone()));
    let pong = go(player("pong", table.clone(), whistle, report));

    table.0.send(Ball { hits: 0 }).await.unwrap(); // the game starts
    let mut first = Vec::new();
    for _ in 0..4 {
        let line = reports.recv().await.unwrap();
        println!("{line}");
        first.push(line);
    }
    // The players take turns, whichever started.
    let who: Vec<_> = first.iter().map(|line| line.split(' ').next_back().unwrap()).collect();
    assert!(who == ["ping", "pong", "ping", "pong"] || who == ["pong", "ping", "pong", "ping"]);

    for _ in 0..100 {
        gopark::gosched().await;
    }
    blow.close();
    let (ping, pong) = (ping.await.unwrap(), pong.await.unwrap());
    println!("game over: {ping} and {pong} hits");
    assert!(ping.abs_diff(pong) <= 1);
}
