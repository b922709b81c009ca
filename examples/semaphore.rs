//! A weighted semaphore: jobs of different size share ten units of memory, in order of arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopark::sync::{Semaphore, WaitGroup};
use gopark::{block_on, gosched};

const MEMORY: usize = 10;

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let memory = Arc::new(Semaphore::new(MEMORY));
    let (used, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let wg = WaitGroup::new();
    for job in 0..100 {
        let (memory, used, most) = (memory.clone(), used.clone(), most.clone());
        wg.go(async move {
            let size = 1 + job % 7;
            let permit = memory.acquire(size).await;
            most.fetch_max(used.fetch_add(size, Ordering::SeqCst) + size, Ordering::SeqCst);
            gosched().await; // the work
            used.fetch_sub(size, Ordering::SeqCst);
            drop(permit);
        });
    }
    wg.wait().await;
    let most = most.load(Ordering::SeqCst);
    println!("100 jobs, at most {most} of {MEMORY} units in use; free now: {}", memory.available());
    assert!(most <= MEMORY && memory.available() == MEMORY);
    // Small requests do not overtake a large one at the head of the queue.
    let one = memory.acquire(1).await;
    let mut large = std::pin::pin!(memory.acquire(MEMORY));
    assert!(futures_lite::future::poll_once(large.as_mut()).await.is_none());
    assert!(memory.try_acquire(1).is_none());
    drop(one);
    println!("the large request got its {}", large.await.count());
}
