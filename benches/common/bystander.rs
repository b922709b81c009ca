//! A goroutine that has next to nothing to do, next to others that have much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Channel, Executor, Received, compute};

/// The load next to the bystander.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Beside {
    Nothing,
    /// Four goroutines that compute 3 ms between yields.
    Hogs,
    /// A goroutine that blocks its thread for 50 ms between yields.
    Blocked,
    /// Two goroutines that send each other messages.
    PingPong,
}

pub(crate) fn start<C: Channel>(on: &C::On, beside: Beside, stop: &Arc<AtomicBool>) {
    let goes_on = |stop: &Arc<AtomicBool>| !stop.load(Ordering::Relaxed);
    match beside {
        Beside::Nothing => {}
        Beside::Hogs => {
            for _ in 0..4 {
                let stop = stop.clone();
                on.go(async move {
                    while goes_on(&stop) {
                        compute(Duration::from_millis(3));
                        C::On::yield_now().await;
                    }
                });
            }
        }
        Beside::Blocked => {
            let stop = stop.clone();
            on.go(async move {
                while goes_on(&stop) {
                    thread::sleep(Duration::from_millis(50));
                    C::On::yield_now().await;
                }
            });
        }
        Beside::PingPong => {
            let (mut there, mut arrives) = C::new(1);
            let (mut back, mut returns) = C::new(1);
            on.go(async move {
                while let Some(message) = C::recv(&mut arrives).await.value() {
                    C::send(&mut back, message).await;
                }
            });
            let stop = stop.clone();
            on.go(async move {
                while goes_on(&stop) {
                    C::send(&mut there, 0).await;
                    C::recv(&mut returns).await;
                }
            });
        }
    }
}

/// How the bystander is woken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    Thread,
    Goroutine,
}

/// The lateness of `n` messages that are sent about every millisecond.
pub(crate) fn lateness<C: Channel>(on: C::On, beside: Beside, by: By, n: usize) -> Vec<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut sender, mut receiver) = C::new(n);
    let (start_on, start_stop) = (on.clone(), stop.clone());
    let fed = match by {
        By::Thread => sender,
        By::Goroutine => {
            let (first, mut feed) = C::new(n);
            let feeder = async move {
                while let Some(sent) = C::recv(&mut feed).await.value() {
                    C::send(&mut sender, sent).await;
                }
            };
            on.go_from_outside(feeder);
            first
        }
    };
    // A message carries the time since then.
    let epoch = Instant::now();
    let clock = thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..n {
            thread::sleep(Duration::from_micros(random.u64(500..1500)));
            assert!(C::send_blocking(&fed, epoch.elapsed().as_nanos() as usize));
        }
    });
    let mut late = on.block_on(async move {
        start::<C>(&start_on, beside, &start_stop);
        let mut late = Vec::with_capacity(n);
        while let Some(sent) = C::recv(&mut receiver).await.value() {
            late.push(epoch.elapsed().saturating_sub(Duration::from_nanos(sent as u64)));
        }
        // Some executors check the queue of outside tasks only every now and then.
        stop.store(true, Ordering::Relaxed);
        late
    });
    clock.join().expect("does not panic");
    assert_eq!(late.len(), n);
    late.sort_unstable();
    late
}
