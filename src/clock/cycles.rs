//! A moment that is not before now, for a third of what the clock costs.
//!
//! A time-out that starts and is dropped costs two locks and a reading of the clock, and the clock is the greater half. But its
//! deadline need not be exact: it must not be early, and a quarter of a microsecond late does no harm. So the CPU's cycle counter
//! measures how long ago this thread read the clock. If the reading is recent, the result is that reading plus slightly more than
//! the time since.
//!
//! This is done where the kernel itself takes its time from the cycle counter, which then is the same on all cores and never
//! changes its frequency (x86-64 Linux, clock source `tsc`). Elsewhere the clock is read.

use super::Time;

/// Now, or up to half a microsecond later; never before.
#[inline]
pub(crate) fn coarse_now() -> Time {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    return counter::coarse_now();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    Time::now()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod counter {
    use std::arch::x86_64::{__cpuid, _rdtsc};
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use crate::clock::Time;

    /// The pace is measured over this time at least.
    const MEASURE: Duration = Duration::from_millis(10);
    /// A reading of the clock that took more cycles was interrupted. The clock may have been read before or after the
    /// interruption, so the reading measures nothing, and nothing is counted from it.
    const INTERRUPTED: u64 = 1000;
    /// After so many cycles the clock is read again: in about 50 microseconds the error of the pace stays below a tenth of one.
    const FRESH: u64 = 1 << 17;
    /// The CPU may read the counter before earlier instructions have finished, but by fewer nanoseconds than this.
    const OUT_OF_ORDER: u64 = 200;

    /// Nanoseconds of 2^32 cycles, rounded up by more than the kernel ever adjusts the clock (0.05 %). 0: not known.
    static PACE: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        /// This thread's last reading of the clock: the cycles just before it, and the nanoseconds it returned.
        static LAST: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    }

    fn cycles() -> u64 {
        // SAFETY: every x86-64 has the counter, and the kernel lets processes read it.
        unsafe { _rdtsc() }
    }

    #[inline]
    pub(super) fn coarse_now() -> Time {
        let pace = PACE.load(Ordering::Relaxed);
        let (then, time) = LAST.get();
        // A counter that went back gives a huge age.
        let age = cycles().wrapping_sub(then);
        if pace == 0 || age >= FRESH {
            return look(pace);
        }
        Time::from_nanos(time + ((age * pace) >> 32) + OUT_OF_ORDER)
    }

    #[cold]
    #[inline(never)]
    fn look(pace: u64) -> Time {
        let before = cycles();
        let now = Time::now();
        note(pace, before, now, cycles());
        now
    }

    /// Uses a reading of the clock between these two counts, unless it was interrupted.
    fn note(pace: u64, before: u64, now: Time, after: u64) {
        if after.wrapping_sub(before) > INTERRUPTED {
            return;
        }
        if pace == 0 {
            measure(before, now);
        } else {
            LAST.set((before, now.as_nanos()));
        }
    }

    /// Sets the pace, once enough time has passed since the first call.
    #[cold]
    fn measure(before: u64, now: Time) {
        static FIRST: OnceLock<Option<(u64, Time)>> = OnceLock::new();
        let Some((first, start)) = *FIRST.get_or_init(|| is_steady().then_some((before, now))) else { return };
        let passed = now.since(start);
        if passed >= MEASURE {
            let pace = (passed.as_nanos() << 32) / u128::from(before.wrapping_sub(first).max(1));
            let pace = u64::try_from(pace + pace / 512).unwrap_or(0);
            // So that the product with a fresh age fits; and no counter is that slow.
            if pace < u64::MAX / FRESH {
                PACE.store(pace, Ordering::Relaxed);
            }
        }
    }

    /// Whether the counter has one pace on all cores, according to both the kernel and the CPU.
    fn is_steady() -> bool {
        let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
        #[allow(unused_unsafe, reason = "safe in later versions of the language")]
        // SAFETY: every x86-64 has the instruction.
        let invariant =
            || unsafe { __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0 };
        source.is_ok_and(|source| source.trim() == "tsc") && invariant()
    }

    #[cfg(all(test, not(gopark_loom)))]
    #[test]
    fn nothing_is_counted_from_an_interrupted_look() {
        // The clock was read after the interruption: what is counted from before it would be late by all of it.
        let (before, now) = (cycles(), Time::now());
        LAST.set((1, 2));
        note(1, before, now, before + INTERRUPTED + 1);
        assert_eq!(LAST.get(), (1, 2));
        note(1, before, now, before + INTERRUPTED);
        assert_eq!(LAST.get(), (before, now.as_nanos()));
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
