//! Models of the locks.
//!
//! The protected value is a loom cell. Loom runs all its threads on one thread, so they share their
//! thread-locals, and a model is either completely on a gopark processor or completely outside.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::cell::UnsafeCell;
use loom::thread;

use super::{explore, poll_once};
use crate::coop;
use crate::sync::{Mutex, Notify, RwMutex, Semaphore, fairness, watch};
use crate::wait::block_on::block_on;

/// Polls a future once, for another thread to complete. So a waiter is in the queue without costing
/// the model a preemption.
fn parked<F: Future + 'static>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(poll_once(future.as_mut()).is_pending());
    future
}

/// Polls a future once more, then drops it.
fn give_up<F: Future>(mut future: Pin<Box<F>>) {
    let _ = poll_once(future.as_mut()).is_pending();
}

/// The mode in which a mutex runs.
#[derive(Clone, Copy)]
enum On {
    /// Outside of gopark: every unlock hands the lock over.
    Foreign,
    /// On a processor: the woken waiter competes.
    Worker,
    /// On a processor, and a waiter that loses once starves.
    Starving,
}

fn explore_on(on: On, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    coop::set_worker(match on {
        On::Foreign => None,
        On::Worker | On::Starving => Some(0),
    });
    fairness::model::STARVES.set(matches!(on, On::Starving));
    explore(preemptions, model);
    coop::set_worker(None);
}

/// Runs a model of a mutex in each mode.
macro_rules! in_each_mode {
    ($($name:ident: $model:expr, $preemptions:literal;)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn foreign() {
                explore_on(On::Foreign, $preemptions, $model);
            }

            #[test]
            fn worker() {
                explore_on(On::Worker, $preemptions, $model);
            }

            #[test]
            fn starving() {
                explore_on(On::Starving, $preemptions, $model);
            }
        }
    )* };
}

in_each_mode! {
    mutex_loses_no_wake_among_three: three_lock_once, 2;
    mutex_lets_both_in_when_each_comes_back: two_lock_twice, 3;
    mutex_cancelled_waiter_passes_on_what_it_was_given_ca02: one_gives_up, 2;
    mutex_front_leaves_while_the_lock_is_given_up_ca02: front_gives_up, 3;
}

fn add(cell: &UnsafeCell<usize>) {
    // SAFETY: under the lock; loom checks it.
    cell.with_mut(|value| unsafe { *value += 1 });
}

fn get(cell: &UnsafeCell<usize>) -> usize {
    // SAFETY: under the lock; loom checks it.
    cell.with(|value| unsafe { *value })
}

/// Three threads lock once each.
fn three_lock_once() {
    let m = Arc::new(Mutex::new(UnsafeCell::new(0)));
    let lock = |m: &Mutex<_>| add(&block_on(m.lock()));
    let threads = [(); 2].map(|()| {
        let m = m.clone();
        thread::spawn(move || lock(&m))
    });
    lock(&m);
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(get(&m.try_lock().unwrap()), 3);
}

/// Two threads lock twice each: a thread that unlocks tries to lock again at once.
fn two_lock_twice() {
    let m = Arc::new(Mutex::new(UnsafeCell::new(0)));
    let twice = |m: &Mutex<_>| (0..2).for_each(|_| add(&block_on(m.lock())));
    let other = m.clone();
    let t = thread::spawn(move || twice(&other));
    twice(&m);
    t.join().unwrap();
    assert_eq!(get(&m.try_lock().unwrap()), 4);
}

/// One thread holds the lock, the second polls and gives up, the third waits: a notification or
/// grant of the second must go to the third.
fn one_gives_up() {
    let m = Arc::new(Mutex::new(UnsafeCell::new(0)));
    let guard = m.try_lock().unwrap();
    let threads = [
        thread::spawn({
            let m = m.clone();
            move || {
                let mut lock = pin!(m.lock());
                let _ =
                    poll_once(lock.as_mut()).is_pending() && poll_once(lock.as_mut()).is_pending();
            }
        }),
        thread::spawn({
            let m = m.clone();
            move || add(&block_on(m.lock()))
        }),
    ];
    add(&guard);
    drop(guard);
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(get(&m.try_lock().unwrap()), 2);
}

/// Several waiters are in the queue; the one at the front gives up while the lock is released.
fn front_gives_up() {
    let m = Arc::new(Mutex::new(UnsafeCell::new(0)));
    let guard = m.try_lock().unwrap();
    let lock = || {
        let m = m.clone();
        parked(async move { add(&*m.lock().await) })
    };
    let (first, second) = (lock(), lock());
    let threads = [thread::spawn(move || give_up(first)), thread::spawn(move || block_on(second))];
    add(&guard);
    drop(guard);
    add(&block_on(m.lock()));
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert!((3..=4).contains(&get(&m.try_lock().unwrap())));
}

/// The unlock on a processor notifies the front waiter. The unlock of a barging thread outside
/// hands the lock to it, and its own unlock notifies the next waiter.
#[test]
fn mutex_notified_waiter_is_handed_the_lock_and_the_next_one_is_notified() {
    explore_on(On::Worker, 3, || {
        fairness::model::ALTERNATES.set(Some(false));
        let m = Arc::new(Mutex::new(UnsafeCell::new(0)));
        let guard = m.try_lock().unwrap();
        let lock = || {
            let m = m.clone();
            parked(async move { add(&*m.lock().await) })
        };
        let threads = [lock(), lock()].map(|waits| thread::spawn(move || block_on(waits)));
        drop(guard);
        drop(m.try_lock());
        threads.into_iter().for_each(|t| t.join().unwrap());
        fairness::model::ALTERNATES.set(None);
        assert_eq!(get(&m.try_lock().unwrap()), 2);
    });
}

/// A future that is polled again without a wake sees the grant in its waiter, and everything that
/// happened before the grant.
#[test]
fn mutex_grant_needs_no_wake_to_be_ordered() {
    explore_on(On::Foreign, 2, || {
        let m = Arc::new(Mutex::new(UnsafeCell::new(0)));
        let guard = m.try_lock().unwrap();
        let m2 = m.clone();
        let mut lock = parked(async move { add(&*m2.lock().await) });
        let t = thread::spawn(move || {
            while lock.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                thread::yield_now();
            }
        });
        add(&guard);
        drop(guard);
        t.join().unwrap();
        assert_eq!(get(&m.try_lock().unwrap()), 2);
    });
}

#[test]
fn rwmutex_readers_and_a_writer() {
    explore_on(On::Foreign, 2, || {
        let m = Arc::new(RwMutex::new(UnsafeCell::new(0)));
        let threads = [(); 2].map(|()| {
            let m = m.clone();
            thread::spawn(move || assert!(get(&block_on(m.rlock())) <= 1))
        });
        add(&block_on(m.lock()));
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(get(&m.try_lock().unwrap()), 1);
    });
}

#[test]
fn rwmutex_two_writers_and_a_reader() {
    explore_on(On::Foreign, 2, || {
        let m = Arc::new(RwMutex::new(UnsafeCell::new(0)));
        let threads = [(); 2].map(|()| {
            let m = m.clone();
            thread::spawn(move || add(&block_on(m.lock())))
        });
        assert!(get(&block_on(m.rlock())) <= 2);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(get(&m.try_lock().unwrap()), 2);
    });
}

/// The end of a writer's phase admits two queued readers and announces a writer, while the readers
/// are polled and leave.
#[test]
fn rwmutex_phase_change_with_a_batch_of_two_and_a_next_writer() {
    explore_on(On::Foreign, 3, || {
        let m = Arc::new(RwMutex::new(UnsafeCell::new(0)));
        let first = m.try_lock().unwrap();
        let read = || {
            let m = m.clone();
            parked(async move { assert!(get(&*m.rlock().await) <= 2) })
        };
        let (r1, r2) = (read(), read());
        let mut next = pin!(m.lock());
        assert!(poll_once(next.as_mut()).is_pending());
        let threads = [thread::spawn(move || give_up(r1)), thread::spawn(move || give_up(r2))];
        add(&first);
        drop(first);
        add(&block_on(next));
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(get(&m.try_lock().unwrap()), 2);
    });
}

/// Another writer is announced, and gives up while the last reader leaves.
#[test]
fn rwmutex_announced_writer_leaves_while_the_last_reader_does_ca10() {
    explore_on(On::Foreign, 3, || {
        let m = Arc::new(RwMutex::new(UnsafeCell::new(0)));
        let reader = m.try_rlock().unwrap();
        let m2 = m.clone();
        let w1 = parked(async move { add(&*m2.lock().await) });
        let m2 = m.clone();
        let r = parked(async move { assert!(get(&*m2.rlock().await) <= 2) });
        let mut w2 = pin!(m.lock());
        assert!(poll_once(w2.as_mut()).is_pending());
        let threads = [thread::spawn(move || give_up(w1)), thread::spawn(move || block_on(r))];
        drop(reader);
        add(&block_on(w2));
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert!((1..=2).contains(&get(&m.try_lock().unwrap())));
    });
}

/// An announced writer gives up: the reader that it kept out is admitted, and so is the writer
/// behind it.
#[test]
fn rwmutex_cancelled_writer_readmits_readers_ca10() {
    explore_on(On::Foreign, 2, || {
        let m = Arc::new(RwMutex::new(UnsafeCell::new(0)));
        let reader = m.try_rlock().unwrap();
        let threads = [
            thread::spawn({
                let m = m.clone();
                move || {
                    let mut lock = pin!(m.lock());
                    let _ = poll_once(lock.as_mut()).is_pending()
                        && poll_once(lock.as_mut()).is_pending();
                }
            }),
            thread::spawn({
                let m = m.clone();
                move || assert!(get(&block_on(m.rlock())) <= 2)
            }),
        ];
        drop(reader);
        add(&block_on(m.lock()));
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(get(&m.try_lock().unwrap()), 1);
    });
}

/// A reader leaves while a writer announces itself, and another writer calls `try_lock`.
#[test]
fn rwmutex_reader_leaves_while_writers_come() {
    explore_on(On::Foreign, 3, || {
        let m = Arc::new(RwMutex::new(UnsafeCell::new(0)));
        let leaves = {
            let m = m.clone();
            parked(async move {
                let guard = m.rlock().await;
                assert!(get(&guard) <= 2);
                // Continues in the other thread.
                let mut first = true;
                std::future::poll_fn(|_| {
                    if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
            })
        };
        let tries = {
            let m = m.clone();
            move || {
                if let Some(guard) = m.try_lock() {
                    add(&guard);
                }
            }
        };
        let threads = [thread::spawn(move || block_on(leaves)), thread::spawn(tries)];
        add(&block_on(m.lock()));
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert!((1..=2).contains(&get(&m.try_lock().unwrap())));
    });
}

/// A grant of two permits races with the drop of its waiter; the next waiter takes one.
#[test]
fn semaphore_grant_against_cancel_ca13() {
    explore_on(On::Foreign, 3, || {
        let s = Arc::new(Semaphore::new(2));
        let both = s.try_acquire(2).unwrap();
        let threads = [
            thread::spawn({
                let s = s.clone();
                move || {
                    let mut acquire = pin!(s.acquire(2));
                    let _ = poll_once(acquire.as_mut()).is_pending()
                        && poll_once(acquire.as_mut()).is_pending();
                }
            }),
            thread::spawn({
                let s = s.clone();
                move || drop(block_on(s.acquire(1)))
            }),
        ];
        drop(both);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(s.available(), 2);
    });
}

/// The front waiter leaves: the available permit is enough for the waiter behind it, and no permit
/// is released meanwhile.
#[test]
fn semaphore_front_leaves_and_those_behind_it_go_ca13() {
    explore_on(On::Foreign, 3, || {
        let s = Arc::new(Semaphore::new(2));
        let one = s.try_acquire(1).unwrap();
        let s2 = s.clone();
        let front = parked(async move { drop(s2.acquire(2).await) });
        let s2 = s.clone();
        let behind = parked(async move { drop(s2.acquire(1).await) });
        let threads = [thread::spawn(move || drop(front)), thread::spawn(move || block_on(behind))];
        threads.into_iter().for_each(|t| t.join().unwrap());
        drop(one);
        assert_eq!(s.available(), 2);
    });
}

#[test]
fn semaphore_serves_small_and_large_requests() {
    explore_on(On::Foreign, 2, || {
        let s = Arc::new(Semaphore::new(2));
        let cell = Arc::new(UnsafeCell::new(0));
        let threads = [(); 2].map(|()| {
            let (s, cell) = (s.clone(), cell.clone());
            thread::spawn(move || {
                let _permits = block_on(s.acquire(2));
                add(&cell);
            })
        });
        drop(block_on(s.acquire(1)));
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(get(&cell), 2);
        assert_eq!(s.available(), 2);
    });
}

/// Permits are added while one acquire waits for more than there are, and another one leaves.
#[test]
fn semaphore_grows_while_one_waits_for_more_than_there_is() {
    explore_on(On::Foreign, 3, || {
        let s = Arc::new(Semaphore::new(1));
        let s2 = s.clone();
        let gone = parked(async move { drop(s2.acquire(2).await) });
        let threads = [
            thread::spawn({
                let s = s.clone();
                move || drop(block_on(s.acquire(2)))
            }),
            thread::spawn(move || give_up(gone)),
        ];
        s.add_permits(1);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(s.available(), 2);
    });
}

/// Two waits and two calls of `notify_one`. The first notification may come before either wait, or
/// reach a wait that gives up.
#[test]
fn notify_one_is_kept_or_passed_on() {
    explore_on(On::Foreign, 3, || {
        let (n, cell) = (Arc::new(Notify::new()), Arc::new(UnsafeCell::new(0)));
        let n2 = n.clone();
        let gives_up = thread::spawn(move || {
            let mut wait = pin!(n2.notified());
            poll_once(wait.as_mut()).is_ready() || poll_once(wait.as_mut()).is_ready()
        });
        let (n2, cell2) = (n.clone(), cell.clone());
        let waits = thread::spawn(move || {
            block_on(n2.notified());
            assert_eq!(get(&cell2), 1);
        });
        add(&cell);
        n.notify_one();
        // If the wait that may give up got the notification, the other one needs another.
        if gives_up.join().unwrap() {
            n.notify_one();
        }
        waits.join().unwrap();
        let mut next = pin!(n.notified());
        assert!(poll_once(next.as_mut()).is_pending(), "there was one for each");
    });
}

/// `notify_all` runs while one wait is queued, and another one is called before it but polled at
/// any moment.
#[test]
fn notify_all_reaches_all_that_came_before() {
    explore_on(On::Foreign, 3, || {
        let n = Arc::new(Notify::new());
        let n2 = n.clone();
        let waits = parked(async move { n2.notified().await });
        // `notified` is called before `notify_all`, and polled at any moment.
        let n2 = n.clone();
        let called = thread::spawn(move || {
            let changed = Arc::new(UnsafeCell::new(0));
            let notified = n2.notified();
            let (n3, changed2) = (n2.clone(), changed.clone());
            let changes = thread::spawn(move || {
                add(&changed2);
                n3.notify_all();
            });
            block_on(notified);
            assert_eq!(get(&changed), 1);
            changes.join().unwrap();
        });
        block_on(waits);
        called.join().unwrap();
    });
}

/// A thread has seen that a `notify_all` is in progress, and calls `notify_one`: the notification
/// is for the wait that came later.
#[test]
fn notify_one_in_the_midst_of_notify_all_is_for_one_that_came_later() {
    explore_on(On::Foreign, 3, || {
        let n = Arc::new(Notify::new());
        let n2 = n.clone();
        let waits = parked(async move { n2.notified().await });
        let mut before = pin!(n.notified());
        let n2 = n.clone();
        let all = thread::spawn(move || n2.notify_all());
        let gone = thread::spawn(move || give_up(waits));
        if poll_once(before.as_mut()).is_ready() {
            let mut later = pin!(n.notified());
            assert!(poll_once(later.as_mut()).is_pending());
            n.notify_one();
            assert!(poll_once(later.as_mut()).is_ready(), "the others have been notified with all");
        } else {
            block_on(before);
        }
        all.join().unwrap();
        gone.join().unwrap();
    });
}

/// A wait is dropped while `notify_one` and `notify_all` notify it: the notification of
/// `notify_one` is kept.
#[test]
fn notify_one_during_notify_all_is_passed_on_by_a_dropped_wait() {
    explore_on(On::Foreign, 3, || {
        let n = Arc::new(Notify::new());
        let n2 = n.clone();
        let waits = parked(async move { n2.notified().await });
        let n2 = n.clone();
        let one = thread::spawn(move || n2.notify_one());
        let gone = thread::spawn(move || drop(waits));
        n.notify_all();
        one.join().unwrap();
        gone.join().unwrap();
        let kept = [n.notified(), n.notified()].map(|wait| poll_once(pin!(wait)).is_ready());
        assert_eq!(kept, [true, false]);
    });
}

#[test]
fn watch_receiver_that_waits_sees_the_change_and_then_the_end() {
    explore_on(On::Foreign, 3, || {
        let (tx, mut rx) = watch::channel(0);
        let sender = thread::spawn(move || tx.send(1));
        assert_eq!(block_on(rx.changed()), Ok(()));
        assert_eq!(*rx.borrow(), 1);
        assert!(block_on(rx.changed()).is_err());
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn watch_receiver_that_waits_sees_the_last_of_the_changes() {
    explore_on(On::Foreign, 2, || {
        let (tx, mut rx) = watch::channel(0);
        let senders =
            [tx.clone(), tx].map(|tx| thread::spawn(move || tx.send_modify(|value| *value += 1)));
        let mut seen = 0;
        while block_on(rx.changed()).is_ok() {
            let value = *rx.borrow();
            assert!((seen..=2).contains(&value));
            seen = value;
        }
        assert_eq!(seen, 2);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// A wait is dropped while the value changes: the change still counts as unseen.
#[test]
fn watch_wait_that_is_dropped_loses_no_change() {
    explore_on(On::Foreign, 3, || {
        let (tx, mut rx) = watch::channel(0);
        let sender = thread::spawn(move || {
            tx.send_modify(|value| *value += 1);
            tx
        });
        let saw = {
            let mut changed = pin!(rx.changed());
            poll_once(changed.as_mut()).is_ready()
        };
        let _open = sender.join().unwrap();
        assert_eq!(rx.has_changed(), Ok(!saw));
        assert_eq!(*rx.borrow(), 1);
    });
}

#[test]
fn watch_condition_is_asked_of_the_value_that_makes_it_true() {
    explore_on(On::Foreign, 2, || {
        let (tx, mut rx) = watch::channel(0);
        let sender = thread::spawn(move || {
            let _ = tx.send(1);
            tx.send(2)
        });
        assert_eq!(block_on(rx.wait_for(|value| *value == 2)).map(|value| *value).ok(), Some(2));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}
