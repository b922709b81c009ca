//! How often something may happen. Go: `golang.org/x/time/rate`; tokio has none.
//!
//! A [`Limiter`] is a bucket of tokens: an event takes some, and so many come back each second, up
//! to a burst.
//!
//! ```
//! use gopark::time::rate::Limiter;
//!
//! gopark::block_on(async {
//!     let limiter = Limiter::new(1000.0, 2);
//!     for _ in 0..5 {
//!         limiter.wait(1).await.unwrap(); // two at once, then one each millisecond
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

/// How many events there may be in a second. Go: `rate.Limit`. Made of a number, or of the time
/// between two.
///
/// Of a number that is not greater than 0, or is none (NaN), no tokens come.
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
    /// No limit at all: every event may happen, whatever the burst. Go: `rate.Inf`.
    pub const INF: Self = Self(f64::INFINITY);

    /// One event in each `interval`; in none, no limit. Go: `rate.Every`.
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

    /// The events in a second.
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

    /// How long it takes for so many tokens to come; none at all never come.
    fn duration_of(self, tokens: f64) -> Duration {
        if self.0 > 0.0 {
            Duration::try_from_secs_f64(tokens / self.0).unwrap_or(Duration::MAX)
        } else {
            Duration::MAX
        }
    }

    /// How many tokens come in that time.
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

/// Limits how often something happens: on the long run so often a second, and so many at once. Go:
/// `rate.Limiter`.
///
/// # Fairness
///
/// First come, first served: who waits has its time already, and one that comes later a later one.
///
/// # Memory ordering
///
/// None: it orders times, not memory.
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
    /// The tokens there were at `last`: less than none if events to come have taken them.
    tokens: f64,
    last: Instant,
    /// The latest time of an event, past or to come.
    last_event: Instant,
}

impl State {
    /// Adds the tokens that have come by `now`.
    fn advance(&mut self, now: Instant) {
        let tokens = self.tokens + self.limit.tokens_in(now.saturating_duration_since(self.last));
        self.tokens = tokens.min(self.burst as f64);
        self.last = self.last.max(now);
    }

    /// Takes `n` tokens for an event that need not wait for longer than that; returns when it may
    /// happen.
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

    /// Gives back the tokens of an event that would have happened at `at`, but for those that later
    /// events count on.
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
    /// A limiter with a full bucket of `burst` tokens. Go: `rate.NewLimiter`.
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

    /// Whether `n` events may happen at this instant; if so, they are counted. Go: `AllowN`.
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

    /// Counts `n` events, and says when they may happen. Go: `ReserveN`.
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
        self.reserve_from(clock::now(), n)
    }

    fn reserve_from(&self, now: Instant, n: usize) -> Reservation<'_> {
        let mut state = lock(&self.state);
        Reservation {
            limiter: self,
            n,
            at: state.reserve(now, n, Duration::MAX),
            limit: state.limit,
        }
    }

    /// Waits until `n` events may happen. Go: `WaitN`.
    ///
    /// With a context: [`ctx.run(limiter.wait(n))`](crate::context::Context::run).
    ///
    /// # Errors
    ///
    /// [`LimitError`], if the burst is less than `n`, or if tokens never come.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives the tokens back, but for those that later events count on.
    ///
    /// # Panics
    ///
    /// If the future is polled after it has completed.
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

    /// Sets the limit, from now on. Events that have their time keep it. Go: `SetLimit`.
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

    /// Sets the burst, from now on. Go: `SetBurst`.
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

    /// The limit.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::time::rate::Limiter::new(3, 1).limit(), 3.0.into());
    /// ```
    pub fn limit(&self) -> Limit {
        lock(&self.state).limit
    }

    /// The burst: how many events may happen at once.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::time::rate::Limiter::new(3, 1).burst(), 1);
    /// ```
    pub fn burst(&self) -> usize {
        lock(&self.state).burst
    }

    /// How many tokens there are at this instant; less than none if events wait. Go: `Tokens`.
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

/// Events that have been counted, and may happen later. Go: `rate.Reservation`. Dropping it gives
/// nothing back.
#[must_use = "the events are counted: wait for the delay, or cancel them"]
pub struct Reservation<'a> {
    limiter: &'a Limiter,
    n: usize,
    /// `None` if they may never happen.
    at: Option<Instant>,
    /// The limit when they were counted.
    limit: Limit,
}

impl Reservation<'_> {
    /// Whether they may happen at all: not if they are more than the burst. Go: `OK`.
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

    /// How long to wait before they may happen; [`Duration::MAX`] if they never may. Go: `Delay`.
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

    /// They will not happen: gives the tokens back, but for those that later events count on. Go:
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

/// More events than may happen at once, or some that never may.
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
                let reservation = this.limiter.reserve_from(now, *this.n);
                match reservation.at {
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
