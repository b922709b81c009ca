//! Notifications without a value.

use std::fmt;
use std::panic::Location;

use super::raw_notify::{Call, RawNotify, Wait};
use crate::coop::Reason;
use crate::loom::const_fn;
use crate::wait::acquire::acquisition;

/// Notifies one waiter, or all waiters.
///
/// tokio: `sync::Notify`. In Go, `notify_one` is a non-blocking send on a channel with a buffer of
/// one, and `notify_all` is the closing of a channel. Without a waiter,
/// [`notify_one`](Self::notify_one) keeps one notification for the next wait;
/// [`notify_all`](Self::notify_all) keeps none.
///
/// # Fairness
///
/// `notify_one` notifies the waiters in the order of arrival.
///
/// # When to use something else
///
/// Use a channel to send a value. Use a [`Cond`](crate::sync::Cond) or a
/// [`Monitor`](crate::sync::Monitor) to wait for a condition of a locked value, or
/// [`watch`](crate::sync::watch) to wait for a change of a value.
///
/// # Memory ordering
///
/// A notification synchronizes before the return of the wait that it ends.
///
/// # Examples
///
/// ```
/// use gopark::sync::Notify;
/// use std::sync::Arc;
///
/// gopark::block_on(async {
///     let ready = Arc::new(Notify::new());
///     let other = ready.clone();
///     gopark::go(async move { other.notify_one() });
///     ready.notified().await;
/// });
/// ```
pub struct Notify {
    raw: RawNotify,
}

impl Notify {
    const_fn! {
        /// Creates a `Notify` without waiters and without a kept notification.
        ///
        /// # Examples
        ///
        /// ```
        /// static CHANGED: gopark::sync::Notify = gopark::sync::Notify::new();
        /// CHANGED.notify_one();
        /// gopark::block_on(CHANGED.notified());
        /// ```
        pub const fn new() -> Self {
            Notify { raw: RawNotify::new() }
        }
    }

    /// Notifies the waiter that has waited longest. tokio: `notify_one`.
    ///
    /// Without a waiter, it keeps the notification, and the next wait ends at once. At most one
    /// notification is kept, however often this is called.
    ///
    /// # Examples
    ///
    /// ```
    /// let n = gopark::sync::Notify::new();
    /// n.notify_one();
    /// gopark::block_on(n.notified());
    /// ```
    #[inline]
    pub fn notify_one(&self) {
        self.raw.notify_one();
    }

    /// Notifies every [`notified`](Self::notified) future that exists now, and no later one. tokio:
    /// `notify_waiters`; Go: `close` of a channel.
    ///
    /// A kept notification of [`notify_one`](Self::notify_one) stays.
    ///
    /// # Examples
    ///
    /// ```
    /// let n = gopark::sync::Notify::new();
    /// let (a, b) = (n.notified(), n.notified());
    /// n.notify_all();
    /// gopark::block_on(async { (a.await, b.await) });
    /// ```
    #[inline]
    #[doc(alias = "notify_waiters")]
    pub fn notify_all(&self) {
        self.raw.notify_all();
    }

    /// Waits for a notification.
    ///
    /// The wait counts for [`notify_all`](Self::notify_all) from this call on, and for
    /// [`notify_one`](Self::notify_one) from the first poll on.
    ///
    /// To wait for a condition without a lock: call this, test the condition, and await the future
    /// if the condition does not hold.
    ///
    /// # Cancellation
    ///
    /// Dropping the future removes it from the queue. If `notify_one` had notified it already, that
    /// notification goes to the next waiter, or is kept.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Notify;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// gopark::block_on(async {
    ///     let state = Arc::new((AtomicBool::new(false), Notify::new()));
    ///     let other = state.clone();
    ///     gopark::go(async move {
    ///         other.0.store(true, Ordering::Release);
    ///         other.1.notify_all();
    ///     });
    ///     loop {
    ///         let notified = state.1.notified();
    ///         if state.0.load(Ordering::Acquire) {
    ///             break;
    ///         }
    ///         notified.await;
    ///     }
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn notified(&self) -> Notified<'_> {
        Notified(self.raw.notified(Location::caller(), Reason::Notify))
    }
}

impl Default for Notify {
    fn default() -> Self {
        Notify::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("kept", &self.raw.is_kept()).finish_non_exhaustive()
    }
}

acquisition! {
    /// The future of [`Notify::notified`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::select;
    /// use gopark::sync::Notify;
    ///
    /// gopark::block_on(async {
    ///     let n = Notify::new();
    ///     let (mut first, second) = (Box::pin(n.notified()), n.notified());
    ///     select! {
    ///         _ = first.as_mut() => unreachable!("no notification was sent"),
    ///         default => n.notify_one(),
    ///     }
    ///     drop(first); // The notification goes to the next wait.
    ///     second.await;
    /// });
    /// ```
    Notified<'a>(Wait<'a>, Call) -> ()
}
