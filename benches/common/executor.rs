//! Goroutines that do nothing.

use std::time::{Duration, Instant};

use super::{Executor, Group};

/// One goroutine starts all others, and waits for them with a wait group.
pub(crate) async fn spawn_join<E: Executor>(executor: E, n: u64) -> (u64, Duration) {
    let group = E::Group::of(n as usize);
    let start = Instant::now();
    for _ in 0..n {
        let group = group.clone();
        executor.go(async move { group.done() });
    }
    group.wait().await;
    (n, start.elapsed())
}

/// A hundred goroutines that yield to each other.
pub(crate) async fn yields<E: Executor>(executor: E, n: u64) -> (u64, Duration) {
    let each = n.div_ceil(100);
    let group = E::Group::of(100);
    let start = Instant::now();
    for _ in 0..100 {
        let group = group.clone();
        executor.go(async move {
            for _ in 0..each {
                E::yield_now().await;
            }
            group.done();
        });
    }
    group.wait().await;
    (100 * each, start.elapsed())
}
