//! Sends that never wait for room: `force_send`, and unbounded channels.

use std::sync::Arc;

use futures_lite::StreamExt;
use gopark::chan::{self, SendError, Sender, TryRecvError};
use gopark::go;

use crate::hand::Hand;
use crate::util::no_hang;

#[test]
fn a_forced_send_replaces_the_oldest_value_where_the_channel_is_full() {
    // A buffer that is one block, used as a ring, and one that grows by blocks.
    for cap in [1, 3, 5000] {
        let (tx, rx) = chan::bounded(cap);
        for v in 0..3 * cap {
            assert_eq!(tx.force_send(v), Ok(v.checked_sub(cap)));
        }
        assert_eq!(rx.len(), cap);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), (2 * cap..3 * cap).collect::<Vec<_>>());
    }
}

#[test]
fn a_forced_send_goes_to_the_receive_that_waits() {
    for cap in [0, 1] {
        let (tx, rx) = chan::bounded(cap);
        let mut first = Hand::parked(rx.recv());
        let mut second = Hand::parked(rx.recv());
        assert_eq!(tx.force_send(1), Ok(None));
        assert_eq!((first.wakes(), second.wakes()), (1, 0));
        assert_eq!(first.ready(), Some(1));
        assert!(second.is_pending());
    }
}

#[test]
fn a_forced_send_into_an_unbuffered_channel_without_a_receiver_comes_back() {
    let (tx, rx) = chan::unbuffered();
    assert_eq!(tx.force_send(1), Ok(Some(1)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(Sender::nil().force_send(1), Ok(Some(1)));
}

#[test]
fn a_forced_send_into_a_closed_channel_fails() {
    let (tx, rx) = chan::bounded(1);
    assert_eq!(tx.force_send(1), Ok(None));
    tx.close();
    assert_eq!(tx.force_send(2), Err(SendError(2)));
    assert_eq!(rx.try_recv(), Ok(1));
    let (tx, _) = chan::bounded(1);
    assert_eq!(tx.force_send(2), Err(SendError(2)));
}

#[test]
fn a_forced_send_leaves_the_senders_that_wait_in_line() {
    let (tx, rx) = chan::bounded(2);
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    let mut waiting = Hand::parked(tx.send(3));
    assert_eq!(tx.force_send(4), Ok(Some(1)));
    assert!(waiting.is_pending());
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!(waiting.ready(), Ok(()));
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [4, 3]);
}

#[test]
fn a_forced_send_takes_the_oldest_that_came_back_first() {
    for returned in 1..=5 {
        for more in 0..=returned + 3 {
            let (tx, rx) = chan::bounded(3);
            let receives: Vec<_> = (0..returned).map(|_| Hand::parked(rx.recv())).collect();
            (0..returned + 3).for_each(|v| tx.try_send(v).unwrap());
            drop(receives);
            assert_eq!(rx.len(), returned + 3);
            // The channel is full, and as many values again are forced in: each replaces one.
            for v in 0..more {
                assert_eq!(tx.force_send(returned + 3 + v), Ok(Some(v)));
            }
            assert_eq!(
                rx.try_iter().collect::<Vec<_>>(),
                (more..returned + 3 + more).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_forced_send_into_a_channel_that_is_full_of_what_came_back() {
    let (tx, rx) = chan::bounded(1);
    let receives = [Hand::parked(rx.recv()), Hand::parked(rx.recv())];
    (0..2).for_each(|v| tx.try_send(v).unwrap());
    drop(receives);
    assert!(rx.is_full());
    assert_eq!(tx.force_send(2), Ok(Some(0)));
    assert_eq!(tx.force_send(3), Ok(Some(1)));
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [2, 3]);
    // The values are in order again.
    assert_eq!(tx.force_send(4), Ok(None));
    assert_eq!(tx.force_send(5), Ok(Some(4)));
    assert_eq!(rx.try_recv(), Ok(5));
}

#[test]
fn each_forced_value_is_received_or_comes_back() {
    no_hang(|| {
        gopark::block_on(async {
            let (tx, rx) = chan::bounded(4);
            let receiver = go(async move {
                let mut received = Vec::new();
                while let Some(v) = rx.recv().await {
                    received.push(v);
                }
                received
            });
            let senders = [0, 1].map(|sender| {
                let tx = tx.clone();
                go(async move {
                    let mut back = Vec::new();
                    for v in 0..5000 {
                        back.extend(tx.force_send(2 * v + sender).unwrap());
                        if v % 64 == 0 {
                            gopark::gosched().await;
                        }
                    }
                    back
                })
            });
            drop(tx);
            let mut all = Vec::new();
            for sender in senders {
                all.extend(sender.await.unwrap());
            }
            all.extend(receiver.await.unwrap());
            all.sort_unstable();
            assert_eq!(all, (0..10_000).collect::<Vec<_>>());
        });
    });
}

#[test]
fn an_unbounded_channel_is_never_full_and_keeps_the_order() {
    let (tx, rx) = chan::unbounded();
    assert_eq!((tx.capacity(), tx.is_full()), (usize::MAX, false));
    for v in 0..100_000 {
        tx.try_send(v).unwrap();
    }
    assert_eq!((rx.len(), rx.is_full()), (100_000, false));
    assert_eq!(tx.force_send(100_000), Ok(None));
    assert!(rx.try_iter().eq(0..=100_000));
}

#[test]
fn an_unbounded_channel_holds_values_without_a_size() {
    let (tx, rx) = chan::unbounded();
    (0..1000).for_each(|_| tx.try_send(()).unwrap());
    assert_eq!((rx.len(), rx.try_iter().count()), (1000, 1000));
}

#[test]
fn an_unbounded_channel_drops_its_values_with_its_last_receiver() {
    let value = Arc::new([0_u8; 3000]);
    let (tx, rx) = chan::unbounded();
    (0..100).for_each(|_| tx.try_send(value.clone()).unwrap());
    drop(rx);
    assert_eq!(Arc::strong_count(&value), 1);
    assert!(tx.is_closed());
}

#[test]
fn an_unbounded_send_is_ready_at_once_and_wakes_a_receiver() {
    no_hang(|| {
        let (tx, rx) = chan::unbounded();
        let sum = go(async move { rx.fold(0, |sum, v| sum + v).await });
        // On a plain thread, which has no budget.
        for v in 0..1000 {
            assert_eq!(Hand::new(tx.send(v)).ready(), Ok(()));
        }
        drop(tx);
        assert_eq!(gopark::block_on(sum).unwrap(), 499_500);
    });
}
