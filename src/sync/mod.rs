//! Package sync: what goroutines share memory with.

#[forbid(unsafe_code)]
mod cond;
#[forbid(unsafe_code)]
mod errgroup;
#[forbid(unsafe_code)]
pub(crate) mod fairness;
#[forbid(unsafe_code)]
pub mod futures;
mod mutex;
#[forbid(unsafe_code)]
mod once;
#[forbid(unsafe_code)]
mod pool;
mod raw_mutex;
mod raw_rwmutex;
mod rwmutex;
mod semaphore;
#[forbid(unsafe_code)]
mod singleflight;
mod typed_lock;
#[forbid(unsafe_code)]
mod waitgroup;

pub use cond::{Cond, CondGuard};
pub use errgroup::ErrGroup;
pub use mutex::{Mutex, MutexGuard, OwnedMutexGuard};
pub use once::{Once, OnceValue};
pub use pool::{Pool, PoolGuard};
pub use rwmutex::{OwnedRwMutexReadGuard, OwnedRwMutexWriteGuard, RwMutex, RwMutexReadGuard, RwMutexWriteGuard};
pub use semaphore::{OwnedPermit, Permit, Semaphore};
pub use singleflight::SingleFlight;
pub use waitgroup::WaitGroup;
