//! `time::rate`.

use std::time::Duration;

use gopark::sync::WaitGroup;
use gopark::time::rate::{Limit, Limiter};
use gopark::{select, time};

use crate::hand::{Dice, Hand, on_procs};

const HOUR: Duration = Duration::from_secs(3600);

/// A limiter of one event in an hour: during a test no token is added.
fn hourly(burst: usize) -> Limiter {
    Limiter::new(Limit::every(HOUR), burst)
}

fn hours(delay: Duration) -> f64 {
    (delay.as_secs_f64() / HOUR.as_secs_f64()).round()
}

#[test]
fn a_burst_is_allowed_and_then_no_more() {
    let limiter = hourly(3);
    assert!(!limiter.allow(4));
    assert!(limiter.allow(2) && limiter.allow(1) && limiter.allow(0));
    assert!(!limiter.allow(1));
}

#[test]
fn events_that_are_reserved_come_one_after_the_other() {
    let limiter = hourly(2);
    let delays = [1, 1, 1, 2].map(|n| hours(limiter.reserve(n).delay()));
    assert_eq!(delays, [0.0, 0.0, 1.0, 3.0]);
    assert_eq!(limiter.tokens().round(), -3.0);
    let never = limiter.reserve(3);
    assert_eq!((never.is_ok(), never.delay()), (false, Duration::MAX));
}

#[test]
fn what_is_cancelled_is_given_back_but_for_what_later_events_count_on() {
    let limiter = hourly(2);
    drop(limiter.reserve(2));
    let (first, second) = (limiter.reserve(1), limiter.reserve(1));
    // The second one is an hour after the first, and stays there.
    first.cancel();
    assert_eq!(limiter.tokens().round(), -2.0);
    second.cancel();
    assert_eq!(limiter.tokens().round(), -1.0);
    assert_eq!(hours(limiter.reserve(1).delay()), 2.0);
}

#[test]
fn a_wait_that_is_dropped_gives_its_tokens_back() {
    let limiter = hourly(1);
    Hand::new(limiter.wait(1)).ready().unwrap();
    let second = Hand::parked(limiter.wait(1));
    assert_eq!(limiter.tokens().round(), -1.0);
    drop(second);
    assert_eq!(limiter.tokens().round(), 0.0);
    // A wait that was never polled has taken no token.
    drop(limiter.wait(1));
    assert_eq!(limiter.tokens().round(), 0.0);
    let error = Hand::new(limiter.wait(2)).ready().unwrap_err();
    assert_eq!(error.to_string(), "rate: Wait(n=2) exceeds limiter's burst 1");
}

#[test]
fn without_a_limit_all_is_allowed_and_without_tokens_nothing_after_the_burst() {
    let limiter = Limiter::new(Limit::INF, 0);
    assert!(limiter.allow(1_000_000));
    Hand::new(limiter.wait(7)).ready().unwrap();
    let limiter = Limiter::new(0, 2);
    assert!(limiter.allow(2));
    assert!(!limiter.reserve(1).is_ok() && Hand::new(limiter.wait(1)).ready().is_err());
    for none in [-1.0, f64::NAN] {
        let limiter = Limiter::new(none, 1);
        assert!(limiter.allow(1) && !limiter.allow(1) && !limiter.reserve(1).is_ok(), "{none}");
    }
    limiter.set_limit(Limit::INF);
    limiter.set_burst(5);
    assert!(limiter.allow(6));
    assert_eq!((limiter.burst(), limiter.limit()), (5, Limit::INF));
}

#[test]
fn goroutines_are_never_faster_than_the_limit() {
    on_procs(2, async {
        let limiter = std::sync::Arc::new(Limiter::new(2_000.0, 5));
        let (start, wg) = (time::now(), WaitGroup::new());
        for _ in 0..5 {
            let limiter = limiter.clone();
            wg.go(async move {
                for _ in 0..10 {
                    limiter.wait(1).await.unwrap();
                }
            });
        }
        wg.wait().await;
        // 50, of which 5 at once.
        assert!(time::now() - start >= Duration::from_micros(45 * 500 - 1));
        select! {
            waited = limiter.wait(1) => waited.unwrap(),
            _ = time::sleep(HOUR) => unreachable!("a token comes before"),
        }
    });
}

/// The number of tokens that `Reservation::cancel` gives back. A token takes so long that none is
/// added during the test.
struct Tokens {
    left: i64,
    burst: i64,
    /// When the last event happens, in units of the time for one token; and which event that is,
    /// unless it was cancelled.
    last_event: (i64, Option<usize>),
}

impl Tokens {
    /// When `n` tokens may be used.
    fn take(&mut self, n: i64, event: usize) -> i64 {
        self.left -= n;
        let at = (-self.left).max(0);
        self.last_event = (at, Some(event));
        at
    }

    fn give_back(&mut self, n: i64, at: i64, event: usize) {
        // Go would give back more than was taken if the last event comes before this one, which
        // cancelling others can cause.
        let back = n - (self.last_event.0 - at).max(0);
        if back > 0 {
            self.left = (self.left + back).min(self.burst);
            if self.last_event.1 == Some(event) && at > n {
                self.last_event = (at - n, None);
            }
        }
    }
}

#[test]
fn waits_that_are_given_up_in_any_order_give_back_what_no_later_one_counts_on() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let burst = 1 + dice.roll(8);
        let limiter = Limiter::new(2f64.powi(-52), burst);
        let mut expected =
            Tokens { left: burst as i64, burst: burst as i64, last_event: (0, None) };
        let mut waits = Vec::new();
        for step in 0..100 {
            if dice.roll(2) == 0 {
                let n = 1 + dice.roll(burst);
                let mut wait = Hand::new(limiter.wait(n));
                let at = expected.take(n as i64, step);
                assert_eq!(wait.is_pending(), at > 0, "seed {seed}, step {step}");
                if at > 0 {
                    waits.push((wait, n as i64, at, step));
                }
            } else if !waits.is_empty() {
                let (wait, n, at, event) = waits.swap_remove(dice.roll(waits.len()));
                drop(wait);
                expected.give_back(n, at, event);
            }
            let left = limiter.tokens();
            assert!(
                (left - expected.left as f64).abs() < 1e-3,
                "seed {seed}, step {step}: {left}, not {}",
                expected.left
            );
        }
    }
}
