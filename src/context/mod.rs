//! Contexts: telling everybody who works on something that it is over.
//!
//! A [`Context`] is passed along with a task, to whomever has a part in it. It ends when its
//! [`CancelFunc`] is called, when its deadline passes, or when the context that it was derived from
//! ends; and it can carry values. Go: package `context`.
//!
//! ```
//! use gopark::context::{Context, ContextError};
//! use gopark::{chan, go};
//!
//! gopark::block_on(async {
//!     let (ctx, cancel) = Context::background().with_cancel();
//!     let (tx, rx) = chan::unbuffered::<i32>();
//!     let worker = go({
//!         let ctx = ctx.clone();
//!         async move {
//!             let mut sum = 0;
//!             while let Some(n) = ctx.recv(&rx).await {
//!                 sum += n;
//!             }
//!             sum
//!         }
//!     });
//!     tx.send(1).await.unwrap();
//!     tx.send(2).await.unwrap();
//!     cancel.cancel(); // the channel is open still
//!     assert_eq!(worker.await.unwrap(), 3);
//!     assert_eq!(ctx.err(), Some(ContextError::Canceled));
//! });
//! ```
//!
//! # How to use one
//!
//! | Go | here |
//! |---|---|
//! | `select { case <-ctx.Done(): return ctx.Err(); case v := <-ch: … }` | `ctx.run(rx.recv()).await?` |
//! | the same in a `for`, around a channel | `while let Some(v) = ctx.recv(&rx).await` |
//! | `select { case <-ctx.Done(): return ctx.Err(); case ch <- v: }` | `ctx.send(&tx, v).await?` |
//! | `select { case <-ctx.Done(): return ctx.Err(); case <-time.After(d): }` | `ctx.sleep(d).await?` |
//! | the same with more cases | [`select!`](crate::select!) with `_ = ctx.done() => …` |
//! | `if ctx.Err() != nil` | `if ctx.err().is_some()` |
//! | `defer cancel()` | `let _cancel = cancel.defer();` |
//! | `sem.Acquire(ctx, n)` | `ctx.acquire(&sem, n).await?` |
//! | every other call that takes a `ctx` to wait with | `ctx.run(m.lock()).await?` |
//!
//! In a `select!` the choice among ready cases is uniform, as in Go: a loop over a channel that is
//! never empty may go round a few more times when the context has ended. Say `biased;`, with
//! `ctx.done()` first, where it must not. [`Context::run`] and [`Context::recv`] look at the
//! context first.
//!
//! # What to rely on
//!
//! * **All at once.** When [`CancelFunc::cancel`] returns, the context and everything derived from
//!   it has ended.
//! * **The first counts.** What ended a context stays: its error and its cause do not change.
//! * **Upwards nothing happens.** A child's end does not touch its parent, except that the parent
//!   forgets it at once.
//! * **No goroutines.** Deriving a context, or waiting for one, starts none.
//!   [`Context::background`] and a wait allocate nothing, a derived context is one allocation.
//! * **What nobody refers to any more goes**, without waiting for its parent's end. (In Go a
//!   context that is never cancelled stays with its parent, and `go vet` warns of it.)
//! * **Any executor.** Contexts speak only `Waker`, and can be cancelled from any thread, signal
//!   handlers' threads included.
//!
//! # tokio's `CancellationToken`
//!
//! It is the first half of this: `child_token` is [`Context::with_cancel`], `cancelled` is
//! [`Context::done`], `run_until_cancelled` is [`Context::run`], `drop_guard` is
//! [`CancelFunc::defer`]. A token is both halves in one: whoever can wait can cancel. It has no
//! deadlines, causes, values or functions that run afterwards.
//!
//! # Memory ordering
//!
//! The call that ends a context synchronizes before whatever learns of the end: the return of
//! `done`, of `run`, of an [`err`](Context::err) that is not `None`, the start of a function given
//! to [`after_func`](Context::after_func).

#[forbid(unsafe_code)]
mod error;
mod tree;
#[forbid(unsafe_code)]
mod values;
mod wait;

#[cfg(all(test, gopark_loom))]
mod models;

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::tree::{Cause, Node};
use self::values::Values;
use crate::chan::{Receiver, Sender};
use crate::clock::Time;
use crate::runtime::Later;

pub use error::{ContextError, ContextSendError};
pub use wait::{Done, Recv, Run, Sending};

/// Tells when a task is over, and carries what belongs to it. Go: `context.Context`.
///
/// Clones are the same context. Pass it as the first argument, `ctx: &Context`; do not keep it in a
/// struct that outlives the task. See the [module](self) for what can be relied on.
///
/// # Examples
///
/// ```
/// use gopark::context::Context;
///
/// async fn answer(ctx: &Context) -> Option<i32> {
///     ctx.run(async { 42 }).await.ok()
/// }
///
/// gopark::block_on(async {
///     let (ctx, cancel) = Context::background().with_cancel();
///     assert_eq!(answer(&ctx).await, Some(42));
///     cancel.cancel();
///     assert_eq!(answer(&ctx).await, None);
/// });
/// ```
#[derive(Clone)]
pub struct Context {
    /// What it ends with; `None` never ends.
    node: Option<Arc<Node>>,
    values: Option<Arc<Values>>,
}

impl Context {
    /// The context that everything starts from: it never ends, has no deadline and carries nothing.
    /// It costs nothing. Go: `context.Background()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let ctx = gopark::context::Context::background();
    /// assert!(ctx.err().is_none() && ctx.deadline().is_none());
    /// ```
    #[doc(alias = "Background")]
    pub const fn background() -> Self {
        Context { node: None, values: None }
    }

    /// As [`background`](Self::background), for where it is not clear yet which context to use: a
    /// word to search for. Go: `context.TODO()`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(gopark::context::Context::todo().err().is_none());
    /// ```
    #[doc(alias = "TODO")]
    pub const fn todo() -> Self {
        Self::background()
    }

    /// A context that ends when its function is called, or with this one. Go: `context.WithCancel`.
    /// tokio: `child_token`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    ///
    /// let (parent, cancel) = Context::background().with_cancel();
    /// let (child, cancel_child) = parent.with_cancel();
    /// cancel_child.cancel();
    /// assert!(child.err().is_some() && parent.err().is_none());
    ///
    /// let (child, _) = parent.with_cancel();
    /// cancel.cancel();
    /// assert!(child.err().is_some() && parent.err().is_some());
    /// ```
    #[doc(alias = "WithCancel")]
    pub fn with_cancel(&self) -> (Self, CancelFunc) {
        self.cancelled_by(Node::new(self.node.as_ref()))
    }

    /// As [`with_cancel`](Self::with_cancel), with a function that says why. Go:
    /// `context.WithCancelCause`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::{Context, ContextError};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel_cause();
    /// cancel.cancel("the disk is full");
    /// assert_eq!(ctx.err(), Some(ContextError::Canceled));
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the disk is full");
    /// ```
    #[doc(alias = "WithCancelCause")]
    pub fn with_cancel_cause(&self) -> (Self, CancelCauseFunc) {
        let (ctx, cancel) = self.with_cancel();
        (ctx, CancelCauseFunc { node: cancel.node })
    }

    /// A context that also ends when so much time has passed from now. Go: `context.WithTimeout`.
    ///
    /// It is [`with_deadline`](Self::with_deadline) from now on. Too long a time means for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gopark::context::{Context, ContextError};
    ///
    /// gopark::block_on(async {
    ///     let (ctx, _) = Context::background().with_timeout(Duration::from_millis(5));
    ///     assert_eq!(ctx.run(std::future::pending::<()>()).await, Err(ContextError::DeadlineExceeded));
    /// });
    /// ```
    #[doc(alias = "WithTimeout")]
    pub fn with_timeout(&self, timeout: Duration) -> (Self, CancelFunc) {
        self.until(Time::now().after(timeout).instant(), None)
    }

    /// As [`with_timeout`](Self::with_timeout), with the cause that the context has when time is
    /// up. Its function gives no cause. Go: `context.WithTimeoutCause`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let background = gopark::context::Context::background();
    /// let (ctx, _) = background.with_timeout_cause(Duration::ZERO, "too slow");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "too slow");
    /// ```
    #[doc(alias = "WithTimeoutCause")]
    pub fn with_timeout_cause(
        &self,
        timeout: Duration,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> (Self, CancelFunc) {
        self.until(Time::now().after(timeout).instant(), Some(cause_of(cause.into())))
    }

    /// A context that also ends at `deadline`. Go: `context.WithDeadline`.
    ///
    /// If this context has an earlier deadline, that one counts. A deadline that has passed ends
    /// the new context at once, with [`ContextError::DeadlineExceeded`]. The timer is stopped when
    /// the context ends otherwise, and when nobody refers to it any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::{Context, ContextError};
    /// use gopark::time;
    ///
    /// let (ctx, _) = Context::background().with_deadline(time::now());
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// ```
    #[doc(alias = "WithDeadline")]
    pub fn with_deadline(&self, deadline: Instant) -> (Self, CancelFunc) {
        self.until(Some(deadline), None)
    }

    /// As [`with_deadline`](Self::with_deadline), with the cause that the context has when time is
    /// up. Its function gives no cause. Go: `context.WithDeadlineCause`.
    ///
    /// # Examples
    ///
    /// ```
    /// let background = gopark::context::Context::background();
    /// let (ctx, cancel) = background.with_deadline_cause(gopark::time::now(), "too slow");
    /// cancel.cancel(); // too late
    /// assert_eq!(ctx.cause().unwrap().to_string(), "too slow");
    /// ```
    #[doc(alias = "WithDeadlineCause")]
    pub fn with_deadline_cause(
        &self,
        deadline: Instant,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> (Self, CancelFunc) {
        self.until(Some(deadline), Some(cause_of(cause.into())))
    }

    fn until(&self, deadline: Option<Instant>, cause: Option<Cause>) -> (Self, CancelFunc) {
        let parent = self.node.as_ref();
        let earlier = self.deadline();
        self.cancelled_by(match deadline {
            Some(deadline) if earlier.is_none_or(|earlier| deadline < earlier) => {
                Node::with_deadline(parent, deadline, cause)
            }
            // For ever, or the parent ends before.
            _ => Node::new(parent),
        })
    }

    fn cancelled_by(&self, node: Arc<Node>) -> (Self, CancelFunc) {
        let cancel = CancelFunc { node: node.clone() };
        (Context { node: Some(node), values: self.values.clone() }, cancel)
    }

    /// This context with a value of type `T`, in place of the one it may have had. Go:
    /// `context.WithValue`, with the type as the key.
    ///
    /// Use types of your own, not `String` or `u64`: so nobody else's value is taken for yours.
    /// Values are for what accompanies a request through many layers, such as its number or its
    /// user, not for arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    ///
    /// struct RequestId(u64);
    ///
    /// let ctx = Context::background().with_value(RequestId(7));
    /// assert_eq!(ctx.value::<RequestId>().unwrap().0, 7);
    /// ```
    #[doc(alias = "WithValue")]
    #[must_use = "the new context has the value, this one has not"]
    pub fn with_value<T: Send + Sync + 'static>(&self, value: T) -> Self {
        Context { node: self.node.clone(), values: Some(Values::with(self.values.clone(), value)) }
    }

    /// The value of type `T`: the one that was set last on the way to this context. Go:
    /// `ctx.Value(key)`.
    ///
    /// It takes a step for each value that was set since.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    ///
    /// let ctx = Context::background().with_value(1_i32).with_value(2_i32);
    /// assert_eq!(ctx.value::<i32>().as_deref(), Some(&2));
    /// assert!(ctx.value::<i64>().is_none());
    /// ```
    #[doc(alias = "Value")]
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Values::find(self.values.as_ref())
    }

    /// The values of this context without its end: it never ends and has no deadline. Go:
    /// `context.WithoutCancel`.
    ///
    /// For what must still be done when a request is over, such as writing a log.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_value("mine").with_cancel();
    /// let rest = ctx.without_cancel();
    /// cancel.cancel();
    /// assert!(rest.err().is_none());
    /// assert_eq!(rest.value::<&str>().as_deref(), Some(&"mine"));
    /// ```
    #[doc(alias = "WithoutCancel")]
    #[must_use = "this context ends as before"]
    pub fn without_cancel(&self) -> Self {
        Context { node: None, values: self.values.clone() }
    }

    /// Waits for the end. Go: `<-ctx.Done()`. tokio: `cancelled`.
    ///
    /// It is a case of a [`select!`](crate::select!). It allocates nothing, and of a context that
    /// never ends it never completes. When [`err`](Self::err) says that the context has ended, it
    /// is ready.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let (_tx, rx) = chan::unbuffered::<()>();
    ///     gopark::go(async move { cancel.cancel() });
    ///     select! {
    ///         _ = ctx.done() => {}
    ///         _ = rx.recv() => unreachable!("nobody sends"),
    ///     }
    /// });
    /// ```
    #[doc(alias = "Done")]
    #[doc(alias = "cancelled")]
    #[inline]
    #[track_caller]
    pub fn done(&self) -> Done<'_> {
        Done::new(self.node(), Location::caller())
    }

    /// Why it has ended, `None` as long as it has not. Go: `ctx.Err()`. tokio: `is_cancelled`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::{Context, ContextError};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert_eq!(ctx.err(), None);
    /// cancel.cancel();
    /// assert_eq!(ctx.err(), Some(ContextError::Canceled));
    /// ```
    #[doc(alias = "Err")]
    #[doc(alias = "is_cancelled")]
    #[inline]
    pub fn err(&self) -> Option<ContextError> {
        self.node()?.err()
    }

    /// What led to its end, `None` as long as it has not ended. Go: `context.Cause(ctx)`.
    ///
    /// That is what the first to end it gave, be it this context or one of its parents; who gave
    /// nothing gave the [`ContextError`] of [`err`](Self::err).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::{Context, ContextError};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel_cause();
    /// let (child, _) = ctx.with_cancel();
    /// cancel.cancel(std::io::Error::other("no disk"));
    /// let cause = child.cause().unwrap();
    /// assert!(cause.downcast_ref::<std::io::Error>().is_some());
    /// ```
    #[doc(alias = "Cause")]
    pub fn cause(&self) -> Option<Arc<dyn Error + Send + Sync>> {
        self.node()?.cause()
    }

    /// When it will end at the latest, if it has a deadline; also after it has ended. Go:
    /// `ctx.Deadline()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gopark::context::Context;
    ///
    /// let soon = gopark::time::now() + Duration::from_secs(10);
    /// let (ctx, _) = Context::background().with_deadline(soon);
    /// let (later, _) = ctx.with_deadline(soon + Duration::from_secs(1));
    /// assert_eq!(later.deadline(), Some(soon));
    /// ```
    #[doc(alias = "Deadline")]
    pub fn deadline(&self) -> Option<Instant> {
        self.node()?.deadline
    }

    /// Starts a goroutine with `future` when the context ends; at once if it has ended. Go:
    /// `context.AfterFunc`.
    ///
    /// The goroutine belongs to the runtime where this is called, or else to the global one. The
    /// cancel that starts it does not wait for it. Each registration is for itself.
    ///
    /// The returned [`Stop`] takes the registration back; dropping it does nothing. If it becomes
    /// certain that the context never ends, since it, its cancel functions and all that it was
    /// derived from are gone, `future` is dropped without having run.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    /// use gopark::context::Context;
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let (tx, rx) = chan::bounded(1);
    ///     ctx.after_func(async move { tx.send("cleaned up").await });
    ///     cancel.cancel();
    ///     assert_eq!(rx.recv().await, Some("cleaned up"));
    /// });
    /// ```
    #[doc(alias = "AfterFunc")]
    #[track_caller]
    pub fn after_func<F>(&self, future: F) -> Stop
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (runtime, site) = (Later::here(), Location::caller());
        let start = Box::new(move || runtime.go(future, site));
        Stop { function: Node::with_start(self.node.as_ref(), start), node: self.node.clone() }
    }

    /// Runs `future` until it is ready or the context has ended. tokio: `run_until_cancelled`.
    ///
    /// If the context has ended before the first poll, `future` is not polled at all. From then on
    /// `future` is polled first: if both are ready, its result is not lost, whichever came first.
    /// (So what was granted after the end, before the next poll, counts as granted;
    /// [`acquire`](Self::acquire) is stricter.) Losing, `future` is dropped, so it should be one
    /// that can be dropped without harm, as all of this crate can. It is a case of a
    /// [`select!`](crate::select!).
    ///
    /// # Errors
    ///
    /// [`ContextError`], if the context has ended first.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops `future`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    /// use gopark::context::{Context, ContextError};
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let (tx, rx) = chan::bounded(1);
    ///     tx.send(5).await.unwrap();
    ///     assert_eq!(ctx.run(rx.recv()).await, Ok(Some(5)));
    ///     gopark::go(async move { cancel.cancel() });
    ///     assert_eq!(ctx.run(rx.recv()).await, Err(ContextError::Canceled));
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn run<F: Future>(&self, future: F) -> Run<'_, F> {
        Run::new(self.done(), future)
    }

    /// Receives a value, waiting for one; `None` when the channel is closed and drained, or the
    /// context has ended. So a loop over a channel ends with the context: Go's `for { select { case
    /// <-ctx.Done(): return; case v, ok := <-ch: … } }`.
    ///
    /// A context that has ended wins over a value that is there: the loop stops where it is, and
    /// the value stays in the channel. (Go's `select` chooses at random.) A value that arrives
    /// while this waits wins over an end that comes before it is polled again. Ask
    /// [`err`](Self::err) which of the two ends it was.
    ///
    /// It is a case of a [`select!`](crate::select!), and short for `self.run(rx.recv())`.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no value, as with [`Receiver::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    /// use gopark::context::Context;
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let (tx, rx) = chan::bounded(10);
    ///     for i in 0..10 {
    ///         tx.send(i).await.unwrap();
    ///     }
    ///     let mut seen = 0;
    ///     while let Some(i) = ctx.recv(&rx).await {
    ///         seen += 1;
    ///         if i == 3 {
    ///             cancel.cancel();
    ///         }
    ///     }
    ///     assert_eq!((seen, rx.len()), (4, 6));
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn recv<'a, T>(&'a self, rx: &'a Receiver<T>) -> Recv<'a, T> {
        Recv { run: self.run(rx.recv()) }
    }

    /// Sends a value, waiting until it is taken or the context has ended: Go's
    /// `select { case <-ctx.Done(): return ctx.Err(); case ch <- v: }`.
    ///
    /// A context that has ended wins over room that is there: nothing is sent. (Go's `select`
    /// chooses at random.) A value that is taken while this waits counts as sent, though the
    /// context may end before it is polled again. It is a case of a [`select!`](crate::select!).
    ///
    /// # Errors
    ///
    /// [`ContextSendError`], with the value: the context has ended first, or the channel is closed.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// As of [`Sender::send`]: dropped before its value was taken, the future drops the value, and
    /// nothing was sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    /// use gopark::context::{Context, ContextError, ContextSendError};
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let (tx, rx) = chan::bounded(1);
    ///     ctx.send(&tx, 1).await.unwrap();
    ///     gopark::go(async move { cancel.cancel() });
    ///     let sent = ctx.send(&tx, 2).await; // there is no room
    ///     assert_eq!(sent, Err(ContextSendError::Context(ContextError::Canceled, 2)));
    ///     assert_eq!(rx.len(), 1);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn send<'a, T>(&'a self, tx: &'a Sender<T>, value: T) -> Sending<'a, T> {
        Sending { run: self.run(tx.send(value)) }
    }

    fn node(&self) -> Option<&Node> {
        self.node.as_deref()
    }
}

impl fmt::Debug for Context {
    /// `children` are the contexts and functions that would end with this one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            None => f.write_str("Context::background"),
            Some(node) => {
                let mut context = f.debug_struct("Context");
                context.field("err", &node.err()).field("deadline", &node.deadline);
                context.field("children", &node.children()).finish()
            }
        }
    }
}

/// Ends a context: made by [`Context::with_cancel`] and its kin. Go: `context.CancelFunc`.
///
/// Clones end the same context. Dropping it does nothing; to cancel at the end of a scope, see
/// [`defer`](Self::defer).
#[derive(Clone)]
pub struct CancelFunc {
    node: Arc<Node>,
}

impl CancelFunc {
    /// Ends the context, and everything derived from it, before it returns, and wakes all who wait
    /// for that. If it has ended already, it stays as it is. May be called from any thread, also by
    /// those who are woken. tokio: `cancel`.
    ///
    /// It takes time in proportion to what has to be ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (child, _) = ctx.with_cancel();
    /// cancel.cancel();
    /// assert!(child.err().is_some());
    /// cancel.cancel(); // nothing happens
    /// ```
    pub fn cancel(&self) {
        self.node.cancel(ContextError::Canceled, None);
    }

    /// A guard that calls [`cancel`](Self::cancel) when it is dropped. Go: `defer cancel()`. tokio:
    /// `drop_guard`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// {
    ///     let _cancel = cancel.defer();
    ///     assert!(ctx.err().is_none());
    /// }
    /// assert!(ctx.err().is_some());
    /// ```
    #[doc(alias = "drop_guard")]
    pub fn defer(self) -> DeferredCancel {
        DeferredCancel { cancel: self }
    }
}

impl fmt::Debug for CancelFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelFunc").field("err", &self.node.err()).finish_non_exhaustive()
    }
}

/// Ends a context when it is dropped, made by [`CancelFunc::defer`].
#[derive(Debug)]
#[must_use = "dropping it cancels at once"]
pub struct DeferredCancel {
    cancel: CancelFunc,
}

impl Drop for DeferredCancel {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Ends a context and says why: made by [`Context::with_cancel_cause`]. Go:
/// `context.CancelCauseFunc`.
///
/// Clones end the same context. Dropping it does nothing.
#[derive(Clone)]
pub struct CancelCauseFunc {
    node: Arc<Node>,
}

impl CancelCauseFunc {
    /// As [`CancelFunc::cancel`], with the cause that [`Context::cause`] gives from then on, here
    /// and in what is derived.
    ///
    /// Any error will do, or a text. For Go's `cancel(nil)`, give [`ContextError::Canceled`]. The
    /// cause of another context, passed on, stays the error that it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::{Context, ContextError};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel_cause();
    /// cancel.cancel(ContextError::Canceled);
    /// cancel.cancel("too late");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "context canceled");
    ///
    /// let (other, cancel) = Context::background().with_cancel_cause();
    /// cancel.cancel(ctx.cause().unwrap());
    /// assert!(other.cause().unwrap().downcast_ref::<ContextError>().is_some());
    /// ```
    pub fn cancel(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) {
        self.node.cancel(ContextError::Canceled, Some(cause_of(cause.into())));
    }
}

impl fmt::Debug for CancelCauseFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelCauseFunc").field("err", &self.node.err()).finish_non_exhaustive()
    }
}

/// The error, which may be another context's cause.
fn cause_of(error: Box<dyn Error + Send + Sync>) -> Cause {
    match error.downcast::<Cause>() {
        Ok(cause) => *cause,
        Err(error) => Arc::from(error),
    }
}

/// Takes a registration of [`Context::after_func`] back. Dropping it does nothing.
pub struct Stop {
    function: Arc<Node>,
    /// What it waits for.
    node: Option<Arc<Node>>,
}

impl Stop {
    /// Takes the registration back; the future is dropped. True if it will not run because of this
    /// call, false if it has been started or was stopped before. It does not wait for one that
    /// runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::context::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let stop = ctx.after_func(async { unreachable!("stopped") });
    /// assert!(stop.stop());
    /// assert!(!stop.stop());
    /// cancel.cancel();
    /// ```
    pub fn stop(&self) -> bool {
        self.function.disarm(self.node.as_deref())
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("waits", &self.function.err().is_none()).finish()
    }
}
