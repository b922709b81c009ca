//! The one place where the wakers of waiting tasks are cloned, woken and dropped.
//!
//! A waker runs the code of whichever executor made it, and that code may panic. The panic hook has
//! reported the panic by then; it ends here. So it costs no other waiter its wake, its value or its
//! lock, and no caller has to clean up.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::coop;
use crate::panics::contain;

/// A clone of a task's waker. None of its operations unwinds.
///
/// Cloning, waking and dropping it may run foreign code: never under a lock. The exception is the
/// running goroutine's own waker, see [`of_current`](Self::of_current).
#[derive(Debug)]
#[must_use = "wake it, or drop it, once every lock is released"]
pub(crate) struct TaskWaker(ManuallyDrop<Waker>);

impl TaskWaker {
    /// Clones `waker`. If that panics, the result wakes nothing: the operation keeps its place in
    /// the queue, and is found complete at its next poll.
    pub(crate) fn new(waker: &Waker) -> Self {
        if coop::trusts(waker) {
            return Self::of_current(waker);
        }
        let mut clone = None;
        contain(|| clone = Some(waker.clone()));
        clone.map_or_else(Self::noop, Self::from)
    }

    /// Wakes nobody.
    pub(crate) fn noop() -> Self {
        Self::from(Waker::noop().clone())
    }

    /// Clones the waker of the running goroutine, for which [`coop::trusts`] holds: it runs no
    /// foreign code, so a lock may be held.
    #[inline(always)]
    pub(crate) fn of_current(waker: &Waker) -> Self {
        Self::from(waker.clone())
    }

    /// True if both wake the same task.
    #[inline(always)]
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        self.0.will_wake(waker)
    }

    /// Wakes the task.
    #[inline(always)]
    pub(crate) fn wake(self) {
        // The task may see what a goroutine that unwinds did before it woke the task.
        coop::note_unwinding();
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the waker is moved out once.
        let waker = unsafe { ManuallyDrop::take(&mut this.0) };
        contain(|| waker.wake());
    }

    /// The data of the waker, to be fetched into the cache.
    pub(crate) fn data(&self) -> *const () {
        self.0.data()
    }
}

impl From<Waker> for TaskWaker {
    #[inline(always)]
    fn from(waker: Waker) -> Self {
        Self(ManuallyDrop::new(waker))
    }
}

impl<W: Wake + Send + Sync + 'static> From<Arc<W>> for TaskWaker {
    fn from(wake: Arc<W>) -> Self {
        Self::from(Waker::from(wake))
    }
}

impl Drop for TaskWaker {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: dropped once, here.
        contain(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

/// Polls a future of another crate, to which no waker's panic may come: async-task, for one, aborts
/// the process.
///
/// The future gets a waker that shares one [`TaskWaker`] with this, so that later polls by the same
/// task allocate nothing. The running goroutine's own waker needs none of this.
#[derive(Debug, Default)]
pub(crate) struct Proxy(Option<Arc<TaskWaker>>);

/// For a waker that may be woken many times: a clone of it is one more reference.
impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        Wake::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        coop::note_unwinding();
        contain(|| self.0.wake_by_ref());
    }
}

impl Proxy {
    /// Polls `future` on behalf of the task of `cx`.
    #[inline]
    pub(crate) fn poll<F: Future>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        if coop::trusts(cx.waker()) || coop::is_last(cx.waker()) {
            let polled = future.poll(cx);
            if polled.is_ready() {
                // A complete future has no waker, and must not be polled to deregister one.
                self.0 = None;
            }
            return polled;
        }
        self.poll_foreign(future, cx.waker())
    }

    /// True if the future may still have a waker of a task that is not the running goroutine.
    #[inline]
    pub(crate) fn is_registered(&self) -> bool {
        self.0.is_some()
    }

    #[cold]
    fn poll_foreign<F: Future>(&mut self, future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
        let shared = match self.0.take() {
            Some(shared) if shared.will_wake(waker) => shared,
            _ => Arc::new(TaskWaker::new(waker)),
        };
        let proxy = Waker::from(shared.clone());
        let polled = future.poll(&mut Context::from_waker(&proxy));
        if polled.is_pending() {
            self.0 = Some(shared);
        }
        polled
    }
}

/// Wakers collected under a lock, to be woken once it is released. Dropping the list wakes what is
/// left in it.
///
/// The list has room for [`ROOM`](Self::ROOM) wakers. A caller that may have more wakes them in
/// rounds, so that no round holds the lock for long and none allocates.
#[must_use = "wake the list once the lock is released"]
pub(crate) struct WakeList {
    /// Those below `len` are initialized.
    wakers: [MaybeUninit<TaskWaker>; WakeList::ROOM],
    len: usize,
}

impl WakeList {
    /// One under loom, so that a model goes through several rounds.
    pub(crate) const ROOM: usize = if cfg!(gopark_loom) { 1 } else { 16 };

    #[inline]
    pub(crate) const fn new() -> Self {
        Self { wakers: [const { MaybeUninit::uninit() }; WakeList::ROOM], len: 0 }
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len == WakeList::ROOM
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a waker, if there is one.
    ///
    /// # Panics
    ///
    /// If the list is full.
    #[inline]
    pub(crate) fn push(&mut self, waker: Option<TaskWaker>) {
        if let Some(waker) = waker {
            self.wakers[self.len].write(waker);
            self.len += 1;
        }
    }

    /// Wakes all, in the order in which they were added. The list is empty afterwards.
    #[inline]
    pub(crate) fn wake_all(&mut self) {
        let len = std::mem::take(&mut self.len);
        for waker in &mut self.wakers[..len] {
            // SAFETY: initialized, for it was below `len`, which is zero now: nothing reads it
            // again.
            unsafe { waker.assume_init_read() }.wake();
        }
    }
}

impl Drop for WakeList {
    fn drop(&mut self) {
        self.wake_all();
    }
}
