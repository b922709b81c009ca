//! The goroutines that stay on one thread: those of a call of `block_on_local`.
//!
//! Any thread wakes one, and so enqueues it; only the thread of the call polls it, and drops it.
//! The main of the call is not in the queue: it has a flag.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::clock::Time;
use crate::coop;
use crate::header::{Header, Task};
use crate::panics::lock;
use crate::parker::Parker;
use crate::registry::Registry;

/// What the main does.
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `WAITS` | it waits for a wake | its waker |
/// | `WOKEN` | it must be polled | its thread, which polls it |
/// | `POLLED` | its thread polls it | its thread, when the poll is over; its waker |
const WAITS: u8 = 0;
const WOKEN: u8 = 1;
const POLLED: u8 = 2;

#[derive(Debug)]
pub(crate) struct LocalQueue {
    /// As [`coop::thread`] has it.
    thread: usize,
    parker: Parker,
    main: AtomicU8,
    state: Mutex<State>,
    /// Those that have parked, so that the end of the call finds them.
    pub(crate) parked: Registry,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Task>,
    polled: Option<Polled>,
    is_closed: bool,
}

/// The goroutine that the thread polls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polled {
    pub(crate) id: u64,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl LocalQueue {
    /// Of this thread, with a main that must be polled.
    pub(crate) fn new() -> Self {
        Self {
            thread: coop::thread(),
            parker: Parker::new(),
            main: AtomicU8::new(WOKEN),
            state: Mutex::default(),
            parked: Registry::default(),
        }
    }

    pub(crate) fn is_here(&self) -> bool {
        self.thread == coop::thread()
    }

    /// Wakes the main.
    pub(crate) fn wake_main(&self) {
        // Release: its poll sees what came before the wake.
        self.main.store(WOKEN, Ordering::Release);
        self.parker.unpark();
    }

    /// True if the main was woken: then its poll begins.
    pub(crate) fn begin_main_poll(&self) -> bool {
        self.main.compare_exchange(WOKEN, POLLED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// The main is pending. It waits, unless it was woken meanwhile.
    pub(crate) fn end_main_poll(&self) {
        // Release: a report that finds it waiting finds what it has done.
        let _ = self.main.compare_exchange(POLLED, WAITS, Ordering::Release, Ordering::Relaxed);
    }

    /// Enqueues a goroutine that was woken.
    pub(crate) fn push(&self, task: Task) {
        lock(&self.state).ready.push_back(task);
        self.parker.unpark();
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).ready.len()
    }

    /// The poll of the last one is over. Takes the one that was enqueued first.
    pub(crate) fn next(&self) -> Option<Task> {
        let mut state = lock(&self.state);
        let next = state.ready.pop_front();
        let polled = |header: &Header| Polled { id: header.id(), spawned_at: header.spawned_at() };
        state.polled = next.as_ref().map(|task| polled(task.metadata()));
        next
    }

    /// The poll of the last one is over.
    pub(crate) fn end_poll(&self) {
        lock(&self.state).polled = None;
    }

    /// Waits until the main or a goroutine is woken. It may return without.
    pub(crate) fn park(&self) {
        self.parker.park(Time::NEVER);
    }

    /// The main is gone: what starts from here on is dropped at once.
    pub(crate) fn close(&self) {
        lock(&self.state).is_closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// Calls `f` with each goroutine that can run. Returns the one that is polled.
    pub(crate) fn inspect(&self, f: impl FnMut(&Header)) -> Option<Polled> {
        let state = lock(&self.state);
        state.ready.iter().map(|task| task.metadata()).for_each(f);
        state.polled
    }

    /// True if the main or a goroutine can run, or runs.
    pub(crate) fn has_work(&self) -> bool {
        let state = lock(&self.state);
        self.main.load(Ordering::Acquire) != WAITS
            || !state.ready.is_empty()
            || state.polled.is_some()
    }
}
