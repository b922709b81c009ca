//! Models of the channels.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_lite::Stream;
use loom::thread;

use super::{explore, poll_once};
use crate::chan::{self, SendError, TryRecvError, TrySendError};
use crate::coop;
use crate::loom::atomic::{AtomicBool, Ordering};
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
                // The value was handed over during the poll.
                assert_eq!(value, Some(7));
                assert_eq!(sender.join().unwrap(), Ok(()));
                return;
            }
            // The receive is dropped here: before, during or after the hand-over.
        }
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(rx.try_recv(), Ok(7), "the value returned"),
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
                // This receive got the value, so the other one sees the close.
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
        assert_eq!(
            Arc::strong_count(&value),
            1 + kept,
            "it was returned, or dropped with the channel"
        );
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
        assert_eq!(
            newcomer.join().unwrap(),
            Err(TrySendError::Full(3)),
            "there was no moment with room"
        );
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
        assert_eq!(Arc::strong_count(&value), 1, "dropped once, by either side");
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
        // The send is not dropped yet.
        assert_eq!(receiver.join().unwrap(), sent);
        drop(send);
    });
}

/// Waits for and returns the next value of a stream.
fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    block_on(poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)))
}

/// Polls a stream once, for a task that no wake reaches.
fn look<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_stream_that_registers_finds_a_send_or_is_woken_by_it() {
    for capacity in [0, 1] {
        explore(3, move || {
            let (tx, mut rx) = chan::bounded(capacity);
            let (_open, sender) = (tx.clone(), thread::spawn(move || block_on(tx.send(7))));
            assert_eq!(next(&mut rx), Some(7));
            assert_eq!(sender.join().unwrap(), Ok(()));
        });
    }
}

#[test]
fn a_stream_that_registers_finds_a_close_or_is_woken_by_it() {
    explore(3, || {
        let (tx, mut rx) = chan::unbuffered::<()>();
        let sender = thread::spawn(move || drop(tx));
        assert_eq!(next(&mut rx), None);
        sender.join().unwrap();
    });
}

#[test]
fn a_registered_stream_that_is_dropped_leaves_the_wake_to_the_others() {
    explore(2, || {
        let (tx, mut rx) = chan::bounded(1);
        let mut gone = rx.clone();
        assert!(look(&mut gone).is_pending());
        let dropper = thread::spawn(move || drop(gone));
        let sender = thread::spawn(move || tx.try_send(7));
        assert_eq!(next(&mut rx), Some(7));
        assert_eq!(sender.join().unwrap(), Ok(()));
        dropper.join().unwrap();
    });
}

#[test]
fn a_stream_may_be_polled_again_and_dropped_while_it_is_woken() {
    explore(3, || {
        let (tx, rx) = chan::bounded(1);
        let mut stream = rx.clone();
        assert!(look(&mut stream).is_pending());
        let sender = thread::spawn(move || tx.try_send(7));
        let looked = look(&mut stream);
        drop(stream);
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(rx.try_recv().is_ok(), looked.is_pending());
    });
}

#[test]
fn a_stream_in_line_is_handed_each_value() {
    explore(2, || {
        let (tx, rx) = chan::unbuffered();
        let sender = thread::spawn(move || {
            block_on(tx.send(1)).unwrap();
            block_on(tx.send(2)).unwrap();
        });
        let mut stream = rx.into_stream();
        assert_eq!(
            [next(&mut stream), next(&mut stream), next(&mut stream)],
            [Some(1), Some(2), None]
        );
        sender.join().unwrap();
    });
}

#[test]
fn a_stream_in_line_that_is_dropped_gives_back_what_it_was_handed() {
    explore(3, || {
        let (tx, rx) = chan::unbuffered();
        let (_open, mut stream) = (tx.clone(), rx.clone().into_stream());
        let sender = thread::spawn(move || tx.try_send(7));
        let looked = look(&mut stream);
        drop(stream);
        match sender.join().unwrap() {
            Ok(()) if looked.is_ready() => assert_eq!(looked, Poll::Ready(Some(7))),
            Ok(()) => assert_eq!(rx.try_recv(), Ok(7), "the value returned"),
            Err(error) => {
                assert_eq!((error, looked), (TrySendError::Full(7), Poll::Pending));
                assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            }
        }
    });
}

#[test]
fn what_is_returned_is_found_though_a_sender_leaves_sel04() {
    explore(3, || {
        let (tx, rx) = chan::unbuffered();
        let mut handed = Box::pin(rx.recv());
        assert!(poll_once(handed.as_mut()).is_pending());
        tx.try_send(1).unwrap();
        let mut parked = Box::pin(tx.send(2));
        assert!(poll_once(parked.as_mut()).is_pending());
        // From here on there is the parked sender's value, then both values, then the returned one.
        let found = {
            let rx = rx.clone();
            thread::spawn(move || rx.try_recv())
        };
        drop(handed);
        drop(parked);
        assert!(matches!(found.join().unwrap(), Ok(1 | 2)), "there was a value at every moment");
    });
}

#[test]
fn a_select_with_a_default_finds_what_moves_through_a_full_channel_sel04() {
    explore(3, || {
        let (tx, rx) = chan::bounded(1);
        tx.try_send(1).unwrap();
        let mut parked = Box::pin(tx.send(2));
        assert!(poll_once(parked.as_mut()).is_pending());
        let found = {
            let rx = rx.clone();
            thread::spawn(move || crate::select! { value = rx.recv() => value, default => None })
        };
        assert_eq!(rx.try_recv().map(|value| value < 3), Ok(true));
        assert!(found.join().unwrap().is_some(), "there was a value at every moment");
        assert_eq!(poll_once(parked.as_mut()), Poll::Ready(Ok(())));
    });
}

/// Runs `step` on another thread and `look` on this one. `look` gets true if the step ended before
/// `look` began.
fn look_during<T: Send + 'static, R>(
    step: impl FnOnce() -> T + Send + 'static,
    look: impl FnOnce(bool) -> R,
) -> (T, R) {
    let over = Arc::new(AtomicBool::new(false));
    let stepping = {
        let over = over.clone();
        thread::spawn(move || {
            let left = step();
            over.store(true, Ordering::Release);
            left
        })
    };
    let looked = look(over.load(Ordering::Acquire));
    (stepping.join().unwrap(), looked)
}

/// Polls a future once, and returns it with the result.
fn begun<F: Future>(future: F) -> (Pin<Box<F>>, Poll<F::Output>) {
    let mut future = Box::pin(future);
    let polled = poll_once(future.as_mut());
    (future, polled)
}

#[test]
fn a_look_without_the_lock_finds_what_was_sent_before_it_sel04() {
    for capacity in [0, 1] {
        explore(3, move || {
            let (tx, rx) = chan::bounded(capacity);
            let send = move || begun(async move { tx.send(7).await });
            let (_send, ()) = look_during(send, |over| match rx.try_recv() {
                Ok(7) => {}
                other => assert!(!over, "{other:?}"),
            });
        });
    }
}

#[test]
fn a_look_without_the_lock_finds_the_room_that_was_made_before_it_sel04() {
    for capacity in [0, 1] {
        explore(3, move || {
            let (tx, rx) = chan::bounded(capacity);
            (0..capacity).for_each(|number| tx.try_send(number).unwrap());
            let other = rx.clone();
            let recv = move || begun(async move { other.recv().await });
            let (_recv, ()) = look_during(recv, |over| match tx.try_send(7) {
                Ok(()) => {}
                other => assert!(!over, "{other:?}"),
            });
        });
    }
}

#[test]
fn a_look_without_the_lock_finds_the_close_before_it_sel04() {
    for capacity in [0, 1] {
        explore(3, move || {
            let (tx, rx) = chan::bounded::<i32>(capacity);
            let other = tx.clone();
            let (_closed, ()) = look_during(
                move || other.close(),
                |over| match rx.try_recv() {
                    Err(TryRecvError::Closed) => {
                        assert!(matches!(tx.try_send(7), Err(TrySendError::Closed(7))))
                    }
                    other => assert!(!over && other == Err(TryRecvError::Empty), "{other:?}"),
                },
            );
        });
    }
}

#[test]
fn a_look_without_the_lock_finds_what_came_back_before_it_sel04() {
    for capacity in [0, 1] {
        explore(3, move || {
            let (tx, rx) = chan::bounded(capacity);
            let other = rx.clone();
            let (handed, polled) = begun(async move { other.recv().await });
            assert!(polled.is_pending());
            tx.try_send(7).unwrap();
            let ((), ()) = look_during(
                move || drop(handed),
                |over| match rx.try_recv() {
                    Ok(7) => {}
                    other => assert!(!over && other == Err(TryRecvError::Empty), "{other:?}"),
                },
            );
        });
    }
}

/// A bug: Miri found that this check, which does not acquire the lock, made a reference to what the
/// lock's holder was writing.
#[test]
fn a_look_without_the_lock_finds_a_waiter_or_the_close_that_ends_it_sel04() {
    explore(3, || {
        let (tx, rx) = chan::unbuffered();
        let sender = tx.clone();
        let (_send, polled) = begun(async move { sender.send(7).await });
        assert!(polled.is_pending());
        let (_closed, found) = look_during(move || tx.close(), |_| rx.try_recv());
        assert!(matches!(found, Ok(7) | Err(TryRecvError::Closed)), "{found:?}");
    });
    explore(3, || {
        let (tx, rx) = chan::unbuffered();
        let receiver = rx.clone();
        let (_recv, polled) = begun(async move { receiver.recv().await });
        assert!(polled.is_pending());
        let other = tx.clone();
        let (_closed, found) = look_during(move || other.close(), |_| tx.try_send(7));
        assert!(matches!(found, Ok(()) | Err(TrySendError::Closed(7))), "{found:?}");
    });
}

#[test]
fn a_place_and_a_reservation_that_are_dropped_leave_the_channel_its_place() {
    explore(3, || {
        let (tx, rx) = chan::bounded::<i32>(1);
        let other = tx.clone();
        let holder = thread::spawn(move || other.try_reserve().is_ok());
        let polled = {
            let mut reserve = pin!(tx.reserve());
            poll_once(reserve.as_mut()).is_ready()
        };
        let held = holder.join().unwrap();
        assert!(held || polled, "one of them had the place");
        assert!(tx.try_reserve().is_ok());
        drop(rx);
    });
}

#[test]
fn a_place_goes_from_one_reservation_to_the_next() {
    explore(2, || {
        let (tx, rx) = chan::bounded(1);
        let other = tx.clone();
        let holder = thread::spawn(move || block_on(other.reserve()).map(drop));
        assert_eq!(block_on(tx.reserve()).unwrap().send(7), Ok(()));
        assert_eq!(block_on(rx.recv()), Some(7));
        assert_eq!(holder.join().unwrap(), Ok(()));
    });
}

#[test]
fn an_upgrade_finds_the_last_sender_before_it_goes_or_the_channel_closed() {
    explore(3, || {
        let (tx, rx) = chan::bounded(1);
        let weak = tx.downgrade();
        let last = thread::spawn(move || drop(tx));
        let upgraded = weak.upgrade();
        last.join().unwrap();
        match upgraded {
            Some(tx) => {
                assert_eq!((tx.try_send(7), rx.try_recv()), (Ok(()), Ok(7)), "the channel is open");
                drop(tx);
            }
            None => assert!(weak.upgrade().is_none(), "a side without handles gets no new one"),
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

#[test]
fn an_upgrade_comes_before_the_last_handles_go_or_too_late() {
    explore(3, || {
        let (tx, rx) = chan::bounded(1);
        let value = Arc::new(());
        let (weak, weak_rx) = (tx.downgrade(), rx.downgrade());
        tx.try_send(value.clone()).unwrap();
        let sender = thread::spawn(move || drop(tx));
        let receiver = thread::spawn(move || drop(rx));
        drop((weak.upgrade(), weak_rx.upgrade()));
        sender.join().unwrap();
        receiver.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1, "dropped with the channel");
        assert!(weak.upgrade().is_none() && weak_rx.upgrade().is_none());
    });
}

#[test]
fn the_last_weak_reference_or_the_last_handle_frees_the_channel() {
    explore(3, || {
        let (tx, rx) = chan::bounded::<i32>(1);
        let weak = tx.downgrade();
        let other = weak.clone();
        drop(rx);
        let handle = thread::spawn(move || drop(tx));
        let clone = thread::spawn(move || drop(other.clone()));
        drop(weak);
        handle.join().unwrap();
        clone.join().unwrap();
    });
}
