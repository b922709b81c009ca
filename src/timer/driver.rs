//! The thread that fires the timers of threads without a processor.
//!
//! It starts with the first of them, and sleeps while none is due.

use std::sync::{LazyLock, OnceLock};
use std::thread::{self, Thread};

use super::shard::{Node, Shard, SleepState};
use crate::clock::Time;
use crate::waker::TaskWaker;

struct Driver {
    shard: Shard,
    sleep: SleepState,
    thread: OnceLock<Thread>,
}

static DRIVER: LazyLock<Driver> =
    LazyLock::new(|| Driver { shard: Shard::new(), sleep: SleepState::new(), thread: OnceLock::new() });

impl Driver {
    fn thread(&'static self) -> &'static Thread {
        self.thread.get_or_init(|| {
            let thread = thread::Builder::new().name("gopark-timers".into()).spawn(|| self.run());
            thread.expect("gopark: cannot start a thread").thread().clone()
        })
    }

    fn run(&self) {
        loop {
            let now = Time::now();
            if self.shard.next_due() <= now {
                self.shard.fire(now, usize::MAX);
            }
            if let Some(until) = self.sleep.fall_asleep(&self.shard) {
                sleep_until(until);
                self.sleep.awake();
            }
        }
    }
}

/// Parks the thread until then, or until it is unparked.
pub(crate) fn sleep_until(until: Time) {
    if until == Time::NEVER {
        thread::park();
    } else {
        let wait = until.since(Time::now());
        if !wait.is_zero() {
            thread::park_timeout(wait);
        }
    }
}

/// Queues a node of a thread without a processor.
///
/// # Safety
///
/// As [`Shard::insert`].
pub(crate) unsafe fn insert(node: &Node, due: Time, waker: TaskWaker) {
    let driver = &*DRIVER;
    let thread = driver.thread();
    // SAFETY: passed on to the caller.
    let inserted = unsafe { driver.shard.insert(node, due, waker) };
    assert!(inserted.is_ok(), "this shard is never closed");
    if driver.sleep.wants_wake(due) {
        thread.unpark();
    }
}

/// Takes over the timers of a processor that will not fire them any more.
pub(crate) fn take_over(shard: &Shard) {
    if shard.close_if_empty() {
        // The thread need not start.
        return;
    }
    let driver = &*DRIVER;
    shard.close_into(&driver.shard);
    driver.thread().unpark();
}

/// How many nodes wait here.
#[cfg(all(test, not(gopark_loom)))]
pub(crate) fn len() -> usize {
    DRIVER.shard.len()
}
