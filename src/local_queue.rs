//! The queue of goroutines that stay on one thread: those of a call of `block_on_local`.
//!
//! Any thread may wake a goroutine, and so enqueue it; only the thread of the call polls and drops
//! it. The main of the call is not in the queue: its state is a separate word.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use crate::coop;
use crate::header::{Header, Task};
use crate::panics::lock;
use crate::parker::Parker;
use crate::registry::Registry;

/// The state of the main.
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `WAITS` | waits for a wake | its waker |
/// | `WOKEN` | must be polled | its thread, which polls it |
/// | `POLLED` | is being polled | its thread, when the poll ends; its waker |
const WAITS: u8 = 0;
const WOKEN: u8 = 1;
const POLLED: u8 = 2;

/// The queue of the goroutines of one call of `block_on_local`.
#[derive(Debug)]
pub(crate) struct LocalQueue {
    /// The number of the thread, see [`coop::thread`].
    thread: usize,
    parker: Parker,
    main: AtomicU8,
    state: Mutex<State>,
    /// The goroutines that have parked, so that the end of the call finds them.
    pub(crate) parked: Registry<Waker>,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Task>,
    polled: Option<Polled>,
    is_closed: bool,
}

/// The goroutine that the thread is polling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polled {
    pub(crate) id: u64,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl LocalQueue {
    /// Creates the queue of this thread, with a main that must be polled.
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
        // Release: its poll sees everything before the wake.
        self.main.store(WOKEN, Ordering::Release);
        self.parker.unpark();
    }

    /// Wakes the thread, because the runtime shuts down.
    pub(crate) fn wake_thread(&self) {
        self.parker.unpark();
    }

    /// Begins a poll of the main if it was woken. Returns whether it was.
    pub(crate) fn begin_main_poll(&self) -> bool {
        self.main.compare_exchange(WOKEN, POLLED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Ends a poll that returned `Pending`: the main waits, unless it was woken meanwhile.
    pub(crate) fn end_main_poll(&self) {
        // Release: a report that finds the main waiting sees what it did before.
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

    /// Ends the poll of the previous goroutine, and takes the one that was enqueued first.
    pub(crate) fn next(&self) -> Option<Task> {
        let mut state = lock(&self.state);
        let next = state.ready.pop_front();
        let polled = |header: &Header| Polled { id: header.id(), spawned_at: header.spawned_at() };
        state.polled = next.as_ref().map(|task| polled(task.metadata()));
        next
    }

    /// Ends the poll of the last goroutine.
    pub(crate) fn end_poll(&self) {
        lock(&self.state).polled = None;
    }

    /// Waits until the main or a goroutine is woken. May return spuriously.
    pub(crate) fn park(&self) {
        coop::blocked(|| self.parker.block());
    }

    /// Closes the queue after the main has ended: a goroutine that starts later is dropped at once.
    pub(crate) fn close(&self) {
        lock(&self.state).is_closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// Calls `f` with each runnable goroutine. Returns the one that is being polled.
    pub(crate) fn inspect(&self, f: impl FnMut(&Header)) -> Option<Polled> {
        let state = lock(&self.state);
        state.ready.iter().map(|task| task.metadata()).for_each(f);
        state.polled
    }

    /// Returns whether the main or a goroutine runs. `None` if another one can run.
    pub(crate) fn is_polled(&self) -> Option<bool> {
        let state = lock(&self.state);
        let main = self.main.load(Ordering::Acquire);
        let can_run = main == WOKEN || !state.ready.is_empty();
        (!can_run).then_some(main == POLLED || state.polled.is_some())
    }
}
