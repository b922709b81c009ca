//! Many readers or one writer, phase-fair as Go's.

use std::cell::UnsafeCell;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use super::raw_rwmutex::{RawRwMutex, Reader, Writer};
use super::typed_lock::{guard, owned_guard, typed_lock};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquisition, acquire_now, acquisition};

/// A lock that lets many goroutines read its value, or one change it.
///
/// Go: `sync.RWMutex`; its `RLock` is [`rlock`](Self::rlock), its `Lock` is [`lock`](Self::lock).
/// As there, a goroutine that has a read lock and asks for another waits for ever if a writer has
/// come between the two; a read lock cannot become a write lock nor the other way round; guards may
/// be dropped by another goroutine; a panic just unlocks.
///
/// # Fairness
///
/// Phases alternate: a waiting writer keeps new readers out, and when it unlocks, every reader that
/// has queued by then goes before the next writer. Behind a reader, `W1 W2 R1 R2` are served as
/// `W1`, `R1` and `R2`, `W2`. So nobody waits for ever.
///
/// # When to use something else
///
/// A [`Mutex`](crate::sync::Mutex) where the lock is held for moments and changed often: a read
/// lock costs as much. `std::sync::RwLock` where no lock is held across an `.await`. A channel
/// where the value is handed on rather than shared.
///
/// # Memory ordering
///
/// The n'th unlock of a writer synchronizes before every later lock of either kind; each unlock of
/// a reader synchronizes before the next lock of a writer.
///
/// # Examples
///
/// ```
/// use gopark::sync::RwMutex;
///
/// gopark::block_on(async {
///     let map = RwMutex::new(vec![1]);
///     {
///         let (a, b) = (map.rlock().await, map.rlock().await);
///         assert_eq!(a.len() + b.len(), 2);
///     }
///     map.lock().await.push(2);
///     assert_eq!(*map.rlock().await, [1, 2]);
/// });
/// ```
#[doc(alias = "RWMutex")]
#[doc(alias = "RwLock")]
pub struct RwMutex<T: ?Sized> {
    raw: RawRwMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the lock owns its value.
unsafe impl<T: ?Sized + Send> Send for RwMutex<T> {}
// SAFETY: `raw` lets one writer (`T: Send`) or many readers (`T: Sync`) to the value.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwMutex<T> {}
typed_lock!(RwMutex, try_rlock);

impl<T> RwMutex<T> {
    const_fn! {
        /// An unlocked lock.
        ///
        /// # Examples
        ///
        /// ```
        /// static NAMES: gopark::sync::RwMutex<Vec<String>> = gopark::sync::RwMutex::new(Vec::new());
        /// gopark::block_on(async { assert!(NAMES.rlock().await.is_empty()) });
        /// ```
        pub const fn new(value: T) -> Self {
            RwMutex { raw: RawRwMutex::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value, without the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::RwMutex::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwMutex<T> {
    /// Waits until no writer has the lock or waits for it, and takes it for reading. Go: `RLock`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the place in line; if it had been let in already, it leaves as
    /// a reader does. One that has been let in and is neither polled nor dropped has the lock.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let m = gopark::sync::RwMutex::new(1);
    ///     assert_eq!(*m.rlock().await, 1);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "RLock")]
    #[doc(alias = "read")]
    pub fn rlock(&self) -> RLock<'_, T> {
        RLock(Acquisition::new(self.shared(), Location::caller()))
    }

    /// Waits until nobody has the lock, and takes it for writing. Go: `Lock`.
    ///
    /// From the first poll on, new readers wait behind this writer.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the place in line, and lets in the readers that waited for it.
    /// If the lock had been handed to it already, it is unlocked. One that has been handed the lock
    /// and is neither polled nor dropped has it.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let m = gopark::sync::RwMutex::new(1);
    ///     *m.lock().await += 1;
    ///     assert_eq!(*m.rlock().await, 2);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "write")]
    pub fn lock(&self) -> WLock<'_, T> {
        WLock(Acquisition::new(self, Location::caller()))
    }

    /// As [`rlock`](Self::rlock), with a guard that owns a reference to the lock. tokio:
    /// `read_owned`.
    ///
    /// # Cancellation
    ///
    /// As of [`rlock`](Self::rlock).
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::RwMutex;
    /// use std::sync::Arc;
    ///
    /// gopark::block_on(async {
    ///     let m = Arc::new(RwMutex::new(1));
    ///     let guard = m.rlock_owned().await;
    ///     gopark::go(async move { assert_eq!(*guard, 1) }).await.unwrap();
    /// });
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "read_owned")]
    pub fn rlock_owned(self: &Arc<Self>) -> RLockOwned<'_, T> {
        RLockOwned(Acquisition::new(self, Location::caller()))
    }

    /// As [`lock`](Self::lock), with a guard that owns a reference to the lock. tokio:
    /// `write_owned`.
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
    /// use gopark::sync::RwMutex;
    /// use std::sync::Arc;
    ///
    /// gopark::block_on(async {
    ///     let m = Arc::new(RwMutex::new(1));
    ///     let mut guard = m.lock_owned().await;
    ///     gopark::go(async move { *guard += 1 }).await.unwrap();
    ///     assert_eq!(*m.rlock().await, 2);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "write_owned")]
    pub fn lock_owned(self: &Arc<Self>) -> WLockOwned<'_, T> {
        WLockOwned(Acquisition::new(self, Location::caller()))
    }

    /// Takes the lock for reading, if that is possible at this instant: no writer has it or waits
    /// for it. Go: `TryRLock`.
    ///
    /// # Examples
    ///
    /// ```
    /// let m = gopark::sync::RwMutex::new(1);
    /// let a = m.try_rlock().unwrap();
    /// assert!(m.try_rlock().is_some() && m.try_lock().is_none());
    /// # drop(a);
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "TryRLock")]
    pub fn try_rlock(&self) -> Option<RwMutexReadGuard<'_, T>> {
        acquire_now::<_, Reader>(&self.raw).then(|| RwMutexReadGuard(self.shared()))
    }

    /// Takes the lock for writing, if nobody has it at this instant. Go: `TryLock`.
    ///
    /// # Examples
    ///
    /// ```
    /// let m = gopark::sync::RwMutex::new(1);
    /// let w = m.try_lock().unwrap();
    /// assert!(m.try_rlock().is_none());
    /// # drop(w);
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "TryLock")]
    pub fn try_lock(&self) -> Option<RwMutexWriteGuard<'_, T>> {
        acquire_now::<_, Writer>(&self.raw).then(|| RwMutexWriteGuard(self))
    }

    /// Blocks this thread until it has the lock for reading: for threads that run no goroutines.
    ///
    /// In a goroutine await [`rlock`](Self::rlock) instead: this keeps its thread from the others
    /// until the scheduler notices, some 10 ms later. If it cannot be awaited there, wrap it in
    /// [`block_in_place`](crate::block_in_place).
    ///
    /// # Examples
    ///
    /// ```
    /// let m = gopark::sync::RwMutex::new(1);
    /// assert_eq!(*m.rlock_blocking(), 1);
    /// ```
    #[track_caller]
    pub fn rlock_blocking(&self) -> RwMutexReadGuard<'_, T> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        self.rlock().0.block()
    }

    /// Blocks this thread until it has the lock for writing: for threads that run no goroutines.
    ///
    /// In a goroutine await [`lock`](Self::lock) instead: this keeps its thread from the others
    /// until the scheduler notices, some 10 ms later. If it cannot be awaited there, wrap it in
    /// [`block_in_place`](crate::block_in_place).
    ///
    /// # Examples
    ///
    /// ```
    /// let m = gopark::sync::RwMutex::new(1);
    /// *m.lock_blocking() += 1;
    /// assert_eq!(m.into_inner(), 2);
    /// ```
    #[track_caller]
    pub fn lock_blocking(&self) -> RwMutexWriteGuard<'_, T> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        self.lock().0.block()
    }

    /// The value, without locking: `&mut` says that nobody else has the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut m = gopark::sync::RwMutex::new(1);
    /// *m.get_mut() = 2;
    /// assert_eq!(m.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: the reference is unique, so there is no guard.
        unsafe { &mut *self.value.get() }
    }

    #[inline]
    fn shared(&self) -> Shared<'_, T> {
        Shared { raw: &self.raw, value: self.value() }
    }
}

/// A [`RwMutex`] as its readers see it. Covariant in `T`, as a reference to the value is, and as a
/// reference to the `RwMutex`, through which the value may change, is not.
#[expect(missing_debug_implementations, reason = "it has no name outside")]
pub struct Shared<'a, T: ?Sized> {
    raw: &'a RawRwMutex,
    /// Not a reference: that would have to be true of the whole drop of a guard, in the middle of
    /// which a writer comes.
    value: *const T,
}

// SAFETY: it gives shared access to the value.
unsafe impl<T: ?Sized + Sync> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Shared<'_, T> {}
// As a reference to the `RwMutex`.
impl<T: ?Sized> UnwindSafe for Shared<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for Shared<'_, T> {}

impl<T: ?Sized> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: ?Sized> Copy for Shared<'_, T> {}

impl<T: ?Sized> Shared<'_, T> {
    #[inline]
    fn value(&self) -> *const T {
        self.value
    }
}

/// A read lock of a [`RwMutex`], and the way to its value. Dropping it unlocks. Go: `RUnlock`.
///
/// It is covariant in `T`, as `&T` is.
#[must_use = "dropping the guard unlocks at once"]
#[doc(alias = "RUnlock")]
pub struct RwMutexReadGuard<'a, T: ?Sized>(Shared<'a, T>);

guard!(RwMutexReadGuard<'a, T>(Shared<'a, T>) of RawRwMutex, Reader, RwMutexRLock, RLock, runlock);

/// The write lock of a [`RwMutex`], and the way to its value. Dropping it unlocks. Go: `Unlock`.
#[must_use = "dropping the guard unlocks at once"]
pub struct RwMutexWriteGuard<'a, T: ?Sized>(&'a RwMutex<T>);

impl<'a, T: ?Sized> RwMutexWriteGuard<'a, T> {
    /// The lock this is the write lock of.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::{RwMutex, RwMutexWriteGuard};
    ///
    /// let m = RwMutex::new(0);
    /// let guard = m.try_lock().unwrap();
    /// assert!(std::ptr::eq(RwMutexWriteGuard::rwmutex(&guard), &m));
    /// ```
    pub fn rwmutex(guard: &Self) -> &'a RwMutex<T> {
        guard.0
    }
}

guard!(RwMutexWriteGuard<'a, T>(&'a RwMutex<T>) of RawRwMutex, Writer, RwMutexLock, WLock, unlock, DerefMut);

/// A read lock of a [`RwMutex`], with a reference to the lock: what [`RwMutexReadGuard`] is,
/// without its lifetime. tokio: `OwnedRwLockReadGuard`.
#[must_use = "dropping the guard unlocks at once"]
pub struct OwnedRwMutexReadGuard<T: ?Sized>(Arc<RwMutex<T>>);

owned_guard!(OwnedRwMutexReadGuard of RwMutex, RawRwMutex, Reader, RwMutexRLock, runlock);

/// The write lock of a [`RwMutex`], with a reference to the lock: what [`RwMutexWriteGuard`] is,
/// without its lifetime. tokio: `OwnedRwLockWriteGuard`.
#[must_use = "dropping the guard unlocks at once"]
pub struct OwnedRwMutexWriteGuard<T: ?Sized>(Arc<RwMutex<T>>);

owned_guard!(OwnedRwMutexWriteGuard of RwMutex, RawRwMutex, Writer, RwMutexLock, unlock, DerefMut);

acquisition! {
    /// The future of [`RwMutex::rlock`].
    RLock<'a, T>(Shared<'a, T>, Reader) -> RwMutexReadGuard<'a, T>
}

acquisition! {
    /// The future of [`RwMutex::lock`].
    WLock<'a, T>(&'a RwMutex<T>, Writer) -> RwMutexWriteGuard<'a, T>
}

acquisition! {
    /// The future of [`RwMutex::rlock_owned`].
    RLockOwned<'a, T>(&'a Arc<RwMutex<T>>, Reader) -> OwnedRwMutexReadGuard<T>
}

acquisition! {
    /// The future of [`RwMutex::lock_owned`].
    WLockOwned<'a, T>(&'a Arc<RwMutex<T>>, Writer) -> OwnedRwMutexWriteGuard<T>
}
