//! Waiting for several operations at once: what stands behind [`select!`](crate::select!), and
//! [`Select`], its run-time form.
//!
//! # How a select goes (Go's `selectgo`)
//!
//! 1. Without a lock, the cases that seem ready are noted; one of them is drawn and tried, then
//!    another, until one succeeds. Most selects end here, with one lock. The first success in a
//!    random order is a uniform choice among those that are ready. Of many cases one is drawn
//!    before all are looked at, which changes nothing of that.
//! 2. A waiter is queued on each channel, one channel after the other, under its lock, unless its
//!    case seems to be ready. If one does, or if cases share a channel, the waiters are taken out
//!    again. Then all channels are locked, each once, in the order of their addresses, the cases
//!    are tried, and if none is ready they are queued in a drawn order, because the first of them
//!    in a queue wins. With a `default` all channels are locked at once: that is the instant at
//!    which nothing was ready.
//! 3. Whoever serves one of the waiters wins the select's token, which the others then find taken.
//!    The woken select takes its other waiters out before it returns.
//!
//! The case of an arm `Some(..)` goes off at the channel's end. Step 1 and 2 find it so; while it
//! waits, the close takes it out of its queue without winning the token, which counts those that
//! are left. Who counts the last one out, the close or the select itself, ends the select.
//!
//! Cases that are no channel operations (locks, timers, joins, any future) are polled without any
//! lock, when their turn comes. While a parked select polls them its token is marked; an offer that
//! passes by meanwhile leaves a note, upon which the select looks at its channels again.

mod driver;
#[forbid(unsafe_code)]
mod dynamic;
#[forbid(unsafe_code)]
mod list;
#[forbid(unsafe_code)]
mod macros;

#[doc(hidden)]
pub use crate::wait::case::ChannelCase;
pub use crate::wait::case::{Case, Fut, OptionCase, fut};
#[doc(hidden)]
pub use crate::wait::waiter::Woken;
#[doc(hidden)]
pub use driver::Selecting;
pub use dynamic::Select;
#[doc(hidden)]
pub use list::{Both, Cases, Else, Group, Never, Nil, One, OneSome, Which};
