//! Why a context has ended.

use std::error::Error;
use std::fmt;

/// Why a context has ended. Go: `context.Canceled` and `context.DeadlineExceeded`.
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
    /// It was cancelled, by its own cancel function or with one of its parents.
    Canceled,
    /// Its deadline, or that of one of its parents, has passed.
    DeadlineExceeded,
}

impl ContextError {
    /// Whether it is about time. Go: `Timeout()` of a `net.Error`.
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
