//! Goroutines that work on one task and may fail.

use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::{Arc, Mutex};

use super::semaphore::Semaphore;
use super::waitgroup::WaitGroup;
use crate::context::{CancelFunc, Context};
use crate::coop::Reason;
use crate::panics::lock;

/// A group of goroutines that work on parts of one task, of which the first error counts.
///
/// Go: `golang.org/x/sync/errgroup`. [`go`](Self::go) starts a goroutine, [`wait`](Self::wait) waits for all of them
/// and returns the error that came first. With a context ([`with_context`](Self::with_context)) the others can learn that
/// one has failed.
///
/// # Panics in the goroutines
///
/// They are not the group's business: a panic goes the way of all unrecovered panics of the runtime
/// ([`OnPanic`](crate::OnPanic)). Under `Isolate` the goroutine counts as done, without an error.
///
/// # When to use something else
///
/// A [`WaitGroup`] where nothing can fail. [`JoinHandle`](crate::JoinHandle)s, or a channel, where results are wanted.
/// `std::thread::scope` on plain threads.
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
    /// One permit for each goroutine that may run, if that is limited.
    limit: Mutex<Option<Arc<Semaphore>>>,
}

struct Shared<E> {
    /// The first error, until a `wait` takes it.
    error: Mutex<Option<E>>,
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
        // Here, outside of the lock, an error that comes later is dropped.
    }

    fn cancel(&self) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }
}

impl<E: Send + 'static> ErrGroup<E> {
    /// A group without a limit.
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

    /// A group without a limit, and a context below `parent` for its goroutines, which ends when the first of them fails,
    /// or when a [`wait`](Self::wait) has returned. Go: `errgroup.WithContext`.
    ///
    /// The goroutines have to look at the context by themselves: the group ends nobody. Its cause is plain
    /// [`Canceled`](crate::context::ContextError::Canceled), where newer versions of Go's give the error; here that is
    /// `wait`'s to give. A goroutine that panics does not end it.
    ///
    /// tokio's closest kin is a `JoinSet`, which aborts its tasks when it is dropped.
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
    ///             other.done().await; // would go on for ever, but for the failure
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
        ErrGroup {
            shared: Arc::new(Shared { error: Mutex::new(None), cancel }),
            running: WaitGroup::new(),
            limit: Mutex::new(None),
        }
    }

    /// Lets at most `n` goroutines of the group run at a time. Go: `SetLimit`.
    ///
    /// With 0, none may start; with `usize::MAX` there is no limit.
    ///
    /// # Panics
    ///
    /// While goroutines of the group run: "errgroup: modify limit while N goroutines in the group are still active".
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
        let active = self.running.count();
        assert!(active == 0, "errgroup: modify limit while {active} goroutines in the group are still active");
        let limit = (n != usize::MAX).then(|| Arc::new(Semaphore::new(n)));
        *lock(&self.limit) = limit;
    }

    fn limit(&self) -> Option<Arc<Semaphore>> {
        lock(&self.limit).clone()
    }

    /// Starts a goroutine, once the limit allows. Go: `Go`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future before it has completed drops `future` as well; nothing has been started.
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
    pub fn go<'a, F>(&'a self, future: F) -> impl Future<Output = ()> + use<'a, F, E>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let site = Location::caller();
        async move {
            let limit = self.limit();
            if let Some(limit) = &limit {
                mem::forget(limit.acquire_at(1, site, Reason::Semaphore).await);
            }
            self.start(future, limit.map(Slot), site);
        }
    }

    /// Starts a goroutine if the limit allows it at this instant; says whether it did. Go: `TryGo`.
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
        let limit = self.limit();
        if let Some(limit) = &limit {
            match limit.try_acquire(1) {
                Some(permit) => mem::forget(permit),
                None => return false,
            }
        }
        self.start(future, limit.map(Slot), Location::caller());
        true
    }

    fn start<F>(&self, future: F, slot: Option<Slot>, site: &'static Location<'static>)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let shared = self.shared.clone();
        let work = async move {
            let _slot = slot;
            if let Err(error) = future.await {
                shared.failed(error);
            }
        };
        self.running.go_at(work, site);
    }

    /// Waits until no goroutine of the group is running, ends the group's context, and takes the first error. Go: `Wait`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect; the error stays, and the context goes on.
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
    pub fn wait(&self) -> impl Future<Output = Result<(), E>> + use<'_, E> {
        let running = self.running.wait();
        async move {
            running.await;
            self.shared.cancel();
            let first = lock(&self.shared.error).take();
            first.map_or(Ok(()), Err)
        }
    }
}

impl<E: Send + 'static> Default for ErrGroup<E> {
    fn default() -> Self {
        ErrGroup::new()
    }
}

impl<E> fmt::Debug for ErrGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrGroup").field("running", &self.running.count()).finish_non_exhaustive()
    }
}

/// The permit of a goroutine that runs.
struct Slot(Arc<Semaphore>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.release(1);
    }
}
