//! Decides whether an unlock of a `Mutex` hands the lock to the next waiter: always if the thread
//! runs no goroutines, otherwise only if the waiter starves.
//!
//! A loom model has neither processors nor time, so there `model` makes both decisions.

#[cfg(not(gopark_loom))]
use std::time::Duration;

use crate::clock::Time;
use crate::coop;

/// How long a waiter may lose against newcomers before the lock is handed to it. Go's value: long
/// enough for the owner to lock and unlock thousands of times, short enough to go unnoticed.
#[cfg(not(gopark_loom))]
const STARVE: Duration = Duration::from_millis(1);

/// Returns true if this thread hands the lock over at every unlock, because it runs no goroutines.
pub(super) fn hands_over() -> bool {
    #[cfg(gopark_loom)]
    if let Some(now) = model::ALTERNATES.get() {
        model::ALTERNATES.set(Some(!now));
        return now;
    }
    coop::worker_index().is_none()
}

/// Returns true if a waiter that has waited since `since` is starving.
pub(super) fn starves(since: Time) -> bool {
    starves_at(since, Time::now())
}

/// As [`starves`], for a time that was read before.
#[cfg(not(gopark_loom))]
pub(super) fn starves_at(since: Time, now: Time) -> bool {
    now.since(since) > STARVE
}

#[cfg(gopark_loom)]
pub(super) fn starves_at(_: Time, _: Time) -> bool {
    model::STARVES.get()
}

/// What a model decides. All of loom's threads are one thread of the system, so these are shared.
#[cfg(gopark_loom)]
pub(crate) mod model {
    use std::cell::Cell;

    std::thread_local! {
        /// Whether every wait counts as starving.
        pub(crate) static STARVES: Cell<bool> = const { Cell::new(false) };
        /// If set, every second unlock hands over; the value says whether the next one does.
        pub(crate) static ALTERNATES: Cell<Option<bool>> = const { Cell::new(None) };
    }
}
