//! `JoinSet`, `AbortHandle`, `AbortOnDrop`.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use gopark::sync::Notify;
use gopark::{JoinError, JoinSet, OnPanic, Runtime, chan, go, gosched, select};

use crate::hand::{Dice, Hand, on_procs};
use crate::util::{Drops, no_hang};

#[test]
fn results_come_in_the_order_of_their_ends() {
    on_procs(1, async {
        let (mut set, gates) = (JoinSet::new(), [0; 3].map(|_| Arc::new(Notify::new())));
        for (i, gate) in gates.iter().cloned().enumerate() {
            set.go(async move {
                gate.notified().await;
                i
            });
        }
        assert_eq!((set.len(), set.is_empty()), (3, false));
        for i in [2, 0, 1] {
            gates[i].notify_one();
            assert_eq!(set.join_next().await.unwrap().unwrap(), i);
        }
        assert!(set.join_next().await.is_none());
    });
}

#[test]
fn a_dropped_join_loses_no_result() {
    on_procs(2, async {
        let (mut set, mut dice, mut sum) = (JoinSet::new(), Dice::new(7), 0);
        (0..500).for_each(|i| drop(set.go(async move { i })));
        while !set.is_empty() {
            if dice.roll(2) == 0 {
                if let std::task::Poll::Ready(Some(result)) = Hand::new(set.join_next()).poll() {
                    sum += result.unwrap();
                }
            }
            select! {
                result = set.join_next() => sum += result.map_or(0, Result::unwrap),
                default => gosched().await,
            }
            if dice.roll(20) == 0 {
                set.go(async { 0 });
            }
        }
        assert_eq!(sum, 499 * 500 / 2);
    });
}

/// Goroutines end, are aborted or panic while joins are polled by hand and dropped: each goroutine
/// has one result, and none is left.
#[test]
fn each_goroutine_has_one_result_whichever_are_aborted_and_joins_dropped() {
    let runtime = Runtime::builder().gomaxprocs(2).on_panic(OnPanic::Isolate).build().unwrap();
    no_hang(move || {
        runtime.block_on(async {
            for seed in 0..60 {
                let (mut dice, drops, gate) =
                    (Dice::new(seed), Drops::new(), Arc::new(Notify::new()));
                let (mut set, mut aborts) = (JoinSet::new(), Vec::new());
                let (mut spawned, mut results) = (0, 0);
                let take = |result: Result<usize, JoinError>, results: &mut usize| {
                    *results += 1;
                    if let Err(error) = result {
                        assert!(error.is_panic() || error.is_aborted(), "seed {seed}");
                    }
                };
                for number in 0..150 {
                    match dice.roll(8) {
                        0..3 => {
                            let (value, gate, way) = (drops.one(), gate.clone(), dice.roll(4));
                            spawned += 1;
                            let abort = set.go(async move {
                                let _value = value;
                                match way {
                                    0 => gate.notified().await,
                                    1 => gosched().await,
                                    2 => resume_unwind(Box::new(())),
                                    _ => {}
                                }
                                number
                            });
                            if dice.roll(2) == 0 {
                                aborts.push(abort);
                            }
                        }
                        3 if !aborts.is_empty() => {
                            aborts.swap_remove(dice.roll(aborts.len())).abort()
                        }
                        4 => gate.notify_one(),
                        5 => gosched().await,
                        6 if !set.is_empty() => {
                            let mut join = Hand::new(set.join_next());
                            for _ in 0..=dice.roll(2) {
                                if let Poll::Ready(result) = join.poll() {
                                    take(result.expect("it is not empty"), &mut results);
                                    break;
                                }
                                std::thread::yield_now();
                            }
                        }
                        _ => {}
                    }
                    assert_eq!(set.len(), spawned - results, "seed {seed}");
                }
                if dice.roll(2) == 0 {
                    set.abort_all();
                }
                while !set.is_empty() {
                    // A goroutine that has not started reaches the gate only now.
                    gate.notify_all();
                    select! {
                        result = set.join_next() => {
                            take(result.expect("it is not empty"), &mut results)
                        }
                        default => gosched().await,
                    }
                }
                assert_eq!((results, drops.count()), (spawned, spawned), "seed {seed}");
                assert!(set.join_next().await.is_none());
            }
        });
    });
}

#[test]
fn a_set_that_is_dropped_ends_its_goroutines_and_one_that_is_detached_does_not() {
    on_procs(2, async {
        let drops = Drops::new();
        let (held, gone) = chan::unbuffered::<()>();
        let mut set = JoinSet::new();
        for _ in 0..100 {
            let (held, counted) = (held.clone(), drops.one());
            set.go(async move {
                let _held = (held, counted);
                pending::<()>().await;
            });
        }
        drop((held, set));
        assert_eq!(gone.recv().await, None);
        let (tx, rx) = chan::bounded(10);
        let mut set = JoinSet::new();
        for i in 0..10 {
            let tx = tx.clone();
            set.go(async move {
                gosched().await;
                tx.send(i).await.unwrap();
            });
        }
        set.detach_all();
        assert!(set.join_next().await.is_none());
        // Detached goroutines no longer belong to the set.
        set.go(async {});
        assert!(set.join_next().await.unwrap().is_ok());
        drop((set, tx));
        let mut got = Vec::new();
        while let Some(i) = rx.recv().await {
            got.push(i);
        }
        assert_eq!(got.len(), 10);
        assert_eq!(drops.count(), 100);
    });
}

#[test]
fn aborted_ones_and_panics_are_results() {
    let runtime = Runtime::builder().gomaxprocs(1).on_panic(OnPanic::Isolate).build().unwrap();
    runtime.block_on(async {
        let mut set = JoinSet::new();
        set.go(async { panic!("the test's own") });
        assert!(set.join_next().await.unwrap().unwrap_err().is_panic());
        set.go(pending::<()>());
        set.go(pending::<()>());
        gosched().await;
        set.abort_all();
        for _ in 0..2 {
            assert!(set.join_next().await.unwrap().unwrap_err().is_aborted());
        }
        (0..5).for_each(|_| drop(set.go(async {})));
        assert_eq!(set.join_all().await.len(), 5);
        let mut set = JoinSet::new();
        set.go(async { panic!("the test's own") });
        let joined = go(async move { set.join_all().await.len() }).await;
        assert!(joined.unwrap_err().is_panic());
    });
}

#[test]
fn an_abort_handle_ends_its_goroutine_whatever_that_has_done_by_then() {
    on_procs(1, async {
        // Not polled yet, parked, parked before; with the handle and without it.
        for (turns_before, turns_after, keeps) in
            [(0, 0, true), (1, 0, true), (0, 1, false), (1, 1, false), (0, 0, false)]
        {
            let (held, gone) = chan::unbuffered::<()>();
            let handle = go(async move {
                pending::<()>().await;
                drop(held);
            });
            for _ in 0..turns_before {
                gosched().await;
            }
            let (abort, other) = (handle.abort_handle(), handle.abort_handle());
            assert_eq!(abort.id(), handle.id());
            drop(other);
            let kept = keeps.then_some(handle);
            for _ in 0..turns_after {
                gosched().await;
            }
            abort.clone().abort();
            assert_eq!(gone.recv().await, None);
            if let Some(handle) = kept {
                assert!(handle.await.unwrap_err().is_aborted());
            }
            abort.abort();
        }
        // A goroutine that was aborted before its first poll, by a handle that was dropped: it is
        // not polled.
        let handle = go(async { unreachable!("it was aborted before") });
        handle.abort_handle().abort();
        assert!(handle.await.unwrap_err().is_aborted());
        // A goroutine that has ended.
        let handle = go(async { 7 });
        let abort = handle.abort_handle();
        assert_eq!(handle.await.unwrap(), 7);
        abort.abort();
    });
}

#[test]
fn abort_handles_of_goroutines_that_come_and_go_reach_no_other() {
    on_procs(2, async {
        let (mut dice, mut aborts, ended) =
            (Dice::new(3), Vec::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..3_000 {
            let (ended, parks) = (ended.clone(), dice.roll(2));
            let handle = go(async move {
                for _ in 0..parks {
                    gosched().await;
                }
                ended.fetch_add(1, Ordering::SeqCst);
            });
            match dice.roll(4) {
                0 => {
                    // The handle of a goroutine that has ended must not affect what uses its memory
                    // now.
                    let abort = handle.abort_handle();
                    handle.await.unwrap();
                    aborts.push(abort);
                }
                1 => drop((handle.abort_handle(), handle.await.unwrap())),
                2 if !aborts.is_empty() => {
                    aborts.swap_remove(dice.roll(aborts.len())).abort();
                    handle.await.unwrap();
                }
                _ => handle.await.unwrap(),
            }
        }
        assert_eq!(ended.load(Ordering::SeqCst), 3_000);
    });
}

#[test]
fn a_goroutine_ends_with_its_handle_if_that_says_so() {
    on_procs(1, async {
        let (held, gone) = chan::unbuffered::<()>();
        let mut handle = go(async move {
            pending::<()>().await;
            drop(held);
        })
        .abort_on_drop();
        select! {
            _ = &mut handle => unreachable!("it never ends"),
            default => {}
        }
        assert!(!handle.is_finished());
        drop(handle);
        assert_eq!(gone.recv().await, None);
        assert_eq!(go(async { 7 }).abort_on_drop().await.unwrap(), 7);
    });
}
