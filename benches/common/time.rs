//! Goroutines that wait for a time.

use std::future::Future;
use std::time::{Duration, Instant};

use super::{Executor, Gopark, Group, Smol, Tokio};

/// The two functions in which the contenders differ.
pub(crate) trait Timers: Executor {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send;
    fn timeout<F: Future + Send>(
        duration: Duration,
        operation: F,
    ) -> impl Future<Output = bool> + Send;
}

impl Timers for Gopark {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        gopark::time::sleep(duration)
    }

    async fn timeout<F: Future + Send>(duration: Duration, operation: F) -> bool {
        gopark::time::timeout(duration, operation).await.is_ok()
    }
}

impl Timers for Tokio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }

    async fn timeout<F: Future + Send>(duration: Duration, operation: F) -> bool {
        tokio::time::timeout(duration, operation).await.is_ok()
    }
}

impl Timers for Smol {
    async fn sleep(duration: Duration) {
        async_io::Timer::after(duration).await;
    }

    async fn timeout<F: Future + Send>(duration: Duration, operation: F) -> bool {
        let late = async {
            Self::sleep(duration).await;
            false
        };
        let in_time = async {
            operation.await;
            true
        };
        futures_lite::future::or(in_time, late).await
    }
}

/// This many goroutines sleep at the same time, for 0 to 99 ms each.
pub(crate) async fn sleepers<E: Timers>(executor: E, n: u64, at_once: u64) -> (u64, Duration) {
    let rounds = n.div_ceil(at_once);
    let start = Instant::now();
    for _ in 0..rounds {
        let group = E::Group::of(at_once as usize);
        for i in 0..at_once {
            let group = group.clone();
            executor.go(async move {
                E::sleep(Duration::from_millis(i % 100)).await;
                group.done();
            });
        }
        group.wait().await;
    }
    (rounds * at_once, start.elapsed())
}
