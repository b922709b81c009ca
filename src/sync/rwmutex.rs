//! A readers-writer lock, phase-fair like Go's.

use std::panic::Location;
use std::sync::Arc;

use super::raw_rwmutex::{RawRwMutex, Reader, Writer};
use super::typed_lock::{self, Cell, Guard, guard, owned_guard, typed_lock};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquisition, acquire_now, acquisition};

typed_lock! {
    /// A readers-writer lock: many goroutines may read its value at the same time, or one may
    /// change it.
    ///
    /// Go: `sync.RWMutex`; its `RLock` is [`rlock`](Self::rlock), its `Lock` is
    /// [`lock`](Self::lock). As in Go:
    ///
    /// - A goroutine that holds a read lock and requests another one deadlocks if a writer has
    ///   arrived in between.
    /// - A read lock cannot be upgraded to a write lock, and a write lock cannot be downgraded.
    /// - Another goroutine may drop a guard.
    /// - A panic only unlocks (no poisoning).
    ///
    /// # Fairness
    ///
    /// Phases alternate. A waiting writer keeps new readers out; when it unlocks, every reader that
    /// has queued by then goes before the next writer. For example, while a reader holds the lock,
    /// these queue: `W1`, `W2`, `R1`, `R2`. Then `W1` is served first, `R1` and `R2` next, and `W2`
    /// last. No waiter starves.
    ///
    /// # When to use something else
    ///
    /// Use a [`Mutex`](crate::sync::Mutex) if the lock is held only briefly and the value changes
    /// often: a read lock costs as much. Use `std::sync::RwLock` if no lock is held across an
    /// `.await`. Use a channel if the value is handed on rather than shared.
    ///
    /// # Memory ordering
    ///
    /// The n'th unlock of a writer synchronizes before every later lock of either kind. Each unlock
    /// of a reader synchronizes before the next lock of a writer.
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
    RwMutex(RawRwMutex), try_rlock
}

impl<T> RwMutex<T> {
    const_fn! {
        /// Creates an unlocked lock.
        ///
        /// # Examples
        ///
        /// ```
        /// use gopark::sync::RwMutex;
        ///
        /// static NAMES: RwMutex<Vec<String>> = RwMutex::new(Vec::new());
        /// gopark::block_on(async { assert!(NAMES.rlock().await.is_empty()) });
        /// ```
        pub const fn new(value: T) -> Self {
            RwMutex { cell: Cell::new(RawRwMutex::new(), value) }
        }
    }

    /// Consumes the lock and returns the value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::RwMutex::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.cell.into_inner()
    }
}

impl<T: ?Sized> RwMutex<T> {
    #[inline]
    fn raw(&self) -> &RawRwMutex {
        self.cell.raw()
    }

    /// Waits until no writer holds the lock or waits for it, and acquires it for reading. Go:
    /// `RLock`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future removes it from the queue. If it had been granted a read lock already,
    /// that lock is released. A future that has been granted a read lock and is neither polled nor
    /// dropped keeps holding it.
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
        RLock(Acquisition::new(self.cell.shared(), Location::caller()))
    }

    /// Waits until no reader and no other writer holds the lock, and acquires it for writing. Go:
    /// `Lock`.
    ///
    /// From the first poll on, new readers wait behind this writer.
    ///
    /// # Cancellation
    ///
    /// Dropping the future removes it from the queue and lets in the readers that waited behind it.
    /// If the lock had been handed to it already, the lock is released. A future that has been
    /// handed the lock and is neither polled nor dropped keeps holding it.
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

    /// Acquires a read lock as [`rlock`](Self::rlock) does, but returns a guard that owns a
    /// reference to the lock. tokio: `read_owned`.
    ///
    /// # Cancellation
    ///
    /// Same as [`rlock`](Self::rlock).
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

    /// Acquires the write lock as [`lock`](Self::lock) does, but returns a guard that owns a
    /// reference to the lock. tokio: `write_owned`.
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

    /// Acquires the lock for reading if no writer holds it or waits for it now. Returns `None`
    /// otherwise. Go: `TryRLock`.
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
        acquire_now(self.cell.shared())
    }

    /// Acquires the lock for writing if it is free now. Returns `None` otherwise. Go: `TryLock`.
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
        acquire_now(self)
    }

    /// Blocks the current thread until it has acquired the lock for reading. For threads that run
    /// no goroutines.
    ///
    /// Do not call this in a goroutine: await [`rlock`](Self::rlock) instead. This call blocks the
    /// worker thread until the monitor takes its processor away, after about 10 ms. In code that
    /// cannot await, wrap the call in [`block_in_place`](crate::block_in_place).
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

    /// Blocks the current thread until it has acquired the lock for writing. For threads that run
    /// no goroutines.
    ///
    /// Do not call this in a goroutine: await [`lock`](Self::lock) instead. This call blocks the
    /// worker thread until the monitor takes its processor away, after about 10 ms. In code that
    /// cannot await, wrap the call in [`block_in_place`](crate::block_in_place).
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

    /// Returns a mutable reference to the value, without locking: `&mut self` proves that there is
    /// no guard.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut m = gopark::sync::RwMutex::new(1);
    /// *m.get_mut() = 2;
    /// assert_eq!(m.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.cell.get_mut()
    }
}

/// A [`RwMutex`] as its readers use it.
type Shared<'a, T> = typed_lock::Shared<'a, RawRwMutex, T>;

/// Holds a read lock of a [`RwMutex`] and gives access to its value. Dropping it unlocks. Go:
/// `RUnlock`.
///
/// It is covariant in `T`, like `&T`.
///
/// # Examples
///
/// ```
/// let m = gopark::sync::RwMutex::new(1);
/// let guard = m.try_rlock().unwrap();
/// assert_eq!(*guard, 1);
/// ```
#[must_use = "dropping the guard unlocks at once"]
#[doc(alias = "RUnlock")]
pub struct RwMutexReadGuard<'a, T: ?Sized>(Guard<Shared<'a, T>, &'a T, Reader>);

guard!(RwMutexReadGuard<'a, T>(Shared<'a, T>) of RawRwMutex, Reader, RwMutexRLock, RLock);

/// Holds the write lock of a [`RwMutex`] and gives access to its value. Dropping it unlocks. Go:
/// `Unlock`.
///
/// # Examples
///
/// ```
/// let m = gopark::sync::RwMutex::new(1);
/// let mut guard = m.try_lock().unwrap();
/// *guard += 1;
/// drop(guard);
/// assert_eq!(m.into_inner(), 2);
/// ```
#[must_use = "dropping the guard unlocks at once"]
pub struct RwMutexWriteGuard<'a, T: ?Sized>(Guard<&'a RwMutex<T>, T, Writer>);

impl<'a, T: ?Sized> RwMutexWriteGuard<'a, T> {
    /// Returns the lock that this guard has locked.
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
        guard.0.lock()
    }
}

guard!(
    RwMutexWriteGuard<'a, T>(&'a RwMutex<T>) of
        RawRwMutex, Writer, RwMutexLock, WLock, DerefMut
);

/// Holds a read lock of a [`RwMutex`], and a reference to the lock: a [`RwMutexReadGuard`] without
/// a lifetime. tokio: `OwnedRwLockReadGuard`.
///
/// # Examples
///
/// ```
/// use gopark::sync::RwMutex;
/// use std::sync::Arc;
///
/// gopark::block_on(async {
///     let guard = Arc::new(RwMutex::new(1)).rlock_owned().await;
///     assert_eq!(*guard, 1);
/// });
/// ```
#[must_use = "dropping the guard unlocks at once"]
pub struct OwnedRwMutexReadGuard<T: ?Sized>(Guard<Arc<RwMutex<T>>, T, Reader>);

owned_guard!(OwnedRwMutexReadGuard of RwMutex, RawRwMutex, Reader, RwMutexRLock);

/// Holds the write lock of a [`RwMutex`], and a reference to the lock: a [`RwMutexWriteGuard`]
/// without a lifetime. tokio: `OwnedRwLockWriteGuard`.
///
/// # Examples
///
/// ```
/// use gopark::sync::RwMutex;
/// use std::sync::Arc;
///
/// gopark::block_on(async {
///     let mut guard = Arc::new(RwMutex::new(1)).lock_owned().await;
///     *guard += 1;
///     assert_eq!(*guard, 2);
/// });
/// ```
#[must_use = "dropping the guard unlocks at once"]
pub struct OwnedRwMutexWriteGuard<T: ?Sized>(Guard<Arc<RwMutex<T>>, T, Writer>);

owned_guard!(OwnedRwMutexWriteGuard of RwMutex, RawRwMutex, Writer, RwMutexLock, DerefMut);

acquisition! {
    /// The future of [`RwMutex::rlock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::RwMutex;
    /// use gopark::sync::futures::RLock;
    ///
    /// gopark::block_on(async {
    ///     let m = RwMutex::new(1);
    ///     let locks: [RLock<'_, i32>; 2] = [m.rlock(), m.rlock()];
    ///     let mut guards = Vec::new();
    ///     for lock in locks {
    ///         guards.push(lock.await);
    ///     }
    ///     assert_eq!(*guards[0] + *guards[1], 2);
    ///     assert!(m.try_lock().is_none());
    /// });
    /// ```
    RLock<'a, T>(Shared<'a, T>, Reader) -> RwMutexReadGuard<'a, T>
}

acquisition! {
    /// The future of [`RwMutex::lock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::RwMutex;
    ///
    /// gopark::block_on(async {
    ///     let m = RwMutex::new(1);
    ///     let reader = m.rlock().await;
    ///     let mut writing = Box::pin(m.lock());
    ///     assert!(futures_lite::future::poll_once(writing.as_mut()).await.is_none());
    ///     assert!(m.try_rlock().is_none(), "readers wait behind the writer");
    ///     drop(writing);
    ///     assert!(m.try_rlock().is_some());
    ///     # drop(reader);
    /// });
    /// ```
    WLock<'a, T>(&'a RwMutex<T>, Writer) -> RwMutexWriteGuard<'a, T>
}

acquisition! {
    /// The future of [`RwMutex::rlock_owned`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::RwMutex;
    /// use gopark::sync::futures::RLockOwned;
    /// use std::sync::Arc;
    ///
    /// async fn length(names: RLockOwned<'_, Vec<&str>>) -> usize {
    ///     names.await.len()
    /// }
    ///
    /// let names = Arc::new(RwMutex::new(vec!["Ann", "Bob"]));
    /// assert_eq!(gopark::block_on(length(names.rlock_owned())), 2);
    /// ```
    RLockOwned<'a, T>(&'a Arc<RwMutex<T>>, Reader) -> OwnedRwMutexReadGuard<T>
}

acquisition! {
    /// The future of [`RwMutex::lock_owned`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::RwMutex;
    /// use gopark::sync::futures::WLockOwned;
    /// use std::sync::Arc;
    ///
    /// async fn append(list: WLockOwned<'_, Vec<u8>>, item: u8) {
    ///     list.await.push(item);
    /// }
    ///
    /// let list = Arc::new(RwMutex::new(Vec::new()));
    /// gopark::block_on(append(list.lock_owned(), 1));
    /// assert_eq!(*list.rlock_blocking(), [1]);
    /// ```
    WLockOwned<'a, T>(&'a Arc<RwMutex<T>>, Writer) -> OwnedRwMutexWriteGuard<T>
}
