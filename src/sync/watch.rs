//! A value whose receivers are notified of each change. tokio: `sync::watch`.
//!
//! A receiver sees the latest value; it may miss earlier ones. In Go it is a value under a mutex,
//! and a channel that is closed and replaced at each change. If every value matters, use
//! [`broadcast`](crate::sync::broadcast).
//!
//! # Memory ordering
//!
//! A change synchronizes before the return of each [`borrow`](Receiver::borrow) that sees it, and
//! before the return of the wait that it ends. The drop of the last receiver synchronizes before
//! the completion of [`closed`](Sender::closed).
//!
//! # Examples
//!
//! ```
//! use gopark::sync::watch;
//!
//! gopark::block_on(async {
//!     let (tx, mut rx) = watch::channel("starting");
//!     gopark::go(async move { tx.send("ready") });
//!     rx.changed().await.unwrap();
//!     assert_eq!(*rx.borrow(), "ready");
//! });
//! ```

use std::error::Error;
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::raw_notify::{RawNotify, Until};
use crate::chan::SendError;
use crate::coop::{self, Reason};
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::wait::case::{Case, async_wait, future_case};

/// Creates a channel with a first value, which counts as seen by the first receiver.
///
/// # Examples
///
/// ```
/// let (tx, rx) = gopark::sync::watch::channel(1);
/// tx.send(2).unwrap();
/// assert_eq!(*rx.borrow(), 2);
/// ```
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        value: RwLock::new(value),
        version: AtomicUsize::new(0),
        changed: RawNotify::new(),
        unwatched: RawNotify::new(),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender(shared.clone()), Receiver { shared, seen: 0 })
}

struct Shared<T> {
    /// A panic of user code under this lock poisons it; that is ignored, as for the crate's own
    /// locks.
    value: RwLock<T>,
    /// The version, in units of `VERSION`, raised under the write lock; and `CLOSED`, set by the
    /// last sender.
    version: AtomicUsize,
    changed: RawNotify,
    /// Notified when the last receiver is dropped.
    unwatched: RawNotify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

const CLOSED: usize = 1;
const VERSION: usize = 2;

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.value.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value. If `change` returns true, raises the version and notifies the receivers.
    fn modify<R>(&self, change: impl FnOnce(&mut T) -> (bool, R)) -> (bool, R) {
        let mut value = self.write();
        let (changed, rest) = change(&mut value);
        if changed {
            self.version.fetch_add(VERSION, Ordering::Release);
        }
        drop(value);
        if changed {
            self.changed.notify_all();
        }
        (changed, rest)
    }

    /// Returns the version, and whether all senders have been dropped.
    fn version(&self) -> (usize, bool) {
        let version = self.version.load(Ordering::Acquire);
        (version & !CLOSED, version & CLOSED != 0)
    }
}

/// The sending half of a [`channel`], which changes the value.
///
/// Clones send to the same channel. When the last one is dropped, the receivers are notified.
///
/// # Examples
///
/// ```
/// let (tx, rx) = gopark::sync::watch::channel(1);
/// let other = tx.clone();
/// other.send(2).unwrap();
/// assert_eq!(*rx.borrow(), 2);
/// # drop(tx);
/// ```
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Replaces the value and notifies all receivers.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the value, if there is no receiver. [`send_modify`](Self::send_modify)
    /// changes the value even then.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::sync::watch::channel(1);
    /// drop(rx);
    /// assert_eq!(tx.send(2).unwrap_err().into_inner(), 2);
    /// ```
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(Ordering::Relaxed) == 0 {
            return Err(SendError(value));
        }
        // The old value is dropped here, outside of the lock.
        drop(self.send_replace(value));
        Ok(())
    }

    /// Replaces the value, even if there is no receiver, notifies all receivers, and returns the
    /// old value.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::sync::watch::channel(1);
    /// assert_eq!(tx.send_replace(2), 1);
    /// assert_eq!(*rx.borrow(), 2);
    /// ```
    pub fn send_replace(&self, value: T) -> T {
        self.0.modify(|old| (true, mem::replace(old, value))).1
    }

    /// Changes the value in place and notifies all receivers. `change` runs under the lock of the
    /// value.
    ///
    /// # Panics
    ///
    /// If `change` panics. Its changes until then stay, and receivers are not notified.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::sync::watch::channel(vec![1]);
    /// tx.send_modify(|list| list.push(2));
    /// assert_eq!(*rx.borrow(), [1, 2]);
    /// ```
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.0.modify(|value| (true, change(value)));
    }

    /// Changes the value in place. Notifies all receivers if `change` returns true, and returns
    /// what `change` returned.
    ///
    /// # Panics
    ///
    /// Same as [`send_modify`](Self::send_modify).
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _rx) = gopark::sync::watch::channel(1);
    /// assert!(!tx.send_if_modified(|value| *value > 1));
    /// ```
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        self.0.modify(|value| (change(value), ())).0
    }

    /// Returns a read guard of the value. While the guard lives, the value cannot change: a
    /// [`send`](Self::send) blocks its thread.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _rx) = gopark::sync::watch::channel(1);
    /// assert_eq!(*tx.borrow(), 1);
    /// ```
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// Creates a receiver that has seen the current value.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::sync::watch::channel(1);
    /// drop(rx);
    /// let rx = tx.subscribe();
    /// tx.send(2).unwrap();
    /// assert_eq!(*rx.borrow(), 2);
    /// ```
    pub fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, Ordering::Relaxed);
        Receiver { shared: self.0.clone(), seen: self.0.version().0 }
    }

    /// Waits until there is no receiver. If [`subscribe`](Self::subscribe) creates one before the
    /// next poll, the wait goes on.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let (tx, rx) = gopark::sync::watch::channel(1);
    ///     gopark::go(async move { drop(rx) });
    ///     tx.closed().await;
    ///     assert_eq!(tx.receiver_count(), 0);
    /// });
    /// ```
    #[track_caller]
    pub fn closed(&self) -> Closed<'_, T> {
        let until = Until::new(&self.0.unwatched, Location::caller(), Reason::Watch);
        Closed { shared: &self.0, until }
    }

    /// Returns the number of receivers.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _rx) = gopark::sync::watch::channel(1);
    /// assert_eq!(tx.receiver_count(), 1);
    /// ```
    pub fn receiver_count(&self) -> usize {
        self.0.receivers.load(Ordering::Relaxed)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: what the other senders did happens before the close.
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.version.fetch_or(CLOSED, Ordering::Release);
            self.0.changed.notify_all();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("receivers", &self.receiver_count()).finish_non_exhaustive()
    }
}

/// The receiving half of a [`channel`], which reads the value. A clone has seen the same value.
///
/// # Examples
///
/// ```
/// let (tx, rx) = gopark::sync::watch::channel(1);
/// let other = rx.clone();
/// tx.send(2).unwrap();
/// assert_eq!(*rx.borrow(), 2);
/// assert_eq!(*other.borrow(), 2);
/// ```
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version that this receiver has seen.
    seen: usize,
}

impl<T> Receiver<T> {
    /// Returns a read guard of the value, without marking the value as seen.
    ///
    /// While the guard lives, the value cannot change: a [`Sender::send`] blocks its thread. So the
    /// guard is not `Send`, and a goroutine cannot hold it across an `.await`.
    ///
    /// A thread should hold at most one guard at a time: while a `send` waits for the first one,
    /// taking a second one may deadlock.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_tx, rx) = gopark::sync::watch::channel(1);
    /// assert_eq!(*rx.borrow(), 1);
    /// ```
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// Returns a read guard as [`borrow`](Self::borrow) does, and marks the value as seen:
    /// [`changed`](Self::changed) waits for the next one.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, mut rx) = gopark::sync::watch::channel(1);
    /// tx.send(2).unwrap();
    /// assert_eq!(*rx.borrow_and_update(), 2);
    /// assert!(!rx.has_changed().unwrap());
    /// ```
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.version().0;
        Ref(value)
    }

    /// Returns true if there is a value that this receiver has not seen.
    ///
    /// # Errors
    ///
    /// [`RecvError`], if there is no unseen value and all senders have been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::sync::watch::channel(1);
    /// assert_eq!(rx.has_changed(), Ok(false));
    /// drop(tx);
    /// assert!(rx.has_changed().is_err());
    /// ```
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        match self.shared.version() {
            (version, _) if version != self.seen => Ok(true),
            (_, true) => Err(RecvError {}),
            _ => Ok(false),
        }
    }

    /// Waits until there is a value that this receiver has not seen, and marks it as seen.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect: a change stays unseen.
    ///
    /// # Errors
    ///
    /// [`RecvError`], if there is no unseen value and all senders have been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let (tx, mut rx) = gopark::sync::watch::channel(1);
    ///     tx.send(2).unwrap();
    ///     assert!(rx.changed().await.is_ok());
    ///     drop(tx);
    ///     assert!(rx.changed().await.is_err());
    /// });
    /// ```
    #[track_caller]
    pub fn changed(&mut self) -> Changed<'_, T> {
        Changed::new(&self.shared, &mut self.seen, Location::caller())
    }

    /// Waits until `condition` returns true for the value, and marks that value as seen.
    /// `condition` runs under the lock of the value.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect, except that values for which `condition` returned false
    /// count as seen.
    ///
    /// # Errors
    ///
    /// [`RecvError`], if `condition` is false for the last value and all senders have been dropped.
    ///
    /// # Panics
    ///
    /// If `condition` panics; the value counts as seen then.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let (tx, mut rx) = gopark::sync::watch::channel(1);
    ///     gopark::go(async move { tx.send(2) });
    ///     assert_eq!(*rx.wait_for(|value| *value == 2).await.unwrap(), 2);
    /// });
    /// ```
    #[track_caller]
    pub fn wait_for<'a, F>(
        &'a mut self,
        mut condition: F,
    ) -> impl Future<Output = Result<Ref<'a, T>, RecvError>>
    + Case<Output = Result<Ref<'a, T>, RecvError>>
    + use<'a, T, F>
    where
        F: FnMut(&T) -> bool,
    {
        let site = Location::caller();
        let (shared, seen) = (&*self.shared, &mut self.seen);
        async_wait(async move {
            coop::spent(site, Reason::Watch).await;
            loop {
                {
                    let value = shared.read();
                    *seen = shared.version().0;
                    if condition(&value) {
                        return Ok(Ref(value));
                    }
                }
                Changed::new(shared, seen, site).await?;
            }
        })
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Receiver { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // AcqRel: what the other receivers did happens before the end of a wait for their end.
        if self.shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.unwatched.notify_all();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("changed", &self.has_changed()).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Receiver::changed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::select;
    /// use gopark::sync::watch;
    ///
    /// gopark::block_on(async {
    ///     let (tx, mut rx) = watch::channel(1);
    ///     let mut changed = Box::pin(rx.changed());
    ///     select! {
    ///         _ = changed.as_mut() => unreachable!("1 counts as seen"),
    ///         default => tx.send(2).unwrap(),
    ///     }
    ///     assert_eq!(changed.await, Ok(()));
    ///     assert_eq!(*rx.borrow(), 2);
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct Changed<'a, T> {
        shared: &'a Shared<T>,
        seen: &'a mut usize,
        #[pin]
        until: Until<'a>,
    }
}

impl<'a, T> Changed<'a, T> {
    fn new(shared: &'a Shared<T>, seen: &'a mut usize, site: &'static Location<'static>) -> Self {
        Changed { shared, seen, until: Until::new(&shared.changed, site, Reason::Watch) }
    }
}

future_case!(Changed<'a, T>, 'a, T);

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (shared, seen) = (this.shared, this.seen);
        this.until.poll(cx, || match shared.version() {
            (version, _) if version != **seen => {
                **seen = version;
                Some(Ok(()))
            }
            (_, true) => Some(Err(RecvError {})),
            _ => None,
        })
    }
}

impl<T> fmt::Debug for Changed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changed").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Sender::closed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::select;
    /// use gopark::sync::watch;
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = watch::channel(1);
    ///     let mut closed = Box::pin(tx.closed());
    ///     select! {
    ///         _ = closed.as_mut() => unreachable!("the receiver exists"),
    ///         default => drop(rx),
    ///     }
    ///     closed.await;
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct Closed<'a, T> {
        shared: &'a Shared<T>,
        #[pin]
        until: Until<'a>,
    }
}

future_case!(Closed<'a, T>, 'a, T);

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let receivers = &this.shared.receivers;
        this.until.poll(cx, || (receivers.load(Ordering::Acquire) == 0).then_some(()))
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").finish_non_exhaustive()
    }
}

/// A read guard of the value of a [`channel`].
///
/// # Examples
///
/// ```
/// let (tx, rx) = gopark::sync::watch::channel(vec![1, 2]);
/// let list = rx.borrow();
/// assert_eq!(list.len(), 2);
/// # drop(list);
/// # drop(tx);
/// ```
#[derive(Debug)]
#[must_use]
pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The error of a receiver: all senders were dropped, and there is no unseen value.
///
/// # Examples
///
/// ```
/// let (tx, mut rx) = gopark::sync::watch::channel(1);
/// drop(tx);
/// let error = gopark::block_on(async { rx.changed().await.unwrap_err() });
/// assert_eq!(error.to_string(), "the senders were dropped");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecvError {}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("the senders were dropped")
    }
}

impl Error for RecvError {}
