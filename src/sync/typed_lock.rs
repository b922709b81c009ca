//! Shared by `Mutex` and `RwMutex`: a raw lock with a value, and guards that give access to the
//! value.
//!
//! A [`Guard`] can be made only with the proof that its lock was acquired, an [`Acquired`], which
//! it gives back to the raw lock when it is dropped.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::Arc;

use super::raw_mutex::{RawMutex, Since};
use super::raw_rwmutex::{RawRwMutex, Reader, Writer};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquired, Mode};

/// A raw lock, as acquired in the way `M`.
///
/// # Safety
///
/// After an acquisition in the way `M`, and until its [`release`](Self::release), no acquisition in
/// an [exclusive](Exclusive) way succeeds; if `M` is exclusive, none succeeds. A release
/// synchronizes before each acquisition that it makes possible. [`GRANT_IS_ALL`] is false: what a
/// waiter was granted is acquired by the lock's own `look`.
///
/// [`GRANT_IS_ALL`]: crate::wait::acquire::Resource::GRANT_IS_ALL
// SAFETY: the promise of an implementation is documented under "Safety" above.
pub(super) unsafe trait RawLock<M: Mode> {
    fn release(acquired: Acquired<&Self, M>);
}

// SAFETY: see the proof in `raw_mutex`.
unsafe impl RawLock<Since> for RawMutex {
    #[inline]
    fn release(acquired: Acquired<&Self, Since>) {
        Self::unlock(acquired);
    }
}

// SAFETY: see the proof in `raw_rwmutex`: the lock of a reader excludes writers.
unsafe impl RawLock<Reader> for RawRwMutex {
    #[inline]
    fn release(acquired: Acquired<&Self, Reader>) {
        Self::runlock(acquired);
    }
}

// SAFETY: as above: the lock of a writer excludes all others.
unsafe impl RawLock<Writer> for RawRwMutex {
    #[inline]
    fn release(acquired: Acquired<&Self, Writer>) {
        Self::unlock(acquired);
    }
}

/// A way to acquire a lock alone.
///
/// # Safety
///
/// As for [`RawLock`].
// SAFETY: as above.
pub(super) unsafe trait Exclusive: Mode {}

// SAFETY: the only way to acquire a `RawMutex`.
unsafe impl Exclusive for Since {}
// SAFETY: a writer is alone.
unsafe impl Exclusive for Writer {}

/// A raw lock, and the value that it protects.
pub(super) struct Cell<L, T: ?Sized> {
    raw: L,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one thread at a time access the value, from any thread: that requires `T:
// Send`, but not `T: Sync`.
unsafe impl<T: ?Sized + Send> Sync for Cell<RawMutex, T> {}
// SAFETY: the lock lets one writer (`T: Send`) or many readers (`T: Sync`) access the value.
unsafe impl<T: ?Sized + Send + Sync> Sync for Cell<RawRwMutex, T> {}

impl<L, T> Cell<L, T> {
    const_fn! {
        pub(super) const fn new(raw: L, value: T) -> Self {
            Cell { raw, value: UnsafeCell::new(value) }
        }
    }

    pub(super) fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<L, T: ?Sized> Cell<L, T> {
    #[inline]
    pub(super) fn raw(&self) -> &L {
        &self.raw
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[inline]
    pub(super) fn shared(&self) -> Shared<'_, L, T> {
        Shared { raw: &self.raw, value: self.value.get(), _value: PhantomData }
    }
}

/// A lock that has a [`Cell`].
///
/// # Safety
///
/// `cell` always returns the same cell, which is part of the lock.
// SAFETY: the promise of an implementation is documented under "Safety" above.
pub(super) unsafe trait Typed {
    type Raw;
    type Value: ?Sized;

    fn cell(&self) -> &Cell<Self::Raw, Self::Value>;
}

/// A pointer to a lock, through which a guard accesses the value.
///
/// # Safety
///
/// `raw` and `value` always return the same lock and its value, even if the pointer moves.
// SAFETY: the promise of an implementation is documented under "Safety" above.
pub(super) unsafe trait Pointer<M: Mode> {
    type Raw: RawLock<M>;
    type Value: ?Sized;
    /// A guard is `Send` and `Sync` as far as the pointer and this are.
    type Like: ?Sized;

    fn raw(&self) -> &Self::Raw;
    fn value(&self) -> *mut Self::Value;
}

macro_rules! pointer {
    ($($a:lifetime)?, $pointer:ty) => {
        // SAFETY: the pointer leads to the same lock as long as it exists.
        unsafe impl<$($a,)? W: ?Sized + Typed<Raw: RawLock<M>>, M: Mode> Pointer<M> for $pointer {
            type Raw = W::Raw;
            type Value = W::Value;
            type Like = W::Value;

            #[inline]
            fn raw(&self) -> &W::Raw {
                &self.cell().raw
            }

            #[inline]
            fn value(&self) -> *mut W::Value {
                self.cell().value.get()
            }
        }
    };
}
pointer!('a, &'a W);
pointer!(, Arc<W>);

/// A lock as its readers use it. It is covariant in `T`, like `&T`. A reference to the lock is not,
/// because the value can be changed through it.
#[expect(missing_debug_implementations, reason = "not nameable outside the crate")]
pub struct Shared<'a, L, T: ?Sized> {
    raw: &'a L,
    /// Not a reference: a reference would have to stay valid until the end of a guard's drop, but a
    /// writer may acquire the lock in the middle of that drop.
    value: *const T,
    _value: PhantomData<&'a T>,
}

// SAFETY: it gives only shared access to the value, which requires `T: Sync`.
unsafe impl<L: Sync, T: ?Sized + Sync> Send for Shared<'_, L, T> {}
// SAFETY: as above.
unsafe impl<L: Sync, T: ?Sized + Sync> Sync for Shared<'_, L, T> {}
// Like a reference to the lock.
impl<L, T: ?Sized> UnwindSafe for Shared<'_, L, T> {}
impl<L, T: ?Sized> RefUnwindSafe for Shared<'_, L, T> {}

impl<L, T: ?Sized> Clone for Shared<'_, L, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L, T: ?Sized> Copy for Shared<'_, L, T> {}

impl<'a, L, T: ?Sized> Shared<'a, L, T> {
    #[inline]
    pub(super) fn raw(self) -> &'a L {
        self.raw
    }
}

// SAFETY: the pointers do not change. A reader's guard only reads the value.
unsafe impl<'a, T: ?Sized> Pointer<Reader> for Shared<'a, RawRwMutex, T> {
    type Raw = RawRwMutex;
    type Value = T;
    type Like = &'a T;

    #[inline]
    fn raw(&self) -> &RawRwMutex {
        self.raw
    }

    #[inline]
    fn value(&self) -> *mut T {
        self.value.cast_mut()
    }
}

/// Holds the lock of `P`, acquired in the way `M`. `V` is the pointer's [`Like`](Pointer::Like).
pub(super) struct Guard<P: Pointer<M>, V: ?Sized, M: Mode> {
    lock: P,
    _like: PhantomData<V>,
    _way: PhantomData<M>,
}

impl<P: Pointer<M>, V: ?Sized, M: Mode> Unpin for Guard<P, V, M> {}
// A panic only unlocks, as in Go: it leaves the value like any other early exit.
impl<P: Pointer<M>, V: ?Sized, M: Mode> UnwindSafe for Guard<P, V, M> {}
impl<P: Pointer<M>, V: ?Sized, M: Mode> RefUnwindSafe for Guard<P, V, M> {}

impl<P: Pointer<M>, M: Mode> Guard<P, P::Like, M> {
    #[inline]
    pub(super) fn new(lock: P, acquired: Acquired<&P::Raw, M>) -> Self {
        assert!(ptr::eq(acquired.into_resource(), lock.raw()), "the lock was acquired");
        Guard { lock, _like: PhantomData, _way: PhantomData }
    }
}

impl<P: Pointer<M>, V: ?Sized, M: Mode> Guard<P, V, M> {
    #[inline]
    pub(super) fn lock(&self) -> &P {
        &self.lock
    }
}

impl<P: Pointer<M>, V: ?Sized, M: Mode> Drop for Guard<P, V, M> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `new` got the proof that the lock was acquired, and this is the only release.
        P::Raw::release(unsafe { Acquired::new(self.lock.raw()) });
    }
}

impl<P: Pointer<M>, V: ?Sized, M: Mode> Deref for Guard<P, V, M> {
    type Target = P::Value;

    #[inline]
    fn deref(&self) -> &P::Value {
        // SAFETY: the guard holds the lock, so no exclusive reference to the value exists.
        unsafe { &*self.lock.value() }
    }
}

impl<P: Pointer<M>, V: ?Sized, M: Exclusive> DerefMut for Guard<P, V, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut P::Value {
        // SAFETY: the guard holds the lock exclusively, so no other reference exists.
        unsafe { &mut *self.lock.value() }
    }
}

/// A guard whose lock a [`Cond`](super::Cond) releases and acquires again.
pub trait Relock: Sized {
    /// The form in which the guard stores its lock.
    type Lock: Copy;
    /// The future that acquires the lock again.
    type Future: Future<Output = Self>;

    fn lock(guard: &Self) -> Self::Lock;
    fn relock(lock: Self::Lock, site: &'static Location<'static>) -> Self::Future;
}

/// Defines a lock, and implements its traits. `Debug` reads the value with `$try_lock`.
macro_rules! typed_lock {
    ($(#[$meta:meta])* $lock:ident($raw:ident), $try_lock:ident) => {
        $(#[$meta])*
        pub struct $lock<T: ?Sized> {
            cell: $crate::sync::typed_lock::Cell<$raw, T>,
        }

        // SAFETY: the cell is a field.
        unsafe impl<T: ?Sized> $crate::sync::typed_lock::Typed for $lock<T> {
            type Raw = $raw;
            type Value = T;

            #[inline]
            fn cell(&self) -> &$crate::sync::typed_lock::Cell<$raw, T> {
                &self.cell
            }
        }

        // A panic only unlocks, as in Go: it leaves the value like any other early exit.
        impl<T: ?Sized> ::std::panic::UnwindSafe for $lock<T> {}
        impl<T: ?Sized> ::std::panic::RefUnwindSafe for $lock<T> {}

        impl<T: Default> Default for $lock<T> {
            fn default() -> Self {
                $lock::new(T::default())
            }
        }

        impl<T> From<T> for $lock<T> {
            fn from(value: T) -> Self {
                $lock::new(value)
            }
        }

        impl<T: ?Sized + ::std::fmt::Debug> ::std::fmt::Debug for $lock<T> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let mut d = f.debug_struct(stringify!($lock));
                match self.$try_lock() {
                    Some(guard) => d.field("value", &&*guard),
                    None => d.field("value", &format_args!("<locked>")),
                };
                d.finish()
            }
        }
    };
}
pub(super) use typed_lock;

/// Implements the traits of a guard that contains `$lock`, and the `Request` whose future returns
/// the guard. With `DerefMut` the guard is exclusive.
macro_rules! guard {
    (
        $guard:ident<$a:lifetime, $t:ident>($lock:ty) of
            $raw:ty, $mode:ty, $reason:ident, $future:ident $(, $deref_mut:ident)?
    ) => {
        $crate::sync::typed_lock::request!(
            [$a, $t: ?Sized] $a, $lock => $guard<$a, $t>, $raw, $mode, $reason, |lock| lock
        );

        impl<$a, $t: ?Sized> $crate::sync::typed_lock::Relock for $guard<$a, $t> {
            type Lock = $lock;
            type Future = $future<$a, $t>;

            fn lock(guard: &Self) -> $lock {
                *guard.0.lock()
            }

            fn relock(lock: $lock, site: &'static Location<'static>) -> $future<$a, $t> {
                $future(Acquisition::new(lock, site))
            }
        }

        $crate::sync::typed_lock::access!($guard<'_, T> $(, $deref_mut)?);
    };
}
pub(super) use guard;

/// Implements [`Request`](crate::wait::acquire::Request) for `$lock`: it acquires the raw lock and
/// builds the guard from what `$own` returns for `$lock`.
macro_rules! request {
    (
        [$($generics:tt)*] $a:lifetime, $lock:ty => $guard:ident<$($arguments:tt),+>,
        $raw:ty, $mode:ty, $reason:ident, |$by:ident| $own:expr
    ) => {
        impl<$($generics)*> $crate::wait::acquire::Request<$a, $mode> for $lock {
            type Resource = &$a $raw;
            type Output = $guard<$($arguments),+>;

            #[inline]
            fn resource(self) -> &$a $raw {
                self.raw()
            }

            fn reason(self) -> $crate::coop::Reason {
                $crate::coop::Reason::$reason
            }

            #[inline]
            fn output(
                self,
                acquired: $crate::wait::acquire::Acquired<&$a $raw, $mode>,
            ) -> Self::Output {
                let $by = self;
                $guard($crate::sync::typed_lock::Guard::new($own, acquired))
            }
        }
    };
}
pub(super) use request;

/// Implements access to the value through a guard. With `DerefMut` the guard is exclusive.
macro_rules! access {
    ($guard:ty $(, $deref_mut:ident)?) => {
        impl<T: ?Sized> ::std::ops::Deref for $guard {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                &self.0
            }
        }

        $(impl<T: ?Sized> ::std::ops::$deref_mut for $guard {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                &mut self.0
            }
        })?

        impl<T: ?Sized + ::std::fmt::Debug> ::std::fmt::Debug for $guard {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<T: ?Sized + ::std::fmt::Display> ::std::fmt::Display for $guard {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}
pub(super) use access;

/// Implements the traits of an owned guard, and the `Request` that is made from a reference to the
/// [`Arc`] and whose future returns the guard.
macro_rules! owned_guard {
    (
        $guard:ident of $lock:ident, $raw:ty, $mode:ty, $reason:ident $(, $deref_mut:ident)?
    ) => {
        $crate::sync::typed_lock::request!(
            ['a, T: ?Sized] 'a, &'a ::std::sync::Arc<$lock<T>> => $guard<T>,
            $raw, $mode, $reason, |lock| ::std::sync::Arc::clone(lock)
        );

        $crate::sync::typed_lock::access!($guard<T> $(, $deref_mut)?);
    };
}
pub(super) use owned_guard;
