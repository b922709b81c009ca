//! `gomaxprocs` changes the number of goroutines that run at the same time, while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopark::sync::WaitGroup;
use gopark::{Runtime, gosched};

fn main() {
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    println!("{} CPUs, {} processor", gopark::num_cpu(), rt.gomaxprocs(0));
    assert_eq!(rt.gomaxprocs(0), 1);

    let rounds = Arc::new(AtomicUsize::new(0));
    rt.block_on(async {
        let wg = WaitGroup::new();
        for _ in 0..8 {
            let rounds = rounds.clone();
            wg.go(async move {
                for _ in 0..100 {
                    rounds.fetch_add(1, Ordering::Relaxed);
                    gosched().await;
                }
            });
        }
        // Each call returns the previous setting. No goroutine is lost.
        assert_eq!(gopark::gomaxprocs(4), 1);
        gosched().await;
        assert_eq!(gopark::gomaxprocs(2), 4);
        wg.wait().await;
    });
    let rounds = rounds.load(Ordering::Relaxed);
    println!("{rounds} rounds, on {} processors at the end", rt.gomaxprocs(0));
    assert_eq!((rounds, rt.gomaxprocs(0)), (800, 2));
}
