//! The only file that clones, wakes and drops the wakers of waiting tasks.
//!
//! A waker runs code of the executor that created it, and that code may panic. Such a panic, which
//! the panic hook has reported, ends here. So no other waiter loses its wake, its value or its
//! lock, and no caller has to clean up.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::coop;
use crate::panics::contain;

/// A clone of a task's waker. None of its operations unwinds.
///
/// Cloning, waking and dropping it may run foreign code, so none of these may happen under a lock.
/// The exception is the running goroutine's own waker, see [`of_current`](Self::of_current).
#[derive(Debug)]
#[must_use = "wake it, or drop it, once every lock is released"]
pub(crate) struct TaskWaker(ManuallyDrop<Waker>);

impl TaskWaker {
    /// Clones `waker`. If the clone panics, the result wakes no task: the operation keeps its place
    /// in the queue, and its next poll finds it complete.
    pub(crate) fn new(waker: &Waker) -> Self {
        if coop::trusts(waker) {
            return Self::of_current(waker);
        }
        let mut clone = None;
        contain(|| clone = Some(waker.clone()));
        clone.map_or_else(Self::noop, Self::from)
    }

    /// Returns a waker that wakes no task.
    pub(crate) fn noop() -> Self {
        Self::from(Waker::noop().clone())
    }

    /// Clones the waker of the running goroutine, for which [`coop::trusts`] returns true. This
    /// runs no foreign code, so a lock may be held.
    #[inline(always)]
    pub(crate) fn of_current(waker: &Waker) -> Self {
        Self::from(waker.clone())
    }

    /// Returns true if both wake the same task.
    #[inline(always)]
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        self.0.will_wake(waker)
    }

    /// Wakes the task.
    #[inline(always)]
    pub(crate) fn wake(self) {
        // The task may see effects of a goroutine that unwinds, from before the wake.
        coop::note_unwinding();
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the waker is moved out only here.
        let waker = unsafe { ManuallyDrop::take(&mut this.0) };
        contain(|| waker.wake());
    }

    /// Returns the data pointer of the waker, for prefetching.
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

/// Polls a future of another crate, and protects it from wakers that panic. (For example, a task of
/// async-task would abort the process.)
///
/// The future gets a waker that shares one [`TaskWaker`] with this proxy, so that later polls by
/// the same task allocate nothing. The running goroutine's own waker is passed on directly.
#[derive(Debug, Default)]
pub(crate) struct Proxy(Option<Arc<TaskWaker>>);

/// For a waker that may be woken many times: a clone is another reference to it. async-task calls
/// it after it has freed the task.
impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        coop::outside(|| {
            wake_shared(&self);
            drop(self);
        });
    }

    fn wake_by_ref(self: &Arc<Self>) {
        coop::outside(|| wake_shared(self));
    }
}

fn wake_shared(waker: &TaskWaker) {
    coop::note_unwinding();
    contain(|| waker.0.wake_by_ref());
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

    /// Returns true if the future may still have a waker of a task other than the running
    /// goroutine.
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

/// A list of wakers that are collected under a lock, and woken once it is released. Dropping the
/// list wakes those that are left.
///
/// The list has room for [`ROOM`](Self::ROOM) wakers. A caller that may have more wakes them in
/// rounds, so that no round holds the lock for long, and none allocates.
#[must_use = "wake the list once the lock is released"]
pub(crate) struct WakeList {
    /// The entries below `len` are initialized.
    wakers: [MaybeUninit<TaskWaker>; WakeList::ROOM],
    len: usize,
}

impl WakeList {
    /// It is 1 under loom, so that a model needs several rounds.
    pub(crate) const ROOM: usize = if cfg!(gopark_loom) { 1 } else { 16 };

    #[inline]
    pub(crate) const fn new() -> Self {
        Self { wakers: [const { MaybeUninit::uninit() }; WakeList::ROOM], len: 0 }
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len == WakeList::ROOM
    }

    /// Returns the number of wakers for which there is room.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn room(&self) -> usize {
        WakeList::ROOM - self.len
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

    /// Wakes all tasks, in the order in which the wakers were added. The list is empty afterwards.
    #[inline]
    pub(crate) fn wake_all(&mut self) {
        let len = std::mem::take(&mut self.len);
        for waker in &mut self.wakers[..len] {
            // SAFETY: the entry was below `len`, so it is initialized; `len` is zero now, so it is
            // not read again.
            unsafe { waker.assume_init_read() }.wake();
        }
    }
}

impl Drop for WakeList {
    fn drop(&mut self) {
        self.wake_all();
    }
}
