//! Timers with a channel, and timers that start a goroutine.
//!
//! No value is sent into a timer's channel: a receive asks the clock, under the channel's lock,
//! whether there is one. So a stopped timer leaves no stale value, a due value needs no thread to
//! deliver it, and a timer without a waiting receive is in no wheel. A node that will serve the
//! channel is queued only while a receive waits.

use std::fmt;
use std::mem;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::alarm::register;
use crate::chan::{self, Receiver, Receiving, Sender, Source};
use crate::clock::Time;
use crate::coop::Object;
use crate::fork;
use crate::panics::lock;
use crate::runtime::Later;
use crate::timer::shard::{Node, state};
use crate::wait::case::operation_case;
use crate::waker::TaskWaker;

// ------------------------------------------------------------------------------------------------
// timers with a channel

/// What a timer's channel and the wheel share.
struct TimerShared {
    tx: Sender<Instant>,
    /// Queued while a receive waits; perhaps a while longer.
    node: Node,
}

impl Wake for TimerShared {
    fn wake(self: Arc<Self>) {
        self.tx.serve();
    }
}

/// The source of a timer's channel. Called under the channel's lock.
struct TimerSource {
    shared: Arc<TimerShared>,
    /// The time of the next value, which may be past. `None` once the timer was stopped, or its
    /// only value was received.
    due: Option<Time>,
    /// The time between two values, or zero if there is only one.
    period: Duration,
}

impl Source<Instant> for TimerSource {
    fn take(&mut self) -> Option<Instant> {
        let (due, now) = (self.due?, Time::now());
        if due > now {
            return None;
        }
        self.due = (!self.period.is_zero()).then(|| due.next_tick(self.period, now));
        due.instant()
    }

    fn arm(&mut self) -> Option<TaskWaker> {
        // A timer of the parent does not fire in a forked process. A panic here would leave the
        // channel in the middle of things.
        let due = self.due.filter(|&due| due != Time::NEVER && !fork::is_child())?;
        let node = &self.shared.node;
        // A node that is just being fired counts as queued: it will come to the channel and be
        // armed again.
        if node.state() == state::QUEUED && node.due() == due {
            return None;
        }
        // What it kept is kept by `self` as well: no destructor runs here.
        drop(node.cancel());
        // SAFETY: the node does not move in its `Arc`, which it keeps while it is queued (T3). It
        // was taken out, or has fired, and only this function queues it, under the channel's lock.
        unsafe { register(node, due, TaskWaker::from(self.shared.clone())) }
    }

    fn give_back(&mut self, value: Instant) {
        self.due = Some(Time::at(value));
    }

    fn reschedule(&mut self, due: Option<Time>, period: Duration) -> bool {
        // As in `arm`, which queues it again if a receive waits, before the lock is released.
        drop(self.shared.node.cancel());
        self.period = period;
        mem::replace(&mut self.due, due).is_some()
    }
}

impl Drop for TimerSource {
    /// The last receiver is gone.
    fn drop(&mut self) {
        drop(self.shared.node.cancel());
    }
}

/// A channel that has a value when `wait` has passed, and then one every `period`.
#[track_caller]
fn channel(wait: Duration, period: Duration) -> Receiver<Instant> {
    fork::refuse();
    let due = Time::now().after(wait);
    let channel = chan::timed(|tx| {
        let shared = Arc::new(TimerShared { tx, node: Node::new(due) });
        Box::new(TimerSource { shared, due: Some(due), period })
    });
    #[cfg(feature = "sim")]
    channel.used(Location::caller());
    channel
}

// ------------------------------------------------------------------------------------------------
// after

/// A channel that gives one value, the time, when `duration` has passed. Go: `time.After`; tokio
/// has no such thing.
///
/// Like every timer's channel it looks unbuffered and is never closed. The value is the moment when
/// it was due, however late it is received; and it is there from that moment on, whether or not
/// anybody ran meanwhile. Too long a duration is for ever. To wait, [`sleep`](super::sleep()) is
/// cheaper; this is for a value that goes through channels.
///
/// A channel that is dropped takes its timer with it, at once (in Go, since 1.23, the collector
/// does).
///
/// # Precision
///
/// As of [`sleep`](super::sleep()).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use gopark::{chan, select, time};
///
/// gopark::block_on(async {
///     let (_tx, rx) = chan::unbuffered::<i32>();
///     select! {
///         _ = rx.recv() => unreachable!("nobody sends"),
///         _ = time::after(Duration::from_millis(1)).recv() => {}
///     }
/// });
/// ```
#[doc(alias = "After")]
#[track_caller]
pub fn after(duration: Duration) -> Receiver<Instant> {
    channel(duration, Duration::ZERO)
}

// ------------------------------------------------------------------------------------------------
// Timer

/// One event in the future, which can be put off and called off. Go: `time.Timer`.
///
/// [`Timer::new`] makes one that gives the time through its [`channel`](Self::channel);
/// [`Timer::after_func`] one that starts a goroutine. In tokio one resets a pinned `Sleep`; here
/// that is a timer, which several can wait for and anybody can reset.
///
/// After [`stop`](Self::stop) or [`reset`](Self::reset) no value of the earlier schedule can be
/// received: there is nothing to drain, as in Go since 1.23.
///
/// # Precision
///
/// As of [`sleep`](super::sleep()).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use gopark::time::{self, Timer};
///
/// gopark::block_on(async {
///     let start = time::now();
///     let timer = Timer::new(Duration::from_secs(3600));
///     assert!(timer.reset(Duration::from_millis(2)));
///     let at = timer.channel().recv().await.unwrap();
///     assert!(at >= start + Duration::from_millis(2));
///     assert!(!timer.stop());
/// });
/// ```
pub struct Timer {
    channel: Receiver<Instant>,
    /// If it starts a goroutine: then the channel is nil.
    func: Option<Arc<AfterFunc>>,
}

// Nothing unwinds while its parts disagree.
impl UnwindSafe for Timer {}
impl RefUnwindSafe for Timer {}

impl Timer {
    /// A timer that gives the time through its channel when `duration` has passed. Go:
    /// `time.NewTimer`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let timer = gopark::time::Timer::new(Duration::from_millis(1));
    /// assert!(timer.channel().recv_blocking().is_some());
    /// ```
    #[doc(alias = "NewTimer")]
    #[track_caller]
    pub fn new(duration: Duration) -> Self {
        Self { channel: channel(duration, Duration::ZERO), func: None }
    }

    /// Starts a goroutine with `future` when `duration` has passed. Go: `time.AfterFunc`.
    ///
    /// It starts at most once, for a future can be run but once (where Go's `f` can be called
    /// again): a [`reset`](Self::reset) after that does nothing. It belongs to the runtime that is
    /// current at this call; if that is gone when the time comes, the future is dropped. Dropping
    /// the timer does not stop it. What the future returns is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use gopark::{chan, time::Timer};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let timer = Timer::after_func(Duration::from_millis(1), async move {
    ///     tx.send("started").await.unwrap();
    /// });
    /// assert_eq!(rx.recv_blocking(), Some("started"));
    /// assert!(!timer.stop());
    /// ```
    #[doc(alias = "AfterFunc")]
    #[track_caller]
    pub fn after_func<F>(duration: Duration, future: F) -> Self
    where
        F: Future + Send + 'static,
    {
        let due = Time::now().after(duration);
        // What it returns is dropped in its goroutine.
        let future = Box::pin(async move { drop(future.await) });
        let state = AfterFuncState { future: Some(future), due: Some(due) };
        let (runtime, site) = (Later::here(), Location::caller());
        let (node, object) = (Node::new(due), Object::new());
        #[cfg(feature = "sim")]
        object.tried(site);
        let func = Arc::new(AfterFunc { state: Mutex::new(state), runtime, site, node, object });
        func.arm(lock(&func.state), due);
        Self { channel: Receiver::nil(), func: Some(func) }
    }

    /// The channel. That of a timer made by [`after_func`](Self::after_func) is
    /// [`nil`](Receiver::nil). Go: `t.C`.
    ///
    /// It looks unbuffered (length and capacity are 0) even when a value is there, and is never
    /// closed. Several may wait; one gets the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let timer = gopark::time::Timer::new(Duration::ZERO);
    /// assert_eq!((timer.channel().len(), timer.channel().capacity()), (0, 0));
    /// assert!(timer.channel().try_recv().is_ok());
    /// assert!(timer.channel().try_recv().is_err() && !timer.channel().is_closed());
    /// ```
    pub fn channel(&self) -> &Receiver<Instant> {
        &self.channel
    }

    /// Calls it off. True if that prevented something: the goroutine, or that somebody received the
    /// value, which may have been due already. False if it was received, started, or stopped
    /// before. Go: `t.Stop`.
    ///
    /// It does not wait for a goroutine that was started.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let timer = gopark::time::Timer::new(Duration::ZERO);
    /// assert!(timer.stop(), "due, but not received");
    /// assert!(timer.channel().try_recv().is_err(), "and now it never will");
    /// assert!(!timer.stop());
    /// ```
    #[doc(alias = "Stop")]
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn stop(&self) -> bool {
        self.change(None)
    }

    /// Sets it anew, to when `duration` has passed from now, whatever was before. True if it was
    /// active, as [`stop`](Self::stop) would say. Go: `t.Reset`.
    ///
    /// A timer of [`after_func`](Self::after_func) that has started its goroutine stays as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let timer = gopark::time::Timer::new(Duration::ZERO);
    /// assert!(timer.reset(Duration::from_secs(3600)));
    /// assert!(timer.channel().try_recv().is_err(), "the value that was due is gone");
    /// ```
    #[doc(alias = "Reset")]
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn reset(&self, duration: Duration) -> bool {
        self.change(Some(Time::now().after(duration)))
    }

    /// True if it was active.
    #[inline]
    #[cfg_attr(feature = "sim", track_caller)]
    fn change(&self, due: Option<Time>) -> bool {
        match &self.func {
            None => self.channel.reschedule(due, Duration::ZERO),
            Some(func) => func.change(due),
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("channel", self.channel()).finish_non_exhaustive()
    }
}

/// A timer that starts a goroutine.
struct AfterFunc {
    state: Mutex<AfterFuncState>,
    runtime: Later,
    site: &'static Location<'static>,
    /// Queued while it is armed; perhaps a while longer.
    node: Node,
    #[cfg_attr(not(feature = "sim"), expect(dead_code, reason = "a simulation asks it"))]
    object: Object,
}

struct AfterFuncState {
    /// `None` once the goroutine was started.
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// When to start it; `None` once it was stopped or started.
    due: Option<Time>,
}

impl AfterFunc {
    /// Queues the node, which must not be queued, and releases the lock.
    fn arm(self: &Arc<Self>, state: MutexGuard<'_, AfterFuncState>, due: Time) {
        if due != Time::NEVER {
            // SAFETY: the node does not move in its `Arc`, which it keeps while it is queued (T3).
            // Only the holder of the lock queues it.
            let driver = unsafe { register(&self.node, due, TaskWaker::from(self.clone())) };
            drop(state);
            driver.into_iter().for_each(TaskWaker::wake);
        }
    }

    #[cfg_attr(feature = "sim", track_caller)]
    fn change(self: &Arc<Self>, due: Option<Time>) -> bool {
        #[cfg(feature = "sim")]
        self.object.tried(Location::caller());
        let mut state = lock(&self.state);
        // Dropped last of all, outside of the lock.
        let _waker = self.node.cancel();
        let due = due.filter(|_| state.future.is_some());
        let was = mem::replace(&mut state.due, due).is_some();
        match due {
            Some(due) => self.arm(state, due),
            None => drop(state),
        }
        was
    }
}

impl Wake for AfterFunc {
    fn wake(self: Arc<Self>) {
        let mut state = lock(&self.state);
        // It may have been stopped or reset since its node was taken out of the wheel.
        if state.due.is_none_or(|due| due > Time::now()) {
            return;
        }
        state.due = None;
        let future = state.future.take();
        drop(state);
        if let Some(future) = future {
            self.runtime.go(future, self.site);
        }
    }
}

// ------------------------------------------------------------------------------------------------
// Ticker

/// The time, again and again. Go: `time.Ticker`; tokio: `time::interval`, but that one's first tick
/// is at once.
///
/// A ticker keeps to its grid: a tick is due a whole number of periods after the start (or the last
/// [`reset`](Self::reset)). A receiver that is late gets one tick, with the time when it was due;
/// those that were missed are gone, and the next is that of the grid (tokio's
/// `MissedTickBehavior::Skip`).
///
/// It never ends by itself. Dropping it, and its channel's clones, ends it.
///
/// # Precision
///
/// As of [`sleep`](super::sleep()); that a tick is late does not move the next one.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use gopark::time::Ticker;
///
/// gopark::block_on(async {
///     let period = Duration::from_millis(2);
///     let ticker = Ticker::new(period);
///     let (first, second) = (ticker.tick().await, ticker.tick().await);
///     assert!(second >= first + period);
/// });
/// ```
#[derive(Debug)]
pub struct Ticker {
    channel: Receiver<Instant>,
}

impl Ticker {
    /// A ticker whose first tick is due when `period` has passed. Go: `time.NewTicker`.
    ///
    /// # Panics
    ///
    /// "non-positive interval for NewTicker", if the period is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let ticker = gopark::time::Ticker::new(Duration::from_millis(1));
    /// assert!(ticker.channel().recv_blocking().is_some());
    /// ```
    #[doc(alias = "NewTicker")]
    #[doc(alias = "Tick")]
    #[track_caller]
    pub fn new(period: Duration) -> Self {
        assert!(!period.is_zero(), "non-positive interval for NewTicker");
        Self { channel: channel(period, period) }
    }

    /// Waits for the next tick; returns when it was due. Also a case of a `select!`. Go: `<-t.C`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no tick: one that was handed to it already is there for the next
    /// receiver.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use gopark::{select, time};
    ///
    /// gopark::block_on(async {
    ///     let ticker = time::Ticker::new(Duration::from_millis(1));
    ///     let stop = time::sleep(Duration::from_secs(60));
    ///     select! {
    ///         at = ticker.tick() => assert!(at.elapsed() < Duration::from_secs(60)),
    ///         _ = stop => unreachable!("a minute"),
    ///     }
    /// });
    /// ```
    #[track_caller]
    pub fn tick(&self) -> Tick<'_> {
        Tick { receiving: self.channel.recv() }
    }

    /// The channel of the ticks. Go: `t.C`. As [`Timer::channel`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let ticker = gopark::time::Ticker::new(Duration::from_secs(3600));
    /// assert!(ticker.channel().try_recv().is_err());
    /// ```
    pub fn channel(&self) -> &Receiver<Instant> {
        &self.channel
    }

    /// No more ticks, not even one that is due already. The channel stays open: receivers wait. Go:
    /// `t.Stop`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let ticker = gopark::time::Ticker::new(Duration::from_nanos(1));
    /// ticker.stop();
    /// assert!(ticker.channel().try_recv().is_err() && !ticker.channel().is_closed());
    /// ```
    #[doc(alias = "Stop")]
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn stop(&self) {
        self.channel.reschedule(None, Duration::ZERO);
    }

    /// Starts anew, stopped or not: the next tick is due when `period` has passed from now. Go:
    /// `t.Reset`.
    ///
    /// # Panics
    ///
    /// "non-positive interval for Ticker.Reset", if the period is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let ticker = gopark::time::Ticker::new(Duration::from_secs(3600));
    /// ticker.reset(Duration::from_millis(1));
    /// assert!(ticker.channel().recv_blocking().is_some());
    /// ```
    #[doc(alias = "Reset")]
    #[track_caller]
    pub fn reset(&self, period: Duration) {
        assert!(!period.is_zero(), "non-positive interval for Ticker.Reset");
        self.channel.reschedule(Some(Time::now().after(period)), period);
    }
}

pin_project! {
    /// A wait for a tick, made by [`Ticker::tick`].
    ///
    /// # Panics
    ///
    /// When it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping it loses no tick: one that was handed to it already is there for the next receiver.
    #[derive(Debug)]
    #[must_use = "a tick does nothing unless awaited"]
    pub struct Tick<'a> {
        #[pin]
        receiving: Receiving<'a, Instant>,
    }
}

const OPEN: &str = "a timer's channel is never closed";

operation_case!(Tick<'a>, 'a; receiving -> Instant, tick => tick.expect(OPEN));
