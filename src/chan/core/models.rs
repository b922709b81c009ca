//! Models of a buffer that grows: its blocks are allocated and freed while the channel's lock is
//! released, so other threads may use the channel in between.

use std::task::Poll;

use loom::thread;

use crate::chan::{self, Receiver, TryRecvError, TrySendError};
use crate::models::{explore, poll_once};
use crate::wait::block_on::block_on;

/// With this capacity, the buffer of word-sized values grows, by blocks of one value.
const CAPACITY: usize = 3;

/// Returns the number of blocks of the channel's buffer.
fn blocks(rx: &Receiver<usize>) -> usize {
    let st = rx.handle.core().expect("a channel").held();
    assert_eq!(st.buffer.block_size(), 1);
    st.buffer.blocks()
}

#[test]
fn two_senders_that_find_no_place_add_a_block_each() {
    explore(3, || {
        let (tx, rx) = chan::bounded(CAPACITY);
        tx.try_send(0).unwrap();
        assert_eq!(blocks(&rx), 1, "full");
        let other = {
            let tx = tx.clone();
            thread::spawn(move || tx.try_send(1))
        };
        assert_eq!(tx.try_send(2), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        assert_eq!(blocks(&rx), 3, "an unneeded block of either sender is freed");
        assert_eq!(rx.try_recv().unwrap(), 0);
        let mut rest = [rx.try_recv().unwrap(), rx.try_recv().unwrap()];
        rest.sort_unstable();
        assert_eq!(rest, [1, 2]);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn two_senders_add_blocks_while_a_receiver_gives_them_back() {
    explore(2, || {
        let (tx, rx) = chan::bounded(CAPACITY);
        tx.try_send(0).unwrap();
        let sends = |numbers: &'static [usize]| {
            let tx = tx.clone();
            thread::spawn(move || {
                numbers.iter().for_each(|&number| block_on(tx.send(number)).unwrap())
            })
        };
        let senders = [sends(&[1, 2]), sends(&[3])];
        let received = [(); 4].map(|()| block_on(rx.recv()).expect("a value"));
        assert_eq!(received[0], 0);
        let place = |number| {
            received.iter().position(|&received| received == number).expect("nothing is lost")
        };
        assert!(place(1) < place(2) && place(3) > 0, "{received:?}");
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(blocks(&rx) <= 2, "at most one is spare");
        drop(tx);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

#[test]
fn two_receivers_make_room_for_the_parked_sender_before_a_newcomer() {
    explore(2, || {
        let (tx, rx) = chan::bounded(CAPACITY);
        (0..CAPACITY).for_each(|number| tx.try_send(number).unwrap());
        let mut parked = Box::pin(tx.send(CAPACITY));
        assert!(poll_once(parked.as_mut()).is_pending());
        let other = {
            let rx = rx.clone();
            thread::spawn(move || rx.try_recv().unwrap())
        };
        let mut first = [rx.try_recv().unwrap(), usize::MAX];
        // The other receiver may have released the lock for `maintain`.
        let newcomer = tx.try_send(9);
        first[1] = other.join().unwrap();
        first.sort_unstable();
        assert_eq!(first, [0, 1]);
        assert_eq!(poll_once(parked.as_mut()), Poll::Ready(Ok(())));
        let rest = [rx.try_recv().unwrap(), rx.try_recv().unwrap()];
        assert_eq!(rest, [2, CAPACITY]);
        match newcomer {
            Ok(()) => assert_eq!(rx.try_recv().unwrap(), 9),
            Err(error) => assert_eq!(error, TrySendError::Full(9)),
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert!(blocks(&rx) <= 2, "at most one is spare");
    });
}

#[test]
fn the_last_receiver_frees_what_a_sender_adds() {
    explore(3, || {
        let (tx, rx) = chan::bounded(CAPACITY);
        tx.try_send(0).unwrap();
        let gone = thread::spawn(move || drop(rx));
        // The buffer may have been replaced during the sender's allocation.
        let sent = tx.try_send(1);
        assert!(matches!(sent, Ok(()) | Err(TrySendError::Closed(1))));
        gone.join().unwrap();
    });
}
