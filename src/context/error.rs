//! [`ContextError`] and [`ContextSendError`].

use std::error::Error;
use std::fmt;
use std::io;

/// The reason why a context ended. Go: `context.Canceled` and `context.DeadlineExceeded`.
///
/// # Examples
///
/// ```
/// use gopark::context::{Context, ContextError};
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// cancel.cancel();
/// assert_eq!(ctx.err(), Some(ContextError::Canceled));
/// assert_eq!(ContextError::Canceled.to_string(), "context canceled");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "DeadlineExceeded")]
pub enum ContextError {
    /// The context or one of its parents was cancelled.
    Canceled,
    /// The deadline of the context or of one of its parents has passed.
    DeadlineExceeded,
}

impl ContextError {
    /// Returns true if the deadline has passed. Go: `Timeout()` of a `net.Error`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::ContextError;
    ///
    /// assert!(ContextError::DeadlineExceeded.is_timeout());
    /// assert!(!ContextError::Canceled.is_timeout());
    /// ```
    #[doc(alias = "Timeout")]
    pub fn is_timeout(self) -> bool {
        self == ContextError::DeadlineExceeded
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContextError::Canceled => "context canceled",
            ContextError::DeadlineExceeded => "context deadline exceeded",
        })
    }
}

impl Error for ContextError {}

/// An error of the kind [`TimedOut`](io::ErrorKind::TimedOut) if the deadline has passed, else of
/// the kind [`Other`](io::ErrorKind::Other).
impl From<ContextError> for io::Error {
    fn from(error: ContextError) -> Self {
        let kind = if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        io::Error::new(kind, error)
    }
}

/// The error of a [`Context::send`](super::Context::send) that did not send. It holds the value.
///
/// # Examples
///
/// ```
/// use gopark::chan;
/// use gopark::context::{Context, ContextError, ContextSendError};
///
/// gopark::block_on(async {
///     let (ctx, cancel) = Context::background().with_cancel();
///     let (tx, rx) = chan::bounded(1);
///     cancel.cancel();
///     let sent = ctx.send(&tx, 7).await;
///     assert_eq!(sent, Err(ContextSendError::Context(ContextError::Canceled, 7)));
///     drop(rx);
///     let sent = Context::background().send(&tx, 8).await;
///     assert_eq!(sent.unwrap_err().into_inner(), 8);
/// });
/// ```
#[derive(PartialEq, Eq, Clone, Copy, Hash)]
#[non_exhaustive]
pub enum ContextSendError<T> {
    /// The context ended first.
    Context(ContextError, T),
    /// The channel is closed.
    Closed(T),
}

impl<T> ContextSendError<T> {
    /// Returns the value that was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::context::ContextSendError::Closed(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Context(_, value) | Self::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for ContextSendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context(err, _) => write!(f, "Context({err:?}, ..)"),
            Self::Closed(_) => f.pad("Closed(..)"),
        }
    }
}

impl<T> fmt::Display for ContextSendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context(err, _) => err.fmt(f),
            Self::Closed(_) => f.pad("send on closed channel"),
        }
    }
}

impl<T> Error for ContextSendError<T> {}
