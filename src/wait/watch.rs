//! Watchers: tasks that are woken when something may be available, and then compete for it. A
//! receiver that is used as a stream is a watcher.
//!
//! A watcher is a waiter of a [queue](super::queue), and to wake it means to grant it. To register,
//! replace or remove a watcher takes constant time. Under the lock only pointers are moved: a waker
//! is cloned before the lock is taken, and woken or dropped after it is released.

use std::fmt;
use std::sync::Arc;
use std::task::Context;

use super::queue::{Held, KeptWaiter, OwnWaiter, Queues};
use crate::loom::atomic::{AtomicU64, Ordering};
use crate::waker::{TaskWaker, WakeList};

/// The watchers of one object. The value under their lock is the number of registrations so far.
pub(crate) struct Watchers(Queues<Number, u64>);

/// The number of a watcher's registration, accessed under the lock. A wake skips watchers that were
/// registered after it began.
struct Number(AtomicU64);

/// The only queue.
const Q: usize = 0;

impl Watchers {
    pub(crate) fn new() -> Self {
        Self(Queues::new(0))
    }

    /// Returns true if no watcher is registered. Only a hint, unless another lock orders this call
    /// and the registrations.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.seems_empty(Q)
    }

    /// Wakes and removes all current watchers, in batches. Those of the task of `but` stay
    /// registered and are not woken.
    #[cold]
    #[inline(never)]
    pub(crate) fn wake(&self, but: Option<&Context<'_>>) {
        let mut wakes = WakeList::new();
        let mut held = self.0.lock();
        let last = *held;
        loop {
            while !wakes.is_full() {
                let Some(front) = held.front(Q) else { break };
                if front.extra.0.load(Ordering::Relaxed) > last {
                    // It was registered after this wake began, and has missed nothing.
                    break;
                }
                if but.is_some_and(|cx| held.front_will_wake(Q, cx)) {
                    front.extra.0.store(*held + 1, Ordering::Relaxed);
                    *held += 1;
                    held.move_front(Q, Q);
                    continue;
                }
                held.grant_front_into(Q, &mut wakes);
            }
            drop(held);
            if wakes.is_empty() {
                return;
            }
            wakes.wake_all();
            held = self.0.lock();
        }
    }
}

/// Links a watcher at the end.
fn link<'q>(held: &mut Held<'q, Number, u64>, own: OwnWaiter<'_, 'q, Number>) {
    **held += 1;
    own.extra.0.store(**held, Ordering::Relaxed);
    held.push_back(Q, own);
}

/// A place for the registration of one task. Dropping it removes the registration.
pub(crate) struct Watch(Option<KeptWaiter<Watchers, Number>>);

impl Watch {
    pub(crate) const NONE: Self = Self(None);

    /// Registers the task of `cx`, in place of the task registered here before, to be woken once by
    /// [`Watchers::wake`]. `watchers` returns those of the object, and is only called the first
    /// time.
    pub(crate) fn register(&mut self, watchers: impl FnOnce() -> Arc<Watchers>, cx: &Context<'_>) {
        let waker = TaskWaker::new(cx.waker());
        let new = || KeptWaiter::new(watchers(), Number(AtomicU64::new(0)));
        // The old waker is dropped after the lock is released.
        drop(self.0.get_or_insert_with(new).with(|own, watchers| {
            let mut held = watchers.0.lock();
            let old = held.replace_waker(own, Some(waker));
            if !own.is_linked() {
                link(&mut held, own);
            }
            old
        }));
    }

    /// Removes the registration: no task is woken from now on.
    #[inline]
    pub(crate) fn end(&mut self) {
        if let Some(watcher) = &mut self.0 {
            drop(watcher.with(|own, watchers| {
                // Most watchers were woken, or never registered.
                if !own.is_linked() {
                    return None;
                }
                let mut held = watchers.0.lock();
                if own.is_linked() {
                    held.remove(own);
                }
                held.replace_waker(own, None)
            }));
        }
    }
}

impl Drop for Watch {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers").finish_non_exhaustive()
    }
}
