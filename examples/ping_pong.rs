//! Ping-pong: two players, one ball, one table, and a referee who ends the game. Each player waits for whichever comes
//! first, the ball or the whistle.

use gopark::chan::{self, Receiver, Sender};
use gopark::{block_on, go, select};

struct Ball {
    hits: usize,
}

/// The ends of an unbuffered channel: a ball lies on the table for nobody, it is passed from hand to hand.
type Table = (Sender<Ball>, Receiver<Ball>);

/// Plays until the whistle; returns how often this player hit.
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
            // The one who holds the ball when the whistle goes.
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

    table.0.send(Ball { hits: 0 }).await.unwrap(); // the game is on
    let mut first = Vec::new();
    for _ in 0..4 {
        let line = reports.recv().await.unwrap();
        println!("{line}");
        first.push(line);
    }
    // The players take turns, whichever began.
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
