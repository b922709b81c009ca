//! The rest of a runtime: nothing runs in it, and its monitor sleeps until something does.

use std::time::Duration;

use crate::clock::Time;

/// How long a runtime is at rest before the observer judges whether it can go on.
const PATIENCE: Duration = Duration::from_secs(1);
/// The next judgement comes after `SOON`, and each further one after twice the previous wait, which
/// is at most `LATER`, because a runtime at rest must not wake threads often. By then a foreign
/// thread may have blocked or ended, which does not wake the monitor. So it is found after at most
/// twice the time for which it has run.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(15);
/// Maximum number of times in a row that goroutines are asked whether something keeps their wakers,
/// while nothing else makes any of them run. A goroutine that wakes itself in each answer has given
/// none.
const MOST_ASKS: u32 = 3;

/// A period in which nothing runs. Guarded by the scheduler's lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    since: Time,
    /// Later than `since` if the rest has been resumed.
    begun: Time,
    asks: u32,
    /// When it is judged next, and the wait from then to the judgement after that.
    judge_at: Time,
    next_wait: Duration,
    /// The number of polls of mains by their own threads when the rest began. The processors do not
    /// count these.
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

    /// Returns the rest that may be resumed after goroutines have been asked.
    pub(crate) fn asked(self) -> Self {
        Self { asks: self.asks + 1, ..self }
    }

    /// Returns the same rest, resumed now: the goroutines that have run meanwhile answered whether
    /// their wakers are kept.
    pub(crate) fn resumed(self, now: Time, polls: u32) -> Self {
        // `since` grows, so that a comparison tells the two rests apart.
        Self {
            since: self.since.after(Duration::from_nanos(1)),
            begun: now,
            judge_at: now,
            polls,
            ..self
        }
    }

    /// Begins the rest anew if it has been resumed, because goroutines have done more than answer.
    /// Returns false if it has not been resumed.
    pub(crate) fn begin_anew(&mut self) -> bool {
        let is_resumed = self.begun != self.since;
        *self = if is_resumed {
            Self { asks: self.asks, ..Self::new(self.begun, self.polls) }
        } else {
            *self
        };
        is_resumed
    }

    /// Schedules the next judgement for [`PATIENCE`] after `time`, unless it comes earlier.
    pub(crate) fn judge_after(&mut self, time: Time) {
        self.judge_at = self.judge_at.min(time.after(PATIENCE));
    }

    pub(crate) fn judge_at(&self) -> Time {
        self.judge_at
    }

    /// Returns true if the rest must be judged now, and schedules the next judgement.
    pub(crate) fn begin_judgement(&mut self, now: Time) -> bool {
        let is_due = self.judge_at <= now;
        if is_due {
            self.judge_at = now.after(self.next_wait);
            self.next_wait = self.next_wait.saturating_mul(2).min(LATER);
        }
        is_due
    }

    /// Returns true if no main has been polled by its own thread since the rest began.
    pub(crate) fn goes_on(&self, polls: u32) -> bool {
        self.polls == polls
    }

    /// Returns since when the runtime is at rest, if that is at least [`PATIENCE`] ago.
    pub(crate) fn since(&self, now: Time) -> Option<Time> {
        (self.since.after(PATIENCE) <= now).then_some(self.since)
    }
}
