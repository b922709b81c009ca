//! Models of `select!`.

use std::pin::pin;
use std::task::Poll;

use loom::thread;

use super::{explore, poll_once};
use crate::wait::block_on::block_on;
use crate::{chan, coop, select};

#[test]
fn a_last_poll_of_a_select_and_a_receiver_agree_on_a_send() {
    explore(2, || {
        let (tx, rx) = chan::unbuffered();
        let (other, _never) = chan::unbuffered();
        let mut select = Box::pin(async {
            select! { sent = tx.send(7) => sent.is_ok(), _ = other.send(8) => false }
        });
        assert!(poll_once(select.as_mut()).is_pending());
        let receiver = thread::spawn(move || rx.try_recv().is_ok());
        let sent = coop::last_poll(select.as_mut()).is_ready();
        assert_eq!(receiver.join().unwrap(), sent);
        drop(select);
    });
}

#[test]
fn two_offers_to_one_select_have_one_winner() {
    explore(2, || {
        let (a_tx, a) = chan::unbuffered();
        let (b_tx, b) = chan::unbuffered();
        let _open = (a_tx.clone(), b_tx.clone());
        let first = thread::spawn(move || a_tx.try_send(1).is_ok());
        let second = thread::spawn(move || b_tx.try_send(2).is_ok());
        let got = {
            let mut selecting = pin!(async {
                select! { v = a.recv() => v, v = b.recv() => v }
            });
            let _ = poll_once(selecting.as_mut());
            let sent = [first.join().unwrap(), second.join().unwrap()];
            assert!(!(sent[0] && sent[1]), "both won");
            match poll_once(selecting.as_mut()) {
                Poll::Ready(Some(v)) => Some((v, sent)),
                Poll::Ready(None) | Poll::Pending => None,
            }
        };
        if let Some((v, sent)) = got {
            assert!(sent[v - 1]);
        }
    });
}

#[test]
fn a_select_that_is_dropped_gives_back_what_it_was_handed() {
    explore(2, || {
        let (a_tx, a) = chan::unbuffered();
        let (_b_tx, b) = chan::unbuffered::<i32>();
        let (_open, other) = (a_tx.clone(), a.clone());
        let sender = thread::spawn(move || a_tx.try_send(7).is_ok());
        {
            let mut selecting = pin!(async {
                select! { v = a.recv() => v, v = b.recv() => v }
            });
            assert!(!matches!(poll_once(selecting.as_mut()), Poll::Ready(Some(_))));
        }
        assert_eq!(sender.join().unwrap(), other.try_recv().is_ok());
    });
}

#[test]
fn two_selects_that_face_each_other_meet() {
    explore(2, || {
        let (a_tx, a) = chan::unbuffered();
        let (b_tx, b) = chan::unbuffered();
        let sender = thread::spawn(move || {
            block_on(async {
                select! { r = b_tx.send(2) => r.map(|()| 2), r = a_tx.send(1) => r.map(|()| 1) }
            })
        });
        let got = block_on(async {
            select! { v = a.recv() => v, v = b.recv() => v }
        });
        // A receive may have seen the channel of the losing send closed.
        if let (Some(got), Ok(sent)) = (got, sender.join().unwrap()) {
            assert_eq!(got, sent);
        }
    });
}

#[test]
fn an_offer_that_meets_a_polling_select_is_not_lost() {
    explore(2, || {
        let (tx, rx) = chan::unbuffered();
        let sender = thread::spawn(move || block_on(tx.send(7)));
        let mut polls = 0;
        let got = block_on(async {
            select! {
                v = rx.recv() => v,
                // Wakes itself, so that the select polls this while the offer comes.
                _ = select::fut(std::future::poll_fn(|cx| {
                    polls += 1;
                    if polls < 3 {
                        cx.waker().wake_by_ref();
                    }
                    Poll::<()>::Pending
                })) => None,
            }
        });
        assert_eq!(got, Some(7));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn an_offer_that_meets_a_select_that_moves_to_another_task_is_not_lost() {
    explore(2, || {
        let (tx, rx) = chan::unbuffered();
        let (_open, other) = chan::unbuffered();
        let sender = thread::spawn(move || block_on(tx.send(7)));
        let got = {
            let mut selecting = pin!(async {
                select! { v = rx.recv() => v, v = other.recv() => v }
            });
            // This waker is not used again.
            match poll_once(selecting.as_mut()) {
                Poll::Ready(got) => got,
                Poll::Pending => block_on(selecting),
            }
        };
        assert_eq!(got, Some(7));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

/// A bug: while the select polled a case, a value went past it into the buffer. The next value was
/// handed to the select before its second check, and so overtook the first.
#[test]
fn what_passes_a_polling_select_arrives_in_the_order_of_sending() {
    explore(2, || {
        let (tx, rx) = chan::bounded(2);
        let sender = thread::spawn(move || tx.try_send(1).and_then(|()| tx.try_send(2)));
        let mut polls = 0;
        let got = block_on(async {
            select! {
                v = rx.recv() => v,
                _ = select::fut(std::future::poll_fn(|cx| {
                    polls += 1;
                    if polls < 3 {
                        cx.waker().wake_by_ref();
                    }
                    Poll::<()>::Pending
                })) => None,
            }
        });
        assert_eq!(got, Some(1));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

/// The cases share a channel, so the select queues them under one hold of its lock.
#[test]
fn an_offer_that_meets_a_select_with_two_cases_on_one_channel_is_taken_once() {
    explore(2, || {
        let (tx, rx) = chan::unbuffered();
        let sender =
            thread::spawn(move || block_on(async { (tx.send(7).await, tx.send(8).await) }));
        for value in [7, 8] {
            let got = block_on(async {
                select! { v = rx.recv() => v, v = rx.recv() => v }
            });
            assert_eq!(got, Some(value));
        }
        assert_eq!(sender.join().unwrap(), (Ok(()), Ok(())));
    });
}

#[test]
fn the_last_of_two_closes_ends_a_select_whose_arms_go_off() {
    explore(2, || {
        let (a_tx, a) = chan::unbuffered::<i32>();
        let (b_tx, b) = chan::unbuffered::<i32>();
        let first = thread::spawn(move || drop(a_tx));
        let second = thread::spawn(move || drop(b_tx));
        let over = block_on(async {
            select! { Some(_) = a.recv() => false, Some(_) = b.recv() => false, else => true }
        });
        assert!(over);
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn a_close_takes_its_arm_out_and_leaves_the_other_to_a_send() {
    explore(2, || {
        let (a_tx, a) = chan::unbuffered::<i32>();
        let (b_tx, b) = chan::unbuffered();
        let closer = thread::spawn(move || drop(a_tx));
        let sender = thread::spawn(move || block_on(b_tx.send(7)));
        let got = block_on(async {
            select! { Some(_) = a.recv() => None, Some(v) = b.recv() => Some(v), else => None }
        });
        assert_eq!(got, Some(7));
        closer.join().unwrap();
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_close_and_a_future_with_output_none_agree_on_the_last_case() {
    explore(3, || {
        let (tx, rx) = chan::unbuffered::<i32>();
        let closer = thread::spawn(move || drop(tx));
        let mut polls = 0;
        let over = block_on(async {
            select! {
                Some(_) = rx.recv() => false,
                // Wakes itself, so that the select polls this while the close comes.
                Some(()) = select::fut(std::future::poll_fn(|cx| {
                    polls += 1;
                    cx.waker().wake_by_ref();
                    if polls < 3 { Poll::Pending } else { Poll::Ready(None) }
                })) => false,
                else => true,
            }
        });
        assert!(over);
        closer.join().unwrap();
    });
}

#[test]
fn a_select_that_is_dropped_or_polled_again_agrees_with_the_closes() {
    for drops in [false, true] {
        explore(2, move || {
            let (a_tx, a) = chan::unbuffered::<i32>();
            let (b_tx, b) = chan::unbuffered::<i32>();
            let first = thread::spawn(move || drop(a_tx));
            let second = thread::spawn(move || drop(b_tx));
            {
                let mut selecting = pin!(async {
                    select! {
                        Some(_) = a.recv() => false,
                        Some(_) = b.recv() => false,
                        else => true,
                    }
                });
                let polled = poll_once(selecting.as_mut());
                if polled.is_pending() && !drops {
                    assert!(block_on(selecting));
                }
            }
            first.join().unwrap();
            second.join().unwrap();
            assert_eq!(a.try_recv(), Err(chan::TryRecvError::Closed));
        });
    }
}
