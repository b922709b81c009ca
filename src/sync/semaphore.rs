//! A counting semaphore, strictly first come, first served.

// How it works.
//
// | bits | meaning | changed by |
// |---|---|---|
// | `QUEUED` | the queue is not empty | under the queue's lock |
// | the rest | free permits, in units of `PERMIT` | added by anyone; taken by compare-exchange, with `QUEUED` set under the lock only |
//
// Whoever gives permits back while `QUEUED` is set serves the queue from its front, as far as the
// permits go; nobody else takes permits then. `QUEUED` is set by the compare-exchange that finds
// too few permits, so those who add some afterwards see it. A waiter that leaves the front serves
// those behind it as well (CA-13).
//
// A waiter for more permits than the semaphore has stands in a line of its own, where it holds up
// no other. Which of the two it stands in follows from its number and the size, under the lock.
// Each change of the size divides the waiters again.

use std::fmt;
use std::mem;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::context::{self, ContextError};
use crate::coop::{Object, Reason};
use crate::lock::Lock;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquisition, Request, Resource, acquisition};
use crate::wait::case::future_case;
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
/// Strictly first come, first served: a small request never overtakes a large one that came before
/// it, and nobody takes a permit past a waiter.
///
/// # When to use something else
///
/// A channel with a buffer of n does for "at most n at a time" where each takes one permit; an
/// [`ErrGroup`](crate::sync::ErrGroup) with a limit where it is about goroutines. For one permit
/// that guards a value, a [`Mutex`](crate::sync::Mutex). `std::sync` has no semaphore.
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
    /// The table is at the top of the file. Acquire where permits are taken, Release where they are
    /// added: each pairs with the other.
    state: AtomicUsize,
    lines: Lock<Lines>,
    object: Object,
}

/// The waiters, and how many permits each waits for.
struct Lines {
    /// How many permits there are, those that are held included.
    size: usize,
    queue: Queue<usize>,
    /// Those that wait for more than `size`.
    oversized: Queue<usize>,
}

impl Lines {
    const_fn! {
        const fn new(size: usize) -> Self {
            Lines { size, queue: Queue::new(), oversized: Queue::new() }
        }
    }

    fn of(&mut self, n: usize) -> &mut Queue<usize> {
        if n > self.size { &mut self.oversized } else { &mut self.queue }
    }

    /// Sets the size. Those that change the line come to the end of the other one, in their order.
    fn resize(&mut self, size: usize) {
        let unsure = if size > self.size { &mut self.oversized } else { &mut self.queue };
        let mut unsure = mem::replace(unsure, Queue::new());
        self.size = size;
        while let Some(n) = unsure.front().map(|front| front.extra) {
            // SAFETY: both are under the lock.
            unsafe { unsure.move_front(self.of(n)) };
        }
    }
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
            let (state, lines) = (AtomicUsize::new(permits * PERMIT), Lock::new(Lines::new(permits)));
            Semaphore { state, lines, object: Object::new() }
        }
    }

    /// Waits for `n` permits. Go: `Acquire`.
    ///
    /// More than the semaphore has will not be there before [`add_permits`](Self::add_permits) has
    /// added some: the future stays pending, and holds up no other. With a context, see
    /// [`Context::acquire`](crate::context::Context::acquire).
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the place in line. If it had got its permits already, they go
    /// back. One that has got them and is neither polled nor dropped has them.
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
    pub(super) fn acquire_at(
        &self,
        n: usize,
        site: &'static Location<'static>,
        reason: Reason,
    ) -> Acquire<'_> {
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
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn try_acquire(&self, n: usize) -> Option<Permit<'_>> {
        #[cfg(feature = "sim")]
        self.object.tried(Location::caller());
        // Not `then_some`: a permit that is made is a permit that is dropped.
        self.take(n).then(|| Permit { semaphore: self, n })
    }

    /// As [`acquire`](Self::acquire), with permits that own a reference to the semaphore: so they
    /// may go into a goroutine, or into a struct beside what they stand for. tokio:
    /// `acquire_many_owned`.
    ///
    /// # Cancellation
    ///
    /// As of [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// gopark::block_on(async {
    ///     let connections = Arc::new(Semaphore::new(2));
    ///     for _ in 0..10 {
    ///         let permit = connections.acquire_owned(1).await;
    ///         gopark::go(async move { drop(permit) });
    ///     }
    ///     assert_eq!(connections.acquire(2).await.count(), 2);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_owned(self: &Arc<Self>, n: usize) -> AcquireOwned<'_> {
        let permits = Permits { semaphore: self, n, reason: Reason::Semaphore };
        AcquireOwned(Acquisition::new(
            OwnedPermits { permits, semaphore: self },
            Location::caller(),
        ))
    }

    /// As [`try_acquire`](Self::try_acquire), with permits that own a reference to the semaphore.
    /// tokio: `try_acquire_many_owned`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// let s = Arc::new(Semaphore::new(1));
    /// let permit = s.try_acquire_owned(1).unwrap();
    /// assert!(s.try_acquire_owned(1).is_none());
    /// # drop(permit);
    /// ```
    #[inline]
    pub fn try_acquire_owned(self: &Arc<Self>, n: usize) -> Option<OwnedPermit> {
        self.take(n).then(|| OwnedPermit { semaphore: Arc::clone(self), n })
    }

    /// Blocks this thread until it has `n` permits: for threads that run no goroutines.
    ///
    /// In a goroutine await [`acquire`](Self::acquire) instead: this keeps its thread from the
    /// others until the scheduler notices, some 10 ms later. If it cannot be awaited there, wrap it
    /// in [`block_in_place`](crate::block_in_place).
    ///
    /// # Examples
    ///
    /// ```
    /// let s = gopark::sync::Semaphore::new(3);
    /// assert_eq!(s.acquire_blocking(2).count(), 2);
    /// ```
    #[track_caller]
    pub fn acquire_blocking(&self, n: usize) -> Permit<'_> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        self.acquire(n).0.block()
    }

    /// Makes the semaphore larger by `n` permits, which are free. tokio: `add_permits`; Go has
    /// none.
    ///
    /// Those that wait for more than there were, and not for more than there are now, join the end
    /// of the line, in their order.
    ///
    /// # Panics
    ///
    /// If there are more than `usize::MAX / 4` then.
    ///
    /// # Examples
    ///
    /// ```
    /// let s = gopark::sync::Semaphore::new(1);
    /// s.add_permits(2);
    /// assert_eq!(s.try_acquire(3).unwrap().count(), 3);
    /// ```
    #[track_caller]
    pub fn add_permits(&self, n: usize) {
        let added = self.resize(|size| size.checked_add(n).filter(|&sum| sum <= MAX_PERMITS));
        assert!(added, "gopark: too many permits of a Semaphore");
        self.release(n);
    }

    /// Makes the semaphore smaller by `n` permits, which are held and will not be given back.
    fn remove_permits(&self, n: usize) {
        self.resize(|size| Some(size.saturating_sub(n)));
        // Who was at the front may have left it.
        self.serve();
    }

    /// Changes the size, unless `resize` returns none.
    fn resize(&self, resize: impl FnOnce(usize) -> Option<usize>) -> bool {
        let mut lines = self.lines.lock();
        let Some(size) = resize(lines.size) else { return false };
        lines.resize(size);
        if lines.queue.is_empty() {
            self.state.fetch_and(!QUEUED, Ordering::Relaxed);
        } else {
            self.state.fetch_or(QUEUED, Ordering::Relaxed);
        }
        true
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
        self.size().saturating_sub(self.available())
    }

    fn size(&self) -> usize {
        self.lines.lock().size
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
                let queue = &mut self.lines.lock().queue;
                while !wakes.is_full() && self.take_for_front(queue) {
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
        let take =
            |s| (s / PERMIT >= front.extra).then(|| ((s & !QUEUED) - front.extra * PERMIT) | rest);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
    }
}

/// Here because contexts know nothing of locks.
impl context::Context {
    /// Waits for `n` permits until the context has ended. Go: `sem.Acquire(ctx, n)`.
    ///
    /// A context that has ended wins, whatever is free: over permits that are there, and over those
    /// that were granted between its end and the next poll, which go to the next in line. With
    /// [`run`](Self::run) those would be kept. It is a case of a [`select!`](crate::select!).
    ///
    /// # Errors
    ///
    /// [`ContextError`], if the context has ended. No permit has been taken then.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// As of [`Semaphore::acquire`]: dropping the future gives up the place in line, and permits
    /// that it had got go back.
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
    pub fn acquire<'a>(&'a self, semaphore: &'a Semaphore, n: usize) -> ContextAcquire<'a> {
        ContextAcquire { ctx: self, run: Some(self.run(semaphore.acquire(n))) }
    }
}

pin_project! {
    /// The future of [`Context::acquire`](crate::context::Context::acquire).
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up the place in line, and permits that it had got go back.
    #[must_use = "futures do nothing unless awaited"]
    pub struct ContextAcquire<'a> {
        ctx: &'a context::Context,
        // Gone when it has completed: it has no place in line then.
        #[pin]
        run: Option<context::Run<'a, Acquire<'a>>>,
    }
}

future_case!(ContextAcquire<'a>, 'a);

impl<'a> Future for ContextAcquire<'a> {
    type Output = Result<Permit<'a>, ContextError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let run = this.run.as_mut().as_pin_mut().expect("gopark: future polled after completion");
        let Poll::Ready(acquired) = run.poll(cx) else { return Poll::Pending };
        this.run.set(None);
        // A permit that is dropped here goes to the next in line.
        Poll::Ready(acquired.and_then(|permit| this.ctx.err().map_or(Ok(permit), Err)))
    }
}

impl fmt::Debug for ContextAcquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextAcquire").field("run", &self.run).finish_non_exhaustive()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("size", &self.size())
            .field("available", &self.available())
            .finish()
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

/// Permits of a [`Semaphore`], with a reference to it: what [`Permit`] is, without its lifetime.
/// tokio: `OwnedSemaphorePermit`.
#[must_use = "dropping the permit gives it back at once"]
#[derive(Debug)]
pub struct OwnedPermit {
    semaphore: Arc<Semaphore>,
    n: usize,
}

/// What one does with permits. `$acquire` is how an example of `s` gets some.
macro_rules! permit {
    ($permit:ty, $s:literal, $acquire:literal) => {
        impl $permit {
            /// How many permits these are.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", $s, ";")]
            #[doc = concat!("assert_eq!(s.", $acquire, "(2).unwrap().count(), 2);")]
            /// ```
            pub fn count(&self) -> usize {
                self.n
            }

            /// Does not give the permits back: the semaphore is smaller by as many.
            /// [`Semaphore::add_permits`] is the opposite. tokio: `forget`.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", $s, ";")]
            #[doc = concat!("s.", $acquire, "(2).unwrap().forget();")]
            /// assert_eq!(s.available(), 1);
            /// ```
            pub fn forget(mut self) {
                self.semaphore.remove_permits(mem::take(&mut self.n));
            }

            /// Parts with `n` of the permits; `None` if these are fewer. tokio: `split`.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", $s, ";")]
            #[doc = concat!("let mut three = s.", $acquire, "(3).unwrap();")]
            /// drop(three.split(1));
            /// assert_eq!((three.count(), s.available()), (2, 1));
            /// ```
            pub fn split(&mut self, n: usize) -> Option<Self> {
                self.n = self.n.checked_sub(n)?;
                Some(Self { semaphore: Clone::clone(&self.semaphore), n })
            }

            /// Makes these permits and `other` one. tokio: `merge`.
            ///
            /// # Panics
            ///
            /// If they are permits of two semaphores. Both are given back then.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", $s, ";")]
            #[doc = concat!("let mut all = s.", $acquire, "(1).unwrap();")]
            #[doc = concat!("all.merge(s.", $acquire, "(2).unwrap());")]
            /// assert_eq!(all.count(), 3);
            /// ```
            #[track_caller]
            pub fn merge(&mut self, mut other: Self) {
                let same = ptr::eq::<Semaphore>(&*self.semaphore, &*other.semaphore);
                assert!(same, "gopark: Permit::merge of two semaphores");
                self.n += mem::take(&mut other.n);
            }
        }
    };
}

permit!(Permit<'_>, "gopark::sync::Semaphore::new(3)", "try_acquire");
permit!(OwnedPermit, "std::sync::Arc::new(gopark::sync::Semaphore::new(3))", "try_acquire_owned");

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.n);
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.n);
    }
}

acquisition! {
    /// The future of [`Semaphore::acquire`].
    Acquire<'a>(Permits<'a>, usize) -> Permit<'a>
}

acquisition! {
    /// The future of [`Semaphore::acquire_owned`].
    AcquireOwned<'a>(OwnedPermits<'a>, usize) -> OwnedPermit
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
        Some(self)
    }

    fn reason(&self) -> Reason {
        self.reason
    }

    #[inline]
    fn output(&self) -> Permit<'a> {
        Permit { semaphore: self.semaphore, n: self.n }
    }
}

/// Permits to be acquired, and owned then.
#[derive(Clone, Copy)]
struct OwnedPermits<'a> {
    permits: Permits<'a>,
    semaphore: &'a Arc<Semaphore>,
}

impl<'a> Request<usize> for OwnedPermits<'a> {
    type Resource = Permits<'a>;
    type Output = OwnedPermit;

    fn resource(&self) -> Option<&Permits<'a>> {
        Some(&self.permits)
    }

    fn reason(&self) -> Reason {
        self.permits.reason
    }

    #[inline]
    fn output(&self) -> OwnedPermit {
        OwnedPermit { semaphore: Arc::clone(self.semaphore), n: self.permits.n }
    }
}

impl Resource<usize> for Permits<'_> {
    const GRANT_IS_ALL: bool = true;

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
        let mut lines = semaphore.lines.lock();
        while !semaphore.take(n) {
            let s = semaphore.state.load(Ordering::Relaxed);
            if n > lines.size
                || s & QUEUED != 0
                || s / PERMIT < n
                    && semaphore
                        .state
                        .compare_exchange(s, s | QUEUED, Ordering::Relaxed, Ordering::Relaxed)
                        .is_ok()
            {
                // SAFETY: passed on to the caller.
                unsafe { lines.of(n).push_back(waiter) };
                return false;
            }
        }
        true
    }

    unsafe fn look(&self, waiter: &Waiter<usize>, cx: &mut Context<'_>) -> bool {
        let granted = |_: &mut _, _| waiter.state() == queue::GRANTED;
        // SAFETY: a waiter that is not granted is linked in one of the lines.
        unsafe { queue::look(&self.semaphore.lines, waiter, cx, granted) }
    }

    #[cold]
    unsafe fn cancel(&self, waiter: &Waiter<usize>) {
        let semaphore = self.semaphore;
        {
            let mut lines = semaphore.lines.lock();
            if waiter.state() == queue::GRANTED {
                drop(lines);
                return semaphore.release(waiter.extra);
            }
            // SAFETY: not granted, seen under the lock, so linked in the queue.
            unsafe { lines.of(waiter.extra).remove(waiter) };
            if lines.queue.is_empty() {
                semaphore.state.fetch_and(!QUEUED, Ordering::Relaxed);
                return;
            }
        }
        // If it was at the front, the permits may do for those behind it.
        semaphore.serve();
    }
}
