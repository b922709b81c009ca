//! `sync::watch`.

use gopark::sync::WaitGroup;
use gopark::sync::watch::channel;
use gopark::{go, gosched, select};

use crate::hand::{Dice, Hand, on_procs};
use crate::util::Drops;

#[test]
fn a_receiver_is_told_of_the_latest_value_once() {
    let (tx, mut rx) = channel(0);
    assert!(Hand::new(rx.changed()).is_pending());
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    Hand::new(rx.changed()).ready().unwrap();
    assert_eq!(*rx.borrow(), 2);
    assert!(Hand::new(rx.changed()).is_pending());
}

#[test]
fn one_that_waits_is_woken_and_one_that_gives_up_has_seen_nothing() {
    let (tx, mut rx) = channel(0);
    let wait = Hand::parked(rx.changed());
    tx.send_modify(|value| *value += 1);
    assert_eq!(wait.wakes(), 1);
    drop(wait);
    assert_eq!(rx.has_changed(), Ok(true));
    Hand::new(rx.changed()).ready().unwrap();
}

#[test]
fn a_value_is_replaced_whether_or_not_there_is_a_receiver() {
    let (tx, mut rx) = channel(String::from("first"));
    let mut wait = Hand::parked(rx.changed());
    assert_eq!(tx.send_replace("second".into()), "first");
    assert_eq!(wait.wakes(), 1);
    wait.ready().unwrap();
    drop(wait);
    drop(rx);
    assert_eq!(tx.send_replace("third".into()), "second");
    assert_eq!(*tx.borrow(), "third");
}

#[test]
fn a_sender_waits_for_the_end_of_the_last_receiver() {
    let (tx, rx) = channel(0);
    let (other, mut first, mut second) =
        (rx.clone(), Hand::parked(tx.closed()), Hand::parked(tx.closed()));
    drop(rx);
    tx.send(1).unwrap();
    assert!(first.is_pending() && first.wakes() == 0);
    drop(other);
    assert_eq!((first.wakes(), second.wakes()), (1, 1));
    first.ready();
    let late = tx.subscribe();
    assert!(second.is_pending(), "there is one again");
    drop(late);
    assert_eq!(second.wakes(), 2);
    second.ready();
    Hand::new(tx.closed()).ready();
}

#[test]
fn a_change_that_is_none_is_not_told() {
    let (tx, mut rx) = channel(1);
    let mut wait = Hand::parked(rx.changed());
    assert!(!tx.send_if_modified(|value| *value > 1));
    assert!(wait.is_pending() && wait.wakes() == 0);
    assert!(tx.send_if_modified(|value| std::mem::replace(value, 2) == 1));
    wait.ready().unwrap();
}

#[test]
fn a_receiver_whose_senders_are_gone_sees_the_last_value_and_is_told_then() {
    let (tx, mut rx) = channel(0);
    let other = tx.clone();
    drop(tx);
    other.send(1).unwrap();
    let mut behind = rx.clone();
    let mut wait = Hand::new(behind.changed());
    drop(other);
    wait.ready().unwrap();
    drop(wait);
    assert!(Hand::new(behind.changed()).ready().is_err());
    Hand::new(rx.changed()).ready().unwrap();
    assert!(rx.has_changed().is_err());
    assert_eq!(*rx.borrow(), 1);
}

#[test]
fn a_send_that_no_one_watches_gives_the_value_back() {
    let (tx, rx) = channel(0);
    drop(rx);
    assert_eq!(tx.send(1).unwrap_err().into_inner(), 1);
    tx.send_modify(|value| *value = 2);
    let mut rx = tx.subscribe();
    assert!(Hand::new(rx.changed()).is_pending());
    assert_eq!((*rx.borrow_and_update(), tx.receiver_count()), (2, 1));
}

#[test]
fn a_wait_for_a_condition_looks_at_what_is_there_first() {
    let (tx, mut rx) = channel(1);
    assert_eq!(*Hand::new(rx.wait_for(|value| *value == 1)).ready().unwrap(), 1);
    let mut wait = Hand::parked(rx.wait_for(|value| *value > 2));
    tx.send(2).unwrap();
    assert!(wait.is_pending());
    tx.send(3).unwrap();
    assert_eq!(*wait.ready().unwrap(), 3);
    drop(wait);
    drop(tx);
    assert!(Hand::new(rx.wait_for(|_| true)).ready().is_ok());
    assert!(Hand::new(rx.wait_for(|_| false)).ready().is_err());
}

#[test]
fn a_panic_in_a_change_leaves_the_channel_whole() {
    let (tx, mut rx) = channel(1);
    let change = std::panic::AssertUnwindSafe(|| tx.send_modify(|_| panic!("the test's own")));
    assert!(std::panic::catch_unwind(change).is_err());
    tx.send(2).unwrap();
    Hand::new(rx.changed()).ready().unwrap();
    assert_eq!(*rx.borrow(), 2);
    // The changes that were made before the panic stay, and receivers are not notified.
    let change = std::panic::AssertUnwindSafe(|| {
        tx.send_modify(|value| {
            *value = 3;
            panic!("the test's own");
        });
    });
    assert!(std::panic::catch_unwind(change).is_err());
    assert_eq!((*rx.borrow(), rx.has_changed()), (3, Ok(false)));
    // A value at which a condition panics counts as seen.
    tx.send(4).unwrap();
    let mut wait = Hand::new(rx.wait_for(|_| panic!("the test's own")));
    assert!(
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait.poll().is_ready())).is_err()
    );
    drop(wait);
    assert_eq!((*rx.borrow(), rx.has_changed()), (4, Ok(false)));
    tx.send(5).unwrap();
    assert_eq!(*Hand::new(rx.wait_for(|value| *value == 5)).ready().unwrap(), 5);
}

#[test]
fn whoever_gives_up_whenever_each_sees_the_last_change() {
    for seed in 0..300 {
        let (mut dice, drops) = (Dice::new(seed), Drops::new());
        let (tx, rx) = channel((0, drops.one()));
        let mut receivers = vec![(rx, 0)];
        let mut sent = 0;
        for _ in 0..100 {
            let at = dice.roll(receivers.len());
            match dice.roll(5) {
                0 => {
                    sent += 1;
                    tx.send((sent, drops.one())).unwrap();
                }
                1 => receivers.push((tx.subscribe(), sent)),
                2 if receivers.len() > 1 => drop(receivers.swap_remove(at)),
                3 => drop(Hand::new(receivers[at].0.changed())),
                _ => {
                    let (rx, seen) = &mut receivers[at];
                    let pending = Hand::new(rx.changed()).is_pending();
                    assert_eq!(pending, *seen == sent, "seed {seed}");
                    *seen = sent;
                    assert_eq!(rx.borrow().0, sent);
                }
            }
        }
        assert_eq!(drops.count(), sent, "seed {seed}: all but the last value");
        drop((tx, receivers));
        assert_eq!(drops.count(), sent + 1);
    }
}

#[test]
fn goroutines_see_changes_in_order_and_the_last_one() {
    on_procs(2, async {
        let (tx, rx) = channel(0);
        let wg = WaitGroup::new();
        for _ in 0..4 {
            let mut rx = rx.clone();
            wg.go(async move {
                let mut last = 0;
                while rx.changed().await.is_ok() {
                    let now = *rx.borrow();
                    assert!(now >= last);
                    last = now;
                }
                assert_eq!(last, 2000);
            });
        }
        for i in 1..=2000 {
            tx.send(i).unwrap();
            if i % 7 == 0 {
                gosched().await;
            }
        }
        drop(tx);
        wg.wait().await;
        let (tx, mut rx) = channel(0);
        go(async move { tx.send(1) });
        select! {
            changed = rx.changed() => changed.unwrap(),
        }
    });
}
