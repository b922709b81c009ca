//! A `WaitGroup` counts goroutines: `go` does the counting, or `add` and `done` by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopark::sync::WaitGroup;
use gopark::{block_on, go};

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let sum = Arc::new(AtomicUsize::new(0));

    // The short form.
    let wg = WaitGroup::new();
    for n in 1..=100 {
        let sum = sum.clone();
        wg.go(async move { _ = sum.fetch_add(n, Ordering::Relaxed) });
    }
    wg.wait().await;
    println!("1 + … + 100 = {}", sum.load(Ordering::Relaxed));
    assert_eq!(sum.load(Ordering::Relaxed), 5050);

    // The long form: count up before the goroutine starts, or the wait may see zero too early.
    wg.add(1);
    let (handle, total) = (wg.clone(), sum.clone());
    go(async move {
        total.store(0, Ordering::Relaxed);
        handle.done();
    });
    wg.wait().await;
    assert_eq!(sum.load(Ordering::Relaxed), 0);
    assert_eq!(wg.count(), 0);
}
