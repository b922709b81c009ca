//! Package sync: what goroutines share memory with.

mod event;
mod queue;

pub mod mutex;
pub mod rwmutex;
mod waitgroup;

pub use mutex::{Mutex, MutexGuard};
pub use rwmutex::{RwMutex, RwMutexReadGuard, RwMutexWriteGuard};
pub use waitgroup::{Wait, WaitGroup};
