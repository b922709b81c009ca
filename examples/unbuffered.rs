//! An unbuffered channel: the send completes when a receiver takes the value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gopark::{block_on, chan, go, gosched};

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (tx, rx) = chan::unbuffered();
    let sent = Arc::new(AtomicBool::new(false));
    let flag = sent.clone();
    let sender = go(async move {
        tx.send("hello").await.unwrap();
        flag.store(true, Ordering::SeqCst);
    });

    // The sender waits, because no goroutine receives.
    for _ in 0..100 {
        gosched().await;
    }
    println!("sent before it was received: {}", sent.load(Ordering::SeqCst));
    assert!(!sent.load(Ordering::SeqCst));
    assert_eq!((rx.len(), rx.capacity()), (0, 0));

    let greeting = rx.recv().await;
    sender.await.unwrap();
    println!("received {greeting:?}; sent: {}", sent.load(Ordering::SeqCst));
    assert_eq!(greeting, Some("hello"));
    assert!(sent.load(Ordering::SeqCst));
}
