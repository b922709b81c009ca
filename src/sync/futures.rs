//! The futures of this package's methods, to name them where one is stored.

pub use super::cond::CondWait;
pub use super::mutex::Lock;
pub use super::rwmutex::{RLock, WLock};
pub use super::semaphore::Acquire;
pub use super::waitgroup::Wait;
