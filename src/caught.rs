//! The signals that the crate catches, for those of its threads that wait for some.
//!
//! There are few such threads, each with a [`Post`] that its [`Catcher`] holds. A signal has one
//! handler for all of them, which notes it at each post that wants it, and then does what was done
//! before: so other code of the process that catches the same signal goes on to do so, whichever
//! came first.
//!
//! | handler | from | by | to |
//! |---|---|---|---|
//! | not installed | | the first post wants the signal | installed |
//! | installed | | no post wants it any more, and it is still the process's | not installed: what was before is back |
//! | installed | | no post wants it any more, but others have put theirs before it | installed, and notes nothing |

#[cfg(all(unix, not(any(miri, gopark_loom))))]
mod posix;
#[forbid(unsafe_code)]
mod set;
#[cfg(not(all(unix, not(any(miri, gopark_loom)))))]
#[forbid(unsafe_code)]
mod without;

#[cfg(all(unix, not(any(miri, gopark_loom))))]
pub(crate) use posix::{Catcher, DUMP};
#[cfg(all(feature = "net", unix, not(any(miri, gopark_loom))))]
pub(crate) use posix::{SERVICE, raise_default};
#[cfg(feature = "net")]
pub(crate) use set::Signals;
#[cfg(not(all(unix, not(any(miri, gopark_loom)))))]
pub(crate) use without::{Catcher, DUMP};

/// SIGQUIT: the same number everywhere that has it.
pub(crate) const QUIT: i32 = 3;
