//! Code that blocks its thread starves no goroutine: two ways to announce it, and what happens
//! without.

use std::sync::mpsc;
use std::time::Instant;

use gopark::{Runtime, block_in_place, go, gosched, unblock};

fn main() {
    // One processor: a block that kept it would stop all goroutines.
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    rt.block_on(async {
        // `unblock` runs the closure on a thread without a processor. It is for long work that owns
        // its data.
        let (tx, rx) = mpsc::channel();
        go(async move { tx.send("from a goroutine").unwrap() });
        let got = unblock(move || rx.recv().unwrap()).await;
        println!("unblock: {got}");
        assert_eq!(got, "from a goroutine");

        // `block_in_place` runs the closure here, after the processor has gone to another thread.
        // The closure may borrow.
        let (tx, rx) = mpsc::channel();
        go(async move { tx.send("from a goroutine").unwrap() });
        let got = block_in_place(|| rx.recv().unwrap());
        println!("block_in_place: {got}");
        assert_eq!(got, "from a goroutine");

        // Without either, the processor is taken away after some 10 ms. The other goroutines wait
        // for that long.
        gosched().await;
        let start = Instant::now();
        let (tx, rx) = mpsc::channel();
        go(async move { tx.send("from a goroutine").unwrap() });
        let got = rx.recv().unwrap();
        println!("unannounced: {got}, after {:?}", start.elapsed());
        assert_eq!(got, "from a goroutine");
    });
}
