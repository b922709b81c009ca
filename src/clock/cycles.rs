//! A reading of the time that is never early, at half the cost of the clock.
//!
//! A time-out that starts and is dropped costs two locks and a reading of the clock, of which the
//! clock costs more. But its deadline need not be exact: it must not be early, but may be some
//! microseconds late. So the CPU's cycle counter measures how long ago this thread read the clock.
//! If that is recent, the result is that reading plus at least the time since then.
//!
//! This is done on x86-64 Linux, if the CPU says that its counter is invariant (it counts at a
//! constant pace in all states of the CPU), and if it has `rdpid`, which returns in half a
//! nanosecond the CPU on which a thread runs. Elsewhere the clock is read. No file is opened.
//!
//! # Why it is never early
//!
//! The clock here is `CLOCK_MONOTONIC`. Suppose that a thread reads the counter (`Count`), then
//! the clock, and later the counter again. The result is early only if between the two counts the
//! clock advanced by more than their difference times [`PACE`].
//!
//! * *The CPU of a count.* `rdpid` before and after returns the same CPU. To be wrong, the thread
//!   would have to be moved away between two instructions, and moved back before the next but one.
//!   A difference is taken only between counts of one CPU, so it does not matter whether the
//!   counters of several agree.
//! * *The pace is not too small.* It is measured between two looks at the clock, from the count
//!   after the first to the count before the second, so that it is rounded up, and even more so if
//!   the thread is interrupted in a look. While the system or its virtual machine is suspended, the
//!   clock stops, but the counter may continue: a pace measured across a suspension is too small.
//!   No clock shows suspensions reliably (`CLOCK_BOOTTIME` may count only whole seconds, and a
//!   guest does not see a pause of its machine). A counter that continues only makes a pace
//!   smaller, so a thread takes the largest of [`INTERVALS`] in a row. All of them are wrong only
//!   if there is a suspension in each, within less than half a second.
//! * *The pace stays large enough.* The kernel slews the clock by up to 11 % of the counter's own
//!   pace in either direction: by no more than 1.11 / 0.89 < 5 / 4 of what was measured.
//! * *A suspension between the two counts.* If the counter continues, the age is larger: the result
//!   is late, or the reading is no longer fresh. If the counter stops, so does the clock. If it
//!   restarts at zero, the age wraps around and is not fresh. (It would be fresh again for
//!   [`FRESH`] cycles when the counter reaches the old count, unless this thread has looked in
//!   between. That takes as long as the first count took since the machine was turned on.)
//! * *The order of instructions.* The CPU may read the counter before earlier instructions have
//!   finished: by less than [`OUT_OF_ORDER`], which is the time of several dependent loads from
//!   memory.
//!
//! # How late it can be
//!
//! The result is late by at most a quarter of [`FRESH`] plus [`OUT_OF_ORDER`], about 3
//! microseconds. It is late by [`FRESH`] more, once, if the thread was interrupted between the
//! count and the clock. If the thread was interrupted in a look while the pace was measured, it is
//! later in proportion to [`SHORTEST`], and even at the pace of [`SLOWEST`] by less than 100
//! microseconds.

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
pub(crate) use counter::coarse_now;
#[cfg(all(feature = "sim", target_arch = "x86_64", target_os = "linux", not(miri)))]
pub(crate) use counter::forget_look;

/// Returns the current time.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
pub(crate) fn coarse_now() -> super::Time {
    super::Time::now()
}

/// Does nothing: there is no reading to forget.
#[cfg(all(feature = "sim", not(all(target_arch = "x86_64", target_os = "linux", not(miri)))))]
pub(crate) fn forget_look() {}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod counter {
    use std::cell::Cell;
    use std::sync::LazyLock;
    use std::time::Duration;

    use crate::clock::Time;
    use crate::platform::{Count, CycleCounter, OfCounter};

    /// The number of cycles, 4 to 16 microseconds, after which the clock is read again.
    const FRESH: u64 = 1 << 14;
    /// The counter is read less than this many nanoseconds before earlier instructions have
    /// finished.
    const OUT_OF_ORDER: u64 = 1000;
    /// How often the pace is measured, and for how long each time.
    const INTERVALS: u32 = 4;
    const SHORTEST: Duration = Duration::from_millis(4);
    const LONGEST: Duration = Duration::from_millis(100);
    /// The slowest accepted pace, that of a counter of 250 MHz. If a slower pace is measured, this
    /// is no cycle counter, or it was stopped.
    const SLOWEST: u64 = 4 << 32;

    /// An upper bound of the nanoseconds that 2^32 cycles take, once it is known.
    static PACE: OfCounter = OfCounter::new();

    thread_local! {
        /// This thread's last look at the clock.
        static LAST: Cell<Look> = const { Cell::new(Look::NONE) };
        static MEASUREMENT: Cell<Measurement> = const { Cell::new(Measurement::NEW) };
    }

    /// A look at the clock, between two counts.
    #[derive(Clone, Copy, Debug)]
    struct Look {
        before: Count,
        time: Time,
        after: Count,
    }

    impl Look {
        /// A look that is never fresh, because its CPU does not exist.
        const NONE: Self = {
            let count = Count { cpu: u64::MAX, cycles: 0 };
            Self { before: count, time: Time::PAST, after: count }
        };

        /// Returns the time at `now`, or a later time. `None` if too much time has passed since
        /// this look, or if `now` was counted on another CPU.
        #[inline(always)]
        fn at(self, now: Count, pace: u64) -> Option<Time> {
            let age = now.since(self.before)?;
            // The product fits: no pace is above 5/4 of `SLOWEST`.
            (age < FRESH).then(|| {
                Time::from_nanos(self.time.as_nanos() + ((age * pace) >> 32) + OUT_OF_ORDER)
            })
        }

        /// Returns the pace between two looks, if they are suitable for a measurement.
        fn pace_since(self, begin: Self) -> Option<u64> {
            let (cycles, passed) = (self.before.since(begin.after)?, self.time.since(begin.time));
            let pace = (passed.as_nanos() << 32).checked_div(u128::from(cycles))?;
            u64::try_from(pace).ok().filter(|pace| *pace <= SLOWEST && passed <= LONGEST)
        }
    }

    /// Returns the current time, or one some microseconds later; never an earlier one.
    #[inline]
    pub(crate) fn coarse_now() -> Time {
        match PACE.get() {
            None => look(),
            Some((counter, pace)) => {
                counter.read().and_then(|now| LAST.get().at(now, pace)).unwrap_or_else(look)
            }
        }
    }

    /// Forgets the last look, because this thread has another clock from now on.
    #[cfg(feature = "sim")]
    pub(crate) fn forget_look() {
        LAST.set(Look::NONE);
    }

    /// Reads the clock, and uses the reading to measure the pace if it is not known.
    #[cold]
    #[inline(never)]
    fn look() -> Time {
        static COUNTER: LazyLock<Option<CycleCounter>> = LazyLock::new(CycleCounter::find);
        #[cfg(feature = "sim")]
        if let Some(nanos) = crate::simulated::now() {
            return Time::from_nanos(nanos);
        }
        let Some(counter) = *COUNTER else { return Time::now() };
        let (before, time, after) = (counter.read(), Time::now(), counter.read());
        let (Some(before), Some(after)) = (before, after) else { return time };
        let look = Look { before, time, after };
        LAST.set(look);
        if PACE.get().is_none() {
            let mut measurement = MEASUREMENT.get();
            if let Some(pace) = measurement.add(look) {
                PACE.set(counter, pace);
            }
            MEASUREMENT.set(measurement);
        }
        time
    }

    /// A thread's measurement of the pace.
    #[derive(Clone, Copy, Debug)]
    struct Measurement {
        /// Where the current interval begins.
        begin: Look,
        intervals: u32,
        largest: u64,
    }

    impl Measurement {
        const NEW: Self = Self { begin: Look::NONE, intervals: 0, largest: 0 };

        /// Adds a look. Returns the result if this look completes the measurement.
        fn add(&mut self, look: Look) -> Option<u64> {
            if look.time.since(self.begin.time) < SHORTEST {
                return None;
            }
            let pace = look.pace_since(std::mem::replace(&mut self.begin, look))?;
            self.largest = self.largest.max(pace);
            self.intervals += 1;
            (self.intervals == INTERVALS).then_some(self.largest / 4 * 5)
        }
    }

    #[cfg(all(test, not(gopark_loom)))]
    mod tests;
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
