//! The descriptors that a runtime waits for: their tokens, and the delivery of events.
//!
//! A token is a place in a table and a generation, of which there are 2^32 (2^16 on a 32-bit
//! system). So a late event of a closed descriptor reaches no other one.

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

/// The number of bits of a token for its place; the others are its generation.
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

/// The number of a descriptor, on systems with such numbers.
#[cfg(unix)]
pub(crate) type Fd = std::os::fd::RawFd;
#[cfg(not(unix))]
pub(crate) type Fd = ();

/// A source that can be registered, and its descriptor.
#[cfg(unix)]
pub(crate) trait Registrable: Source + std::os::fd::AsRawFd {
    fn fd(&self) -> Fd {
        self.as_raw_fd()
    }
}
#[cfg(unix)]
impl<S: Source + std::os::fd::AsRawFd> Registrable for S {}

/// A source that can be registered, and its descriptor.
#[cfg(not(unix))]
pub(crate) trait Registrable: Source {
    fn fd(&self) -> Fd {}
}
#[cfg(not(unix))]
impl<S: Source> Registrable for S {}

/// The addresses of a socket that a goroutine waits for.
///
/// # Examples
///
/// ```
/// use gopark::inspect;
/// use gopark::net::UdpSocket;
///
/// # #[cfg(unix)]
/// gopark::block_on(async {
///     let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
///     let address = socket.local_addr().unwrap();
///     gopark::go(async move { socket.recv_from(&mut [0; 16]).await });
///     let info = loop {
///         match inspect::goroutines().iter().find_map(|goroutine| goroutine.socket) {
///             Some(info) => break info,
///             None => gopark::gosched().await,
///         }
///     };
///     assert_eq!((info.local, info.peer), (Some(address), None));
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketInfo {
    /// The address of this end.
    pub local: Option<SocketAddr>,
    /// The address of the other end; a listener has none.
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
        // The last place is not used, because its token could be that of an interruption.
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
            // The table is empty: free its memory.
            (self.places, self.free) = (Vec::new(), Vec::new());
        }
        Some(readiness)
    }
}

/// Returns the error of each operation after the end of the runtime.
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

    /// Returns an error if nothing can be registered, because the process was forked: the child
    /// shares the poller with its parent, which would get the events, and a thread that does not
    /// exist in the child may hold the lock.
    pub(crate) fn check(&self) -> io::Result<()> {
        fork::check()
    }

    fn register(&self, source: &mut impl Registrable) -> io::Result<(usize, Arc<Readiness>)> {
        self.check()?;
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
            // It would remove its parent's registration.
            return;
        }
        self.netpoll.deregister(source);
        let readiness = lock(&self.table).remove(token);
        drop(readiness);
    }

    /// Wakes the tasks that wait for these events.
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

    /// Returns true if a task waits for a descriptor.
    pub(crate) fn is_waited_for(&self) -> bool {
        let table = lock(&self.table);
        let mut readinesses = table.places.iter().filter_map(|place| place.readiness.as_ref());
        readinesses.any(|readiness| readiness.is_waited_for())
    }

    /// Calls `f` with each internet socket for which tasks wait, and the addresses of the tasks.
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
                        // Under the lock, because a descriptor is closed only after its removal
                        // from the table.
                        let (local, peer) = crate::platform::socket_addrs(place.fd);
                        found.push((SocketInfo { local, peer }, tasks));
                    }
                }
            }
            found.iter().for_each(|(socket, tasks)| f(*socket, tasks));
        }
    }

    /// Makes all operations fail, now and later, because the runtime has ended.
    pub(crate) fn end(&self) {
        let sources = {
            let mut table = lock(&self.table);
            table.is_over = true;
            table.places.iter().filter_map(|place| place.readiness.clone()).collect::<Vec<_>>()
        };
        // All of them fail before a task is woken, which may use another one next.
        sources.iter().for_each(|readiness| readiness.end());
        sources.iter().for_each(|readiness| readiness.wake_all());
    }
}

/// The number of descriptors that are looked up under one lock.
const BATCH: usize = 16;
/// The number of descriptors whose waiting tasks are listed under one lock.
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
    /// `None` only in [`into_io`](Self::into_io).
    io: Option<S>,
    token: usize,
    readiness: Arc<Readiness>,
    sources: Arc<Sources>,
}

impl<S: Registrable> Registered<S> {
    pub(crate) fn new(sources: Arc<Sources>, mut io: S) -> io::Result<Self> {
        let (token, readiness) = sources.register(&mut io)?;
        Ok(Self { io: Some(io), token, readiness, sources })
    }

    #[inline]
    pub(crate) fn io(&self) -> &S {
        self.io.as_ref().expect("only `into_io` takes it")
    }

    /// Deregisters the descriptor and returns it.
    pub(crate) fn into_io(mut self) -> S {
        let mut io = self.io.take().expect("only this function takes it");
        self.sources.deregister(&mut io, self.token);
        io
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Returns the descriptors of its runtime.
    pub(crate) fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }
}

impl<S: Registrable> Drop for Registered<S> {
    fn drop(&mut self) {
        if let Some(io) = &mut self.io {
            self.sources.deregister(io, self.token);
        }
    }
}

/// An executor's slot for the descriptors of its current runtime, which has them once there is one.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `is_open` | there is a poller | the first descriptor's thread, under the lock; the end |
/// | `looked` | when the poller was last checked, in nanoseconds | the thread that checks |
#[derive(Debug, Default)]
pub(crate) struct Slot {
    is_open: AtomicBool,
    looked: AtomicU64,
    sources: Mutex<Option<Arc<Sources>>>,
}

impl Slot {
    /// Returns the descriptors; `None` if there is none yet.
    #[inline]
    pub(crate) fn get(&self) -> Option<Arc<Sources>> {
        if self.is_open.load(Ordering::Relaxed) { self.get_exact() } else { None }
    }

    /// As [`get`](Self::get), but also finds descriptors that are being created.
    pub(crate) fn get_exact(&self) -> Option<Arc<Sources>> {
        lock(&self.sources).clone()
    }

    /// Creates the poller if there is none. Returns true if it did. Fails if the runtime `is_over`.
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

    /// Returns true if there is a poller, and the last check is at least `age` ago. Then the caller
    /// must check.
    #[inline]
    pub(crate) fn is_due(&self, age: Duration) -> bool {
        if !self.is_open() {
            return false;
        }
        let now = clock::coarse_now();
        let is_due = now.since(Time::from_nanos(self.looked.load(Ordering::Relaxed))) >= age;
        if is_due {
            self.looked.store(now.as_nanos(), Ordering::Relaxed);
        }
        is_due
    }

    /// Records that a worker has checked.
    #[inline]
    pub(crate) fn looked(&self) {
        self.looked.store(clock::coarse_now().as_nanos(), Ordering::Relaxed);
    }

    /// Closes the poller, because the runtime has ended.
    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        let sources = lock(&self.sources).take();
        if let Some(sources) = sources {
            // It may have been created while the shutdown began.
            sources.end();
        }
    }

    /// Returns true if there is a poller.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }
}
