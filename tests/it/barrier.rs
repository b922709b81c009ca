//! `sync::Barrier`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopark::sync::{Barrier, WaitGroup};
use gopark::{gosched, select};

use crate::hand::{Dice, Hand, on_procs};

#[test]
fn none_goes_on_before_all_have_come_and_one_is_the_leader() {
    let barrier = Barrier::new(3);
    for _ in 0..3 {
        let (mut a, mut b) = (Hand::parked(barrier.wait()), Hand::parked(barrier.wait()));
        assert!(a.is_pending() && b.is_pending());
        assert!(Hand::new(barrier.wait()).ready().is_leader());
        assert!(!a.ready().is_leader() && !b.ready().is_leader());
    }
}

#[test]
fn a_barrier_of_none_or_one_never_waits() {
    for n in [0, 1] {
        let barrier = Barrier::new(n);
        assert!(Hand::new(barrier.wait()).ready().is_leader());
        assert!(Hand::new(barrier.wait()).ready().is_leader());
    }
}

#[test]
fn one_that_gives_up_is_not_counted() {
    let barrier = Barrier::new(2);
    drop(Hand::parked(barrier.wait()));
    drop(barrier.wait());
    let mut first = Hand::parked(barrier.wait());
    let second = Hand::new(barrier.wait()).ready();
    assert!(second.is_leader());
    // After the last one has arrived, dropping a wait takes nothing back.
    drop(Hand::parked(barrier.wait()));
    assert!(!first.ready().is_leader());
    let gone = Hand::parked(barrier.wait());
    assert!(Hand::new(barrier.wait()).ready().is_leader());
    drop(gone);
    assert!(Hand::new(barrier.wait()).is_pending());
}

#[test]
fn whoever_gives_up_whenever_rounds_have_as_many_as_the_barrier_is_for() {
    for seed in 0..400 {
        let (mut dice, n) = (Dice::new(seed), 1 + seed as usize % 5);
        let barrier = Barrier::new(n);
        // Waits of the current round, and waits of rounds that have ended.
        let (mut waits, mut over) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            match dice.roll(4) {
                0 | 1 => {
                    let mut wait = Hand::new(barrier.wait());
                    if waits.len() + 1 == n {
                        assert!(wait.ready().is_leader(), "seed {seed}");
                        over.append(&mut waits);
                    } else {
                        assert!(wait.is_pending(), "seed {seed}");
                        waits.push(wait);
                    }
                }
                2 if !waits.is_empty() => drop(waits.swap_remove(dice.roll(waits.len()))),
                _ if !over.is_empty() => {
                    let mut wait: Hand<_> = over.swap_remove(dice.roll(over.len()));
                    assert!(dice.roll(2) == 0 || !wait.ready().is_leader(), "seed {seed}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn goroutines_go_through_it_round_by_round() {
    on_procs(2, async {
        let (barrier, inside, wg) =
            (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)), WaitGroup::new());
        let leaders = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let (barrier, inside, leaders) = (barrier.clone(), inside.clone(), leaders.clone());
            wg.go(async move {
                for round in 0..500 {
                    inside.fetch_add(1, Ordering::SeqCst);
                    let led = barrier.wait().await.is_leader();
                    assert!(inside.load(Ordering::SeqCst) >= 4 * (round + 1), "not all have come");
                    leaders.fetch_add(usize::from(led), Ordering::SeqCst);
                    gosched().await;
                }
            });
        }
        wg.wait().await;
        assert_eq!(leaders.load(Ordering::SeqCst), 500);
        select! {
            _ = barrier.wait() => unreachable!("alone"),
            default => {}
        }
        assert_eq!(format!("{barrier:?}"), "Barrier { n: 4, arrived: 0 }");
    });
}
