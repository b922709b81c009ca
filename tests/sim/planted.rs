//! Bugs of thirteen kinds, each with an await between a check and the action that depends on it.
//! Each is found within a thousand runs, and fails again with its seed.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use gopark::sim::{self, Config, Strategy};
use gopark::sync::{Cond, Mutex, WaitGroup};
use gopark::{chan, go, gosched, select, time};

/// The failure that a check finds, and its seed.
fn failure(check: impl FnOnce()) -> Option<(String, u64)> {
    let payload = catch_unwind(AssertUnwindSafe(check)).err()?;
    let text = *payload.downcast::<String>().expect("a report");
    let seed = text
        .split("simulation of seed ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("a seed");
    let seed = seed.parse().expect("a number");
    Some((text, seed))
}

/// Searches for the failure with each strategy, and replays what one found a hundred times, with
/// everything that a check does.
pub(crate) fn is_found<F: Future<Output = ()>>(
    config: &Config,
    text: &str,
    program: impl Fn() -> F,
) {
    let strategies = [Strategy::Random, Strategy::Pct { depth: 3 }];
    let check = |config: &Config| failure(|| config.check(&program));
    let seeds = strategies.map(|strategy| {
        let config = config.clone().strategy(strategy);
        let (found, seed) = check(&config)?;
        assert!(found.contains(text), "{found}");
        let (config, found) = (config.seed(seed).runs(1), Some((found, seed)));
        assert!((0..100).all(|_| check(&config) == found));
        // `run` does not check for leaks.
        assert!(text.contains("still there") || failure(|| sim::run(seed, &program)).is_some());
        Some(seed)
    });
    println!("found at {seeds:?}");
    assert!(seeds.iter().any(Option::is_some), "no strategy has found it");
}

#[test]
fn lost_update() {
    is_found(&Config::new(), "two were added", || async {
        let count = Arc::new(AtomicUsize::new(0));
        let lock = Arc::new(Mutex::new(()));
        let add = |count: Arc<AtomicUsize>, lock: Arc<Mutex<()>>| async move {
            let before = count.load(Relaxed);
            drop(lock.lock().await);
            count.store(before + 1, Relaxed);
        };
        let adders = [(); 2].map(|()| go(add(count.clone(), lock.clone())));
        for adder in adders {
            adder.await.unwrap();
        }
        assert_eq!(count.load(Relaxed), 2, "two were added");
    });
}

#[test]
fn check_then_act_on_a_closed_channel() {
    is_found(&Config::new(), "it was open", || async {
        let (tx, rx) = chan::bounded(4);
        let sender = tx.clone();
        let sends = go(async move {
            for n in 0..3 {
                if !sender.is_closed() {
                    sender.send(n).await.expect("it was open");
                }
            }
        });
        go(async move {
            rx.recv().await;
            tx.close();
            while rx.recv().await.is_some() {}
        });
        sends.await.map_err(|error| resume_unwind(error.into_panic())).unwrap();
    });
}

#[test]
fn two_locks_in_two_orders() {
    is_found(&Config::new(), "all goroutines are asleep", || async {
        let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
        let both = |first: usize, locks: Arc<[Mutex<()>; 2]>| async move {
            let _first = locks[first].lock().await;
            let _second = locks[1 - first].lock().await;
        };
        let goroutines = [0, 1].map(|first| go(both(first, locks.clone())));
        for goroutine in goroutines {
            goroutine.await.unwrap();
        }
    });
}

#[test]
fn a_missed_signal() {
    is_found(&Config::new(), "sync.Cond.Wait", || async {
        let shared = Arc::new((Mutex::new(false), Cond::new()));
        let signals = shared.clone();
        let signaller = go(async move {
            *signals.0.lock().await = true;
            signals.1.signal();
        });
        let is_ready = *shared.0.lock().await;
        if !is_ready {
            let guard = shared.0.lock().await;
            drop(shared.1.wait(guard).await);
        }
        signaller.await.unwrap();
    });
}

#[test]
fn a_select_that_forgets_a_case() {
    is_found(&Config::new(), "all goroutines are asleep", || async {
        let (tx, rx) = chan::unbuffered();
        let (stop, stopped) = chan::unbuffered::<()>();
        let producer = go(async move {
            for n in 0..2 {
                // It forgets that the other one may have stopped.
                tx.send(n).await.unwrap();
            }
        });
        go(async move { stop.send(()).await });
        let mut is_stopped = false;
        while !is_stopped {
            select! {
                n = rx.recv() => is_stopped = n.is_none(),
                _ = stopped.recv() => is_stopped = true,
            }
        }
        producer.await.unwrap();
    });
}

#[test]
fn closed_twice() {
    is_found(&Config::new(), "closed once", || async {
        let (tx, rx) = chan::bounded::<u8>(1);
        let closers = [(); 2].map(|()| {
            let tx = tx.clone();
            go(async move {
                if !tx.is_closed() {
                    tx.send(1).await.ok();
                    assert!(tx.close(), "closed once");
                }
            })
        });
        while rx.recv().await.is_some() {}
        for closer in closers {
            closer.await.map_err(|error| resume_unwind(error.into_panic())).unwrap();
        }
    });
}

#[test]
fn waitgroup_add_after_wait() {
    is_found(&Config::new(), "all have ended", || async {
        let (group, ended) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..2 {
            let (group, ended) = (group.clone(), ended.clone());
            go(async move {
                group.add(1);
                gosched().await;
                ended.fetch_add(1, Relaxed);
                group.done();
            });
        }
        gosched().await;
        group.wait().await;
        assert_eq!(ended.load(Relaxed), 2, "all have ended");
    });
}

#[test]
fn a_timer_against_stop() {
    is_found(&Config::new(), "stopped in time", || async {
        let fired = Arc::new(AtomicBool::new(false));
        let sets = fired.clone();
        let timer =
            time::Timer::after_func(
                Duration::from_millis(5),
                async move { sets.store(true, Relaxed) },
            );
        time::sleep(Duration::from_millis(5)).await;
        timer.stop();
        assert!(!fired.load(Relaxed), "stopped in time");
    });
}

#[test]
fn a_goroutine_leaked_on_cancel() {
    is_found(&Config::new().leaks(true).cancel(0.1), "still there", || async {
        let (tx, rx) = chan::unbuffered();
        go(async move {
            gosched().await;
            tx.send(1).await.ok();
            drop(tx);
        });
        // The receiver outlives the time-out, so that the send never ends.
        let rx = Box::leak(Box::new(rx));
        time::timeout(Duration::from_millis(1), rx.recv()).await.ok();
    });
}

#[test]
fn two_operations_of_a_join_as_if_they_were_one() {
    is_found(&Config::new(), "both are offered", || async {
        let ((one, first), (two, second)) = (chan::unbuffered(), chan::unbuffered());
        let sender = go(futures_lite::future::zip(async move { one.send(1).await }, async move {
            two.send(2).await
        }));
        while first.try_recv().is_err() {
            gosched().await;
        }
        assert_eq!(second.try_recv(), Ok(2), "both are offered");
        assert_eq!(sender.await.unwrap(), (Ok(()), Ok(())));
    });
}

#[test]
fn the_order_of_two_sends() {
    is_found(&Config::new(), "in order", || async {
        let (tx, rx) = chan::bounded(2);
        for n in 0..2 {
            let tx = tx.clone();
            go(async move { tx.send(n).await });
        }
        assert_eq!([rx.recv().await, rx.recv().await], [Some(0), Some(1)], "in order");
    });
}

#[test]
fn four_changes_of_turns_of_two_loops() {
    is_found(&Config::new(), "fewer turns", || async {
        let turns = Arc::new(Mutex::new((None, 0)));
        let loops = [0, 1].map(|own| {
            let turns = turns.clone();
            go(async move {
                for _ in 0..6 {
                    let mut turns = turns.lock().await;
                    let (last, changes) = *turns;
                    let changes =
                        if last.is_some_and(|last| last != own) { changes + 1 } else { 0 };
                    assert!(changes < 4, "fewer turns");
                    *turns = (Some(own), changes);
                }
            })
        });
        for one in loops {
            one.await.map_err(|error| resume_unwind(error.into_panic())).unwrap();
        }
    });
}

#[test]
fn a_queue_of_two_loops_that_overflows_after_four_handoffs() {
    is_found(&Config::new(), "room for it", || async {
        let (requests, requested) = chan::bounded(1);
        let (replies, replied) = chan::bounded(1);
        let server = go(async move {
            while let Some(n) = requested.recv().await {
                // It assumes that the last reply has been taken.
                assert!(n < 4 || replies.is_empty(), "room for it");
                replies.send(n).await.ok();
            }
        });
        let client = go(async move {
            for n in 0..6 {
                requests.send(n).await.ok();
                if n > 0 {
                    replied.recv().await;
                }
            }
        });
        client.await.unwrap();
        server.await.map_err(|error| resume_unwind(error.into_panic())).unwrap();
    });
}
