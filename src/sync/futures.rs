//! The future types of this package's methods, for code that stores them.

pub use super::barrier::BarrierWait;
pub use super::cond::CondWait;
pub use super::join_set::JoinNext;
pub use super::monitor::{MonitorLock, MonitorWait};
pub use super::mutex::{Lock, LockOwned};
pub use super::notify::Notified;
pub use super::rwmutex::{RLock, RLockOwned, WLock, WLockOwned};
pub use super::semaphore::{Acquire, AcquireOwned, ContextAcquire};
pub use super::waitgroup::Wait;
