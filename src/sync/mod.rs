//! Package sync: what goroutines share memory with.

#[forbid(unsafe_code)]
pub(crate) mod fairness;
mod raw_mutex;
mod raw_rwmutex;
#[forbid(unsafe_code)]
mod visible_readers;

pub mod cond;
#[forbid(unsafe_code)]
pub mod errgroup;
pub mod mutex;
#[forbid(unsafe_code)]
pub mod once;
#[forbid(unsafe_code)]
pub mod pool;
pub mod rwmutex;
pub mod semaphore;
#[forbid(unsafe_code)]
pub mod singleflight;
mod waitgroup;

pub use cond::Cond;
pub use errgroup::ErrGroup;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceValue};
pub use pool::{Pool, PoolGuard};
pub use rwmutex::{RwMutex, RwMutexReadGuard, RwMutexWriteGuard};
pub use semaphore::{Permit, Semaphore};
pub use singleflight::SingleFlight;
pub use waitgroup::{Wait, WaitGroup};
