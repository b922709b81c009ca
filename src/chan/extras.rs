//! What only some channels need: for timers, streams, and waits for a close.

use std::sync::Arc;

use super::source::BoxedSource;
use crate::wait::waiter::Woken;
use crate::wait::watch::Watchers;

/// The state that only some channels need: for timers, streams, and waits for a close.
pub(super) struct Extras<T> {
    pub(super) source: Option<BoxedSource<T>>,
    /// Values of the source that were handed off with this number or a lower one are void: such a
    /// value is dropped if it returns unclaimed.
    pub(super) voided_through: usize,
    /// The streams to wake when a value becomes available.
    pub(super) watchers: Option<Arc<Watchers>>,
    /// The tasks to wake when the channel is closed.
    pub(super) closers: Option<Arc<Watchers>>,
}

impl<T> Extras<T> {
    pub(super) fn boxed() -> Box<Self> {
        Box::new(Self { source: None, voided_through: 0, watchers: None, closers: None })
    }

    /// Returns the tasks that wait for the close, which must be woken after the lock is released.
    pub(super) fn closers(&self) -> Woken {
        self.closers.as_ref().map_or(Woken::NONE, Woken::watchers)
    }

    /// Returns the streams, if any is registered. The check is exact, because a stream first
    /// registers and then looks for a value under the channel's lock.
    pub(super) fn watching(&self) -> Option<&Arc<Watchers>> {
        self.watchers.as_ref().filter(|watchers| !watchers.is_empty())
    }
}
