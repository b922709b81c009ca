//! A channel that delivers every value to every receiver. tokio: `sync::broadcast`; Go has no
//! equivalent.
//!
//! A send never waits. The buffer keeps the last values, and a receiver that has fallen further
//! behind learns how many values it has missed. If only the latest value matters, use
//! [`watch`](crate::sync::watch). If senders must wait for slow receivers, use a
//! [channel](crate::chan) for each receiver.
//!
//! # Memory ordering
//!
//! A send synchronizes before the return of each receive of its value.
//!
//! # Examples
//!
//! ```
//! use gopark::sync::broadcast;
//!
//! gopark::block_on(async {
//!     let (tx, mut a) = broadcast::bounded(16);
//!     let mut b = tx.subscribe();
//!     assert_eq!(tx.send("news"), Ok(2));
//!     assert_eq!((a.recv().await, b.recv().await), (Ok("news"), Ok("news")));
//! });
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::panic::{Location, RefUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::raw_notify::{RawNotify, Until};
use crate::chan::SendError;
use crate::coop::Reason;
use crate::lock::Lock;
use crate::wait::case::future_case;

/// Creates a channel that keeps the last `n` values.
///
/// # Panics
///
/// If `n` is 0, or if there is no memory for `n` values.
///
/// # Examples
///
/// ```
/// let (tx, mut rx) = gopark::sync::broadcast::bounded(1);
/// tx.send(7).unwrap();
/// assert_eq!(gopark::block_on(async { rx.recv().await }), Ok(7));
/// ```
#[must_use]
#[track_caller]
pub fn bounded<T: Clone>(n: usize) -> (Sender<T>, Receiver<T>) {
    assert!(n > 0, "gopark: a broadcast channel must keep at least one value");
    // Allocated here, because a send must not allocate under the lock.
    let mut values = VecDeque::new();
    let allocated = values.try_reserve_exact(n);
    assert!(allocated.is_ok(), "gopark: no memory for a broadcast channel of {n} values");
    let ring = Ring { values, room: n, first: 0, senders: 1, receivers: 1 };
    let shared = Arc::new(Shared { ring: Lock::new(ring), sent: RawNotify::new() });
    (Sender(shared.clone()), Receiver { shared, next: 0 })
}

struct Shared<T> {
    ring: Lock<Ring<T>>,
    /// Notified after each send, and when the last sender is dropped.
    sent: RawNotify,
}

// A panic cannot leave it inconsistent: no user code runs under the lock.
impl<T> RefUnwindSafe for Shared<T> {}

/// The last values. Each is cloned and dropped outside of the lock: under it only the `Arc` is
/// cloned.
struct Ring<T> {
    values: VecDeque<Kept<T>>,
    room: usize,
    /// The number of the first of `values`; the n'th value that was sent has the number n − 1.
    first: u64,
    senders: usize,
    receivers: usize,
}

/// A value that some receivers have not received yet.
struct Kept<T> {
    value: Option<Arc<T>>,
    /// The number of receivers that have not received it.
    missing: usize,
}

impl<T> Ring<T> {
    /// The number of the next value that is sent.
    fn end(&self) -> u64 {
        self.first + self.values.len() as u64
    }

    /// Takes the value with the number `next` for a receiver. The last receiver gets the `Arc`
    /// itself.
    fn take(&mut self, next: &mut u64) -> Option<Result<Arc<T>, RecvError>> {
        if *next < self.first {
            let missed = self.first - *next;
            *next = self.first;
            return Some(Err(RecvError::Lagged(missed)));
        }
        let Some(kept) = self.values.get_mut((*next - self.first) as usize) else {
            return (self.senders == 0).then_some(Err(RecvError::Closed));
        };
        *next += 1;
        kept.missing -= 1;
        let value = if kept.missing == 0 { kept.value.take() } else { kept.value.clone() };
        Some(Ok(value.expect("kept until all have it")))
    }
}

/// The sending half of a channel.
///
/// Clones send to the same channel. When the last one is dropped, receivers get
/// [`RecvError::Closed`] after the buffered values.
///
/// # Examples
///
/// ```
/// use gopark::sync::broadcast::{self, RecvError};
///
/// gopark::block_on(async {
///     let (tx, mut rx) = broadcast::bounded(2);
///     tx.clone().send(1).unwrap();
///     drop(tx);
///     assert_eq!(rx.recv().await, Ok(1));
///     assert_eq!(rx.recv().await, Err(RecvError::Closed));
/// });
/// ```
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Sends a value to all current receivers, without waiting, and returns their number. If the
    /// buffer is full, the oldest value is dropped.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the value, if there is no receiver.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::sync::broadcast::bounded(1);
    /// assert_eq!(tx.send(1), Ok(1));
    /// drop(rx);
    /// assert_eq!(tx.send(2).unwrap_err().into_inner(), 2);
    /// ```
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        // Allocated before the lock is acquired; the oldest value is freed after its release.
        let value = Arc::new(value);
        let (receivers, oldest) = {
            let mut ring = self.0.ring.lock();
            if ring.receivers == 0 {
                drop(ring);
                let Some(value) = Arc::into_inner(value) else { unreachable!("no one has it") };
                return Err(SendError(value));
            }
            let oldest =
                if ring.values.len() == ring.room { ring.values.pop_front() } else { None };
            ring.first += u64::from(oldest.is_some());
            let kept = Kept { value: Some(value), missing: ring.receivers };
            ring.values.push_back(kept);
            (ring.receivers, oldest)
        };
        self.0.sent.notify_all();
        drop(oldest);
        Ok(receivers)
    }

    /// Creates a receiver for the values that are sent from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _) = gopark::sync::broadcast::bounded(1);
    /// let mut rx = tx.subscribe();
    /// tx.send(7).unwrap();
    /// assert_eq!(gopark::block_on(async { rx.recv().await }), Ok(7));
    /// ```
    pub fn subscribe(&self) -> Receiver<T> {
        let mut ring = self.0.ring.lock();
        ring.receivers += 1;
        let next = ring.end();
        drop(ring);
        Receiver { shared: self.0.clone(), next }
    }

    /// Returns the number of receivers.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _rx) = gopark::sync::broadcast::bounded::<u32>(1);
    /// assert_eq!(tx.receiver_count(), 1);
    /// ```
    pub fn receiver_count(&self) -> usize {
        self.0.ring.lock().receivers
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.ring.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let left = {
            let mut ring = self.0.ring.lock();
            ring.senders -= 1;
            ring.senders
        };
        if left == 0 {
            self.0.sent.notify_all();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("receivers", &self.receiver_count()).finish_non_exhaustive()
    }
}

/// A receiving half of a channel: it receives every value that was sent after its creation.
///
/// # Examples
///
/// ```
/// use gopark::sync::broadcast;
///
/// gopark::block_on(async {
///     let (tx, mut first) = broadcast::bounded(2);
///     tx.send(1).unwrap();
///     let mut second = tx.subscribe();
///     tx.send(2).unwrap();
///     assert_eq!((first.recv().await, first.recv().await), (Ok(1), Ok(2)));
///     assert_eq!(second.recv().await, Ok(2));
/// });
/// ```
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The number of the next value to receive.
    next: u64,
}

impl<T: Clone> Receiver<T> {
    /// Waits for the next value. The last receiver to take a value gets the value itself; the
    /// others get clones.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect.
    ///
    /// # Errors
    ///
    /// [`RecvError::Lagged`], if values were dropped before this receiver had received them; the
    /// next receive returns the oldest value that is left. [`RecvError::Closed`], if no value is
    /// left and all senders have been dropped.
    ///
    /// # Panics
    ///
    /// If the clone panics; the value is lost for this receiver then.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::broadcast::{self, RecvError};
    ///
    /// gopark::block_on(async {
    ///     let (tx, mut rx) = broadcast::bounded(2);
    ///     (1..=3).for_each(|i| _ = tx.send(i));
    ///     drop(tx);
    ///     assert_eq!(rx.recv().await, Err(RecvError::Lagged(1)));
    ///     assert_eq!((rx.recv().await, rx.recv().await), (Ok(2), Ok(3)));
    ///     assert_eq!(rx.recv().await, Err(RecvError::Closed));
    /// });
    /// ```
    #[track_caller]
    pub fn recv(&mut self) -> Recv<'_, T> {
        let shared = &*self.shared;
        Recv {
            shared,
            next: &mut self.next,
            until: Until::new(&shared.sent, Location::caller(), Reason::Broadcast),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (end, due) = {
            let mut ring = self.shared.ring.lock();
            ring.receivers -= 1;
            (ring.end(), ring.end() - self.next.max(ring.first))
        };
        // Values that no other receiver waits for are freed, outside of the lock, after all have
        // been taken: a destructor may panic.
        let mut values = Vec::with_capacity(due as usize);
        while self.next < end {
            let taken = self.shared.ring.lock().take(&mut self.next);
            values.extend(taken.and_then(Result::ok));
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = self.shared.ring.lock().end() - self.next;
        f.debug_struct("Receiver").field("behind", &behind).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Receiver::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::select;
    /// use gopark::sync::broadcast;
    ///
    /// gopark::block_on(async {
    ///     let (tx, mut rx) = broadcast::bounded(1);
    ///     let mut receiving = Box::pin(rx.recv());
    ///     select! {
    ///         _ = receiving.as_mut() => unreachable!("no value was sent"),
    ///         default => drop(receiving),
    ///     }
    ///     tx.send(1).unwrap();
    ///     assert_eq!(rx.recv().await, Ok(1));
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct Recv<'a, T> {
        shared: &'a Shared<T>,
        next: &'a mut u64,
        #[pin]
        until: Until<'a>,
    }
}

future_case!(Recv<'a, T>, 'a, T: Clone);

impl<T: Clone> Future for Recv<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (shared, next) = (this.shared, this.next);
        this.until
            .poll(cx, || shared.ring.lock().take(next))
            .map(|taken| taken.map(Arc::unwrap_or_clone))
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv").finish_non_exhaustive()
    }
}

/// The error of a receive.
///
/// # Examples
///
/// ```
/// use gopark::sync::broadcast::{self, RecvError};
///
/// gopark::block_on(async {
///     let (tx, mut rx) = broadcast::bounded(1);
///     tx.send(1).unwrap();
///     tx.send(2).unwrap();
///     assert_eq!(rx.recv().await, Err(RecvError::Lagged(1)));
///     assert_eq!(rx.recv().await, Ok(2));
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecvError {
    /// This many values were dropped before the receiver had received them. The next receive
    /// returns the oldest value that is left.
    Lagged(u64),
    /// All senders were dropped, and the receiver has received all values.
    Closed,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Lagged(missed) => write!(f, "the receiver has missed {missed} values"),
            RecvError::Closed => f.pad("receive from a closed channel"),
        }
    }
}

impl Error for RecvError {}
