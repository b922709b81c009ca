//! Groups of goroutines that may fail.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, Location};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_lite::FutureExt;

use super::semaphore::{MAX_PERMITS, Semaphore};
use super::waitgroup::{WaitGroup, panic_crashes};
use crate::context::{CancelFunc, Context};
use crate::coop::{self, Reason};
use crate::panics::{Caught, lock};
use crate::wait::case::{Case, async_wait};

/// A group of goroutines that work on parts of one task and may fail. The first error is returned.
/// Clones are handles of the same group.
///
/// Go: `golang.org/x/sync/errgroup`. [`go`](Self::go) starts a goroutine; [`wait`](Self::wait)
/// waits for all of them and returns the first error. With [`with_context`](Self::with_context) the
/// other goroutines can detect that one has failed.
///
/// # Panics in the goroutines
///
/// A panic is handled like every unrecovered panic of the runtime ([`OnPanic`](crate::OnPanic)):
/// under `Crash` main raises it. Under `Isolate` [`wait`](Self::wait) raises the first panic, with
/// its payload, instead of returning an error. A panic ends the group's context, as an error does.
///
/// # When to use something else
///
/// Use a [`WaitGroup`] if nothing can fail. Use [`JoinHandle`](crate::JoinHandle)s, or a channel,
/// to collect results. Use `std::thread::scope` on plain threads.
///
/// # Memory ordering
///
/// The end of each goroutine synchronizes before the return of `wait`.
///
/// # Examples
///
/// ```
/// use gopark::sync::ErrGroup;
///
/// gopark::block_on(async {
///     let group = ErrGroup::new();
///     for n in ["1", "2", "x"] {
///         group.go(async move { n.parse::<i32>().map(drop) }).await;
///     }
///     assert!(group.wait().await.is_err());
/// });
/// ```
#[doc(alias = "errgroup")]
pub struct ErrGroup<E> {
    shared: Arc<Shared<E>>,
    running: WaitGroup,
}

struct Shared<E> {
    /// One permit for each goroutine that may run at a time; `None` without a limit.
    limit: Mutex<Option<Arc<Semaphore>>>,
    /// The number of rounds that have ended. Each `wait` ends one.
    rounds: AtomicUsize,
    /// The first error, until a `wait` takes it.
    error: Mutex<Option<E>>,
    /// The payload of the first panic under `Isolate`, until a `wait` raises it.
    panic: Mutex<Option<Caught>>,
    /// Ends the context of the group, if it has one.
    cancel: Option<CancelFunc>,
}

impl<E> Shared<E> {
    fn failed(&self, error: E) {
        let mut first = lock(&self.error);
        if first.is_none() {
            *first = Some(error);
            drop(first);
            self.cancel();
        }
        // A later error is dropped here, outside of the lock.
    }

    fn panicked(&self, caught: Caught) {
        if panic_crashes() {
            caught.resume();
        }
        let mut first = lock(&self.panic);
        if first.is_none() {
            *first = Some(caught);
            drop(first);
            self.cancel();
        }
        // A later payload is dropped here, outside of the lock.
    }

    fn cancel(&self) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }
}

impl<E: Send + 'static> ErrGroup<E> {
    /// Creates a group without a limit.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     assert_eq!(gopark::sync::ErrGroup::<()>::new().wait().await, Ok(()));
    /// });
    /// ```
    pub fn new() -> Self {
        Self::with(None)
    }

    /// Creates a group without a limit, and a context below `parent` for its goroutines. The
    /// context ends when the first goroutine fails, or when a [`wait`](Self::wait) has returned.
    /// Go: `errgroup.WithContext`.
    ///
    /// The goroutines must check the context themselves: the group aborts no goroutine. The
    /// context's cause is plain [`Canceled`](crate::context::ContextError::Canceled). In newer
    /// versions of Go it is the error; here only `wait` returns the error.
    ///
    /// The closest type in tokio is `JoinSet`, which aborts its tasks when it is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    /// use gopark::sync::ErrGroup;
    ///
    /// gopark::block_on(async {
    ///     let (group, ctx) = ErrGroup::with_context(&Context::background());
    ///     group.go(async { Err("no luck") }).await;
    ///     let other = ctx.clone();
    ///     group
    ///         .go(async move {
    ///             other.done().await; // waits until the failure cancels it
    ///             Ok(())
    ///         })
    ///         .await;
    ///     assert_eq!(group.wait().await, Err("no luck"));
    ///     assert!(ctx.err().is_some());
    /// });
    /// ```
    #[doc(alias = "WithContext")]
    pub fn with_context(parent: &Context) -> (Self, Context) {
        let (ctx, cancel) = parent.with_cancel();
        (Self::with(Some(cancel)), ctx)
    }

    fn with(cancel: Option<CancelFunc>) -> Self {
        let (error, panic) = (Mutex::new(None), Mutex::new(None));
        let (limit, rounds) = (Mutex::new(None), AtomicUsize::new(0));
        let shared = Arc::new(Shared { limit, rounds, error, panic, cancel });
        ErrGroup { shared, running: WaitGroup::new() }
    }

    /// Limits the group to `n` goroutines at a time. Go: `SetLimit`.
    ///
    /// With 0, no goroutine can start. With more than `usize::MAX / 4` there is no limit. A
    /// [`go`](Self::go) that waits for a limit of 0 never completes, as in Go.
    ///
    /// # Panics
    ///
    /// If goroutines of the group are running, or have been admitted: "errgroup: modify limit while
    /// N goroutines in the group are still active".
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let group = gopark::sync::ErrGroup::<()>::new();
    ///     group.set_limit(2);
    ///     for _ in 0..10 {
    ///         group.go(async { Ok(()) }).await; // waits while two are running
    ///     }
    ///     group.wait().await.unwrap();
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "SetLimit")]
    pub fn set_limit(&self, n: usize) {
        let mut new = (n <= MAX_PERMITS).then(|| Arc::new(Semaphore::new(n)));
        let active = {
            let mut limit = lock(&self.shared.limit);
            // A `go` may have been granted its permit without having been polled since.
            let active = self.running.count().max(limit.as_ref().map_or(0, |limit| limit.held()));
            if active == 0 {
                mem::swap(&mut *limit, &mut new);
            }
            active
        };
        assert!(
            active == 0,
            "errgroup: modify limit while {active} goroutines in the group are still active"
        );
    }

    fn limit(&self) -> Option<Arc<Semaphore>> {
        lock(&self.shared.limit).clone()
    }

    /// Waits until the limit allows another goroutine, then starts it. Go: `Go`.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped before it has completed, `future` is dropped as well, and no
    /// goroutine is started.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let group = gopark::sync::ErrGroup::new();
    ///     group.go(async { Err("no") }).await;
    ///     assert_eq!(group.wait().await, Err("no"));
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "Go")]
    pub fn go<'a, F>(
        &'a self,
        future: F,
    ) -> impl Future<Output = ()> + Case<Output = ()> + use<'a, F, E>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let site = Location::caller();
        async_wait(async move {
            loop {
                let slot = match self.limit() {
                    Some(limit) => {
                        mem::forget(limit.acquire_at(1, site, Reason::Semaphore).await);
                        Some(Slot(limit))
                    }
                    None => {
                        coop::spent(site, Reason::Semaphore).await;
                        None
                    }
                };
                if self.admit(slot.as_ref()) {
                    return self.start(future, slot, site);
                }
            }
        })
    }

    /// Starts a goroutine if the limit allows it now, and returns whether it did. Go: `TryGo`.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let group = gopark::sync::ErrGroup::<()>::new();
    ///     group.set_limit(1);
    ///     assert!(group.try_go(async { Ok(gopark::gosched().await) }));
    ///     assert!(!group.try_go(async { Ok(()) }));
    ///     group.wait().await.unwrap();
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "TryGo")]
    pub fn try_go<F>(&self, future: F) -> bool
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        loop {
            let limit = self.limit();
            if let Some(limit) = &limit {
                match limit.try_acquire(1) {
                    Some(permit) => mem::forget(permit),
                    None => return false,
                }
            }
            let slot = limit.map(Slot);
            if self.admit(slot.as_ref()) {
                self.start(future, slot, Location::caller());
                return true;
            }
        }
    }

    /// Adds a goroutine that has its permit to the counter, so that `set_limit` counts it as
    /// active. Returns false if the limit has been replaced meanwhile.
    fn admit(&self, slot: Option<&Slot>) -> bool {
        let limit = lock(&self.shared.limit);
        let admits = limit.as_ref().map(Arc::as_ptr) == slot.map(|Slot(limit)| Arc::as_ptr(limit));
        if admits {
            self.running.add(1);
        }
        admits
    }

    /// Starts a goroutine that has been admitted.
    fn start<F>(&self, future: F, slot: Option<Slot>, site: &'static Location<'static>)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let shared = self.shared.clone();
        let work = async move {
            let _slot = slot;
            // The future is dropped inside `work` as well, because its destructor may panic.
            let work = async {
                if let Err(error) = future.await {
                    shared.failed(error);
                }
            };
            if let Err(payload) = AssertUnwindSafe(work).catch_unwind().await {
                shared.panicked(Caught::new(payload));
            }
        };
        self.running.go_added(work, site);
    }

    /// Waits until no goroutine of the group is running, ends the group's context, and takes the
    /// first error. Go: `Wait`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect: the error stays, and the context continues.
    ///
    /// # Panics
    ///
    /// If a goroutine of the group has panicked, in a runtime with
    /// [`OnPanic::Isolate`](crate::OnPanic::Isolate): with its payload. The next `wait` does not
    /// panic.
    ///
    /// If another `wait` has returned since this one was called: "errgroup: a second wait in one
    /// round". The other `wait` took the error, if there was one, so this one cannot report
    /// success. A `wait` that is called after another one has returned waits for the next round.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let group = gopark::sync::ErrGroup::new();
    ///     group.go(async { Err("first") }).await;
    ///     assert_eq!(group.wait().await, Err("first"));
    ///     assert_eq!(group.wait().await, Ok(()));
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "Wait")]
    pub fn wait(
        &self,
    ) -> impl Future<Output = Result<(), E>> + Case<Output = Result<(), E>> + use<'_, E> {
        let running = self.running.wait();
        let round = self.shared.rounds.load(Ordering::Relaxed);
        async_wait(async move {
            running.await;
            let ended = self.shared.rounds.compare_exchange(
                round,
                round + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            assert!(ended.is_ok(), "errgroup: a second wait in one round");
            self.shared.cancel();
            let first = lock(&self.shared.error).take();
            let panic = lock(&self.shared.panic).take();
            if let Some(caught) = panic {
                caught.resume();
            }
            first.map_or(Ok(()), Err)
        })
    }
}

impl<E: Send + 'static> Default for ErrGroup<E> {
    fn default() -> Self {
        ErrGroup::new()
    }
}

impl<E> Clone for ErrGroup<E> {
    fn clone(&self) -> Self {
        ErrGroup { shared: self.shared.clone(), running: self.running.clone() }
    }
}

impl<E> fmt::Debug for ErrGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrGroup").field("running", &self.running.count()).finish_non_exhaustive()
    }
}

/// The permit of a running goroutine.
struct Slot(Arc<Semaphore>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.release(1);
    }
}
