//! Registers timer nodes. [`Alarm`] boxes one for callers without a pinned place.

use std::pin::Pin;

use crate::clock::Time;
use crate::executor::Executor;
use crate::timer::driver;
use crate::timer::shard::{Node, Unqueued};
use crate::waker::TaskWaker;

/// Queues a node at this thread's processor, or at the driver if the thread has none. Returns the
/// waker of the driver if the driver must be woken.
#[inline]
#[track_caller]
#[must_use = "wake it once every lock is released"]
pub(crate) fn register(node: Unqueued<'_>, due: Time, waker: TaskWaker) -> Option<TaskWaker> {
    let inserted = Executor::with_timers(|shard| match shard {
        Some(shard) => shard.insert(node, due, waker),
        None => Err((node, waker)),
    });
    match inserted {
        Ok(()) => None,
        Err((node, waker)) => register_at_driver(node, due, waker),
    }
}

/// Queues a node at the driver, see [`register`].
#[inline(never)]
#[track_caller]
fn register_at_driver(node: Unqueued<'_>, due: Time, waker: TaskWaker) -> Option<TaskWaker> {
    let inserted = driver::shard().insert(node, due, waker);
    assert!(inserted.is_ok(), "the driver's shard is never closed");
    driver::inserted(due)
}

/// A wake-up at a point in time. Dropping it cancels it.
pub(crate) struct Alarm {
    node: Pin<Box<Node>>,
}

/// Returns an alarm that calls `waker` at `due`, never earlier, outside of every lock, on any
/// thread that fires timers. The waker must be quick. If `due` is [`Time::NEVER`], it is never
/// called.
///
/// The alarm keeps the waker until it is called or cancelled. An alarm that its own waker keeps
/// alive is a reference cycle.
#[track_caller]
pub(crate) fn alarm(due: Time, waker: TaskWaker) -> Alarm {
    let mut alarm = Alarm { node: Box::pin(Node::new(due)) };
    if due != Time::NEVER {
        let driver = register(alarm.node.as_mut().withdraw().0, due, waker);
        driver.into_iter().for_each(TaskWaker::wake);
    }
    alarm
}

impl Alarm {
    /// Cancels the alarm. Returns true if this call prevented the wake-up, false if the waker is
    /// being called, has been called, or the alarm was cancelled before.
    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn cancel(&self) -> bool {
        self.node.cancel().is_some()
    }
}
