//! The lock of channels, locks and contexts: a few pointer moves long, without a locked instruction to unlock.

use std::ops::{Deref, DerefMut};

#[cfg(not(gopark_loom))]
use crate::loom::atomic::{AtomicBool, Ordering};
use crate::loom::{UnsafeCell, const_fn};

/// Pauses before a contended [`Lock`] is looked at again, at first and at most: about a microsecond.
///
/// What it guards takes ten nanoseconds, and to move its cache line to another core takes a hundred. So who finds it held
/// keeps away from the line for a while, and the other core does many operations at the price of a few.
#[cfg(not(gopark_loom))]
const PAUSE: (u32, u32) = (32, 256);
/// Pauses before the thread is given away.
#[cfg(not(gopark_loom))]
const PAUSES_A_YIELD: u32 = 2000;

/// A lock for a few pointer moves: taken with one swap, given back with a plain store.
///
/// `std`'s lock pays a second locked instruction to unlock (about 15 ns the pair instead of 10), which is a
/// fifth of a whole context switch. The price: a waiter cannot sleep, it pauses and then yields its
/// thread. So nothing that runs user code, allocates or wakes may happen while it is held.
///
/// | value | meaning | left by |
/// |---|---|---|
/// | false | free | `lock`: swap, Acquire |
/// | true | held | `unlock` by the holder: store, Release |
#[derive(Debug)]
pub struct Lock(#[cfg(not(gopark_loom))] AtomicBool, #[cfg(gopark_loom)] model::Lock);

impl Lock {
    #[cfg(not(gopark_loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[cfg(gopark_loom)]
    pub(crate) fn new() -> Self {
        Self(model::Lock::default())
    }

    #[inline(always)]
    pub(crate) fn lock(&self) {
        #[cfg(not(gopark_loom))]
        if self.0.swap(true, Ordering::Acquire) {
            self.lock_slow();
        }
        #[cfg(gopark_loom)]
        self.0.lock();
    }

    #[cfg(not(gopark_loom))]
    #[cold]
    #[inline(never)]
    fn lock_slow(&self) {
        let (mut pause, mut paused) = (PAUSE.0, 0);
        loop {
            for _ in 0..pause {
                std::hint::spin_loop();
            }
            paused += pause;
            pause = (2 * pause).min(PAUSE.1);
            if paused > PAUSES_A_YIELD {
                // The holder may have lost its core.
                paused = 0;
                std::thread::yield_now();
            }
            if !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }

    /// # Safety
    ///
    /// The caller holds the lock.
    #[inline(always)]
    pub(crate) unsafe fn unlock(&self) {
        #[cfg(not(gopark_loom))]
        self.0.store(false, Ordering::Release);
        #[cfg(gopark_loom)]
        self.0.unlock();
    }

    /// Holds the lock until the guard goes.
    #[inline(always)]
    pub(crate) fn guard(&self) -> LockGuard<'_> {
        self.lock();
        LockGuard(self)
    }
}

/// Unlocks on drop.
#[derive(Debug)]
pub(crate) struct LockGuard<'a>(&'a Lock);

impl Drop for LockGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the guard was made by `Lock::guard`, which took the lock.
        unsafe { self.0.unlock() }
    }
}

/// A value under our spinning lock.
pub(crate) struct Guarded<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread at a time access to the value.
unsafe impl<T: Send> Send for Guarded<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    const_fn! {
        pub(crate) const fn new(value: T) -> Self {
            Guarded { lock: Lock::new(), value: UnsafeCell::new(value) }
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, T> {
        Held { _guard: self.lock.guard(), value: &self.value }
    }
}

/// The right to a [`Guarded`] value, until dropped.
pub(crate) struct Held<'a, T> {
    _guard: LockGuard<'a>,
    value: &'a UnsafeCell<T>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        self.value.with_mut(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// A lock that loom can block on. It would explore the spinning one for ever: an unlock that is a plain store may, as far
/// as the memory model goes, come after any number of another thread's swaps.
#[cfg(gopark_loom)]
mod model {
    use loom::sync::{Mutex, MutexGuard};

    #[derive(Debug, Default)]
    pub(super) struct Lock {
        mutex: Mutex<()>,
        held: std::cell::UnsafeCell<Option<MutexGuard<'static, ()>>>,
    }

    // SAFETY: `held` is touched by the holder of `mutex` only.
    unsafe impl Sync for Lock {}
    // SAFETY: as above; loom's threads are one thread.
    unsafe impl Send for Lock {}

    impl Lock {
        pub(super) fn lock(&self) {
            let guard = self.mutex.lock().expect("no model unwinds with the lock held");
            // SAFETY: this thread holds the mutex, and the guard is dropped before it, by `unlock`.
            unsafe {
                *self.held.get() = Some(std::mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard))
            };
        }

        pub(super) fn unlock(&self) {
            // SAFETY: the caller holds the lock. The guard is moved out first: dropping it lets others in.
            let guard = unsafe { (*self.held.get()).take() };
            drop(guard);
        }
    }
}
