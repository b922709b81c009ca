//! `sync::OnceCell`.

use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use gopark::sync::{OnceCell, WaitGroup};
use gopark::{OnPanic, Runtime, go, gosched};

use crate::hand::{Dice, Hand, on_procs};
use crate::util::{Drops, OnDrop};

#[test]
fn one_of_many_makes_the_value_and_all_get_it() {
    on_procs(2, async {
        let (cell, made) = (Arc::new(OnceCell::new()), Arc::new(AtomicUsize::new(0)));
        let wg = WaitGroup::new();
        for i in 0..50 {
            let (cell, made) = (cell.clone(), made.clone());
            wg.go(async move {
                let init = async || {
                    gosched().await;
                    made.fetch_add(1, Ordering::SeqCst);
                    i
                };
                let value = *cell.get_or_init(init).await;
                assert_eq!(cell.get(), Some(&value));
            });
        }
        wg.wait().await;
        assert_eq!(made.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn one_that_fails_or_is_dropped_lets_the_next_try() {
    let cell = OnceCell::new();
    let mut first = Hand::parked(cell.get_or_init(pending::<i32>));
    let mut second = Hand::parked(cell.get_or_try_init(async || Err("no")));
    let mut third = Hand::parked(cell.get_or_init(async || 3));
    assert!(first.is_pending() && cell.set(9) == Err(9));
    drop(first);
    assert_eq!(second.ready(), Err("no"));
    assert_eq!(*third.ready(), 3);
    assert_eq!((cell.set(4), cell.get()), (Err(4), Some(&3)));
    assert_eq!(
        format!("{cell:?} {:?}", OnceCell::<u8>::default()),
        "OnceCell(3) OnceCell(<empty>)"
    );
}

/// Calls are dropped at any time. One at a time makes the value, in the order of arrival, and it is
/// made once.
#[test]
fn one_at_a_time_makes_the_value_whichever_are_dropped() {
    for seed in 0..400 {
        let (mut dice, drops) = (Dice::new(seed), Drops::new());
        let (cell, makes) = (OnceCell::new(), Cell::new(None));
        let init = |number: usize, polls: usize| {
            let (cell, makes, drops) = (&cell, &makes, &drops);
            Hand::new(async move {
                let make = async move || {
                    assert_eq!(makes.replace(Some(number)), None, "two make it");
                    let _turn = OnDrop(|| makes.set(None));
                    for _ in 0..polls {
                        futures_lite::future::yield_now().await;
                    }
                    if polls % 2 == 1 { Err(()) } else { Ok((number, drops.one())) }
                };
                cell.get_or_try_init(make).await.map(|(number, _)| *number)
            })
        };
        // Each with the number of its wakes when it was polled.
        let mut inits: Vec<(Hand<_>, usize)> = Vec::new();
        for number in 0..60 {
            match dice.roll(4) {
                0 | 1 => inits.push((init(number, dice.roll(6)), usize::MAX)),
                2 if !inits.is_empty() => drop(inits.swap_remove(dice.roll(inits.len()))),
                _ => {}
            }
            for _ in 0..dice.roll(4) {
                let mut at = dice.roll(3);
                while at < inits.len() {
                    let (init, seen) = &mut inits[at];
                    *seen = init.wakes();
                    let is_made = cell.get().is_some();
                    let polled = init.poll();
                    assert!(
                        polled.is_ready() || !is_made,
                        "seed {seed}: it waits for what is there"
                    );
                    if let Poll::Ready(result) = polled {
                        assert_eq!(
                            result.ok(),
                            cell.get().map(|(number, _)| *number).filter(|_| result.is_ok())
                        );
                        drop(inits.remove(at));
                    } else {
                        at += 1 + dice.roll(2);
                    }
                }
            }
        }
        // Those that are new or were woken are polled, until all have ended.
        while inits.iter().any(|(init, seen)| init.wakes() != *seen) {
            inits.retain_mut(|(init, seen)| {
                let is_woken = init.wakes() != *seen;
                *seen = init.wakes();
                !is_woken || init.is_pending()
            });
        }
        assert!(inits.is_empty(), "seed {seed}: {} are forgotten", inits.len());
        drop(inits);
        let made = usize::from(cell.get().is_some());
        assert_eq!(drops.count(), 0, "seed {seed}");
        drop(cell);
        assert_eq!(drops.count(), made, "seed {seed}");
    }
}

#[test]
fn a_panic_lets_the_next_try() {
    let runtime = Runtime::builder().gomaxprocs(1).on_panic(OnPanic::Isolate).build().unwrap();
    runtime.block_on(async {
        let cell = Arc::new(OnceCell::new());
        let other = cell.clone();
        let failed =
            go(async move { *other.get_or_init(async || panic!("the test's own")).await }).await;
        assert!(failed.unwrap_err().is_panic());
        assert_eq!(*cell.get_or_init(async || 7).await, 7);
    });
}

#[test]
fn a_value_that_is_set_needs_no_function() {
    let cell = OnceCell::new();
    cell.set("set").unwrap();
    assert_eq!(*Hand::new(cell.get_or_init(async || unreachable!())).ready(), "set");
}
