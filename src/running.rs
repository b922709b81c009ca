//! The goroutine that a worker polls, and how another thread inspects it.
//!
//! The goroutine's memory may be freed at the end of the poll. So a thread sets a flag before it
//! inspects goroutines, with a fence in every thread, and a worker that is about to free a
//! goroutine waits while the flag is set. This costs the worker a store and a load for each
//! goroutine that ends.
//!
//! If a goroutine parks, another worker may poll it to its end, and free it, before this one has
//! left the poll. So this worker forgets it before another worker can dequeue it.

use std::ptr;

use crate::header::Header;
use crate::loom::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::loom::{self, const_fn};
use crate::platform;

/// The running goroutine of one thread, the owner, in two words.
///
/// * `header`: the goroutine that the thread polls or drops, or null. Its lowest bit is set once
///   the goroutine may be freed. Written by the owner.
/// * `inspected`: another thread inspects the goroutine. Written by that thread, under the
///   scheduler's lock.
///
/// Proof. [`release`](Self::release) stores the bit and then loads `inspected`,
/// [`inspect`](Self::inspect) stores the `inspected` of all workers and then loads each `header`,
/// each with its half of the asymmetric fence in between. So either the inspecting thread sees the
/// bit, and does not access the goroutine; or the worker sees `inspected`, and waits. A thread that
/// sees the bit sees all that happened before the release. This includes the null of each worker
/// that polled the goroutine earlier, because that worker called [`end`](Self::end) before it gave
/// the goroutine up.
#[derive(Debug)]
pub(crate) struct Running {
    header: AtomicPtr<Header>,
    inspected: AtomicBool,
}

const RELEASED: usize = 1;
const _: () = assert!(align_of::<Header>() > RELEASED);

impl Running {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Self { header: AtomicPtr::new(ptr::null_mut()), inspected: AtomicBool::new(false) }
        }
    }

    /// Returns the goroutine, even if it may be freed. Null if there is none.
    #[inline(always)]
    pub(crate) fn get(&self) -> *const Header {
        self.header.load(Ordering::Relaxed).map_addr(|address| address & !RELEASED)
    }

    /// Returns true if there is a goroutine that may be freed.
    pub(crate) fn is_released(&self) -> bool {
        self.header.load(Ordering::Relaxed).addr() & RELEASED != 0
    }

    /// Records that the thread begins to poll or to drop a goroutine; or, with null, that it has
    /// done so.
    #[inline(always)]
    pub(crate) fn begin(&self, header: *const Header) {
        // Release: a thread that sees the goroutine sees its header.
        self.header.store(header.cast_mut(), Ordering::Release);
    }

    /// As [`begin`](Self::begin), within the poll of another goroutine. Returns that one, for
    /// [`end_nested`](Self::end_nested).
    pub(crate) fn begin_nested(&self, header: *const Header) -> Outer {
        let outer = Outer(self.header.load(Ordering::Relaxed));
        self.begin(header);
        outer
    }

    /// Ends the nested poll, and restores the outer goroutine.
    pub(crate) fn end_nested(&self, outer: Outer) {
        self.header.store(outer.0, Ordering::Release);
    }

    /// Records that the goroutine is about to park, or has ended. The store needs no order, because
    /// the operation that passes the goroutine on has one.
    #[inline(always)]
    pub(crate) fn end(&self) {
        self.header.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Records that the goroutine's future has been dropped: from now on its memory may be freed.
    #[inline(always)]
    pub(crate) fn release(&self) {
        let released = self.header.load(Ordering::Relaxed).map_addr(|address| address | RELEASED);
        self.header.store(released, Ordering::Relaxed);
        // Pairs with the heavy fence of `inspect`.
        platform::light_fence();
        if self.inspected.load(Ordering::Acquire) {
            self.wait();
        }
    }

    /// Clears the flag in a forked process: only a thread of the parent may have been inspecting.
    pub(crate) fn forget_look(&self) {
        self.inspected.store(false, Ordering::Relaxed);
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) {
        let mut round = 0;
        while self.inspected.load(Ordering::Acquire) {
            loom::relax(round);
            round += 1;
        }
    }

    /// Calls `f` with the goroutine of each of `all`, unless it may be freed. `f` must not block,
    /// and must not free anything.
    ///
    /// Must be called under the scheduler's lock.
    pub(crate) fn inspect<'a>(
        all: impl Iterator<Item = &'a Self> + Clone,
        mut f: impl FnMut(&Header),
    ) {
        all.clone().for_each(|one| one.inspected.store(true, Ordering::Relaxed));
        if platform::heavy_fence() {
            for one in all.clone() {
                let header = one.header.load(Ordering::Acquire);
                if header.addr() & RELEASED == 0 {
                    // SAFETY: it is null, or a goroutine that is freed only after `release`, which
                    // waits, see above.
                    unsafe { header.as_ref() }.into_iter().for_each(&mut f);
                }
            }
        }
        all.for_each(|one| one.inspected.store(false, Ordering::Release));
    }
}

/// The goroutine in whose poll another goroutine is polled or dropped.
pub(crate) struct Outer(*mut Header);
