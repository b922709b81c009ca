//! `sync::Cond`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use futures_lite::future::poll_once;
use gopark::sync::{Cond, Mutex, RwMutex, WaitGroup};
use gopark::{go, gosched};

use crate::hand::{Acts, Dice, Hand, on_procs};

#[test]
fn wait_gives_the_lock_up_and_takes_it_again_co01() {
    let (m, c) = (Mutex::new(0), Cond::new());
    let mut wait = Hand::new(c.wait(m.try_lock().unwrap()));
    *m.try_lock().expect("given up by the call") = 1;
    assert!(wait.is_pending());
    let held = m.try_lock().unwrap();
    c.signal();
    assert_eq!(wait.wakes(), 1);
    // The waiter is signalled, but the lock is held.
    assert!(wait.is_pending());
    drop(held);
    let guard = wait.ready();
    assert_eq!(*guard, 1);
    assert!(m.try_lock().is_none());
}

#[test]
fn a_wait_that_nobody_signals_is_never_ready_co01() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut wait = Hand::parked(c.wait(m.try_lock().unwrap()));
    for _ in 0..10 {
        assert!(wait.is_pending());
    }
    assert_eq!(wait.wakes(), 0);
}

#[test]
fn signal_between_unlock_and_first_poll_is_not_lost_co02() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut wait = Hand::new(c.wait(m.try_lock().unwrap()));
    c.signal();
    drop(wait.ready());
    let mut wait = Hand::new(c.wait(m.try_lock().unwrap()));
    c.broadcast();
    drop(wait.ready());
}

#[test]
fn later_waiter_does_not_steal_an_earlier_ones_signal_co02() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut early = Hand::new(c.wait(m.try_lock().unwrap()));
    c.signal();
    let mut late = Hand::new(c.wait(m.try_lock().unwrap()));
    assert!(late.is_pending());
    drop(early.ready());
    assert!(late.is_pending());
    // The call counts, not the first poll.
    let mut a = Hand::new(c.wait(m.try_lock().unwrap()));
    let mut b = Hand::new(c.wait(m.try_lock().unwrap()));
    assert!(b.is_pending() && a.is_pending());
    c.signal();
    drop(late.ready());
    c.signal();
    assert_eq!((a.wakes(), b.wakes()), (1, 0));
    drop(a.ready());
}

#[test]
fn signal_wakes_the_longest_waiter_and_is_forgotten_when_there_is_none_co03() {
    let (m, c) = (Mutex::new(()), Cond::new());
    c.signal();
    let mut waits: Vec<_> = (0..4).map(|_| Hand::parked(c.wait(m.try_lock().unwrap()))).collect();
    for i in 0..4 {
        c.signal();
        assert_eq!(
            waits.iter().map(Hand::wakes).collect::<Vec<_>>(),
            (0..4).map(|j| usize::from(j <= i)).collect::<Vec<_>>()
        );
    }
    c.signal();
    for wait in &mut waits {
        drop(wait.ready());
    }
    assert!(Hand::new(c.wait(m.try_lock().unwrap())).is_pending());
}

#[test]
fn broadcast_wakes_those_who_wait_now_each_once_co04() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut now: Vec<_> = (0..200).map(|_| Hand::parked(c.wait(m.try_lock().unwrap()))).collect();
    c.broadcast();
    let mut late = Hand::parked(c.wait(m.try_lock().unwrap()));
    assert!(now.iter().all(|wait| wait.wakes() == 1));
    for wait in &mut now {
        drop(wait.ready());
    }
    assert!(late.is_pending());
    assert_eq!(late.wakes(), 0);
}

#[test]
fn signal_needs_no_lock_co05() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut wait = Hand::parked(c.wait(m.try_lock().unwrap()));
    let held = m.try_lock().unwrap();
    c.signal();
    drop(held);
    drop(wait.ready());
}

#[test]
fn dropped_wait_passes_its_signal_on_ca11() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let first = Hand::parked(c.wait(m.try_lock().unwrap()));
    let mut second = Hand::parked(c.wait(m.try_lock().unwrap()));
    c.signal();
    drop(first);
    assert_eq!(second.wakes(), 1);
    drop(second.ready());
    assert!(m.try_lock().is_some());
}

#[test]
fn dropped_wait_passes_its_signal_on_while_it_waits_for_the_lock_ca11() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut first = Hand::parked(c.wait(m.try_lock().unwrap()));
    let mut second = Hand::parked(c.wait(m.try_lock().unwrap()));
    let held = m.try_lock().unwrap();
    c.signal();
    assert!(first.is_pending());
    drop(held);
    // The waiter owns the lock now, but has not returned the guard.
    drop(first);
    assert_eq!(second.wakes(), 1);
    drop(second.ready());
    assert!(m.try_lock().is_some());
}

/// A bug: a wait that was dropped with a signal and the lock unlocked first. If the waker of the
/// lock's next waiter panicked, the signal was lost.
#[test]
fn dropped_wait_passes_its_signal_on_though_a_waker_panics_ca11() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut first = Hand::parked(c.wait(m.try_lock().unwrap()));
    let mut second = Hand::parked(c.wait(m.try_lock().unwrap()));
    let held = m.try_lock().unwrap();
    c.signal();
    assert!(first.is_pending());
    let waker = Waker::from(Arc::new(Acts {
        on_wake: Box::new(|| panic!("bad waker")),
        on_drop: Box::new(|| ()),
    }));
    let mut behind = Hand::new(m.lock());
    assert!(behind.poll_with(&waker).is_pending());
    drop(held);
    // The first waiter owns the lock. If it is dropped, it must notify the one behind it.
    drop(first);
    assert_eq!(second.wakes(), 1);
    drop(behind.ready());
    drop(second.ready());
}

#[test]
fn returned_wait_keeps_its_signal_ca11() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut first = Hand::parked(c.wait(m.try_lock().unwrap()));
    let mut second = Hand::parked(c.wait(m.try_lock().unwrap()));
    c.signal();
    let guard = first.ready();
    drop(first);
    drop(guard);
    assert!(second.is_pending());
}

#[test]
fn dropped_broadcast_wait_passes_nothing_on_ca11() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let unpolled = Hand::new(c.wait(m.try_lock().unwrap()));
    let parked = Hand::parked(c.wait(m.try_lock().unwrap()));
    let mut locking = Hand::parked(c.wait(m.try_lock().unwrap()));
    let held = m.try_lock().unwrap();
    c.broadcast();
    assert!(locking.is_pending());
    // This waiter comes too late for the broadcast.
    let mut late = Hand::parked(c.wait(held));
    drop((unpolled, parked, locking));
    assert!(late.is_pending());
    assert_eq!(late.wakes(), 0);
    assert!(m.try_lock().is_some());
}

#[test]
fn dropped_wait_that_was_not_signalled_just_leaves_ca11() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let first = Hand::parked(c.wait(m.try_lock().unwrap()));
    let mut second = Hand::parked(c.wait(m.try_lock().unwrap()));
    drop(first);
    assert!(second.is_pending());
    c.signal();
    drop(second.ready());
}

#[test]
fn wait_while_returns_when_the_condition_is_false() {
    on_procs(2, async {
        let state = Arc::new((Mutex::new(0), Cond::new()));
        let other = state.clone();
        let counts = go(async move {
            for _ in 0..10 {
                *other.0.lock().await += 1;
                other.1.signal();
                gosched().await;
            }
        });
        let n = state.1.wait_while(state.0.lock().await, |n| *n < 10).await;
        assert_eq!(*n, 10);
        drop(n);
        counts.await.unwrap();
        // It does not wait if the condition is false at once.
        let n = state.0.try_lock().unwrap();
        assert_eq!(*Hand::new(state.1.wait_while(n, |_| false)).ready(), 10);
    });
}

#[test]
fn wait_while_with_a_condition_that_panics_unlocks() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut wait = Hand::new(c.wait_while(m.try_lock().unwrap(), |()| panic!("no")));
    assert!(catch_unwind(AssertUnwindSafe(|| wait.poll().is_ready())).is_err());
    assert!(m.try_lock().is_some());
}

#[test]
fn read_and_write_guards_wait_as_well_rw06() {
    let (m, c) = (RwMutex::new(1), Cond::new());
    let mut write = Hand::parked(c.wait(m.try_lock().unwrap()));
    let mut read = Hand::parked(c.wait(m.try_rlock().unwrap()));
    c.broadcast();
    *write.ready() += 1;
    assert_eq!(*read.ready(), 2);
}

#[test]
fn wakers_may_use_the_cond_ca06() {
    let state: &'static (Mutex<()>, Cond) = Box::leak(Box::new((Mutex::new(()), Cond::new())));
    let acts = move || {
        if let Some(guard) = state.0.try_lock() {
            let mut wait = Hand::new(state.1.wait(guard));
            let _ = wait.poll();
        }
    };
    let waker = || Waker::from(Arc::new(Acts { on_wake: Box::new(acts), on_drop: Box::new(acts) }));
    let mut waits: Vec<_> =
        (0..10).map(|_| Hand::new(state.1.wait(state.0.try_lock().unwrap()))).collect();
    for wait in &mut waits {
        assert!(wait.poll_with(&waker()).is_pending());
        assert!(wait.poll_with(&waker()).is_pending());
    }
    state.1.signal();
    state.1.broadcast();
    for mut wait in waits {
        drop(wait.ready());
    }
    assert!(state.0.try_lock().is_some());
}

#[test]
#[should_panic(expected = "polled after completion")]
fn polling_after_completion_panics() {
    let (m, c) = (Mutex::new(()), Cond::new());
    let mut wait = Hand::new(c.wait(m.try_lock().unwrap()));
    c.signal();
    drop(wait.ready());
    let _ = wait.poll();
}

#[test]
fn cond_fits_everywhere() {
    static C: Cond = Cond::new();
    C.signal();
    assert_eq!(format!("{C:?} {:?}", Cond::default()), "Cond { waiting: 0 } Cond { waiting: 0 }");
    fn send<T: Send>(_: &T) {}
    let m = Mutex::new(std::cell::Cell::new(1));
    let wait = C.wait(m.try_lock().unwrap());
    send(&wait);
    send(&C.wait_while(m.try_lock().unwrap(), |_| true));
    assert_eq!(format!("{wait:?}"), "CondWait { stage: \"waiting\", .. }");
}

/// Each signal wakes exactly one of those that wait at that moment, whichever of them are dropped.
#[test]
fn random_cancellation_follows_the_model() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let (m, c) = (Mutex::new(()), Cond::new());
        let mut waiting: Vec<Hand<_>> = Vec::new();
        // Each waiter with how it was notified: true for a signal.
        let mut notified: Vec<(Hand<_>, bool)> = Vec::new();
        for _ in 0..300 {
            match dice.roll(6) {
                0 | 1 => {
                    let mut hand = Hand::new(c.wait(m.try_lock().unwrap()));
                    if dice.roll(3) != 0 {
                        assert!(hand.is_pending());
                    }
                    waiting.push(hand);
                }
                2 => {
                    c.signal();
                    if !waiting.is_empty() {
                        notified.push((waiting.remove(0), true));
                    }
                }
                3 if dice.roll(4) == 0 => {
                    c.broadcast();
                    notified.extend(waiting.drain(..).map(|hand| (hand, false)));
                }
                3 if !waiting.is_empty() => drop(waiting.remove(dice.roll(waiting.len()))),
                4 if !notified.is_empty() => {
                    let (hand, signal) = notified.swap_remove(dice.roll(notified.len()));
                    drop(hand);
                    if signal && !waiting.is_empty() {
                        notified.push((waiting.remove(0), true));
                    }
                }
                _ => {
                    if !notified.is_empty() {
                        let (mut hand, _) = notified.swap_remove(dice.roll(notified.len()));
                        drop(hand.ready());
                    }
                    let at = dice.roll(waiting.len() + 1);
                    if let Some(hand) = waiting.get_mut(at) {
                        assert!(hand.is_pending(), "seed {seed}");
                    }
                }
            }
            assert!(waiting.iter().all(|hand| hand.wakes() == 0), "seed {seed}");
            assert!(notified.iter().all(|(hand, _)| hand.wakes() <= 1), "seed {seed}");
        }
    }
}

/// A queue between goroutines, some of which give up midway: everything that is put in comes out.
#[test]
fn queue_with_waits_that_give_up_loses_no_wake_ca11() {
    const ITEMS: usize = 20_000;
    on_procs(2, async {
        let queue = Arc::new((Mutex::new(Vec::new()), Cond::new()));
        let taken = Arc::new(AtomicUsize::new(0));
        let wg = WaitGroup::new();
        for g in 0..6 {
            let (queue, taken) = (queue.clone(), taken.clone());
            wg.go(async move {
                let mut dice = Dice::new(g);
                loop {
                    let mut items = queue.0.lock().await;
                    loop {
                        match items.pop() {
                            Some(usize::MAX) => return,
                            Some(_) => {
                                taken.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                            None if dice.roll(3) == 0 => {
                                // Waits only for a moment.
                                let wait = queue.1.wait(items);
                                items = match poll_once(async {
                                    gosched().await;
                                    wait.await
                                })
                                .await
                                {
                                    Some(items) => items,
                                    None => queue.0.lock().await,
                                };
                                gosched().await;
                            }
                            None => items = queue.1.wait(items).await,
                        }
                    }
                }
            });
        }
        for i in 0..ITEMS {
            queue.0.lock().await.push(i);
            queue.1.signal();
            if i % 100 == 0 {
                gosched().await;
            }
        }
        queue.0.lock().await.splice(0..0, [usize::MAX; 6]);
        // Each of the six is woken in time, if no signal was lost.
        for _ in 0..6 {
            queue.1.signal();
        }
        wg.wait().await;
        assert_eq!(taken.load(Ordering::Relaxed), ITEMS);
    });
}

#[test]
fn two_sides_take_turns_co01() {
    on_procs(2, async {
        let state = Arc::new((Mutex::new(0usize), Cond::new()));
        let wg = WaitGroup::new();
        for side in 0..2 {
            let state = state.clone();
            wg.go(async move {
                for _ in 0..5_000 {
                    let mut n = state.0.lock().await;
                    while *n % 2 != side {
                        n = state.1.wait(n).await;
                    }
                    *n += 1;
                    state.1.signal();
                }
            });
        }
        wg.wait().await;
        assert_eq!(*state.0.lock().await, 10_000);
    });
}

#[test]
fn broadcast_with_many_goroutines_co04() {
    on_procs(2, async {
        let state = Arc::new((Mutex::new((0usize, 0usize)), Cond::new()));
        for round in 1..=20 {
            let wg = WaitGroup::new();
            for _ in 0..200 {
                let state = state.clone();
                wg.go(async move {
                    let mut s = state.0.lock().await;
                    s.1 += 1;
                    drop(state.1.wait_while(s, |s| s.0 != round).await);
                });
            }
            while state.0.lock().await.1 != 200 * round {
                gosched().await;
            }
            state.0.lock().await.0 = round;
            state.1.broadcast();
            wg.wait().await;
        }
    });
}
