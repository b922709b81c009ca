//! Package sync: what goroutines share memory with.

mod event;
mod queue;

pub mod cond;
pub mod mutex;
pub mod rwmutex;
pub mod semaphore;
mod waitgroup;

pub use cond::Cond;
pub use mutex::{Mutex, MutexGuard};
pub use rwmutex::{RwMutex, RwMutexReadGuard, RwMutexWriteGuard};
pub use semaphore::{Permit, Semaphore};
pub use waitgroup::{Wait, WaitGroup};
