//! Ownership of a channel: whoever makes it writes to it and closes it, and hands out the reading end only. Then nobody
//! can send on a closed channel, close it twice, or wait on one that was forgotten.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go};

/// Owns the channel: makes it, fills it, and lets it close by leaving.
fn countdown(from: u32) -> Receiver<u32> {
    let (tx, rx) = chan::bounded(2);
    go(async move {
        for n in (0..=from).rev() {
            if tx.send(n).await.is_err() {
                println!("nobody counts with me");
                return;
            }
        }
    }); // the only sender goes with the goroutine
    rx
}

/// Uses the channel: it can read, and see the end, and nothing else. `rx.send(..)`, `rx.close()` do not compile.
async fn count(rx: &Receiver<u32>, most: usize) -> Vec<u32> {
    let mut seen = Vec::new();
    while seen.len() < most {
        let Some(n) = rx.recv().await else { break };
        seen.push(n);
    }
    seen
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let rx = countdown(5);
    let seen = count(&rx, usize::MAX).await;
    println!("{seen:?} and that is all: {:?}", rx.recv().await);
    assert_eq!(seen, [5, 4, 3, 2, 1, 0]);
    assert!(rx.is_closed());

    // A reader that leaves is noticed as well, at the next send.
    let rx = countdown(1000);
    assert_eq!(count(&rx, 3).await, [1000, 999, 998]);
    drop(rx);
    // Only to see the goroutine end: a program that waits for one keeps its handle.
    while gopark::num_goroutine() > 1 {
        gopark::gosched().await;
    }
}
