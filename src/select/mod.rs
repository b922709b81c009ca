//! Waiting for several operations at once: [`select!`](crate::select!), and [`Select`], its
//! run-time form.
//!
//! # How a select works (Go's `selectgo`)
//!
//! 1. Without a lock, the select collects the cases that seem ready. It tries them in random order
//!    until one succeeds. Most selects end here, and take one lock. The first success in a random
//!    order is a uniform choice among the ready cases. If there are many cases, a random one is
//!    tried before the others are checked; the choice stays uniform.
//! 2. Otherwise the select queues a waiter on one channel after the other, each under that
//!    channel's lock. If it finds a case that seems ready, or if cases share a channel, it removes
//!    these waiters again, locks all channels, each once, in the order of their addresses, and
//!    tries the cases again. If none is ready, it queues the waiters in random order, because the
//!    first of several in one queue wins. A select with a `default` locks all channels at once, so
//!    that there is one instant at which nothing was ready.
//! 3. The operation that serves one of the waiters first claims the select's token. Later
//!    operations find the token claimed, and skip the select's other waiters. The woken select
//!    removes these waiters before it returns.
//!
//! The case of an arm `Some(..)` is switched off when its channel is closed and drained. Steps 1
//! and 2 detect this. While the case waits, a close removes it from its queue without claiming the
//! token, but decrements the token's count of the remaining cases. When the count reaches zero, the
//! select ends; the close or the select itself can count out the last case.
//!
//! Cases that are not channel operations (locks, timers, joins, any future) are polled without any
//! lock, when their turn comes. While a parked select polls them, its token is marked as busy. An
//! operation that skips a waiter because of this notes it in the token, and the select then checks
//! its channels again.
//!
//! # Examples
//!
//! ```
//! use gopark::chan;
//! use gopark::select::Select;
//!
//! gopark::block_on(async {
//!     let (tx, rx) = chan::bounded(1);
//!     tx.send(1).await.unwrap();
//!     gopark::select! {
//!         v = rx.recv() => assert_eq!(v, Some(1)),
//!         default => unreachable!("there is a value"),
//!     }
//!     assert_eq!(Select::new().recv(&rx, |v| v).try_now(), None);
//! });
//! ```

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
