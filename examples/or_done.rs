//! Or-done: receive from a channel until it is closed, or until a second channel is.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go, gosched, num_goroutine, select};

/// Returns a channel of the values of `input`, until `input` or `done` is closed.
fn or_done<T: Send + 'static>(done: Receiver<()>, input: Receiver<T>) -> Receiver<T> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        loop {
            let value = select! {
                _ = done.recv() => return,
                value = input.recv() => value,
            };
            let Some(value) = value else { return };
            select! {
                _ = done.recv() => return,
                sent = tx.send(value) => if sent.is_err() { return },
            }
        }
    });
    rx
}

/// A source that never ends by itself.
fn naturals() -> Receiver<u64> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        for n in 0.. {
            if tx.send(n).await.is_err() {
                return; // the receiver was dropped
            }
        }
    });
    rx
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (stop, done) = chan::unbuffered::<()>();
    let numbers = or_done(done.clone(), naturals());
    let mut sum = 0;
    while let Some(n) = numbers.recv().await {
        sum += n;
        if n == 100 {
            stop.close();
            break;
        }
    }
    println!("0 + 1 + … + 100 = {sum}");
    assert_eq!(sum, 5050);

    // The loop over the rest ends soon: within a few rounds, `done` wins against a number.
    let mut more = 0;
    while numbers.recv().await.is_some() {
        more += 1;
    }
    println!("{more} more came before it saw that it was done");
    assert!(more < 200);

    // The stage has ended and has dropped the last receiver of the source, which ends too: no
    // goroutine is left.
    while num_goroutine() > 1 {
        gosched().await;
    }

    // The input is closed first.
    let (tx, rx) = chan::bounded(3);
    (1..=3).for_each(|n| tx.try_send(n).unwrap());
    drop(tx);
    let (_stop, done) = chan::unbuffered();
    let all = or_done(done, rx);
    assert_eq!((all.recv().await, all.recv().await, all.recv().await), (Some(1), Some(2), Some(3)));
    assert_eq!(all.recv().await, None);
}
