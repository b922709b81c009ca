//! The one place that reads the clock for timers.
//!
//! Inside, time is a number of nanoseconds since the process first asked. What lies beyond its end (584 years) is never.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

#[inline]
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

#[inline]
fn nanos(duration: Duration) -> u64 {
    // `as_nanos` calculates with 128 bits.
    let seconds = duration.as_secs().checked_mul(1_000_000_000);
    seconds.and_then(|nanos| nanos.checked_add(u64::from(duration.subsec_nanos()))).unwrap_or(u64::MAX)
}

impl Time {
    /// Before everything that can be asked for.
    pub(crate) const PAST: Self = Self(0);
    /// After everything.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    #[inline]
    pub(crate) fn now() -> Self {
        Self::at(Instant::now())
    }

    #[inline]
    pub(crate) fn at(instant: Instant) -> Self {
        Self(nanos(instant.saturating_duration_since(start())))
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment that is `wait` later; too late is never.
    #[inline]
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(nanos(wait)))
    }

    pub(crate) fn before(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(wait)))
    }

    /// How long from `earlier` to here; nothing if it is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The tick after `self` of a clock that ticks every `period` and is first looked at `now`: those in between are gone.
    pub(crate) fn next_tick(self, period: Duration, now: Self) -> Self {
        let (period, late) = (nanos(period), now.0.saturating_sub(self.0));
        Self(period.checked_mul(1 + late / period).and_then(|step| self.0.checked_add(step)).unwrap_or(u64::MAX))
    }

    /// For users. `None` is never.
    pub(crate) fn instant(self) -> Option<Instant> {
        if self == Self::NEVER { None } else { start().checked_add(Duration::from_nanos(self.0)) }
    }
}

#[cfg(test)]
mod tests;
