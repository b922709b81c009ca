//! Models of late remotes: an abort races with the goroutine's first park, and with its end.

use std::panic::Location;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

use loom::thread;

use super::{Late, Remotes, Way, lock};
use crate::header::{Header, OwnWaker};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::models::explore;

/// A goroutine. Loom tracks accesses to `memory`, which stands for its allocation.
struct Modelled {
    remotes: Remotes,
    header: Header,
    memory: UnsafeCell<bool>,
    /// The references of the goroutine, of its handle, and of its wakers.
    references: AtomicUsize,
}

// SAFETY: this is what the models check.
unsafe impl Sync for Modelled {}
// SAFETY: as above.
unsafe impl Send for Modelled {}

/// The table of a waker like those of `async_task`: a counted reference, from which the header is
/// found.
const VTABLE: RawWakerVTable = {
    unsafe fn modelled<'a>(data: *const ()) -> &'a Modelled {
        // SAFETY: the model keeps the goroutine until its own end.
        unsafe { &*data.cast() }
    }
    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: as above.
        unsafe { modelled(data) }.references.fetch_add(1, Ordering::Relaxed);
        RawWaker::new(data, &VTABLE)
    }
    unsafe fn leave(data: *const ()) {
        // SAFETY: as above.
        unsafe { modelled(data) }.leave();
    }
    unsafe fn nothing(_: *const ()) {}
    RawWakerVTable::new(clone, leave, nothing, leave)
};

impl Modelled {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            remotes: Remotes::new(),
            header: Header::new(1, 0, 0, Location::caller()),
            memory: UnsafeCell::new(true),
            references: AtomicUsize::new(2),
        })
    }

    fn touch(&self) {
        // SAFETY: checked by loom.
        self.memory.with(|memory| assert!(unsafe { *memory }, "the memory was freed"));
    }

    fn leave(&self) {
        if self.references.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: checked by loom.
            self.memory.with_mut(|memory| unsafe { *memory = false });
        }
    }

    fn waker(&self) -> OwnWaker {
        self.references.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the functions of the table are as the contract says.
        let waker = unsafe { Waker::new(std::ptr::from_ref(self).cast(), &VTABLE) };
        // SAFETY: it stands for the waker of the task.
        unsafe { OwnWaker::new(&self.header, &waker) }
    }

    /// Creates a late remote. Only the handle's owner may call this.
    fn remote(&self) -> Late {
        self.remotes.late(&self.header, || Some(self.waker()))
    }

    /// Aborts the goroutine. Returns true if it has parked, and so would be woken.
    fn abort(&self, remote: &Late) -> bool {
        let mark = |header: &Header| {
            self.touch();
            header.set_aborted().is_registered()
        };
        remote.abort(mark).unwrap_or(false)
    }

    /// Drops the handle.
    fn detach(&self) {
        if self.header.flags().has_remote() {
            self.remotes.detached(&self.header);
        }
        self.leave();
    }

    /// Ends the goroutine, which has not parked.
    fn end(&self) {
        self.header.set_ended();
        if Remotes::flags_at_end(&self.header).has_remote() {
            self.remotes.ended(&self.header);
        }
        self.leave();
    }

    /// Parks the goroutine for the first time. Returns true if it sees that it was aborted.
    fn park(&self) -> bool {
        let before = self.header.set_registered(0);
        if !before.has_remote() {
            return before.is_aborted();
        }
        self.header.clear_has_remote();
        self.remotes.parked(&self.header, self.waker()) || before.is_aborted()
    }

    fn has_entry(&self) -> bool {
        !lock(&self.remotes.0).is_empty()
    }
}

/// Runs the goroutine's side on a new thread, and `handle` on this one. Returns both results.
fn beside<G: Send + 'static, H>(
    goroutine: fn(&Modelled) -> G,
    handle: impl FnOnce(&Modelled) -> H,
) -> (Arc<Modelled>, G, H) {
    let modelled = Modelled::new();
    let other = modelled.clone();
    let thread = thread::spawn(move || goroutine(&other));
    let handle = handle(&modelled);
    (modelled, thread.join().unwrap(), handle)
}

/// A bug: the goroutine checked for an `AbortHandle` just before the first one was made, which then
/// found the goroutine not yet ended. If that handle aborted, its entry was never removed.
#[test]
fn a_late_remote_of_a_goroutine_that_ends_has_no_entry_left() {
    explore(3, || {
        let (goroutine, (), remote) = beside(Modelled::end, |goroutine| {
            let remote = goroutine.remote();
            goroutine.abort(&remote);
            goroutine.detach();
            // The goroutine's memory may or may not be freed now.
            goroutine.abort(&remote);
            remote
        });
        assert!(!goroutine.has_entry());
        assert!(matches!(*lock(&remote.0), Way::Ended));
    });
}

#[test]
fn two_late_remotes_are_made_and_used_while_the_goroutine_ends() {
    explore(2, || {
        let (goroutine, (), ()) = beside(Modelled::end, |goroutine| {
            let (one, two) = (goroutine.remote(), goroutine.remote());
            let keeper = goroutine.waker();
            // SAFETY: the waker keeps the goroutine alive.
            let other: &'static Modelled = unsafe { &*std::ptr::from_ref(goroutine) };
            let aborts = thread::spawn(move || {
                other.abort(&one);
            });
            goroutine.detach();
            drop(keeper);
            goroutine.abort(&two);
            aborts.join().unwrap();
        });
        assert!(!goroutine.has_entry());
    });
}

#[test]
fn an_abort_by_a_late_remote_is_seen_by_the_goroutine_that_parks_or_wakes_it() {
    explore(3, || {
        let (goroutine, seen, woken) = beside(Modelled::park, |goroutine| {
            let remote = goroutine.remote();
            let woken = goroutine.abort(&remote);
            goroutine.detach();
            woken
        });
        assert!(seen || woken, "the goroutine parks although it was aborted");
        assert!(!goroutine.has_entry());
    });
}

#[test]
fn an_abort_after_the_handle_is_gone_reaches_the_goroutine_as_well() {
    explore(3, || {
        let (goroutine, seen, woken) = beside(Modelled::park, |goroutine| {
            let remote = goroutine.remote();
            goroutine.detach();
            goroutine.abort(&remote)
        });
        assert!(seen || woken, "the goroutine parks although it was aborted");
        assert!(!goroutine.has_entry());
    });
}
