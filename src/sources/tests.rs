//! The table of descriptors: slots that are used again, and late events.

use std::collections::VecDeque;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use mio::net::UnixStream;

use super::{PLACE_BITS, Registered, SLOTS, Sources, Watch};
use crate::netpoll::{ENDED, Event, READY};
use crate::readiness::{Next, Wait};
use crate::wait::acquire::Acquisition;

type Socket = Registered<UnixStream>;

fn socket(sources: &Arc<Sources>) -> Socket {
    let (socket, _) = UnixStream::pair().unwrap();
    Registered::new(sources, socket).unwrap()
}

fn sources() -> Arc<Sources> {
    Arc::new(Sources::new().unwrap())
}

fn token(socket: &Socket) -> usize {
    let table = socket.sources().table.lock().unwrap();
    let entry = table.pages[socket.place() / SLOTS].as_ref().unwrap();
    let generation = entry.slots[socket.place() % SLOTS].generation;
    ((generation as usize) << PLACE_BITS) | socket.place()
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_late_event_of_a_closed_descriptor_sets_no_bit_of_the_next_one_in_its_slot() {
    let sources = sources();
    let old = socket(&sources);
    let (place, late) = (old.place(), token(&old));
    drop(old);
    let new = socket(&sources);
    assert_eq!(new.place(), place);
    assert!(matches!(new.readiness().read.next(), Next::Try(_)));
    sources.deliver(&[Event { token: late, read: READY | ENDED, write: READY }]);
    assert_eq!(new.readiness().read.next(), Next::Wait);
    sources.deliver(&[Event { token: token(&new), read: READY, write: 0 }]);
    assert!(matches!(new.readiness().read.next(), Next::Try(_)));
}

#[test]
fn a_slot_keeps_nothing_of_its_last_descriptor() {
    let sources = sources();
    let old = socket(&sources);
    let place = old.place();
    old.readiness().read.close();
    assert!(matches!(old.readiness().write.next(), Next::Try(_)));
    drop(old);
    let new = socket(&sources);
    assert_eq!(new.place(), place);
    assert!(matches!(new.readiness().read.next(), Next::Try(_)));
    assert!(matches!(new.readiness().write.next(), Next::Try(_)));
}

/// A table whose pages are used again has as many pages as it once had descriptors for.
#[test]
fn the_table_grows_with_the_descriptors_and_is_freed_with_the_last_one() {
    let sources = sources();
    let mut sockets: VecDeque<_> = (0..2 * SLOTS + 1).map(|_| socket(&sources)).collect();
    let pages = || {
        let table = sources.table.lock().unwrap();
        (table.pages.len(), table.pages.iter().flatten().count())
    };
    assert_eq!(pages(), (3, 3));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..500 {
        let at = random.usize(..sockets.len());
        sockets.remove(at);
        sockets.push_back(socket(&sources));
        assert!(pages().0 <= 3);
    }
    random.shuffle(sockets.make_contiguous());
    while sockets.pop_front().is_some() {
        assert!(pages().1 <= sockets.len());
    }
    assert_eq!(pages(), (0, 0));
    assert!(sources.table.lock().unwrap().open.is_empty());
}

/// After a burst its last descriptors shall not keep a page each.
#[test]
fn new_descriptors_go_to_the_first_page_with_room() {
    let sources = sources();
    let mut sockets: Vec<_> = (0..3 * SLOTS).map(|_| socket(&sources)).collect();
    drop(sockets.remove(1));
    drop(sockets.remove(SLOTS));
    drop(sockets.pop());
    let new: Vec<_> = (0..3).map(|_| socket(&sources)).collect();
    assert_eq!(new.iter().map(|new| new.place() / SLOTS).collect::<Vec<_>>(), [0, 1, 2]);
}

/// The pages refer to the descriptors of the runtime, and the table to the pages.
#[test]
fn descriptors_and_pages_do_not_keep_each_other() {
    let sources = sources();
    let weak = Arc::downgrade(&sources);
    let socket = socket(&sources);
    drop(sources);
    assert!(weak.upgrade().is_some());
    drop(socket);
    assert!(weak.upgrade().is_none());
}

#[test]
fn an_event_wakes_the_task_that_watched_last() {
    let sources = sources();
    let socket = socket(&sources);
    let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
    let wakers = counts.clone().map(Waker::from);
    let woken = || counts.each_ref().map(|count| count.0.load(SeqCst));
    let event = Event { token: token(&socket), read: READY, write: 0 };
    let watch = Mutex::new(socket.watch(false));
    // A new descriptor may be ready, so there is nothing to wait for.
    assert!(!Watch::begin(&watch, &mut Context::from_waker(&wakers[0])));
    for round in 1..4 {
        assert!(matches!(socket.readiness().read.next(), Next::Try(_)));
        assert!(Watch::begin(&watch, &mut Context::from_waker(&wakers[0])));
        assert!(Watch::begin(&watch, &mut Context::from_waker(&wakers[1])));
        sources.deliver(&[event]);
        assert_eq!(woken(), [0, round]);
    }
}

/// An event that finds more waiters than fit into one round of wakes.
#[test]
fn an_event_wakes_a_crowd_and_each_direction_its_own() {
    let sources = sources();
    let sockets = [socket(&sources), socket(&sources)];
    let counts = [(); 3].map(|()| Arc::new(Count::default()));
    let wakers = counts.clone().map(Waker::from);
    let mut watches = Vec::new();
    for socket in &sockets {
        assert!(matches!(socket.readiness().read.next(), Next::Try(_)));
        assert!(matches!(socket.readiness().write.next(), Next::Try(_)));
    }
    let mut wait = |socket: &Socket, writes, waker| {
        let watch = Mutex::new(socket.watch(writes));
        assert!(Watch::begin(&watch, &mut Context::from_waker(waker)));
        watches.push(watch);
    };
    wait(&sockets[0], true, &wakers[0]);
    wait(&sockets[1], false, &wakers[1]);
    for _ in 0..100 {
        wait(&sockets[0], false, &wakers[2]);
    }
    let events =
        sockets.each_ref().map(|socket| Event { token: token(socket), read: READY, write: 0 });
    sources.deliver(&events);
    assert_eq!(counts.each_ref().map(|count| count.0.load(SeqCst)), [0, 1, 100]);
    sources.deliver(&[Event { token: token(&sockets[0]), read: READY, write: READY }]);
    assert_eq!(counts.each_ref().map(|count| count.0.load(SeqCst)), [1, 1, 100]);
}

/// Wakers are kept only while a task waits: a task that is kept may never be freed.
#[test]
fn a_watch_keeps_a_waker_only_while_it_waits() {
    let sources = sources();
    let socket = socket(&sources);
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let watch = Mutex::new(socket.watch(false));
    assert!(!Watch::begin(&watch, &mut Context::from_waker(&waker)));
    assert_eq!(Arc::strong_count(&count), 2);
    assert!(matches!(socket.readiness().read.next(), Next::Try(_)));
    assert!(Watch::begin(&watch, &mut Context::from_waker(&waker)));
    assert_eq!(Arc::strong_count(&count), 3);
    drop(watch);
    assert_eq!(Arc::strong_count(&count), 2);
    sources.deliver(&[Event { token: token(&socket), read: READY, write: 0 }]);
    assert_eq!(count.0.load(SeqCst), 0);
}

/// A waiter of a closed descriptor: one whose future was leaked, or a watch that ends later. It is
/// in the queue of the next descriptor of the slot.
#[test]
fn a_watch_that_outlives_its_descriptor_is_harmless() {
    let sources = sources();
    let old = socket(&sources);
    let (count, place) = (Arc::new(Count::default()), old.place());
    let waker = Waker::from(count.clone());
    let watch = Mutex::new(old.watch(false));
    assert!(matches!(old.readiness().read.next(), Next::Try(_)));
    assert!(Watch::begin(&watch, &mut Context::from_waker(&waker)));
    drop(old);
    let new = socket(&sources);
    assert_eq!(new.place(), place);
    assert!(matches!(new.readiness().read.next(), Next::Try(_)));
    let own = Mutex::new(new.watch(false));
    assert!(Watch::begin(&own, &mut Context::from_waker(&waker)));
    drop(watch);
    sources.deliver(&[Event { token: token(&new), read: READY, write: 0 }]);
    assert_eq!(count.0.load(SeqCst), 1);
}

/// A future that was leaked stays in the queue of its slot: between the waiters of later
/// descriptors, and when the page is freed.
#[test]
fn a_leaked_wait_costs_later_descriptors_of_its_slot_no_wake() {
    fn poll<'a>(wait: Pin<&mut Acquisition<'a, Wait<'a>, ()>>, count: &Arc<Count>) -> Poll<()> {
        wait.poll(&mut Context::from_waker(&Waker::from(count.clone())))
    }
    let sources = sources();
    let [leaked, own] = [(); 2].map(|()| Arc::new(Count::default()));
    let mut places = Vec::new();
    // It keeps the page.
    let other = socket(&sources);
    for round in 1..4 {
        let socket = socket(&sources);
        places.push(socket.place());
        let read = &socket.readiness().read;
        assert!(matches!(read.next(), Next::Try(_)));
        let mut waits =
            [(); 3].map(|()| Box::pin(Acquisition::new(read.wait(), Location::caller())));
        for (wait, count) in waits.iter_mut().zip([&own, &leaked, &own]) {
            assert!(poll(wait.as_mut(), count).is_pending());
        }
        let [given_up, lost, mut waits] = waits;
        drop(given_up);
        std::mem::forget(lost);
        sources.deliver(&[Event { token: token(&socket), read: READY, write: 0 }]);
        assert_eq!((own.0.load(SeqCst), leaked.0.load(SeqCst)), (round, 2 * round - 1));
        assert!(poll(waits.as_mut(), &own).is_ready());
        assert!(matches!(read.next(), Next::Try(_)));
        let mut lost = Box::pin(Acquisition::new(read.wait(), Location::caller()));
        assert!(poll(lost.as_mut(), &leaked).is_pending());
        std::mem::forget(lost);
    }
    assert_eq!(places, [1; 3]);
    drop(other);
    assert_eq!(sources.table.lock().unwrap().pages.len(), 0);
}
