//! The link to a channel that its weak references share.

use std::ptr::NonNull;

use crate::lock::Lock;

/// A pointer to a channel, which is cleared before the channel is freed.
pub(super) struct Link<C>(Lock<Option<NonNull<C>>>);

// SAFETY: a link gives only shared access to the channel.
unsafe impl<C: Sync> Send for Link<C> {}
// SAFETY: as above.
unsafe impl<C: Sync> Sync for Link<C> {}

impl<C> Link<C> {
    /// # Safety
    ///
    /// The channel lives until the link is [cut](Self::cut).
    pub(super) unsafe fn new(core: NonNull<C>) -> Self {
        Self(Lock::new(Some(core)))
    }

    /// Clears the link before the channel is freed. Waits until no thread uses the channel in
    /// [`look`](Self::look).
    pub(super) fn cut(&self) {
        *self.0.lock() = None;
    }

    /// Calls `f` with the channel, unless the link was cut. The channel is not freed meanwhile.
    pub(super) fn look<R>(&self, f: impl FnOnce(NonNull<C>) -> Option<R>) -> Option<R> {
        let core = self.0.lock();
        (*core).and_then(f)
    }
}
