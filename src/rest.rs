//! How long a runtime has been at rest: its monitor sleeps until something runs.

use std::time::Duration;

use crate::clock::Time;

/// How long a runtime is at rest before it is judged whether it can go on.
const PATIENCE: Duration = Duration::from_secs(1);
/// It is judged again after so long, and then after twice as long each time: a thread of others may
/// have ended by then, a main that its own thread polls may have moved, and neither wakes the
/// monitor. After the first two seconds it is judged rarely, because a runtime at rest must not
/// wake threads.
const SOON: Duration = Duration::from_millis(50);
const SOON_IS_OVER: Duration = Duration::from_millis(400);
const LATER: Duration = Duration::from_secs(15);
/// So often goroutines are asked in a row whether something keeps their wakers, if nothing else
/// makes any run: one that wakes itself in each answer has given none.
const MOST_ASKS: u32 = 3;

/// Under the scheduler's lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    since: Time,
    /// Later than that if it has been resumed.
    begun: Time,
    asks: u32,
    /// When it is judged next, and how long after that once more.
    judge_at: Time,
    next_wait: Duration,
    /// What the mains that their own threads poll had been polled by then; the processors do not
    /// count that.
    polls: u32,
}

impl Rest {
    pub(crate) fn new(now: Time, polls: u32) -> Self {
        Self {
            since: now,
            begun: now,
            asks: 0,
            judge_at: now.after(PATIENCE),
            next_wait: SOON,
            polls,
        }
    }

    pub(crate) fn may_ask(&self) -> bool {
        self.asks < MOST_ASKS
    }

    /// The rest that is to be resumed: goroutines are asked.
    pub(crate) fn asked(self) -> Self {
        Self { asks: self.asks + 1, ..self }
    }

    /// The same rest, from now on: what has run in between was to tell whether anything can go on.
    pub(crate) fn resumed(self, now: Time, polls: u32) -> Self {
        // A later one than before, for those who compare.
        Self {
            since: self.since.after(Duration::from_nanos(1)),
            begun: now,
            judge_at: now,
            polls,
            ..self
        }
    }

    /// What has run in between was more than that. False if the rest has not been resumed.
    pub(crate) fn begin_anew(&mut self) -> bool {
        let is_resumed = self.begun != self.since;
        *self = if is_resumed {
            Self { asks: self.asks, ..Self::new(self.begun, self.polls) }
        } else {
            *self
        };
        is_resumed
    }

    pub(crate) fn judge_at(&self) -> Time {
        self.judge_at
    }

    /// True if it is to be judged now.
    pub(crate) fn begin_judgement(&mut self, now: Time) -> bool {
        let is_due = self.judge_at <= now;
        if is_due {
            self.judge_at = now.after(self.next_wait);
            let least = if self.next_wait >= SOON_IS_OVER { LATER } else { SOON };
            self.next_wait = self.next_wait.saturating_mul(2).max(least);
        }
        is_due
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
