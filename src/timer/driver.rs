//! The thread that fires the timers of threads without a processor.
//!
//! It starts with the first of these timers, and sleeps until the next one is due.

use std::sync::{Arc, LazyLock, Mutex};
use std::task::Wake;
use std::thread;
use std::time::Duration;

use super::shard::{Shard, SleepState};
use crate::clock::Time;
use crate::fork;
use crate::panics::lock;
use crate::parker::Parker;
use crate::threads;
use crate::waker::TaskWaker;

struct Driver {
    shard: Shard,
    sleep: SleepState,
    /// True once the thread has started.
    started: Mutex<bool>,
    parker: Parker,
    kick: Arc<Kick>,
}

static DRIVER: LazyLock<Driver> = LazyLock::new(|| Driver {
    shard: Shard::new(),
    sleep: SleepState::new(),
    started: Mutex::new(false),
    parker: Parker::new(),
    kick: Arc::new(Kick),
});

/// The interval at which a refused thread is started again.
const RETRY: Duration = Duration::from_millis(1);

/// Wakes the driver's thread, or starts it. If the operating system gives no thread, it blocks
/// until it does, because no other thread would fire the timer.
struct Kick;

impl Wake for Kick {
    fn wake(self: Arc<Self>) {
        while !DRIVER.start() {
            thread::sleep(RETRY);
        }
        DRIVER.parker.unpark();
    }
}

impl Driver {
    /// Starts the thread, if it has not been started. Returns false if the system refuses it; then
    /// the caller must try again.
    fn start(&'static self) -> bool {
        let mut started = lock(&self.started);
        *started = *started || threads::start("gopark-timers".into(), || self.run()).is_ok();
        *started
    }

    fn run(&self) {
        threads::serve();
        loop {
            let now = Time::now();
            if self.shard.next_due() <= now {
                self.shard.fire(now, usize::MAX);
            }
            if let Some(until) = self.sleep.fall_asleep(&self.shard) {
                self.parker.park(until);
                self.sleep.awake();
            }
        }
    }
}

/// Returns the shard for the nodes of threads without a processor. It is never closed. Each
/// insertion must be followed by a call of [`inserted`].
#[track_caller]
pub(crate) fn shard() -> &'static Shard {
    fork::refuse();
    &DRIVER.shard
}

/// Called after a node was inserted into the [`shard`]. Returns the driver's waker if its thread
/// must be woken.
#[must_use = "wake it once every lock is released"]
pub(crate) fn inserted(due: Time) -> Option<TaskWaker> {
    DRIVER.sleep.wants_wake(due).then(|| TaskWaker::from(DRIVER.kick.clone()))
}

/// Takes over the timers of a processor that no longer fires them. Returns false if the system
/// refuses the driver's thread; then the caller must try again.
pub(crate) fn take_over(shard: &Shard) -> bool {
    if shard.close_if_empty() {
        // There are no timers, so the thread is not needed.
        return true;
    }
    let started = DRIVER.start();
    if started {
        shard.close_into(&DRIVER.shard);
        DRIVER.parker.unpark();
    }
    started
}

/// Returns a time before which no timer that is queued here is due.
pub(crate) fn next_due() -> Time {
    DRIVER.shard.next_due()
}

/// True if no timer is queued here and none is being fired.
pub(crate) fn is_at_rest() -> bool {
    DRIVER.shard.next_due() == Time::NEVER && DRIVER.sleep.is_asleep()
}

/// Returns the number of queued nodes.
#[cfg(all(test, not(gopark_loom)))]
pub(crate) fn len() -> usize {
    DRIVER.shard.len()
}
