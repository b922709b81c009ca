//! A buffered channel: sends complete at once until it is full, and wait in line after that.

use gopark::chan::{self, TrySendError};
use gopark::{block_on, go};

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (tx, rx) = chan::bounded(2);
    tx.send(1).await.unwrap();
    tx.send(2).await.unwrap();
    println!("{} of {} places taken", tx.len(), tx.capacity());
    assert!(tx.is_full());

    // A value that cannot be sent comes back.
    assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));

    // This send waits. A receive takes the oldest value and moves the waiting sender's value in, in
    // one step.
    let sender = go(async move { tx.send(4).await });
    let mut received = Vec::new();
    while let Some(value) = rx.recv().await {
        received.push(value);
    }
    sender.await.unwrap().unwrap();
    println!("received {received:?}");
    assert_eq!(received, [1, 2, 4]);
}
