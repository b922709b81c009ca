//! The atomics, cells, mutexes, condition variables and constant constructors of `std` or, under
//! `--cfg gopark_loom`, of loom.
//!
//! No file but this one and [`lock`](crate::lock) names the crate `loom`, so that a model runs the
//! code that ships.

#[cfg(gopark_loom)]
pub(crate) use loom::sync::{self, atomic};
use std::mem::MaybeUninit;
#[cfg(not(gopark_loom))]
pub(crate) use std::sync::{self, atomic};
#[cfg(not(gopark_loom))]
use std::{hint, thread};

/// Declares a `const fn`; under loom, whose types have no constant constructors, a plain `fn`.
#[cfg(not(gopark_loom))]
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis const fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
}
#[cfg(gopark_loom)]
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis const fn $($rest:tt)*) => { $(#[$meta])* $vis fn $($rest)* };
}
pub(crate) use const_fn;

/// True under loom. For example, a hint that is read without the lock returns true then, because
/// loom would report the read as a race.
pub(crate) const MODELLED: bool = cfg!(gopark_loom);

/// `std`'s cell with loom's accessor, so that a model sees every access.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(
    #[cfg(not(gopark_loom))] std::cell::UnsafeCell<T>,
    #[cfg(gopark_loom)] loom::cell::UnsafeCell<T>,
);

impl<T> UnsafeCell<T> {
    #[cfg(not(gopark_loom))]
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[cfg(gopark_loom)]
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer to the value. The caller is responsible for its use.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(not(gopark_loom))]
        return f(self.0.get());
        #[cfg(gopark_loom)]
        return self.0.with_mut(f);
    }

    /// As [`with_mut`](Self::with_mut), for reads. For models.
    #[cfg(all(test, gopark_loom))]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.0.with(f)
    }
}

impl<T> UnsafeCell<MaybeUninit<T>> {
    /// Creates an uninitialized cell. Outside loom it is a constant, so that a debug build copies
    /// nothing.
    #[inline(always)]
    pub(crate) fn uninit() -> Self {
        #[cfg(not(gopark_loom))]
        return const { Self::new(MaybeUninit::uninit()) };
        #[cfg(gopark_loom)]
        return Self::new(MaybeUninit::uninit());
    }
}

/// Waits for one round of a spin loop that ends once another thread has executed a few
/// instructions. Every hundredth round yields the core, because the other thread may have none.
#[inline]
pub(crate) fn relax(round: u32) {
    #[cfg(gopark_loom)]
    {
        let _ = round;
        loom::thread::yield_now();
    }
    #[cfg(not(gopark_loom))]
    if round % 100 == 0 {
        thread::yield_now();
    } else {
        hint::spin_loop();
    }
}
