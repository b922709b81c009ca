//! The descriptors that a runtime waits for: their tokens, and the delivery of events.
//!
//! The readiness of a descriptor is in a slot of a [`Page`]. A slot is used again after its
//! descriptor is closed, and a page is freed when all of its slots are free.
//!
//! A token is a place (a page and a slot) and a generation, of which there are 2^32 (2^16 on a
//! 32-bit system). So a late event of a closed descriptor sets the bits of no other one: they are
//! set under the lock of the table, which knows the generation of each slot. The tasks are woken
//! after the lock is released. If the slot has a new descriptor by then, its tasks are woken as
//! well, find that it is not ready, and wait again.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use mio::event::Source;

use crate::clock::{self, Time};
use crate::fork;
use crate::netpoll::{Event, Netpoll};
use crate::panics::lock;
use crate::readiness::{Direction, Readiness};
use crate::wait::queue::KeptWaiter;
use crate::waker::{TaskWaker, WakeList};

/// The number of bits of a token for its place; the others are its generation.
const PLACE_BITS: u32 = usize::BITS / 2;
const MOST: usize = 1 << PLACE_BITS;
/// The number of slots of a page.
const SLOTS: usize = 32;

/// The descriptors of one runtime.
#[derive(Debug)]
pub(crate) struct Sources {
    netpoll: Arc<Netpoll>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    pages: Vec<Option<Entry>>,
    /// The pages with a free slot, or without slots because all were free. The first one is used
    /// next, so that few pages stay for the last descriptors.
    open: BTreeSet<usize>,
    generations: usize,
    /// The runtime has ended.
    is_over: bool,
}

/// The readiness of some descriptors of one runtime.
#[derive(Debug)]
pub(crate) struct Page {
    slots: [Readiness; SLOTS],
    sources: Arc<Sources>,
}

/// A page in the table.
struct Entry {
    page: Arc<Page>,
    slots: [Slotted; SLOTS],
    used: usize,
}

/// What the table knows of a slot.
#[derive(Clone, Copy)]
struct Slotted {
    /// 0 if the slot is free.
    generation: u32,
    fd: Fd,
}

/// A descriptor of the table.
#[derive(Clone, Copy)]
struct Found<'a> {
    page: &'a Arc<Page>,
    slot: usize,
    #[cfg_attr(not(unix), expect(dead_code, reason = "its addresses are not known"))]
    fd: Fd,
}

/// The number of a descriptor, on systems with such numbers.
#[cfg(unix)]
pub(crate) type Fd = std::os::fd::RawFd;
#[cfg(not(unix))]
pub(crate) type Fd = ();

const FREE: Slotted = Slotted { generation: 0, fd: NO_FD };
#[cfg(unix)]
const NO_FD: Fd = -1;
#[cfg(not(unix))]
const NO_FD: Fd = ();

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

impl Table {
    fn get(&self, token: usize) -> Option<Found<'_>> {
        let (place, generation) = (token % MOST, token >> PLACE_BITS);
        let entry = self.pages.get(place / SLOTS)?.as_ref()?;
        let slot = place % SLOTS;
        let Slotted { generation: current, fd } = entry.slots[slot];
        (current as usize == generation).then_some(Found { page: &entry.page, slot, fd })
    }

    /// Returns the page, the place and the token of a new descriptor.
    fn insert(&mut self, fd: Fd, sources: &Arc<Sources>) -> io::Result<(Arc<Page>, usize, usize)> {
        if self.is_over {
            return Err(over());
        }
        let at = match self.open.first() {
            Some(at) => *at,
            // The last page is not used, because a token in it could be that of an interruption.
            None if self.pages.len() >= MOST / SLOTS - 1 => {
                return Err(io::Error::other("gopark: too many sockets"));
            }
            None => {
                self.open.insert(self.pages.len());
                self.pages.push(None);
                self.pages.len() - 1
            }
        };
        let entry = self.pages[at].get_or_insert_with(|| Entry::new(sources.clone()));
        let slot = entry.slots.iter().position(|slot| slot.generation == 0);
        let slot = slot.expect("an open page has a free slot");
        self.generations = (self.generations + 1) % MOST;
        // 0 is for free slots.
        self.generations += usize::from(self.generations == 0);
        entry.slots[slot] = Slotted { generation: self.generations as u32, fd };
        entry.page.slots[slot].reset();
        entry.used += 1;
        if entry.used == SLOTS {
            self.open.remove(&at);
        }
        let place = at * SLOTS + slot;
        Ok((entry.page.clone(), place, (self.generations << PLACE_BITS) | place))
    }

    /// Removes a descriptor. Returns its page if all of its slots are free now: it may be dropped
    /// after the lock is released.
    fn remove(&mut self, place: usize) -> Option<Arc<Page>> {
        let (at, slot) = (place / SLOTS, place % SLOTS);
        let entry = self.pages[at].as_mut().expect("the descriptor is in the table");
        entry.slots[slot] = FREE;
        self.open.insert(at);
        entry.used -= 1;
        if entry.used > 0 {
            return None;
        }
        let entry = self.pages[at].take();
        while let Some(None) = self.pages.last() {
            self.pages.pop();
            self.open.remove(&self.pages.len());
        }
        if self.pages.is_empty() {
            self.pages.shrink_to_fit();
        }
        entry.map(|entry| entry.page)
    }

    /// Returns all descriptors.
    fn all(&self) -> impl Iterator<Item = Found<'_>> {
        self.pages.iter().flatten().flat_map(Entry::all)
    }
}

impl Entry {
    fn new(sources: Arc<Sources>) -> Self {
        let slots = std::array::from_fn(|_| Readiness::new());
        Self { page: Arc::new(Page { slots, sources }), slots: [FREE; SLOTS], used: 0 }
    }

    /// Returns the descriptors of the page.
    fn all(&self) -> impl Iterator<Item = Found<'_>> {
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.generation != 0);
        used.map(|(slot, Slotted { fd, .. })| Found { page: &self.page, slot, fd: *fd })
    }
}

impl<'a> Found<'a> {
    fn readiness(self) -> &'a Readiness {
        &self.page.slots[self.slot]
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

    fn register(self: &Arc<Self>, source: &mut impl Registrable) -> io::Result<(Arc<Page>, usize)> {
        self.check()?;
        let (page, place, token) = lock(&self.table).insert(source.fd(), self)?;
        let registered = self.netpoll.register(source, token);
        if let Err(error) = registered {
            self.remove(place);
            return Err(error);
        }
        Ok((page, place))
    }

    fn deregister(&self, source: &mut impl Source, place: usize) {
        if fork::is_child() {
            // It would remove its parent's registration.
            return;
        }
        self.netpoll.deregister(source);
        self.remove(place);
    }

    fn remove(&self, place: usize) {
        let page = lock(&self.table).remove(place);
        drop(page);
    }

    /// Wakes the tasks that wait for these events.
    pub(crate) fn deliver(&self, events: &[Event]) {
        // With at most one waiter for each event, there is room for all.
        for batch in events.chunks(WakeList::ROOM) {
            let mut wakes = WakeList::new();
            let mut crowded = Vec::new();
            {
                let table = lock(&self.table);
                for event in batch {
                    let Some(found) = table.get(event.token) else { continue };
                    for (writes, bits) in [(false, event.read), (true, event.write)] {
                        let direction = found.page.direction(found.slot, writes);
                        if !direction.event_into(bits, &mut wakes) {
                            crowded.push((found.page.clone(), found.slot, writes));
                        }
                    }
                }
            }
            wakes.wake_all();
            for (page, slot, writes) in crowded {
                page.direction(slot, writes).wake_all();
            }
        }
    }

    /// Returns true if a task waits for a descriptor.
    pub(crate) fn is_waited_for(&self) -> bool {
        lock(&self.table).all().any(|found| found.readiness().is_waited_for())
    }

    /// Calls `f` with each internet socket for which tasks wait, and the addresses of the tasks.
    #[cfg(unix)]
    pub(crate) fn each_waited_for(&self, mut f: impl FnMut(SocketInfo, &[usize])) {
        for at in (0..).step_by(BLOCK) {
            let mut waited_for = Vec::new();
            {
                let table = lock(&self.table);
                if at >= table.pages.len() {
                    return;
                }
                let pages = table.pages.iter().skip(at).take(BLOCK).flatten();
                for found in pages.flat_map(Entry::all) {
                    let mut tasks = Vec::new();
                    found.readiness().each_task(|task| tasks.push(task));
                    if !tasks.is_empty() {
                        // Under the lock, because a descriptor is closed only after its removal
                        // from the table.
                        let (local, peer) = crate::platform::socket_addrs(found.fd);
                        waited_for.push((SocketInfo { local, peer }, tasks));
                    }
                }
            }
            waited_for.iter().for_each(|(socket, tasks)| f(*socket, tasks));
        }
    }

    /// Makes all operations fail, now and later, because the runtime has ended.
    pub(crate) fn end(&self) {
        // All of them fail before a task is woken, which may use another one next.
        let pages = {
            let mut table = lock(&self.table);
            table.is_over = true;
            table.all().for_each(|found| found.readiness().end());
            table.pages.iter().flatten().map(|entry| entry.page.clone()).collect::<Vec<_>>()
        };
        // Nothing waits at a free slot.
        pages.iter().flat_map(|page| &page.slots).for_each(|readiness| readiness.wake_all());
    }
}

/// The number of pages whose waiting tasks are listed under one lock.
#[cfg(unix)]
const BLOCK: usize = 2;

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("used", &self.all().count()).finish_non_exhaustive()
    }
}

/// A descriptor that is registered until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered<S: Registrable> {
    /// `None` only in [`into_io`](Self::into_io).
    io: Option<S>,
    place: u32,
    page: Arc<Page>,
}

impl<S: Registrable> Registered<S> {
    pub(crate) fn new(sources: &Arc<Sources>, mut io: S) -> io::Result<Self> {
        let (page, place) = sources.register(&mut io)?;
        Ok(Self { io: Some(io), place: place as u32, page })
    }

    #[inline]
    pub(crate) fn io(&self) -> &S {
        self.io.as_ref().expect("only `into_io` takes it")
    }

    /// Deregisters the descriptor and returns it.
    pub(crate) fn into_io(mut self) -> S {
        self.deregister().expect("only this function takes it")
    }

    fn deregister(&mut self) -> Option<S> {
        let mut io = self.io.take()?;
        self.sources().deregister(&mut io, self.place());
        Some(io)
    }

    fn place(&self) -> usize {
        self.place as usize
    }

    #[inline]
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.page.slots[self.place() % SLOTS]
    }

    /// Returns the descriptors of its runtime.
    pub(crate) fn sources(&self) -> &Arc<Sources> {
        &self.page.sources
    }

    /// Returns a place for a task that polls to read, or to write.
    pub(crate) fn watch(&self, writes: bool) -> Watch {
        let waiter = KeptWaiter::new(self.page.clone(), ());
        Watch { waiter, slot: self.place() % SLOTS, writes }
    }
}

impl<S: Registrable> Drop for Registered<S> {
    fn drop(&mut self) {
        // It closes after its removal from the table.
        drop(self.deregister());
    }
}

/// The place of a task that waits by a poll function, without a future that could be in the queue.
pub(crate) struct Watch {
    waiter: KeptWaiter<Page, ()>,
    slot: usize,
    writes: bool,
}

impl Watch {
    /// Makes the next event wake the task of `cx`, in place of the task that waited here before.
    /// Returns false if there is nothing to wait for: then the operation continues.
    pub(crate) fn begin(this: &Mutex<Self>, cx: &mut Context<'_>) -> bool {
        // Cloned, and the previous one dropped, outside of the lock: both may poll the same stream.
        let mut waker = Some(TaskWaker::new(cx.waker()));
        lock(this).wait(&mut waker)
    }

    fn wait(&mut self, waker: &mut Option<TaskWaker>) -> bool {
        let (slot, writes) = (self.slot, self.writes);
        self.waiter.with(|waiter, page| page.direction(slot, writes).watch(waiter, waker))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (slot, writes) = (self.slot, self.writes);
        self.waiter.with(|waiter, page| page.direction(slot, writes).unwatch(waiter));
    }
}

impl Page {
    fn direction(&self, slot: usize, writes: bool) -> &Direction {
        let Readiness { read, write } = &self.slots[slot];
        if writes { write } else { read }
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

#[cfg(all(test, unix, not(gopark_loom)))]
mod tests;
