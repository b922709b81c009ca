//! The crate's clock: the only place that reads the time.
//!
//! Inside the crate a moment is a number of nanoseconds since the clock was first read. Moments
//! beyond its range of 584 years are [`Time::NEVER`]. [`Time::now`] is exact, [`coarse_now`] is
//! cheaper and a few microseconds late, [`coarse_epoch`] is a relaxed load.

mod cycles;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(feature = "sim")]
use crate::simulated;
pub(crate) use cycles::coarse_now;
#[cfg(feature = "sim")]
pub(crate) use cycles::forget_look;

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
    seconds
        .and_then(|nanos| nanos.checked_add(u64::from(duration.subsec_nanos())))
        .unwrap_or(u64::MAX)
}

impl Time {
    /// The earliest moment: no reading of the clock is earlier.
    pub(crate) const PAST: Self = Self(0);
    /// After every moment.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Reads the clock. Every other reading of this crate is derived from this one.
    #[inline]
    pub(crate) fn now() -> Self {
        #[cfg(feature = "sim")]
        if let Some(nanos) = simulated::now() {
            return Self(nanos);
        }
        let now = Self::at(Instant::now());
        EPOCH.advance(now);
        now
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

    /// Returns the moment that is `wait` later, or [`NEVER`](Self::NEVER) if that is out of range.
    #[inline]
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(nanos(wait)))
    }

    pub(crate) fn before(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(wait)))
    }

    /// Returns the time from `earlier` to `self`; zero if `earlier` is later.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the first tick after `now` of a clock that ticked at `self` and ticks every
    /// `period`: ticks before that are skipped.
    pub(crate) fn next_tick(self, period: Duration, now: Self) -> Self {
        let (period, late) = (nanos(period), now.0.saturating_sub(self.0));
        Self(
            period
                .checked_mul(1 + late / period)
                .and_then(|step| self.0.checked_add(step))
                .unwrap_or(u64::MAX),
        )
    }

    /// Converts the moment for users; `None` is never.
    #[inline]
    pub(crate) fn instant(self) -> Option<Instant> {
        if self == Self::NEVER { None } else { start().checked_add(Duration::from_nanos(self.0)) }
    }
}

/// Returns [`Time::now`] for users.
#[inline]
pub(crate) fn now() -> Instant {
    start() + Duration::from_nanos(Time::now().0)
}

/// Returns the epoch of the latest reading of the clock, by any thread: a time that costs one
/// relaxed load.
///
/// An epoch lasts [`EPOCH_LENGTH`], and the numbers wrap around at 2^32. The result is as old as
/// the last reading of the clock. While goroutines run, the monitor of their executor reads the
/// clock every 5 ms.
#[inline(always)]
pub(crate) fn coarse_epoch() -> u32 {
    EPOCH.latest.load(Ordering::Relaxed) as u32
}

/// Reads the clock only for [`coarse_epoch`], when perhaps no thread has read it for long.
pub(crate) fn advance_epoch() {
    Time::now();
}

/// Returns how long ago an epoch began, of whose number only the lowest `bits` are known.
pub(crate) fn age_of(epoch: u32, bits: u32) -> Duration {
    advance_epoch();
    #[cfg(not(feature = "sim"))]
    let now = coarse_epoch();
    #[cfg(feature = "sim")]
    let now = simulated_epoch().unwrap_or_else(coarse_epoch);
    let epochs = now.wrapping_sub(epoch) & (u32::MAX >> (u32::BITS - bits));
    EPOCH_LENGTH.saturating_mul(epochs)
}

/// Returns the epoch of the virtual clock, on a thread that has one.
#[cfg(feature = "sim")]
pub(crate) fn simulated_epoch() -> Option<u32> {
    simulated::now().map(|nanos| (nanos >> EPOCH_SHIFT) as u32)
}

/// How long an epoch lasts: 67 ms.
pub(crate) const EPOCH_LENGTH: Duration = Duration::from_nanos(1 << EPOCH_SHIFT);

const EPOCH_SHIFT: u32 = 26;

static EPOCH: Epoch = Epoch { latest: AtomicU64::new(0) };

/// The latest epoch, on a cache line of its own: it is read at each poll and written 15 times a
/// second.
///
/// It never decreases: a thread that was preempted between its reading and its store must not set
/// it back. So the word holds the whole number, which does not wrap around.
#[repr(align(128))]
struct Epoch {
    latest: AtomicU64,
}

impl Epoch {
    #[inline]
    fn advance(&self, now: Time) {
        let epoch = now.0 >> EPOCH_SHIFT;
        if self.latest.load(Ordering::Relaxed) != epoch {
            self.latest.fetch_max(epoch, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
