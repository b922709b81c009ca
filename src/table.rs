//! References to objects that are never freed: in an atomic place, and in a table of objects that
//! are reused.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::panics::lock;

/// An atomic place for a reference to an object that is never freed. It is empty at first.
#[derive(Debug)]
pub(crate) struct StaticRef<T: 'static> {
    /// Null, or from a `&'static T`.
    object: AtomicPtr<T>,
    /// The place can be shared and sent as the reference can. A panic leaves it whole.
    marker: PhantomData<AssertUnwindSafe<&'static T>>,
}

impl<T> StaticRef<T> {
    pub(crate) const fn new() -> Self {
        Self { object: AtomicPtr::new(ptr::null_mut()), marker: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn set(&self, object: &'static T) {
        // Release: pairs with the load in `get`.
        self.object.store(ptr::from_ref(object).cast_mut(), Ordering::Release);
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: it is null, or came from a `&'static T` in `set`.
        unsafe { self.object.load(Ordering::Acquire).as_ref() }
    }
}

/// A table of at most `N` objects, each with a small number.
///
/// * `entries[i]`: the object with that number, empty if there is none yet. Written once, by the
///   thread that creates it.
/// * `made`: the number of objects. A thread increments it before it creates one.
#[derive(Debug)]
pub(crate) struct Table<T: 'static, const N: usize> {
    entries: [StaticRef<T>; N],
    made: AtomicUsize,
    /// The objects that are not in use.
    free: Mutex<Vec<&'static T>>,
    /// Notified when an object is put back.
    freed: Condvar,
}

impl<T, const N: usize> Table<T, N> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: [const { StaticRef::new() }; N],
            made: AtomicUsize::new(0),
            free: Mutex::new(Vec::new()),
            freed: Condvar::new(),
        }
    }

    /// Returns the object with that number.
    ///
    /// # Safety
    ///
    /// `number` is the number of an object that [`take`](Self::take) has returned.
    #[inline(always)]
    pub(crate) unsafe fn get(&self, number: usize) -> &'static T {
        // Relaxed: the number came from the object itself, in a way that synchronizes.
        // SAFETY: the caller passes the number of an existing object, and none is freed.
        unsafe { &*self.entries[number].object.load(Ordering::Relaxed) }
    }

    /// Takes an object that is not in use, or creates one with `make`. If there are already `N`,
    /// waits for at most `patience` until one is put back, and returns `None` if none is.
    pub(crate) fn take(
        &self,
        patience: Duration,
        make: impl FnOnce(u16) -> T,
    ) -> Option<&'static T> {
        if let Some(free) = lock(&self.free).pop() {
            return Some(free);
        }
        let more = |made| (made < N).then_some(made + 1);
        if let Ok(number) = self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            let made: &'static T =
                Box::leak(Box::new(make(u16::try_from(number).expect("N is less than 2^16"))));
            self.entries[number].set(made);
            return Some(made);
        }
        let none = |free: &mut Vec<_>| free.is_empty();
        let waited = self.freed.wait_timeout_while(lock(&self.free), patience, none);
        waited.unwrap_or_else(PoisonError::into_inner).0.pop()
    }

    /// Returns all objects that were ever created.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static T> {
        let made = self.made.load(Ordering::Acquire);
        self.entries[..made].iter().filter_map(StaticRef::get)
    }

    /// Puts back an object that is no longer in use.
    pub(crate) fn put_back(&self, free: &'static T) {
        lock(&self.free).push(free);
        self.freed.notify_one();
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
