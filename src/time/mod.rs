//! Sleeps, timeouts, timers, tickers and rate limits. Go: package `time`.
//!
//! | Go | gopark | tokio |
//! |---|---|---|
//! | `time.Now()` | [`now()`](now) | `Instant::now` |
//! | `time.Sleep(d)` | [`sleep(d)`](sleep()), [`sleep_until(t)`](sleep_until) | `sleep` |
//! | `case <-time.After(d)` | [`timeout(d, op)`](timeout()), or `sleep(d)` as a case | `timeout` |
//! | `time.After(d)` | [`after(d)`](after) | – |
//! | `time.NewTimer(d)` | [`Timer::new(d)`](Timer::new) | a pinned `Sleep`, reset |
//! | `time.AfterFunc(d, f)` | [`Timer::after_func(d, f)`](Timer::after_func) | a task that sleeps |
//! | `time.NewTicker(d)` | [`Ticker::new(d)`](Ticker::new) | `interval` (`Skip`) |
//! | `x/time/rate` | [`rate::Limiter`] | – |
//!
//! Timers work wherever a future is polled. The runtime of a goroutine fires its timers, even when
//! all processors are busy. For other executors and plain threads, a timer thread starts with the
//! first timer. Starting and dropping a timer costs a few dozen nanoseconds, however many there
//! are; a pending [`Sleep`] allocates nothing.
//!
//! # Precision
//!
//! Times are kept in nanoseconds, and no timer fires early. How late a timer fires depends on the
//! load. An idle runtime sleeps until the exact deadline (Linux adds about 0.06 ms). A busy one
//! checks its timers every few microseconds, between two polls. If all processors are in a long
//! poll, timers fire within about 5 ms. Go has the same precision; tokio rounds up to milliseconds.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//!
//! use gopark::{chan, select, time};
//!
//! gopark::block_on(async {
//!     let (_tx, rx) = chan::unbuffered::<i32>();
//!     select! {
//!         v = rx.recv() => unreachable!("no value is sent, but got {v:?}"),
//!         _ = time::sleep(Duration::from_millis(1)) => {}
//!     }
//! });
//! ```

#[forbid(unsafe_code)]
pub mod rate;
mod send;
mod sleep;
mod timer;

use std::time::Instant;

use crate::clock;

pub use send::SendTimeout;
#[cfg(feature = "net")]
pub(crate) use sleep::sleep_at;
pub use sleep::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout};
pub use timer::{Tick, Ticker, Timer, after};

/// Returns the time of the crate's clock. Go: `time.Now`; tokio: `time::Instant::now`.
///
/// This crate measures all time by this clock: sleeps, timers, tickers and timeouts, the deadlines
/// of contexts, and the time after which a starving waiter of a [`Mutex`](crate::sync::Mutex) gets
/// the lock. The clock is monotonic across threads, and agrees with [`Instant::now`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use gopark::time;
///
/// gopark::block_on(async {
///     let start = time::now();
///     time::sleep(Duration::from_millis(2)).await;
///     assert!(time::now() - start >= Duration::from_millis(2));
/// });
/// ```
#[doc(alias = "Now")]
#[inline]
pub fn now() -> Instant {
    clock::now()
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
