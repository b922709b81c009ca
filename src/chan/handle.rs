//! The references to a channel: its handles, counted by side, and weak references.
//!
//! There is one count for each side and none for both together, so a handle costs one locked
//! instruction to clone and one to drop. The sides together have one share of the channel's memory,
//! and each weak reference has another one.

use std::fmt;
use std::mem::ManuallyDrop;
use std::process;
use std::ptr::NonNull;

use super::core::{CLOSED, Core, Side};
use super::record::{self, ChannelInfo, EachTask, Look};
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
        // SAFETY: the channel has just been allocated, and the two handles keep it.
        record::enter(core.addr().get(), || unsafe { Weak::new(core) }.into_sight());
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

    /// Makes a weak reference; `None` for a nil channel.
    pub(super) fn downgrade(&self) -> Option<Weak<T>> {
        // SAFETY: this handle is counted, so the channel lives.
        self.core.map(|core| unsafe { Weak::new(core) })
    }

    /// Returns the number of live handles of a side.
    pub(super) fn count(&self, side: Side) -> usize {
        self.core().map_or(0, |core| core.handle_count(side))
    }

    #[inline]
    pub(super) fn clone_on(&self, side: Side) -> Self {
        if let Some(core) = self.core() {
            // SAFETY: a handle is made below.
            let count = unsafe { &core.counts().handles[side as usize] };
            let before = count.fetch_add(1, Ordering::Relaxed);
            // Like `Arc`: a count that wraps would free a channel in use. Only leaked handles can
            // make it so large.
            if before > isize::MAX as usize {
                process::abort();
            }
        }
        Self { core: self.core }
    }

    /// Releases the handle. The last handle of a side closes the channel, and the last handle of
    /// both sides frees it.
    #[inline]
    pub(super) fn release(&mut self, side: Side) {
        let Some(core) = self.core.take() else { return };
        // SAFETY: this handle is still counted, and is dropped here.
        let count = unsafe { &core.as_ref().counts().handles[side as usize] };
        // Release: what this handle did happens before the close by the last handle.
        if count.fetch_sub(1, Ordering::Release) == 1 {
            // A load instead of a fence, because ThreadSanitizer does not support fences.
            count.load(Ordering::Acquire);
            // SAFETY: this call has just made the count of the side zero, so no handle of the side
            // is left.
            unsafe { Self::release_last(core, side) };
        }
    }

    /// # Safety
    ///
    /// The last handle of the side has just been released, and nothing else has called this.
    #[cold]
    #[inline(never)]
    unsafe fn release_last(core: NonNull<Core<T>>, side: Side) {
        // SAFETY: the channel lives until both sides have called this function; this is one of the
        // two calls.
        let (shared, counts) = unsafe { (core.as_ref(), core.as_ref().counts()) };
        shared.close();
        // Dropped at the end of the function, because a destructor may panic.
        let _values = matches!(side, Side::Receive).then(|| shared.discard());
        // AcqRel: the second side sees everything that the first side did.
        if counts.one_side_dropped.swap(true, Ordering::AcqRel) {
            record::leave(core.addr().get());
            // SAFETY: both sides have no handles left, so their share is not used any more.
            unsafe { release_share(core) };
        }
    }
}

/// Gives up a share of a channel's memory. The last one frees it.
///
/// # Safety
///
/// The caller owns a share, and does not use it afterwards. The channel came from
/// [`Handle::pair`].
unsafe fn release_share<T>(core: NonNull<Core<T>>) {
    // SAFETY: the share keeps the channel.
    let shares = unsafe { &core.as_ref().counts().shares };
    // AcqRel: what was done with the other shares happens before the end.
    if shares.fetch_sub(1, Ordering::AcqRel) == 1 {
        // SAFETY: no share is left, and the channel came from a `Box`.
        drop(unsafe { Box::from_raw(core.as_ptr()) });
    }
}

/// A reference that keeps the memory of a channel, but neither its values nor its sides.
pub(super) struct Weak<T> {
    core: NonNull<Core<T>>,
}

// SAFETY: it is a shared reference to a `Core`, which is `Sync` when `T: Send`.
unsafe impl<T: Send> Send for Weak<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Weak<T> {}

impl<T> Weak<T> {
    /// # Safety
    ///
    /// The channel came from [`Handle::pair`], and a handle or a weak reference keeps it meanwhile.
    unsafe fn new(core: NonNull<Core<T>>) -> Self {
        // SAFETY: the caller's promise.
        let before = unsafe { &core.as_ref().counts().shares }.fetch_add(1, Ordering::Relaxed);
        // As in `Handle::clone_on`.
        if before > u32::MAX / 2 {
            process::abort();
        }
        Self { core }
    }

    /// Makes a handle of a side, unless that side has no handles left.
    pub(super) fn upgrade(&self, side: Side) -> Option<Handle<T>> {
        // SAFETY: the share keeps the channel; a handle is made below.
        let count = unsafe { &self.core.as_ref().counts().handles[side as usize] };
        let one_more = |n: usize| (n != 0).then(|| n + 1);
        // Acquire, like the upgrade of a `std::sync::Weak`.
        count.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).ok()?;
        Some(Handle { core: Some(self.core) })
    }

    /// Forgets the type of the values.
    fn into_sight(self) -> Sight {
        Sight { core: ManuallyDrop::new(self).core.cast(), look: look::<T>, release: release::<T> }
    }
}

impl<T> Clone for Weak<T> {
    fn clone(&self) -> Self {
        // SAFETY: this reference keeps the channel.
        unsafe { Self::new(self.core) }
    }
}

impl<T> Drop for Weak<T> {
    fn drop(&mut self) {
        // SAFETY: `new` took the share, and this is its only release.
        unsafe { release_share(self.core) }
    }
}

/// A weak reference for reports, which gives no access to the values of the channel.
struct Sight {
    /// Points to a `Core<T>` for some `T`, of whose memory this has a share.
    core: NonNull<()>,
    look: unsafe fn(NonNull<()>, usize, &mut EachTask<'_>) -> ChannelInfo,
    release: unsafe fn(NonNull<()>),
}

// SAFETY: `look` takes the channel's lock, and accesses no value. A share outlives the values, so
// `release` drops none.
unsafe impl Send for Sight {}

impl Look for Sight {
    fn look(&self, most: usize, f: &mut EachTask<'_>) -> ChannelInfo {
        // SAFETY: the function is that of the channel's type, and the share keeps the channel.
        unsafe { (self.look)(self.core, most, f) }
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        // SAFETY: as in `look`; this is the only release of the share.
        unsafe { (self.release)(self.core) }
    }
}

/// # Safety
///
/// `core` points to a `Core<T>`, which is not freed meanwhile.
unsafe fn look<T>(core: NonNull<()>, most: usize, f: &mut EachTask<'_>) -> ChannelInfo {
    // SAFETY: the caller's promise.
    let core = unsafe { core.cast::<Core<T>>().as_ref() };
    let _held = core.lock.guard();
    for side in [Side::Send, Side::Receive] {
        // SAFETY: the lock is held.
        unsafe { core.queue(side).each_task(most, |task| f(side, task)) };
    }
    ChannelInfo {
        senders: core.handle_count(Side::Send),
        receivers: core.handle_count(Side::Receive),
        buffered: core.len_hint(),
        capacity: core.capacity,
    }
}

/// # Safety
///
/// As [`release_share`], for a `Core<T>`.
unsafe fn release<T>(core: NonNull<()>) {
    // SAFETY: passed on to the caller.
    unsafe { release_share(core.cast::<Core<T>>()) }
}

impl<T> fmt::Debug for Core<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            // Without the lock: this thread may hold it, or one that a fork has left behind.
            .field("len", &self.len_hint())
            .field("capacity", &self.capacity)
            .field("closed", &self.has(CLOSED))
            .finish_non_exhaustive()
    }
}
