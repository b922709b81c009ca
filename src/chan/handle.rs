//! The handles of a channel, counted by side.
//!
//! There is one count for each side and none for both together, so a handle costs one locked
//! instruction to clone and one to drop.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use super::core::{CLOSED, Core, Extras, Side};
use super::link::Link;
use super::record;
use crate::loom::atomic::Ordering;

/// A counted reference to a channel, from one side; `None` for a nil channel.
pub(super) struct Handle<T> {
    core: Option<NonNull<Core<T>>>,
}

// SAFETY: a handle is a shared reference to a `Core`, which is `Sync` when `T: Send`.
unsafe impl<T: Send> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Handle<T> {}

impl<T> Handle<T> {
    pub(super) const NIL: Self = Self { core: None };

    /// Allocates a channel, and returns one handle for each side.
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

    /// Returns the link of the channel, and makes it if there is none. `None` for a nil channel.
    pub(super) fn link(&self) -> Option<Arc<Link<Core<T>>>> {
        let core = self.core()?;
        let known = core.held().extras.as_ref().and_then(|extras| extras.link.clone());
        known.or_else(|| {
            // Allocated outside the lock. If another thread is faster, also freed outside it.
            // SAFETY: `release_last` cuts the link of a channel before it frees the channel.
            let fresh = Arc::new(unsafe { Link::new(self.core?) });
            let mut extras = Some(Extras::boxed());
            let mut st = core.held();
            let extras = st.extras_or(|| extras.take().expect("asked for once"));
            Some(extras.link.get_or_insert_with(|| fresh.clone()).clone())
        })
    }

    /// Makes a handle of a linked channel, unless that side has no handles left.
    pub(super) fn upgrade(link: &Link<Core<T>>, side: Side) -> Option<Self> {
        // SAFETY: a channel is freed only after its link was cut, and `cut` waits until `look`
        // returns.
        link.look(|core| unsafe { Self::one_more(core, side) })
    }

    /// Makes another handle of a side, unless that side has no handles left.
    ///
    /// # Safety
    ///
    /// The channel came from [`pair`](Self::pair), and is not freed meanwhile.
    unsafe fn one_more(core: NonNull<Core<T>>, side: Side) -> Option<Self> {
        // SAFETY: the caller's promise.
        let count = unsafe { core.as_ref() }.count(side);
        let one_more = |n: usize| (n != 0).then(|| n + 1);
        // Acquire, like the upgrade of a `std::sync::Weak`.
        count.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).ok()?;
        Some(Self { core: Some(core) })
    }

    /// Returns the number of live handles of a side.
    pub(super) fn count(&self, side: Side) -> usize {
        self.core().map_or(0, |core| core.count(side).load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn clone_on(&self, side: Side) -> Self {
        if let Some(core) = self.core() {
            let before = core.count(side).fetch_add(1, Ordering::Relaxed);
            // Like `Arc`: a count that wraps would free a channel in use. Only leaked handles can
            // make it so large.
            if before > isize::MAX as usize {
                std::process::abort();
            }
        }
        Self { core: self.core }
    }

    /// Releases the handle. The last handle of a side closes the channel, and the last handle of
    /// both sides frees it.
    #[inline]
    pub(super) fn release(&mut self, side: Side) {
        let Some(core) = self.core.take() else { return };
        // SAFETY: this handle is still counted.
        let count = unsafe { core.as_ref() }.count(side);
        // Release: what this handle did happens before the close by the last handle.
        if count.fetch_sub(1, Ordering::Release) == 1 {
            // A load instead of a fence, because ThreadSanitizer does not support fences.
            count.load(Ordering::Acquire);
            // SAFETY: this call has just made the count of the side zero, so no handle of the side
            // is left.
            unsafe { Self::release_last(core, side) };
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn release_last(core: NonNull<Core<T>>, side: Side) {
        // SAFETY: the channel lives until both sides have called this function.
        let shared = unsafe { core.as_ref() };
        shared.close();
        // Dropped at the end of the function, because a destructor may panic.
        let _values = matches!(side, Side::Receive).then(|| shared.discard());
        // AcqRel: the second side sees everything that the first side did.
        if shared.one_side_dropped.swap(true, Ordering::AcqRel) {
            record::leave(core.addr().get());
            // SAFETY: no handle is left, and weak references access only the counts.
            if let Some(extras) = unsafe { &shared.state().extras } {
                extras.link.iter().for_each(|link| link.cut());
            }
            // SAFETY: both sides have no handles left, and the channel came from a `Box`.
            drop(unsafe { Box::from_raw(core.as_ptr()) });
        }
    }
}

impl<T> fmt::Debug for Core<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            // Without the lock: this thread may hold it, or one that a fork has left behind.
            .field("len", &self.len.load(Ordering::Relaxed))
            .field("capacity", &self.capacity)
            .field("closed", &self.has(CLOSED))
            .finish_non_exhaustive()
    }
}
