//! The poller of a runtime: the system's readiness events (epoll, kqueue, IOCP), by `mio`.
//!
//! It has no thread. One idle worker sleeps in it, and busy workers check it from time to time. A
//! thread that checks or sleeps holds [`Looker`]'s lock until it has taken the events. So a check
//! never consumes an interruption that is meant for the worker that is about to sleep.
//!
//! Descriptors are registered once, edge-triggered, for both directions. Go: `netpoll.go`.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::clock::Time;
use crate::panics::lock;

/// Maximum number of events of one check, if the local queue has room for them.
const MANY: usize = 256;
/// Maximum number of events of one check while goroutines are in the local queue: those that
/// overflow it would starve in the global one.
pub(crate) const FEW: usize = 32;
/// The token of an interruption.
const INTERRUPTION: Token = Token(usize::MAX);
/// The number of checks of a spin, before a sleep that may be short: 20 to 40 microseconds.
pub(crate) const SPINS: u32 = 128;
/// Maximum number of sleeps without a spin, after spins that found nothing.
const MOST_UNSPUN: u32 = 63;
/// A wait shorter than this is exact, a longer one is truncated to whole milliseconds.
#[cfg(any(target_os = "linux", target_os = "android"))]
const EXACT: Duration = Duration::from_millis(10);

/// A direction may be ready.
pub(crate) const READY: u8 = 1;
/// The reading direction has ended, or the other end has hung up.
pub(crate) const ENDED: u8 = 2;
/// There is urgent data, at which a read stops.
pub(crate) const URGENT: u8 = 4;

/// An event of one descriptor: the bits of each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) token: usize,
    pub(crate) read: u8,
    pub(crate) write: u8,
}

impl Event {
    fn new(event: &mio::event::Event) -> Self {
        let bits = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let (ended, failed) = (event.is_read_closed(), event.is_error());
        let urgent = bits(event.is_priority(), READY | URGENT);
        // Without the bit for the end, a reader would wait after the last data for an edge that
        // never comes. A writer needs no such bit: its error leaves it ready.
        Self {
            token: event.token().0,
            read: bits(event.is_readable() || failed, READY) | bits(ended, READY | ENDED) | urgent,
            write: bits(event.is_writable() || event.is_write_closed() || failed, READY),
        }
    }
}

/// The poller of one runtime, see the top of the file.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `is_claimed` | a worker sleeps here, or is about to, or has just woken | the worker |
/// | `unspun` | the remaining sleeps without a spin | the worker that is about to sleep |
/// | `penalty` | the last value to which `unspun` was set | the same |
#[derive(Debug)]
pub(crate) struct Netpoll {
    registry: Registry,
    looker: Mutex<Looker>,
    interruption: Waker,
    is_claimed: AtomicBool,
    unspun: AtomicU32,
    penalty: AtomicU32,
}

#[derive(Debug)]
struct Looker {
    poll: Poll,
    many: Events,
    few: Events,
    /// The events that the last sleep found, until a worker takes them.
    found: Vec<Event>,
}

impl Netpoll {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let interruption = Waker::new(&registry, INTERRUPTION)?;
        let (many, few) = (Events::with_capacity(MANY), Events::with_capacity(FEW));
        Ok(Self {
            registry,
            looker: Mutex::new(Looker { poll, many, few, found: Vec::new() }),
            interruption,
            is_claimed: AtomicBool::new(false),
            unspun: AtomicU32::new(0),
            penalty: AtomicU32::new(0),
        })
    }

    /// Registers `source`: from now on its events have this token.
    pub(crate) fn register(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let both = both | Interest::PRIORITY;
        self.registry.register(source, Token(token), both)
    }

    /// Deregisters `source`: no later check finds an event of it, but one may have been found
    /// already.
    pub(crate) fn deregister(&self, source: &mut impl Source) {
        // It fails if the descriptor is already closed: then there is nothing to do.
        let _ = self.registry.deregister(source);
    }

    /// Returns the current events without waiting: `few` if goroutines are in the local queue.
    /// Returns none if another thread is checking or sleeping.
    pub(crate) fn look(&self, few: bool) -> Vec<Event> {
        let mut looker = match self.looker.try_lock() {
            Ok(looker) => looker,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        let found = std::mem::take(&mut looker.found);
        if !found.is_empty() {
            return found;
        }
        let Looker { poll, many, few: buffer, .. } = &mut *looker;
        collect(poll, if few { buffer } else { many }, Some(Duration::ZERO))
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
        let mut looker = lock(&self.looker);
        if !begin() {
            return;
        }
        let Looker { poll, many, found, .. } = &mut *looker;
        if found.is_empty() {
            *found = wait(poll, many, until);
        }
    }

    /// Ends the sleep of the worker, or prevents it if it is about to begin.
    pub(crate) fn interrupt(&self) {
        // It fails only if the system is out of memory.
        let _ = self.interruption.wake();
    }

    /// Returns true if the last sleep found events that no worker has taken.
    pub(crate) fn has_found(&self) -> bool {
        match self.looker.try_lock() {
            Ok(looker) => !looker.found.is_empty(),
            Err(TryLockError::Poisoned(poisoned)) => !poisoned.into_inner().found.is_empty(),
            // A thread that checks takes them.
            Err(TryLockError::WouldBlock) => false,
        }
    }

    /// Returns true if it pays to check some more times before the sleep.
    pub(crate) fn may_spin(&self) -> bool {
        let unspun = self.unspun.load(Ordering::Relaxed);
        self.unspun.store(unspun.saturating_sub(1), Ordering::Relaxed);
        unspun == 0
    }

    /// Records whether a spin has found an event. Each spin that finds none about doubles the
    /// number of sleeps before the next spin.
    pub(crate) fn spun(&self, found: bool) {
        let penalty =
            if found { 0 } else { (2 * self.penalty.load(Ordering::Relaxed) + 1).min(MOST_UNSPUN) };
        self.penalty.store(penalty, Ordering::Relaxed);
        self.unspun.store(penalty, Ordering::Relaxed);
    }
}

fn collect(poll: &mut Poll, events: &mut Events, limit: Option<Duration>) -> Vec<Event> {
    match poll.poll(events, limit) {
        Ok(()) => {
            let mut found = Vec::with_capacity(events.iter().count());
            let others = events.iter().filter(|event| event.token() != INTERRUPTION);
            found.extend(others.map(Event::new));
            found
        }
        Err(error) => {
            debug_assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
            Vec::new()
        }
    }
}

fn wait(poll: &mut Poll, events: &mut Events, until: Time) -> Vec<Event> {
    if until == Time::NEVER {
        return collect(poll, events, None);
    }
    let limit = until.since(Time::now());
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::fd::AsRawFd;

        // epoll counts milliseconds, and rounding up would make timers late.
        if limit < EXACT {
            crate::platform::wait_readable(poll.as_raw_fd(), limit);
            return collect(poll, events, Some(Duration::ZERO));
        }
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        collect(poll, events, Some(Duration::from_millis(millis)))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    collect(poll, events, Some(limit))
}
