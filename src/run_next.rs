//! The run-next slot of a machine, and the right to touch what belongs to its processor.
//!
//! The owner comes by at every switch, so it pays plain loads and stores and a fence of the compiler. Whoever takes the
//! slot from an owner that does not end its poll pays for both, with a fence in every thread. A swap would cost the owner
//! a quarter of a context switch.

use std::ptr;

use crate::loom::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::loom::{self, const_fn};
use crate::platform;

/// | word | meaning | written by |
/// |---|---|---|
/// | `busy` | the owner is at what belongs to its processor | owner: between polls, and around accesses in a poll |
/// | `revoked` | the processor may be gone: ask under the scheduler's lock | who takes it, and the owner, under that lock |
/// | `next` | the run-next goroutine | owner while `busy`; who revoked, once `busy` is false |
///
/// Proof. `hold` stores `busy` and then loads `revoked`, `revoke` stores `revoked` and then loads `busy`, each with its half
/// of the asymmetric fence in between. So either the owner's `busy` is seen, and waited for; or the owner sees `revoked`, and
/// keeps off; or it sees the `restore` that came after, and with it (Release, Acquire) what was taken meanwhile.
#[derive(Debug)]
pub(crate) struct RunNext {
    busy: AtomicBool,
    revoked: AtomicBool,
    next: AtomicPtr<()>,
}

impl RunNext {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Self {
                busy: AtomicBool::new(false),
                revoked: AtomicBool::new(false),
                next: AtomicPtr::new(ptr::null_mut()),
            }
        }
    }

    /// A poll begins. Whoever takes the processor from here on sees it as it is now.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// The owner is back from a poll, or begins. False if the processor may be gone.
    #[inline(always)]
    pub(crate) fn enter(&self) -> bool {
        self.busy.store(true, Ordering::Relaxed);
        // Orders the store above before the load below; pairs with the heavy fence in `revoke`.
        platform::light_fence();
        // Acquire: pairs with the Release store in `restore`.
        !self.revoked.load(Ordering::Acquire)
    }

    /// The owner makes sure of its processor for a few steps, up to [`release`](Self::release) with what this returned.
    /// `None` if it may be gone.
    #[inline(always)]
    pub(crate) fn hold(&self) -> Option<bool> {
        let was = self.busy.load(Ordering::Relaxed);
        if self.enter() {
            return Some(was);
        }
        self.release(was);
        None
    }

    /// Release: pairs with the Acquire load in `revoke`, which hands on what was written meanwhile.
    #[inline(always)]
    pub(crate) fn release(&self, was: bool) {
        self.busy.store(was, Ordering::Release);
    }

    /// Exchanges the run-next goroutine. Only for who holds, or who revoked.
    #[inline(always)]
    pub(crate) fn swap(&self, next: *mut ()) -> *mut () {
        let old = self.next.load(Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        old
    }

    /// A hint for others.
    pub(crate) fn seems_empty(&self) -> bool {
        self.next.load(Ordering::Relaxed).is_null()
    }

    /// Takes the run-next goroutine, and with it everything that belongs to the processor, from an owner that is in a poll.
    /// `None` if it is not: then all is as it was. Else it stays revoked until somebody calls [`restore`](Self::restore).
    ///
    /// To be called under the scheduler's lock.
    pub(crate) fn revoke(&self) -> Option<*mut ()> {
        self.revoked.store(true, Ordering::Relaxed);
        // Pairs with the light fences: from here on an owner that is not `busy` will see `revoked` before it is again.
        let fenced = platform::heavy_fence();
        // A goroutine's submission keeps `busy` for a few instructions; the scheduler's own loop for as long as it likes.
        for round in 1..if fenced { PATIENCE } else { 0 } {
            if !self.busy.load(Ordering::Acquire) {
                return Some(self.swap(ptr::null_mut()));
            }
            loom::relax(round);
        }
        self.restore();
        None
    }

    /// The owner gives its processor up itself, in a poll. Under the scheduler's lock.
    pub(crate) fn give_up(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    /// The owner may go on, with its processor or the next one. Under the scheduler's lock.
    pub(crate) fn restore(&self) {
        // Release: an owner that sees this sees the slot as it was left. It need not have seen `revoked` in between.
        self.revoked.store(false, Ordering::Release);
    }
}

/// Looks at `busy` before `revoke` gives up.
const PATIENCE: u32 = if loom::MODELLED { 3 } else { 200 };
