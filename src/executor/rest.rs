//! When a runtime is at rest, and nothing inside of it will make anything run.

use std::panic::Location;

use super::{Executor, Sched, lock};
use crate::clock::Time;
use crate::rest::Rest;
use crate::timer::shard;

impl Executor {
    /// The monitor has found nothing that runs. Returns when it must look again, because of this alone.
    pub(super) fn rest(&self, sched: &mut Sched, now: Time) -> Time {
        let polls = self.block_on_calls.polls();
        let rest = sched.rest.get_or_insert_with(|| Rest::new(now, polls));
        if !rest.goes_on(polls) {
            *rest = Rest::new(now, polls);
        }
        rest.judge_at()
    }

    /// Asks the observer whether the runtime can go on, if it has been at rest for long enough.
    pub(super) fn judge_rest(&self) {
        let mut sched = lock(&self.sched);
        let observer = sched.observer;
        if !sched.rest.as_mut().is_some_and(|rest| rest.begin_judgement(Time::now())) {
            return;
        }
        drop(sched);
        if observer.is_some_and(|is_settled| is_settled()) {
            lock(&self.sched).rest.iter_mut().for_each(Rest::settle);
        }
    }

    /// Since when this runtime has been at rest. `None` if something runs or can run, or a timer or a job will make it.
    pub(crate) fn at_rest_since(&self) -> Option<Time> {
        let sched = lock(&self.sched);
        let rest = sched.rest.as_ref()?;
        let is_quiet = self.processors.in_use().all(|processor| processor.owner().is_none())
            && self.spares.is_quiet()
            && !self.has_work()
            && shard::earliest(self.all_timers()) == Time::NEVER
            && rest.goes_on(self.block_on_calls.polls());
        if is_quiet { rest.since(Time::now()) } else { None }
    }

    /// The runtime is stuck, as the report says: an unrecovered panic of its main.
    pub(crate) fn deadlocked(&self, report: String) {
        let (mut main, generation) = (0, self.generation());
        self.block_on_calls.each(|id, _| main = id);
        let is_over = || self.is_over(generation);
        self.block_on_calls.unrecovered(main, Location::caller(), Box::new(report), is_over);
        self.wake_monitor();
    }
}
