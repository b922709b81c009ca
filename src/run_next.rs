//! The run-next slot of a worker, and the right to touch what belongs to its processor.
//!
//! The owner accesses the slot on every context switch, so its side uses only plain loads and
//! stores and a compiler fence. A thread that takes the slot from an owner in a long poll pays for
//! both sides, with a fence in every thread. An atomic swap would cost the owner a quarter of a
//! context switch.

use std::ptr;

use crate::loom::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::loom::{self, const_fn};
use crate::platform;

/// | word | meaning | written by |
/// |---|---|---|
/// | `busy` | the owner accesses its processor | owner: between polls, and around accesses in a poll |
/// | `revoked` | the owner may have lost the processor: it checks under the scheduler's lock | the thread that takes it, and the owner, under that lock |
/// | `next` | the run-next goroutine | owner while `busy`; the revoking thread, once `busy` is false |
///
/// Proof. `try_hold` stores `busy` and then loads `revoked`, `revoke` stores `revoked` and then
/// loads `busy`, each with its half of the asymmetric fence in between. So either the owner's
/// `busy` is seen, and waited for; or the owner sees `revoked`, and keeps off; or it sees the
/// `reinstate` that came after, and with it (Release, Acquire) what was taken meanwhile.
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

    /// A poll begins: the processor can be revoked. Release: the revoking thread sees it as it is
    /// now.
    #[inline(always)]
    pub(crate) fn end_exclusive(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// A poll has ended, or the owner begins to use its processor. False if it may have lost it.
    #[inline(always)]
    pub(crate) fn begin_exclusive(&self) -> bool {
        self.busy.store(true, Ordering::Relaxed);
        // Orders the store above before the load below; pairs with the heavy fence in `revoke`.
        platform::light_fence();
        // Acquire: pairs with the Release store in `reinstate`.
        !self.revoked.load(Ordering::Acquire)
    }

    /// Keeps the processor from being revoked until [`release`](Self::release) with the value that
    /// this returned. `None` if the owner may have lost it.
    #[inline(always)]
    pub(crate) fn try_hold(&self) -> Option<bool> {
        let was = self.busy.load(Ordering::Relaxed);
        if self.begin_exclusive() {
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

    /// Exchanges the run-next goroutine. Only for the holder, and for the thread that revoked the
    /// slot.
    #[inline(always)]
    pub(crate) fn swap(&self, next: *mut ()) -> *mut () {
        let old = self.next.load(Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        old
    }

    /// A hint for other threads.
    pub(crate) fn seems_empty(&self) -> bool {
        self.next.load(Ordering::Relaxed).is_null()
    }

    /// Takes the run-next goroutine, and with it everything that belongs to the processor, from an
    /// owner that is in a poll. `None` if it is not: then all is as it was. Else it stays revoked
    /// until somebody calls [`reinstate`](Self::reinstate).
    ///
    /// To be called under the scheduler's lock.
    pub(crate) fn revoke(&self) -> Option<*mut ()> {
        self.revoked.store(true, Ordering::Relaxed);
        // Pairs with the light fences: from here on an owner that is not `busy` will see `revoked`
        // before it is again.
        let fenced = platform::heavy_fence();
        // A goroutine's submission keeps `busy` for a few instructions, the worker's loop for any
        // time.
        for round in 1..if fenced { PATIENCE } else { 0 } {
            if !self.busy.load(Ordering::Acquire) {
                return Some(self.swap(ptr::null_mut()));
            }
            loom::relax(round);
        }
        self.reinstate();
        None
    }

    /// The owner gives its processor up itself, in a poll. Under the scheduler's lock.
    pub(crate) fn abandon(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    /// The owner may go on, with its processor or the next one. Under the scheduler's lock.
    pub(crate) fn reinstate(&self) {
        // Release: an owner that sees this sees the slot as it was left. It need not have seen
        // `revoked` in between.
        self.revoked.store(false, Ordering::Release);
    }
}

/// Looks at `busy` before `revoke` gives up.
const PATIENCE: u32 = if loom::MODELLED { 3 } else { 200 };
