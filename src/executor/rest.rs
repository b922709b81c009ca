//! Detects that a runtime is at rest: nothing inside it will make a goroutine run.

use std::panic::Location;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Executor, FIRST_LOOKS, Sched, lock};
use crate::clock::{self, Time};
use crate::panics::Caught;
use crate::rest::Rest;
use crate::timer::{driver, shard};

/// How long goroutines may take to answer a report.
const ANSWER: Duration = Duration::from_millis(500);

/// A rest that has lasted for so long is judged seldom.
const LONG: Duration = Duration::from_secs(2);

/// A runtime in which nothing runs, unless one of these threads does.
pub(crate) struct AtRest {
    pub(crate) since: Time,
    /// The number of its threads that are not parked. If one is not blocked, it runs a job.
    pub(crate) unparked: usize,
    /// The thread of a `block_on_local` polls its main, or a goroutine. If it is not blocked, that
    /// runs.
    pub(crate) is_polled: bool,
}

impl Executor {
    /// Returns a number that changes with each poll, by a worker or by the thread of a
    /// `block_on_local`.
    pub(super) fn polls(&self) -> u32 {
        self.processors.in_use().fold(self.block_on_calls.polls(), |sum, processor| {
            sum.wrapping_add(processor.polls.load(Ordering::Relaxed))
        })
    }

    /// Begins a rest, or continues it: the monitor has found that nothing runs.
    pub(super) fn rest(&self, sched: &mut Sched, now: Time) {
        sched.alert = sched.alert.max(FIRST_LOOKS);
        let polls = self.block_on_calls.polls();
        // The thread of a `block_on_local` wakes the monitor only when it parks.
        if !sched.rest.is_some_and(|rest| rest.goes_on(polls)) {
            sched.rest = Some(match sched.asked.take() {
                Some((before, until)) if now <= until => before.resumed(now, polls),
                _ => Rest::new(now, polls),
            });
        }
    }

    /// Returns true if the observer may ask goroutines, which wakes them.
    pub(super) fn may_ask(&self) -> bool {
        lock(&self.sched).rest.is_some_and(|rest| rest.may_ask())
    }

    /// Records that the observer asks goroutines, which wakes them to answer. This does not end the
    /// rest if they park at once.
    pub(super) fn rest_goes_on(&self) {
        let mut sched = lock(&self.sched);
        if let Some(rest) = sched.rest {
            sched.asked = Some((rest.asked(), Time::now().after(ANSWER)));
        }
    }

    /// Begins the rest anew, because goroutines have done more than answer. Returns true if the
    /// rest had been resumed.
    pub(crate) fn rest_begins_anew(&self) -> bool {
        lock(&self.sched).rest.as_mut().is_some_and(Rest::begin_anew)
    }

    /// Ends the rest and wakes the monitor. For what runs without a processor: jobs, and what the
    /// thread of a `block_on_local` polls.
    pub(crate) fn end_rest(&self) {
        if lock(&self.sched).rest.take().is_some() {
            // As in `set_place`.
            clock::advance_epoch();
            self.monitor.unpark();
        }
    }

    /// Wakes the monitor of a runtime. Returns false if there is no runtime.
    pub(super) fn wake_any_monitor() -> bool {
        let all = Self::all();
        #[cfg(feature = "sim")]
        let all = all.filter(|executor| !executor.is_simulated());
        all.take(1).map(Self::wake_monitor).count() == 1
    }

    /// Returns a function for the end of each phase of the thread of a `block_on_local`: its polls,
    /// and its parks. A long phase ends the rest. A shorter one does not, because it may be the
    /// answer to a judgement.
    pub(crate) fn phases(&self) -> impl FnMut() {
        let mut began = Time::now();
        move || {
            let now = Time::now();
            if now.since(std::mem::replace(&mut began, now)) > LONG {
                self.end_rest();
            }
        }
    }

    /// Asks the observer whether the runtime can go on, if it has been at rest for long enough.
    /// Returns the time of the next judgement.
    pub(super) fn judge_rest(&self) -> Time {
        let mut sched = lock(&self.sched);
        let observer = sched.observer;
        let Some(rest) = &mut sched.rest else { return Time::NEVER };
        let is_due = rest.begin_judgement(Time::now());
        drop(sched);
        observer.filter(|_| is_due).into_iter().for_each(|judge| judge());
        // Something may have run meanwhile: that has woken the monitor.
        lock(&self.sched).rest.as_mut().map_or(Time::NEVER, |rest| {
            // The driver does not wake the monitor when it fires its last timer.
            rest.judge_after(driver::next_due().max(Time::now()));
            rest.judge_at()
        })
    }

    /// Returns the rest of this runtime. `None` if something can run, or if a timer or a queued job
    /// will make something run.
    pub(crate) fn at_rest(&self) -> Option<AtRest> {
        let sched = lock(&self.sched);
        let rest = sched.rest.as_ref()?;
        let unparked = self.spares.unparked()?;
        let is_polled = self.block_on_calls.is_polled()?;
        let is_quiet = self.processors.in_use().all(|processor| processor.owner().is_none())
            && !self.has_work()
            && shard::earliest(self.all_timers()) == Time::NEVER
            && rest.goes_on(self.block_on_calls.polls());
        let since = if is_quiet { rest.since(Time::now()) } else { None };
        since.map(|since| AtRest { since, unparked, is_polled })
    }

    /// Reports a deadlock as an unrecovered panic of this main.
    pub(crate) fn deadlocked(&self, main: u64, spawned_at: &Location<'_>, report: String) {
        let generation = self.generation();
        let report = Caught::new(Box::new(report));
        self.block_on_calls.unrecovered(main, spawned_at, report, || self.is_over(generation));
        self.wake_monitor();
    }
}
