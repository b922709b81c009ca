//! Timers: the wheel of pending ones, a processor's share, the thread for those of no processor.

pub(crate) mod driver;
pub(crate) mod shard;
pub(crate) mod wheel;
