//! Waiting: what every primitive of this crate parks with, and how it is woken.
//!
//! A [`waiter`] is one operation's place in the queue of one channel; a [`queue`] is that of a
//! lock, and [`acquire`] the future that waits there; an [`event`] is what `Cond` and `WaitGroup`
//! wait for; a [`watch`] is what a stream registers; a [`case`] is any of them in a `select!`.
//! [`block_on`] waits for any of them on a plain thread.

pub(crate) mod acquire;
pub(crate) mod block_on;
pub(crate) mod case;
pub(crate) mod event;
pub(crate) mod list;
pub(crate) mod queue;
pub(crate) mod waiter;
pub(crate) mod watch;
