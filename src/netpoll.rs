//! The poller of a runtime: the system's readiness events (epoll, kqueue, IOCP), by `mio`.
//!
//! It has no thread. One idle worker sleeps in it, and busy workers check it from time to time. A
//! thread that checks or sleeps holds [`Looker`]'s lock until it has taken the events. So a check
//! never consumes an interruption that is meant for the worker that is about to sleep.
//!
//! Descriptors are registered once, edge-triggered, for both directions. Go: `netpoll.go`.

use std::io;
use std::sync::{PoisonError, TryLockError};

use mio::event::Source;

pub(crate) use self::event::{ENDED, Event, FEW, READY, URGENT};
use self::system::{Control, Mutex, MutexGuard, Selector};
use crate::clock::Time;
use crate::loom::atomic::{AtomicBool, AtomicU32, Ordering};

mod event;
// Loom cannot run the system's poller.
#[cfg_attr(gopark_loom, path = "netpoll/model.rs")]
mod system;

/// Maximum number of sleeps without a spin, after spins that found nothing.
const MOST_UNSPUN: u32 = 63;

/// The poller of one runtime, see the top of the file.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `is_claimed` | a worker sleeps here, or is about to, or has just woken | the worker |
#[derive(Debug)]
pub(crate) struct Netpoll {
    control: Control,
    looker: Mutex<Looker>,
    is_claimed: AtomicBool,
    /// The spins before a sleep in the poller, for events.
    pub(crate) spins: Spins,
    /// The spins of a worker that has searched in vain, for goroutines.
    pub(crate) search_spins: Spins,
}

#[derive(Debug)]
struct Looker {
    selector: Selector,
    /// The events that the last sleep found, until a worker takes them.
    found: Vec<Event>,
}

impl Netpoll {
    pub(crate) fn new() -> io::Result<Self> {
        let (control, selector) = system::open()?;
        Ok(Self {
            control,
            looker: Mutex::new(Looker { selector, found: Vec::new() }),
            is_claimed: AtomicBool::new(false),
            spins: Spins::default(),
            search_spins: Spins::default(),
        })
    }

    /// Registers `source`: from now on its events have this token.
    pub(crate) fn register(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        self.control.register(source, token)
    }

    /// Deregisters `source`: no later check finds an event of it, but one may have been found
    /// already.
    pub(crate) fn deregister(&self, source: &mut impl Source) {
        self.control.deregister(source);
    }

    /// Returns the current events without waiting: `few` if goroutines are in the local queue.
    /// Returns none if another thread is checking or sleeping.
    pub(crate) fn look(&self, few: bool) -> Vec<Event> {
        let Some(mut looker) = self.try_lock() else { return Vec::new() };
        let found = std::mem::take(&mut looker.found);
        if !found.is_empty() {
            return found;
        }
        looker.selector.look(few)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Looker>> {
        match self.looker.try_lock() {
            Ok(looker) => Some(looker),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Claims the right to sleep here. Returns false if another worker has it.
    pub(crate) fn claim(&self) -> bool {
        !self.is_claimed.load(Ordering::Relaxed) && !self.is_claimed.swap(true, Ordering::Acquire)
    }

    /// Releases the [claim](Self::claim) of the calling worker.
    pub(crate) fn release(&self) {
        self.is_claimed.store(false, Ordering::Release);
    }

    /// Returns true if a worker has the right to sleep here.
    pub(crate) fn is_claimed(&self) -> bool {
        self.is_claimed.load(Ordering::Relaxed)
    }

    /// Sleeps until there is an event or an interruption, or until the given time, possibly a
    /// fraction of a millisecond less. `begin` is called once no other thread can consume an
    /// interruption. If it returns false, the thread does not sleep.
    pub(crate) fn sleep(&self, until: Time, begin: impl FnOnce() -> bool) {
        let mut looker = self.looker.lock().unwrap_or_else(PoisonError::into_inner);
        if !begin() {
            return;
        }
        let Looker { selector, found } = &mut *looker;
        if found.is_empty() {
            *found = selector.wait(until);
        }
    }

    /// Ends the sleep of the worker, or prevents it if it is about to begin.
    pub(crate) fn interrupt(&self) {
        self.control.interrupt();
    }

    /// Returns true if the last sleep found events that no worker has taken.
    pub(crate) fn has_found(&self) -> bool {
        // If another thread holds the lock, it takes them, or it only asks this as well: a worker
        // asks again under the scheduler's lock before it parks.
        self.try_lock().is_some_and(|looker| !looker.found.is_empty())
    }
}

/// Decides whether it pays to spin before a sleep that may be short.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `unspun` | the remaining sleeps without a spin | a worker that is about to sleep |
/// | `penalty` | the last value to which `unspun` was set | the same |
#[derive(Debug, Default)]
pub(crate) struct Spins {
    unspun: AtomicU32,
    penalty: AtomicU32,
}

impl Spins {
    /// Returns true if the worker that is about to sleep should spin before.
    pub(crate) fn may_begin(&self) -> bool {
        let unspun = self.unspun.load(Ordering::Relaxed);
        self.unspun.store(unspun.saturating_sub(1), Ordering::Relaxed);
        unspun == 0
    }

    /// Records whether a spin has found something. Each spin that finds nothing about doubles the
    /// number of sleeps before the next spin.
    pub(crate) fn ended(&self, found: bool) {
        let penalty =
            if found { 0 } else { (2 * self.penalty.load(Ordering::Relaxed) + 1).min(MOST_UNSPUN) };
        self.penalty.store(penalty, Ordering::Relaxed);
        self.unspun.store(penalty, Ordering::Relaxed);
    }
}

#[cfg(all(test, gopark_loom))]
impl Netpoll {
    /// Makes a descriptor readable.
    pub(crate) fn occur(&self, token: usize) {
        self.control.occur(token);
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
