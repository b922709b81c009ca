//! Loom's models of the channels, of `select!` and of the idle word: every interleaving of two or three threads, up to a
//! bound of preemptions.
//!
//! `RUSTFLAGS="--cfg gopark_loom" cargo test -p gopark --release --features _loom --lib models`
//!
//! A lost wake-up shows as a deadlock, a value that is lost or doubled as a failed assertion, and an access to a waiter's
//! slot or a channel's state that nothing orders is reported by loom's cells.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::thread;

use crate::chan::{self, SendError, TryRecvError, TrySendError};
use crate::coop;
use crate::idle::Idle;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::run_next::RunNext;
use crate::select;
pub(crate) use crate::wait::block_on::block_on;

/// Explores `model` with at most `preemptions` of them.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// A poll that nobody will repeat.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// ------------------------------------------------------------------------------------------------ blocked threads

#[test]
fn a_blocked_thread_misses_no_wake() {
    explore(3, || {
        let (done, mut threads) = (Arc::new(AtomicUsize::new(0)), Vec::new());
        block_on(poll_fn(|cx| {
            if threads.is_empty() {
                threads.extend((0..2).map(|_| {
                    let (done, waker) = (done.clone(), cx.waker().clone());
                    thread::spawn(move || {
                        // Relaxed: the wake orders it before the poll that follows.
                        done.fetch_add(1, Ordering::Relaxed);
                        waker.wake();
                    })
                }));
            }
            if done.load(Ordering::Relaxed) == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

// ------------------------------------------------------------------------------------------------ the idle word

#[test]
fn a_push_is_seen_by_the_second_look_or_wakes_somebody() {
    explore(3, || {
        let (idle, queue) = (Arc::new(Idle::new()), Arc::new(AtomicUsize::new(0)));
        // One machine, which searches and has found nothing.
        idle.transition_to_idle(false);
        assert!(idle.try_begin_notify());
        idle.acquire_processor();
        let pushers: Vec<_> = (0..2)
            .map(|_| {
                let (idle, queue) = (idle.clone(), queue.clone());
                thread::spawn(move || {
                    queue.fetch_add(1, Ordering::Relaxed);
                    idle.should_notify() && idle.try_begin_notify()
                })
            })
            .collect();
        idle.transition_to_idle(true);
        let seen = queue.load(Ordering::Relaxed) > 0;
        let woken = pushers.into_iter().map(|pusher| pusher.join().unwrap()).filter(|woken| *woken).count();
        assert!(seen || woken > 0, "a goroutine is queued, and everybody sleeps");
        assert!(woken <= 1, "two were woken for one idle processor");
    });
}

#[test]
fn the_last_searcher_knows_that_it_is_the_last() {
    explore(3, || {
        let idle = Arc::new(Idle::new());
        assert!(idle.try_begin_search(4) && idle.try_begin_search(4));
        assert!(!idle.try_begin_search(4), "half of the busy ones search");
        let other = {
            let idle = idle.clone();
            thread::spawn(move || idle.end_search())
        };
        let last = [idle.end_search(), other.join().unwrap()];
        assert_eq!(last.into_iter().filter(|last| *last).count(), 1);
    });
}

// ------------------------------------------------------------------------------------------------ the run-next slot

/// A machine whose goroutine submits others while somebody takes its slot; each submission is a number, as an address.
struct Stuck {
    slot: RunNext,
    /// What belongs to the processor and is not atomic: loom reports two who touch it at once.
    processor: UnsafeCell<usize>,
    /// How often each submission was found somewhere.
    found: [AtomicUsize; 4],
}

// SAFETY: this is what the models check.
unsafe impl Sync for Stuck {}
// SAFETY: as above.
unsafe impl Send for Stuck {}

impl Stuck {
    fn new() -> Arc<Self> {
        let slot = RunNext::new();
        assert!(slot.enter());
        Arc::new(Self { slot, processor: UnsafeCell::new(0), found: std::array::from_fn(|_| AtomicUsize::new(0)) })
    }

    fn find(&self, next: *mut ()) {
        if !next.is_null() {
            self.found[next.addr()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For who has the right to it.
    fn touch_processor(&self) {
        // SAFETY: checked by loom.
        self.processor.with_mut(|touched| unsafe { *touched += 1 });
    }

    /// In a poll: into the slot, the one before into the queue; without a processor into the global queue.
    fn submit(&self, task: usize) {
        let task = std::ptr::without_provenance_mut(task);
        match self.slot.hold() {
            Some(was) => {
                self.touch_processor();
                let old = self.slot.swap(task);
                self.slot.release(was);
                self.find(old);
            }
            None => self.find(task),
        }
    }

    fn assert_each_was_found_once(&self, tasks: std::ops::RangeInclusive<usize>) {
        for task in tasks {
            assert_eq!(self.found[task].load(Ordering::Relaxed), 1, "submission {task}");
        }
    }
}

#[test]
fn a_thief_of_the_run_next_slot_and_its_owner_take_each_goroutine_once() {
    explore(3, || {
        let stuck = Stuck::new();
        stuck.slot.swap(std::ptr::without_provenance_mut(1));
        stuck.slot.leave();
        let thief = {
            let stuck = stuck.clone();
            thread::spawn(move || {
                // It wants nothing of the processor but the slot.
                if let Some(next) = stuck.slot.revoke() {
                    stuck.slot.restore();
                    stuck.find(next);
                }
            })
        };
        stuck.submit(2);
        // The poll ends. `revoked` may be seen, but the processor is still the owner's, as the lock would tell.
        let asks = !stuck.slot.enter();
        let mut thief = Some(thief);
        if asks {
            thief.take().unwrap().join().unwrap();
        }
        stuck.touch_processor();
        stuck.find(stuck.slot.swap(std::ptr::null_mut()));
        if let Some(thief) = thief {
            thief.join().unwrap();
        }
        stuck.assert_each_was_found_once(1..=2);
    });
}

#[test]
fn a_revoked_processor_is_touched_by_its_new_holder_alone() {
    explore(3, || {
        let stuck = Stuck::new();
        stuck.slot.swap(std::ptr::without_provenance_mut(1));
        stuck.slot.leave();
        let monitor = {
            let stuck = stuck.clone();
            thread::spawn(move || {
                let next = stuck.slot.revoke()?;
                // Handed on: the new holder goes to work.
                stuck.touch_processor();
                stuck.find(next);
                stuck.touch_processor();
                Some(())
            })
        };
        stuck.submit(2);
        stuck.submit(3);
        let kept = stuck.slot.enter();
        if kept {
            stuck.touch_processor();
            stuck.find(stuck.slot.swap(std::ptr::null_mut()));
        }
        let taken = monitor.join().unwrap().is_some();
        if !kept && !taken {
            // It was given up again, as the lock tells the owner.
            stuck.find(stuck.slot.swap(std::ptr::null_mut()));
        }
        assert!(!(kept && taken), "both have the processor");
        stuck.assert_each_was_found_once(1..=3);
    });
}

// ------------------------------------------------------------------------------------------------ channels

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
                panic!("nobody sends blocking, yet {value:?}");
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

// ------------------------------------------------------------------------------------------------ select

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
        // The channel of the send that lost may have been seen closed.
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
                // Woken at once, so that the select polls this while the offer comes.
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
            // Nobody polls for this waker again.
            match poll_once(selecting.as_mut()) {
                Poll::Ready(got) => got,
                Poll::Pending => block_on(selecting),
            }
        };
        assert_eq!(got, Some(7));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

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
