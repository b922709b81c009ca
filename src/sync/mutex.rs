//! A mutex with Go's two modes: normal and starving.

use std::panic::Location;
use std::sync::Arc;

use super::raw_mutex::{RawMutex, Since};
use super::typed_lock::{Cell, Guard, guard, owned_guard, typed_lock};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquisition, acquire_now, acquisition};

typed_lock! {
    /// A mutual exclusion lock that protects a value: one goroutine at a time holds it.
    ///
    /// Go: `sync.Mutex`. Unlike in Go, the value is inside the mutex, and dropping the
    /// [`MutexGuard`] unlocks it. As in Go, the lock has no owner: a guard may be sent to another
    /// goroutine and dropped there. A goroutine that locks a mutex it already holds deadlocks. A
    /// panic while the lock is held only unlocks it (no poisoning).
    ///
    /// # Fairness
    ///
    /// Waiters are served in the order of arrival. A goroutine that unlocks and locks again may
    /// barge past a waiter that is not awake yet, because that keeps a contended lock fast. A
    /// waiter that has failed to acquire the lock for a millisecond gets it handed over at the next
    /// unlock.
    ///
    /// At most one woken waiter at a time competes for the lock. There is one exception: if it has
    /// waited for longer than a millisecond and has not been polled since it was woken, the next
    /// unlock also wakes the waiter behind it. Outside gopark's processors (in another executor, or
    /// on a plain thread) the lock is always handed over.
    ///
    /// # When to use something else
    ///
    /// Use `std::sync::Mutex` if the lock is never held across an `.await`: it is smaller, and it
    /// blocks, so it needs no async function. Holding it across an `.await`, however, blocks a
    /// whole thread, or deadlocks. Use a channel to hand a value *on* rather than to share it: "Do
    /// not communicate by sharing memory; instead, share memory by communicating." Use a
    /// [`RwMutex`] if almost all accesses only read and hold the lock for long.
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
    Mutex(RawMutex), try_lock
}

impl<T> Mutex<T> {
    const_fn! {
        /// Creates an unlocked mutex.
        ///
        /// # Examples
        ///
        /// ```
        /// static NAMES: gopark::sync::Mutex<Vec<String>> = gopark::sync::Mutex::new(Vec::new());
        /// gopark::block_on(async { NAMES.lock().await.push("gopher".into()) });
        /// ```
        pub const fn new(value: T) -> Self {
            Mutex { cell: Cell::new(RawMutex::new(), value) }
        }
    }

    /// Consumes the mutex and returns the value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::Mutex::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.cell.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    #[inline]
    fn raw(&self) -> &RawMutex {
        self.cell.raw()
    }

    /// Waits until the lock is free and acquires it. Go: `Lock`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future removes it from the queue. If the lock had been handed to it already,
    /// the lock goes to the next waiter.
    ///
    /// A woken future that is neither polled nor dropped, because its task is busy elsewhere, holds
    /// up the waiters behind it. After its first millisecond, the next unlock wakes one of them as
    /// well. No timer does that: without another unlock they keep waiting although the lock is
    /// free. If the lock was handed to the future, it holds the lock until it is polled or dropped.
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

    /// Acquires the lock if it is free now. Returns `None` otherwise. Go: `TryLock`.
    ///
    /// It may acquire a free lock ahead of waiters that have been notified but have not run yet,
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
        acquire_now(self)
    }

    /// Acquires the lock as [`lock`](Self::lock) does, but returns a guard that owns a reference to
    /// the mutex. That guard can move into a goroutine, or into a struct. tokio: `lock_owned`.
    ///
    /// # Cancellation
    ///
    /// Same as [`lock`](Self::lock).
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

    /// Acquires the lock as [`try_lock`](Self::try_lock) does, but returns a guard that owns a
    /// reference to the mutex.
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
        acquire_now(self)
    }

    /// Blocks the current thread until the lock is free and acquires it. For threads that run no
    /// goroutines.
    ///
    /// Do not call this in a goroutine: await [`lock`](Self::lock) instead. This call blocks the
    /// worker thread until the monitor takes its processor away, after about 10 ms. In code that
    /// cannot await, wrap the call in [`block_in_place`](crate::block_in_place).
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

    /// Returns a mutable reference to the value, without locking: `&mut self` proves that there is
    /// no guard.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut m = gopark::sync::Mutex::new(1);
    /// *m.get_mut() = 2;
    /// assert_eq!(m.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.cell.get_mut()
    }
}

/// Holds the lock of a [`Mutex`] and gives access to its value. Dropping it unlocks the mutex.
///
/// It is `Send`: another goroutine may unlock the mutex. A mutex that is not locked cannot be
/// unlocked (in Go that ends the process):
///
/// ```compile_fail,E0382
/// let m = gopark::sync::Mutex::new(1);
/// let guard = m.try_lock().unwrap();
/// drop(guard);
/// drop(guard);
/// ```
///
/// # Examples
///
/// ```
/// use gopark::sync::{Mutex, MutexGuard};
///
/// fn increment(mut guard: MutexGuard<'_, i32>) {
///     *guard += 1;
/// }
///
/// let m = Mutex::new(1);
/// increment(m.try_lock().unwrap());
/// assert_eq!(*m.try_lock().unwrap(), 2); // It has been unlocked.
/// ```
#[must_use = "dropping the guard unlocks the mutex at once"]
pub struct MutexGuard<'a, T: ?Sized>(Guard<&'a Mutex<T>, T, Since>);

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Returns the mutex that this guard has locked.
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
        guard.0.lock()
    }
}

guard!(MutexGuard<'a, T>(&'a Mutex<T>) of RawMutex, Since, MutexLock, Lock, DerefMut);

/// Holds the lock of a [`Mutex`], and a reference to the mutex: a [`MutexGuard`] without a
/// lifetime. tokio: `OwnedMutexGuard`.
///
/// A [`Cond`](super::Cond) cannot wait with it.
///
/// # Examples
///
/// ```
/// use gopark::sync::{Mutex, OwnedMutexGuard};
/// use std::sync::Arc;
///
/// let m = Arc::new(Mutex::new(1));
/// let mut guard: OwnedMutexGuard<i32> = m.try_lock_owned().unwrap();
/// *guard += 1;
/// drop(guard);
/// assert_eq!(*m.lock_blocking(), 2);
/// ```
#[must_use = "dropping the guard unlocks the mutex at once"]
pub struct OwnedMutexGuard<T: ?Sized>(Guard<Arc<Mutex<T>>, T, Since>);

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// Returns the mutex that this guard has locked.
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
        guard.0.lock()
    }
}

owned_guard!(OwnedMutexGuard of Mutex, RawMutex, Since, MutexLock, DerefMut);

acquisition! {
    /// The future of [`Mutex::lock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Mutex;
    /// use gopark::sync::futures::Lock;
    ///
    /// gopark::block_on(async {
    ///     let (a, b) = (Mutex::new(1), Mutex::new(2));
    ///     let locks: Vec<Lock<'_, i32>> = vec![a.lock(), b.lock()];
    ///     let mut sum = 0;
    ///     for lock in locks {
    ///         sum += *lock.await;
    ///     }
    ///     assert_eq!(sum, 3);
    /// });
    /// ```
    Lock<'a, T>(&'a Mutex<T>, Since) -> MutexGuard<'a, T>
}

acquisition! {
    /// The future of [`Mutex::lock_owned`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::select;
    /// use gopark::sync::Mutex;
    /// use std::pin::pin;
    /// use std::sync::Arc;
    ///
    /// gopark::block_on(async {
    ///     let m = Arc::new(Mutex::new(1));
    ///     let guard = m.lock().await;
    ///     let mut locking = pin!(m.lock_owned());
    ///     select! {
    ///         _ = locking.as_mut() => unreachable!("it is locked"),
    ///         default => drop(guard),
    ///     }
    ///     assert_eq!(*locking.await, 1);
    /// });
    /// ```
    LockOwned<'a, T>(&'a Arc<Mutex<T>>, Since) -> OwnedMutexGuard<T>
}
