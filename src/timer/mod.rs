//! Timers: the wheel of pending timers, a processor's shard, and the thread for all other threads.

pub(crate) mod driver;
pub(crate) mod shard;
pub(crate) mod wheel;
