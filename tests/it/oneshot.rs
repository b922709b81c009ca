//! `sync::oneshot`.

use gopark::chan::TryRecvError;
use gopark::sync::WaitGroup;
use gopark::sync::oneshot::{self, channel};
use gopark::{go, select};

use crate::hand::{Dice, Hand, on_procs};
use crate::util::{Drops, no_hang};

#[test]
fn the_value_arrives_whichever_comes_first() {
    let (tx, rx) = channel();
    tx.send(1).unwrap();
    assert_eq!(Hand::new(rx).ready(), Ok(1));
    let (tx, rx) = channel();
    let mut rx = Hand::parked(rx);
    tx.send(2).unwrap();
    assert_eq!((rx.wakes(), rx.ready()), (1, Ok(2)));
}

#[test]
fn a_receiver_whose_sender_is_gone_is_told() {
    let (tx, rx) = channel::<u8>();
    let mut rx = Hand::parked(rx);
    drop(tx);
    assert_eq!((rx.wakes(), rx.ready().is_err()), (1, true));
}

#[test]
fn a_sender_whose_receiver_is_gone_is_told_and_keeps_its_value() {
    let (mut tx, rx) = channel();
    let mut closed = Hand::parked(tx.closed());
    drop(rx);
    assert_eq!(closed.wakes(), 1);
    closed.ready();
    drop(closed);
    assert!(tx.is_closed());
    assert_eq!(tx.send("mine"), Err("mine"));
}

#[test]
fn a_receive_that_does_not_wait_takes_the_value_once() {
    let (tx, mut rx) = channel();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    let (tx, mut rx) = channel::<u8>();
    drop(tx);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    // The error does not complete the receiver.
    assert!(Hand::new(rx).ready().is_err());
}

#[test]
fn a_receiver_that_is_closed_refuses_a_value_and_keeps_one_that_was_sent() {
    let (mut tx, mut rx) = channel();
    let mut closed = Hand::parked(tx.closed());
    rx.close();
    assert_eq!(closed.wakes(), 1);
    closed.ready();
    drop(closed);
    assert!(tx.is_closed());
    assert_eq!(tx.send("mine"), Err("mine"));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert!(Hand::new(rx).ready().is_err());

    let (tx, mut rx) = channel();
    tx.send("sent").unwrap();
    rx.close();
    assert_eq!(Hand::new(&mut rx).ready(), Ok("sent"));
    rx.close();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn another_task_may_go_on_with_the_wait() {
    let (tx, rx) = channel();
    let mut rx = Hand::parked(rx);
    let (wakes, waker) = crate::util::Wakes::new();
    assert!(rx.poll_with(&waker).is_pending());
    tx.send(1).unwrap();
    assert_eq!((rx.wakes(), wakes.count()), (0, 1));
    assert_eq!(rx.ready(), Ok(1));
    // A receiver that was dropped keeps no task.
    let (mut tx, _rx) = channel::<u8>();
    let (wakes, waker) = crate::util::Wakes::new();
    assert!(Hand::new(tx.closed()).poll_with(&waker).is_pending());
    drop(waker);
    assert_eq!(std::sync::Arc::strong_count(&wakes), 1);
}

#[test]
fn each_value_is_dropped_once_whoever_gives_up() {
    for seed in 0..500 {
        let (mut dice, drops) = (Dice::new(seed), Drops::new());
        let (tx, rx) = channel();
        let (mut tx, mut rx) = (Some(tx), Some(Hand::new(rx)));
        let mut got = None;
        for _ in 0..6 {
            match dice.roll(5) {
                0 => drop(tx.take()),
                1 => drop(rx.take()),
                2 => drop(tx.take().map(|tx| tx.send(drops.one()))),
                3 => {
                    if let Some(tx) = &mut tx {
                        assert_eq!(Hand::new(tx.closed()).is_pending(), rx.is_some());
                    }
                }
                _ => {
                    if let Some(hand) = rx.as_mut().filter(|rx| !rx.is_done()) {
                        if let std::task::Poll::Ready(result) = hand.poll() {
                            assert!(tx.is_none());
                            got = Some(result);
                            rx = None;
                        }
                    }
                }
            }
        }
        drop((tx, rx, got));
        assert!(drops.count() <= 1, "seed {seed}");
    }
}

#[test]
fn values_cross_threads_and_goroutines() {
    on_procs(2, async {
        let wg = WaitGroup::new();
        for i in 0..2_000 {
            let (tx, rx) = channel();
            wg.go(async move { tx.send(i) });
            wg.go(async move { assert_eq!(rx.await, Ok(i)) });
        }
        wg.wait().await;
        let (tx, mut rx) = oneshot::channel();
        select! {
            _ = &mut rx => unreachable!("not sent"),
            default => {}
        }
        go(async move { tx.send(7) });
        select! {
            value = &mut rx => assert_eq!(value, Ok(7)),
        }
    });
    no_hang(|| {
        for i in 0..500 {
            let (tx, rx) = channel();
            let thread = std::thread::spawn(move || tx.send(i));
            assert_eq!(rx.recv_blocking(), Ok(i));
            thread.join().unwrap().unwrap();
        }
    });
}
