//! Loom models of the protocol itself: an unlock races with a thread that goes to sleep, and the
//! hand-over.
//!
//! Threads do not spin here, so a lost wake-up shows as a deadlock. The cell reports two threads
//! that hold the lock at once.

use std::sync::Arc;

use loom::sync::{Mutex, MutexGuard};
use loom::thread;

use super::sleep_lock::SleepLock;
use crate::loom::UnsafeCell;

/// The lock of all models except those of [`SleepLock`]: it is one step for loom, while the
/// protocol has many.
#[derive(Debug)]
pub(super) struct ModelLock {
    mutex: Mutex<()>,
    held: std::cell::UnsafeCell<Option<MutexGuard<'static, ()>>>,
}

// SAFETY: only the holder of `mutex` accesses `held`.
unsafe impl Sync for ModelLock {}
// SAFETY: as above; loom runs all its threads on one thread.
unsafe impl Send for ModelLock {}

impl ModelLock {
    pub(super) fn new() -> Self {
        Self { mutex: Mutex::new(()), held: std::cell::UnsafeCell::new(None) }
    }

    pub(super) fn lock(&self) {
        let guard = self.mutex.lock().expect("no model unwinds with the lock held");
        // SAFETY: this thread holds the mutex, and `unlock` drops the guard before the mutex is
        // dropped.
        unsafe {
            *self.held.get() =
                Some(std::mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard))
        };
    }

    pub(super) fn unlock(&self) {
        // SAFETY: the caller holds the lock. The guard is moved out first, because its drop lets
        // others acquire the lock.
        let guard = unsafe { (*self.held.get()).take() };
        drop(guard);
    }
}

/// A number that is protected by the lock of the protocol.
struct Counter {
    lock: SleepLock,
    value: UnsafeCell<usize>,
}

// SAFETY: the value is accessed under the lock, which is what the models check.
unsafe impl Sync for Counter {}
// SAFETY: as above.
unsafe impl Send for Counter {}

impl Counter {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: SleepLock::new(), value: UnsafeCell::new(0) })
    }

    fn increment(&self) {
        self.lock.lock();
        // SAFETY: the lock is held; loom reports if another thread is here as well.
        self.value.with_mut(|value| unsafe { *value += 1 });
        self.lock.unlock();
    }

    /// Returns the value. Asserts that the lock is free, and no sleeper is left.
    fn into_value(self: Arc<Self>) -> usize {
        assert!(self.lock.is_idle(), "the lock is free, and its flag is cleared");
        // SAFETY: all threads have been joined.
        self.value.with(|value| unsafe { *value })
    }
}

fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Runs `threads` threads next to the model's own, each of which acquires the lock `times` times.
fn contend(threads: usize, times: usize) {
    let counter = Counter::new();
    let work = move |counter: &Counter| (0..times).for_each(|_| counter.increment());
    let others: Vec<_> = (0..threads)
        .map(|_| {
            let counter = counter.clone();
            thread::spawn(move || work(&counter))
        })
        .collect();
    work(&counter);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(counter.into_value(), (threads + 1) * times);
}

#[test]
fn an_unlock_wakes_the_thread_that_goes_to_sleep() {
    explore(5, || contend(1, 1));
}

#[test]
fn a_sleeper_that_lost_against_a_newcomer_is_handed_the_lock() {
    explore(4, || contend(1, 3));
}

#[test]
fn each_of_two_sleepers_is_woken() {
    explore(3, || contend(2, 1));
}

#[test]
fn a_newcomer_that_beats_a_hand_over_wakes_the_starving_sleeper() {
    explore(3, || contend(2, 2));
}

#[test]
fn the_unlocks_of_two_locks_in_one_bucket_wake_their_own_sleepers() {
    explore(3, || {
        let counters = [Counter::new(), Counter::new()];
        counters.iter().for_each(|counter| counter.lock.lock());
        let others = counters.clone().map(|counter| thread::spawn(move || counter.increment()));
        counters.iter().for_each(|counter| counter.lock.unlock());
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(counters.map(Counter::into_value), [1; 2]);
    });
}
