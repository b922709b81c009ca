//! The state machine of a `RwMutex`, without its value.

// How it works.
//
// One word, and queues of pinned waiters under their own lock.
//
// | bits | set means | changed by |
// |---|---|---|
// | `WRITER` | a writer has the lock or is *announced* (see below) | below |
// | `QUEUED` | a queue is not empty | under the queues' lock |
// | the rest | the number of readers, failed attempts included | adding or subtracting `READER` |
//
// An announced writer waits for the readers to leave; new readers wait for that writer.
//
// `QUEUED` implies `WRITER`. Without readers and waiters, `WRITER` is set by a compare-exchange
// from 0 and cleared by a compare-exchange to 0; otherwise it is changed under the queues' lock.
//
// A reader first adds itself to the word and then checks it. If it finds `WRITER`, it subtracts
// itself again, as every reader that leaves does, and enqueues. It does not access the value
// meanwhile, so it does not disturb the writer that has the lock.
//
// Phases alternate. A writer that unlocks admits all readers enqueued so far, as one *batch*, and
// announces the next writer; the last reader of the batch to leave grants that writer the lock. So
// a writer waits for at most one batch, and a reader for at most one writer (RW-03). A batch is
// admitted in one step, whatever its size: its length is added to the word and to `admitted`. Then
// the thread that admitted it grants and wakes its readers, the first ones in their queue, sixteen
// at a time. A reader that is dropped meanwhile helps, to learn whether it was in the batch.
//
// Until they have run, the readers of a batch hold the lock without using it. A writer that arrives
// meanwhile has to wait, and so does every operation behind it: a convoy that does not dissolve. So
// the goroutine that unlocks for a batch, and each reader of the batch, yields at its next
// operation, which lets the batch run.
//
// An announced writer that is dropped ends its phase, like a writer that unlocks (CA-10).
//
// Rejected: a table that counts readers on different processors outside of the word (BRAVO). With
// it, two processors that only read were three times as fast, because the word's cache line did not
// move. But each write had to find those readers, and every read lock took 33 more instructions.

use std::ptr;
use std::task::Context;

use crate::coop::{self, Object};
use crate::holders::{self, FULL, WRITER};
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquired, Mode, Resource};
use crate::wait::queue::{self, Held, OwnWaiter, Queues};
use crate::waker::{TaskWaker, WakeList};

const QUEUED: usize = 2;
const READER: usize = 4;

/// The way of a reader.
pub(super) struct Reader;

impl Mode for Reader {
    type Data = ();
}

/// The way of a writer.
pub(super) struct Writer;

impl Mode for Writer {
    type Data = ();
}

/// The queue of the readers.
const READERS: usize = 0;
/// The queue of the writers.
const WRITERS: usize = 1;

type Waiting<'a> = Held<'a, (), Phase, 2>;
type Own<'w, 'a> = OwnWaiter<'w, 'a, ()>;

/// What the lock of the queues guards, besides them.
struct Phase {
    /// The number of readers, from the front, that hold the lock and are counted in the word, but
    /// have not been granted yet.
    admitted: usize,
    /// The number of readers behind them, which wait for the writer: the next batch.
    waiting: usize,
    /// Whether `WRITER` is set for the writer at the front of the queue, which waits for the
    /// readers to leave.
    announced: bool,
}

/// The lock, without the value.
#[expect(missing_debug_implementations, reason = "not nameable outside the crate")]
pub struct RawRwMutex {
    /// See the table at the top of the file. Acquire where a lock is acquired and where a writer is
    /// granted the lock; Release where a lock is released: each Acquire pairs with each Release.
    /// Other changes of the word are ordered by the queues' lock.
    state: AtomicUsize,
    queues: Queues<(), Phase, 2>,
    object: Object,
}

impl RawRwMutex {
    const_fn! {
        pub(super) const fn new() -> Self {
            RawRwMutex {
                state: AtomicUsize::new(0),
                queues: Queues::new(Phase { admitted: 0, waiting: 0, announced: false }),
                object: Object::new(),
            }
        }
    }

    /// Removes the reader that `try_first` added.
    #[cold]
    fn undo_rlock(&self, s: usize) {
        self.left_beside_writer(self.leave());
        assert_room(s);
    }

    /// Acquires a read lock. A failed attempt is not visible to other threads.
    pub(super) fn try_rlock(&self) -> bool {
        let add = |s| {
            (s & WRITER == 0).then(|| {
                assert_room(s);
                s + READER
            })
        };
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, add).is_ok()
    }

    /// Releases a read lock.
    #[inline]
    pub(super) fn runlock(acquired: Acquired<&Self, Reader>) {
        acquired.into_resource().rrelease();
    }

    #[inline]
    fn rrelease(&self) {
        let s = self.leave();
        if holders::is_watched(s) {
            self.left(s);
        }
    }

    #[inline(always)]
    fn leave(&self) -> usize {
        self.state.fetch_sub(READER, Ordering::Release)
    }

    #[cold]
    fn left(&self, s: usize) {
        holders::released(self);
        self.left_beside_writer(s);
    }

    /// Acquires the write lock, if the lock is free.
    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        self.swap(0, WRITER, Ordering::Acquire)
    }

    #[inline]
    pub(super) fn unlock(acquired: Acquired<&Self, Writer>) {
        acquired.into_resource().release();
    }

    #[inline]
    fn release(&self) {
        if !self.swap(holders::written(), 0, Ordering::Release) {
            holders::released(self);
            self.end_phase(self.queues.lock());
        }
    }

    /// Called after a reader has left. If it was the last one before an announced writer, grants
    /// that writer the lock.
    #[cold]
    fn left_beside_writer(&self, s: usize) {
        if s & !QUEUED != READER | WRITER {
            return;
        }
        let waker = self.let_writer_in(&mut self.queues.lock());
        waker.into_iter().for_each(TaskWaker::wake);
    }

    /// Grants the lock to the announced writer, if there is one and all readers have left. Returns
    /// its waker.
    #[must_use]
    fn let_writer_in(&self, queues: &mut Waiting<'_>) -> Option<TaskWaker> {
        // Acquire: synchronizes with all the readers that left, not only with the last.
        if !queues.announced || self.state.load(Ordering::Acquire) >= READER {
            return None;
        }
        queues.announced = false;
        let waker = queues.grant_front(WRITERS).flatten();
        self.clear_queued(queues);
        waker
    }

    /// Ends the phase of a writer that leaves, while `WRITER` is still set: admits the readers
    /// queued so far, announces the next writer, and wakes the waiters that hold the lock now.
    #[cold]
    fn end_phase<'a>(&'a self, mut queues: Waiting<'a>) {
        let batch = std::mem::take(&mut queues.waiting);
        queues.admitted += batch;
        queues.announced = !queues.is_empty(WRITERS);
        let bits = if queues.announced { WRITER | QUEUED } else { 0 };
        let next = |s| Some((s & !(WRITER | QUEUED) | bits) + batch * READER);
        let _ = self.state.fetch_update(Ordering::Release, Ordering::Relaxed, next);
        if batch > 0 {
            coop::spend_all();
        }
        let mut wakes = WakeList::new();
        wakes.push(self.let_writer_in(&mut queues));
        self.grant_admitted(queues, wakes);
    }

    /// Grants all readers that have been admitted, and wakes them.
    fn grant_admitted<'a>(&'a self, mut queues: Waiting<'a>, mut wakes: WakeList) {
        while queues.admitted > 0 {
            if wakes.is_full() {
                drop(queues);
                wakes.wake_all();
                queues = self.queues.lock();
            } else {
                queues.admitted -= 1;
                queues.grant_front_into(READERS, &mut wakes);
            }
        }
        drop(queues);
        wakes.wake_all();
    }

    /// Clears `QUEUED` once the queues are empty.
    fn clear_queued(&self, queues: &Waiting<'_>) {
        if queues.waiting == 0 && queues.is_empty(WRITERS) {
            self.state.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }

    fn swap(&self, from: usize, to: usize, order: Ordering) -> bool {
        self.state.compare_exchange(from, to, order, Ordering::Relaxed).is_ok()
    }
}

impl<'a> Resource<'a, Reader> for &'a RawRwMutex {
    #[inline]
    fn try_acquire(self) -> bool {
        self.try_rlock()
    }

    /// A failed attempt is visible to other threads for a moment.
    #[inline]
    fn try_first(self) -> bool {
        let s = self.state.fetch_add(READER, Ordering::Acquire);
        if holders::is_readable(s) {
            return true;
        }
        self.undo_rlock(s);
        false
    }

    fn recorded(self) -> Option<usize> {
        Some(ptr::from_ref(self).addr())
    }

    fn extra(self) {}

    fn object(self) -> Option<&'a Object> {
        Some(&self.object)
    }

    #[cold]
    fn enqueue(self, waiter: Own<'_, 'a>) -> bool {
        let mut queues = self.queues.lock();
        while !self.try_rlock() {
            let s = self.state.load(Ordering::Relaxed);
            if s & QUEUED != 0 || s & WRITER != 0 && self.swap(s, s | QUEUED, Ordering::Relaxed) {
                queues.push_back(READERS, waiter);
                queues.waiting += 1;
                return false;
            }
        }
        true
    }

    #[cold]
    fn look(self, waiter: Own<'_, 'a>, cx: &mut Context<'_>) -> bool {
        let granted = self.queues.look(waiter, cx, |_, _| waiter.state() == queue::GRANTED);
        if granted {
            // Yield soon, so that the rest of the batch runs.
            coop::spend_all();
        }
        granted
    }

    #[cold]
    fn cancel(self, waiter: Own<'_, 'a>) {
        let mut queues = self.queues.lock();
        while queues.admitted > 0 {
            // `waiter` may be one of them.
            self.grant_admitted(queues, WakeList::new());
            queues = self.queues.lock();
        }
        if waiter.state() == queue::GRANTED {
            drop(queues);
            return self.rrelease();
        }
        queues.remove(waiter);
        queues.waiting -= 1;
        self.clear_queued(&queues);
    }
}

impl<'a> Resource<'a, Writer> for &'a RawRwMutex {
    #[inline]
    fn try_acquire(self) -> bool {
        self.try_lock()
    }

    #[inline]
    fn try_first(self) -> bool {
        self.swap(holders::free(), WRITER, Ordering::Acquire)
    }

    fn recorded(self) -> Option<usize> {
        Some(ptr::from_ref(self).addr())
    }

    fn extra(self) {}

    fn object(self) -> Option<&'a Object> {
        Some(&self.object)
    }

    #[cold]
    fn enqueue(self, waiter: Own<'_, 'a>) -> bool {
        let mut queues = self.queues.lock();
        while !self.try_lock() {
            let s = self.state.load(Ordering::Relaxed);
            if s != 0 && self.swap(s, s | WRITER | QUEUED, Ordering::Relaxed) {
                // With readers only, this announces the writer.
                queues.announced |= s & WRITER == 0;
                queues.push_back(WRITERS, waiter);
                return false;
            }
        }
        true
    }

    #[cold]
    fn look(self, waiter: Own<'_, 'a>, cx: &mut Context<'_>) -> bool {
        self.queues.look(waiter, cx, |_, _| waiter.state() == queue::GRANTED)
    }

    #[cold]
    fn cancel(self, waiter: Own<'_, 'a>) {
        let mut queues = self.queues.lock();
        if waiter.state() == queue::GRANTED {
            drop(queues);
            return self.release();
        }
        let announced =
            queues.announced && queues.front(WRITERS).is_some_and(|front| ptr::eq(front, &*waiter));
        queues.remove(waiter);
        if announced {
            self.end_phase(queues);
        } else {
            self.clear_queued(&queues);
        }
    }
}

/// Checks that the word has room for one more reader. Only leaked guards can exhaust it.
fn assert_room(s: usize) {
    assert!(s & FULL == 0, "gopark: too many readers of a RwMutex");
}
