//! A mutex combined with a condition variable.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::cond::{Cond, CondWait};
use super::mutex::{self, Mutex, MutexGuard};
use crate::loom::const_fn;
use crate::wait::case::{Case, async_wait, future_case};

/// A [`Mutex`] with its [`Cond`]: one goroutine at a time accesses the value, and others can wait
/// until it has changed.
///
/// Go: a struct with a `sync.Mutex` and a `sync.Cond`; tokio has no equivalent. If tasks wait for
/// several conditions, use a `Mutex` and several `Cond`s.
///
/// # Memory ordering
///
/// Same as its parts: the n'th unlock synchronizes before the return of every later lock, and a
/// signal before the return of the wait that it ends.
///
/// # Examples
///
/// ```
/// use gopark::sync::Monitor;
/// use std::sync::Arc;
///
/// gopark::block_on(async {
///     let queue = Arc::new(Monitor::new(Vec::new()));
///     let other = queue.clone();
///     gopark::go(async move {
///         other.lock().await.push("work");
///         other.signal();
///     });
///     let mut queue = queue.lock().await.wait_while(|queue| queue.is_empty()).await;
///     assert_eq!(queue.pop(), Some("work"));
/// });
/// ```
#[derive(Default)]
pub struct Monitor<T: ?Sized> {
    cond: Cond,
    value: Mutex<T>,
}

impl<T> Monitor<T> {
    const_fn! {
        /// Creates an unlocked monitor.
        ///
        /// # Examples
        ///
        /// ```
        /// static JOBS: gopark::sync::Monitor<Vec<u8>> = gopark::sync::Monitor::new(Vec::new());
        /// gopark::block_on(async { JOBS.lock().await.push(1) });
        /// ```
        pub const fn new(value: T) -> Self {
            Monitor { cond: Cond::new(), value: Mutex::new(value) }
        }
    }

    /// Consumes the monitor and returns the value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::Monitor::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Monitor<T> {
    /// Waits until the lock is free and acquires it. Go: `c.L.Lock`.
    ///
    /// # Cancellation
    ///
    /// Same as [`Mutex::lock`].
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let m = gopark::sync::Monitor::new(1);
    ///     *m.lock().await += 1;
    ///     assert_eq!(*m.lock().await, 2);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MonitorLock<'_, T> {
        MonitorLock { cond: &self.cond, lock: self.value.lock() }
    }

    /// Wakes the waiter that has waited longest, if there is one. Go: `Signal`.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::sync::Monitor::new(0).signal(); // no waiter: the signal is lost
    /// ```
    #[doc(alias = "Signal")]
    pub fn signal(&self) {
        self.cond.signal();
    }

    /// Wakes all current waiters. Go: `Broadcast`.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::sync::Monitor::new(0).broadcast();
    /// ```
    #[doc(alias = "Broadcast")]
    pub fn broadcast(&self) {
        self.cond.broadcast();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Monitor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("value", &&self.value).field("cond", &self.cond).finish()
    }
}

/// Holds the lock of a [`Monitor`] and gives access to its value. Dropping it unlocks the monitor.
///
/// # Examples
///
/// ```
/// let m = gopark::sync::Monitor::new(1);
/// gopark::block_on(async {
///     let mut guard = m.lock().await;
///     *guard += 1;
///     drop(guard);
///     assert_eq!(*m.lock().await, 2);
/// });
/// ```
#[must_use = "dropping the guard unlocks the monitor at once"]
pub struct MonitorGuard<'a, T: ?Sized> {
    cond: &'a Cond,
    guard: MutexGuard<'a, T>,
}

impl<'a, T: ?Sized> MonitorGuard<'a, T> {
    /// Releases the lock, waits for a signal or a broadcast, and acquires the lock again. Go:
    /// `Wait`.
    ///
    /// # Cancellation
    ///
    /// Same as [`Cond::wait`]: a signal goes to the next waiter.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Monitor;
    ///
    /// gopark::block_on(async {
    ///     let m = Monitor::new(1);
    ///     let waiting = m.lock().await.wait();
    ///     *m.lock().await += 1;
    ///     m.signal();
    ///     assert_eq!(*waiting.await, 2);
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "Wait")]
    pub fn wait(self) -> MonitorWait<'a, T> {
        MonitorWait { cond: self.cond, wait: self.cond.wait(self.guard) }
    }

    /// Waits while `condition` returns true for the value, and returns the guard.
    ///
    /// # Cancellation
    ///
    /// Same as [`Cond::wait_while`].
    ///
    /// # Panics
    ///
    /// If `condition` panics: the lock is released then. Also if the future is polled after it has
    /// completed.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let m = gopark::sync::Monitor::new(1);
    ///     let guard = m.lock().await.wait_while(|value| *value == 0).await;
    ///     assert_eq!(*guard, 1);
    /// });
    /// ```
    #[track_caller]
    pub fn wait_while<F>(
        self,
        condition: F,
    ) -> impl Future<Output = Self> + Case<Output = Self> + use<'a, T, F>
    where
        F: FnMut(&mut T) -> bool,
    {
        let cond = self.cond;
        let wait = cond.wait_while(self.guard, condition);
        async_wait(async move { MonitorGuard { cond, guard: wait.await } })
    }
}

impl<T: ?Sized> Deref for MonitorGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for MonitorGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MonitorGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

pin_project! {
    /// The future of [`Monitor::lock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Monitor;
    /// use gopark::sync::futures::MonitorLock;
    ///
    /// async fn add(lock: MonitorLock<'_, i32>, n: i32) {
    ///     let mut total = lock.await;
    ///     *total += n;
    /// }
    ///
    /// gopark::block_on(async {
    ///     let total = Monitor::new(1);
    ///     add(total.lock(), 2).await;
    ///     assert_eq!(*total.lock().await, 3);
    /// });
    /// ```
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct MonitorLock<'a, T: ?Sized> {
        cond: &'a Cond,
        #[pin]
        lock: mutex::Lock<'a, T>,
    }
}

pin_project! {
    /// The future of [`MonitorGuard::wait`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Monitor;
    /// use gopark::sync::futures::MonitorWait;
    ///
    /// gopark::block_on(async {
    ///     let m = Monitor::new(0);
    ///     let waits: [MonitorWait<'_, i32>; 2] = [m.lock().await.wait(), m.lock().await.wait()];
    ///     m.broadcast();
    ///     for wait in waits {
    ///         *wait.await += 1;
    ///     }
    ///     assert_eq!(*m.lock().await, 2);
    /// });
    /// ```
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct MonitorWait<'a, T: ?Sized> {
        cond: &'a Cond,
        #[pin]
        wait: CondWait<'a, MutexGuard<'a, T>>,
    }
}

future_case!(MonitorLock<'a, T>, 'a, T: ?Sized);
future_case!(MonitorWait<'a, T>, 'a, T: ?Sized);

impl<'a, T: ?Sized> Future for MonitorLock<'a, T> {
    type Output = MonitorGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MonitorGuard<'a, T>> {
        let this = self.project();
        this.lock.poll(cx).map(|guard| MonitorGuard { cond: this.cond, guard })
    }
}

impl<'a, T: ?Sized> Future for MonitorWait<'a, T> {
    type Output = MonitorGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MonitorGuard<'a, T>> {
        let this = self.project();
        this.wait.poll(cx).map(|guard| MonitorGuard { cond: this.cond, guard })
    }
}
