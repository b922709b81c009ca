//! Waiting for a time: [`sleep`](sleep()), [`timeout`](timeout()), [`Timer`], [`Ticker`]. Go:
//! package `time`.
//!
//! | Go | gopark | tokio |
//! |---|---|---|
//! | `time.Now()` | [`now()`](now) | `Instant::now` |
//! | `time.Sleep(d)` | [`sleep(d)`](sleep()), [`sleep_until(t)`](sleep_until) | `sleep`, `sleep_until` |
//! | `select` with `time.After(d)` | [`timeout(d, op)`](timeout()), or [`sleep(d)`](sleep()) as a case | `timeout` |
//! | `time.After(d)` | [`after(d)`](after) | – |
//! | `time.NewTimer(d)` | [`Timer::new(d)`](Timer::new) | a pinned `Sleep`, reset |
//! | `time.AfterFunc(d, f)` | [`Timer::after_func(d, future)`](Timer::after_func) | `spawn` a task that sleeps |
//! | `x/time/rate` | [`rate::Limiter`] | – |
//! | `time.NewTicker(d)` | [`Ticker::new(d)`](Ticker::new) | `interval`, with `MissedTickBehavior::Skip` |
//!
//! Timers work wherever a future is polled. A goroutine's are looked after by its runtime, beside
//! its other work and however busy it is; in other executors and on plain threads a small thread
//! starts with the first of them. Starting and dropping one costs a few dozen nanoseconds, whatever
//! the number of others; a pending [`Sleep`] allocates nothing.
//!
//! # Precision
//!
//! Times are kept in nanoseconds, and nothing is ever early. How late it is depends on how soon a
//! thread comes to it: an idle runtime sleeps until the very moment (Linux adds about 0.06 ms); a
//! busy one looks every few microseconds, between two polls; if all processors are in a long poll,
//! within about 5 ms. Go is as precise, tokio rounds up to whole milliseconds.
//!
//! ```
//! use std::time::Duration;
//! use gopark::{chan, select, time};
//!
//! gopark::block_on(async {
//!     let (_tx, rx) = chan::unbuffered::<i32>();
//!     select! {
//!         v = rx.recv() => unreachable!("nobody sends, yet {v:?}"),
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
pub use sleep::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout};
pub use timer::{Tick, Ticker, Timer, after};

/// Reads the crate's clock. Go: `time.Now`; tokio: `time::Instant::now`.
///
/// It is the clock by which this crate measures all time: sleeps, timers, tickers and time-outs,
/// the deadlines of contexts, and how long a [`Mutex`](crate::sync::Mutex) lets a waiter starve. It
/// never goes back, on whichever thread it is read, and it agrees with [`Instant::now`].
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
