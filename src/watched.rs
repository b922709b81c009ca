//! The monitor's observations of a worker.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Time;
use crate::lock;
use crate::platform::ThreadClock;
use crate::processor::{Processor, Work};

/// A goroutine that computes for longer in one poll may lose its processor.
pub(crate) const STUCK: Duration = Duration::from_millis(10);

/// The processor adapts only to what its worker has done in at least this time. The monitor may be
/// woken twice while a thread starts, which looks like a long poll.
const JUDGED: Duration = Duration::from_micros(500);

/// The monitor's state for one worker, from one check to the next. Guarded by the scheduler's lock,
/// unless it is atomic.
#[derive(Debug)]
pub(crate) struct Watched {
    /// What the worker had done by the last check. `None` before the first one.
    last: Cell<Option<Work>>,
    /// Since when the worker has been in one poll while its processor is wanted, and the CPU
    /// time then.
    since: Cell<Option<(Time, Duration)>>,
    /// The worker is in a blocking form.
    blocks: AtomicBool,
}

/// What the worker does, as a check finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It has begun polls since the last check, or is between two.
    Progress,
    /// It has been in one poll since the last check.
    Busy,
    /// It sleeps in a poll, and its processor is wanted.
    Sleeps,
    /// It has computed in one poll for that long, and its processor is wanted.
    Computes(Duration),
}

impl Watched {
    pub(crate) const fn new() -> Self {
        Self { last: Cell::new(None), since: Cell::new(None), blocks: AtomicBool::new(false) }
    }

    /// Records whether the worker is in a blocking form. Called by the worker.
    pub(crate) fn set_blocks(&self, blocks: bool) {
        self.blocks.store(blocks, Ordering::Relaxed);
    }

    /// Returns true if the worker is in a blocking form. Then it loses its processor as if work
    /// waited: while it has one, the runtime is not at rest.
    pub(crate) fn blocks(&self) -> bool {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Forgets since when the worker has been in one poll, because it had no processor meanwhile.
    pub(crate) fn forget(&self) {
        self.since.set(None);
    }

    /// Checks the worker that holds `processor`. The last check was `passed` ago.
    ///
    /// A thread that waits for a core counts as computing if the system distinguishes it from a
    /// sleeping one; otherwise it counts as sleeping, after some time.
    pub(crate) fn look(
        &self,
        processor: &Processor,
        clock: &ThreadClock,
        (now, passed): (Time, Duration),
        is_polling: bool,
        is_wanted: bool,
    ) -> Doing {
        let cpu = clock.cpu_time();
        let work = Work {
            polls: processor.polls.load(Ordering::Relaxed),
            ticks: processor.ticks.load(Ordering::Relaxed),
            cpu,
            contentions: lock::contentions(),
        };
        let done = self.last.replace(Some(work)).map(|last| work.since(last));
        if let Some(done) = done.filter(|_| passed >= JUDGED) {
            processor.adapt(&done, passed);
        }
        let moved = done.is_none_or(|done| done.polls != 0) || !is_polling;
        let since = self.since.replace(is_wanted.then_some((now, cpu)));
        let Some((since, then)) = since.filter(|_| is_wanted && !moved) else {
            return if moved { Doing::Progress } else { Doing::Busy };
        };
        self.since.set(Some((since, then)));
        let waited = now.since(since);
        let is_asleep =
            if cpu.saturating_sub(then) < waited / 8 { clock.is_asleep() } else { Some(false) };
        match is_asleep {
            Some(true) => Doing::Sleeps,
            _ if waited < STUCK => Doing::Busy,
            None => Doing::Sleeps,
            Some(false) => Doing::Computes(waited),
        }
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
