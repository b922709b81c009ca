//! Catches signals for the threads of this crate that wait for them.
//!
//! There are few such threads, each with a post, to which its [`Catcher`] refers. A signal has one
//! handler for all of them, which notes it at each post that wants it, and then performs the
//! previous action; it is in `platform`. So other code of the process that catches the same signal
//! continues to do so, whichever was installed first.
//!
//! The handler of a signal:
//!
//! * not installed, and the first post wants the signal: it is installed.
//! * installed, no post wants the signal any longer, and the handler is still the process's: it is
//!   removed, and the previous action is restored.
//! * installed, no post wants the signal any longer, but other code has installed a handler on top:
//!   it stays installed, and notes nothing.

#[cfg(all(unix, not(any(miri, gopark_loom))))]
#[forbid(unsafe_code)]
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

/// SIGQUIT, which has the same number on every system that has it.
pub(crate) const QUIT: i32 = 3;
