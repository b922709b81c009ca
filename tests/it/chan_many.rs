//! Receives of many values at once.

use gopark::chan::{self, Receiver, TryRecvError};
use gopark::{go, gosched, select};

use crate::hand::Hand;
use crate::util::no_hang;

#[test]
fn many_values_are_received_in_order_up_to_the_limit() {
    // A buffer that is one block, used as a ring, and one that grows by blocks.
    for cap in [10, 5000] {
        let (tx, rx) = chan::bounded(cap);
        (0..cap).for_each(|v| tx.try_send(v).unwrap());
        let mut values = vec![99];
        let mut left = cap;
        while left > 0 {
            let expected = left.min(700);
            assert_eq!(Hand::new(rx.recv_many(&mut values, 700)).ready(), expected);
            left -= expected;
        }
        assert!(values.into_iter().eq(std::iter::once(99).chain(0..cap)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    }
}

#[test]
fn a_receive_of_many_waits_for_one_value_only() {
    let (tx, rx) = chan::bounded(4);
    let mut values = Vec::new();
    {
        let mut receive = Hand::parked(rx.recv_many(&mut values, 10));
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        assert_eq!(receive.wakes(), 1);
        assert_eq!(receive.ready(), 2);
    }
    assert_eq!(values, [1, 2]);
}

#[test]
fn a_receive_of_many_takes_the_values_of_senders_that_wait() {
    for cap in [0, 1, 5] {
        let (tx, rx) = chan::bounded(cap);
        (0..cap).for_each(|v| tx.try_send(v).unwrap());
        let mut senders: Vec<_> = (cap..cap + 100).map(|v| Hand::parked(tx.send(v))).collect();
        let mut values = Vec::new();
        assert_eq!(Hand::new(rx.recv_many(&mut values, cap + 60)).ready(), cap + 60);
        assert!(values.into_iter().eq(0..cap + 60));
        let woken = senders.iter().filter(|sender| sender.wakes() == 1).count();
        assert_eq!(woken, 60 + cap);
        assert!(senders[..60].iter_mut().all(|sender| sender.ready().is_ok()));
        drop(senders);
    }
}

#[test]
fn a_receive_of_any_number_ends_though_senders_keep_up() {
    // The first value, what the buffer holds at that time, and 64 more.
    for (cap, taken) in [(0, 65), (1, 66), (200, 265)] {
        let (tx, rx) = chan::bounded(cap);
        (0..cap).for_each(|v| tx.try_send(v).unwrap());
        let senders: Vec<_> = (cap..cap + 100).map(|v| Hand::parked(tx.send(v))).collect();
        let mut values = Vec::new();
        assert_eq!(Hand::new(rx.recv_many(&mut values, usize::MAX)).ready(), taken);
        assert!(values.into_iter().eq(0..taken));
        drop(senders);
    }
    no_hang(|| {
        let (tx, rx) = chan::unbounded();
        let sender =
            std::thread::spawn(move || (0..).take_while(|v| tx.try_send(*v).is_ok()).count());
        let mut values = Vec::new();
        for _ in 0..100 {
            assert_ne!(gopark::block_on(rx.recv_many(&mut values, usize::MAX)), 0);
        }
        drop(rx);
        assert!(sender.join().unwrap() >= values.len());
        assert!(values.iter().copied().eq(0..values.len()));
    });
}

#[test]
fn a_receive_of_many_returns_none_at_the_end_and_if_none_are_wanted() {
    let (tx, rx) = chan::bounded(2);
    tx.try_send(1).unwrap();
    let mut values = Vec::new();
    assert_eq!(Hand::new(rx.recv_many(&mut values, 0)).ready(), 0);
    assert_eq!(Hand::new(Receiver::nil().recv_many(&mut values, 0)).ready(), 0);
    drop(tx);
    assert_eq!(Hand::new(rx.recv_many(&mut values, 2)).ready(), 1);
    assert_eq!(Hand::new(rx.recv_many(&mut values, 2)).ready(), 0);
    assert_eq!(values, [1]);
}

#[test]
fn a_receive_of_many_that_is_dropped_loses_no_value() {
    let (tx, rx) = chan::bounded(4);
    let mut values = Vec::new();
    let receive = Hand::parked(rx.recv_many(&mut values, 10));
    (0..3).for_each(|v| tx.try_send(v).unwrap());
    drop(receive);
    assert!(values.is_empty());
    assert!(rx.try_iter().eq(0..3));
}

#[test]
fn a_receive_of_many_is_a_case_of_a_select() {
    no_hang(|| {
        gopark::block_on(async {
            let (tx, rx) = chan::bounded(4);
            let (_open, quiet) = chan::unbuffered::<()>();
            let sender = go(async move {
                gosched().await;
                for v in 0..1000 {
                    tx.send(v).await.unwrap();
                }
            });
            let mut values = Vec::new();
            loop {
                select! {
                    n = rx.recv_many(&mut values, 10) => {
                        assert!(n <= 10);
                        if n == 0 {
                            break;
                        }
                    }
                    v = quiet.recv() => unreachable!("nothing is sent, yet {v:?}"),
                }
            }
            sender.await.unwrap();
            assert!(values.into_iter().eq(0..1000));
            let mut none = Vec::<()>::new();
            select! {
                n = quiet.recv_many(&mut none, 0) => assert_eq!(n, 0),
            }
        });
    });
}
