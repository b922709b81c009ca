//! Locks that are held for a few pointer moves: [`RawLock`], and [`Lock`], which owns its value.
//! [`Exclusive`] is a value without a lock.
//!
//! `std`'s mutex pays a second locked instruction to unlock, about 15 ns a pair instead of 10: a
//! fifth of a whole context switch. A spin lock does not, but if its holder loses its core, every
//! other thread spins until the holder is scheduled again. A [`RawLock`] unlocks with a plain
//! store, and then checks whether a thread sleeps; the thread that goes to sleep pays for the order
//! of the two. The protocol is in [`sleep_lock`].
//!
//! The holder only moves pointers and values: it never allocates, wakes, drops a `T` or runs user
//! code.

#[cfg(all(test, gopark_loom))]
mod models;
mod sleep_lock;
#[cfg(all(test, not(gopark_loom)))]
mod tests;

use std::ops::{Deref, DerefMut};
use std::ptr;

use crate::loom::{UnsafeCell, const_fn};

#[cfg(all(test, gopark_loom))]
use models::ModelLock as Inner;
#[cfg(not(all(test, gopark_loom)))]
use sleep_lock::SleepLock as Inner;
pub(crate) use sleep_lock::{contentions, prepare};

/// A lock without a value. A thread that contends for it spins for a moment, then sleeps.
///
/// `unlock` still reads the lock after another thread may have acquired it. So the caller of
/// `unlock` must own a reference to the object that contains the lock, and the next holder must not
/// free the object.
#[derive(Debug)]
pub struct RawLock(Inner);

impl RawLock {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Self(Inner::new())
        }
    }

    /// Acquires the lock. Pairs with the `Release` of the previous holder's `unlock`.
    #[inline(always)]
    pub(crate) fn lock(&self) {
        self.0.lock();
    }

    /// Releases the lock, and wakes a thread that sleeps in `lock`.
    ///
    /// # Safety
    ///
    /// The caller holds the lock.
    #[inline(always)]
    pub(crate) unsafe fn unlock(&self) {
        self.0.unlock();
    }

    /// Acquires the lock until the guard is dropped.
    #[inline(always)]
    pub(crate) fn guard(&self) -> RawGuard<'_> {
        self.lock();
        RawGuard(self)
    }
}

/// Holds a [`RawLock`].
#[derive(Debug)]
pub(crate) struct RawGuard<'a>(&'a RawLock);

impl Drop for RawGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: `RawLock::guard`, which made this guard, acquired the lock.
        unsafe { self.0.unlock() }
    }
}

/// The proof that this thread holds some locks.
#[derive(Clone, Copy, Debug)]
pub struct HeldLocks<'a> {
    /// Sorted by address.
    locks: &'a [*const RawLock],
}

impl<'a> HeldLocks<'a> {
    /// # Safety
    ///
    /// This thread holds the locks for `'a`. They are sorted by address.
    pub(crate) unsafe fn new(locks: &'a [*const RawLock]) -> Self {
        Self { locks }
    }

    pub(crate) fn contain(self, lock: &RawLock) -> bool {
        self.locks.binary_search(&ptr::from_ref(lock)).is_ok()
    }
}

/// A value that is accessed under its [`RawLock`].
pub(crate) struct Lock<T> {
    raw: RawLock,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread at a time access to the value.
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    const_fn! {
        pub(crate) const fn new(value: T) -> Self {
            Self { raw: RawLock::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Acquires the lock until the guard is dropped.
    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        LockGuard { _guard: self.raw.guard(), value: &self.value }
    }
}

/// Access to the value of a [`Lock`].
pub(crate) struct LockGuard<'a, T> {
    _guard: RawGuard<'a>,
    value: &'a UnsafeCell<T>,
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the value's lock, and is the only access to the value.
        self.value.with_mut(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the value's lock.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// A value that its users access in turn, by a protocol of their own.
#[derive(Debug)]
pub(crate) struct Exclusive<T>(UnsafeCell<T>);

// SAFETY: only the user with the claim accesses the value, from any thread.
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    const_fn! {
        pub(crate) const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }
    }

    /// Returns the right to access the value.
    ///
    /// # Safety
    ///
    /// As long as the result is used no other one is. What was done with others before happened
    /// before.
    #[inline(always)]
    pub(crate) unsafe fn claim(&self) -> Claim<'_, T> {
        Claim(self)
    }
}

/// The right to access an [`Exclusive`] value.
#[derive(Debug)]
pub(crate) struct Claim<'a, T>(&'a Exclusive<T>);

impl<T> Claim<'_, T> {
    /// Calls `f` with the value.
    #[inline(always)]
    pub(crate) fn with<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: `claim` was promised that no other claim is used, and `self` is borrowed
        // exclusively.
        self.0.0.with_mut(|value| f(unsafe { &mut *value }))
    }
}
