//! The errors of channel operations. A failed send returns the value.

use std::error::Error;
use std::fmt;

/// The error of a send on a closed channel. It holds the value.
///
/// Go panics here ("send on closed channel"); gopark returns the value.
///
/// # Examples
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
    /// Returns the value that was not sent.
    ///
    /// # Examples
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

/// The error of a `try_send`. It holds the value, which was not sent.
///
/// # Examples
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
    /// No receiver is waiting and the buffer, if any, is full: a `send` would wait.
    Full(T),
    /// The channel is closed.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// Returns the value that was not sent.
    ///
    /// # Examples
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

/// The error of a `try_recv` that received no value.
///
/// # Examples
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
    /// There is no value now: a `recv` would wait.
    Empty,
    /// The channel is closed and drained: nothing can be sent any longer.
    ///
    /// A value can still return, if it was handed to a receive before the close and that receive is
    /// dropped. Once the last receive has completed or was dropped, `Closed` is final.
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

/// The error of a send with a time limit. It holds the value, which was not sent.
///
/// # Examples
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
    /// The limit expired before the value was taken.
    Timeout(T),
    /// The channel is closed.
    Closed(T),
}

impl<T> SendTimeoutError<T> {
    /// Returns the value that was not sent.
    ///
    /// # Examples
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

/// The error of a receive with a time limit that received no value.
///
/// # Examples
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
    /// The limit expired before there was a value.
    Timeout,
    /// The channel is closed and drained, see [`TryRecvError::Closed`].
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
