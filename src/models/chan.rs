//! Models of the channels.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use loom::thread;

use super::{explore, poll_once};
use crate::chan::{self, SendError, TryRecvError, TrySendError};
use crate::coop;
use crate::wait::block_on::block_on;

#[test]
fn a_send_and_a_receive_meet_on_an_unbuffered_channel() {
    explore(3, || {
        let (tx, rx) = chan::unbuffered();
        let sender = thread::spawn(move || block_on(tx.send(7)));
        assert_eq!(block_on(rx.recv()), Some(7));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_receive_that_is_dropped_gives_back_what_it_was_handed() {
    explore(3, || {
        let (tx, rx) = chan::unbuffered();
        let (_open, other) = (tx.clone(), rx.clone());
        let sender = thread::spawn(move || tx.try_send(7));
        {
            let mut recv = pin!(other.recv());
            if let Poll::Ready(value) = poll_once(recv.as_mut()) {
                // Handed over between two steps of the poll.
                assert_eq!(value, Some(7));
                assert_eq!(sender.join().unwrap(), Ok(()));
                return;
            }
            // Dropped here: before, during or after the hand-over.
        }
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(rx.try_recv(), Ok(7), "what was handed over is back"),
            Err(TrySendError::Full(7)) => {
                assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            }
            Err(other) => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_dropped_receive_hands_its_value_to_the_next_receiver() {
    explore(2, || {
        let (tx, rx) = chan::bounded(0);
        let (open, other) = (tx.clone(), rx.clone());
        let receiver = thread::spawn(move || block_on(other.recv()));
        let sender = thread::spawn(move || block_on(tx.send(7)));
        {
            let mut recv = pin!(rx.recv());
            if let Poll::Ready(value) = poll_once(recv.as_mut()) {
                assert_eq!(value, Some(7));
                // It was ours: the other one learns of the end.
                assert_eq!(sender.join().unwrap(), Ok(()));
                drop(open);
                assert_eq!(receiver.join().unwrap(), None);
                return;
            }
        }
        assert_eq!(receiver.join().unwrap(), Some(7));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_close_and_a_send_agree_on_the_value() {
    for capacity in [0, 1] {
        explore(3, move || {
            let (tx, rx) = chan::bounded(capacity);
            let other = tx.clone();
            let sender = thread::spawn(move || block_on(other.send(7)));
            tx.close();
            let received = block_on(rx.recv());
            match sender.join().unwrap() {
                Ok(()) => assert_eq!(received, Some(7)),
                Err(SendError(7)) => assert_eq!(received, None),
                Err(other) => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn the_last_receiver_and_a_send_agree_on_the_value() {
    explore(3, || {
        let (tx, rx) = chan::bounded(1);
        let value = Arc::new(());
        let gone = thread::spawn(move || drop(rx));
        let sent = tx.try_send(value.clone());
        gone.join().unwrap();
        let kept = usize::from(sent.is_err());
        assert_eq!(Arc::strong_count(&value), 1 + kept, "it came back, or went with the channel");
    });
}

#[test]
fn a_full_buffer_takes_the_parked_sender_before_a_newcomer() {
    explore(2, || {
        let (tx, rx) = chan::bounded(1);
        tx.try_send(1).unwrap();
        let mut parked = Box::pin(tx.send(2));
        assert!(poll_once(parked.as_mut()).is_pending());
        let newcomer = {
            let tx = tx.clone();
            thread::spawn(move || tx.try_send(3))
        };
        assert_eq!(rx.try_recv(), Ok(1));
        assert_eq!(newcomer.join().unwrap(), Err(TrySendError::Full(3)), "there was no moment with room");
        assert_eq!(rx.try_recv(), Ok(2));
        assert_eq!(poll_once(parked.as_mut()), Poll::Ready(Ok(())));
    });
}

#[test]
fn a_parked_send_is_taken_or_cancelled() {
    explore(3, || {
        let (tx, rx) = chan::unbuffered();
        let value = Arc::new(());
        let mut parked = Box::pin(tx.send(value.clone()));
        assert!(poll_once(parked.as_mut()).is_pending());
        let receiver = thread::spawn(move || rx.try_recv().is_ok());
        drop(parked);
        receiver.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1, "dropped once, here or there");
    });
}

#[test]
fn a_last_poll_and_a_receiver_agree_on_a_send() {
    explore(3, || {
        let (tx, rx) = chan::unbuffered();
        let mut send = Box::pin(tx.send(7));
        assert!(poll_once(send.as_mut()).is_pending());
        let receiver = thread::spawn(move || rx.try_recv().is_ok());
        let sent = coop::last_poll(send.as_mut()).is_ready();
        // It is not dropped yet.
        assert_eq!(receiver.join().unwrap(), sent);
        drop(send);
    });
}
