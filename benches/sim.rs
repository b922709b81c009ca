//! The cost of a simulation: `cargo bench -p gopark-benches --features sim --bench sim`. Prints
//! nanoseconds per operation.

use std::sync::Arc;
use std::time::Instant;

use gopark::sim::{Config, Strategy};
use gopark::sync::Mutex;
use gopark::{chan, go};

/// Four goroutines lock, add, and unlock.
async fn locks(n: usize) {
    let total = Arc::new(Mutex::new(0));
    let adders = [(); 4].map(|()| {
        let total = total.clone();
        go(async move {
            for _ in 0..n / 4 {
                *total.lock().await += 1;
            }
        })
    });
    for adder in adders {
        adder.await.expect("does not panic");
    }
}

/// One goroutine sends, one receives, with room for one message.
async fn messages(n: usize) {
    let (tx, rx) = chan::bounded(1);
    go(async move {
        for i in 0..n / 2 {
            tx.send(i).await.expect("a receiver");
        }
    });
    while rx.recv().await.is_some() {}
}

/// Two hand a number back and forth: four operations per round.
async fn ping_pong(n: usize) {
    let ((ping, pinged), (pong, ponged)) = (chan::unbuffered(), chan::unbuffered());
    let answers = go(async move {
        while let Some(i) = pinged.recv().await {
            pong.send(i).await.expect("a receiver");
        }
    });
    for i in 0..n / 4 {
        ping.send(i).await.expect("a receiver");
        ponged.recv().await;
    }
    drop(ping);
    answers.await.expect("does not panic");
}

const RUNS: u64 = 20;
const OPERATIONS: usize = 20_000;
const EMPTY_RUNS: u64 = 20_000;

fn main() {
    // Cargo runs it as a test as well, which needs no figures.
    let (runs, empty_runs) = if cfg!(debug_assertions) { (1, 1) } else { (RUNS, EMPTY_RUNS) };
    for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }, Strategy::RoundRobin] {
        let config = Config::new().strategy(strategy);
        let per_operation =
            |begin: Instant| begin.elapsed().as_nanos() / (runs as usize * OPERATIONS) as u128;
        let begin = Instant::now();
        config.clone().runs(runs).check(|| locks(OPERATIONS));
        let lock = per_operation(begin);
        let begin = Instant::now();
        config.clone().runs(runs).check(|| messages(OPERATIONS));
        let message = per_operation(begin);
        let begin = Instant::now();
        config.clone().runs(runs).check(|| ping_pong(OPERATIONS));
        let turn = per_operation(begin);
        let begin = Instant::now();
        config.runs(empty_runs).check(|| async {});
        let empty = begin.elapsed().as_nanos() / u128::from(empty_runs);
        println!(
            "{strategy:?}: a lock {lock} ns, a send or receive {message} ns, \
             one of a ping-pong {turn} ns, an empty run {empty} ns"
        );
    }
}
