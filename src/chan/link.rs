//! What weak references to a channel share.

use std::ptr::NonNull;

use crate::lock::Lock;

/// Leads to a channel until that is freed.
pub(super) struct Link<C>(Lock<Option<NonNull<C>>>);

// SAFETY: it gives shared access to the channel.
unsafe impl<C: Sync> Send for Link<C> {}
// SAFETY: as above.
unsafe impl<C: Sync> Sync for Link<C> {}

impl<C> Link<C> {
    pub(super) fn new(core: NonNull<C>) -> Self {
        Self(Lock::new(Some(core)))
    }

    /// The channel is about to be freed. Returns when nothing looks at it through the link.
    pub(super) fn cut(&self) {
        *self.0.lock() = None;
    }

    /// Calls `f` with the channel, which is not freed meanwhile, unless it has been.
    pub(super) fn look<R>(&self, f: impl FnOnce(NonNull<C>) -> Option<R>) -> Option<R> {
        let core = self.0.lock();
        (*core).and_then(f)
    }
}
