//! Cancellation, deadlines and request-scoped values. Go: package `context`.
//!
//! A [`Context`] is passed to every function that has a part in a task. It ends when its
//! [`CancelFunc`] is called, when its deadline passes, or when the context that it was derived from
//! ends. It can also carry values.
//!
//! # How to use one
//!
//! | Go | gopark |
//! |---|---|
//! | `select { case <-ctx.Done(): … case v := <-ch: … }` | `ctx.run(rx.recv()).await?` |
//! | the same in a `for`, around a channel | `while let Some(v) = ctx.recv(&rx).await` |
//! | `select { case <-ctx.Done(): … case ch <- v: }` | `ctx.send(&tx, v).await?` |
//! | `select { case <-ctx.Done(): … case <-time.After(d): }` | `ctx.sleep(d).await?` |
//! | the same with more cases | [`select!`](crate::select!) with `_ = ctx.done() => …` |
//! | `if ctx.Err() != nil` | `if ctx.err().is_some()` |
//! | `defer cancel()` | `let _cancel = cancel.defer();` |
//! | `sem.Acquire(ctx, n)` | `ctx.acquire(&sem, n).await?` |
//! | any other call that takes a `ctx` and waits | `ctx.run(m.lock()).await?` |
//!
//! The dots are `return ctx.Err()`.
//!
//! A `select!` chooses uniformly among the ready cases, as Go's does. So a loop over a channel that
//! is never empty may run a few more rounds after the context has ended. To prevent that, write
//! `biased;` and put `ctx.done()` first. [`Context::run`] and [`Context::recv`] check the context
//! first.
//!
//! # What to rely on
//!
//! * **All at once.** When [`CancelFunc::cancel`] returns, the context and every context derived
//!   from it have ended.
//! * **The first end counts.** The error and the cause of a context that has ended do not change.
//! * **Cancellation flows down only.** The end of a child never affects its parent; the parent only
//!   removes it from its list of children.
//! * **No goroutines.** Deriving a context or waiting for one starts none. [`Context::background`]
//!   and a wait allocate nothing; a derived context is one allocation, and one
//!   more if it carries a value.
//! * **No leaks.** A context without references is freed at once; it does not wait for the end of
//!   its parent. (In Go a context that is never cancelled stays with its parent, and `go vet` warns
//!   of it.)
//! * **Any executor.** Contexts use only `Waker`, and may be cancelled from any thread, including
//!   the threads of signal handlers.
//!
//! # tokio's `CancellationToken`
//!
//! A token corresponds to a context and its cancel function in one: any holder that can wait can
//! also cancel. `child_token` is [`Context::with_cancel`], `cancelled` is [`Context::done`],
//! `run_until_cancelled` is [`Context::run`], `drop_guard` is [`CancelFunc::defer`]. A token has no
//! deadline, cause, values or functions that run after cancellation.
//!
//! # Memory ordering
//!
//! The call that ends a context synchronizes before every event that observes the end: the
//! completion of `done` or `run`, the return of an [`err`](Context::err) that is not `None`, and
//! the start of a function given to [`after_func`](Context::after_func).
//!
//! # Examples
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
//!     cancel.cancel(); // the channel is still open
//!     assert_eq!(worker.await.unwrap(), 3);
//!     assert_eq!(ctx.err(), Some(ContextError::Canceled));
//! });
//! ```

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

/// Carries cancellation, a deadline and values to the functions of a task. Go: `context.Context`.
///
/// Clones are the same context. Pass it as the first argument, `ctx: &Context`; do not store it in
/// a struct that outlives the task. The [module](self) lists what you can rely on.
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
    /// The node that ends the context; `None` if the context never ends.
    node: Option<Arc<Node>>,
    values: Option<Arc<Values>>,
}

impl Context {
    /// Returns the root context: it never ends, has no deadline and carries no values. Go:
    /// `context.Background()`.
    ///
    /// It costs nothing.
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

    /// Returns the same as [`background`](Self::background), as a marker for a context still to be
    /// chosen. Go: `context.TODO()`.
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

    /// Derives a context, and returns a function that cancels it. Go: `context.WithCancel`. tokio:
    /// `child_token`.
    ///
    /// The derived context also ends when this one does.
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

    /// Derives a context, and returns a function that cancels it with a cause. Go:
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

    /// Derives a context that ends after `timeout` at the latest. Go: `context.WithTimeout`.
    ///
    /// It is [`with_deadline`](Self::with_deadline), counted from now. A timeout too long to
    /// represent means no deadline of its own.
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
    ///     let ended = ctx.run(std::future::pending::<()>()).await;
    ///     assert_eq!(ended, Err(ContextError::DeadlineExceeded));
    /// });
    /// ```
    #[doc(alias = "WithTimeout")]
    pub fn with_timeout(&self, timeout: Duration) -> (Self, CancelFunc) {
        self.until(Time::now().after(timeout).instant(), None)
    }

    /// Derives a context that ends after `timeout` with the given cause. Go:
    /// `context.WithTimeoutCause`.
    ///
    /// Otherwise it is the same as [`with_timeout`](Self::with_timeout). The returned function
    /// cancels without a cause.
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

    /// Derives a context that ends at `deadline` at the latest. Go: `context.WithDeadline`.
    ///
    /// If this context has an earlier deadline, that deadline counts. A deadline that has passed
    /// ends the new context at once, with [`ContextError::DeadlineExceeded`]. The timer is stopped
    /// when the context ends for another reason, or when its last reference is dropped.
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

    /// Derives a context that ends at `deadline` with the given cause. Go:
    /// `context.WithDeadlineCause`.
    ///
    /// Otherwise it is the same as [`with_deadline`](Self::with_deadline). The returned function
    /// cancels without a cause.
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
            // There is no deadline, or the parent's is earlier.
            _ => Node::new(parent),
        })
    }

    fn cancelled_by(&self, node: Arc<Node>) -> (Self, CancelFunc) {
        let cancel = CancelFunc { node: node.clone() };
        (Context { node: Some(node), values: self.values.clone() }, cancel)
    }

    /// Returns this context with a value of type `T`, which replaces one that it had. Go:
    /// `context.WithValue`, with the type as the key.
    ///
    /// Use types of your own, not `String` or `u64`, so that values of other libraries are not
    /// mistaken for yours. Values are for data that accompanies a request through many layers, such
    /// as its number or its user, not for arguments.
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
    #[must_use = "the value is in the returned context, not in this one"]
    pub fn with_value<T: Send + Sync + 'static>(&self, value: T) -> Self {
        Context { node: self.node.clone(), values: Some(Values::with(self.values.clone(), value)) }
    }

    /// Returns the value of type `T` that was set last on the way to this context. Go:
    /// `ctx.Value(key)`.
    ///
    /// It takes one step for each value that was set after it.
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

    /// Returns a context with the values of this one that never ends. Go: `context.WithoutCancel`.
    ///
    /// It has no deadline either. Use it for work that must be done after a request is over, such
    /// as writing a log.
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
    #[must_use = "the returned context never ends; this one still does"]
    pub fn without_cancel(&self) -> Self {
        Context { node: None, values: self.values.clone() }
    }

    /// Waits until the context ends. Go: `<-ctx.Done()`. tokio: `cancelled`.
    ///
    /// If [`err`](Self::err) returns an error, this is ready. For a context that never ends it
    /// never completes. It allocates nothing. It is a case of a [`select!`](crate::select!).
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
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
    ///         _ = rx.recv() => unreachable!("no value is sent"),
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

    /// Returns why the context has ended, or `None` if it has not. Go: `ctx.Err()`. tokio:
    /// `is_cancelled`.
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

    /// Returns the cause of the context's end, or `None` if it has not ended. Go:
    /// `context.Cause(ctx)`.
    ///
    /// The first call or deadline that ended this context or one of its parents determines the
    /// cause. If it gave none, the cause is the [`ContextError`] that [`err`](Self::err) returns.
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

    /// Returns the deadline, if there is one, also after the end. Go: `ctx.Deadline()`.
    ///
    /// It is the earliest deadline of this context and its parents.
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

    /// Starts a goroutine with `future` when the context ends. Go: `context.AfterFunc`.
    ///
    /// If the context has ended already, the goroutine starts at once. It belongs to the runtime
    /// that is current in this call. The call that ends the context does not wait for it. Several
    /// registrations are independent.
    ///
    /// The returned [`Stop`] revokes the registration; dropping it does nothing. If the context can
    /// no longer end, because it, its cancel functions and all contexts that it was derived from
    /// have been dropped, `future` is dropped without having run.
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

    /// Runs `future` until it is ready or the context ends. tokio: `run_until_cancelled`.
    ///
    /// If the context has ended before the first poll, `future` is not polled at all. Otherwise
    /// each poll polls `future` first: if both are ready, its result is returned, even if the
    /// context ended earlier. (So a lock that was granted after the end, but before the next poll,
    /// counts as granted; [`acquire`](Self::acquire) is stricter.)
    ///
    /// If the context ends first, `future` is dropped. So it must be safe to drop; all futures of
    /// this crate are. The returned future is a case of a [`select!`](crate::select!).
    ///
    /// # Cancellation
    ///
    /// Dropping it drops `future`.
    ///
    /// # Errors
    ///
    /// [`ContextError`] if the context ended first.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
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

    /// Receives a value, or returns `None` when the channel is closed and drained or the context
    /// ends.
    ///
    /// So a loop over a channel ends with the context, as Go's `for { select { case <-ctx.Done():
    /// return; case v, ok := <-ch: … } }`. It is short for `self.run(rx.recv())`, and a case of a
    /// [`select!`](crate::select!).
    ///
    /// If the context has ended on entry, it wins over a value in the channel: the loop ends, and
    /// the value stays there. (Go's `select` chooses at random.) A value that arrives while this
    /// waits wins over an end that happens before the next poll. If the result is `None`,
    /// [`err`](Self::err) tells which of the two ended the loop.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no value, as with [`Receiver::recv`].
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
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

    /// Sends a value, or returns it when the channel is closed or the context ends.
    ///
    /// Go: `select { case <-ctx.Done(): return ctx.Err(); case ch <- v: }`. It is a case of a
    /// [`select!`](crate::select!).
    ///
    /// If the context has ended on entry, nothing is sent, even if the channel has room. (Go's
    /// `select` chooses at random.) A value that is taken while this waits counts as sent, even if
    /// the context ends before the next poll.
    ///
    /// # Cancellation
    ///
    /// As [`Sender::send`]: if the future is dropped before its value was taken, it drops the
    /// value, and nothing was sent.
    ///
    /// # Errors
    ///
    /// [`ContextSendError`], with the value, if the context ended first or the channel is closed.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
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
    ///     let sent = ctx.send(&tx, 2).await; // the buffer is full
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
    /// `children` counts the contexts and functions that would end with this context.
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

/// Ends a context. Go: `context.CancelFunc`.
///
/// [`Context::with_cancel`] and the methods for deadlines return it. Clones end the same context.
/// Dropping it does nothing; to cancel at the end of a scope, use [`defer`](Self::defer).
///
/// # Examples
///
/// ```
/// let (ctx, cancel) = gopark::context::Context::background().with_cancel();
/// let other = cancel.clone();
/// drop(cancel);
/// assert!(ctx.err().is_none());
/// other.cancel();
/// assert!(ctx.err().is_some());
/// ```
#[derive(Clone)]
pub struct CancelFunc {
    node: Arc<Node>,
}

impl CancelFunc {
    /// Ends the context and every context derived from it, and wakes all waiting tasks. tokio:
    /// `cancel`.
    ///
    /// All of them have ended when this returns. A context that has ended already does not change.
    /// It may be called from any thread, also by the tasks that it wakes. The time is proportional
    /// to the number of contexts and waits that it ends.
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

    /// Returns a guard that calls [`cancel`](Self::cancel) when it is dropped. Go: `defer
    /// cancel()`. tokio: `drop_guard`.
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

/// A guard that ends a context when it is dropped, returned by [`CancelFunc::defer`].
///
/// # Examples
///
/// ```
/// use gopark::context::{Context, DeferredCancel};
///
/// struct Session {
///     _cancel: DeferredCancel,
/// }
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// let session = Session { _cancel: cancel.defer() };
/// assert!(ctx.err().is_none());
/// drop(session);
/// assert!(ctx.err().is_some());
/// ```
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

/// Ends a context with a cause. Go: `context.CancelCauseFunc`.
///
/// [`Context::with_cancel_cause`] returns it. Clones end the same context. Dropping it does
/// nothing.
///
/// # Examples
///
/// ```
/// let (ctx, cancel) = gopark::context::Context::background().with_cancel_cause();
/// cancel.cancel("not needed");
/// assert_eq!(ctx.cause().unwrap().to_string(), "not needed");
/// ```
#[derive(Clone)]
pub struct CancelCauseFunc {
    node: Arc<Node>,
}

impl CancelCauseFunc {
    /// Ends the context as [`CancelFunc::cancel`] does, with a cause that [`Context::cause`] then
    /// returns.
    ///
    /// The cause is that of every context derived from it as well. It may be any error, or a text.
    /// For Go's `cancel(nil)`, pass [`ContextError::Canceled`]. The cause of another context
    /// can be passed on: it stays the same error, and is not wrapped.
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

    /// Returns a function that ends the same context without a cause of its own.
    #[cfg(feature = "net")]
    pub(crate) fn without_cause(&self) -> CancelFunc {
        CancelFunc { node: self.node.clone() }
    }
}

impl fmt::Debug for CancelCauseFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelCauseFunc").field("err", &self.node.err()).finish_non_exhaustive()
    }
}

/// Returns `error` as a cause, without wrapping it again if it is the cause of another context.
fn cause_of(error: Box<dyn Error + Send + Sync>) -> Cause {
    match error.downcast::<Cause>() {
        Ok(cause) => *cause,
        Err(error) => Arc::from(error),
    }
}

/// Revokes a registration of [`Context::after_func`]. Dropping it does nothing.
///
/// # Examples
///
/// ```
/// let (ctx, _cancel) = gopark::context::Context::background().with_cancel();
/// let stop = ctx.after_func(async {});
/// assert!(stop.stop());
/// ```
pub struct Stop {
    function: Arc<Node>,
    /// The node whose end starts the function.
    node: Option<Arc<Node>>,
}

impl Stop {
    /// Revokes the registration and drops its future. Returns true if this call prevented the
    /// start.
    ///
    /// It returns false if the future has been started, or the registration was revoked before. It
    /// does not wait for a future that runs.
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
