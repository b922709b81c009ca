//! The run-next slot of a worker, and the right to access what belongs to its processor.
//!
//! The owner accesses the slot on every context switch, so its side uses only plain loads and
//! stores and a compiler fence. A thread that takes the slot from an owner in a long poll pays for
//! both sides: it executes a fence in every thread. An atomic swap would cost the owner a quarter
//! of a context switch.

use std::ptr;

use crate::loom::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::loom::{self, const_fn};
use crate::platform;

/// A worker's run-next slot and its right to the processor, in three words.
///
/// * `busy`: the owner accesses its processor. The owner writes it, between polls and around
///   accesses in a poll.
/// * `revoked`: the owner may have lost the processor, and must check under the scheduler's lock.
///   Written under that lock, by the revoking thread and the owner.
/// * `next`: the run-next goroutine. Written by the owner while `busy` is true, and by the revoking
///   thread once `busy` is false.
///
/// Proof. `try_hold` stores `busy` and then loads `revoked`, `revoke` stores `revoked` and then
/// loads `busy`, each with its half of the asymmetric fence in between. So there are three cases.
/// `revoke` sees `busy`, and waits until the owner clears it, or gives up. Or the owner sees
/// `revoked`, and does not access the processor. Or the owner sees the later `reinstate`, and with
/// it (Release, Acquire) what was taken meanwhile.
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

    /// A poll begins: from now on the processor can be revoked. Release: the revoking thread sees
    /// the processor as it is now.
    #[inline(always)]
    pub(crate) fn end_exclusive(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// A poll has ended, or the owner begins to access its processor. Returns false if the owner
    /// may have lost the processor.
    #[inline(always)]
    pub(crate) fn begin_exclusive(&self) -> bool {
        self.busy.store(true, Ordering::Relaxed);
        // Orders the store above before the load below; pairs with the heavy fence in `revoke`.
        platform::light_fence();
        // Acquire: pairs with the Release store in `reinstate`.
        !self.revoked.load(Ordering::Acquire)
    }

    /// Prevents the processor from being revoked until [`release`](Self::release) is called with
    /// the returned value. Returns `None` if the owner may have lost the processor.
    #[inline(always)]
    pub(crate) fn try_hold(&self) -> Option<bool> {
        let was = self.busy.load(Ordering::Relaxed);
        if self.begin_exclusive() {
            return Some(was);
        }
        self.release(was);
        None
    }

    /// Ends a hold. Release: pairs with the Acquire load in `revoke`, so that the revoking thread
    /// sees what was written meanwhile.
    #[inline(always)]
    pub(crate) fn release(&self, was: bool) {
        self.busy.store(was, Ordering::Release);
    }

    /// Replaces the run-next goroutine, and returns the previous one. Only for the holder, and for
    /// the thread that revoked the slot.
    #[inline(always)]
    pub(crate) fn swap(&self, next: *mut ()) -> *mut () {
        let old = self.next.load(Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        old
    }

    /// Returns whether the slot is empty: to other threads than the owner, a hint.
    pub(crate) fn seems_empty(&self) -> bool {
        self.next.load(Ordering::Relaxed).is_null()
    }

    /// Takes the run-next goroutine, and with it everything that belongs to the processor, from an
    /// owner that is in a poll. Returns `None`, and changes nothing, if the owner is not in a poll.
    /// Otherwise the slot stays revoked until a call of [`reinstate`](Self::reinstate).
    ///
    /// Must be called under the scheduler's lock.
    pub(crate) fn revoke(&self) -> Option<*mut ()> {
        self.revoked.store(true, Ordering::Relaxed);
        // Pairs with the light fences: from now on, an owner that is not `busy` sees `revoked`
        // before it accesses the processor again.
        let fenced = platform::heavy_fence();
        // A submission in a poll keeps `busy` set for a few instructions, the worker's loop for any
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

    /// Revokes the owner's own processor, in a poll. Must be called under the scheduler's lock.
    pub(crate) fn abandon(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    /// Lets the owner continue, with its processor or the next one. Must be called under the
    /// scheduler's lock.
    pub(crate) fn reinstate(&self) {
        // Release: an owner that sees this store sees the slot as the revoking thread left it. The
        // owner need not have seen `revoked` in between.
        self.revoked.store(false, Ordering::Release);
    }
}

/// The number of loads of `busy` before `revoke` gives up.
const PATIENCE: u32 = if loom::MODELLED { 3 } else { 200 };
