//! What a `Mutex` and a `RwMutex` have in common: a value beside a raw lock, and guards that lead
//! to the value.

use std::panic::Location;

/// A guard whose lock a [`Cond`](super::Cond) releases and acquires again.
pub trait Relock: Sized {
    /// The lock, as the guard has it.
    type Lock: Copy;
    /// The future that acquires it again.
    type Future: Future<Output = Self>;

    fn lock(guard: &Self) -> Self::Lock;
    fn relock(lock: Self::Lock, site: &'static Location<'static>) -> Self::Future;
}

/// The traits of a lock. `$try_lock` lets `Debug` look at the value.
macro_rules! typed_lock {
    ($lock:ident, $try_lock:ident) => {
        // A panic leaves the value as any other way out does, as in Go.
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

/// The traits of a guard, which has `$lock`, and how the future of `$mode` makes one. With
/// `DerefMut` it is exclusive.
macro_rules! guard {
    (
        $guard:ident<$a:lifetime, $t:ident>($lock:ty) of $raw:ty, $mode:ty, $reason:ident, $future:ident, $unlock:ident
        $(, $deref_mut:ident)?
    ) => {
        $crate::sync::typed_lock::request!([$a, $t: ?Sized] $lock => $guard<$a, $t>, $raw, $mode, $reason, |lock| *lock);

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

/// A request for the raw lock of `$lock`, whose guard is made of what `$own` makes of a reference
/// to `$lock`.
macro_rules! request {
    ([$($generics:tt)*] $lock:ty => $guard:ident<$($arguments:tt),+>, $raw:ty, $mode:ty, $reason:ident, |$by:ident| $own:expr) => {
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

/// What a guard is to its owner: the way to the value, and its drop unlocks. With `DerefMut` it is
/// exclusive.
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
                // SAFETY: the guard has the lock.
                unsafe { &*self.0.value() }
            }
        }

        $(impl<T: ?Sized> ::std::ops::$deref_mut for $guard {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: the guard has the lock, and no other guard has it.
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

/// An owned guard, and how the future of `$mode` makes one of a reference to the
/// [`Arc`](std::sync::Arc).
macro_rules! owned_guard {
    ($guard:ident of $lock:ident, $raw:ty, $mode:ty, $reason:ident, $unlock:ident $(, $deref_mut:ident)?) => {
        $crate::sync::typed_lock::request!(
            [T: ?Sized] &::std::sync::Arc<$lock<T>> => $guard<T>, $raw, $mode, $reason, |lock| ::std::sync::Arc::clone(lock)
        );

        $crate::sync::typed_lock::access!($guard<T>, $unlock $(, $deref_mut)?);
    };
}
pub(super) use owned_guard;
