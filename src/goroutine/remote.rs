//! Remotes, which abort a goroutine without its handle.

use std::collections::BTreeMap;
use std::mem::replace;
use std::sync::{Arc, LazyLock, PoisonError};

use crate::executor::Executor;
use crate::header::{Flags, Header, OwnWaker, Task};
use crate::loom::sync::{Mutex, MutexGuard};
use crate::platform::{heavy_fence_or_sleep, light_fence};

/// A reference to a goroutine that does not depend on its handle.
#[derive(Clone)]
pub(crate) enum Remote {
    /// The goroutine's waker, created together with the goroutine.
    Direct(OwnWaker),
    /// A remote that was created later. It keeps the goroutine's memory alive only by a waker,
    /// which it has once the goroutine has parked. So goroutines without a remote pay nothing.
    Late(Late),
}

impl Remote {
    /// Creates a remote of a goroutine that is about to be enqueued for the first time.
    pub(crate) fn direct(task: &Task) -> Self {
        Self::Direct(OwnWaker::of_task(task))
    }

    /// Creates a remote of a goroutine whose handle the caller has.
    pub(crate) fn late(header: &Header) -> Self {
        Self::Late(REMOTES.late(header, || registered_waker(header)))
    }

    /// Aborts the goroutine, as the function [`abort`] does.
    pub(crate) fn abort(&self) {
        let waker = match self {
            Self::Direct(waker) => mark_aborted(waker.header()),
            Self::Late(late) => late.abort(mark_aborted).flatten(),
        };
        waker.into_iter().for_each(OwnWaker::wake);
    }
}

/// Aborts a goroutine: its future is dropped on a worker, at its next suspension.
pub(crate) fn abort(header: &Header) {
    mark_aborted(header).into_iter().for_each(OwnWaker::wake);
}

/// Marks a goroutine as aborted. Returns its waker, if it has parked.
fn mark_aborted(header: &Header) -> Option<OwnWaker> {
    if header.set_aborted().is_registered() { registered_waker(header) } else { None }
}

/// Returns the waker of a goroutine that has parked, unless it has ended.
fn registered_waker(header: &Header) -> Option<OwnWaker> {
    // The flag is read under the registry's lock: as long as it is set, the entry belongs to this
    // goroutine.
    Executor::shard_of(header)
        .registry
        .get(header.registry_key(), || header.flags().is_registered())
}

/// The late remotes of goroutines that have not parked.
pub(super) static REMOTES: LazyLock<Remotes> = LazyLock::new(Remotes::new);

/// Maps goroutines that have not parked to the state that their late remotes share.
///
/// A goroutine has an entry from its first late remote until it parks or ends. An entry never
/// outlives the goroutine's memory, whose address is its key. Proof: as long as the goroutine has a
/// handle, the handle keeps the memory alive. When the handle is dropped, it removes the entry if
/// the goroutine has [ended](Header::set_ended). Otherwise the goroutine removes it, before it
/// releases the memory. One of them does so: the goroutine stores that it has ended, and then loads
/// whether it has a remote; the handle's thread stores that it has a remote, and then loads whether
/// it has ended; each with a half of the asymmetric fence in between.
pub(super) struct Remotes(Mutex<BTreeMap<usize, Late>>);

/// A late remote: the state that all late remotes of one goroutine share.
#[derive(Clone)]
pub(crate) struct Late(Arc<Mutex<Way>>);

/// How a late remote refers to its goroutine.
enum Way {
    /// It has an entry in [`Remotes`]. The goroutine looks there whether it was aborted: when its
    /// first poll begins, and when it parks.
    Unparked {
        is_aborted: bool,
    },
    /// It has parked.
    Parked(OwnWaker),
    Ended,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remotes {
    fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Creates a late remote of a goroutine whose handle the caller has. Calls
    /// `registered` for its waker if the goroutine has parked.
    fn late(&self, header: &Header, registered: impl FnOnce() -> Option<OwnWaker>) -> Late {
        let mut entries = lock(&self.0);
        if header.set_has_remote().is_registered() {
            header.clear_has_remote();
            // The flag is read under the lock. So once one remote has found the goroutine parked,
            // all later ones do.
            return Late::new(registered().map_or(Way::Ended, Way::Parked));
        }
        if header.has_ended() {
            return Late::new(Way::Ended);
        }
        let new = || Late::new(Way::Unparked { is_aborted: false });
        entries.entry(key(header)).or_insert_with(new).clone()
    }

    /// Returns true if a late remote has aborted the goroutine, which has not parked.
    pub(super) fn is_aborted(&self, header: &Header) -> bool {
        let late = lock(&self.0).get(&key(header)).cloned();
        late.is_some_and(|late| late.is_aborted())
    }

    /// Updates the remotes of a goroutine that has parked for the first time, and is registered.
    /// Returns true if one of them has aborted it.
    #[cold]
    pub(super) fn parked(&self, header: &Header, waker: OwnWaker) -> bool {
        self.remove(header, Way::Parked(waker))
    }

    /// Returns the flags of a goroutine that has ended. If it has a remote and has not parked, the
    /// caller must call [`ended`](Self::ended).
    #[inline(always)]
    pub(super) fn flags_at_end(header: &Header) -> Flags {
        // Pairs with the fence of `detached`.
        light_fence();
        header.flags()
    }

    /// Updates the remotes of a goroutine that has ended without having parked.
    #[cold]
    pub(super) fn ended(&self, header: &Header) {
        self.remove(header, Way::Ended);
    }

    /// Called before the handle of a goroutine that has a remote is dropped.
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

    /// Returns true if a remote has aborted the goroutine.
    fn remove(&self, header: &Header, now: Way) -> bool {
        let removed = lock(&self.0).remove(&key(header));
        let before = removed.map(|late| replace(&mut *lock(&late.0), now));
        matches!(before, Some(Way::Unparked { is_aborted: true }))
    }
}

fn key(header: &Header) -> usize {
    std::ptr::from_ref(header).addr()
}

impl Late {
    fn new(way: Way) -> Self {
        Self(Arc::new(Mutex::new(way)))
    }

    fn is_aborted(&self) -> bool {
        matches!(*lock(&self.0), Way::Unparked { is_aborted: true })
    }

    /// Aborts the goroutine if it has not ended. If it has parked, calls `mark` with it.
    fn abort<R>(&self, mark: impl FnOnce(&Header) -> R) -> Option<R> {
        let mut way = lock(&self.0);
        let waker = match &mut *way {
            Way::Unparked { is_aborted } => {
                *is_aborted = true;
                return None;
            }
            Way::Parked(waker) => waker.clone(),
            Way::Ended => return None,
        };
        drop(way);
        Some(mark(waker.header()))
    }
}

#[cfg(all(test, gopark_loom))]
mod models;
