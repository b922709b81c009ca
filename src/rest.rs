//! How long a runtime has been at rest: its monitor sleeps until something runs.

use std::time::Duration;

use crate::clock::Time;

/// How long a runtime is at rest before it is judged whether it can go on.
const PATIENCE: Duration = Duration::from_secs(1);
/// If that cannot be told, because a thread is at its end, it is judged again, so many times and so much later.
const ATTEMPTS: u32 = 3;
const NEXT_ATTEMPT: Duration = Duration::from_millis(50);

/// Under the scheduler's lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    since: Time,
    /// When it is judged next, and how often it may be.
    judge_at: Time,
    attempts: u32,
    /// What the mains that their own threads poll had been polled by then; the processors do not count that.
    polls: u32,
}

impl Rest {
    pub(crate) fn new(now: Time, polls: u32) -> Self {
        Self { since: now, judge_at: now.after(PATIENCE), attempts: ATTEMPTS, polls }
    }

    pub(crate) fn judge_at(&self) -> Time {
        self.judge_at
    }

    /// True if it is to be judged now.
    pub(crate) fn begin_judgement(&mut self, now: Time) -> bool {
        let is_due = self.judge_at <= now;
        if is_due {
            self.attempts -= 1;
            self.judge_at = if self.attempts == 0 { Time::NEVER } else { now.after(NEXT_ATTEMPT) };
        }
        is_due
    }

    /// It need not be judged again.
    pub(crate) fn settle(&mut self) {
        self.judge_at = Time::NEVER;
    }

    /// True if no main has been polled since.
    pub(crate) fn goes_on(&self, polls: u32) -> bool {
        self.polls == polls
    }

    /// Since when, if that is long ago.
    pub(crate) fn since(&self, now: Time) -> Option<Time> {
        (self.since.after(PATIENCE) <= now).then_some(self.since)
    }
}
