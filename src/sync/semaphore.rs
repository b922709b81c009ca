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
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::task::Context;

use crate::context::{self, ContextError};
use crate::coop::{Object, Reason};
use crate::lock::Lock;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquisition, Request, Resource, acquisition};
use crate::wait::queue::{self, Queue, Waiter};
use crate::waker::WakeList;

const QUEUED: usize = 1;
const PERMIT: usize = 2;

/// As many again may be added.
pub(super) const MAX_PERMITS: usize = usize::MAX / 4;

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
    object: Object,
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
            assert!(permits <= MAX_PERMITS, "gopark: too many permits of a Semaphore");
            let (state, queue) = (AtomicUsize::new(permits * PERMIT), Lock::new(Queue::new()));
            Semaphore { size: permits, state, queue, object: Object::new() }
        }
    }

    /// Waits for `n` permits. Go: `Acquire`.
    ///
    /// More than the semaphore has will never be there: the future stays pending, and holds up no other. With a context, see
    /// [`Context::acquire`](crate::context::Context::acquire).
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the place in line. If it had got its permits already, they go back. One that has got them and
    /// is neither polled nor dropped has them.
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
        self.acquire_at(n, Location::caller(), Reason::Semaphore)
    }

    /// [`acquire`](Self::acquire) on behalf of another operation.
    #[inline]
    pub(super) fn acquire_at(&self, n: usize, site: &'static Location<'static>, reason: Reason) -> Acquire<'_> {
        Acquire(Acquisition::new(Permits { semaphore: self, n, reason }, site))
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

    /// How many permits are held, at least.
    pub(super) fn held(&self) -> usize {
        self.size.saturating_sub(self.available())
    }

    /// [`acquire`](Self::acquire), blocking the thread.
    pub(super) fn acquire_blocking(&self, n: usize) -> Permit<'_> {
        self.acquire(n).0.block()
    }

    #[inline]
    fn take(&self, n: usize) -> bool {
        let take = |s| (s & QUEUED == 0 && s / PERMIT >= n).then(|| s - n * PERMIT);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
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
        let take = |s| (s / PERMIT >= front.extra).then(|| ((s & !QUEUED) - front.extra * PERMIT) | rest);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
    }
}

/// Here because contexts know nothing of locks.
impl context::Context {
    /// Waits for `n` permits until the context has ended. Go: `sem.Acquire(ctx, n)`.
    ///
    /// A context that has ended wins, whatever is free: over permits that are there, and over those that were granted between its
    /// end and the next poll, which go to the next in line. With [`run`](Self::run) those would be kept.
    ///
    /// # Errors
    ///
    /// [`ContextError`], if the context has ended. No permit has been taken then.
    ///
    /// # Cancellation
    ///
    /// As of [`Semaphore::acquire`]: dropping the future gives up the place in line, and permits that it had got go back.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::{Context, ContextError};
    /// use gopark::sync::Semaphore;
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let disk = Semaphore::new(1);
    ///     drop(ctx.acquire(&disk, 1).await.unwrap());
    ///     cancel.cancel();
    ///     assert_eq!(ctx.acquire(&disk, 1).await.unwrap_err(), ContextError::Canceled);
    ///     assert_eq!(disk.available(), 1);
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "Acquire")]
    pub fn acquire<'a>(
        &'a self,
        semaphore: &'a Semaphore,
        n: usize,
    ) -> impl Future<Output = Result<Permit<'a>, ContextError>> + use<'a> {
        let acquired = self.run(semaphore.acquire(n));
        async move {
            let permit = acquired.await?;
            self.err().map_or(Ok(permit), Err)
        }
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
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.n);
    }
}

acquisition! {
    /// The future of [`Semaphore::acquire`].
    Acquire<'a>(Permits<'a>, usize) -> Permit<'a>
}

/// Permits to be acquired.
#[derive(Clone, Copy)]
struct Permits<'a> {
    semaphore: &'a Semaphore,
    n: usize,
    reason: Reason,
}

impl<'a> Request<usize> for Permits<'a> {
    type Resource = Self;
    type Output = Permit<'a>;

    fn resource(&self) -> Option<&Self> {
        (self.n <= self.semaphore.size).then_some(self)
    }

    fn reason(&self) -> Reason {
        self.reason
    }

    #[inline]
    fn output(&self) -> Permit<'a> {
        Permit { semaphore: self.semaphore, n: self.n }
    }
}

impl Resource<usize> for Permits<'_> {
    #[inline]
    fn try_acquire(&self) -> bool {
        self.semaphore.take(self.n)
    }

    fn extra(&self) -> usize {
        self.n
    }

    fn object(&self) -> &Object {
        &self.semaphore.object
    }

    // Safety, of this and the next two: as the trait says.
    unsafe fn enqueue(&self, waiter: &Waiter<usize>) -> bool {
        let (semaphore, n) = (self.semaphore, self.n);
        let mut queue = semaphore.queue.lock();
        while !semaphore.take(n) {
            let s = semaphore.state.load(Ordering::Relaxed);
            if s & QUEUED != 0
                || s / PERMIT < n
                    && semaphore.state.compare_exchange(s, s | QUEUED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                // SAFETY: passed on to the caller.
                unsafe { queue.push_back(waiter) };
                return false;
            }
        }
        true
    }

    unsafe fn look(&self, waiter: &Waiter<usize>, cx: &mut Context<'_>) -> bool {
        let granted = |_: &mut _, _| waiter.state() == queue::GRANTED;
        // SAFETY: a waiter that is not granted is linked in the queue.
        unsafe { queue::look(&self.semaphore.queue, waiter, cx, granted) }
    }

    #[cold]
    unsafe fn cancel(&self, waiter: &Waiter<usize>) {
        let semaphore = self.semaphore;
        {
            let mut queue = semaphore.queue.lock();
            if waiter.state() == queue::GRANTED {
                drop(queue);
                return semaphore.release(waiter.extra);
            }
            // SAFETY: not granted, seen under the lock, so linked in the queue.
            unsafe { queue.remove(waiter) };
            if queue.is_empty() {
                semaphore.state.fetch_and(!QUEUED, Ordering::Relaxed);
                return;
            }
        }
        // If it was at the front, the permits may do for those behind it.
        semaphore.serve();
    }
}
