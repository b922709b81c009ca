//! Package sync: what goroutines share memory with.

mod event;
mod queue;

pub mod mutex;
mod waitgroup;

pub use mutex::{Mutex, MutexGuard};
pub use waitgroup::{Wait, WaitGroup};
