//! The interface between a channel and the timer that feeds it.

use std::pin::Pin;
use std::time::Duration;

use crate::clock::Time;
use crate::waker::TaskWaker;

pub(crate) type BoxedSource<T> = Pin<Box<dyn Source<T>>>;

/// The source of the values of a timer's channel. The values are not sent: a receive asks the
/// source, under the channel's lock, whether there is a value. So a stopped timer leaves no stale
/// value behind.
pub(crate) trait Source<T>: Send {
    /// Takes the current value, if there is one.
    fn take(self: Pin<&mut Self>) -> Option<T>;

    /// Arranges that [`Sender::serve`](super::Sender::serve) is called once there is a value,
    /// because a receive waits. The returned task must be woken after the lock is released.
    #[must_use]
    fn arm(self: Pin<&mut Self>) -> Option<TaskWaker>;

    /// Returns an unclaimed value to the source.
    fn give_back(self: Pin<&mut Self>, value: T);

    /// Replaces the schedule: the next value comes at `due`, if any, then one every `period`.
    /// Returns true if the old schedule had another value to come.
    fn reschedule(self: Pin<&mut Self>, due: Option<Time>, period: Duration) -> bool;
}
