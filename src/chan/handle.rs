//! The handles of a channel, counted by side.
//!
//! Two counts instead of one decide a channel's life, so that a handle costs one locked instruction
//! to clone and one to drop.

use std::ptr::NonNull;

use super::core::{Core, Side};
use super::record;
use crate::loom::atomic::Ordering;

/// A counted reference to a channel, from one side; none is a nil channel.
pub(super) struct Handle<T> {
    core: Option<NonNull<Core<T>>>,
}

// SAFETY: a handle is a shared reference to a `Core`, which is `Sync` when `T: Send`.
unsafe impl<T: Send> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Handle<T> {}

impl<T> Handle<T> {
    pub(super) const NIL: Self = Self { core: None };

    /// Two handles of a new channel, one a side.
    pub(super) fn pair(core: Core<T>) -> (Self, Self) {
        let core = NonNull::from(Box::leak(Box::new(core)));
        record::enter(core);
        let core = Some(core);
        (Self { core }, Self { core })
    }

    #[inline(always)]
    pub(super) fn core(&self) -> Option<&Core<T>> {
        // SAFETY: this handle is counted, so the channel lives.
        self.core.map(|core| unsafe { &*core.as_ptr() })
    }

    pub(super) fn address(&self) -> usize {
        self.core.map_or(0, |core| core.addr().get())
    }

    pub(super) fn raw(&self) -> Option<NonNull<Core<T>>> {
        self.core
    }

    /// One more handle of a side, if that has one.
    ///
    /// # Safety
    ///
    /// The channel came from [`pair`](Self::pair), and is not freed meanwhile.
    pub(super) unsafe fn one_more(core: NonNull<Core<T>>, side: Side) -> Option<Self> {
        // SAFETY: the caller's promise.
        let count = unsafe { core.as_ref() }.count(side);
        let one_more = |n: usize| (n != 0).then(|| n + 1);
        // Acquire, as the upgrade of a `std::sync::Weak`.
        count.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).ok()?;
        Some(Self { core: Some(core) })
    }

    /// The live handles of a side.
    pub(super) fn count(&self, side: Side) -> usize {
        self.core().map_or(0, |core| core.count(side).load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn clone_on(&self, side: Side) -> Self {
        if let Some(core) = self.core() {
            let before = core.count(side).fetch_add(1, Ordering::Relaxed);
            // As `Arc`: a count that wraps would free a channel in use, and only leaking handles
            // gets there.
            if before > isize::MAX as usize {
                std::process::abort();
            }
        }
        Self { core: self.core }
    }

    /// Ends the handle. The last one of its side closes the channel; the last one of all frees it.
    #[inline]
    pub(super) fn release(&mut self, side: Side) {
        let Some(core) = self.core.take() else { return };
        // SAFETY: this handle is still counted.
        let count = unsafe { core.as_ref() }.count(side);
        // Release: what this handle did comes before the last handle's close.
        if count.fetch_sub(1, Ordering::Release) == 1 {
            // A load where a fence would do as well, for ThreadSanitizer does not know fences.
            count.load(Ordering::Acquire);
            // SAFETY: this side's count has just become zero by this call, and no handle of it is
            // left.
            unsafe { Self::release_last(core, side) };
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn release_last(core: NonNull<Core<T>>, side: Side) {
        // SAFETY: until both sides have come by here, the channel lives.
        let shared = unsafe { core.as_ref() };
        shared.close();
        // Dropped at the end: a destructor may panic.
        let _values = matches!(side, Side::Receive).then(|| shared.discard());
        // AcqRel: the second side sees all that the first one did.
        if shared.one_side_dropped.swap(true, Ordering::AcqRel) {
            record::leave(core.addr().get());
            // SAFETY: no handle is left, and weak references look at the counts alone.
            if let Some(extras) = unsafe { &shared.state().extras } {
                extras.link.iter().for_each(|link| link.cut());
            }
            // SAFETY: both sides have no handles left, and the channel came from a `Box`.
            drop(unsafe { Box::from_raw(core.as_ptr()) });
        }
    }
}
