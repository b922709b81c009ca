//! `sync::broadcast`.

use std::collections::VecDeque;

use gopark::sync::WaitGroup;
use gopark::sync::broadcast::{RecvError, bounded};
use gopark::{go, gosched, select};

use crate::hand::{Dice, Hand, on_procs};
use crate::util::Drops;

#[test]
fn each_receiver_gets_each_value_from_its_beginning_on() {
    let (tx, mut a) = bounded(4);
    assert_eq!(tx.send(1), Ok(1));
    let mut b = tx.subscribe();
    assert_eq!(tx.send(2), Ok(2));
    assert_eq!(Hand::new(a.recv()).ready(), Ok(1));
    assert_eq!(Hand::new(a.recv()).ready(), Ok(2));
    assert_eq!(Hand::new(b.recv()).ready(), Ok(2));
    assert!(Hand::new(b.recv()).is_pending());
}

#[test]
fn all_that_wait_are_woken_and_one_that_gives_up_misses_nothing() {
    let (tx, mut a) = bounded(1);
    let mut b = tx.subscribe();
    let (mut waits, gone) = (Hand::parked(a.recv()), Hand::parked(b.recv()));
    tx.send(1).unwrap();
    assert_eq!((waits.wakes(), gone.wakes()), (1, 1));
    drop(gone);
    assert_eq!(waits.ready(), Ok(1));
    assert_eq!(Hand::new(b.recv()).ready(), Ok(1));
}

#[test]
fn one_that_is_too_far_behind_learns_how_far() {
    let (tx, mut rx) = bounded(2);
    (1..=5).for_each(|i| _ = tx.send(i));
    assert_eq!(Hand::new(rx.recv()).ready(), Err(RecvError::Lagged(3)));
    assert_eq!(Hand::new(rx.recv()).ready(), Ok(4));
    drop(tx);
    assert_eq!(Hand::new(rx.recv()).ready(), Ok(5));
    assert_eq!(Hand::new(rx.recv()).ready(), Err(RecvError::Closed));
}

#[test]
fn the_end_of_the_senders_wakes_and_that_of_the_receivers_gives_values_back() {
    let (tx, mut rx) = bounded::<u8>(2);
    let other = tx.clone();
    let mut wait = Hand::parked(rx.recv());
    drop(tx);
    assert_eq!(wait.wakes(), 0);
    drop(other);
    assert_eq!(wait.ready(), Err(RecvError::Closed));
    let (tx, rx) = bounded(1);
    drop(rx);
    assert_eq!(tx.send(1).unwrap_err().into_inner(), 1);
    let mut rx = tx.subscribe();
    tx.send(2).unwrap();
    assert_eq!(Hand::new(rx.recv()).ready(), Ok(2));
}

#[test]
#[should_panic(expected = "gopark: a broadcast channel must keep at least one value")]
fn room_for_none_is_refused() {
    drop(bounded::<u8>(0));
}

/// Before, the failed allocation aborted the process.
#[test]
fn room_for_more_than_there_is_memory_is_refused() {
    for n in [usize::MAX, usize::MAX / 2, isize::MAX as usize / 32] {
        let refused = std::panic::catch_unwind(|| drop(bounded::<u8>(n))).unwrap_err();
        let text = refused.downcast_ref::<String>().expect("a text with a number");
        assert_eq!(*text, format!("gopark: no memory for a broadcast channel of {n} values"));
    }
}

/// A value that counts its clones and its drops.
#[derive(Debug)]
struct Counts(
    usize,
    #[allow(dead_code)] crate::util::Counted,
    Drops,
    std::sync::Arc<std::sync::atomic::AtomicUsize>,
);

impl Clone for Counts {
    fn clone(&self) -> Self {
        self.3.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Counts(self.0, self.2.one(), self.2.clone(), self.3.clone())
    }
}

#[test]
fn whoever_gives_up_whenever_receivers_agree_with_a_list_and_values_go_once_all_have_them() {
    for seed in 0..300 {
        let (mut dice, drops, clones) = (Dice::new(seed), Drops::new(), std::sync::Arc::default());
        let room = 1 + dice.roll(4);
        let (tx, rx) = bounded(room);
        // Each receiver with the values that it will get, and the number that it has missed.
        let mut receivers = vec![(rx, VecDeque::new(), 0)];
        let mut sent = 0;
        for _ in 0..100 {
            let at = dice.roll(receivers.len());
            match dice.roll(6) {
                0 | 1 => {
                    sent += 1;
                    let value =
                        Counts(sent, drops.one(), drops.clone(), std::sync::Arc::clone(&clones));
                    assert_eq!(tx.send(value).unwrap(), receivers.len());
                    for (_, due, missed) in &mut receivers {
                        due.push_back(sent);
                        if due.len() > room {
                            due.pop_front();
                            *missed += 1;
                        }
                    }
                }
                2 => receivers.push((tx.subscribe(), VecDeque::new(), 0)),
                3 if receivers.len() > 1 => drop(receivers.swap_remove(at)),
                4 => drop(Hand::new(receivers[at].0.recv())),
                _ => {
                    let (rx, due, missed) = &mut receivers[at];
                    let mut recv = Hand::new(rx.recv());
                    match std::mem::take(missed) {
                        0 => match due.pop_front() {
                            Some(value) => {
                                assert_eq!(recv.ready().unwrap().0, value, "seed {seed}")
                            }
                            None => assert!(recv.is_pending(), "seed {seed}"),
                        },
                        lost => assert_eq!(
                            recv.ready().unwrap_err(),
                            RecvError::Lagged(lost),
                            "seed {seed}"
                        ),
                    }
                }
            }
            let kept = receivers.iter().map(|(_, due, _)| due.len()).max().unwrap();
            let clones = clones.load(std::sync::atomic::Ordering::SeqCst);
            assert_eq!(
                drops.count(),
                sent + clones - kept,
                "seed {seed}: a value that all have is kept"
            );
        }
    }
}

/// A value that panics when it is dropped, if its field says so.
#[derive(Clone)]
struct Bomb(bool, #[allow(dead_code)] std::sync::Arc<crate::util::Counted>);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0 || std::thread::panicking(), "the test's own");
    }
}

#[test]
fn the_last_receiver_drops_all_that_it_has_not_had_though_one_panics() {
    let drops = Drops::new();
    let (tx, rx) = bounded(3);
    for i in 0..3 {
        assert!(tx.send(Bomb(i == 1, std::sync::Arc::new(drops.one()))).is_ok());
    }
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(rx)));
    assert!(gone.is_err());
    assert_eq!(drops.count(), 3);
}

#[test]
fn goroutines_all_get_the_same() {
    on_procs(2, async {
        let (tx, rx) = bounded(5000);
        let wg = WaitGroup::new();
        for _ in 0..4 {
            let mut rx = tx.subscribe();
            wg.go(async move {
                for i in 0..2000 {
                    assert_eq!(rx.recv().await, Ok(i));
                }
                assert_eq!(rx.recv().await, Err(RecvError::Closed));
            });
        }
        drop(rx);
        for i in 0..2000 {
            tx.send(i).unwrap();
            if i % 9 == 0 {
                gosched().await;
            }
        }
        drop(tx);
        wg.wait().await;
        let (tx, mut rx) = bounded(1);
        go(async move { tx.send(1) });
        select! {
            value = rx.recv() => assert_eq!(value, Ok(1)),
        }
    });
}
