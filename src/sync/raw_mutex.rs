//! The state machine of a `Mutex`, without its value.

// How it works.
//
// Two words, and a queue of pinned waiters under its own lock.
//
// | `locked` | meaning | left by |
// |---|---|---|
// | `FREE` | free | an acquirer: compare-exchange, Acquire |
// | `LOCKED` | a guard, or a granted waiter, owns the lock | the owner's unlock: store, Release |
//
// | bit of `bits` | set means (changed under the queue's lock only) |
// |---|---|
// | `QUEUED` | the queue is not empty |
// | `WOKEN` | a waiter has been notified and has not tried yet |
// | `STARVING` | the waiter at the front has lost for more than `STARVE`: unlock hands over |
// | `UNBIASED` | an unlock executes a full fence after its store to `locked` |
//
// `WOKEN` and `STARVING` imply `QUEUED`, which implies `UNBIASED`. The waiter that `WOKEN` is set
// for is at the front, unless a waiter that was passed over has returned in front of it. The fence
// of `UNBIASED` is between the store to `locked` and the load of `bits`.
//
// An unlock that finds waiters does one of two things.
// - *Normal mode*: it frees the lock and notifies the waiter at the front, unless a waiter is
//   notified already (MX-08). The notified waiter competes with newcomers; if it loses, it waits
//   again, at its place (MX-02). So eight goroutines that contend for one lock run almost as fast
//   as one that has it alone: only a lost attempt costs a switch, not every lock. But the task of
//   the notified waiter may be busy elsewhere, and all waiters behind it would wait for a free
//   lock. So if it has waited for longer than `STARVE`, the unlock *passes it over*: the waiter
//   leaves the queue, and the next one is notified as well. When the passed-over waiter is polled,
//   it tries; if it loses, it goes back to the front. Reading the clock costs more than the unlock,
//   so only the first few unlocks after a notification check, and then one in eight.
// - *Hand-off*: the lock stays locked and the waiter at the front owns it; newcomers queue. Unlock
//   hands off if a waiter has starved for a millisecond (MX-03), and always outside gopark's
//   processors: there no budget makes a lock/unlock loop yield, so a waiter that has to compete
//   might never even be polled. (If a waiter queues in the middle of an unlock, and another thread
//   acquires the lock before the hand-off, `STARVING` makes the next unlock hand over.)
//
// No wake is lost. The argument is Dekker's, applied twice:
// - A waiter sets `QUEUED`, fence, tries the lock; an unlock frees the lock, fence, reads `QUEUED`.
//   So the waiter acquires the lock, or the unlock sees the waiter. A later waiter that finds
//   `QUEUED` set needs no fence: if it finds the lock held, the owner's unlock comes after the
//   fence of the waiter that set the bit.
// - A notified waiter that lost, or is dropped, clears `WOKEN`, fence, tries again; an unlock reads
//   `WOKEN` after its fence. So the waiter acquires the lock, or the unlock notifies a waiter.
// - A waiter that was passed over has left `WOKEN` to the next one. It queues like a new waiter.
//
// *Biased* locks. An unlock's fence is half of the cost of an uncontended lock. A lock without
// contention for `BIAS_AFTER` unlocks has none of the bits set. Its unlock is then a store and a
// load, with only the light half of an asymmetric fence in between, which restricts only the
// compiler. The first waiter revokes the bias: under the queue's lock it sets `UNBIASED`, executes
// the heavy half, a fence in every running thread of the process, and only then queues. After the
// heavy fence, an unlock that saw no bit has freed the lock visibly, and an unlock that sees
// `UNBIASED` executes the full fence. A heavy fence costs as much as a thousand unlocks, so
// `BIAS_AFTER` is a multiple of that.
//
// Rejected: handing over at every unlock. It is fair, but once two tasks wait, every lock costs a
// switch from then on: the queue never empties, because each owner returns to its end (the
// *convoy*). Also rejected: one word for all, unlocked by subtraction. It is simpler, but takes two
// locked instructions.

use std::ptr;
use std::task::Context;

use crate::clock::{self, Time};
use crate::coop::{self, Object};
use crate::holders;
use crate::loom::atomic::{AtomicU8, AtomicU16, Ordering};
use crate::loom::const_fn;
use crate::platform;
use crate::sync::fairness::{hands_over, starves, starves_at};
use crate::wait::acquire::{Acquired, Mode, Resource};
use crate::wait::queue::{self, Held, OwnWaiter, Queues, Waiter};
use crate::waker::TaskWaker;

const FREE: u8 = 0;
const LOCKED: u8 = 1;

const QUEUED: u8 = 1;
const WOKEN: u8 = 2;
const STARVING: u8 = 4;
const UNBIASED: u8 = 8;

/// Uncontended unlocks before the lock is biased. 0 under loom, so that both paths are explored.
const BIAS_AFTER: u16 = if cfg!(gopark_loom) { 0 } else { 8192 };

/// After a notification, the first `LOOKS` unlocks check whether to pass the notified waiter over;
/// later, every `LOOKS`th one.
const LOOKS: u16 = 8;

/// The time at which a waiter began to wait.
pub(super) type Since = Time;

impl Mode for Since {
    type Data = Since;
}

/// The only queue.
const Q: usize = 0;

type Queue<'a> = Held<'a, Since>;
type Own<'w, 'a> = OwnWaiter<'w, 'a, Since>;

/// The lock, without the value.
pub(crate) struct RawMutex {
    /// See the tables at the top of the file for `locked` and `bits`. Acquire and Release pair with
    /// each other. Relaxed accesses are ordered by fences, which pair as described there, or by the
    /// queue's lock.
    locked: AtomicU8,
    bits: AtomicU8,
    /// The number of uncontended unlocks before the lock is biased. While a waiter is notified, it
    /// counts the unlocks since the notification. A hint.
    unlocks_until_bias: AtomicU16,
    queue: Queues<Since>,
    object: Object,
}

impl RawMutex {
    const_fn! {
        pub(super) const fn new() -> Self {
            RawMutex {
                locked: AtomicU8::new(FREE),
                bits: AtomicU8::new(UNBIASED),
                unlocks_until_bias: AtomicU16::new(BIAS_AFTER),
                queue: Queues::new(()),
                object: Object::new(),
            }
        }
    }

    fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed) != FREE
    }

    /// Acquires the lock if `locked` is `free`.
    #[inline(always)]
    fn swap(&self, free: u8) -> bool {
        self.locked.compare_exchange(free, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn bits(&self) -> u8 {
        self.bits.load(Ordering::Relaxed)
    }

    /// Must be called with the queue's lock held; `_queue` proves that.
    fn set_bits(&self, _queue: &mut Queue<'_>, bits: u8) {
        self.bits.store(bits, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn unlock(acquired: Acquired<&Self, Since>) {
        acquired.into_resource().release();
    }

    #[inline]
    fn release(&self) {
        if self.bits.load(Ordering::Relaxed) == 0 {
            self.locked.store(FREE, Ordering::Release);
            // Pairs with the heavy fence in `revoke_bias`.
            platform::light_fence();
            if self.bits.load(Ordering::Relaxed) != 0 {
                self.unlocked();
            }
        } else {
            self.unlock_unbiased();
        }
    }

    #[inline(never)]
    fn unlock_unbiased(&self) {
        holders::released(self);
        let bits = self.bits();
        if bits & STARVING != 0 || bits & QUEUED != 0 && hands_over() {
            return self.hand_off(false);
        }
        if bits == UNBIASED {
            match self.unlocks_until_bias.load(Ordering::Relaxed) {
                0 => self.bias(),
                left => self.unlocks_until_bias.store(left - 1, Ordering::Relaxed),
            }
        }
        self.locked.store(FREE, Ordering::Release);
        self.unlocked();
    }

    /// Notifies a waiter, if there is one, after the lock was released.
    fn unlocked(&self) {
        // Pairs with the fences in `enqueue`, `settle` and `cancel`.
        platform::full_fence();
        let bits = self.bits();
        if bits & QUEUED == 0 {
            return;
        }
        if bits & STARVING != 0 || hands_over() {
            self.hand_off(true);
        } else if bits & WOKEN == 0 {
            self.notify_next();
        } else {
            let left = self.unlocks_until_bias.load(Ordering::Relaxed);
            self.unlocks_until_bias
                .store(left.checked_sub(1).unwrap_or(BIAS_AFTER), Ordering::Relaxed);
            if left % LOOKS == 0 || left > BIAS_AFTER.saturating_sub(LOOKS) {
                self.notify_another();
            }
        }
    }

    /// Makes the waiter at the front the owner of the lock. Either this thread owns the lock, or it
    /// has `freed` the lock and hands it off only if it is still free.
    #[cold]
    fn hand_off(&self, freed: bool) {
        let waker = {
            let mut queue = self.queue.lock();
            if queue.is_empty(Q) {
                // The last waiter has left meanwhile. New waiters need the queue's lock.
                if !freed {
                    self.locked.store(FREE, Ordering::Release);
                }
                None
            } else if !freed || self.try_acquire() {
                self.grant(&mut queue)
            } else {
                self.set_bits(&mut queue, self.bits() | STARVING);
                None
            }
        };
        waker.into_iter().for_each(TaskWaker::wake);
        // On a processor the new owner is next in its queue, and this goroutine must let it run
        // soon (MX-04).
        coop::spend_all();
    }

    /// Passes the lock, which this thread owns, to the waiter at the front.
    #[must_use]
    fn grant(&self, queue: &mut Queue<'_>) -> Option<TaskWaker> {
        let bits = queue.front(Q).map_or(0, |front| bits_to_clear(front, queue.is_only(Q, front)));
        // Before the grant: the new owner's unlock must not find the `WOKEN` of a waiter that has
        // left.
        self.set_bits(queue, self.bits() & !bits);
        queue.grant_front(Q).flatten()
    }

    /// Notifies the waiter at the front that the lock is free, if it still is.
    #[cold]
    fn notify_next(&self) {
        let waker = {
            let mut queue = self.queue.lock();
            // If the lock is held, its unlock notifies. If `WOKEN` is set, a notified waiter is
            // about to try.
            let unneeded = self.bits() & WOKEN != 0 || self.is_locked();
            if unneeded { None } else { self.notify_front(&mut queue) }
        };
        waker.into_iter().for_each(TaskWaker::wake);
    }

    /// Notifies another waiter that the lock is free, if it still is and the waiter at the front
    /// has starved.
    #[cold]
    fn notify_another(&self) {
        // Read before the lock is acquired.
        let now = clock::coarse_now();
        let waker = {
            let mut queue = self.queue.lock();
            let is_late =
                |front: &Waiter<Since>| !queue.is_only(Q, front) && starves_at(front.extra, now);
            if !self.is_locked() && queue.front(Q).is_some_and(is_late) {
                queue.pass_over(Q);
                self.notify_front(&mut queue)
            } else {
                None
            }
        };
        waker.into_iter().for_each(TaskWaker::wake);
    }

    #[must_use]
    fn notify_front(&self, queue: &mut Queue<'_>) -> Option<TaskWaker> {
        if queue.is_empty(Q) {
            return None;
        }
        self.unlocks_until_bias.store(BIAS_AFTER, Ordering::Relaxed);
        self.set_bits(queue, self.bits() | WOKEN);
        queue.notify_front(Q)
    }

    /// Biases the lock after a long uncontended period.
    #[cold]
    fn bias(&self) {
        // A biased unlock would not be recorded in `holders`.
        if !platform::has_light_fence() || holders::is_on() {
            return;
        }
        let mut queue = self.queue.lock();
        if self.bits() == UNBIASED {
            self.set_bits(&mut queue, 0);
        }
    }

    /// Makes every unlock execute a full fence.
    #[cold]
    fn revoke_bias(&self, queue: &mut Queue<'_>) {
        self.unlocks_until_bias.store(BIAS_AFTER, Ordering::Relaxed);
        self.set_bits(queue, UNBIASED);
        // Pairs with the light fence in `release`.
        platform::heavy_fence_or_sleep();
    }

    /// Returns true if the waiter is granted, or is notified and acquires the lock. If it is
    /// notified and fails, `last` makes it wait again.
    fn settle<'a>(
        &self,
        queue: &mut Queue<'a>,
        waiter: Own<'_, 'a>,
        starving: bool,
        last: bool,
    ) -> bool {
        match waiter.state() {
            queue::GRANTED => return true,
            queue::NOTIFIED => {}
            queue::PASSED => {
                let push = |queue: &mut Queue<'a>| queue.push_front(Q, waiter);
                if self.try_acquire() || last && self.link(queue, push) {
                    return true;
                }
                if last && starving {
                    self.set_bits(queue, self.bits() | STARVING);
                }
                return false;
            }
            _ => return false,
        }
        if self.lock_notified(queue, waiter) {
            return true;
        }
        if !last {
            return false;
        }
        let bits = self.bits() & !WOKEN | if starving { STARVING } else { 0 };
        self.set_bits(queue, bits);
        // Pairs with the fence in `unlocked`.
        platform::full_fence();
        self.lock_notified(queue, waiter)
    }

    /// Acquires the lock for the notified waiter and unlinks it, if the lock is free.
    fn lock_notified<'a>(&self, queue: &mut Queue<'a>, waiter: Own<'_, 'a>) -> bool {
        if !self.try_acquire() {
            return false;
        }
        let bits = WOKEN | STARVING | if queue.is_only(Q, &waiter) { QUEUED } else { 0 };
        self.set_bits(queue, self.bits() & !bits);
        queue.remove(waiter);
        true
    }

    /// Queues a waiter with `push`. Returns true instead if it acquires the lock for the waiter.
    fn link<'a>(&self, queue: &mut Queue<'a>, push: impl FnOnce(&mut Queue<'a>)) -> bool {
        if self.bits() == 0 {
            self.revoke_bias(queue);
        }
        let bits = self.bits();
        if bits & QUEUED == 0 {
            self.set_bits(queue, bits | QUEUED);
            // Pairs with the fence in `unlocked`.
            platform::full_fence();
        }
        if self.try_acquire() {
            self.set_bits(queue, bits);
            return true;
        }
        push(queue);
        false
    }

    /// Ends starvation if the new owner has not waited long: then no waiter behind it has.
    fn granted(&self, waiter: &Waiter<Since>) {
        if self.bits() & STARVING != 0 && !starves(waiter.extra) {
            let mut queue = self.queue.lock();
            self.set_bits(&mut queue, self.bits() & !STARVING);
        }
    }
}

impl<'a> Resource<'a, Since> for &'a RawMutex {
    #[inline]
    fn try_acquire(self) -> bool {
        !self.is_locked() && self.swap(FREE)
    }

    /// Tries without a prior load: a load that waits for an earlier locked instruction costs a
    /// fifth of a lock and unlock.
    #[inline]
    fn try_first(self) -> bool {
        self.swap(holders::free_mutex())
    }

    fn recorded(self) -> Option<usize> {
        Some(ptr::from_ref(self).addr())
    }

    fn extra(self) -> Since {
        Since::now()
    }

    fn object(self) -> Option<&'a Object> {
        Some(&self.object)
    }

    #[cold]
    fn enqueue(self, waiter: Own<'_, 'a>) -> bool {
        self.link(&mut self.queue.lock(), |queue| queue.push_back(Q, waiter))
    }

    #[cold]
    fn look(self, waiter: Own<'_, 'a>, cx: &mut Context<'_>) -> bool {
        let notified = matches!(waiter.state(), queue::NOTIFIED | queue::PASSED);
        // The clock is read outside of the lock. A waiter that is not notified now has not failed
        // to acquire the lock yet.
        let starving = notified && starves(waiter.extra);
        let settle = |queue: &mut _, last| self.settle(queue, waiter, starving, last);
        let there = self.queue.look(waiter, cx, settle);
        if there && waiter.state() == queue::GRANTED {
            self.granted(&waiter);
        }
        there
    }

    #[cold]
    fn cancel(self, waiter: Own<'_, 'a>) {
        let waker = {
            let mut queue = self.queue.lock();
            let state = waiter.state();
            if state == queue::GRANTED {
                drop(queue);
                return self.release();
            }
            if state == queue::PASSED {
                return;
            }
            let bits = bits_to_clear(&waiter, queue.is_only(Q, &waiter));
            queue.remove(waiter);
            self.set_bits(&mut queue, self.bits() & !bits);
            if state != queue::NOTIFIED {
                return;
            }
            // Pairs with the fence in `unlocked`. The next waiter is notified instead; if the lock
            // is held, its unlock does that.
            platform::full_fence();
            if self.is_locked() { None } else { self.notify_front(&mut queue) }
        };
        waker.into_iter().for_each(TaskWaker::wake);
    }
}

/// Returns the bits to clear when a waiter leaves the queue.
fn bits_to_clear(waiter: &Waiter<Since>, only: bool) -> u8 {
    let woken = if waiter.state() == queue::NOTIFIED { WOKEN } else { 0 };
    woken | if only { QUEUED | STARVING } else { 0 }
}
