//! The ends of a channel: the state that they report, and operations other than send and receive.

use std::pin::pin;
use std::task::{Context, Poll};
use std::thread;

use gopark::chan::{self, Receiver, SendError, Sender, TryRecvError, TrySendError};
use gopark::{go, select};

use crate::hand::Hand;
use crate::util::{Wakes, no_hang};

#[test]
fn both_ends_count_both_ends() {
    let (tx, rx) = chan::bounded::<u8>(1);
    let counts = |tx: &Sender<u8>, rx: &Receiver<u8>| {
        assert_eq!(
            (tx.sender_count(), tx.receiver_count()),
            (rx.sender_count(), rx.receiver_count())
        );
        (tx.sender_count(), tx.receiver_count())
    };
    assert_eq!(counts(&tx, &rx), (1, 1));
    let more = (tx.clone(), tx.clone(), rx.clone());
    assert_eq!(counts(&tx, &rx), (3, 2));
    tx.close();
    assert_eq!(counts(&tx, &rx), (3, 2));
    drop(more);
    assert_eq!(counts(&tx, &rx), (1, 1));
    drop(tx);
    assert_eq!((rx.sender_count(), rx.receiver_count()), (0, 1));
    assert_eq!(
        (Sender::<u8>::nil().sender_count(), Receiver::<u8>::nil().receiver_count()),
        (0, 0)
    );
}

#[test]
fn a_close_by_a_receiver_fails_the_sends_and_keeps_the_values_ch11() {
    let (tx, rx) = chan::bounded(2);
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut waiting = pin!(tx.send(3));
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(rx.close());
    assert_eq!(wakes.count(), 1);
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(Err(SendError(3))));
    assert_eq!(tx.try_send(4), Err(TrySendError::Closed(4)));
    assert!(tx.is_closed() && !rx.close() && !tx.close());
    assert_eq!(
        (rx.try_recv(), rx.try_recv(), rx.try_recv()),
        (Ok(1), Ok(2), Err(TryRecvError::Closed))
    );
}

#[test]
fn a_close_by_a_receiver_ends_the_receives_that_wait() {
    let (_tx, rx) = chan::unbuffered::<u8>();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut waiting = pin!(rx.recv());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(rx.clone().close());
    assert_eq!(wakes.count(), 1);
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(None));
}

#[test]
#[should_panic(expected = "close of nil channel")]
fn a_nil_receiver_cannot_be_closed() {
    Receiver::<u8>::nil().close();
}

#[test]
fn try_iter_ends_where_nothing_is_there_and_goes_on_later() {
    let (tx, rx) = chan::bounded(3);
    let mut values = rx.try_iter();
    assert_eq!(values.next(), None);
    tx.try_send(1).unwrap();
    assert_eq!((values.next(), values.next()), (Some(1), None));
    tx.try_send(2).unwrap();
    drop(tx);
    assert_eq!((values.next(), values.next()), (Some(2), None));
}

#[test]
fn try_iter_takes_the_values_of_senders_that_wait() {
    let (tx, rx) = chan::bounded(1);
    tx.try_send(1).unwrap();
    let (_, waker) = Wakes::new();
    let mut waiting = pin!(tx.send(2));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn an_owned_iterator_blocks_its_thread_until_the_end() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let all = thread::spawn(move || rx.into_iter_blocking().collect::<Vec<_>>());
        for v in 0..10 {
            tx.send_blocking(v).unwrap();
        }
        drop(tx);
        assert_eq!(all.join().unwrap(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn an_owned_iterator_that_is_dropped_closes_the_channel() {
    let (tx, rx) = chan::bounded(2);
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    let mut values = rx.into_iter_blocking();
    assert_eq!(values.next(), Some(1));
    drop(values);
    assert_eq!(tx.try_send(3), Err(TrySendError::Closed(3)));
}

#[test]
fn senders_wait_for_the_close_by_either_end() {
    type Close = fn(&Sender<u8>, Receiver<u8>);
    let ways: [Close; 3] =
        [|tx, _rx| assert!(tx.close()), |_tx, rx| assert!(rx.close()), |_tx, rx| drop(rx)];
    for close in ways {
        for cap in [0, 1] {
            let (tx, rx) = chan::bounded(cap);
            let other = tx.clone();
            let mut waits: Vec<_> = (0..100).map(|_| Hand::parked(tx.closed())).collect();
            waits.push(Hand::parked(other.closed()));
            assert!(waits[0].is_pending());
            drop(waits.remove(50));
            let _ = tx.try_send(1);
            let _ = rx.try_recv();
            assert!(waits.iter().all(|wait| wait.wakes() == 0));
            close(&tx, rx);
            for mut wait in waits {
                assert_eq!(wait.wakes(), 1);
                wait.ready();
            }
            Hand::new(tx.closed()).ready();
        }
    }
}

#[test]
fn a_nil_sender_waits_for_its_close_for_ever() {
    assert!(Hand::new(Sender::<u8>::nil().closed()).is_pending());
}

#[test]
fn a_wait_for_the_close_keeps_no_task_after_its_drop() {
    let (tx, _rx) = chan::unbuffered::<u8>();
    let (wakes, waker) = Wakes::new();
    {
        let mut closed = pin!(tx.closed());
        assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(waker);
    assert_eq!(std::sync::Arc::strong_count(&wakes), 1);
}

#[test]
fn a_close_ends_a_select_of_a_producer() {
    no_hang(|| {
        gopark::block_on(async {
            let (tx, rx) = chan::bounded::<u8>(1);
            let (_open, quiet) = chan::unbuffered::<()>();
            let producer = go(async move {
                select! {
                    () = tx.closed() => "closed",
                    v = quiet.recv() => unreachable!("nothing is sent, yet {v:?}"),
                }
            });
            gopark::gosched().await;
            rx.close();
            assert_eq!(producer.await.unwrap(), "closed");
            drop(rx);
        });
    });
}

#[test]
fn weak_references_keep_no_channel_open() {
    let (tx, rx) = chan::bounded(1);
    let (weak_tx, weak_rx) = (tx.downgrade(), rx.downgrade());
    assert_eq!((tx.sender_count(), tx.receiver_count()), (1, 1));
    let (more_tx, more_rx) = (weak_tx.upgrade().unwrap(), weak_rx.clone().upgrade().unwrap());
    assert!(more_tx == tx && more_rx == rx);
    assert_eq!((tx.sender_count(), tx.receiver_count()), (2, 2));
    drop(tx);
    more_tx.try_send(Box::new(1)).unwrap();
    drop(more_tx);
    assert!(rx.is_closed() && weak_tx.upgrade().is_none());
    // The channel is closed, and holds a value.
    assert_eq!(weak_rx.upgrade().unwrap().try_recv(), Ok(Box::new(1)));
    drop((rx, more_rx));
    assert!(weak_tx.upgrade().is_none() && weak_rx.upgrade().is_none());
}

#[test]
fn a_weak_reference_to_a_nil_channel_leads_to_a_nil_channel() {
    assert!(Sender::<u8>::nil().downgrade().upgrade().unwrap() == Sender::nil());
    assert!(Receiver::<u8>::nil().downgrade().upgrade().unwrap() == Receiver::nil());
}

#[test]
fn a_weak_reference_is_upgraded_while_the_last_end_is_dropped() {
    no_hang(|| {
        for _ in 0..200 {
            let (tx, rx) = chan::bounded(1);
            let (weak_tx, weak_rx) = (tx.downgrade(), rx.downgrade());
            let upgrades = thread::spawn(move || {
                while let Some(tx) = weak_tx.upgrade() {
                    let _ = tx.try_send(Box::new(1));
                    drop(weak_rx.upgrade());
                }
            });
            let dropped = thread::spawn(move || drop(rx));
            drop(tx);
            dropped.join().unwrap();
            upgrades.join().unwrap();
        }
    });
}
