//! A channel of which each receiver gets each value. tokio: `sync::broadcast`; Go has none.
//!
//! A send never waits: the buffer keeps the last values, and a receiver that is further behind
//! learns how many it has missed. Where only the latest value counts, use
//! [`watch`](crate::sync::watch); where a slow receiver is to be waited for, a
//! [channel](crate::chan) for each.
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
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::raw_notify::{RawNotify, Until};
use crate::chan::SendError;
use crate::coop::Reason;
use crate::lock::Lock;
use crate::wait::case::future_case;

/// A channel that keeps the last `n` values.
///
/// # Panics
///
/// If `n` is 0.
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
    assert!(n > 0, "gopark: a broadcast channel keeps one value at least");
    let ring =
        Ring { values: VecDeque::with_capacity(n), room: n, first: 0, senders: 1, receivers: 1 };
    let shared = Arc::new(Shared { ring: Lock::new(ring), sent: RawNotify::new() });
    (Sender(shared.clone()), Receiver { shared, next: 0 })
}

struct Shared<T> {
    ring: Lock<Ring<T>>,
    /// Notified after each send, and when there is no sender any more.
    sent: RawNotify,
}

/// The last values. Each is cloned, and dropped, outside of the lock, which shares it until then.
struct Ring<T> {
    values: VecDeque<Kept<T>>,
    room: usize,
    /// The number of the first of them; the n'th value that was sent has the number n − 1.
    first: u64,
    senders: usize,
    receivers: usize,
}

/// A value, until all have it.
struct Kept<T> {
    value: Option<Arc<T>>,
    /// How many receivers have not had it.
    missing: usize,
}

impl<T> Ring<T> {
    /// The number of the next value.
    fn end(&self) -> u64 {
        self.first + self.values.len() as u64
    }

    /// What a receiver gets whose next value is that of this number. The last one gets the value
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

/// The sending half of a channel. Clones are as good; when the last one is dropped, receivers come
/// to its end.
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Sends a value to all receivers there are, without waiting, and returns their number. The
    /// oldest value goes if there is no room.
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
        // Allocated before the lock is taken; what falls out is freed after it has been released.
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

    /// One more receiver, for the values that are sent from now on.
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

    /// How many receivers there are.
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

/// A receiving half of a channel, which gets each value that was sent since it was made.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The number of the value that it gets next.
    next: u64,
}

impl<T: Clone> Receiver<T> {
    /// Waits for the next value. It is cloned, but for the last receiver that gets it.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect.
    ///
    /// # Errors
    ///
    /// [`RecvError::Lagged`], if values have gone that it had not had: the next receive gets the
    /// oldest that is left. [`RecvError::Closed`], if there is none, and no sender either.
    ///
    /// # Panics
    ///
    /// If the clone does; the value is lost to this receiver then.
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
        // Values that no other one is to have are freed, outside of the lock, and once all are out:
        // one may panic.
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

/// Why a receive has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecvError {
    /// So many values have gone that the receiver had not had. It goes on with the oldest that is
    /// left.
    Lagged(u64),
    /// There is no sender any more, and no value that the receiver has not had.
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
