//! Notifications without a value.

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};

use super::raw_notify::{Call, RawNotify, Wait};
use crate::coop::Reason;
use crate::loom::const_fn;
use crate::wait::acquire::acquisition;

/// Notifies one waiter, or all.
///
/// tokio: `sync::Notify`. In Go it is a channel with a buffer of one and a send that does not wait,
/// or one that is closed. [`notify_one`](Self::notify_one) is kept if there is none who waits,
/// once; [`notify_all`](Self::notify_all) is not.
///
/// # Fairness
///
/// `notify_one` takes them in the order of arrival.
///
/// # When to use something else
///
/// A channel where there is something to say. A [`Cond`](crate::sync::Cond) or a
/// [`Monitor`](crate::sync::Monitor) where what is waited for is a condition of a locked value.
/// [`watch`](crate::sync::watch) where it is the change of one.
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

impl UnwindSafe for Notify {}
impl RefUnwindSafe for Notify {}

impl Notify {
    const_fn! {
        /// One that no one waits for, with no notification kept.
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

    /// Notifies the one who has waited longest. If there is none, the next wait ends at once; it is
    /// kept once, however often it is called. tokio: `notify_one`.
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

    /// Notifies all whose [`notified`](Self::notified) has been called, and none who comes later. A
    /// notification that is kept stays. tokio: `notify_waiters`; Go: `close` of a channel, once.
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

    /// Waits for a notification: for [`notify_all`](Self::notify_all) from this call on, for
    /// [`notify_one`](Self::notify_one) from the first poll on.
    ///
    /// So to wait for a condition without a lock: call this, test the condition, await this if it
    /// does not hold.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the place in line. If `notify_one` had reached it already, that
    /// goes to the next, or is kept.
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
    Notified<'a>(Wait<'a>, Call) -> ()
}
