//! Waiting: how the primitives of this crate park and are woken.
//!
//! * [`waiter`]: an operation's place in the queue of a channel.
//! * [`queue`]: the queue of a lock; [`acquire`]: the future that waits in it.
//! * [`event`]: what `Cond` and `WaitGroup` wait for.
//! * [`watch`]: the registration of a stream.
//! * [`case`]: any of these operations in a `select!`.
//! * [`block_on`]: waits for any of them on a plain thread.
//! * [`list`]: the intrusive list under the queues.

pub(crate) mod acquire;
pub(crate) mod block_on;
pub(crate) mod case;
pub(crate) mod event;
pub(crate) mod list;
pub(crate) mod queue;
pub(crate) mod waiter;
pub(crate) mod watch;
