//! The interface between a channel and the timer that feeds it.

use std::time::Duration;

use crate::clock::Time;
use crate::waker::TaskWaker;

/// Where the values of a timer's channel come from. They are not sent: a receive asks the source,
/// under the channel's lock, whether there is a value. So a stopped timer leaves no stale value
/// behind.
pub(crate) trait Source<T>: Send {
    /// The value that there is now.
    fn take(&mut self) -> Option<T>;

    /// Arranges for [`Sender::serve`](super::Sender::serve) to be called once there is a value,
    /// because a receive waits. Returns what must be woken for that once the lock is released.
    #[must_use]
    fn arm(&mut self) -> Option<TaskWaker>;

    /// Returns an unclaimed value to the source.
    fn give_back(&mut self, value: T);

    /// Replaces the schedule: the next value is there at `due`, if any, and then one every
    /// `period`. Returns true if there was to be another value.
    fn reschedule(&mut self, due: Option<Time>, period: Duration) -> bool;
}
