//! [`sleep`] and [`timeout`], as futures and as cases of a `select!`.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::alarm::register;
use crate::clock::{self, Time};
use crate::context;
use crate::coop::{self, Object, Reason};
use crate::timer::shard::{Look, Node, state};
use crate::wait::case::future_case;
use crate::waker::TaskWaker;

/// Waits until `duration` has passed since this call. Go: `time.Sleep`; tokio: `time::sleep`.
///
/// The timer starts when the future is first polled, but the time counts from the call. A zero
/// duration completes at once, without waiting; a duration too long to represent (584 years) never
/// completes.
///
/// It never ends early. It may end a few microseconds late, because the clock is not read between
/// all polls; see [precision](super#precision). A due timer fires before any goroutine is polled a
/// second time, and other processors fire it if this processor is busy.
///
/// # Cancellation
///
/// Dropping the future removes the timer at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use gopark::time;
///
/// gopark::block_on(async {
///     let start = time::now();
///     time::sleep(Duration::from_millis(5)).await;
///     assert!(time::now() >= start + Duration::from_millis(5));
/// });
/// ```
#[doc(alias = "Sleep")]
#[inline]
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    sleep_at(duration, Location::caller())
}

/// As [`sleep`], for a call at `site`.
pub(crate) fn sleep_at(duration: Duration, site: &'static Location<'static>) -> Sleep {
    let due = if duration.is_zero() { Time::PAST } else { clock::coarse_now().after(duration) };
    Sleep::new(due, site)
}

/// Waits until `deadline`. Go: `time.Sleep(time.Until(deadline))`; tokio: `time::sleep_until`.
///
/// A deadline in the past completes at once. Otherwise it is as [`sleep`].
///
/// # Cancellation
///
/// As [`sleep`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use gopark::time;
///
/// gopark::block_on(async {
///     let deadline = time::now() + Duration::from_millis(5);
///     time::sleep_until(deadline).await;
///     assert!(time::now() >= deadline);
/// });
/// ```
#[inline]
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    let due = Time::at(deadline);
    let due = if due <= Time::now() { Time::PAST } else { due };
    Sleep::new(due, Location::caller())
}

pin_project! {
    /// A wait for a point in time, returned by [`sleep`] and [`sleep_until`].
    ///
    /// # Cancellation
    ///
    /// Dropping it removes the timer at once.
    ///
    /// # Panics
    ///
    /// If it is polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::time::Duration;
    ///
    /// use gopark::{chan, select, time};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(3);
    ///     (1..=3).for_each(|v| tx.try_send(v).unwrap());
    ///     let mut limit = pin!(time::sleep(Duration::from_secs(60))); // For all rounds together.
    ///     let mut sum = 0;
    ///     while sum < 6 {
    ///         select! {
    ///             v = rx.recv() => sum += v.unwrap(),
    ///             _ = limit.as_mut() => break,
    ///         }
    ///     }
    ///     assert_eq!(sum, 6);
    /// });
    /// ```
    #[must_use = "a sleep does nothing unless awaited"]
    pub struct Sleep {
        #[pin]
        node: Node,
        site: &'static Location<'static>,
        object: Object,
    }
}

impl Sleep {
    #[inline]
    pub(crate) fn new(due: Time, site: &'static Location<'static>) -> Self {
        let sleep = Self { node: Node::new(due), site, object: Object::new() };
        #[cfg(feature = "sim")]
        sleep.object.tried(site);
        sleep
    }

    #[inline]
    pub(super) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// Sets a new deadline, also after completion. Go: `Reset` of a `time.Timer`; tokio:
    /// `Sleep::reset`.
    ///
    /// A task that waits for it goes on waiting, until the new deadline. If several tasks wait, use
    /// a [`Timer`](super::Timer) instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::time::Duration;
    ///
    /// use gopark::time;
    ///
    /// gopark::block_on(async {
    ///     let mut idle = pin!(time::sleep(Duration::from_secs(3600)));
    ///     let deadline = time::now() + Duration::from_millis(2);
    ///     idle.as_mut().reset(deadline);
    ///     idle.await;
    ///     assert!(time::now() >= deadline);
    /// });
    /// ```
    #[doc(alias = "Reset")]
    #[track_caller]
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        let this = self.project();
        #[cfg(feature = "sim")]
        this.object.tried(Location::caller());
        let due = Time::at(deadline);
        let due = if due <= Time::now() { Time::PAST } else { due };
        let (node, waker) = this.node.reset(due);
        let Some(waker) = waker else { return };
        if due == Time::PAST {
            return waker.wake();
        }
        if due == Time::NEVER {
            drop(node.keep_waker(Some(waker)));
            return;
        }
        let driver = register(node, due, waker);
        driver.into_iter().for_each(TaskWaker::wake);
    }

    /// Ready if the time has come. Reads the clock only if the poll wakes no task later, as in a
    /// `select!` with a `default`; otherwise the timer sets the state.
    #[inline]
    pub(crate) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        #[cfg(feature = "sim")]
        this.object.tried(this.site);
        let due = this.node.due();
        let elapsed = match this.node.as_mut().look() {
            Look::Over => panic!("gopark: sleep polled after completion"),
            Look::Fired => true,
            _ if due == Time::PAST => true,
            _ if coop::tries_once(cx) => {
                // The time may have come before the timer has fired.
                let elapsed = Time::now() >= due;
                if elapsed {
                    drop(this.node.cancel());
                }
                elapsed
            }
            Look::Idle(node) if due == Time::NEVER => {
                // Only a reset wakes the task.
                drop(node.keep_waker(Some(TaskWaker::new(cx.waker()))));
                false
            }
            Look::Idle(node) => {
                let driver = register(node, due, TaskWaker::new(cx.waker()));
                driver.into_iter().for_each(TaskWaker::wake);
                false
            }
            Look::Queued(node) => {
                drop(node.set_waker(cx));
                // If it has fired meanwhile, it may have woken the previous waker.
                node.state() == state::FIRED
            }
        };
        if !elapsed {
            return Poll::Pending;
        }
        this.node.finish();
        Poll::Ready(())
    }
}

impl Future for Sleep {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !coop::poll_ready(cx, self.site, Reason::Sleep, &self.object) {
            return Poll::Pending;
        }
        let site = self.site;
        match self.poll_elapsed(cx) {
            Poll::Ready(()) => {
                coop::spend();
                Poll::Ready(())
            }
            Poll::Pending => {
                coop::park_at(cx, site, Reason::Sleep);
                Poll::Pending
            }
        }
    }
}

future_case!(Sleep);

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.node.due().instant())
            .field("over", &(self.node.state() == state::OVER))
            .finish()
    }
}

// Here, because the module `context` does not use `time`.
impl context::Context {
    /// Waits until `duration` has passed since this call or the context ends.
    ///
    /// Go: `select { case <-ctx.Done(): return ctx.Err(); case <-time.After(d): }`.
    ///
    /// A context that has ended before the first poll wins, whatever the duration. It is short for
    /// `self.run(time::sleep(duration))`, and a case of a [`select!`](crate::select!).
    ///
    /// # Cancellation
    ///
    /// Dropping the future removes the timer at once.
    ///
    /// # Errors
    ///
    /// [`ContextError`](context::ContextError) if the context ended first.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gopark::context::{Context, ContextError};
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     ctx.sleep(Duration::from_millis(1)).await.unwrap();
    ///     gopark::go(async move { cancel.cancel() });
    ///     assert_eq!(ctx.sleep(Duration::from_secs(3600)).await, Err(ContextError::Canceled));
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> context::Run<'_, Sleep> {
        self.run(sleep(duration))
    }
}

/// Waits for `operation`, but at most `duration` from this call. Go: a `select` with `time.After`;
/// tokio: `time::timeout`.
///
/// The operation is polled first, so it wins if both are ready. It is dropped as soon as the time
/// has elapsed; a dropped operation of this crate leaves no trace. The precision is that of
/// [`sleep`].
///
/// # Cancellation
///
/// Dropping the future drops the operation and removes the timer at once.
///
/// # Errors
///
/// [`Elapsed`] if the time elapsed first.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use gopark::{chan, time};
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::unbuffered();
///     assert!(time::timeout(Duration::from_millis(1), rx.recv()).await.is_err());
///     gopark::go(async move { tx.send(5).await });
///     assert_eq!(time::timeout(Duration::from_secs(60), rx.recv()).await, Ok(Some(5)));
/// });
/// ```
#[inline]
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, operation: F) -> Timeout<F::IntoFuture> {
    let operation = Some(operation.into_future());
    Timeout { operation, sleep: sleep(duration) }
}

pin_project! {
    /// An operation with a time limit, returned by [`timeout`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the operation and removes the timer at once.
    ///
    /// # Panics
    ///
    /// If it is polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gopark::chan::{self, Receiver, Receiving};
    /// use gopark::time::{self, Timeout};
    ///
    /// fn reply(rx: &Receiver<u32>) -> Timeout<Receiving<'_, u32>> {
    ///     time::timeout(Duration::from_secs(60), rx.recv())
    /// }
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// tx.try_send(7).unwrap();
    /// assert_eq!(gopark::block_on(reply(&rx)), Ok(Some(7)));
    /// ```
    #[must_use = "a timeout does nothing unless awaited"]
    pub struct Timeout<F> {
        // `None` after completion.
        #[pin]
        operation: Option<F>,
        #[pin]
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    // A join inside takes its call site from here.
    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(operation) = this.operation.as_mut().as_pin_mut() else {
            panic!("gopark: timeout polled after completion")
        };
        // Checked once for both: an operation with an endless supply of ready parts uses up every
        // budget, and must not keep the timer from being checked.
        if !coop::poll_ready(cx, this.sleep.site, Reason::Foreign, None) {
            return Poll::Pending;
        }
        let (site, sleep) = (this.sleep.site, this.sleep);
        coop::poll_limited(operation, cx, site, |cx| sleep.poll_elapsed(cx)).map(|output| {
            this.operation.set(None);
            output.ok_or_else(|| {
                coop::spend();
                Elapsed(())
            })
        })
    }
}

future_case!(Timeout<F>, F: Future);

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("sleep", &self.sleep).finish_non_exhaustive()
    }
}

/// The error of a [`timeout`] whose time elapsed before the operation completed.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use std::time::Duration;
///
/// let late = gopark::block_on(gopark::time::timeout(Duration::ZERO, pending::<()>()));
/// assert_eq!(late.unwrap_err().to_string(), "deadline has elapsed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl Error for Elapsed {}

/// An error of the kind [`TimedOut`](io::ErrorKind::TimedOut), so that `?` works on a [`timeout`]
/// in a function that returns an [`io::Result`].
impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
