//! Shared by `Mutex` and `RwMutex`: a value with a raw lock, and guards that give access to the
//! value.

use std::panic::Location;

/// A guard whose lock a [`Cond`](super::Cond) releases and acquires again.
pub trait Relock: Sized {
    /// The form in which the guard stores its lock.
    type Lock: Copy;
    /// The future that acquires the lock again.
    type Future: Future<Output = Self>;

    fn lock(guard: &Self) -> Self::Lock;
    fn relock(lock: Self::Lock, site: &'static Location<'static>) -> Self::Future;
}

/// Implements the traits of a lock. `Debug` reads the value with `$try_lock`.
macro_rules! typed_lock {
    ($lock:ident, $try_lock:ident) => {
        // A panic only unlocks, as in Go: it leaves the value like any other early exit.
        impl<T: ?Sized> ::std::panic::UnwindSafe for $lock<T> {}
        impl<T: ?Sized> ::std::panic::RefUnwindSafe for $lock<T> {}

        impl<T: ?Sized> $lock<T> {
            #[inline]
            fn value(&self) -> *mut T {
                self.value.get()
            }
        }

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
            $raw:ty, $mode:ty, $reason:ident, $future:ident, $unlock:ident $(, $deref_mut:ident)?
    ) => {
        $crate::sync::typed_lock::request!(
            [$a, $t: ?Sized] $lock => $guard<$a, $t>, $raw, $mode, $reason, |lock| *lock
        );

        impl<$a, $t: ?Sized> $crate::sync::typed_lock::Relock for $guard<$a, $t> {
            type Lock = $lock;
            type Future = $future<$a, $t>;

            fn lock(guard: &Self) -> $lock {
                guard.0
            }

            fn relock(lock: $lock, site: &'static Location<'static>) -> $future<$a, $t> {
                $future(Acquisition::new(lock, site))
            }
        }

        $crate::sync::typed_lock::access!($guard<'_, T>, $unlock $(, $deref_mut)?);
    };
}
pub(super) use guard;

/// Implements [`Request`](crate::wait::acquire::Request) for `$lock`: it acquires the raw lock and
/// builds the guard from what `$own` returns for a reference to `$lock`.
macro_rules! request {
    (
        [$($generics:tt)*] $lock:ty => $guard:ident<$($arguments:tt),+>,
        $raw:ty, $mode:ty, $reason:ident, |$by:ident| $own:expr
    ) => {
        impl<$($generics)*> $crate::wait::acquire::Request<$mode> for $lock {
            type Resource = $raw;
            type Output = $guard<$($arguments),+>;

            #[inline]
            fn resource(&self) -> Option<&$raw> {
                Some(&self.raw)
            }

            fn reason(&self) -> $crate::coop::Reason {
                $crate::coop::Reason::$reason
            }

            #[inline]
            fn output(&self) -> Self::Output {
                let $by = self;
                $guard($own)
            }
        }
    };
}
pub(super) use request;

/// Implements access to the value through a guard, and the unlock in its drop. With `DerefMut` the
/// guard is exclusive.
macro_rules! access {
    ($guard:ty, $unlock:ident $(, $deref_mut:ident)?) => {
        impl<T: ?Sized> Drop for $guard {
            #[inline]
            fn drop(&mut self) {
                self.0.raw.$unlock();
            }
        }

        impl<T: ?Sized> ::std::ops::Deref for $guard {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: the guard holds the lock, so no exclusive reference to the value exists.
                unsafe { &*self.0.value() }
            }
        }

        $(impl<T: ?Sized> ::std::ops::$deref_mut for $guard {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: the guard holds the lock exclusively, so no other reference exists.
                unsafe { &mut *self.0.value() }
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
/// [`Arc`](std::sync::Arc) and whose future returns the guard.
macro_rules! owned_guard {
    (
        $guard:ident of $lock:ident, $raw:ty, $mode:ty, $reason:ident, $unlock:ident
        $(, $deref_mut:ident)?
    ) => {
        $crate::sync::typed_lock::request!(
            [T: ?Sized] &::std::sync::Arc<$lock<T>> => $guard<T>,
            $raw, $mode, $reason, |lock| ::std::sync::Arc::clone(lock)
        );

        $crate::sync::typed_lock::access!($guard<T>, $unlock $(, $deref_mut)?);
    };
}
pub(super) use owned_guard;
