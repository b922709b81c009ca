//! The descriptors that a runtime waits for: the poller's tokens, and what becomes of its events.
//!
//! A token is a place in a table and its generation, of which there are 2^32, on a system of 32
//! bits 2^16. So the late event of a descriptor that was closed reaches no other one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::event::Source;

use crate::clock::{self, Time};
use crate::fork;
use crate::netpoll::{Event, Netpoll};
use crate::panics::lock;
use crate::readiness::Readiness;

/// The bits of a token that are its place; the others are its generation.
const PLACE_BITS: u32 = usize::BITS / 2;
const MOST: usize = 1 << PLACE_BITS;

/// The descriptors of one runtime.
#[derive(Debug)]
pub(crate) struct Sources {
    netpoll: Arc<Netpoll>,
    table: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    places: Vec<Place>,
    free: Vec<usize>,
    generations: usize,
    /// The runtime has ended.
    is_over: bool,
}

struct Place {
    token: usize,
    #[cfg_attr(not(unix), expect(dead_code, reason = "its addresses are not known"))]
    fd: Fd,
    readiness: Option<Arc<Readiness>>,
}

/// The number of a descriptor, where there are such numbers.
#[cfg(unix)]
pub(crate) type Fd = std::os::fd::RawFd;
#[cfg(not(unix))]
pub(crate) type Fd = ();

/// What can be registered.
#[cfg(unix)]
pub(crate) trait Registrable: Source + std::os::fd::AsRawFd {
    fn fd(&self) -> Fd {
        self.as_raw_fd()
    }
}
#[cfg(unix)]
impl<S: Source + std::os::fd::AsRawFd> Registrable for S {}

/// What can be registered.
#[cfg(not(unix))]
pub(crate) trait Registrable: Source {
    fn fd(&self) -> Fd {}
}
#[cfg(not(unix))]
impl<S: Source> Registrable for S {}

/// The addresses of a socket that a goroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketInfo {
    /// That of this end.
    pub local: Option<SocketAddr>,
    /// That of the other end: a listener has none.
    pub peer: Option<SocketAddr>,
}

impl Places {
    fn get(&self, token: usize) -> Option<&Arc<Readiness>> {
        let place = self.places.get(token % MOST).filter(|place| place.token == token)?;
        place.readiness.as_ref()
    }

    fn insert(&mut self, fd: Fd, readiness: Arc<Readiness>) -> io::Result<usize> {
        if self.is_over {
            return Err(over());
        }
        let at = self.free.pop().unwrap_or(self.places.len());
        // The last place is left out: its token could be that of an interruption.
        if at >= MOST - 1 {
            return Err(io::Error::other("gopark: too many sockets"));
        }
        self.generations = self.generations.wrapping_add(1);
        let token = (self.generations << PLACE_BITS) | at;
        let place = Place { token, fd, readiness: Some(readiness) };
        if at == self.places.len() {
            self.places.push(place)
        } else {
            self.places[at] = place
        }
        Ok(token)
    }

    fn remove(&mut self, token: usize) -> Option<Arc<Readiness>> {
        let place = self.places.get_mut(token % MOST).filter(|place| place.token == token)?;
        let readiness = place.readiness.take()?;
        self.free.push(token % MOST);
        if self.free.len() == self.places.len() {
            // The crowd has gone.
            (self.places, self.free) = (Vec::new(), Vec::new());
        }
        Some(readiness)
    }
}

/// The error of each operation after the end of the runtime.
pub(crate) fn over() -> io::Error {
    io::Error::other("gopark: the runtime of this socket has ended")
}

impl Sources {
    fn new() -> io::Result<Self> {
        Ok(Self { netpoll: Arc::new(Netpoll::new()?), table: Mutex::default() })
    }

    pub(crate) fn netpoll(&self) -> &Arc<Netpoll> {
        &self.netpoll
    }

    fn register(&self, source: &mut impl Registrable) -> io::Result<(usize, Arc<Readiness>)> {
        let readiness = Arc::new(Readiness::new());
        let token = lock(&self.table).insert(source.fd(), readiness.clone())?;
        let registered = self.netpoll.register(source, token);
        if let Err(error) = registered {
            drop(lock(&self.table).remove(token));
            return Err(error);
        }
        Ok((token, readiness))
    }

    fn deregister(&self, source: &mut impl Source, token: usize) {
        if fork::is_child() {
            // The child shares the poller with its parent, whose registration it would end, and a
            // thread that it has not may hold the lock.
            return;
        }
        self.netpoll.deregister(source);
        let readiness = lock(&self.table).remove(token);
        drop(readiness);
    }

    /// Wakes what waits for these events.
    pub(crate) fn deliver(&self, events: &[Event]) {
        for batch in events.chunks(BATCH) {
            let mut ready = [const { None }; BATCH];
            {
                let table = lock(&self.table);
                for (ready, event) in ready.iter_mut().zip(batch) {
                    *ready = table.get(event.token).cloned();
                }
            }
            for (ready, event) in ready.iter().zip(batch) {
                if let Some(ready) = ready {
                    ready.read.event(event.read);
                    ready.write.event(event.write);
                }
            }
        }
    }

    /// Calls `f` with each socket of the internet for which tasks wait, and their addresses.
    #[cfg(unix)]
    pub(crate) fn each_waited_for(&self, mut f: impl FnMut(SocketInfo, &[usize])) {
        for at in (0..).step_by(BLOCK) {
            let mut found = Vec::new();
            {
                let table = lock(&self.table);
                if at >= table.places.len() {
                    return;
                }
                for place in table.places.iter().skip(at).take(BLOCK) {
                    let mut tasks = Vec::new();
                    place
                        .readiness
                        .iter()
                        .for_each(|readiness| readiness.each_task(|task| tasks.push(task)));
                    if !tasks.is_empty() {
                        // Under the lock: it is closed only after it has left the table.
                        let (local, peer) = crate::platform::socket_addrs(place.fd);
                        found.push((SocketInfo { local, peer }, tasks));
                    }
                }
            }
            found.iter().for_each(|(socket, tasks)| f(*socket, tasks));
        }
    }

    /// The runtime has ended: operations fail, now and later.
    pub(crate) fn end(&self) {
        let sources = {
            let mut table = lock(&self.table);
            table.is_over = true;
            table.places.iter().filter_map(|place| place.readiness.clone()).collect::<Vec<_>>()
        };
        for readiness in sources {
            readiness.read.end();
            readiness.write.end();
        }
    }
}

/// So many descriptors are found under one lock.
const BATCH: usize = 16;
/// So many descriptors are asked under one lock for the tasks that wait.
#[cfg(unix)]
const BLOCK: usize = 64;

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("used", &(self.places.len() - self.free.len()))
            .finish_non_exhaustive()
    }
}

/// A descriptor that is registered until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered<S: Registrable> {
    io: S,
    token: usize,
    readiness: Arc<Readiness>,
    sources: Arc<Sources>,
}

impl<S: Registrable> Registered<S> {
    pub(crate) fn new(sources: Arc<Sources>, mut io: S) -> io::Result<Self> {
        let (token, readiness) = sources.register(&mut io)?;
        Ok(Self { io, token, readiness, sources })
    }

    pub(crate) fn io(&self) -> &S {
        &self.io
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// The descriptors of its runtime.
    pub(crate) fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }
}

impl<S: Registrable> Drop for Registered<S> {
    fn drop(&mut self) {
        self.sources.deregister(&mut self.io, self.token);
    }
}

/// The descriptors of the runtime that an executor is now, from the first one on.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `is_open` | there is a poller | who makes the first descriptor, under the lock; the end |
/// | `looked` | when a worker last looked, in nanoseconds | the worker |
#[derive(Debug, Default)]
pub(crate) struct Slot {
    is_open: AtomicBool,
    looked: AtomicU64,
    sources: Mutex<Option<Arc<Sources>>>,
}

impl Slot {
    /// `None` if there is no descriptor yet.
    #[inline]
    pub(crate) fn get(&self) -> Option<Arc<Sources>> {
        if self.is_open.load(Ordering::Relaxed) { self.get_exact() } else { None }
    }

    /// As [`get`](Self::get), and finds what is being made.
    pub(crate) fn get_exact(&self) -> Option<Arc<Sources>> {
        lock(&self.sources).clone()
    }

    /// Starts the poller if there is none, and says so. Fails if the runtime `is_over`.
    pub(crate) fn open(&self, is_over: impl FnOnce() -> bool) -> io::Result<(Arc<Sources>, bool)> {
        let mut slot = lock(&self.sources);
        if is_over() {
            return Err(over());
        }
        if let Some(sources) = &*slot {
            return Ok((sources.clone(), false));
        }
        let sources = Arc::new(Sources::new()?);
        *slot = Some(sources.clone());
        self.is_open.store(true, Ordering::SeqCst);
        Ok((sources, true))
    }

    /// True if there is a poller, and the last look is at least so long ago. Then the caller looks.
    #[inline]
    pub(crate) fn is_due(&self, age: Duration) -> bool {
        if !self.is_open.load(Ordering::Relaxed) {
            return false;
        }
        let now = clock::coarse_now();
        let is_due = now.since(Time::from_nanos(self.looked.load(Ordering::Relaxed))) >= age;
        if is_due {
            self.looked.store(now.as_nanos(), Ordering::Relaxed);
        }
        is_due
    }

    /// A worker has looked.
    #[inline]
    pub(crate) fn looked(&self) {
        self.looked.store(clock::coarse_now().as_nanos(), Ordering::Relaxed);
    }

    /// The runtime has ended.
    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        let sources = lock(&self.sources).take();
        if let Some(sources) = sources {
            // One that was made while the shutdown began.
            sources.end();
        }
    }

    #[cfg(all(test, not(gopark_loom)))]
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }
}
