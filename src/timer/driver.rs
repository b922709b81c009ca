//! The thread that fires the timers of threads without a processor.
//!
//! It starts with the first of these timers, and sleeps until the next one is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, OnceLock, PoisonError};
use std::task::Wake;
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
    has_started: Condvar,
    /// A monitor has been asked to start the thread.
    is_wanted: AtomicBool,
    parker: Parker,
    kick: Arc<Kick>,
}

static DRIVER: LazyLock<Driver> = LazyLock::new(|| Driver {
    shard: Shard::new(),
    sleep: SleepState::new(),
    started: Mutex::new(false),
    has_started: Condvar::new(),
    is_wanted: AtomicBool::new(false),
    parker: Parker::new(),
    kick: Arc::new(Kick),
});

/// The interval at which a refused thread is started again.
const RETRY: Duration = Duration::from_millis(1);

/// Wakes the monitor of a runtime, which then calls [`start_if_wanted`]. Returns false if there is
/// no runtime. Set by the first runtime.
static ASK_MONITOR: OnceLock<fn() -> bool> = OnceLock::new();

pub(crate) fn set_monitors(ask: fn() -> bool) {
    ASK_MONITOR.get_or_init(|| ask);
}

/// Wakes the driver's thread, or has it started. If the operating system gives no thread, it blocks
/// until it does, because no other thread would fire the timer.
struct Kick;

impl Wake for Kick {
    fn wake(self: Arc<Self>) {
        let mut started = lock(&DRIVER.started);
        while !*started {
            drop(started);
            DRIVER.is_wanted.store(true, Ordering::Relaxed);
            // The thread would inherit this one's affinity, priority and signal mask.
            if threads::is_service() || !ASK_MONITOR.get().is_some_and(|ask| ask()) {
                DRIVER.start();
            }
            started = lock(&DRIVER.started);
            if !*started {
                // The monitor may have ended, or was refused a thread: then another one is asked.
                let waited = DRIVER.has_started.wait_timeout(started, RETRY);
                started = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        drop(started);
        DRIVER.parker.unpark();
    }
}

impl Driver {
    /// Starts the thread, if it has not been started. Returns false if the system refuses it; then
    /// the caller must try again.
    fn start(&'static self) -> bool {
        let mut started = lock(&self.started);
        if !*started {
            *started = threads::start("gopark-timers".into(), || self.run()).is_ok();
            self.has_started.notify_all();
        }
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

/// Starts the driver's thread if a monitor has been asked to. Called by monitors.
pub(crate) fn start_if_wanted() {
    if DRIVER.is_wanted.swap(false, Ordering::Relaxed) {
        DRIVER.start();
    }
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
