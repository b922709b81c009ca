//! Code that blocks its thread starves nobody: two ways to announce it, and what happens without.

use std::sync::mpsc;
use std::time::Instant;

use gopark::{Runtime, block_in_place, go, gosched, unblock};

fn main() {
    // One processor: whoever blocked it would stop the world.
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    rt.block_on(async {
        // `unblock`: on a thread without a processor. For what is long, and owns what it needs.
        let (tx, rx) = mpsc::channel();
        go(async move { tx.send("from a goroutine").unwrap() });
        let got = unblock(move || rx.recv().unwrap()).await;
        println!("unblock: {got}");
        assert_eq!(got, "from a goroutine");

        // `block_in_place`: here, once the processor has gone to another thread. For what is short, or borrows.
        let (tx, rx) = mpsc::channel();
        go(async move { tx.send("from a goroutine").unwrap() });
        let got = block_in_place(|| rx.recv().unwrap());
        println!("block_in_place: {got}");
        assert_eq!(got, "from a goroutine");

        // Neither: the processor is taken away after some 10 ms. Nobody starves, but everybody waits for that long.
        gosched().await;
        let start = Instant::now();
        let (tx, rx) = mpsc::channel();
        go(async move { tx.send("from a goroutine").unwrap() });
        let got = rx.recv().unwrap();
        println!("unannounced: {got}, after {:?}", start.elapsed());
        assert_eq!(got, "from a goroutine");
    });
}
