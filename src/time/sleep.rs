//! Waiting for a time, as a future and as a case of a `select!`.

use std::error::Error;
use std::fmt;
use std::marker::PhantomPinned;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::alarm::register;
use crate::clock::{self, Time};
use crate::context;
use crate::coop::{self, Object, Reason};
use crate::timer::shard::{Node, state};
use crate::wait::case::future_case;
use crate::waker::TaskWaker;

/// Waits until `duration` has passed since this call. Go: `time.Sleep`; tokio: `time::sleep`.
///
/// It never ends early. No duration ends at once, without a wait; too long a one (584 years) never
/// ends. The timer starts when the future is first polled, but the time counts from the call.
///
/// # Precision
///
/// Timers have a resolution of one nanosecond, as Go's, and a deadline may be a few microseconds
/// late, because the clock is not always read; tokio rounds up to milliseconds. How late it ends is
/// up to the operating system (on Linux about 0.06 ms, if the processor was idle) and to how long
/// other goroutines keep the processor: a due timer is looked after before any goroutine is run a
/// second time, and by other processors if this one is busy.
///
/// # Cancellation
///
/// Dropping it takes the timer out, at once. Nothing is left of it.
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
    let due = if duration.is_zero() { Time::PAST } else { clock::coarse_now().after(duration) };
    Sleep::new(due, Location::caller())
}

/// Waits until `deadline`. A deadline in the past ends at once. Go:
/// `time.Sleep(time.Until(deadline))`; tokio: `time::sleep_until`.
///
/// In all else it is as [`sleep`].
///
/// # Cancellation
///
/// As of [`sleep`].
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

/// A wait for a time, made by [`sleep`] and [`sleep_until`].
///
/// # Panics
///
/// When it is polled again after it has completed.
///
/// # Cancellation
///
/// Dropping it takes the timer out, at once.
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    node: Node,
    site: &'static Location<'static>,
    object: Object,
    _pin: PhantomPinned,
}

impl Sleep {
    #[inline]
    pub(crate) fn new(due: Time, site: &'static Location<'static>) -> Self {
        let sleep = Self { node: Node::new(due), site, object: Object::new(), _pin: PhantomPinned };
        #[cfg(feature = "sim")]
        sleep.object.tried(site);
        sleep
    }

    #[inline]
    pub(super) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// Sets it anew, to end at `deadline`, whatever was before; also after it has completed. Go:
    /// `Reset` of a `time.Timer`; tokio: `Sleep::reset`.
    ///
    /// A task that waits for it goes on waiting, until the new time. To put off what several wait
    /// for, take a [`Timer`](super::Timer).
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
        // SAFETY: nothing is moved out of the pinned sleep but a node that is not queued.
        let this = unsafe { self.get_unchecked_mut() };
        #[cfg(feature = "sim")]
        this.object.tried(Location::caller());
        let waker = this.node.cancel();
        let due = Time::at(deadline);
        let due = if due <= Time::now() { Time::PAST } else { due };
        this.node = Node::new(due);
        let Some(waker) = waker else { return };
        if due == Time::PAST || due == Time::NEVER {
            return waker.wake();
        }
        // SAFETY: the node is pinned with `this`, not queued, and taken out in drop (T3).
        let driver = unsafe { register(&this.node, due, waker) };
        driver.into_iter().for_each(TaskWaker::wake);
    }

    /// Ready if the time has come. It has an eye on the clock only when nobody would be woken, as
    /// in a `select!` with a `default`: else the timer will say.
    #[inline]
    pub(crate) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out of the pinned sleep.
        let this = unsafe { self.get_unchecked_mut() };
        #[cfg(feature = "sim")]
        this.object.tried(this.site);
        let state = this.node.state();
        assert!(state != state::OVER, "gopark: sleep polled after completion");
        let due = this.node.due();
        let elapsed = if state == state::FIRED || due == Time::PAST {
            true
        } else if due == Time::NEVER {
            false
        } else if coop::tries_once(cx) {
            // The time may have come before the timer noticed.
            let elapsed = Time::now() >= due;
            if elapsed {
                drop(this.node.cancel());
            }
            elapsed
        } else if state == state::QUEUED {
            drop(this.node.set_waker(cx));
            // Fired meanwhile: its waker may have been another one.
            this.node.state() == state::FIRED
        } else {
            // SAFETY: the node is pinned with `this`, not queued, and taken out in drop (T3).
            let driver = unsafe { register(&this.node, due, TaskWaker::new(cx.waker())) };
            driver.into_iter().for_each(TaskWaker::wake);
            false
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

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        // The waker is dropped here, outside of every lock.
        drop(self.node.cancel());
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.node.due().instant())
            .field("over", &(self.node.state() == state::OVER))
            .finish()
    }
}

/// Here because contexts know nothing of sleeps.
impl context::Context {
    /// Waits until `duration` has passed since this call or the context has ended. Go:
    /// `select { case <-ctx.Done(): return ctx.Err(); case <-time.After(d): }`.
    ///
    /// A context that has ended before the first poll wins, whatever the duration. It is a case of
    /// a [`select!`](crate::select!), and short for `self.run(time::sleep(duration))`.
    ///
    /// # Errors
    ///
    /// [`ContextError`](context::ContextError), if the context has ended first.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping it takes the timer out, at once.
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

/// Waits for `operation`, but no longer than `duration` from this call. Go: a `select` with
/// `time.After`; tokio: `time::timeout`.
///
/// The operation is polled first, so if both are ready it wins. It is dropped as soon as the time
/// is over: an operation of this crate that timed out leaves no trace.
///
/// # Errors
///
/// [`Elapsed`] if the time was over first.
///
/// # Precision
///
/// As of [`sleep`].
///
/// # Cancellation
///
/// Dropping it drops the operation and takes the timer out, at once.
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
    /// An operation with a limit of time, made by [`timeout`].
    ///
    /// # Panics
    ///
    /// When it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the operation and takes the timer out, at once.
    #[must_use = "a timeout does nothing unless awaited"]
    pub struct Timeout<F> {
        // `None` once it is over.
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
        // Asked once: an operation that never runs out of ready parts uses up every budget, and
        // must not keep the timer from being looked at.
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

/// The time was over before the operation was.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let late = gopark::block_on(gopark::time::timeout(Duration::ZERO, std::future::pending::<()>()));
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
