//! A table of objects that are reused and never freed. Each has a small number.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::panics::lock;

/// A table of at most `N` objects.
///
/// * `entries[i]`: the object with that number, or null if there is none yet. Written once, by the
///   thread that creates it.
/// * `made`: the number of objects. A thread increments it before it creates one.
#[derive(Debug)]
pub(crate) struct Table<T: 'static, const N: usize> {
    entries: [AtomicPtr<T>; N],
    made: AtomicUsize,
    /// The objects that are not in use.
    free: Mutex<Vec<&'static T>>,
    /// Notified when an object is put back.
    freed: Condvar,
}

impl<T, const N: usize> Table<T, N> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: [const { AtomicPtr::new(ptr::null_mut()) }; N],
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
        unsafe { &*self.entries[number].load(Ordering::Relaxed) }
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
            self.entries[number].store(ptr::from_ref(made).cast_mut(), Ordering::Release);
            return Some(made);
        }
        let none = |free: &mut Vec<_>| free.is_empty();
        let waited = self.freed.wait_timeout_while(lock(&self.free), patience, none);
        waited.unwrap_or_else(PoisonError::into_inner).0.pop()
    }

    /// Returns all objects that were ever created.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static T> {
        let made = self.made.load(Ordering::Acquire);
        // SAFETY: each entry is null, or never freed.
        self.entries[..made]
            .iter()
            .filter_map(|entry| unsafe { entry.load(Ordering::Acquire).as_ref() })
    }

    /// Puts back an object that is no longer in use.
    pub(crate) fn put_back(&self, free: &'static T) {
        lock(&self.free).push(free);
        self.freed.notify_one();
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
