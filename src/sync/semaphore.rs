//! A counting semaphore, strictly first come, first served.

// How it works.
//
// | bits | meaning | changed by |
// |---|---|---|
// | `QUEUED` | the queue is not empty | under the queue's lock |
// | the rest | free permits, in units of `PERMIT` | added by anyone; taken by compare-exchange, with `QUEUED` set under the lock only |
//
// Whoever gives permits back while `QUEUED` is set serves the queue from its front, as far as the permits go; nobody
// else takes permits then. `QUEUED` is set by the compare-exchange that finds too few permits, so those who add some
// afterwards see it. A waiter that leaves the front serves those behind it as well (CA-13).

use std::fmt;
use std::future::poll_fn;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::coop::{self, Reason};
use crate::lock::Lock;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::wait::block_on::block_on;
use crate::wait::case::future_case;
use crate::wait::queue::{self, Queue, Stage, Waiter};
use crate::waker::{TaskWaker, WakeList};

const QUEUED: usize = 1;
const PERMIT: usize = 2;

/// A number of permits, to be acquired several at a time and given back.
///
/// Go: `golang.org/x/sync/semaphore.Weighted`.
///
/// # Fairness
///
/// Strictly first come, first served: a small request never overtakes a large one that came before it, and nobody takes
/// a permit past a waiter.
///
/// # When to use something else
///
/// A channel with a buffer of n does for "at most n at a time" where each takes one permit; an
/// [`ErrGroup`](crate::sync::ErrGroup) with a limit where it is about goroutines. For one permit that guards a value, a
/// [`Mutex`](crate::sync::Mutex). `std::sync` has no semaphore.
///
/// # Memory ordering
///
/// Giving permits back synchronizes before the return of an acquire that gets them.
///
/// # Examples
///
/// ```
/// use gopark::sync::Semaphore;
///
/// gopark::block_on(async {
///     let memory = Semaphore::new(10);
///     let big = memory.acquire(7).await;
///     assert!(memory.try_acquire(4).is_none());
///     drop(big);
///     assert!(memory.try_acquire(4).is_some());
/// });
/// ```
#[doc(alias = "Weighted")]
#[doc(alias = "NewWeighted")]
pub struct Semaphore {
    size: usize,
    /// The table is at the top of the file. Acquire where permits are taken, Release where they are added: each pairs
    /// with the other.
    state: AtomicUsize,
    /// How many permits each waits for.
    queue: Lock<Queue<usize>>,
}

impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

impl Semaphore {
    const_fn! {
        /// A semaphore of that many permits, all free.
        ///
        /// # Panics
        ///
        /// If there are more than `usize::MAX / 4`.
        ///
        /// # Examples
        ///
        /// ```
        /// static DISK: gopark::sync::Semaphore = gopark::sync::Semaphore::new(2);
        /// assert_eq!(DISK.available(), 2);
        /// ```
        pub const fn new(permits: usize) -> Self {
            assert!(permits <= usize::MAX / 4, "gopark: too many permits of a Semaphore");
            Semaphore { size: permits, state: AtomicUsize::new(permits * PERMIT), queue: Lock::new(Queue::new()) }
        }
    }

    /// Waits for `n` permits. Go: `Acquire`.
    ///
    /// More than the semaphore has will never be there: the future stays pending, and is in nobody's way.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the place in line. If it had got its permits already, they go back.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let s = gopark::sync::Semaphore::new(3);
    ///     let two = s.acquire(2).await;
    ///     assert_eq!(s.available(), 1);
    ///     drop(two);
    ///     assert_eq!(s.available(), 3);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(&self, n: usize) -> Acquire<'_> {
        self.acquire_at(n, Location::caller(), Reason::Semacquire)
    }

    /// [`acquire`](Self::acquire) on behalf of another operation.
    #[inline]
    pub(super) fn acquire_at(&self, n: usize, site: &'static Location<'static>, reason: Reason) -> Acquire<'_> {
        Acquire { semaphore: self, n, stage: Stage::New, site, reason }
    }

    /// Takes `n` permits if they are free at this instant and nobody waits. Go: `TryAcquire`.
    ///
    /// # Examples
    ///
    /// ```
    /// let s = gopark::sync::Semaphore::new(1);
    /// let permit = s.try_acquire(1).unwrap();
    /// assert!(s.try_acquire(1).is_none());
    /// # drop(permit);
    /// ```
    #[inline]
    #[doc(alias = "TryAcquire")]
    pub fn try_acquire(&self, n: usize) -> Option<Permit<'_>> {
        // Not `then_some`: a permit that is made is a permit that is dropped.
        self.take(n).then(|| Permit { semaphore: self, n })
    }

    /// How many permits are free at this instant. Some may be meant for those who wait.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::Semaphore::new(3).available(), 3);
    /// ```
    pub fn available(&self) -> usize {
        self.state.load(Ordering::Relaxed) / PERMIT
    }

    /// [`acquire`](Self::acquire), blocking the thread.
    pub(super) fn acquire_blocking(&self, n: usize) -> Permit<'_> {
        let mut acquire = pin!(self.acquire(n));
        // Without the budget: a blocked thread cannot yield.
        block_on(poll_fn(|cx| acquire.as_mut().poll_inner(cx)))
    }

    #[inline]
    fn take(&self, n: usize) -> bool {
        let mut s = self.state.load(Ordering::Relaxed);
        while s & QUEUED == 0 && s / PERMIT >= n {
            match self.state.compare_exchange_weak(s, s - n * PERMIT, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    /// Adds permits: those of a dropped [`Permit`], or of one that was forgotten.
    #[inline]
    pub(super) fn release(&self, n: usize) {
        if self.state.fetch_add(n * PERMIT, Ordering::Release) & QUEUED != 0 {
            self.serve();
        }
    }

    /// There are permits for everyone from now on. To be called once.
    pub(super) fn open(&self) {
        self.release(usize::MAX / PERMIT / 4);
    }

    /// Gives permits to the waiters, from the front, as far as they go.
    #[cold]
    fn serve(&self) {
        let mut wakes = WakeList::new();
        loop {
            {
                let mut queue = self.queue.lock();
                while !wakes.is_full() && self.take_for_front(&queue) {
                    queue.grant_front_into(&mut wakes);
                }
            }
            let more = wakes.is_full();
            wakes.wake_all();
            if !more {
                return;
            }
        }
    }

    /// Takes the permits that the one at the front waits for, and with the last waiter `QUEUED`.
    fn take_for_front(&self, queue: &Queue<usize>) -> bool {
        let Some(front) = queue.front() else { return false };
        let rest = if queue.is_only(front) { 0 } else { QUEUED };
        let mut s = self.state.load(Ordering::Relaxed);
        while s / PERMIT >= front.extra {
            let to = ((s & !QUEUED) - front.extra * PERMIT) | rest;
            match self.state.compare_exchange_weak(s, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    #[cold]
    fn poll(&self, n: usize, stage: &mut Stage<usize>, cx: &mut Context<'_>) -> Poll<()> {
        let there = match stage {
            Stage::New if n > self.size => false,
            Stage::New => self.enqueue(n, stage, cx),
            // SAFETY: a waiter that is not granted is linked in the queue.
            Stage::Waiting(waiter) => unsafe {
                queue::look(&self.queue, waiter, cx, |queue| queue, |_, _| waiter.state() == queue::GRANTED)
            },
            Stage::Done => panic!("gopark: future polled after completion"),
        };
        if !there {
            return Poll::Pending;
        }
        *stage = Stage::Done;
        Poll::Ready(())
    }

    fn enqueue(&self, n: usize, stage: &mut Stage<usize>, cx: &mut Context<'_>) -> bool {
        *stage = Stage::Waiting(Waiter::new(TaskWaker::new(cx.waker()), n));
        let Stage::Waiting(waiter) = &*stage else { unreachable!() };
        let mut queue = self.queue.lock();
        loop {
            let s = self.state.load(Ordering::Relaxed);
            if s & QUEUED == 0 && s / PERMIT >= n {
                if self.take(n) {
                    return true;
                }
            } else if s & QUEUED != 0
                || self.state.compare_exchange(s, s | QUEUED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                // SAFETY: new, so not linked; pinned in the future, whose drop takes it off.
                unsafe { queue.push_back(waiter) };
                return false;
            }
        }
    }

    #[cold]
    fn cancel(&self, waiter: &Waiter<usize>) {
        {
            let mut queue = self.queue.lock();
            if waiter.state() == queue::GRANTED {
                drop(queue);
                return self.release(waiter.extra);
            }
            // SAFETY: not granted, seen under the lock, so linked in the queue.
            unsafe { queue.remove(waiter) };
            if queue.is_empty() {
                self.state.fetch_and(!QUEUED, Ordering::Relaxed);
                return;
            }
        }
        // If it was at the front, the permits may do for those behind it.
        self.serve();
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("size", &self.size).field("available", &self.available()).finish()
    }
}

/// Permits of a [`Semaphore`]. Dropping it gives them back. Go: `Release`.
#[must_use = "dropping the permit gives it back at once"]
#[derive(Debug)]
#[doc(alias = "Release")]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    n: usize,
}

impl Permit<'_> {
    /// How many permits these are.
    ///
    /// # Examples
    ///
    /// ```
    /// let s = gopark::sync::Semaphore::new(3);
    /// assert_eq!(s.try_acquire(2).unwrap().count(), 2);
    /// ```
    pub fn count(&self) -> usize {
        self.n
    }

    /// Keeps the permits: somebody else will [`release`](Semaphore::release) them.
    pub(super) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.n);
    }
}

/// The future of [`Semaphore::acquire`].
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    n: usize,
    stage: Stage<usize>,
    site: &'static Location<'static>,
    reason: Reason,
}

impl<'a> Acquire<'a> {
    /// A poll with all its cases, and without asking for the budget.
    #[cold]
    fn poll_inner(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<'a>> {
        // SAFETY: nothing is moved out; a waiting stage stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        if matches!(this.stage, Stage::New) && this.semaphore.take(this.n) {
            this.stage = Stage::Done;
        } else if this.semaphore.poll(this.n, &mut this.stage, cx).is_pending() {
            coop::park_at(this.site, this.reason);
            return Poll::Pending;
        }
        coop::spend();
        Poll::Ready(Permit { semaphore: this.semaphore, n: this.n })
    }
}

future_case!(Acquire<'a>, 'a);

impl<'a> Future for Acquire<'a> {
    type Output = Permit<'a>;
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.stage, Stage::New) {
            if !coop::poll_ready(cx) {
                return Poll::Pending;
            }
            let (semaphore, n) = (self.semaphore, self.n);
            if semaphore.take(n) {
                // SAFETY: nothing is moved out but the stage, which is `New`: there is no waiter that would have to stay.
                unsafe { self.get_unchecked_mut() }.stage.complete_new();
                coop::spend_one();
                return Poll::Ready(Permit { semaphore, n });
            }
        }
        self.poll_inner(cx)
    }
}

impl Drop for Acquire<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Waiting(waiter) = &self.stage {
            self.semaphore.cancel(waiter);
        }
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("n", &self.n).field("stage", &self.stage).finish_non_exhaustive()
    }
}
