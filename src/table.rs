//! Things that are never freed but used again, each of which has a small number.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::panics::lock;

/// | word | meaning | written by |
/// |---|---|---|
/// | `entries[i]` | the thing of that number; null if there has been none | once, by the thread that makes it |
/// | `made` | how many there are | a thread that makes one, before |
#[derive(Debug)]
pub(crate) struct Table<T: 'static, const N: usize> {
    entries: [AtomicPtr<T>; N],
    made: AtomicUsize,
    /// Those that are out of use.
    free: Mutex<Vec<&'static T>>,
    /// Notified when one is free.
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

    /// The thing of that number.
    ///
    /// # Safety
    ///
    /// `number` is that of a thing that [`take`](Self::take) has returned.
    #[inline(always)]
    pub(crate) unsafe fn get(&self, number: usize) -> &'static T {
        // Relaxed: the number came from the thing itself, by a synchronizing way.
        // SAFETY: as promised; nothing is freed.
        unsafe { &*self.entries[number].load(Ordering::Relaxed) }
    }

    /// One that is out of use, else one that `make` makes. If there are `N`, waits `patience` for
    /// one to be out of use; `None` if none is then.
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

    /// All that were ever made.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static T> {
        let made = self.made.load(Ordering::Acquire);
        // SAFETY: null, or never freed.
        self.entries[..made]
            .iter()
            .filter_map(|entry| unsafe { entry.load(Ordering::Acquire).as_ref() })
    }

    /// It is out of use.
    pub(crate) fn put_back(&self, free: &'static T) {
        lock(&self.free).push(free);
        self.freed.notify_one();
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
