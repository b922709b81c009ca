//! The state machine of a `RwMutex`, without its value.

// How it works.
//
// One word, with queues of pinned waiters beside it, under a lock of their own.
//
// | bits | meaning | changed by |
// |---|---|---|
// | `WRITER` | a writer has the lock, or has *announced* itself and waits for the readers to leave | see below |
// | `QUEUED` | a queue is not empty | under the queues' lock |
// | `SHARED` | readers may publish themselves in the table of `visible_readers` instead | set by any reader, or a writer that leaves; cleared under the queues' lock |
// | the rest | readers that have the lock, and optimistic readers that leave again | any thread, by adding and subtracting `READER` |
//
// `QUEUED` implies `WRITER`, and `WRITER` excludes `SHARED`. Without readers and waiters, `WRITER` is taken from 0 and given
// back to 0 by compare-exchange; otherwise it is changed under the queues' lock.
//
// A reader adds itself optimistically and checks afterwards. If it finds `WRITER`, it leaves again as any reader does, and
// queues. It touches no data meanwhile, so a writer need not mind it; but the writer's way in and out in one instruction is
// open only while there is none.
//
// Phases alternate. A writer that unlocks lets in all readers queued so far, as one *batch*, and announces the next
// writer; the last of the batch to leave lets that one in. So a writer waits for at most one batch, a reader for at
// most one writer (RW-03). Letting in a batch is one step, whatever its size: the queue is moved over to `admitted`
// and its length added to the word. Its readers are then notified, sixteen at a time; one that is polled or dropped before
// finds by the number of its batch that it has the lock.
//
// Until they have run, the readers of a batch hold the lock without using it, and a writer that comes meanwhile has to
// wait, and then every operation behind it: a convoy that would never end. So the goroutine that unlocks for a batch, and
// each reader of it, yields at its next operation, and the batch gets through. With eight goroutines on two processors, one
// write in a hundred, that takes the contended writes from nearly all to one in a hundred.
//
// Readers on several processors do not count in the word, because its cache line would pass from one to the other at each
// step: they publish themselves in a table, each in its own cache line (`SHARED`). A writer ends the sharing and then counts
// the published readers, and all goes on as above; when it leaves, the lock is shared again, a few times, before the readers
// have to show once more that they come from several processors. Two processors that read all the time are three times as
// fast so, and more processors the more.
//
// A writer that gives up after it has announced itself goes through the same motions as one that unlocks (CA-10).

use std::task::{Context, Poll};

use crate::coop;
use crate::lock::{Lock, LockGuard};
use crate::loom::atomic::{AtomicU8, AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::sync::visible_readers::{self, Table};
use crate::wait::queue::{self, Queue, Stage, Waiter};
use crate::waker::{TaskWaker, WakeList};

const WRITER: usize = 1;
const QUEUED: usize = 2;
const SHARED: usize = 4;
const READER: usize = 8;

/// How often a reader must come from another processor than the last one before the lock becomes shared.
const SHARE: usize = 4;
/// How many writers leave the lock shared before readers have to come from several processors once more.
const SHARED_BUDGET: u8 = 8;
/// How often a writer tries to acquire a shared lock before it announces itself.
const TRIES: usize = 8;

/// The number of the batch that a queued reader will be let in with. Written and read under the lock.
pub(super) type BatchNumber = AtomicUsize;

struct Queues {
    /// Readers that wait for the writer; all of the next batch.
    readers: Queue<BatchNumber>,
    /// The length of `readers`.
    waiting: usize,
    /// The number of the next batch. A queued reader of an earlier one is in `admitted`.
    next_batch: usize,
    /// Readers that have the lock, counted in the word, and have not been notified yet.
    admitted: Queue<BatchNumber>,
    writers: Queue<()>,
    /// Whether `WRITER` is set for the writer at the front of the queue, which waits for the readers to leave.
    announced: bool,
}

impl Queues {
    fn bit(&self) -> usize {
        if self.readers.is_empty() && self.writers.is_empty() { 0 } else { QUEUED }
    }
}

/// A read lock that has been acquired: where its reader is counted.
#[derive(Clone, Copy)]
pub(super) enum ReadLock<'a> {
    /// In the lock's word.
    Counted,
    /// In this slot of the table.
    Published(&'a AtomicUsize),
}

/// The lock, without the value.
pub(super) struct RawRwMutex {
    /// The table is at the top of the file. Acquire where a lock is acquired and where a writer is let in; Release where
    /// one is released: each pairs with the others. Other changes of the word are ordered by the queues' lock.
    state: AtomicUsize,
    /// `SHARE` times the number of the last reader's processor, and how often that has changed. Hints, which may get lost.
    processor_changes: AtomicUsize,
    /// How many more writers leave the lock shared. A hint; if it is not 0, the lock has a number.
    shared_budget: AtomicU8,
    /// The number of this lock in the table; 0 until it is first shared.
    number: AtomicUsize,
    queues: Lock<Queues>,
    #[cfg(gopark_loom)]
    table: Table,
}

impl RawRwMutex {
    const_fn! {
        pub(super) const fn new() -> Self {
            RawRwMutex {
                state: AtomicUsize::new(0),
                processor_changes: AtomicUsize::new(0),
                shared_budget: AtomicU8::new(0),
                number: AtomicUsize::new(0),
                #[cfg(gopark_loom)]
                table: Table::new(),
                queues: Lock::new(Queues {
                    readers: Queue::new(),
                    waiting: 0,
                    next_batch: 0,
                    admitted: Queue::new(),
                    writers: Queue::new(),
                    announced: false,
                }),
            }
        }
    }

    fn table(&self) -> &Table {
        #[cfg(not(gopark_loom))]
        return &visible_readers::TABLE;
        #[cfg(gopark_loom)]
        return &self.table;
    }

    /// Acquires a read lock; on failure the state is unchanged.
    #[inline]
    pub(super) fn rlock(&self) -> Option<ReadLock<'_>> {
        if let Some(slot) = self.publish() {
            return Some(ReadLock::Published(slot));
        }
        let s = self.state.fetch_add(READER, Ordering::Acquire);
        if s & WRITER == 0 && s < usize::MAX / 2 {
            self.note_processor();
            return Some(ReadLock::Counted);
        }
        self.undo_optimistic_read(s);
        None
    }

    /// Takes back the reader that `rlock` added.
    #[cold]
    fn undo_optimistic_read(&self, s: usize) {
        self.leave();
        // Only leaked guards get there.
        assert!(s < usize::MAX / 2, "gopark: too many readers of a RwMutex");
    }

    /// As `rlock`, and not visible to others if it fails.
    #[inline]
    pub(super) fn try_rlock(&self) -> Option<ReadLock<'_>> {
        match self.publish() {
            Some(slot) => Some(ReadLock::Published(slot)),
            None => self.try_count().then_some(ReadLock::Counted),
        }
    }

    /// Acquires a read lock by the word. It does not add itself first, because a failed try must not be visible.
    fn try_count(&self) -> bool {
        let mut s = self.state.load(Ordering::Relaxed);
        while s & WRITER == 0 && s < usize::MAX / 2 {
            match self.state.compare_exchange_weak(s, s + READER, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    /// Acquires a read lock by the table, if the lock is shared and the slot free.
    #[inline]
    fn publish(&self) -> Option<&AtomicUsize> {
        // Acquire: pairs with `share`, for the number.
        if self.state.load(Ordering::Acquire) & SHARED == 0 {
            return None;
        }
        let slot = self.table().publish(self.number.load(Ordering::Relaxed), coop::worker_index()?)?;
        visible_readers::model_fence();
        // Also Acquire: what writers did before the lock was shared.
        if self.state.load(Ordering::SeqCst) & SHARED != 0 {
            return Some(slot);
        }
        // A writer has come between, and may have counted this as a reader.
        self.retract(slot);
        None
    }

    /// Releases a read lock.
    #[inline]
    pub(super) fn runlock(&self, lock: ReadLock<'_>) {
        match lock {
            ReadLock::Counted => self.leave(),
            ReadLock::Published(slot) => self.retract(slot),
        }
    }

    /// Releases a read lock acquired by the table.
    #[inline]
    fn retract(&self, slot: &AtomicUsize) {
        if !visible_readers::retract(slot, self.number.load(Ordering::Relaxed)) {
            self.leave();
        }
    }

    /// Makes the lock shared when readers have come from different processors for a while.
    #[inline]
    fn note_processor(&self) {
        let Some(processor) = coop::worker_index() else { return };
        let noted = self.processor_changes.load(Ordering::Relaxed);
        if noted / SHARE != processor {
            self.note_change(processor, noted % SHARE + 1);
        }
    }

    #[cold]
    fn note_change(&self, processor: usize, times: usize) {
        self.processor_changes.store(processor * SHARE + times % SHARE, Ordering::Relaxed);
        if times == SHARE {
            self.share();
        }
    }

    #[cold]
    pub(super) fn share(&self) {
        if self.number.load(Ordering::Relaxed) == 0 {
            // If two threads do this at once, one number stays unused.
            let _ =
                self.number.compare_exchange(0, visible_readers::next_number(), Ordering::Relaxed, Ordering::Relaxed);
        }
        let s = self.state.load(Ordering::Relaxed);
        if s & WRITER == 0 {
            // Release: publishes the number. If it fails, there will be other readers.
            let shared = self.state.compare_exchange(s, s | SHARED, Ordering::Release, Ordering::Relaxed);
            if shared.is_ok() {
                self.shared_budget.store(SHARED_BUDGET, Ordering::Relaxed);
            }
        }
    }

    /// Counts the published readers in the word, after the sharing has ended. Called with the queues' lock held.
    fn count_published(&self) {
        visible_readers::model_fence();
        let number = self.number.load(Ordering::Relaxed);
        for slot in self.table().published(number) {
            // In this order: the reader may leave as soon as its entry is retracted.
            self.state.fetch_add(READER, Ordering::Relaxed);
            if !visible_readers::retract(slot, number) {
                self.state.fetch_sub(READER, Ordering::Relaxed);
            }
        }
    }

    /// Releases a read lock counted in the word.
    #[inline]
    fn leave(&self) {
        let s = self.state.fetch_sub(READER, Ordering::Release);
        if s & !QUEUED == READER | WRITER {
            self.last_reader_left();
        }
    }

    /// Acquires the write lock if the lock is free, has no waiters and is not shared.
    #[inline]
    pub(super) fn lock_idle(&self) -> bool {
        self.swap(0, WRITER, Ordering::Acquire)
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        match self.state.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => true,
            Err(s) => s == SHARED && self.try_lock_shared(),
        }
    }

    #[cold]
    fn try_lock_shared(&self) -> bool {
        // A failed try must not be visible, so it is made under the queues' lock: others wait for that lock meanwhile, no more.
        let queues = self.queues.lock();
        if self.table().published(self.number.load(Ordering::Relaxed)).next().is_some()
            || self.state.compare_exchange(SHARED, WRITER, Ordering::SeqCst, Ordering::Relaxed).is_err()
        {
            return false;
        }
        self.count_published();
        // An optimistic reader does no harm, one that published itself in time does.
        if self.state.load(Ordering::Acquire) < READER {
            return true;
        }
        drop(queues);
        self.unlock();
        false
    }

    /// Tries a shared lock a few times: its readers are running on other processors, and most are about to leave.
    fn try_lock_again(&self) -> bool {
        (0..TRIES).any(|_| {
            (0..4).for_each(|_| std::hint::spin_loop());
            self.state.load(Ordering::Relaxed) == SHARED && self.try_lock_shared()
        })
    }

    #[inline]
    pub(super) fn unlock(&self) {
        if self.state.compare_exchange(WRITER, self.bits_to_leave(), Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_contended();
        }
    }

    /// Returns the bits that a writer leaves: `SHARED` for a while after the lock has been shared.
    #[inline]
    fn bits_to_leave(&self) -> usize {
        match self.shared_budget.load(Ordering::Relaxed) {
            0 => 0,
            budget => {
                self.shared_budget.store(budget - 1, Ordering::Relaxed);
                SHARED
            }
        }
    }

    #[cold]
    fn last_reader_left(&self) {
        let waker = self.let_writer_in(&mut self.queues.lock());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives the lock to the announced writer, if there is one and all readers have left. Returns its waker.
    #[must_use]
    fn let_writer_in(&self, queues: &mut Queues) -> Option<TaskWaker> {
        // Acquire: what all the readers did before they left, not only the last.
        if !queues.announced || self.state.load(Ordering::Acquire) >= READER {
            return None;
        }
        queues.announced = false;
        let waker = queues.writers.grant_front().into_waker();
        if queues.bit() == 0 {
            self.state.fetch_and(!QUEUED, Ordering::Relaxed);
        }
        waker
    }

    #[cold]
    fn unlock_contended(&self) {
        self.end_phase(self.queues.lock());
    }

    /// Ends the phase of a writer that leaves, while `WRITER` is still set: lets in the readers queued so far, announces the
    /// next writer, and wakes those that have the lock now.
    fn end_phase<'a>(&'a self, mut held: LockGuard<'a, Queues>) {
        let queues = &mut *held;
        // SAFETY: both are under the lock held here.
        unsafe { queues.admitted.append(&mut queues.readers) };
        let batch = std::mem::take(&mut queues.waiting) * READER;
        queues.next_batch = queues.next_batch.wrapping_add(1);
        queues.announced = !queues.writers.is_empty();
        let bits = match queues.announced {
            true => WRITER | QUEUED,
            false => self.bits_to_leave(),
        };
        let mut s = self.state.load(Ordering::Relaxed);
        loop {
            let to = (s & !(WRITER | QUEUED) | bits) + batch;
            match self.state.compare_exchange_weak(s, to, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => s = now,
            }
        }
        if batch > 0 {
            coop::spend_all();
        }
        let mut wakes = WakeList::new();
        wakes.push(self.let_writer_in(queues));
        loop {
            while !wakes.is_full() {
                if !held.admitted.grant_front_into(&mut wakes) {
                    drop(held);
                    return wakes.wake_all();
                }
            }
            drop(held);
            wakes.wake_all();
            held = self.queues.lock();
        }
    }

    #[cold]
    pub(super) fn poll_reader(&self, stage: &mut Stage<BatchNumber>, cx: &mut Context<'_>) -> Poll<()> {
        let there = match stage {
            Stage::New => self.enqueue_reader(stage, cx),
            Stage::Waiting(waiter) => self.look_reader(waiter, cx),
            Stage::Done => panic!("gopark: future polled after completion"),
        };
        if !there {
            return Poll::Pending;
        }
        *stage = Stage::Done;
        Poll::Ready(())
    }

    fn enqueue_reader(&self, stage: &mut Stage<BatchNumber>, cx: &mut Context<'_>) -> bool {
        *stage = Stage::Waiting(Waiter::new(TaskWaker::new(cx.waker()), AtomicUsize::new(0)));
        let Stage::Waiting(waiter) = &*stage else { unreachable!() };
        let mut queues = self.queues.lock();
        loop {
            let s = self.state.load(Ordering::Relaxed);
            if s & WRITER == 0 {
                if self.try_count() {
                    return true;
                }
            } else if s & QUEUED != 0 || self.swap(s, s | QUEUED, Ordering::Relaxed) {
                waiter.extra.store(queues.next_batch, Ordering::Relaxed);
                // SAFETY: new, so not linked; pinned in the future, whose drop takes it off.
                unsafe { queues.readers.push_back(waiter) };
                queues.waiting += 1;
                return false;
            }
        }
    }

    /// Whether the reader is in now. It keeps its place if not.
    fn look_reader(&self, waiter: &Waiter<BatchNumber>, cx: &mut Context<'_>) -> bool {
        // SAFETY: a reader that `collect_reader` does not find let in is linked in `readers`.
        unsafe { queue::look(&self.queues, waiter, cx, |q| &mut q.readers, |q, _| self.collect_reader(q, waiter)) }
    }

    /// Whether the queued reader has been let in: granted, or of a batch that was, in which case it is taken off
    /// `admitted`.
    fn collect_reader(&self, queues: &mut Queues, waiter: &Waiter<BatchNumber>) -> bool {
        if waiter.state() == queue::GRANTED {
            return true;
        }
        let admitted = waiter.extra.load(Ordering::Relaxed) != queues.next_batch;
        if admitted {
            // SAFETY: of an earlier batch and not granted, so linked in `admitted`.
            unsafe { queues.admitted.remove(waiter) };
        }
        admitted
    }

    #[cold]
    pub(super) fn cancel_reader(&self, waiter: &Waiter<BatchNumber>) {
        {
            let mut queues = self.queues.lock();
            if !self.collect_reader(&mut queues, waiter) {
                // SAFETY: not admitted, so linked in `readers`.
                unsafe { queues.readers.remove(waiter) };
                queues.waiting -= 1;
                if queues.bit() == 0 {
                    self.state.fetch_and(!QUEUED, Ordering::Relaxed);
                }
                return;
            }
        }
        self.leave();
    }

    #[cold]
    pub(super) fn poll_writer(&self, stage: &mut Stage<()>, cx: &mut Context<'_>) -> Poll<()> {
        let there = match stage {
            Stage::New if self.try_lock_again() => true,
            Stage::New => self.enqueue_writer(stage, cx),
            Stage::Waiting(waiter) => self.look_writer(waiter, cx),
            Stage::Done => panic!("gopark: future polled after completion"),
        };
        if !there {
            return Poll::Pending;
        }
        *stage = Stage::Done;
        Poll::Ready(())
    }

    fn enqueue_writer(&self, stage: &mut Stage<()>, cx: &mut Context<'_>) -> bool {
        *stage = Stage::Waiting(Waiter::new(TaskWaker::new(cx.waker()), ()));
        let Stage::Waiting(waiter) = &*stage else { unreachable!() };
        // Dropped in reverse order: the lock first.
        let mut own = None;
        let mut queues = self.queues.lock();
        loop {
            let s = self.state.load(Ordering::Relaxed);
            if s == 0 {
                if self.swap(0, WRITER, Ordering::Acquire) {
                    return true;
                }
            } else if self.swap(s, s & !SHARED | WRITER | QUEUED, Ordering::SeqCst) {
                // With readers only, this is the announcement.
                queues.announced |= s & WRITER == 0;
                // SAFETY: new, so not linked; pinned in the future, whose drop takes it off.
                unsafe { queues.writers.push_back(waiter) };
                if s & SHARED != 0 {
                    self.count_published();
                    // There may have been none.
                    own = self.let_writer_in(&mut queues);
                }
                return own.is_some();
            }
        }
    }

    /// Whether the writer has the lock now. It keeps its place if not.
    fn look_writer(&self, waiter: &Waiter<()>, cx: &mut Context<'_>) -> bool {
        // SAFETY: a waiter that is not granted is linked in `writers`.
        unsafe { queue::look(&self.queues, waiter, cx, |q| &mut q.writers, |_, _| waiter.state() == queue::GRANTED) }
    }

    #[cold]
    pub(super) fn cancel_writer(&self, waiter: &Waiter<()>) {
        let mut queues = self.queues.lock();
        if waiter.state() == queue::GRANTED {
            drop(queues);
            return self.unlock();
        }
        let announced = queues.announced && queues.writers.front().is_some_and(|front| std::ptr::eq(front, waiter));
        // SAFETY: not granted, seen under the lock, so linked in `writers`.
        unsafe { queues.writers.remove(waiter) };
        if announced {
            self.end_phase(queues);
        } else if queues.bit() == 0 {
            self.state.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }

    fn swap(&self, from: usize, to: usize, order: Ordering) -> bool {
        self.state.compare_exchange(from, to, order, Ordering::Relaxed).is_ok()
    }
}
