//! Ownership of a channel: the function that makes it also sends and closes, and returns only the
//! receiver. So no other code can send on a closed channel or close it twice, and no receiver waits
//! for a sender that was forgotten.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go};

/// Owns the channel: makes it, fills it, and closes it by dropping the sender.
fn countdown(from: u32) -> Receiver<u32> {
    let (tx, rx) = chan::bounded(2);
    go(async move {
        for n in (0..=from).rev() {
            if tx.send(n).await.is_err() {
                println!("nobody counts with me");
                return;
            }
        }
    }); // the only sender is dropped with the goroutine
    rx
}

/// Uses the channel: it can only receive, until the end. `rx.send(..)` does not compile.
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

    // If the receiver is dropped, the next send fails.
    let rx = countdown(1000);
    assert_eq!(count(&rx, 3).await, [1000, 999, 998]);
    drop(rx);
    // Only to show that the goroutine ends. To wait for a goroutine, keep its handle.
    while gopark::num_goroutine() > 1 {
        gopark::gosched().await;
    }
}
