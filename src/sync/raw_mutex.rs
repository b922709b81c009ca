//! What a `Mutex` is without its value.

// How it works.
//
// Two words, and a queue of pinned waiters beside them, under a lock of its own.
//
// | `locked` | meaning | left by |
// |---|---|---|
// | false | free | who locks: compare-exchange, Acquire |
// | true | a guard, or a granted waiter, owns the lock | the owner's unlock: store, Release |
//
// | bit of `bits` | set means (changed under the queue's lock only) |
// |---|---|
// | `QUEUED` | the queue is not empty |
// | `WOKEN` | the waiter at the front has been told to try, and has not tried yet |
// | `STARVING` | that waiter has lost for more than `STARVE`: unlock hands over |
// | `LOUD` | an unlock puts a full fence between its store to `locked` and its look at `bits` |
// | `FENCED` | every unlock that has not done so is over |
//
// `WOKEN` and `STARVING` imply `QUEUED`, which implies `FENCED`, which implies `LOUD`.
//
// An unlock that finds waiters does one of two things.
// - *Normal mode*: it frees the lock and tells the one at the front, unless one is told already (MX-08). The told one
//   competes with newcomers; if it loses, it waits again, where it stands (MX-02). Eight goroutines that fight for one
//   lock so run at the speed of one that has it alone: the loser's turn costs a switch, not every turn.
// - *Hand-off*: the lock stays locked and the one at the front owns it; newcomers queue. That is the rule when
//   somebody has starved for a millisecond (MX-03), and always outside of gopark's processors: there no budget makes a
//   lock/unlock loop yield, so a waiter that has to compete might never even be polled. (If the waiter came in the
//   midst of the unlock, and another thread was quicker than the hand-off, `STARVING` sees to it that this was once.)
//
// No wake is lost, which is Dekker's argument twice.
// - A waiter sets `QUEUED`, fence, tries the lock; an unlock frees the lock, fence, looks for `QUEUED`. So the waiter
//   gets the lock, or the unlock sees the waiter. A later waiter that finds `QUEUED` set needs no fence: a lock that it
//   finds taken is taken by somebody whose unlock will come after the fence of the one who set it.
// - A told waiter that lost, or is dropped, clears `WOKEN`, fence, tries again; an unlock looks for `WOKEN` after its
//   fence. So the waiter gets the lock, or the unlock tells somebody.
//
// *Quiet* locks. An unlock's fence is half of what an uncontended lock costs. A lock that has not been fought over for
// `PATIENCE` unlocks has none of the bits, and then unlocks with a store, and a look, and nothing between the two but
// the light half of an asymmetric fence, which only stops the compiler. The first waiter makes the lock loud: it sets
// `LOUD`, then executes the heavy half, a fence in every running thread of the process, then sets `FENCED`; only then
// it queues. After the heavy fence, an unlock that saw nothing has long freed the lock, and one that sees `LOUD` does
// the full fence. A heavy fence costs as much as a thousand unlocks; so patience begins there, and doubles.
//
// Rejected: handing over at every unlock. Fair, but once two wait, every lock costs a switch for ever: the queue never
// empties, since each owner comes back to its end (the *convoy*). Rejected too: one word for all, unlocked by
// subtraction. It is simpler, and takes two locked instructions.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::coop;
use crate::lock::{Lock, LockGuard};
use crate::loom::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use crate::loom::const_fn;
use crate::platform;
use crate::sync::fairness::{hands_over, starves};
use crate::wait::queue::{self, Queue, Stage, Waiter};
use crate::waker::TaskWaker;

const QUEUED: u8 = 1;
const WOKEN: u8 = 2;
const STARVING: u8 = 4;
const LOUD: u8 = 8;
const FENCED: u8 = 16;

/// How many unlocks in peace make a lock quiet, the first time. None under loom, so that both ways are explored.
const PATIENCE: u16 = if cfg!(gopark_loom) { 0 } else { 1024 };
/// How often that doubles.
const DOUBLINGS: u16 = 5;

/// When a waiter began to wait.
pub(super) type Since = Instant;

/// The lock without a value.
pub(super) struct RawMutex {
    /// This and `bits` are the tables at the top of the file. Acquire and Release pair with each other; what is Relaxed
    /// is ordered by fences, which pair as the text there says, or by the queue's lock.
    locked: AtomicBool,
    bits: AtomicU8,
    /// How many unlocks there are yet to be before the lock is quiet. A hint.
    calm: AtomicU16,
    /// How often it has been made loud; under the queue's lock. At its maximum, it stays so.
    turns: AtomicU16,
    queue: Lock<Queue<Since>>,
}

impl RawMutex {
    const_fn! {
        pub(super) const fn new() -> Self {
            RawMutex {
                locked: AtomicBool::new(false),
                bits: AtomicU8::new(LOUD | FENCED),
                calm: AtomicU16::new(PATIENCE),
                turns: AtomicU16::new(0),
                queue: Lock::new(Queue::new()),
            }
        }
    }

    /// Without a look before: that a load waits for the locked instruction before it costs a fifth of lock and unlock.
    #[inline]
    pub(super) fn try_lock_at_once(&self) -> bool {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        !self.locked.load(Ordering::Relaxed) && self.try_lock_at_once()
    }

    fn bits(&self) -> u8 {
        self.bits.load(Ordering::Relaxed)
    }

    /// With the queue's lock held, which `_queue` stands for.
    fn set_bits(&self, _queue: &mut Queue<Since>, bits: u8) {
        self.bits.store(bits, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn unlock(&self) {
        if self.bits.load(Ordering::Relaxed) == 0 {
            self.locked.store(false, Ordering::Release);
            // Pairs with the heavy fence in `make_loud`.
            platform::light_fence();
            if self.bits.load(Ordering::Relaxed) != 0 {
                self.unlocked();
            }
        } else {
            self.unlock_loud();
        }
    }

    #[inline(never)]
    fn unlock_loud(&self) {
        let bits = self.bits();
        if bits & STARVING != 0 || bits & QUEUED != 0 && hands_over() {
            return self.hand_off();
        }
        if bits == LOUD | FENCED {
            match self.calm.load(Ordering::Relaxed) {
                0 => self.make_quiet(),
                calm => self.calm.store(calm - 1, Ordering::Relaxed),
            }
        }
        self.locked.store(false, Ordering::Release);
        self.unlocked();
    }

    /// The lock has been freed: is there somebody to know?
    fn unlocked(&self) {
        // Pairs with the fences in `enqueue`, `settle` and `cancel`.
        platform::full_fence();
        let bits = self.bits();
        if bits & QUEUED == 0 {
            return;
        }
        if bits & STARVING != 0 || hands_over() {
            self.hand_off_late();
        } else if bits & WOKEN == 0 {
            self.tell_next();
        }
    }

    /// Makes the waiter at the front the owner.
    #[cold]
    fn hand_off(&self) {
        let waker = {
            let mut queue = self.queue.lock();
            if queue.is_empty() {
                // The last one has left meanwhile. Who comes now has to wait for the queue's lock.
                self.locked.store(false, Ordering::Release);
                None
            } else {
                self.grant(&mut queue)
            }
        };
        woken_to_own(waker);
    }

    /// As `hand_off`, if the lock is still free.
    #[cold]
    fn hand_off_late(&self) {
        let waker = {
            let mut queue = self.queue.lock();
            if queue.is_empty() {
                None
            } else if self.try_lock() {
                self.grant(&mut queue)
            } else {
                let bits = self.bits() | STARVING;
                self.set_bits(&mut queue, bits);
                None
            }
        };
        woken_to_own(waker);
    }

    /// The lock, which is this thread's, becomes that of the one at the front.
    #[must_use]
    fn grant(&self, queue: &mut Queue<Since>) -> Option<TaskWaker> {
        let bits = queue.front().map_or(0, |front| gone(front, queue.is_only(front)));
        // Before the grant: the new owner's unlock must not find a `WOKEN` that is nobody's.
        self.set_bits(queue, self.bits() & !bits);
        queue.grant_front().into_waker()
    }

    /// Tells the waiter at the front that the lock is free, if it still is.
    #[cold]
    fn tell_next(&self) {
        let waker = {
            let mut queue = self.queue.lock();
            // If it is taken, the next unlock sees to it; if one is told, somebody is on the way.
            let vain = self.bits() & WOKEN != 0 || self.locked.load(Ordering::Relaxed);
            if vain { None } else { self.tell_front(&mut queue) }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    #[must_use]
    fn tell_front(&self, queue: &mut Queue<Since>) -> Option<TaskWaker> {
        if queue.is_empty() {
            return None;
        }
        self.set_bits(queue, self.bits() | WOKEN);
        queue.notify_front()
    }

    /// The owner has seen nobody for long.
    #[cold]
    fn make_quiet(&self) {
        if !platform::has_light_fence() {
            return;
        }
        let mut queue = self.queue.lock();
        if self.bits() == LOUD | FENCED && self.turns.load(Ordering::Relaxed) != u16::MAX {
            self.set_bits(&mut queue, 0);
        }
    }

    /// The queue's lock, with `FENCED` set.
    fn lock_loud(&self) -> LockGuard<'_, Queue<Since>> {
        loop {
            let queue = self.queue.lock();
            if self.bits() & FENCED != 0 {
                return queue;
            }
            self.make_loud(queue);
        }
    }

    #[cold]
    fn make_loud(&self, mut queue: LockGuard<'_, Queue<Since>>) {
        if self.bits() == 0 {
            let turns = self.turns.load(Ordering::Relaxed);
            self.turns.store(turns + 1, Ordering::Relaxed);
            self.calm.store(PATIENCE << turns.min(DOUBLINGS), Ordering::Relaxed);
            self.set_bits(&mut queue, LOUD);
        }
        let turn = self.turns.load(Ordering::Relaxed);
        drop(queue);
        // Pairs with the light fence in `unlock`.
        if !platform::heavy_fence() {
            // A kernel that takes the fence back: every store of an unlock has long left its core by then.
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut queue = self.queue.lock();
        // Unless it has become quiet and loud again meanwhile.
        if self.bits() & LOUD != 0 && self.turns.load(Ordering::Relaxed) == turn {
            let bits = self.bits() | FENCED;
            self.set_bits(&mut queue, bits);
        }
    }

    /// Joins the queue, or looks whether the turn has come.
    #[cold]
    pub(super) fn poll(&self, stage: &mut Stage<Since>, cx: &mut Context<'_>) -> Poll<()> {
        match stage {
            Stage::New => self.enqueue(stage, cx),
            Stage::Waiting(waiter) => {
                if !self.look(waiter, cx) {
                    return Poll::Pending;
                }
                *stage = Stage::Done;
                Poll::Ready(())
            }
            Stage::Done => panic!("gopark: future polled after completion"),
        }
    }

    fn enqueue(&self, stage: &mut Stage<Since>, cx: &mut Context<'_>) -> Poll<()> {
        *stage = Stage::Waiting(Waiter::new(TaskWaker::new(cx.waker()), Instant::now()));
        let Stage::Waiting(waiter) = &*stage else { unreachable!() };
        {
            let mut queue = self.lock_loud();
            let bits = self.bits();
            if bits & QUEUED == 0 {
                self.set_bits(&mut queue, bits | QUEUED);
                // Pairs with the fence in `unlocked`.
                platform::full_fence();
            }
            if !self.try_lock() {
                // SAFETY: new, so not linked; pinned in the future, whose drop takes it off.
                unsafe { queue.push_back(waiter) };
                return Poll::Pending;
            }
            self.set_bits(&mut queue, bits);
        }
        // Free after all. The waiter has not been linked.
        *stage = Stage::Done;
        Poll::Ready(())
    }

    /// Whether the waiter has the lock now. It keeps its place if not.
    fn look(&self, waiter: &Waiter<Since>, cx: &mut Context<'_>) -> bool {
        let told = waiter.state() == queue::NOTIFIED;
        // The clock is read outside of the lock. Not told now, it has not lost yet.
        let starving = told && starves(waiter.extra);
        // SAFETY: a waiter that is not granted, which `settle` sees under the lock, is linked in the queue.
        let there = unsafe {
            queue::look(
                &self.queue,
                waiter,
                cx,
                |queue| queue,
                |queue, last| self.settle(queue, waiter, starving, last),
            )
        };
        if there && waiter.state() == queue::GRANTED {
            self.granted(waiter);
        }
        there
    }

    /// Whether the waiter is granted, or told and takes the lock. If it was told and lost, `last` makes it one that
    /// waits.
    fn settle(&self, queue: &mut Queue<Since>, waiter: &Waiter<Since>, starving: bool, last: bool) -> bool {
        match waiter.state() {
            queue::GRANTED => return true,
            queue::NOTIFIED => {}
            _ => return false,
        }
        if self.take_told(queue, waiter) {
            return true;
        }
        if !last {
            return false;
        }
        let bits = self.bits() & !WOKEN | if starving { STARVING } else { 0 };
        self.set_bits(queue, bits);
        // Pairs with the fence in `unlocked`.
        platform::full_fence();
        self.take_told(queue, waiter)
    }

    /// The told waiter takes the lock and leaves the queue, if the lock is free.
    fn take_told(&self, queue: &mut Queue<Since>, waiter: &Waiter<Since>) -> bool {
        if !self.try_lock() {
            return false;
        }
        let bits = WOKEN | STARVING | if queue.is_only(waiter) { QUEUED } else { 0 };
        self.set_bits(queue, self.bits() & !bits);
        // SAFETY: told, so linked in this queue.
        unsafe { queue.remove(waiter) };
        true
    }

    /// Ends starvation when the one who was handed the lock has not waited long: then nobody behind it has.
    fn granted(&self, waiter: &Waiter<Since>) {
        if self.bits() & STARVING != 0 && !starves(waiter.extra) {
            let mut queue = self.queue.lock();
            let bits = self.bits() & !STARVING;
            self.set_bits(&mut queue, bits);
        }
    }

    /// The future of `waiter` is being dropped.
    #[cold]
    pub(super) fn cancel(&self, waiter: &Waiter<Since>) {
        let waker = {
            let mut queue = self.queue.lock();
            let state = waiter.state();
            if state == queue::GRANTED {
                drop(queue);
                return self.unlock();
            }
            let bits = gone(waiter, queue.is_only(waiter));
            // SAFETY: not granted, seen under the lock, so linked in this queue.
            unsafe { queue.remove(waiter) };
            let bits = self.bits() & !bits;
            self.set_bits(&mut queue, bits);
            if state == queue::NOTIFIED {
                // Pairs with the fence in `unlocked`. What it was told is for the next now; with the lock taken, the
                // unlock sees to that.
                platform::full_fence();
                if self.locked.load(Ordering::Relaxed) { None } else { self.tell_front(&mut queue) }
            } else {
                None
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Somebody has been made the owner; `None`: nobody, or its wake is on the way already.
fn woken_to_own(waker: Option<TaskWaker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
    // On a processor the new owner is next in its queue, and this goroutine is to let it run soon (MX-04).
    coop::spend_all();
}

/// The bits that go with a waiter that leaves the queue.
fn gone(waiter: &Waiter<Since>, only: bool) -> u8 {
    let told = if waiter.state() == queue::NOTIFIED { WOKEN } else { 0 };
    told | if only { QUEUED | STARVING } else { 0 }
}
