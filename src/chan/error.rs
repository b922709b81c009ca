//! What can go wrong on a channel. A failed send gives the value back.

use std::error::Error;
use std::fmt;

/// A send failed because the channel is closed; it holds the value.
///
/// Go panics here ("send on closed channel"); gopark returns the value.
///
/// ```
/// use gopark::chan::{self, SendError};
///
/// let (tx, rx) = chan::unbuffered();
/// drop(rx);
/// let sent = gopark::block_on(async { tx.send("news").await });
/// assert_eq!(sent, Err(SendError("news")));
/// assert_eq!(sent.unwrap_err().to_string(), "send on closed channel");
/// ```
#[derive(PartialEq, Eq, Clone, Copy, Hash)]
pub struct SendError<T>(pub T);

impl<T> SendError<T> {
    /// The value that was not sent.
    ///
    /// ```
    /// assert_eq!(gopark::chan::SendError(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("send on closed channel")
    }
}

impl<T> Error for SendError<T> {}

/// A `try_send` did not send; it holds the value.
///
/// ```
/// use gopark::chan::{self, TrySendError};
///
/// let (tx, rx) = chan::bounded(1);
/// assert_eq!(tx.try_send(1), Ok(()));
/// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
/// drop(rx);
/// assert_eq!(tx.try_send(3), Err(TrySendError::Closed(3)));
/// ```
#[derive(PartialEq, Eq, Clone, Copy, Hash)]
pub enum TrySendError<T> {
    /// Nobody receives and the buffer, if any, is full: a `send` would wait.
    Full(T),
    /// The channel is closed.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    ///
    /// ```
    /// assert_eq!(gopark::chan::TrySendError::Full(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.pad("Full(..)"),
            Self::Closed(_) => f.pad("Closed(..)"),
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.pad("send would wait: the channel is full"),
            Self::Closed(_) => f.pad("send on closed channel"),
        }
    }
}

impl<T> Error for TrySendError<T> {}

/// A `try_recv` received nothing.
///
/// ```
/// use gopark::chan::{self, TryRecvError};
///
/// let (tx, rx) = chan::bounded(1);
/// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
/// tx.try_send(1).unwrap();
/// tx.close();
/// assert_eq!(rx.try_recv(), Ok(1));
/// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy, Hash)]
pub enum TryRecvError {
    /// Nothing is there now: a `recv` would wait.
    Empty,
    /// The channel is closed and drained: nothing will be sent any more.
    ///
    /// A value may still come back: one that was handed to a receive before the close, if that
    /// receive is dropped. Once the last receive has settled, which is complete or dropped, this is
    /// final.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.pad("receive would wait: the channel is empty"),
            Self::Closed => f.pad("receive on closed channel"),
        }
    }
}

impl Error for TryRecvError {}

/// A send with a limit of time did not send; it holds the value.
///
/// ```
/// use std::time::Duration;
/// use gopark::chan::{self, SendTimeoutError};
///
/// let (tx, rx) = chan::unbuffered();
/// let late = tx.send_timeout_blocking(1, Duration::from_millis(1));
/// assert_eq!(late, Err(SendTimeoutError::Timeout(1)));
/// drop(rx);
/// assert_eq!(tx.send_timeout_blocking(2, Duration::MAX), Err(SendTimeoutError::Closed(2)));
/// ```
#[derive(PartialEq, Eq, Clone, Copy, Hash)]
#[non_exhaustive]
pub enum SendTimeoutError<T> {
    /// The time was over before the value was taken.
    Timeout(T),
    /// The channel is closed.
    Closed(T),
}

impl<T> SendTimeoutError<T> {
    /// The value that was not sent.
    ///
    /// ```
    /// assert_eq!(gopark::chan::SendTimeoutError::Timeout(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Timeout(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(_) => f.pad("Timeout(..)"),
            Self::Closed(_) => f.pad("Closed(..)"),
        }
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(_) => f.pad("send timed out"),
            Self::Closed(_) => f.pad("send on closed channel"),
        }
    }
}

impl<T> Error for SendTimeoutError<T> {}

/// A receive with a limit of time received nothing.
///
/// ```
/// use std::time::Duration;
/// use gopark::chan::{self, RecvTimeoutError};
///
/// let (tx, rx) = chan::unbuffered::<()>();
/// assert_eq!(rx.recv_timeout_blocking(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
/// drop(tx);
/// assert_eq!(rx.recv_timeout_blocking(Duration::MAX), Err(RecvTimeoutError::Closed));
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy, Hash)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// The time was over before there was a value.
    Timeout,
    /// The channel is closed and drained, as [`TryRecvError::Closed`] says.
    Closed,
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.pad("receive timed out"),
            Self::Closed => f.pad("receive on closed channel"),
        }
    }
}

impl Error for RecvTimeoutError {}
