//! Synchronization primitives, after Go's package `sync`.
//!
//! # Examples
//!
//! ```
//! use gopark::sync::{Mutex, WaitGroup};
//! use std::sync::Arc;
//!
//! gopark::block_on(async {
//!     let (total, wg) = (Arc::new(Mutex::new(0)), WaitGroup::new());
//!     for n in 1..=3 {
//!         let total = total.clone();
//!         wg.go(async move { *total.lock().await += n });
//!     }
//!     wg.wait().await;
//!     assert_eq!(*total.lock().await, 6);
//! });
//! ```

#[forbid(unsafe_code)]
mod barrier;
#[forbid(unsafe_code)]
pub mod broadcast;
#[forbid(unsafe_code)]
mod cond;
#[forbid(unsafe_code)]
mod errgroup;
#[forbid(unsafe_code)]
pub(crate) mod fairness;
#[forbid(unsafe_code)]
pub mod futures;
#[forbid(unsafe_code)]
pub(crate) mod join_set;
#[forbid(unsafe_code)]
mod monitor;
mod mutex;
mod notify;
#[forbid(unsafe_code)]
mod once;
#[forbid(unsafe_code)]
mod once_cell;
#[forbid(unsafe_code)]
pub mod oneshot;
#[forbid(unsafe_code)]
mod pool;
mod raw_mutex;
mod raw_notify;
mod raw_rwmutex;
mod rwmutex;
mod semaphore;
#[forbid(unsafe_code)]
mod singleflight;
mod typed_lock;
#[forbid(unsafe_code)]
mod waitgroup;
#[forbid(unsafe_code)]
pub mod watch;

pub use barrier::{Barrier, BarrierWaitResult};
pub use cond::{Cond, CondGuard};
pub use errgroup::ErrGroup;
pub use monitor::{Monitor, MonitorGuard};
pub use mutex::{Mutex, MutexGuard, OwnedMutexGuard};
pub use notify::Notify;
pub use once::{Once, OnceValue};
pub use once_cell::OnceCell;
pub use pool::{Pool, PoolGuard};
pub use rwmutex::{
    OwnedRwMutexReadGuard, OwnedRwMutexWriteGuard, RwMutex, RwMutexReadGuard, RwMutexWriteGuard,
};
pub use semaphore::{OwnedPermit, Permit, Semaphore};
pub use singleflight::SingleFlight;
pub use waitgroup::WaitGroup;
