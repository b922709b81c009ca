//! [`Timer`], [`Ticker`] and [`after`]: timers with a channel, and timers that start a goroutine.
//!
//! No value is sent into a timer's channel. Instead a receive checks the clock, under the channel's
//! lock. So a stopped timer leaves no stale value, a due value needs no thread to deliver it, and a
//! timer without a waiting receive is in no wheel: the node that serves the channel is queued only
//! while a receive waits.

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

/// The waker of a timer's node: serves the channel.
struct Serve {
    tx: Sender<Instant>,
}

impl Wake for Serve {
    fn wake(self: Arc<Self>) {
        self.tx.serve();
    }
}

pin_project! {
    /// The source of a timer's channel. Its methods are called under the channel's lock.
    struct TimerSource {
        // Queued while a receive waits.
        #[pin]
        node: Node,
        serve: Arc<Serve>,
        // The time of the next value, which may have passed. `None` once the timer was stopped or
        // its only value was received.
        due: Option<Time>,
        // The time between two values; zero if there is only one.
        period: Duration,
    }
}

impl Source<Instant> for TimerSource {
    fn take(self: Pin<&mut Self>) -> Option<Instant> {
        let this = self.project();
        let (due, now) = ((*this.due)?, Time::now());
        if due > now {
            return None;
        }
        *this.due = (!this.period.is_zero()).then(|| due.next_tick(*this.period, now));
        due.instant()
    }

    fn arm(self: Pin<&mut Self>) -> Option<TaskWaker> {
        let this = self.project();
        // In a forked process the parent's timers do not fire. A panic here would leave the channel
        // in an inconsistent state.
        let due = this.due.filter(|&due| due != Time::NEVER && !fork::is_child())?;
        // A node that is being fired counts as queued: it will serve the channel, which arms it
        // again.
        if this.node.state() == state::QUEUED && this.node.due() == due {
            return None;
        }
        // Runs no destructor, because `serve` is another reference to what the waker keeps.
        let (node, waker) = this.node.withdraw();
        drop(waker);
        register(node, due, TaskWaker::from(this.serve.clone()))
    }

    fn give_back(self: Pin<&mut Self>, value: Instant) {
        *self.project().due = Some(Time::at(value));
    }

    fn reschedule(self: Pin<&mut Self>, due: Option<Time>, period: Duration) -> bool {
        let this = self.project();
        // Runs no destructor, as in `arm`, which queues the node again if a receive waits, before
        // the lock is released.
        drop(this.node.cancel());
        *this.period = period;
        mem::replace(this.due, due).is_some()
    }
}

/// Returns a channel whose first value is due after `wait`, and then one every `period`.
#[track_caller]
fn channel(wait: Duration, period: Duration) -> Receiver<Instant> {
    fork::refuse();
    let due = Time::now().after(wait);
    let channel = chan::timed(|tx| {
        let (node, serve) = (Node::new(due), Arc::new(Serve { tx }));
        Box::pin(TimerSource { node, serve, due: Some(due), period })
    });
    #[cfg(feature = "sim")]
    channel.used(Location::caller());
    channel
}

// ------------------------------------------------------------------------------------------------
// after

/// Returns a channel that delivers one value, the time, after `duration`. Go: `time.After`; tokio
/// has no equivalent.
///
/// To wait in one task, use [`sleep`](super::sleep()), which is cheaper; use this where a channel
/// is needed. As every timer's channel, it looks unbuffered and is never closed. The value is the
/// time at which it was due, however late it is received. A receive gets it from that time on, even
/// if no worker has checked its timers since. If `duration` is too long to represent, the channel
/// never delivers. Dropping the channel removes the timer at once (in Go, since 1.23, the garbage
/// collector does).
///
/// The precision is that of [`sleep`](super::sleep()).
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
///         _ = rx.recv() => unreachable!("no value is sent"),
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

/// A single event in the future that can be stopped or reset. Go: `time.Timer`.
///
/// A timer of [`Timer::new`] delivers the time through its [`channel`](Self::channel); a timer of
/// [`Timer::after_func`] starts a goroutine. Several tasks can wait for a timer, and any of them
/// can reset it. (In tokio the closest is a pinned `Sleep` that is reset.)
///
/// After [`stop`](Self::stop) or [`reset`](Self::reset) no value of the earlier schedule can be
/// received, as in Go since 1.23. So there is nothing to drain.
///
/// The precision is that of [`sleep`](super::sleep()).
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
    /// Present if the timer starts a goroutine; then the channel is nil.
    func: Option<Arc<AfterFunc>>,
}

// A panic cannot leave a timer inconsistent: no code of the user runs while it changes.
impl UnwindSafe for Timer {}
impl RefUnwindSafe for Timer {}

impl Timer {
    /// Returns a timer that delivers the time through its channel after `duration`. Go:
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

    /// Starts a goroutine with `future` after `duration`. Go: `time.AfterFunc`.
    ///
    /// It starts at most once, because a future runs only once (Go can call `f` again): after that,
    /// [`reset`](Self::reset) does nothing. The goroutine belongs to the runtime that is current in
    /// this call; if that runtime has ended when the timer fires, the future is dropped. Dropping
    /// the timer does not stop it. The future's output is dropped.
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
        // The output is dropped in the goroutine.
        let future = async move { drop(future.await) };
        let deferred = Box::pin(WithNode { node: Node::new(due), future });
        let state = AfterFuncState { deferred: Some(deferred), due: Some(due) };
        let (runtime, site, object) = (Later::here(), Location::caller(), Object::new());
        #[cfg(feature = "sim")]
        object.tried(site);
        let func = Arc::new(AfterFunc { state: Mutex::new(state), runtime, site, object });
        func.arm(lock(&func.state), due);
        Self { channel: Receiver::nil(), func: Some(func) }
    }

    /// Returns the timer's channel. Go: `t.C`.
    ///
    /// It looks unbuffered (length and capacity are 0) even when a value is available, and is never
    /// closed. If several receives wait, one gets the value. For a timer of
    /// [`after_func`](Self::after_func) the channel is [`nil`](Receiver::nil).
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

    /// Stops the timer. Returns true if it was active. Go: `t.Stop`.
    ///
    /// A timer is active until its value is received (even if the value is due) or its goroutine is
    /// started. So true means that this call prevented one of these; false means that one has
    /// happened, or that the timer was stopped before. It does not wait for a goroutine that was
    /// started.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let timer = gopark::time::Timer::new(Duration::ZERO);
    /// assert!(timer.stop(), "due, but not received");
    /// assert!(timer.channel().try_recv().is_err(), "stopped");
    /// assert!(!timer.stop());
    /// ```
    #[doc(alias = "Stop")]
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn stop(&self) -> bool {
        self.change(None)
    }

    /// Sets the timer to `duration` from now, whatever its state. Returns true if it was active.
    /// Go: `t.Reset`.
    ///
    /// Active has the meaning of [`stop`](Self::stop). A timer of [`after_func`](Self::after_func)
    /// that has started its goroutine does not change.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let timer = gopark::time::Timer::new(Duration::ZERO);
    /// assert!(timer.reset(Duration::from_secs(3600)));
    /// assert!(timer.channel().try_recv().is_err(), "the due value was discarded");
    /// ```
    #[doc(alias = "Reset")]
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn reset(&self, duration: Duration) -> bool {
        self.change(Some(Time::now().after(duration)))
    }

    /// Sets or stops the timer. Returns true if it was active.
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
    #[cfg_attr(not(feature = "sim"), expect(dead_code, reason = "a simulation asks it"))]
    object: Object,
}

struct AfterFuncState {
    /// `None` once the goroutine was started.
    deferred: Option<Pin<Box<dyn Deferred>>>,
    /// The time to start it; `None` once it was stopped or started.
    due: Option<Time>,
}

/// The future of the goroutine, with the node of the timer that starts it. The node is queued while
/// the timer is armed, and possibly for some time after.
trait Deferred: Future<Output = ()> + Send {
    fn node(self: Pin<&mut Self>) -> Pin<&mut Node>;
}

pin_project! {
    struct WithNode<F> {
        #[pin]
        node: Node,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for WithNode<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

impl<F: Future<Output = ()> + Send> Deferred for WithNode<F> {
    fn node(self: Pin<&mut Self>) -> Pin<&mut Node> {
        self.project().node
    }
}

impl AfterFunc {
    /// Queues the node, and releases the lock.
    fn arm(self: &Arc<Self>, mut state: MutexGuard<'_, AfterFuncState>, due: Time) {
        let Some(deferred) = state.deferred.as_mut().filter(|_| due != Time::NEVER) else { return };
        let (node, waker) = deferred.as_mut().node().withdraw();
        let driver = register(node, due, TaskWaker::from(self.clone()));
        drop(state);
        drop(waker);
        driver.into_iter().for_each(TaskWaker::wake);
    }

    #[cfg_attr(feature = "sim", track_caller)]
    fn change(self: &Arc<Self>, due: Option<Time>) -> bool {
        #[cfg(feature = "sim")]
        self.object.tried(Location::caller());
        let mut state = lock(&self.state);
        let deferred = state.deferred.as_mut();
        // Dropped when this function returns: after the lock is released.
        let _waker = deferred.and_then(|deferred| deferred.as_mut().node().cancel());
        let due = due.filter(|_| state.deferred.is_some());
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
        // The timer may have been stopped or reset since its node left the wheel.
        if state.due.is_none_or(|due| due > Time::now()) {
            return;
        }
        state.due = None;
        let deferred = state.deferred.take();
        drop(state);
        if let Some(deferred) = deferred {
            self.runtime.go(deferred, self.site);
        }
    }
}

// ------------------------------------------------------------------------------------------------
// Ticker

/// A timer that delivers the time at a fixed interval. Go: `time.Ticker`; tokio: `time::interval`,
/// whose first tick is immediate.
///
/// Ticks are due at whole multiples of the period after the start, or after the last
/// [`reset`](Self::reset). A late receiver gets one tick, with the time at which it was due. The
/// ticks that it missed are skipped, and the next one is due at the next multiple (tokio's
/// `MissedTickBehavior::Skip`).
///
/// A ticker never ends by itself. It ends when it and the clones of its channel have been dropped.
///
/// The precision is that of [`sleep`](super::sleep()); a late tick does not delay the next one.
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
    /// Returns a ticker whose first tick is due after `period`. Go: `time.NewTicker`.
    ///
    /// # Panics
    ///
    /// "non-positive interval for NewTicker" if the period is zero.
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

    /// Waits for the next tick, and returns the time at which it was due. Go: `<-t.C`.
    ///
    /// It is a case of a [`select!`](crate::select!).
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no tick: a tick that was handed to it goes to the next receiver.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
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

    /// Returns the channel of the ticks, as [`Timer::channel`] does. Go: `t.C`.
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

    /// Stops the ticker. Go: `t.Stop`.
    ///
    /// No tick can be received afterwards, not even one that is due. The channel stays open:
    /// receivers wait.
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

    /// Restarts the ticker, stopped or not: the next tick is due after `period`. Go: `t.Reset`.
    ///
    /// # Panics
    ///
    /// "non-positive interval for Ticker.Reset" if the period is zero.
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
    /// A wait for a tick, returned by [`Ticker::tick`].
    ///
    /// # Cancellation
    ///
    /// Dropping it loses no tick: a tick that was handed to it goes to the next receiver.
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
    /// use gopark::{select, time};
    ///
    /// gopark::block_on(async {
    ///     let ticker = time::Ticker::new(Duration::from_secs(3600));
    ///     let mut tick = pin!(ticker.tick());
    ///     select! {
    ///         _ = tick.as_mut() => unreachable!("an hour"),
    ///         default => ticker.reset(Duration::from_nanos(1)),
    ///     }
    ///     assert!(tick.await <= time::now());
    /// });
    /// ```
    #[derive(Debug)]
    #[must_use = "a tick does nothing unless awaited"]
    pub struct Tick<'a> {
        #[pin]
        receiving: Receiving<'a, Instant>,
    }
}

const OPEN: &str = "a timer's channel is never closed";

operation_case!(Tick<'a>, 'a; receiving -> Instant, tick => tick.expect(OPEN));
