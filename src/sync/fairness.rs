//! When the unlock of a `Mutex` hands the lock over: on which threads always, elsewhere after how
//! long a wait.
//!
//! A model has neither processors nor time; it decides both by `model`.

#[cfg(not(gopark_loom))]
use std::time::Duration;

use crate::clock::Time;
use crate::coop;

/// How long a waiter may lose against newcomers before the lock is handed to it: Go's figure, long
/// enough for the lock's owner to go on for thousands of rounds, short enough that nobody notices.
#[cfg(not(gopark_loom))]
const STARVE: Duration = Duration::from_millis(1);

/// Whether this thread hands the lock over at every unlock: it runs no goroutines.
pub(super) fn hands_over() -> bool {
    #[cfg(gopark_loom)]
    if let Some(now) = model::ALTERNATES.get() {
        model::ALTERNATES.set(Some(!now));
        return now;
    }
    coop::worker_index().is_none()
}

/// Whether a waiter that waits since then has waited for long enough to starve.
pub(super) fn starves(since: Time) -> bool {
    starves_at(since, Time::now())
}

/// As [`starves`], at a time that was read before.
#[cfg(not(gopark_loom))]
pub(super) fn starves_at(since: Time, now: Time) -> bool {
    now.since(since) > STARVE
}

#[cfg(gopark_loom)]
pub(super) fn starves_at(_: Time, _: Time) -> bool {
    model::STARVES.get()
}

/// What a model decides. In a model all threads are one.
#[cfg(gopark_loom)]
pub(crate) mod model {
    use std::cell::Cell;

    std::thread_local! {
        /// Whether every wait is a long one.
        pub(crate) static STARVES: Cell<bool> = const { Cell::new(false) };
        /// Whether the next unlock hands over, if every second one does.
        pub(crate) static ALTERNATES: Cell<Option<bool>> = const { Cell::new(None) };
    }
}
