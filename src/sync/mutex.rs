//! Mutual exclusion, in Go's two modes.

use std::cell::UnsafeCell;
use std::panic::Location;
use std::sync::Arc;

use super::raw_mutex::{RawMutex, Since};
use super::typed_lock::{guard, owned_guard, typed_lock};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquisition, acquire_now, acquisition};

/// A lock that protects a value: one goroutine at a time has it.
///
/// Go: `sync.Mutex`. Unlike there, the value is inside, and unlocking is dropping the
/// [`MutexGuard`]. As there, there is no owner: a guard may be sent to another goroutine and
/// dropped there; a goroutine that locks again what it has locked waits for ever; and a panic while
/// the lock is held just unlocks it (no poisoning).
///
/// # Fairness
///
/// Waiters are first come, first served. A goroutine that unlocks and locks again may overtake a
/// waiter that is not awake yet, for that is what makes a fought-over lock fast; but a waiter that
/// has lost for a millisecond gets the lock handed over at the next unlock. One waiter at a time is
/// awake to take the lock; one that has been waiting for longer than a millisecond and has not been
/// polled since it was woken does not hold up the others: the next unlock wakes the one behind it
/// as well. Outside of gopark's processors (in another executor, on a plain thread) the lock is
/// always handed over.
///
/// # When to use something else
///
/// `std::sync::Mutex` where no lock is held across an `.await`: it is smaller and, being blocking,
/// needs no async function. Holding it over an `.await`, though, stops a whole thread, or
/// deadlocks. A channel where the point is to hand a value *on* rather than to share it: "Do not
/// communicate by sharing memory; instead, share memory by communicating." A [`RwMutex`] where
/// almost everyone only reads and holds the lock for long.
///
/// # Memory ordering
///
/// The n'th unlock synchronizes before the return of every later lock.
///
/// # Examples
///
/// ```
/// use gopark::sync::Mutex;
/// use std::sync::Arc;
///
/// gopark::block_on(async {
///     let hits = Arc::new(Mutex::new(0));
///     let mut guard = hits.lock().await;
///     *guard += 1;
///     assert!(hits.try_lock().is_none());
///     drop(guard);
///     assert_eq!(*hits.lock().await, 1);
/// });
/// ```
///
/// [`RwMutex`]: crate::sync::RwMutex
#[doc(alias = "Lock")]
#[doc(alias = "Locker")]
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: a mutex owns its value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: `raw` lets one at a time to the value, from any thread: that takes `T: Send`, and no `T:
// Sync`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
typed_lock!(Mutex, try_lock);

impl<T> Mutex<T> {
    const_fn! {
        /// An unlocked mutex.
        ///
        /// # Examples
        ///
        /// ```
        /// static NAMES: gopark::sync::Mutex<Vec<String>> = gopark::sync::Mutex::new(Vec::new());
        /// gopark::block_on(async { NAMES.lock().await.push("gopher".into()) });
        /// ```
        pub const fn new(value: T) -> Self {
            Mutex { raw: RawMutex::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value, without the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::Mutex::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the lock is free, and takes it. Go: `Lock`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the place in line. If the lock had been handed to it already,
    /// the next waiter gets it.
    ///
    /// One that is neither polled nor dropped after it was woken, because its task is busy
    /// elsewhere, keeps those behind it waiting until the next unlock after its first millisecond,
    /// which wakes one of them. No timer does: without another unlock they wait beside a free lock.
    /// If the lock was handed to it, it has the lock until then.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let counter = gopark::sync::Mutex::new(0);
    ///     *counter.lock().await += 1;
    ///     assert_eq!(*counter.lock().await, 1);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Lock<'_, T> {
        Lock(Acquisition::new(self, Location::caller()))
    }

    /// Takes the lock if it is free at this instant. Go: `TryLock`.
    ///
    /// A free lock may be taken although others have been waiting for it and are about to wake,
    /// unless one of them is starving.
    ///
    /// # Examples
    ///
    /// ```
    /// let m = gopark::sync::Mutex::new(1);
    /// let guard = m.try_lock().unwrap();
    /// assert!(m.try_lock().is_none());
    /// # drop(guard);
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "TryLock")]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        acquire_now(&self.raw).then(|| MutexGuard(self))
    }

    /// As [`lock`](Self::lock), with a guard that owns a reference to the mutex: so it may go into
    /// a goroutine, or into a struct beside other things. tokio: `lock_owned`.
    ///
    /// # Cancellation
    ///
    /// As of [`lock`](Self::lock).
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Mutex;
    /// use std::sync::Arc;
    ///
    /// gopark::block_on(async {
    ///     let m = Arc::new(Mutex::new(1));
    ///     let mut guard = m.lock_owned().await;
    ///     gopark::go(async move { *guard += 1 }).await.unwrap();
    ///     assert_eq!(*m.lock().await, 2);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock_owned(self: &Arc<Self>) -> LockOwned<'_, T> {
        LockOwned(Acquisition::new(self, Location::caller()))
    }

    /// As [`try_lock`](Self::try_lock), with a guard that owns a reference to the mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Mutex;
    /// use std::sync::Arc;
    ///
    /// let m = Arc::new(Mutex::new(1));
    /// let guard = m.try_lock_owned().unwrap();
    /// assert!(m.try_lock_owned().is_none());
    /// # drop(guard);
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock_owned(self: &Arc<Self>) -> Option<OwnedMutexGuard<T>> {
        acquire_now(&self.raw).then(|| OwnedMutexGuard(Arc::clone(self)))
    }

    /// Blocks this thread until the lock is free, and takes it: for threads that run no goroutines.
    ///
    /// In a goroutine await [`lock`](Self::lock) instead: this keeps its thread from the others
    /// until the scheduler notices, some 10 ms later. If it cannot be awaited there, wrap it in
    /// [`block_in_place`](crate::block_in_place).
    ///
    /// # Examples
    ///
    /// ```
    /// let m = gopark::sync::Mutex::new(1);
    /// *m.lock_blocking() += 1;
    /// assert_eq!(*m.lock_blocking(), 2);
    /// ```
    #[track_caller]
    pub fn lock_blocking(&self) -> MutexGuard<'_, T> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        self.lock().0.block()
    }

    /// The value, without locking: `&mut` says that nobody else has the mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut m = gopark::sync::Mutex::new(1);
    /// *m.get_mut() = 2;
    /// assert_eq!(m.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: the reference is unique, so there is no guard.
        unsafe { &mut *self.value.get() }
    }
}

/// The lock of a [`Mutex`], and the way to its value. Dropping it unlocks.
///
/// It is `Send`: another goroutine may unlock. What is not locked cannot be unlocked (in Go that
/// ends the process):
///
/// ```compile_fail,E0382
/// let m = gopark::sync::Mutex::new(1);
/// let guard = m.try_lock().unwrap();
/// drop(guard);
/// drop(guard);
/// ```
#[must_use = "dropping the guard unlocks the mutex at once"]
pub struct MutexGuard<'a, T: ?Sized>(&'a Mutex<T>);

// SAFETY: a shared guard gives shared access to the value.
unsafe impl<T: ?Sized + Send + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex this is the lock of.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::{Mutex, MutexGuard};
    ///
    /// let m = Mutex::new(0);
    /// let guard = m.try_lock().unwrap();
    /// assert!(std::ptr::eq(MutexGuard::mutex(&guard), &m));
    /// ```
    pub fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.0
    }
}

guard!(MutexGuard<'a, T>(&'a Mutex<T>) of RawMutex, Since, MutexLock, Lock, unlock, DerefMut);

/// The lock of a [`Mutex`], with a reference to the mutex: what [`MutexGuard`] is, without its
/// lifetime. tokio: `OwnedMutexGuard`.
///
/// A [`Cond`](super::Cond) does not wait with it.
#[must_use = "dropping the guard unlocks the mutex at once"]
pub struct OwnedMutexGuard<T: ?Sized>(Arc<Mutex<T>>);

// SAFETY: a shared guard gives shared access to the value.
unsafe impl<T: ?Sized + Send + Sync> Sync for OwnedMutexGuard<T> {}

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// The mutex this is the lock of.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::{Mutex, OwnedMutexGuard};
    /// use std::sync::Arc;
    ///
    /// let m = Arc::new(Mutex::new(0));
    /// let guard = m.try_lock_owned().unwrap();
    /// assert!(Arc::ptr_eq(OwnedMutexGuard::mutex(&guard), &m));
    /// ```
    pub fn mutex(guard: &Self) -> &Arc<Mutex<T>> {
        &guard.0
    }
}

owned_guard!(OwnedMutexGuard of Mutex, RawMutex, Since, MutexLock, unlock, DerefMut);

acquisition! {
    /// The future of [`Mutex::lock`].
    Lock<'a, T>(&'a Mutex<T>, Since) -> MutexGuard<'a, T>
}

acquisition! {
    /// The future of [`Mutex::lock_owned`].
    LockOwned<'a, T>(&'a Arc<Mutex<T>>, Since) -> OwnedMutexGuard<T>
}
