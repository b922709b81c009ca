//! Rate limiting. Go: `golang.org/x/time/rate`; tokio has none.
//!
//! A [`Limiter`] is a token bucket: an event takes tokens, and tokens are added at a fixed rate, up
//! to a maximum, the burst.
//!
//! # Examples
//!
//! ```
//! use gopark::time::rate::Limiter;
//!
//! gopark::block_on(async {
//!     let limiter = Limiter::new(1000.0, 2);
//!     for _ in 0..5 {
//!         limiter.wait(1).await.unwrap(); // two at once, then one every millisecond
//!     }
//! });
//! ```

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::sleep::{Sleep, sleep_until};
use crate::clock;
use crate::coop::{self, Object, Reason};
use crate::panics::lock;
use crate::wait::case::future_case;

/// A rate of events per second. Go: `rate.Limit`.
///
/// It is made from a number, or from the interval between two events. If the number is NaN or not
/// greater than 0, no tokens are added.
///
/// # Examples
///
/// ```
/// use gopark::time::rate::Limit;
/// use std::time::Duration;
///
/// assert_eq!(Limit::every(Duration::from_millis(10)), Limit::from(100.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Limit(f64);

impl Limit {
    /// No limit: every event may happen at once, whatever the burst. Go: `rate.Inf`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::time::rate::{Limit, Limiter};
    ///
    /// let limiter = Limiter::new(Limit::INF, 1);
    /// assert!(limiter.allow(1000));
    /// ```
    pub const INF: Self = Self(f64::INFINITY);

    /// Returns the rate of one event in each `interval`. Go: `rate.Every`.
    ///
    /// A zero interval means [`INF`](Self::INF).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::time::rate::Limit;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Limit::every(Duration::ZERO), Limit::INF);
    /// ```
    #[must_use]
    #[doc(alias = "Every")]
    pub fn every(interval: Duration) -> Self {
        Self(1.0 / interval.as_secs_f64())
    }

    /// Returns the number of events per second.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::time::rate::Limit::from(3).per_second(), 3.0);
    /// ```
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0
    }

    fn is_infinite(self) -> bool {
        self.0 == f64::INFINITY
    }

    /// Returns the time in which so many tokens are added; [`Duration::MAX`] if none ever is.
    fn duration_of(self, tokens: f64) -> Duration {
        if self.0 > 0.0 {
            Duration::try_from_secs_f64(tokens / self.0).unwrap_or(Duration::MAX)
        } else {
            Duration::MAX
        }
    }

    /// Returns the number of tokens that are added in `duration`.
    fn tokens_in(self, duration: Duration) -> f64 {
        if self.0 > 0.0 { duration.as_secs_f64() * self.0 } else { 0.0 }
    }
}

impl From<f64> for Limit {
    fn from(per_second: f64) -> Self {
        Self(per_second)
    }
}

impl From<u32> for Limit {
    fn from(per_second: u32) -> Self {
        Self(per_second.into())
    }
}

/// Limits how often events happen: a rate in the long run, and a burst at once. Go: `rate.Limiter`.
///
/// It is FIFO: a waiting event has a fixed time, and every later event gets a later time, unless
/// the limit was raised in between.
///
/// # Memory ordering
///
/// None. A limiter schedules events; it does not synchronize memory.
///
/// # Examples
///
/// ```
/// use gopark::time::rate::{Limit, Limiter};
/// use std::time::Duration;
///
/// let limiter = Limiter::new(Limit::every(Duration::from_secs(60)), 2);
/// assert!(limiter.allow(1) && limiter.allow(1));
/// assert!(!limiter.allow(1));
/// ```
#[doc(alias = "NewLimiter")]
pub struct Limiter {
    state: Mutex<State>,
    object: Object,
}

#[derive(Clone, Copy)]
struct State {
    limit: Limit,
    burst: usize,
    /// The tokens at the time `last`. Negative if events that are scheduled have taken them.
    tokens: f64,
    last: Instant,
    /// The latest time of an event, past or scheduled.
    last_event: Instant,
}

impl State {
    /// Adds the tokens of the time until `now`.
    fn advance(&mut self, now: Instant) {
        let tokens = self.tokens + self.limit.tokens_in(now.saturating_duration_since(self.last));
        self.tokens = tokens.min(self.burst as f64);
        self.last = self.last.max(now);
    }

    /// Takes `n` tokens for an event, and returns the time at which it may happen. Takes none, and
    /// returns `None`, if the event would wait longer than `longest`.
    fn reserve(&mut self, now: Instant, n: usize, longest: Duration) -> Option<Instant> {
        if self.limit.is_infinite() {
            return Some(now);
        }
        let mut taken = *self;
        taken.advance(now);
        taken.tokens -= n as f64;
        let wait =
            if taken.tokens < 0.0 { self.limit.duration_of(-taken.tokens) } else { Duration::ZERO };
        if n > self.burst || wait > longest {
            return None;
        }
        taken.last_event = now.checked_add(wait)?;
        *self = taken;
        Some(self.last_event)
    }

    /// Returns the tokens of an event scheduled for `at`, except those that later events rely on.
    fn give_back(&mut self, now: Instant, n: usize, at: Instant, limit: Limit) {
        if self.limit.is_infinite() || n == 0 || at < now {
            return;
        }
        let back = n as f64 - limit.tokens_in(self.last_event.saturating_duration_since(at));
        if back <= 0.0 {
            return;
        }
        self.advance(now);
        self.tokens = (self.tokens + back).min(self.burst as f64);
        if at == self.last_event {
            if let Some(before) =
                at.checked_sub(limit.duration_of(n as f64)).filter(|before| *before >= now)
            {
                self.last_event = before;
            }
        }
    }
}

impl Limiter {
    /// Returns a limiter with a full bucket of `burst` tokens. Go: `rate.NewLimiter`.
    ///
    /// # Examples
    ///
    /// ```
    /// let limiter = gopark::time::rate::Limiter::new(10.0, 3);
    /// assert!(limiter.allow(3));
    /// ```
    #[must_use]
    pub fn new(limit: impl Into<Limit>, burst: usize) -> Self {
        let now = clock::now();
        let state =
            State { limit: limit.into(), burst, tokens: burst as f64, last: now, last_event: now };
        Limiter { state: Mutex::new(state), object: Object::new() }
    }

    /// Takes `n` tokens and returns true, if `n` events may happen now. Go: `AllowN`.
    ///
    /// # Examples
    ///
    /// ```
    /// let limiter = gopark::time::rate::Limiter::new(0.001, 1);
    /// assert!(limiter.allow(1));
    /// assert!(!limiter.allow(1));
    /// ```
    #[doc(alias = "AllowN")]
    pub fn allow(&self, n: usize) -> bool {
        let now = clock::now();
        lock(&self.state).reserve(now, n, Duration::ZERO).is_some()
    }

    /// Takes `n` tokens, and returns when the `n` events may happen. Go: `ReserveN`.
    ///
    /// # Examples
    ///
    /// ```
    /// let limiter = gopark::time::rate::Limiter::new(0.001, 1);
    /// assert!(limiter.reserve(1).delay().is_zero());
    /// let later = limiter.reserve(1);
    /// assert!(later.is_ok() && !later.delay().is_zero());
    /// later.cancel();
    /// ```
    #[doc(alias = "ReserveN")]
    pub fn reserve(&self, n: usize) -> Reservation<'_> {
        self.reserve_from(clock::now(), n, |_| true)
    }

    /// Takes `n` tokens if the time of the `n` events `suits`.
    fn reserve_from(
        &self,
        now: Instant,
        n: usize,
        suits: impl FnOnce(Instant) -> bool,
    ) -> Reservation<'_> {
        let mut state = lock(&self.state);
        let mut taken = *state;
        let at = taken.reserve(now, n, Duration::MAX);
        if at.is_some_and(suits) {
            *state = taken;
        }
        Reservation { limiter: self, n, at, limit: taken.limit }
    }

    /// Waits until `n` events may happen. Go: `WaitN`.
    ///
    /// With a context: [`ctx.run(limiter.wait(n))`](crate::context::Context::run).
    ///
    /// # Cancellation
    ///
    /// Dropping the future returns its tokens, except those that later events rely on.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if `n` exceeds the burst, or if no tokens are ever added.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let limiter = gopark::time::rate::Limiter::new(1000.0, 1);
    ///     limiter.wait(1).await.unwrap();
    ///     limiter.wait(1).await.unwrap(); // a millisecond later
    ///     assert!(limiter.wait(2).await.is_err());
    /// });
    /// ```
    #[track_caller]
    #[doc(alias = "WaitN")]
    pub fn wait(&self, n: usize) -> Wait<'_> {
        Wait { limiter: self, n, site: Location::caller(), stage: Stage::New }
    }

    /// Sets the rate from now on. Events that are scheduled keep their time. Go: `SetLimit`.
    ///
    /// # Examples
    ///
    /// ```
    /// let limiter = gopark::time::rate::Limiter::new(1.0, 1);
    /// limiter.set_limit(gopark::time::rate::Limit::INF);
    /// assert!(limiter.allow(1000));
    /// ```
    #[doc(alias = "SetLimit")]
    pub fn set_limit(&self, limit: impl Into<Limit>) {
        let (limit, now) = (limit.into(), clock::now());
        let mut state = lock(&self.state);
        state.advance(now);
        state.limit = limit;
    }

    /// Sets the burst from now on. Go: `SetBurst`.
    ///
    /// # Examples
    ///
    /// ```
    /// let limiter = gopark::time::rate::Limiter::new(1.0, 1);
    /// limiter.set_burst(2);
    /// assert_eq!(limiter.burst(), 2);
    /// ```
    #[doc(alias = "SetBurst")]
    pub fn set_burst(&self, burst: usize) {
        let now = clock::now();
        let mut state = lock(&self.state);
        state.advance(now);
        state.burst = burst;
    }

    /// Returns the rate.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::time::rate::Limiter::new(3, 1).limit(), 3.0.into());
    /// ```
    pub fn limit(&self) -> Limit {
        lock(&self.state).limit
    }

    /// Returns the burst: how many events may happen at once.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::time::rate::Limiter::new(3, 1).burst(), 1);
    /// ```
    pub fn burst(&self) -> usize {
        lock(&self.state).burst
    }

    /// Returns the number of tokens now; negative while events wait. Go: `Tokens`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::time::rate::Limiter::new(3, 1).tokens(), 1.0);
    /// ```
    #[doc(alias = "Tokens")]
    pub fn tokens(&self) -> f64 {
        let now = clock::now();
        let mut state = *lock(&self.state);
        state.advance(now);
        state.tokens
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { limit, burst, .. } = *lock(&self.state);
        f.debug_struct("Limiter")
            .field("limit", &limit)
            .field("burst", &burst)
            .finish_non_exhaustive()
    }
}

/// Events whose tokens have been taken, and the time at which they may happen. Go:
/// `rate.Reservation`.
///
/// Dropping it returns no tokens; [`cancel`](Self::cancel) does.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let limiter = gopark::time::rate::Limiter::new(0.001, 1);
/// let first = limiter.reserve(1);
/// assert_eq!(first.delay(), Duration::ZERO);
/// let second = limiter.reserve(1);
/// assert!(second.delay() > Duration::ZERO);
/// second.cancel();
/// ```
#[must_use = "the tokens have been taken: wait for the delay, or cancel the events"]
pub struct Reservation<'a> {
    limiter: &'a Limiter,
    n: usize,
    /// `None` if the events may never happen.
    at: Option<Instant>,
    /// The limit when the tokens were taken.
    limit: Limit,
}

impl Reservation<'_> {
    /// Returns false if the events may never happen, because they exceed the burst. Go: `OK`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!gopark::time::rate::Limiter::new(1.0, 1).reserve(2).is_ok());
    /// ```
    #[doc(alias = "OK")]
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.at.is_some()
    }

    /// Returns how long to wait before the events; [`Duration::MAX`] if they may never happen. Go:
    /// `Delay`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(gopark::time::rate::Limiter::new(1.0, 1).reserve(1).delay().is_zero());
    /// ```
    #[doc(alias = "Delay")]
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(clock::now()))
    }

    /// Cancels the events and returns their tokens, except those that later events rely on. Go:
    /// `Cancel`.
    ///
    /// # Examples
    ///
    /// ```
    /// let limiter = gopark::time::rate::Limiter::new(0.001, 1);
    /// limiter.reserve(1);
    /// let later = limiter.reserve(1);
    /// later.cancel();
    /// assert!(limiter.tokens() < 0.1);
    /// ```
    #[doc(alias = "Cancel")]
    pub fn cancel(self) {
        self.give_back();
    }

    fn give_back(&self) {
        if let Some(at) = self.at {
            let now = clock::now();
            lock(&self.limiter.state).give_back(now, self.n, at, self.limit);
        }
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("n", &self.n)
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}

/// The error of a [`Limiter::wait`] for events that may never happen.
///
/// # Examples
///
/// ```
/// let limiter = gopark::time::rate::Limiter::new(1.0, 1);
/// let error = gopark::block_on(limiter.wait(2)).unwrap_err();
/// assert_eq!(error.to_string(), "rate: Wait(n=2) exceeds limiter's burst 1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitError {
    n: usize,
    burst: usize,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.n > self.burst {
            write!(f, "rate: Wait(n={}) exceeds limiter's burst {}", self.n, self.burst)
        } else {
            f.pad("rate: the tokens never come")
        }
    }
}

impl Error for LimitError {}

pin_project! {
    /// The future of [`Limiter::wait`].
    ///
    /// # Cancellation
    ///
    /// Dropping it returns its tokens, except those that later events rely on.
    ///
    /// # Panics
    ///
    /// If it is polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::time::rate::Limiter;
    ///
    /// gopark::block_on(async {
    ///     let limiter = Limiter::new(0.001, 1);
    ///     assert!(limiter.allow(1));
    ///     let mut waiting = Box::pin(limiter.wait(1));
    ///     assert!(futures_lite::future::poll_once(waiting.as_mut()).await.is_none());
    ///     assert!(limiter.tokens() < -0.5);
    ///     drop(waiting);
    ///     assert!(limiter.tokens() > -0.5);
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct Wait<'a> {
        limiter: &'a Limiter,
        n: usize,
        site: &'static Location<'static>,
        #[pin]
        stage: Stage<'a>,
    }

    impl PinnedDrop for Wait<'_> {
        fn drop(this: Pin<&mut Self>) {
            if let StageProjection::Waiting { reservation, .. } = this.project().stage.project() {
                reservation.give_back();
            }
        }
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<'a> {
        New,
        Waiting { #[pin] sleep: Sleep, reservation: Reservation<'a> },
        Over,
    }
}

future_case!(Wait<'a>, 'a);

impl Future for Wait<'_> {
    type Output = Result<(), LimitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.stage.as_mut().project() {
            StageProjection::Over => panic!("gopark: future polled after completion"),
            StageProjection::Waiting { .. } => {}
            StageProjection::New => {
                if !coop::poll_ready(cx, *this.site, Reason::RateLimit, &this.limiter.object) {
                    return Poll::Pending;
                }
                let now = clock::now();
                // An attempt that is not repeated takes no tokens only to return them.
                let may_wait = !coop::is_passing(cx);
                let suits = |at| may_wait || at <= now;
                let reservation = this.limiter.reserve_from(now, *this.n, suits);
                match reservation.at {
                    Some(at) if at > now && !may_wait => return Poll::Pending,
                    Some(at) if at > now => {
                        this.stage.set(Stage::Waiting { sleep: sleep_until(at), reservation })
                    }
                    at => {
                        this.stage.set(Stage::Over);
                        coop::spend();
                        let error = || LimitError { n: *this.n, burst: this.limiter.burst() };
                        return Poll::Ready(at.map(drop).ok_or_else(error));
                    }
                }
            }
        }
        let StageProjection::Waiting { sleep, .. } = this.stage.as_mut().project() else {
            unreachable!()
        };
        if coop::without_note(|| sleep.poll(cx)).is_pending() {
            coop::park_at(cx, *this.site, Reason::RateLimit);
            return Poll::Pending;
        }
        this.stage.set(Stage::Over);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("n", &self.n).finish_non_exhaustive()
    }
}
