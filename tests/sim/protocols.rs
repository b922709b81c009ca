//! The protocols of each primitive, in many interleavings, with goroutines that are aborted midway.

use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex as Std;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_lite::StreamExt;
use gopark::context::{Context, ContextError};
use gopark::sim::{Config, Strategy};
use gopark::sync::{Cond, ErrGroup, Mutex, Once, OnceValue, RwMutex, Semaphore, SingleFlight};
use gopark::{chan, go, gosched, select, sim, time};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Runs the program with each strategy, with time-outs that end in time, and at any point.
pub(crate) fn check<F: Future<Output = ()>>(program: impl Fn() -> F) {
    for strategy in [
        Strategy::Random,
        Strategy::Pct { depth: 2 },
        Strategy::Pct { depth: 4 },
        Strategy::RoundRobin,
    ] {
        for cancel in [0.0, 0.1] {
            Config::new().runs(RUNS).strategy(strategy).cancel(cancel).leaks(true).check(&program);
        }
    }
}

/// Runs of each kind.
const RUNS: u64 = 400;

#[test]
fn a_once_runs_to_its_end_once_whoever_gives_up() {
    check(|| async {
        let (once, began, ended) =
            (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..4)
            .map(|n| {
                let (once, began, ended) = (once.clone(), began.clone(), ended.clone());
                go(async move {
                    let call = once.call_once_async(|| async {
                        began.fetch_add(1, Relaxed);
                        time::sleep(MS).await;
                        ended.fetch_add(1, Relaxed);
                    });
                    if time::timeout(MS * n, call).await.is_ok() {
                        assert_eq!(ended.load(Relaxed), 1, "it has run when a call returns");
                    }
                })
            })
            .collect();
        callers[1].abort();
        for caller in callers {
            let _ = caller.await;
        }
        once.call_once_async(|| async { _ = ended.fetch_add(1, Relaxed) }).await;
        assert_eq!(ended.load(Relaxed), 1);
        assert!(once.is_done());
    });
}

#[test]
fn a_value_is_made_once() {
    check(|| async {
        let made = Arc::new(AtomicUsize::new(0));
        let makes = made.clone();
        let value = Arc::new(OnceValue::new(move || makes.fetch_add(1, Relaxed)));
        let readers = [(); 3].map(|()| {
            let value = value.clone();
            go(async move { assert_eq!(*value.get().await, 0) })
        });
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(made.load(Relaxed), 1);
    });
}

#[test]
fn each_caller_of_a_flight_gets_a_value_though_leaders_give_up() {
    check(|| async {
        let flights = Arc::new(SingleFlight::<u8, usize>::new());
        let runs = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..4)
            .map(|n| {
                let (flights, runs) = (flights.clone(), runs.clone());
                go(async move {
                    let work = flights.work(1, async {
                        gosched().await;
                        time::sleep(MS).await;
                        runs.fetch_add(1, Relaxed)
                    });
                    if n == 0 { time::timeout(MS / 2, work).await.ok() } else { Some(work.await) }
                })
            })
            .collect();
        callers[3].abort();
        for (n, caller) in callers.into_iter().enumerate() {
            let value = caller.await;
            assert!(n == 0 || n == 3 || value.unwrap().is_some());
        }
        assert!(runs.load(Relaxed) >= 1);
    });
}

#[test]
fn a_group_runs_no_more_than_its_limit_and_returns_the_first_error() {
    check(|| async {
        let (group, ctx) = ErrGroup::<usize>::with_context(&Context::background());
        group.set_limit(2);
        let (inside, errors) = (Arc::new(AtomicUsize::new(0)), Arc::new(Std::new(Vec::new())));
        for n in 0..5 {
            let (inside, errors, ctx) = (inside.clone(), errors.clone(), ctx.clone());
            let one = async move {
                assert!(inside.fetch_add(1, Relaxed) < 2);
                let slept = ctx.run(time::sleep(MS * (n as u32 % 3))).await;
                inside.fetch_sub(1, Relaxed);
                if n % 2 == 1 && slept.is_ok() {
                    errors.lock().unwrap().push(n);
                    return Err(n);
                }
                Ok(())
            };
            group.go(one).await;
        }
        let result = group.wait().await;
        let first = errors.lock().unwrap().first().copied();
        assert_eq!(result.err(), first);
        assert_eq!(ctx.err(), Some(ContextError::Canceled));
    });
}

#[test]
fn permits_are_given_in_the_order_of_asking() {
    check(|| async {
        let (permits, order) = (Arc::new(Semaphore::new(3)), Arc::new(Std::new(Vec::new())));
        let all = permits.acquire(3).await;
        let mut waiters = Vec::new();
        for (n, wanted) in [2, 3, 1, 1, 2].into_iter().enumerate() {
            let (permits, order) = (permits.clone(), order.clone());
            waiters.push(go(async move {
                let permit = if n == 3 {
                    time::timeout(MS, permits.acquire(wanted)).await.ok()
                } else {
                    Some(permits.acquire(wanted).await)
                };
                if permit.is_some() {
                    order.lock().unwrap().push(n);
                }
                gosched().await;
            }));
            // It waits before the next one comes.
            sim::wait().await;
        }
        drop(all);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        let order = order.lock().unwrap();
        // Several may hold permits at a time, and record it in either order.
        let at = |n| order.iter().position(|one| *one == n);
        assert!(at(0) < at(1) && at(1) < at(2).max(at(4)), "{order:?}");
        assert_eq!(permits.available(), 3);
    });
}

#[test]
fn who_gives_up_in_front_lets_those_behind_in() {
    check(|| async {
        let permits = Arc::new(Semaphore::new(3));
        let held = permits.acquire(2).await;
        let wants = |n, patience| {
            let permits = permits.clone();
            go(async move { time::timeout(patience, permits.acquire(n)).await.is_ok() })
        };
        let in_front = wants(3, MS);
        sim::wait().await;
        let behind = wants(1, MS * 1_000_000);
        assert!(!in_front.await.unwrap());
        sim::wait().await;
        // No goroutine has released a permit meanwhile.
        assert!(behind.is_finished());
        drop(held);
        behind.await.unwrap();
    });
}

#[test]
fn a_signal_that_an_aborted_waiter_was_given_goes_to_the_next() {
    check(|| async {
        let shared = Arc::new((Mutex::new(()), Cond::new()));
        let mut waiters = Vec::new();
        for _ in 0..2 {
            let shared = shared.clone();
            waiters.push(go(async move { drop(shared.1.wait(shared.0.lock().await).await) }));
            sim::wait().await;
        }
        let (second, first) = (waiters.pop().unwrap(), waiters.pop().unwrap());
        let held = shared.0.lock().await;
        let signals = {
            let shared = shared.clone();
            go(async move { shared.1.signal() })
        };
        gosched().await;
        first.abort();
        drop(held);
        signals.await.unwrap();
        sim::wait().await;
        assert!(first.await.is_ok() != second.is_finished(), "one has the signal");
        shared.1.broadcast();
        second.await.unwrap();
    });
}

#[test]
fn a_lock_that_an_aborted_waiter_was_given_goes_to_the_next() {
    check(|| async {
        let lock = Arc::new(Mutex::new(()));
        let mut goroutines: Vec<_> = (0..5)
            .map(|_| {
                let lock = lock.clone();
                go(async move {
                    for _ in 0..3 {
                        // They starve each other, so that the lock is handed over.
                        let _guard = lock.lock().await;
                        time::sleep(MS).await;
                    }
                })
            })
            .collect();
        time::sleep(MS * 4).await;
        for aborted in goroutines.drain(..3) {
            aborted.abort();
            gosched().await;
        }
        for goroutine in goroutines {
            goroutine.await.unwrap();
        }
        sim::wait().await;
        assert!(lock.try_lock().is_some());
    });
}

#[test]
fn a_queue_of_cond_and_mutex_hands_on_each_item_once() {
    check(|| async {
        let shared = Arc::new((Mutex::new(Vec::new()), Cond::new(), Cond::new()));
        let taken = Arc::new(Std::new(Vec::new()));
        let mut goroutines = Vec::new();
        for consumer in 0..3 {
            let (shared, taken) = (shared.clone(), taken.clone());
            goroutines.push(go(async move {
                loop {
                    let guard = shared.0.lock().await;
                    let wait = shared.1.wait_while(guard, |queue| queue.is_empty());
                    let waited = if consumer == 0 {
                        time::timeout(MS * 3, wait).await.ok()
                    } else {
                        Some(wait.await)
                    };
                    let Some(mut queue) = waited else { break };
                    let item: usize = queue.remove(0);
                    drop(queue);
                    shared.2.signal();
                    if item >= 100 {
                        break;
                    }
                    taken.lock().unwrap().push(item);
                }
            }));
        }
        for producer in 0..2 {
            let shared = shared.clone();
            goroutines.push(go(async move {
                for n in 0..4 {
                    let guard = shared.0.lock().await;
                    let mut queue = shared.2.wait_while(guard, |queue| queue.len() >= 2).await;
                    queue.push(producer * 10 + n);
                    drop(queue);
                    shared.1.signal();
                    time::sleep(MS * (n as u32 % 2)).await;
                }
            }));
        }
        for producer in goroutines.split_off(3) {
            producer.await.unwrap();
        }
        // The ends of the consumers, after whatever is left.
        for end in 100..103 {
            shared.0.lock().await.push(end);
            shared.1.broadcast();
        }
        for consumer in goroutines {
            consumer.await.unwrap();
        }
        let mut taken = taken.lock().unwrap().clone();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, 3, 10, 11, 12, 13]);
    });
}

#[test]
fn a_waiting_writer_comes_before_later_readers() {
    check(|| async {
        let (rw, order) = (Arc::new(RwMutex::new(())), Arc::new(Std::new(Vec::new())));
        let first = rw.rlock().await;
        let writer = {
            let (rw, order) = (rw.clone(), order.clone());
            go(async move {
                let _guard = rw.lock().await;
                order.lock().unwrap().push("writer");
                gosched().await;
            })
        };
        sim::wait().await;
        let given_up = {
            let rw = rw.clone();
            go(async move { time::timeout(MS, rw.lock()).await.is_ok() })
        };
        let readers = [(); 2].map(|()| {
            let (rw, order) = (rw.clone(), order.clone());
            go(async move {
                let _guard = rw.rlock().await;
                order.lock().unwrap().push("reader");
            })
        });
        sim::wait().await;
        drop(first);
        writer.await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
        given_up.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["writer", "reader", "reader"]);
        assert!(rw.try_lock().is_some());
    });
}

#[test]
fn a_stream_and_receives_share_the_values() {
    check(|| async {
        let (tx, rx) = chan::bounded(1);
        let mut takers = Vec::new();
        for n in 0..4 {
            let rx = rx.clone();
            takers.push(go(async move {
                let mut taken = Vec::new();
                match n {
                    0 => taken = rx.collect().await,
                    1 => taken = rx.into_stream().collect().await,
                    2 => {
                        while let Some(value) = rx.recv().await {
                            taken.push(value)
                        }
                    }
                    _ => loop {
                        select! {
                            value = rx.recv() => match value {
                                Some(value) => taken.push(value),
                                None => break,
                            },
                            _ = time::sleep(MS) => {}
                        }
                    },
                }
                taken
            }));
        }
        drop(rx);
        for value in 0..8 {
            tx.send(value).await.unwrap();
        }
        drop(tx);
        let mut all = Vec::new();
        for taker in takers {
            let taken: Vec<usize> = taker.await.unwrap();
            assert!(taken.is_sorted(), "{taken:?}");
            all.extend(taken);
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

#[test]
fn timers_fire_at_their_time_and_not_when_stopped() {
    for seed in 0..RUNS {
        sim::run(seed, || async {
            let begin = time::now();
            let timer = time::Timer::new(MS * 5);
            let fired = go({
                let rx = timer.channel().clone();
                async move { rx.recv().await.unwrap() }
            });
            time::sleep(MS * 3).await;
            assert!(timer.reset(MS * 10));
            assert_eq!(fired.await.unwrap(), begin + MS * 13);
            let ran = Arc::new(AtomicUsize::new(0));
            let timers: Vec<_> = (0..4)
                .map(|n| {
                    let ran = ran.clone();
                    time::Timer::after_func(MS * n, async move { _ = ran.fetch_add(1, Relaxed) })
                })
                .collect();
            time::sleep(MS * 2).await;
            // A stopped function does not run; one that was not stopped will run.
            let stopped = timers.iter().filter(|timer| timer.stop()).count();
            sim::advance(MS * 10).await;
            assert_eq!(ran.load(Relaxed) + stopped, 4);
        });
    }
}

#[test]
fn a_context_ends_with_all_that_are_below_it() {
    check(|| async {
        let (root, cancel) = Context::background().with_timeout(MS * 3);
        let (tx, rx) = chan::bounded(16);
        for n in 0..4u32 {
            let (child, cancel_child) = root.with_timeout(MS * (2 * n + 1));
            let tx = tx.clone();
            go(async move {
                let (leaf, _cancel) = child.with_cancel();
                let result = leaf.run(std::future::pending::<()>()).await;
                assert!(
                    leaf.err().is_some() && child.err().is_some(),
                    "a parent ends before its child says so"
                );
                tx.send((n, result.unwrap_err())).await.ok();
            });
            if n == 0 {
                cancel_child.cancel();
            }
        }
        drop(tx);
        let canceller = go(async move {
            time::sleep(MS * 2).await;
            cancel.cancel();
        });
        let mut ended = 0;
        while let Some((n, error)) = rx.recv().await {
            assert!(n != 0 || error == ContextError::Canceled);
            ended += 1;
        }
        canceller.await.unwrap();
        assert_eq!(ended, 4);
        assert!(root.err().is_some());
    });
}

#[test]
fn a_join_returns_after_the_goroutine_has_left() {
    check(|| async {
        struct Last(Arc<AtomicUsize>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        for is_aborted in [false, true] {
            let last = Last(dropped.clone());
            let handle = go(async move {
                let _last = last;
                time::sleep(MS).await;
                gosched().await;
            });
            gosched().await;
            if is_aborted {
                handle.abort();
            }
            // It may have ended before.
            assert!(handle.await.is_ok() || is_aborted);
            assert_eq!(dropped.load(Relaxed), 1 + usize::from(is_aborted));
            assert_eq!(gopark::num_goroutine(), 1);
        }
    });
}
