//! Mutual exclusion, in Go's two modes.

// How it works.
//
// One word holds the lock; a queue of pinned waiters stands beside it, under a lock of its own.
//
// | bit | set means | changed by |
// |---|---|---|
// | `LOCKED` | someone owns the lock (a guard, or a granted waiter) | anyone, by compare-exchange |
// | `QUEUED` | the queue is not empty | under the queue's lock |
// | `WOKEN` | the waiter at the front has been told to try, and has not tried yet | under the queue's lock |
// | `STARVING` | that waiter has lost for more than `STARVE`: unlock hands over | under the queue's lock |
//
// `WOKEN` implies `QUEUED`; `STARVING` implies `QUEUED` and `LOCKED`.
//
// An unlock that finds waiters does one of two things.
// - *Normal mode*: it frees the lock and tells the one at the front, unless one is told already (MX-08). The told one
//   competes with newcomers; if it loses, it waits again, where it stands (MX-02). Eight goroutines that fight for one
//   lock so run at the speed of one that has it alone: the loser's turn costs a switch, not every turn.
// - *Hand-off*: the lock stays locked and the one at the front owns it; newcomers queue. That is the rule when
//   somebody has starved for a millisecond (MX-03), and always outside of gopark's processors: there no budget makes a
//   lock/unlock loop yield, so a waiter that has to compete might never even be polled.
//
// No wake is lost: `QUEUED` is set only by a compare-exchange that sees `LOCKED`, so the unlock that ends that
// ownership sees it. Whoever unlocks with `QUEUED` and without `WOKEN` tells someone, unless the lock is taken again
// by then, in which case the next unlock is in the same position. A told one that goes away (dropped) takes `WOKEN`
// with it, and if the lock is free tells the next.
//
// Rejected: handing over at every unlock. Fair, but once two wait, every lock costs a switch for ever: the queue never
// empties, since each owner comes back to its end (the *convoy*).

use std::cell::UnsafeCell;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::coop;
use crate::prim::atomic::{AtomicU8, Ordering};
use crate::prim::const_fn;
use crate::sync::queue::{self, Guarded, Queue, Stage, Waiter};

const LOCKED: u8 = 1;
const QUEUED: u8 = 2;
const WOKEN: u8 = 4;
const STARVING: u8 = 8;

/// How long a waiter may lose against newcomers before the lock is handed to it: Go's figure, long enough for the
/// lock's owner to go on for thousands of rounds, short enough that nobody notices.
const STARVE: Duration = Duration::from_millis(1);

/// When a waiter began to wait.
type Since = Instant;

/// A lock that protects a value: one goroutine at a time has it.
///
/// Go: `sync.Mutex`. Unlike there, the value is inside, and unlocking is dropping the [`MutexGuard`]. As there, there
/// is no owner: a guard may be sent to another goroutine and dropped there; a goroutine that locks again what it has
/// locked waits for ever; and a panic while the lock is held just unlocks it (no poisoning).
///
/// # Fairness
///
/// Waiters are first come, first served. A goroutine that unlocks and locks again may overtake a waiter that is not
/// awake yet, for that is what makes a fought-over lock fast; but a waiter that has lost for a millisecond gets the
/// lock handed over at the next unlock. Outside of gopark's processors (in another executor, on a plain thread) the
/// lock is always handed over.
///
/// # When to use something else
///
/// `std::sync::Mutex` where no lock is held across an `.await`: it is smaller and, being blocking, needs no async
/// function. Holding it over an `.await`, though, stops a whole thread, or deadlocks. A channel where the point is to
/// hand a value *on* rather than to share it: "Do not communicate by sharing memory; instead, share memory by
/// communicating." A [`RwMutex`] where almost everyone only reads and holds the lock for long.
///
/// # Memory ordering
///
/// The n'th unlock synchronizes before the return of every later lock.
///
/// # Examples
///
/// ```
/// use gopark::sync::Mutex;
/// use std::sync::Arc;
///
/// gopark::block_on(async {
///     let hits = Arc::new(Mutex::new(0));
///     let mut guard = hits.lock().await;
///     *guard += 1;
///     assert!(hits.try_lock().is_none());
///     drop(guard);
///     assert_eq!(*hits.lock().await, 1);
/// });
/// ```
///
/// [`RwMutex`]: crate::sync::RwMutex
#[doc(alias = "Lock")]
#[doc(alias = "Locker")]
pub struct Mutex<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

// SAFETY: a mutex owns its value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: `raw` lets one at a time to the value, from any thread: that takes `T: Send`, and no `T: Sync`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// A panic leaves the value as any other way out does, as in Go.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// An unlocked mutex.
        ///
        /// # Examples
        ///
        /// ```
        /// static NAMES: gopark::sync::Mutex<Vec<String>> = gopark::sync::Mutex::new(Vec::new());
        /// gopark::block_on(async { NAMES.lock().await.push("gopher".into()) });
        /// ```
        pub const fn new(value: T) -> Self {
            Mutex { raw: Raw::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value, without the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::Mutex::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the lock is free, and takes it. Go: `Lock`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the place in line. If the lock had been handed to it already, the next waiter gets
    /// it.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let counter = gopark::sync::Mutex::new(0);
    ///     *counter.lock().await += 1;
    ///     assert_eq!(*counter.lock().await, 1);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Lock<'_, T> {
        self.lock_at(Location::caller())
    }

    #[inline]
    pub(super) fn lock_at(&self, site: &'static Location<'static>) -> Lock<'_, T> {
        Lock { mutex: self, stage: Stage::New, site }
    }

    /// Takes the lock if it is free at this instant. Go: `TryLock`.
    ///
    /// A free lock may be taken although others have been waiting for it and are about to wake, unless one of them is
    /// starving.
    ///
    /// # Examples
    ///
    /// ```
    /// let m = gopark::sync::Mutex::new(1);
    /// let guard = m.try_lock().unwrap();
    /// assert!(m.try_lock().is_none());
    /// # drop(guard);
    /// ```
    #[inline]
    #[doc(alias = "TryLock")]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock().then(|| MutexGuard::new(self))
    }

    /// Blocks this thread until the lock is free, and takes it: for threads that run no goroutines.
    ///
    /// # Examples
    ///
    /// ```
    /// let m = gopark::sync::Mutex::new(1);
    /// *m.lock_blocking() += 1;
    /// assert_eq!(*m.lock_blocking(), 2);
    /// ```
    #[track_caller]
    pub fn lock_blocking(&self) -> MutexGuard<'_, T> {
        match self.try_lock() {
            Some(guard) => guard,
            None => {
                let mut lock = pin!(self.lock());
                // Without the budget: a blocked thread cannot yield.
                futures_lite::future::block_on(poll_fn(|cx| lock.as_mut().poll_inner(cx)))
            }
        }
    }

    /// The value, without locking: `&mut` says that nobody else has the mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut m = gopark::sync::Mutex::new(1);
    /// *m.get_mut() = 2;
    /// assert_eq!(m.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: the reference is unique, so there is no guard.
        unsafe { &mut *self.value.get() }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut d = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => d.field("value", &&*guard),
            None => d.field("value", &format_args!("<locked>")),
        };
        d.finish()
    }
}

/// The lock of a [`Mutex`], and the way to its value. Dropping it unlocks.
///
/// It is `Send`: another goroutine may unlock.
#[must_use = "dropping the guard unlocks the mutex at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// As good as a `&mut T`, and so `Send` and `Sync` where that is.
    _value: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The caller has taken the lock.
    #[inline]
    fn new(mutex: &'a Mutex<T>) -> Self {
        MutexGuard { mutex, _value: PhantomData }
    }

    /// The mutex this is the lock of.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::{Mutex, MutexGuard};
    ///
    /// let m = Mutex::new(0);
    /// let guard = m.try_lock().unwrap();
    /// assert!(std::ptr::eq(MutexGuard::mutex(&guard), &m));
    /// ```
    pub fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard has the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard has the lock.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The future of [`Mutex::lock`].
#[must_use = "futures do nothing unless awaited"]
pub struct Lock<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    stage: Stage<Since>,
    site: &'static Location<'static>,
}

impl<'a, T: ?Sized> Lock<'a, T> {
    #[inline]
    fn poll_inner(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MutexGuard<'a, T>> {
        // SAFETY: nothing is moved out; a waiting stage stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        if matches!(this.stage, Stage::New) && this.mutex.raw.try_lock() {
            this.stage = Stage::Done;
        } else if this.mutex.raw.poll(&mut this.stage, cx).is_pending() {
            coop::park_at(this.site, coop::Reason::MutexLock);
            return Poll::Pending;
        }
        coop::spend();
        Poll::Ready(MutexGuard::new(this.mutex))
    }
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.stage, Stage::New) && !coop::poll_ready(cx) {
            return Poll::Pending;
        }
        self.poll_inner(cx)
    }
}

impl<T: ?Sized> Drop for Lock<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Waiting(waiter) = &self.stage {
            self.mutex.raw.cancel(waiter);
        }
    }
}

impl<T: ?Sized> fmt::Debug for Lock<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// The lock without a value.
struct Raw {
    /// The bits of the table at the top of the file. Acquire when `LOCKED` is taken, Release when it is given up: each
    /// pairs with the other. All else is ordered by the queue's lock.
    state: AtomicU8,
    queue: Guarded<Queue<Since>>,
}

impl Raw {
    const_fn! {
        const fn new() -> Self {
            Raw { state: AtomicU8::new(0), queue: Guarded::new(Queue::new()) }
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let mut s = self.state.load(Ordering::Relaxed);
        // One round, but for bits that change at the same time.
        while s & LOCKED == 0 {
            match self.state.compare_exchange_weak(s, s | LOCKED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    #[inline]
    fn unlock(&self) {
        let s = self.state.load(Ordering::Relaxed);
        if s != LOCKED || !self.swap(LOCKED, 0, Ordering::Release) {
            self.unlock_contended();
        }
    }

    #[inline]
    fn swap(&self, from: u8, to: u8, order: Ordering) -> bool {
        self.state.compare_exchange(from, to, order, Ordering::Relaxed).is_ok()
    }

    #[inline(never)]
    fn unlock_contended(&self) {
        let hand_off = hands_over();
        loop {
            let s = self.state.load(Ordering::Relaxed);
            if s & QUEUED != 0 && (hand_off || s & STARVING != 0) {
                return self.hand_off();
            }
            if self.swap(s, s & !LOCKED, Ordering::Release) {
                if s & (QUEUED | WOKEN) == QUEUED {
                    self.tell_next();
                }
                return;
            }
        }
    }

    /// Makes the waiter at the front the owner.
    #[cold]
    fn hand_off(&self) {
        let waker = {
            let mut queue = self.queue.lock();
            let bits = match queue.front() {
                Some(front) => gone(front, queue.is_only(front)),
                // The last one has left meanwhile.
                None => LOCKED,
            };
            // Before the grant: the new owner's unlock must not find a `WOKEN` that is nobody's.
            self.state.fetch_and(!bits, Ordering::Release);
            queue.grant_front().flatten()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        // On a processor the new owner is next in its queue, and this goroutine is to let it run soon (MX-04).
        coop::spend_all();
    }

    /// Tells the waiter at the front that the lock is free, if it still is.
    #[cold]
    fn tell_next(&self) {
        let waker = {
            let mut queue = self.queue.lock();
            match self.state.load(Ordering::Relaxed) & (LOCKED | WOKEN) {
                0 => self.tell_front(&mut queue),
                // The next unlock sees to it, or somebody is on the way.
                _ => None,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    #[must_use]
    fn tell_front(&self, queue: &mut Queue<Since>) -> Option<std::task::Waker> {
        if queue.is_empty() {
            return None;
        }
        self.state.fetch_or(WOKEN, Ordering::Relaxed);
        queue.tell_front()
    }

    /// Joins the queue, or looks whether the turn has come.
    #[cold]
    fn poll(&self, stage: &mut Stage<Since>, cx: &mut Context<'_>) -> Poll<()> {
        match stage {
            Stage::New => self.enqueue(stage, cx),
            Stage::Waiting(waiter) => {
                if !self.look(waiter, cx) {
                    return Poll::Pending;
                }
                *stage = Stage::Done;
                Poll::Ready(())
            }
            Stage::Done => panic!("gopark: future polled after completion"),
        }
    }

    fn enqueue(&self, stage: &mut Stage<Since>, cx: &mut Context<'_>) -> Poll<()> {
        *stage = Stage::Waiting(Waiter::new(cx.waker().clone(), Instant::now()));
        let Stage::Waiting(waiter) = &*stage else { unreachable!() };
        {
            let mut queue = self.queue.lock();
            loop {
                let s = self.state.load(Ordering::Relaxed);
                if s & LOCKED == 0 {
                    if self.swap(s, s | LOCKED, Ordering::Acquire) {
                        break;
                    }
                } else if s & QUEUED != 0 || self.swap(s, s | QUEUED, Ordering::Relaxed) {
                    // SAFETY: new, so not linked; pinned in the future, whose drop takes it off.
                    unsafe { queue.push_back(waiter) };
                    return Poll::Pending;
                }
            }
        }
        // Free after all. The waiter has not been linked.
        *stage = Stage::Done;
        Poll::Ready(())
    }

    /// Whether the waiter has the lock now. It keeps its place if not.
    fn look(&self, waiter: &Waiter<Since>, cx: &mut Context<'_>) -> bool {
        let told = waiter.state() == queue::TOLD;
        // The clock is read outside of the lock. Not told now, it has not lost yet.
        let starving = told && is_long(waiter);
        // SAFETY: a waiter that is not granted, which `settle` sees under the lock, is linked in the queue.
        let there = unsafe {
            queue::look(
                &self.queue,
                waiter,
                cx,
                |queue| queue,
                |queue, last| self.settle(queue, waiter, starving, last),
            )
        };
        if there && waiter.state() == queue::GRANTED {
            self.granted(waiter);
        }
        there
    }

    /// Whether the waiter is granted, or told and takes the lock. If it was told and lost, `last` makes it one that
    /// waits.
    fn settle(&self, queue: &mut Queue<Since>, waiter: &Waiter<Since>, starving: bool, last: bool) -> bool {
        match waiter.state() {
            queue::GRANTED => return true,
            queue::TOLD => {}
            _ => return false,
        }
        while !self.try_lock_told(queue, waiter) {
            let s = self.state.load(Ordering::Relaxed);
            let to = s & !WOKEN | if starving { STARVING } else { 0 };
            if !last || s & LOCKED != 0 && self.swap(s, to, Ordering::Relaxed) {
                return false;
            }
        }
        true
    }

    /// The told waiter takes the lock and leaves the queue, if the lock is free.
    fn try_lock_told(&self, queue: &mut Queue<Since>, waiter: &Waiter<Since>) -> bool {
        let rest = if queue.is_only(waiter) { 0 } else { QUEUED };
        loop {
            let s = self.state.load(Ordering::Relaxed);
            if s & LOCKED != 0 {
                return false;
            }
            if self.swap(s, LOCKED | rest, Ordering::Acquire) {
                // SAFETY: told, so linked in this queue.
                unsafe { queue.remove(waiter) };
                return true;
            }
        }
    }

    /// Ends starvation when the one who was handed the lock has not waited long: then nobody behind it has.
    fn granted(&self, waiter: &Waiter<Since>) {
        if self.state.load(Ordering::Relaxed) & STARVING != 0 && !is_long(waiter) {
            let _queue = self.queue.lock();
            self.state.fetch_and(!STARVING, Ordering::Relaxed);
        }
    }

    /// The future of `waiter` is being dropped.
    #[cold]
    fn cancel(&self, waiter: &Waiter<Since>) {
        let waker = {
            let mut queue = self.queue.lock();
            match waiter.state() {
                queue::GRANTED => {
                    drop(queue);
                    return self.unlock();
                }
                told => {
                    let bits = gone(waiter, queue.is_only(waiter));
                    // SAFETY: not granted, seen under the lock, so linked in this queue.
                    unsafe { queue.remove(waiter) };
                    // What it was told is for the next now. With the lock taken, the unlock sees to that.
                    let free = self.state.fetch_and(!bits, Ordering::Relaxed) & LOCKED == 0;
                    if told == queue::TOLD && free { self.tell_front(&mut queue) } else { None }
                }
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The bits that go with a waiter that leaves the queue.
fn gone(waiter: &Waiter<Since>, only: bool) -> u8 {
    let told = if waiter.state() == queue::TOLD { WOKEN } else { 0 };
    told | if only { QUEUED | STARVING } else { 0 }
}

#[cfg(gopark_loom)]
std::thread_local! {
    /// Whether every wait is a long one.
    pub(crate) static LONG: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// Whether the next unlock hands over, if every second one does.
    pub(crate) static MIXED: std::cell::Cell<Option<bool>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread hands the lock over at every unlock: it runs no goroutines.
fn hands_over() -> bool {
    // In a model all threads are one.
    #[cfg(gopark_loom)]
    if let Some(now) = MIXED.get() {
        MIXED.set(Some(!now));
        return now;
    }
    coop::worker_index().is_none()
}

/// Whether the waiter has waited for long enough to starve.
fn is_long(waiter: &Waiter<Since>) -> bool {
    // A model has no time: there it is the model that decides.
    #[cfg(gopark_loom)]
    return LONG.get();
    #[cfg(not(gopark_loom))]
    return waiter.extra.elapsed() > STARVE;
}
