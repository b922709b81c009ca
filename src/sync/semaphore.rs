//! A counting semaphore, strictly first come, first served.

// How it works.
//
// | bits | meaning | changed by |
// |---|---|---|
// | `QUEUED` | the queue is not empty | under the queue's lock |
// | the rest | free permits, in units of `PERMIT` | any thread adds; see below for taking |
//
// Permits are taken by compare-exchange; while `QUEUED` is set, only under the queue's lock. A
// thread that releases permits while `QUEUED` is set serves the queue from its front as far as the
// permits go; no other thread takes permits then. `QUEUED` is set by the compare-exchange that
// finds too few permits, so a thread that adds permits afterwards sees it. A waiter that leaves the
// front also serves the waiters behind it (CA-13).
//
// A waiter for more permits than the semaphore has is kept in a separate queue, where it holds up
// no other waiter. The number of permits it waits for and the size, read under the lock, determine
// its queue. A change of the size moves those waiters to the other queue whose number is between
// the old size and the new one. Each queue knows bounds of its numbers, so that the waiters are
// looked at one by one only if some may move and others not.

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
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquired, Acquisition, Mode, Request, Resource, acquisition};
use crate::wait::case::future_case;
use crate::wait::queue::{self, OwnWaiter, Queues};
use crate::waker::WakeList;

const QUEUED: usize = 1;
const PERMIT: usize = 2;

/// The maximum number of permits: half of what the word can count, so that as many again can be
/// added without overflow.
pub(super) const MAX_PERMITS: usize = usize::MAX / 4;

/// A counting semaphore whose permits are acquired several at a time and given back.
///
/// Go: `golang.org/x/sync/semaphore.Weighted`.
///
/// # Fairness
///
/// Strictly first come, first served: a small request never overtakes a large one that came before
/// it, and no task takes a permit ahead of a waiter.
///
/// # When to use something else
///
/// Use a channel with a buffer of n for "at most n at a time" if each task takes one permit, or an
/// [`ErrGroup`](crate::sync::ErrGroup) with a limit to bound the number of goroutines. Use a
/// [`Mutex`](crate::sync::Mutex) if one permit guards a value. `std::sync` has no semaphore.
///
/// # Memory ordering
///
/// Giving permits back synchronizes before the return of an acquire that takes them.
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
    /// See the table at the top of the file. Permits are taken with Acquire and added with Release;
    /// the two pair with each other.
    state: AtomicUsize,
    lines: Queues<usize, Lines, 2>,
    object: Object,
}

impl Mode for usize {
    type Data = usize;
}

/// The queue of the waiters for at most `size` permits.
const FITTING: usize = 0;
/// The queue of the waiters for more.
const OVERSIZED: usize = 1;

/// The size, and what is known of the queues of waiters, each of which waits for a number of
/// permits.
struct Lines {
    /// The total number of permits, including those that are held.
    size: usize,
    bounds: [Bounds; 2],
}

type Held<'a> = queue::Held<'a, usize, Lines, 2>;
type Own<'w, 'a> = OwnWaiter<'w, 'a, usize>;

/// Bounds of the numbers of permits that the waiters of a queue wait for.
#[derive(Clone, Copy)]
struct Bounds {
    least: usize,
    most: usize,
}

impl Bounds {
    const NONE: Self = Bounds { least: usize::MAX, most: 0 };

    fn only(n: usize) -> Self {
        Bounds { least: n, most: n }
    }

    fn and(self, other: Self) -> Self {
        Bounds { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

impl Lines {
    /// Returns the queue of a waiter for `n` permits.
    fn of(&self, n: usize) -> usize {
        if n > self.size { OVERSIZED } else { FITTING }
    }
}

/// Notes that waiters within these bounds will be appended to a queue.
fn will_have(lines: &mut Held<'_>, queue: usize, bounds: Bounds) {
    let known = if lines.is_empty(queue) { Bounds::NONE } else { lines.bounds[queue] };
    lines.bounds[queue] = known.and(bounds);
}

/// Sets the size. Waiters that change queues are appended to the other queue, in their order.
fn resize(lines: &mut Held<'_>, size: usize) {
    let grows = size > lines.size;
    lines.size = size;
    let (from, to) = if grows { (OVERSIZED, FITTING) } else { (FITTING, OVERSIZED) };
    if lines.is_empty(from) {
        return;
    }
    let moves = |n| (n <= size) == grows;
    let bounds = lines.bounds[from];
    match (moves(bounds.least), moves(bounds.most)) {
        (false, false) => {}
        (true, true) => {
            will_have(lines, to, bounds);
            lines.append(from, to);
        }
        _ => sort(lines, from, to, moves),
    }
}

/// Moves the waiters of a queue for whose number `moves` is true to the end of another queue.
fn sort(lines: &mut Held<'_>, from: usize, to: usize, moves: impl Fn(usize) -> bool) {
    let mut stay = Bounds::NONE;
    let mut first = None;
    // Those that stay go to the end, so all have been looked at when the first one is back.
    while let Some(front) = lines.front(from).filter(|front| first != Some(ptr::from_ref(*front))) {
        let n = front.extra;
        if moves(n) {
            will_have(lines, to, Bounds::only(n));
            lines.move_front(from, to);
        } else {
            first.get_or_insert(ptr::from_ref(front));
            stay = stay.and(Bounds::only(n));
            lines.move_front(from, from);
        }
    }
    lines.bounds[from] = stay;
}

impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

impl Semaphore {
    const_fn! {
        /// Creates a semaphore with `permits` permits, all free.
        ///
        /// # Panics
        ///
        /// If `permits` is more than `usize::MAX / 4`.
        ///
        /// # Examples
        ///
        /// ```
        /// static DISK: gopark::sync::Semaphore = gopark::sync::Semaphore::new(2);
        /// assert_eq!(DISK.available(), 2);
        /// ```
        pub const fn new(permits: usize) -> Self {
            assert!(permits <= MAX_PERMITS, "gopark: too many permits of a Semaphore");
            let state = AtomicUsize::new(permits * PERMIT);
            let lines = Lines { size: permits, bounds: [Bounds::NONE; 2] };
            Semaphore { state, lines: Queues::new(lines), object: Object::new() }
        }
    }

    /// Waits for `n` permits and acquires them. Go: `Acquire`.
    ///
    /// If `n` is more than the semaphore has, the future stays pending until
    /// [`add_permits`](Self::add_permits) adds enough; it holds up no other waiter. To wait with a
    /// context, use [`Context::acquire`](crate::context::Context::acquire).
    ///
    /// # Cancellation
    ///
    /// Dropping the future removes it from the queue. If its permits had been granted already, they
    /// are given back. A future that has been granted its permits and is neither polled nor dropped
    /// keeps holding them.
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

    /// Acquires `n` permits if they are free now and no task waits. Returns `None` otherwise. Go:
    /// `TryAcquire`.
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
        // Not `then_some`: it would create the permit even if `take` failed, and drop it.
        self.take(n).then(|| Permit { semaphore: self, n })
    }

    /// Acquires `n` permits as [`acquire`](Self::acquire) does, but the permits own a reference to
    /// the semaphore. They can move into a goroutine, or into a struct together with the resource
    /// that they limit.
    /// tokio: `acquire_many_owned`.
    ///
    /// # Cancellation
    ///
    /// Same as [`acquire`](Self::acquire).
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

    /// Acquires `n` permits as [`try_acquire`](Self::try_acquire) does, but the permits own a
    /// reference to the semaphore. tokio: `try_acquire_many_owned`.
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

    /// Blocks the current thread until it has acquired `n` permits. For threads that run no
    /// goroutines.
    ///
    /// Do not call this in a goroutine: await [`acquire`](Self::acquire) instead. This call blocks
    /// the worker thread until the monitor takes its processor away, after about 10 ms. In code
    /// that cannot await, wrap the call in [`block_in_place`](crate::block_in_place).
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

    /// Adds `n` free permits to the semaphore. tokio: `add_permits`; Go has no equivalent.
    ///
    /// Waiters that needed more permits than the semaphore had, and no longer do, are appended to
    /// the queue in their order.
    ///
    /// # Panics
    ///
    /// If the semaphore would have more than `usize::MAX / 4` permits.
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

    /// Removes `n` permits, which the caller holds and will not give back.
    fn remove_permits(&self, n: usize) {
        self.resize(|size| Some(size.saturating_sub(n)));
        // The waiter that was at the front may have moved to the other queue.
        self.serve();
    }

    /// Sets the size to what `new` returns. Returns false, without a change, if that is `None`.
    fn resize(&self, new: impl FnOnce(usize) -> Option<usize>) -> bool {
        let mut lines = self.lines.lock();
        let Some(size) = new(lines.size) else { return false };
        resize(&mut lines, size);
        if lines.is_empty(FITTING) {
            self.state.fetch_and(!QUEUED, Ordering::Relaxed);
        } else {
            self.state.fetch_or(QUEUED, Ordering::Relaxed);
        }
        true
    }

    /// Returns the number of permits that are free now. Some may be about to be granted to waiters.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::Semaphore::new(3).available(), 3);
    /// ```
    pub fn available(&self) -> usize {
        self.state.load(Ordering::Relaxed) / PERMIT
    }

    /// Returns the number of permits that are held, at least.
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

    /// Adds permits that a dropped [`Permit`] held, or that were held without one.
    #[inline]
    pub(super) fn release(&self, n: usize) {
        if self.state.fetch_add(n * PERMIT, Ordering::Release) & QUEUED != 0 {
            self.serve();
        }
    }

    /// Adds enough permits for every acquire from now on. Must be called at most once.
    pub(super) fn open(&self) {
        self.release(usize::MAX / PERMIT / 4);
    }

    /// Grants permits to the waiters, from the front, as far as the permits go.
    #[cold]
    fn serve(&self) {
        let mut wakes = WakeList::new();
        loop {
            {
                let mut lines = self.lines.lock();
                while !wakes.is_full() && self.take_for_front(&lines) {
                    lines.grant_front_into(FITTING, &mut wakes);
                }
            }
            let more = wakes.is_full();
            wakes.wake_all();
            if !more {
                return;
            }
        }
    }

    /// Takes the permits for the waiter at the front. Clears `QUEUED` if it is the last waiter.
    fn take_for_front(&self, lines: &Held<'_>) -> bool {
        let Some(front) = lines.front(FITTING) else { return false };
        let rest = if lines.is_only(FITTING, front) { 0 } else { QUEUED };
        let take =
            |s| (s / PERMIT >= front.extra).then(|| ((s & !QUEUED) - front.extra * PERMIT) | rest);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
    }
}

/// Defined here because `context` does not depend on the locks.
impl context::Context {
    /// Waits for `n` permits until the context has ended. Go: `sem.Acquire(ctx, n)`.
    ///
    /// A context that has ended takes precedence over free permits, and over permits that were
    /// granted between its end and the next poll: those go to the next waiter. [`run`](Self::run)
    /// would return them instead. The future can be a case of a [`select!`](crate::select!).
    ///
    /// # Cancellation
    ///
    /// Same as [`Semaphore::acquire`]: dropping the future removes it from the queue and gives back
    /// permits that it had been granted.
    ///
    /// # Errors
    ///
    /// [`ContextError`], if the context has ended. No permit is held then.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
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
    /// Dropping it removes it from the queue and gives back permits that it had been granted.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::{Context, ContextError};
    /// use gopark::select;
    /// use gopark::sync::Semaphore;
    /// use std::pin::pin;
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let s = Semaphore::new(0);
    ///     let mut acquiring = pin!(ctx.acquire(&s, 1));
    ///     select! {
    ///         _ = acquiring.as_mut() => unreachable!("there are no permits"),
    ///         default => cancel.cancel(),
    ///     }
    ///     assert_eq!(acquiring.await.unwrap_err(), ContextError::Canceled);
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct ContextAcquire<'a> {
        ctx: &'a context::Context,
        // `None` after completion.
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
        // A permit that is dropped here goes to the next waiter.
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

/// Permits of a [`Semaphore`]. Dropping a `Permit` gives them back. Go: `Release`.
///
/// # Examples
///
/// ```
/// let s = gopark::sync::Semaphore::new(2);
/// let permit = s.try_acquire(2).unwrap();
/// assert_eq!(s.available(), 0);
/// drop(permit);
/// assert_eq!(s.available(), 2);
/// ```
#[must_use = "dropping the permit gives it back at once"]
#[derive(Debug)]
#[doc(alias = "Release")]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    n: usize,
}

/// Permits of a [`Semaphore`], with a reference to it: a [`Permit`] without a lifetime. tokio:
/// `OwnedSemaphorePermit`.
///
/// # Examples
///
/// ```
/// use gopark::sync::{OwnedPermit, Semaphore};
/// use std::sync::Arc;
///
/// let s = Arc::new(Semaphore::new(2));
/// let permit: OwnedPermit = s.try_acquire_owned(1).unwrap();
/// assert_eq!((permit.count(), s.available()), (1, 1));
/// ```
#[must_use = "dropping the permit gives it back at once"]
#[derive(Debug)]
pub struct OwnedPermit {
    semaphore: Arc<Semaphore>,
    n: usize,
}

/// Implements the methods of a permit type. `$s` creates the semaphore of an example, `$acquire` is
/// the method that acquires permits of it.
macro_rules! permit {
    ($permit:ty, $s:literal, $acquire:literal) => {
        impl $permit {
            /// Returns the number of permits.
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

            /// Consumes the permits without giving them back: the semaphore shrinks by their
            /// number. [`Semaphore::add_permits`] is the opposite. tokio: `forget`.
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

            /// Splits off `n` of the permits. Returns `None` if there are fewer than `n`.
            /// tokio: `split`.
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

            /// Moves the permits of `other` into this permit. tokio: `merge`.
            ///
            /// # Panics
            ///
            /// If they are permits of different semaphores. Both are given back then.
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
                assert!(same, "gopark: Permit::merge of permits of different semaphores");
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
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Semaphore;
    ///
    /// gopark::block_on(async {
    ///     let s = Semaphore::new(2);
    ///     let one = s.acquire(1).await;
    ///     let mut two = Box::pin(s.acquire(2));
    ///     assert!(futures_lite::future::poll_once(two.as_mut()).await.is_none());
    ///     assert!(s.try_acquire(1).is_none(), "the other one is first in the queue");
    ///     drop(two);
    ///     assert!(s.try_acquire(1).is_some());
    ///     # drop(one);
    /// });
    /// ```
    Acquire<'a>(Permits<'a>, usize) -> Permit<'a>
}

acquisition! {
    /// The future of [`Semaphore::acquire_owned`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::Semaphore;
    /// use gopark::sync::futures::AcquireOwned;
    /// use std::sync::Arc;
    ///
    /// gopark::block_on(async {
    ///     let s = Arc::new(Semaphore::new(3));
    ///     let acquires: [AcquireOwned<'_>; 2] = [s.acquire_owned(1), s.acquire_owned(2)];
    ///     let mut permits = Vec::new();
    ///     for acquire in acquires {
    ///         permits.push(acquire.await);
    ///     }
    ///     assert_eq!(s.available(), 0);
    /// });
    /// ```
    AcquireOwned<'a>(OwnedPermits<'a>, usize) -> OwnedPermit
}

/// A request for permits.
#[derive(Clone, Copy)]
struct Permits<'a> {
    semaphore: &'a Semaphore,
    n: usize,
    reason: Reason,
}

impl<'a> Request<'a, usize> for Permits<'a> {
    type Resource = Self;
    type Output = Permit<'a>;

    fn resource(self) -> Self {
        self
    }

    fn reason(self) -> Reason {
        self.reason
    }

    #[inline]
    fn output(self, _: Acquired<Self, usize>) -> Permit<'a> {
        Permit { semaphore: self.semaphore, n: self.n }
    }
}

/// A request for permits that own a reference to the semaphore.
#[derive(Clone, Copy)]
struct OwnedPermits<'a> {
    permits: Permits<'a>,
    semaphore: &'a Arc<Semaphore>,
}

impl<'a> Request<'a, usize> for OwnedPermits<'a> {
    type Resource = Permits<'a>;
    type Output = OwnedPermit;

    fn resource(self) -> Permits<'a> {
        self.permits
    }

    fn reason(self) -> Reason {
        self.permits.reason
    }

    #[inline]
    fn output(self, _: Acquired<Permits<'a>, usize>) -> OwnedPermit {
        OwnedPermit { semaphore: Arc::clone(self.semaphore), n: self.permits.n }
    }
}

impl<'a> Resource<'a, usize> for Permits<'a> {
    const GRANT_IS_ALL: bool = true;

    #[inline]
    fn try_acquire(self) -> bool {
        self.semaphore.take(self.n)
    }

    fn extra(self) -> usize {
        self.n
    }

    fn object(self) -> Option<&'a Object> {
        Some(&self.semaphore.object)
    }

    fn enqueue(self, waiter: Own<'_, 'a>) -> bool {
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
                let queue = lines.of(n);
                will_have(&mut lines, queue, Bounds::only(n));
                lines.push_back(queue, waiter);
                return false;
            }
        }
        true
    }

    fn look(self, waiter: Own<'_, 'a>, cx: &mut Context<'_>) -> bool {
        self.semaphore.lines.look(waiter, cx, |_, _| waiter.state() == queue::GRANTED)
    }

    #[cold]
    fn cancel(self, waiter: Own<'_, 'a>) {
        let semaphore = self.semaphore;
        {
            let mut lines = semaphore.lines.lock();
            if waiter.state() == queue::GRANTED {
                drop(lines);
                return semaphore.release(waiter.extra);
            }
            lines.remove(waiter);
            if lines.is_empty(FITTING) {
                semaphore.state.fetch_and(!QUEUED, Ordering::Relaxed);
                return;
            }
        }
        // If it was at the front, the free permits may suffice for the waiters behind it.
        semaphore.serve();
    }
}
