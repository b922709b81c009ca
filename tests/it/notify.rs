//! `sync::Notify`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use gopark::sync::futures::Notified;
use gopark::sync::{Notify, WaitGroup};
use gopark::{go, gosched, select};

use crate::hand::{Acts, Dice, Hand, on_procs};
use crate::util::no_hang;

#[test]
fn a_notification_without_a_waiter_is_kept_once() {
    let n = Notify::new();
    (0..3).for_each(|_| n.notify_one());
    Hand::new(n.notified()).ready();
    assert!(Hand::new(n.notified()).is_pending());
}

#[test]
fn one_is_notified_after_the_other_in_the_order_of_their_first_polls() {
    let n = Notify::new();
    let mut late = Hand::new(n.notified());
    let mut waits = [0; 3].map(|_| Hand::parked(n.notified()));
    assert!(late.is_pending());
    for i in 0..3 {
        n.notify_one();
        assert_eq!(waits.iter().map(Hand::wakes).sum::<usize>(), i + 1);
        waits[i].ready();
    }
    assert!(late.is_pending());
    n.notify_one();
    late.ready();
}

#[test]
fn all_are_notified_that_were_called_before_and_none_that_comes_later() {
    let n = Notify::new();
    let (mut unpolled, mut polled) = (Hand::new(n.notified()), Hand::parked(n.notified()));
    n.notify_all();
    let mut later = Hand::parked(n.notified());
    unpolled.ready();
    polled.ready();
    assert!(later.is_pending());
    // The permit that was kept is for a waiter that comes later.
    drop(later);
    n.notify_one();
    n.notify_all();
    Hand::new(n.notified()).ready();
    assert!(Hand::new(n.notified()).is_pending());
}

#[test]
fn more_waiters_than_are_woken_at_once_are_all_woken() {
    let n = Notify::new();
    let mut waits: Vec<_> = (0..100).map(|_| Hand::parked(n.notified())).collect();
    n.notify_all();
    waits.iter_mut().for_each(Hand::ready);
    assert!(Hand::new(n.notified()).is_pending());
}

#[test]
fn a_dropped_wait_passes_on_what_it_was_notified_of() {
    let n = Notify::new();
    let (first, mut second) = (Hand::parked(n.notified()), Hand::parked(n.notified()));
    n.notify_one();
    drop(first);
    second.ready();
    let last = Hand::parked(n.notified());
    n.notify_one();
    drop(last);
    Hand::new(n.notified()).ready();
    // All have been notified: there is nothing to pass on.
    let gone = Hand::parked(n.notified());
    n.notify_all();
    drop(gone);
    assert!(Hand::new(n.notified()).is_pending());
    // It was notified by both: the notification of one is passed on.
    let both = Hand::parked(n.notified());
    n.notify_one();
    n.notify_all();
    drop(both);
    Hand::new(n.notified()).ready();
}

#[test]
fn one_that_comes_while_all_are_woken_gets_the_next_notification() {
    static NOTIFY: Notify = Notify::new();
    static LATE: Mutex<Option<Hand<Notified<'static>>>> = Mutex::new(None);
    // Called while some waiters that came before it, and are notified with all, are still in the
    // queue.
    let on_wake = Box::new(|| {
        *LATE.lock().unwrap() = Some(Hand::parked(NOTIFY.notified()));
        NOTIFY.notify_one();
    });
    let calls_back = Waker::from(Arc::new(Acts { on_wake, on_drop: Box::new(|| ()) }));
    let mut first = Hand::new(NOTIFY.notified());
    assert!(first.poll_with(&calls_back).is_pending());
    let mut others: Vec<_> = (0..40).map(|_| Hand::parked(NOTIFY.notified())).collect();
    NOTIFY.notify_all();
    first.ready();
    others.iter_mut().for_each(Hand::ready);
    LATE.lock().unwrap().take().expect("woken").ready();
    assert!(Hand::new(NOTIFY.notified()).is_pending());
}

#[test]
fn a_wait_stands_in_a_select() {
    on_procs(1, async {
        let n = Arc::new(Notify::new());
        let other = n.clone();
        go(async move { other.notify_one() });
        let (_tx, rx) = gopark::chan::unbuffered::<u8>();
        select! {
            _ = rx.recv() => unreachable!("it is open, and empty"),
            _ = n.notified() => {}
        }
        assert!(Hand::new(n.notified()).is_pending());
    });
}

/// Waiters are dropped at any time: each notification of one ends one wait, or is kept.
#[test]
fn no_notification_is_lost_or_doubled_whoever_gives_up() {
    for seed in 0..400 {
        let (mut dice, n) = (Dice::new(seed), Notify::new());
        let (mut waits, mut kept) = (Vec::new(), false);
        for _ in 0..200 {
            match dice.roll(5) {
                0 | 1 => {
                    let mut wait = Hand::new(n.notified());
                    assert_eq!(!wait.is_pending(), kept, "seed {seed}");
                    if !std::mem::take(&mut kept) {
                        waits.push(wait);
                    }
                }
                2 => {
                    kept |= waits.iter().all(|wait: &Hand<_>| wait.wakes() > 0);
                    n.notify_one();
                    let notified = waits.iter().filter(|wait| wait.wakes() > 0).count();
                    assert!(
                        waits[..notified].iter().all(|wait| wait.wakes() == 1),
                        "seed {seed}: out of order"
                    );
                }
                3 if !waits.is_empty() => {
                    let at = dice.roll(waits.len());
                    let gone: Hand<_> = waits.remove(at);
                    kept |= gone.wakes() > 0 && waits.iter().all(|wait| wait.wakes() > 0);
                }
                _ if !waits.is_empty() => {
                    let at = dice.roll(waits.len());
                    if waits[at].wakes() > 0 {
                        waits.remove(at).ready();
                    } else {
                        assert!(waits[at].is_pending(), "seed {seed}: nothing has notified it");
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn many_threads_and_goroutines_lose_no_notification() {
    const EACH: usize = 2_000;
    on_procs(2, async {
        let (n, taken) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let wg = WaitGroup::new();
        for _ in 0..4 {
            let (n, taken) = (n.clone(), taken.clone());
            wg.go(async move {
                for _ in 0..EACH {
                    n.notified().await;
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while taken.load(Ordering::SeqCst) < 4 * EACH {
            // Only one is kept, so at most one is ahead.
            n.notify_one();
            gosched().await;
        }
        wg.wait().await;
    });
    no_hang(|| {
        let n = Notify::new();
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    for _ in 0..EACH {
                        futures_lite::future::block_on(n.notified());
                        n.notify_one();
                    }
                });
            }
            n.notify_one();
        });
        Hand::new(n.notified()).ready();
    });
}
