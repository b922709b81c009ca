//! Tasks of a foreign executor, whose wakers may panic. It uses no other module, because `fuzz/`
//! compiles it as well.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// The operations in which a waker panics. It has done its work by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Wake,
    WakeByRef,
    Clone,
    Drop,
}

pub(crate) const FAULTS: [Fault; 4] = [Fault::Wake, Fault::WakeByRef, Fault::Clone, Fault::Drop];

/// The payload of the panics. Dropping it panics too.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("the payload of a waker's panic was dropped");
    }
}

thread_local! {
    /// The action of wakers besides their work, on this thread: they use the object that their
    /// operation waits for. If the library called them with a lock held, they would wait for that
    /// lock.
    pub(crate) static USE: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

struct Counts {
    fault: Option<Fault>,
    wakes: AtomicUsize,
}

impl Counts {
    fn panic_in(&self, place: Fault) {
        // Not while it runs already: what it polls has wakers as well.
        if let Some(object) = USE.take() {
            object();
            USE.set(Some(object));
        }
        if self.fault == Some(place) {
            // Without the hook, which would print thousands of messages.
            resume_unwind(Box::new(Payload));
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// # Safety
///
/// For all four functions: `data` is `Arc::as_ptr` of a `Counts`, of which the waker owns a count.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker's count keeps it alive.
    unsafe { &*data.cast::<Counts>() }.panic_in(Fault::Clone);
    // SAFETY: the new waker's count.
    unsafe { Arc::increment_strong_count(data.cast::<Counts>()) };
    RawWaker::new(data, &VTABLE)
}

/// # Safety
///
/// As `clone`; this gives the count up.
unsafe fn wake(data: *const ()) {
    // SAFETY: the waker's count.
    let counts = unsafe { Arc::from_raw(data.cast::<Counts>()) };
    counts.wakes.fetch_add(1, Ordering::SeqCst);
    counts.panic_in(Fault::Wake);
}

/// # Safety
///
/// As `clone`.
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker's count keeps it alive.
    let counts = unsafe { &*data.cast::<Counts>() };
    counts.wakes.fetch_add(1, Ordering::SeqCst);
    counts.panic_in(Fault::WakeByRef);
}

/// # Safety
///
/// As `wake`.
unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the waker's count.
    let counts = unsafe { Arc::from_raw(data.cast::<Counts>()) };
    counts.panic_in(Fault::Drop);
}

/// A task, known by its waker and the number of its wakes.
pub(crate) struct Task {
    counts: Arc<Counts>,
    /// Borrows from `counts`.
    waker: ManuallyDrop<Waker>,
}

impl Task {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        let counts = Arc::new(Counts { fault, wakes: AtomicUsize::new(0) });
        // SAFETY: the functions obey the contract of a waker. This one is never dropped, and does
        // not outlive `counts`.
        let waker = unsafe { Waker::from_raw(RawWaker::new(Arc::as_ptr(&counts).cast(), &VTABLE)) };
        Task { counts, waker: ManuallyDrop::new(waker) }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(crate) fn poll<F: Future + ?Sized>(&self, op: &mut Pin<Box<F>>) -> Poll<F::Output> {
        op.as_mut().poll(&mut Context::from_waker(&self.waker))
    }

    pub(crate) fn wakes(&self) -> usize {
        self.counts.wakes.load(Ordering::SeqCst)
    }

    /// The number of wakes for one completion, and of wakers that a waiting operation keeps. A
    /// clone that panicked has returned no waker to wake.
    pub(crate) fn expected(&self) -> usize {
        usize::from(self.counts.fault != Some(Fault::Clone))
    }

    /// Wakers of this task that have not been dropped.
    pub(crate) fn wakers(&self) -> usize {
        Arc::strong_count(&self.counts) - 1
    }
}
