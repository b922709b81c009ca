//! The goroutine that a worker polls, and how another thread looks at it.
//!
//! The goroutine's memory may be freed at the end of the poll. So a thread that looks at it says so
//! before, with a fence in every thread, and a worker that is about to free a goroutine waits until
//! no thread looks. The worker pays a store and a load for each goroutine that ends.
//!
//! A goroutine that parks may be polled to its end, and freed, by another worker before this one
//! has left the poll. So it is taken out before the other worker can have it.

use std::ptr;

use crate::header::Header;
use crate::loom::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::loom::{self, const_fn};
use crate::platform;

/// | word | meaning | written by |
/// |---|---|---|
/// | `header` | the goroutine that the thread polls or drops, or null; its lowest bit is set once the goroutine may be freed | owner |
/// | `inspected` | another thread looks at the goroutine | that thread; one at a time, under the scheduler's lock |
///
/// Proof. [`release`](Self::release) stores the bit and then loads `inspected`,
/// [`inspect`](Self::inspect) stores the `inspected` of all workers and then loads each `header`,
/// each with its half of the asymmetric fence in between. So either the bit is seen, and the
/// goroutine left alone; or the worker sees `inspected`, and waits. With the bit all is seen that
/// happened before the release: also the null of each worker that polled the goroutine before,
/// which called [`end`](Self::end) before it let the goroutine go.
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

    /// The goroutine, even if it may be freed. Null if there is none.
    #[inline(always)]
    pub(crate) fn get(&self) -> *const Header {
        self.header.load(Ordering::Relaxed).map_addr(|address| address & !RELEASED)
    }

    /// The thread begins to poll or to drop a goroutine; null if it has done so. Returns what was
    /// before, for [`restore`](Self::restore).
    #[inline(always)]
    pub(crate) fn begin(&self, header: *const Header) {
        // Release: a thread that sees the goroutine sees its header.
        self.header.store(header.cast_mut(), Ordering::Release);
    }

    /// As [`begin`](Self::begin), within the poll of another goroutine. Returns that one.
    pub(crate) fn begin_nested(&self, header: *const Header) -> Outer {
        let outer = Outer(self.header.load(Ordering::Relaxed));
        self.begin(header);
        outer
    }

    /// The nested poll is over.
    pub(crate) fn end_nested(&self, outer: Outer) {
        self.header.store(outer.0, Ordering::Release);
    }

    /// The goroutine is about to park, or has ended. A store that is not ordered: what hands the
    /// goroutine on does that.
    #[inline(always)]
    pub(crate) fn end(&self) {
        self.header.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// The goroutine's future has been dropped: from here on its memory may be freed.
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

    /// The process was forked from the one in which somebody may have looked.
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

    /// Calls `f` with the goroutine of each of `all`, unless it may be freed. `f` blocks nothing
    /// and frees nothing.
    ///
    /// To be called under the scheduler's lock.
    pub(crate) fn inspect<'a>(
        all: impl Iterator<Item = &'a Self> + Clone,
        mut f: impl FnMut(&Header),
    ) {
        all.clone().for_each(|one| one.inspected.store(true, Ordering::Relaxed));
        if platform::heavy_fence() {
            for one in all.clone() {
                let header = one.header.load(Ordering::Acquire);
                if header.addr() & RELEASED == 0 {
                    // SAFETY: null, or a goroutine that is freed only after `release`, which waits,
                    // see above.
                    unsafe { header.as_ref() }.into_iter().for_each(&mut f);
                }
            }
        }
        all.for_each(|one| one.inspected.store(false, Ordering::Release));
    }
}

/// The goroutine in whose poll another one is polled or dropped.
pub(crate) struct Outer(*mut Header);
