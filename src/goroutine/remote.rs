//! What aborts a goroutine without its handle.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock, PoisonError};
use std::task::Waker;

use crate::executor::Executor;
use crate::header::{Flags, Header, Task};
use crate::loom::sync::{Mutex, MutexGuard};
use crate::platform::{heavy_fence_or_sleep, light_fence};

/// A way to a goroutine that does not depend on its handle.
#[derive(Clone)]
pub(crate) enum Remote {
    /// A clone of the goroutine's waker, made with the goroutine.
    Direct(Waker),
    /// One that was made later. What keeps the goroutine's memory is its waker, which there is when
    /// it has parked. So goroutines without a remote pay nothing.
    Late(Late),
}

impl Remote {
    /// A remote of a goroutine that is about to be enqueued for the first time.
    pub(crate) fn direct(task: &Task) -> Self {
        let waker = task.waker();
        task.metadata().locate(&waker);
        Self::Direct(waker)
    }

    /// A remote of a goroutine, whose handle the caller has.
    pub(crate) fn late(header: &Header) -> Self {
        Self::Late(REMOTES.late(header, || registered_waker(header)))
    }

    /// As the function [`abort`].
    pub(crate) fn abort(&self) {
        let waker = match self {
            // SAFETY: its header was located by this waker.
            Self::Direct(waker) => mark_aborted(unsafe { Header::of_waker(waker) }),
            Self::Late(late) => late.with(mark_aborted).flatten(),
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Asks a goroutine to end: its future is dropped on a worker, at its next suspension.
pub(crate) fn abort(header: &Header) {
    mark_aborted(header).into_iter().for_each(Waker::wake);
}

/// Marks a goroutine as aborted. Returns its waker, if it has parked.
fn mark_aborted(header: &Header) -> Option<Waker> {
    if header.set_aborted().is_registered() { registered_waker(header) } else { None }
}

/// The waker of a goroutine that has parked, unless it has ended.
fn registered_waker(header: &Header) -> Option<Waker> {
    // Under the registry's lock: the entry is this goroutine's as long as the flag is set.
    Executor::shard_of(header)
        .registry
        .get(header.registry_key(), || header.flags().is_registered())
}

/// The late remotes of goroutines that have not parked.
pub(super) static REMOTES: LazyLock<Remotes> = LazyLock::new(Remotes::new);

/// Finds what the late remotes of a goroutine share.
///
/// A goroutine has an entry from its first late remote on, until it parks or is gone. An entry
/// never outlives the goroutine's memory, to which it leads. Proof: as long as the goroutine has a
/// handle, that keeps the memory. When the handle goes, it removes the entry if the goroutine has
/// [ended](Header::set_ended); otherwise the goroutine does so, before it lets the memory go. One
/// of them does: the goroutine stores that it has ended, and then loads whether it has a remote;
/// the handle, of which the remote was made, loads whether the goroutine has ended after that; with
/// a half of the asymmetric fence each in between.
pub(super) struct Remotes(Mutex<BTreeMap<usize, Late>>);

/// A late remote, and what all of one goroutine share.
#[derive(Clone)]
pub(crate) struct Late(Arc<Mutex<Way>>);

/// The way to a goroutine.
enum Way {
    /// It has an entry, so its memory is there while this is locked.
    Unparked(NonNull<Header>),
    /// The waker with which it first parked, and which its header was located by.
    Parked(Waker),
    Ended,
}

// SAFETY: a header is for any thread.
unsafe impl Send for Way {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remotes {
    fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// A remote of a goroutine, whose handle the caller has. `waker` is asked if it has parked.
    fn late(&self, header: &Header, waker: impl FnOnce() -> Option<Waker>) -> Late {
        let mut entries = lock(&self.0);
        if header.set_has_remote().is_registered() {
            // Looked for under the lock, so that all know the goroutine as parked once it has met
            // one of them.
            return Late::new(waker().map_or(Way::Ended, Way::Parked));
        }
        if header.has_ended() {
            return Late::new(Way::Ended);
        }
        let new = || Late::new(Way::Unparked(NonNull::from(header)));
        entries.entry(key(header)).or_insert_with(new).clone()
    }

    /// The goroutine, which has a remote, has parked for the first time: it is registered.
    #[cold]
    pub(super) fn parked(&self, header: &Header, waker: &Waker) {
        self.remove(header, Way::Parked(waker.clone()));
    }

    /// The flags of a goroutine that has ended: if it has a remote and has not parked,
    /// [`ended`](Self::ended) is called.
    #[inline(always)]
    pub(super) fn flags_at_end(header: &Header) -> Flags {
        // Pairs with the fence of `detached`.
        light_fence();
        header.flags()
    }

    /// The goroutine, which has a remote, has ended without having parked.
    #[cold]
    pub(super) fn ended(&self, header: &Header) {
        self.remove(header, Way::Ended);
    }

    /// The handle of a goroutine that has a remote is about to go.
    pub(super) fn detached(&self, header: &Header) {
        if !lock(&self.0).contains_key(&key(header)) {
            return;
        }
        if !header.has_ended() {
            // Pairs with the fence of `flags_at_end`.
            heavy_fence_or_sleep();
        }
        if header.has_ended() {
            self.remove(header, Way::Ended);
        }
    }

    fn remove(&self, header: &Header, now: Way) {
        let removed = lock(&self.0).remove(&key(header));
        if let Some(late) = removed {
            *lock(&late.0) = now;
        }
    }
}

fn key(header: &Header) -> usize {
    std::ptr::from_ref(header).addr()
}

impl Late {
    fn new(way: Way) -> Self {
        Self(Arc::new(Mutex::new(way)))
    }

    /// Calls `f` with the goroutine, if it has not ended. Under the lock of the remotes, unless it
    /// has parked.
    fn with<R>(&self, f: impl FnOnce(&Header) -> R) -> Option<R> {
        let way = lock(&self.0);
        let waker = match &*way {
            // SAFETY: the memory is there, see `Way`.
            Way::Unparked(header) => return Some(f(unsafe { header.as_ref() })),
            Way::Parked(waker) => waker.clone(),
            Way::Ended => return None,
        };
        drop(way);
        // SAFETY: the header was located by this waker.
        Some(f(unsafe { Header::of_waker(&waker) }))
    }
}

#[cfg(all(test, gopark_loom))]
mod models;
