//! The system's poller: epoll, kqueue, IOCP, by `mio`.

use std::io::{self, ErrorKind};
pub(super) use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::event::{ENDED, Event, FEW, READY, URGENT};
use crate::clock::Time;

/// Maximum number of events of one check, if the local queue has room for them.
const MANY: usize = 256;
/// The token of an interruption.
const INTERRUPTION: Token = Token(usize::MAX);
/// A wait shorter than this is exact, a longer one is truncated to whole milliseconds.
#[cfg(any(target_os = "linux", target_os = "android"))]
const EXACT: Duration = Duration::from_millis(10);

/// The end of the poller that all threads use.
#[derive(Debug)]
pub(super) struct Control {
    registry: Registry,
    interruption: Waker,
}

/// The end of the poller that one thread at a time uses, to take the events.
#[derive(Debug)]
pub(super) struct Selector {
    poll: Poll,
    many: Events,
    few: Events,
}

pub(super) fn open() -> io::Result<(Control, Selector)> {
    let poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let interruption = Waker::new(&registry, INTERRUPTION)?;
    let (many, few) = (Events::with_capacity(MANY), Events::with_capacity(FEW));
    Ok((Control { registry, interruption }, Selector { poll, many, few }))
}

impl Control {
    pub(super) fn register(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let both = both | Interest::PRIORITY;
        self.registry.register(source, Token(token), both)
    }

    pub(super) fn deregister(&self, source: &mut impl Source) {
        // It fails if the descriptor is already closed: then there is nothing to do.
        let _ = self.registry.deregister(source);
    }

    pub(super) fn interrupt(&self) {
        // It fails only if the system is out of memory.
        let _ = self.interruption.wake();
    }
}

impl Selector {
    /// Returns the current events, at most `FEW` or at most `MANY` of them, without waiting.
    pub(super) fn look(&mut self, few: bool) -> Vec<Event> {
        let events = if few { &mut self.few } else { &mut self.many };
        collect(&mut self.poll, events, Some(Duration::ZERO))
    }

    /// Waits for an event or an interruption, or until the given time, possibly a fraction of a
    /// millisecond less. Returns the events.
    pub(super) fn wait(&mut self, until: Time) -> Vec<Event> {
        let (poll, events) = (&mut self.poll, &mut self.many);
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
}

fn collect(poll: &mut Poll, events: &mut Events, limit: Option<Duration>) -> Vec<Event> {
    match poll.poll(events, limit) {
        Ok(()) => {
            let mut found = Vec::with_capacity(events.iter().count());
            found.extend(events.iter().filter(|event| event.token() != INTERRUPTION).map(read));
            found
        }
        Err(error) => {
            debug_assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
            Vec::new()
        }
    }
}

fn read(event: &mio::event::Event) -> Event {
    let bits = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    let (ended, failed) = (event.is_read_closed(), event.is_error());
    let urgent = bits(event.is_priority(), READY | URGENT);
    // Without the bit for the end, a reader would wait after the last data for an edge that never
    // comes. A writer needs no such bit: its error leaves it ready.
    Event {
        token: event.token().0,
        read: bits(event.is_readable() || failed, READY) | bits(ended, READY | ENDED) | urgent,
        write: bits(event.is_writable() || event.is_write_closed() || failed, READY),
    }
}
