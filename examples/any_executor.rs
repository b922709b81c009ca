//! Channels, and waits such as a `WaitGroup`'s, need only a `Waker`: they work on any executor, here
//! on `futures_lite`'s `block_on`, without a goroutine or a thread of gopark.

use futures_lite::future::{block_on, zip};
use futures_lite::{StreamExt, stream};
use gopark::chan;
use gopark::sync::WaitGroup;

fn main() {
    // Two futures of one task, on the thread of main.
    let (tx, rx) = chan::unbuffered();
    let produce = async move {
        for i in 0..5 {
            tx.send(i).await.unwrap();
        }
    };
    let consume = async {
        let mut got = Vec::new();
        while let Some(i) = rx.recv().await {
            got.push(i);
        }
        got
    };
    let ((), got) = block_on(zip(produce, consume));
    println!("{got:?}");
    assert_eq!(got, [0, 1, 2, 3, 4]);

    // A receiver is also a `Stream`, so all stream adaptors work.
    let (tx, rx) = chan::bounded(8);
    let sum = block_on(async {
        let send = stream::iter(1..=8).for_each(|i| tx.try_send(i).unwrap());
        send.await;
        drop(tx);
        rx.map(|i| i * 10).fold(0, |sum, i| sum + i).await
    });
    println!("{sum}");
    assert_eq!(sum, 360);

    // A `WaitGroup`, counted by hand, because its `go` would start goroutines.
    let wg = WaitGroup::new();
    wg.add(1);
    let work = async {
        wg.done();
        "done"
    };
    let ((), word) = block_on(zip(wg.wait(), work));
    println!("{word}");
    assert_eq!((word, wg.count()), ("done", 0));
}
