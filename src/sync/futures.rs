//! The future types of this package's methods, for code that stores them.
//!
//! # Examples
//!
//! ```
//! use gopark::sync::Mutex;
//! use gopark::sync::futures::Lock;
//! use std::pin::Pin;
//!
//! struct Writer<'a> {
//!     waits_for: Option<Pin<Box<Lock<'a, Vec<u8>>>>>,
//! }
//!
//! gopark::block_on(async {
//!     let file = Mutex::new(vec![1]);
//!     let mut writer = Writer { waits_for: Some(Box::pin(file.lock())) };
//!     let lock = writer.waits_for.take().unwrap();
//!     assert_eq!(*lock.await, [1]);
//! });
//! ```

pub use super::barrier::BarrierWait;
pub use super::cond::CondWait;
pub use super::join_set::JoinNext;
pub use super::monitor::{MonitorLock, MonitorWait};
pub use super::mutex::{Lock, LockOwned};
pub use super::notify::Notified;
pub use super::rwmutex::{RLock, RLockOwned, WLock, WLockOwned};
pub use super::semaphore::{Acquire, AcquireOwned, ContextAcquire};
pub use super::waitgroup::Wait;
