//! Condition variables.

// A wait registers its listener before it releases the lock (CO-02), then acquires the lock again.
// It keeps its notification until it has returned the guard: if it is dropped earlier, a signal
// goes to the next waiter (CA-11).

use std::fmt;
use std::ops::DerefMut;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::mutex::MutexGuard;
use super::rwmutex::{RwMutexReadGuard, RwMutexWriteGuard};
use super::typed_lock::Relock;
use crate::coop::{self, Reason};
use crate::loom::const_fn;
use crate::wait::case::{Case, async_wait, future_case};
use crate::wait::event::{Event, Listener, Notified};

/// A condition variable: waits for a change of the value that a lock protects, or announces one.
///
/// Go: `sync.Cond`. Unlike in Go, the lock is not part of it: [`wait`](Self::wait) takes the guard
/// of a [`Mutex`](super::Mutex) or of a [`RwMutex`](super::RwMutex), releases the lock while it
/// waits, and returns a guard of the same lock. Test the condition under the lock, in a loop,
/// because another goroutine may change it between the signal and the return of the guard.
/// [`wait_while`](Self::wait_while) is that loop.
///
/// A signal is lost if no task waits.
///
/// # When to use something else
///
/// In most cases, use a channel: closing it is a broadcast, sending a value is a signal that is not
/// lost, and a `select!` can wait for both. Use a `Cond` for conditions over shared state that
/// changes many times. `std::sync::Condvar` is for threads.
///
/// # Memory ordering
///
/// A call of `signal` or `broadcast` synchronizes before the return of every wait that it ends.
///
/// # Examples
///
/// ```
/// use gopark::sync::{Cond, Mutex};
/// use std::sync::Arc;
///
/// gopark::block_on(async {
///     let state = Arc::new((Mutex::new(false), Cond::new()));
///     let other = state.clone();
///     gopark::go(async move {
///         *other.0.lock().await = true;
///         other.1.signal();
///     });
///     let mut ready = state.0.lock().await;
///     while !*ready {
///         ready = state.1.wait(ready).await;
///     }
///     assert!(*ready);
/// });
/// ```
#[doc(alias = "NewCond")]
#[doc(alias = "Condvar")]
pub struct Cond {
    event: Event,
}

impl Cond {
    const_fn! {
        /// Creates a condition variable without waiters.
        ///
        /// # Examples
        ///
        /// ```
        /// static CHANGED: gopark::sync::Cond = gopark::sync::Cond::new();
        /// CHANGED.broadcast();
        /// ```
        pub const fn new() -> Self {
            Cond { event: Event::new() }
        }
    }

    /// Releases the lock of `guard`, waits for a signal or a broadcast, and acquires the lock
    /// again. Go: `Wait`.
    ///
    /// The call itself, not the first poll of the future, registers the waiter and releases the
    /// lock: no later signal is missed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the lock released. If the future had been signalled already, the
    /// signal goes to the next waiter; a broadcast has reached that waiter anyway.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::{Cond, Mutex};
    ///
    /// gopark::block_on(async {
    ///     let (m, c) = (Mutex::new(1), Cond::new());
    ///     let waiting = c.wait(m.lock().await);
    ///     *m.lock().await += 1;
    ///     c.signal();
    ///     assert_eq!(*waiting.await, 2);
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "Wait")]
    pub fn wait<G: CondGuard>(&self, guard: G) -> CondWait<'_, G> {
        self.wait_at(guard, Location::caller())
    }

    fn wait_at<G: CondGuard>(&self, guard: G, site: &'static Location<'static>) -> CondWait<'_, G> {
        // In this order, so that a task that changes the condition under the lock notifies the
        // listener.
        let listener = self.event.listen();
        let lock = G::lock(&guard);
        drop(guard);
        CondWait { event: &self.event, site, stage: Stage::Listening { listener, lock } }
    }

    /// Waits while `condition` returns true for the locked value, and returns the guard.
    ///
    /// # Cancellation
    ///
    /// Same as [`wait`](Self::wait): dropping the future passes a signal on. The lock is released,
    /// even if the future was never polled, because `guard` is dropped with it.
    ///
    /// # Panics
    ///
    /// If `condition` panics: the lock is released then. Also if the future is polled after it has
    /// completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::{Cond, Mutex};
    /// use std::sync::Arc;
    ///
    /// gopark::block_on(async {
    ///     let state = Arc::new((Mutex::new(vec![]), Cond::new()));
    ///     let other = state.clone();
    ///     gopark::go(async move {
    ///         other.0.lock().await.push("work");
    ///         other.1.signal();
    ///     });
    ///     let queue = state.0.lock().await;
    ///     let mut queue = state.1.wait_while(queue, |queue| queue.is_empty()).await;
    ///     assert_eq!(queue.pop(), Some("work"));
    /// });
    /// ```
    #[track_caller]
    pub fn wait_while<'a, G, F>(
        &'a self,
        mut guard: G,
        mut condition: F,
    ) -> impl Future<Output = G> + Case<Output = G> + use<'a, G, F>
    where
        G: CondGuard + DerefMut,
        F: FnMut(&mut G::Target) -> bool,
    {
        let site = Location::caller();
        async_wait(async move {
            if !condition(&mut guard) {
                coop::spent(site, Reason::CondWait).await;
                return guard;
            }
            loop {
                guard = self.wait_at(guard, site).await;
                if !condition(&mut guard) {
                    return guard;
                }
            }
        })
    }

    /// Wakes the waiter that has waited longest, if there is one. Go: `Signal`.
    ///
    /// The lock need not be held. But if the condition is changed without the lock, a task that has
    /// just tested the condition and is about to wait misses the signal.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::sync::Cond::new().signal(); // no waiter: the signal is lost
    /// ```
    #[doc(alias = "Signal")]
    #[doc(alias = "notify_one")]
    pub fn signal(&self) {
        self.event.notify_one();
    }

    /// Wakes all current waiters. Go: `Broadcast`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::{Cond, Mutex};
    ///
    /// gopark::block_on(async {
    ///     let (m, c) = (Mutex::new(()), Cond::new());
    ///     let (a, b) = (c.wait(m.lock().await), c.wait(m.lock().await));
    ///     c.broadcast();
    ///     drop(a.await);
    ///     drop(b.await);
    /// });
    /// ```
    #[doc(alias = "Broadcast")]
    #[doc(alias = "notify_all")]
    pub fn broadcast(&self) {
        self.event.notify_all();
    }
}

impl Default for Cond {
    fn default() -> Self {
        Cond::new()
    }
}

impl fmt::Debug for Cond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cond").field("waiting", &self.event.listeners()).finish()
    }
}

/// A guard that a [`Cond`] can wait with: of a [`Mutex`], or of a [`RwMutex`] (Go: `sync.Locker`).
///
/// The trait is sealed. A wait with a read guard is Go's `NewCond(rw.RLocker())`.
///
/// [`Mutex`]: crate::sync::Mutex
/// [`RwMutex`]: crate::sync::RwMutex
///
/// # Examples
///
/// ```
/// use gopark::sync::{Cond, RwMutex};
///
/// gopark::block_on(async {
///     let (m, c) = (RwMutex::new(1), Cond::new());
///     let waiting = c.wait(m.rlock().await);
///     *m.lock().await += 1;
///     c.broadcast();
///     assert_eq!(*waiting.await, 2);
/// });
/// ```
#[doc(alias = "Locker")]
#[doc(alias = "RLocker")]
pub trait CondGuard: Relock {}

impl<T: ?Sized> CondGuard for MutexGuard<'_, T> {}
impl<T: ?Sized> CondGuard for RwMutexReadGuard<'_, T> {}
impl<T: ?Sized> CondGuard for RwMutexWriteGuard<'_, T> {}

pin_project! {
    /// The future of [`Cond::wait`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::futures::CondWait;
    /// use gopark::sync::{Cond, Mutex, MutexGuard};
    ///
    /// gopark::block_on(async {
    ///     let (m, c) = (Mutex::new(0), Cond::new());
    ///     let mut waits: Vec<CondWait<'_, MutexGuard<'_, i32>>> = Vec::new();
    ///     for _ in 0..2 {
    ///         waits.push(c.wait(m.lock().await));
    ///     }
    ///     c.broadcast();
    ///     for wait in waits {
    ///         *wait.await += 1;
    ///     }
    ///     assert_eq!(*m.lock().await, 2);
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct CondWait<'a, G: CondGuard> {
        event: &'a Event,
        site: &'static Location<'static>,
        #[pin]
        stage: Stage<'a, G>,
    }

    impl<G: CondGuard> PinnedDrop for CondWait<'_, G> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // A listener that was notified passes its notification on when it is dropped.
            if let Stage::Locking { how, .. } = *this.stage {
                // Drop `relock` first, so that it does not delay the waiter that gets the signal.
                this.stage.set(Stage::Done);
                if how == Notified::One {
                    this.event.notify_one();
                }
            }
        }
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<'a, G: CondGuard> {
        Listening { #[pin] listener: Listener<'a>, lock: G::Lock },
        Locking { #[pin] relock: G::Future, how: Notified },
        Done,
    }
}

future_case!(CondWait<'a, G>, 'a, G: CondGuard);

impl<G: CondGuard> Future for CondWait<'_, G> {
    type Output = G;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<G> {
        let mut this = self.project();
        if let StageProjection::Listening { listener, lock } = this.stage.as_mut().project() {
            let Poll::Ready(how) = listener.poll(cx) else {
                coop::park_at(cx, *this.site, Reason::CondWait);
                return Poll::Pending;
            };
            let relock = G::relock(*lock, this.site);
            this.stage.set(Stage::Locking { relock, how });
        }
        let StageProjection::Locking { relock, .. } = this.stage.as_mut().project() else {
            panic!("gopark: future polled after completion")
        };
        let Poll::Ready(guard) = relock.poll(cx) else { return Poll::Pending };
        this.stage.set(Stage::Done);
        Poll::Ready(guard)
    }
}

impl<G: CondGuard> fmt::Debug for CondWait<'_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Listening { .. } => "waiting",
            Stage::Locking { .. } => "locking",
            Stage::Done => "done",
        };
        f.debug_struct("CondWait").field("stage", &stage).finish_non_exhaustive()
    }
}
