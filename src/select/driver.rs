//! A select in progress, whatever its cases.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use super::list::{Cases, Never, Role};
use crate::coop::{self, Reason};
use crate::lock::RawLock;
use crate::loom;
use crate::random;
use crate::wait::case::ChannelCase;
use crate::wait::waiter::{Token, TokenState, Woken};
use crate::waker::TaskWaker;

/// A select in progress.
///
/// # Cancellation
///
/// Dropping it removes every case from its queue. A receive that won meanwhile passes its value on, as a dropped
/// receive does; a send that was taken stands.
#[doc(hidden)]
#[must_use = "a select does nothing unless awaited"]
pub struct Selecting<C: Cases> {
    /// Dropped when the stage is `Over`.
    cases: ManuallyDrop<C>,
    token: Token,
    site: &'static Location<'static>,
    /// How many cases are channel operations, and how many are others, of those that are not switched off.
    channel_cases: u32,
    other_cases: u32,
    stage: Stage,
    biased: bool,
    _pin: PhantomPinned,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    /// The channel operations are queued.
    Parked,
    Over,
}

const POLLED_AFTER_COMPLETION: &str = "gopark: select polled after completion";

/// With fewer cases, checking all of them costs less than a wrong guess.
const MANY: usize = 8;

/// The cases that are to be tried: a bit for each of the first ones, the others by number.
struct Candidates {
    biased: bool,
    count: usize,
    first: u64,
    others: Vec<u32>,
}

impl Candidates {
    /// With room for so many cases, because nothing may be allocated while locks are held.
    #[inline(always)]
    fn new(biased: bool, cases: usize) -> Self {
        let others = Vec::with_capacity(cases.saturating_sub(u64::BITS as usize));
        Self { biased, count: 0, first: 0, others }
    }

    /// Adds a case. Cases must be added in ascending order.
    #[inline(always)]
    fn push(&mut self, index: usize) {
        self.count += 1;
        if index < u64::BITS as usize {
            self.first |= 1 << index;
        } else {
            self.others.push(index as u32);
        }
    }

    /// Removes a random case, or the first one if the select is biased.
    #[inline(always)]
    fn draw(&mut self) -> Option<usize> {
        self.count = self.count.checked_sub(1)?;
        let mut before = if self.biased || self.count == 0 { 0 } else { random::below(self.count + 1) };
        let mut rest = self.first;
        while rest != 0 {
            if before == 0 {
                let index = rest.trailing_zeros();
                self.first ^= 1 << index;
                return Some(index as usize);
            }
            before -= 1;
            rest &= rest - 1;
        }
        let index = if self.biased { self.others.remove(0) } else { self.others.swap_remove(before) };
        Some(index as usize)
    }
}

/// The locks of a select's channels, in the order of their addresses, in which they are acquired. A few are kept
/// inline, more on the heap.
struct Locks {
    count: usize,
    few: [*const RawLock; FEW],
    /// All of them, if there may be more than `FEW`.
    many: Vec<*const RawLock>,
}

const FEW: usize = 16;

impl Locks {
    #[inline(always)]
    fn new(room: u32) -> Self {
        let many = Vec::with_capacity(if room as usize > FEW { room as usize } else { 0 });
        Self { count: 0, few: [ptr::null(); FEW], many }
    }

    /// # Safety
    ///
    /// `lock` outlives the list.
    #[inline(always)]
    unsafe fn push(&mut self, lock: *const RawLock) {
        if self.many.capacity() == 0 {
            self.few[self.count] = lock;
            self.count += 1;
        } else {
            self.many.push(lock);
        }
    }

    #[inline(always)]
    fn sort(&mut self) {
        if self.many.is_empty() { &mut self.few[..self.count] } else { &mut self.many[..] }.sort_unstable();
    }

    /// Calls `f` for each once, in order.
    #[inline(always)]
    fn each(&self, f: impl Fn(&RawLock)) {
        let mut last: *const RawLock = ptr::null();
        for &lock in if self.many.is_empty() { &self.few[..self.count] } else { &self.many[..] } {
            if lock != last {
                last = lock;
                // SAFETY: `push` was promised that it lives.
                f(unsafe { &*lock });
            }
        }
    }

    #[inline(always)]
    fn lock(&self) {
        self.each(RawLock::lock);
    }

    #[inline(always)]
    fn unlock(&self) {
        // SAFETY: taken by `lock`, of the same list.
        self.each(|lock| unsafe { lock.unlock() });
    }
}

impl<C: Cases> Selecting<C> {
    #[inline(always)]
    #[track_caller]
    pub fn new(biased: bool, cases: C) -> Self {
        Self {
            cases: ManuallyDrop::new(cases),
            token: Token::new(),
            site: Location::caller(),
            channel_cases: 0,
            other_cases: 0,
            stage: Stage::First,
            biased,
            _pin: PhantomPinned,
        }
    }

    /// Commits a case that is ready, or none if there was one instant when none was: a select with a `default`.
    #[inline]
    pub fn try_now(self) -> Option<C::Output> {
        let this = pin!(self);
        // SAFETY: nothing is moved out of the pinned select.
        let this = unsafe { this.get_unchecked_mut() };
        coop::exempt(|| {
            let mut cx = coop::try_once();
            if let Some(output) = this.try_each(&mut cx) {
                return Some(output);
            }
            if this.channel_cases < 2 && !loom::MODELLED {
                // One channel has been checked, at one instant.
                return None;
            }
            let mut locks = Locks::new(this.channel_cases);
            let candidates = this.lock_all(&mut locks);
            let found = this.attempt(candidates);
            locks.unlock();
            found.map(|(index, woken)| {
                woken.wake();
                this.output(index)
            })
        })
    }

    #[inline(always)]
    fn cases(&mut self) -> Pin<&mut C> {
        // SAFETY: `cases` is pinned with `self`, whose owner is pinned wherever this is called from.
        unsafe { Pin::new_unchecked(&mut *self.cases) }
    }

    /// Calls `f` for each channel operation, by its number.
    #[inline(always)]
    fn each_channel(&mut self, mut f: impl FnMut(usize, &dyn ChannelCase)) {
        self.cases().each(0, &mut |index, role, raw| {
            if let (Role::Channel, Some(raw)) = (*role, raw) {
                f(index, raw);
            }
        });
    }

    /// Step 1.
    ///
    /// If there are many cases, a random one is tried before all are checked: it is likely to be ready if most are.
    /// That favours no case.
    #[inline(always)]
    fn try_each(&mut self, cx: &mut Context<'_>) -> Option<C::Output> {
        let count = self.cases.count();
        let mut tried = None;
        if count > MANY && !self.biased {
            let index = random::below(count);
            let raw = self.cases.raw(index).filter(|raw| raw.is_unpolled());
            if raw.is_none_or(ChannelCase::seems_ready) && self.cases().poll_case(index, cx) {
                return Some(self.output(index));
            }
            tried = Some(index);
        }
        let mut candidates = Candidates::new(self.biased, self.cases.count());
        let (mut channel_cases, mut other_cases) = (0, 0);
        self.cases().each(0, &mut |index, role, raw| {
            if *role == Role::Off {
                return;
            }
            match raw.filter(|raw| raw.is_unpolled()) {
                Some(raw) => {
                    *role = Role::Channel;
                    channel_cases += 1;
                    if raw.seems_ready() {
                        candidates.push(index);
                    }
                }
                None => {
                    *role = Role::Other;
                    other_cases += 1;
                    if tried != Some(index) {
                        candidates.push(index);
                    }
                }
            }
        });
        (self.channel_cases, self.other_cases) = (channel_cases, other_cases);
        while let Some(index) = candidates.draw() {
            if self.cases().poll_case(index, cx) {
                return Some(self.output(index));
            }
        }
        None
    }

    /// Locks the channels, for which `locks` has room, and returns an empty list with room for the cases. `locks` is not
    /// returned, because that would copy it.
    #[inline(always)]
    fn lock_all(&mut self, locks: &mut Locks) -> Candidates {
        // SAFETY: a channel lives as long as an operation on it, which lives as long as this call's caller does.
        self.each_channel(|_, raw| unsafe { locks.push(raw.lock()) });
        locks.sort();
        let candidates = Candidates::new(self.biased, self.cases.count());
        locks.lock();
        candidates
    }

    /// Tries the channel operations, with all their locks held. `candidates` must be empty.
    #[inline(always)]
    fn attempt(&mut self, mut candidates: Candidates) -> Option<(usize, Woken)> {
        self.each_channel(|index, raw| {
            if raw.seems_ready() {
                candidates.push(index);
            }
        });
        while let Some(index) = candidates.draw() {
            let raw = self.cases.raw(index).expect("only channel operations are asked");
            // SAFETY: all locks are held, and no case has won yet.
            if let Some(woken) = unsafe { raw.attempt(&raw const self.token) } {
                return Some((index, woken));
            }
        }
        None
    }

    /// Removes all channel operations from their queues but the one at address `winner`, and returns the number of
    /// that.
    #[inline(always)]
    fn dequeue_all(&mut self, winner: Option<usize>) -> Option<usize> {
        let mut number = None;
        self.each_channel(|index, raw| {
            if winner == Some(raw.waiter()) {
                number = Some(index);
                return;
            }
            let _held = raw.lock().guard();
            // SAFETY: the lock is held.
            unsafe { raw.dequeue() };
        });
        number
    }

    /// Returns the output of the winner after dropping the losers. A loser's destructor may panic, so the output must
    /// not be in the return slot by then, because the compiler would leak it.
    #[inline(always)]
    fn output(&mut self, index: usize) -> C::Output {
        self.stage = Stage::Over;
        let losers = Losers(&mut self.cases);
        // SAFETY: as in `cases`.
        let output = unsafe { Pin::new_unchecked(&mut **losers.0) }.output(index);
        drop(losers);
        output
    }

    /// The first poll: steps 1 and 2.
    #[inline(always)]
    fn start(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        if !coop::poll_ready(cx) {
            return Poll::Pending;
        }
        if let Some(output) = self.try_each(cx) {
            coop::spend();
            return Poll::Ready(output);
        }
        // A clone may run foreign code: outside the locks.
        let waker = TaskWaker::new(cx.waker());
        // SAFETY: no case is queued yet.
        drop(unsafe { self.token.set_waker(waker) });
        let mut locks = Locks::new(self.channel_cases);
        let candidates = self.lock_all(&mut locks);
        if let Some((index, woken)) = self.attempt(candidates) {
            locks.unlock();
            woken.wake();
            coop::spend();
            return Poll::Ready(self.output(index));
        }
        if coop::is_last(cx.waker()) {
            locks.unlock();
            return Poll::Pending;
        }
        let token = NonNull::from(&self.token);
        let mut watchers = Vec::new();
        self.each_channel(|_, raw| {
            // SAFETY: all locks are held; the case was unpolled in `try_each`, and is pinned with `self`, as the token
            // is;
            // `drop` takes it out.
            let woken = unsafe { raw.enqueue(token) };
            if !woken.is_empty() {
                watchers.push(woken);
            }
        });
        self.stage = Stage::Parked;
        locks.unlock();
        if !watchers.is_empty() {
            watchers.into_iter().for_each(Woken::wake);
        }
        self.park(cx)
    }

    fn park(&self, cx: &Context<'_>) -> Poll<C::Output> {
        let cases = self.channel_cases + self.other_cases;
        coop::park_at(cx, self.site, if cases == 0 { Reason::SelectNoCases } else { Reason::Select });
        Poll::Pending
    }

    /// A later poll: step 3, if a channel operation was served.
    #[inline(always)]
    fn resume(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        loop {
            match self.token.state() {
                TokenState::Fired(waiter) => return Poll::Ready(self.finish(waiter)),
                TokenState::Claimed(waiter) => return Poll::Ready(self.finish_claimed(waiter)),
                TokenState::Waiting => match self.keep_waiting(cx) {
                    Some(poll) => return poll,
                    None => continue,
                },
                // A destructor panicked in the poll that ended it.
                TokenState::Done => panic!("{POLLED_AFTER_COMPLETION}"),
            }
        }
    }

    #[inline(always)]
    fn finish(&mut self, waiter: usize) -> C::Output {
        let winner = self.dequeue_all(Some(waiter)).expect("a winner is one of the cases");
        self.output(winner)
    }

    /// Finishes a select whose winner is claimed and not yet complete: it is complete once its channel's lock is free.
    #[cold]
    #[inline(never)]
    fn finish_claimed(&mut self, waiter: usize) -> C::Output {
        self.each_channel(|_, raw| {
            if raw.waiter() == waiter {
                drop(raw.lock().guard());
            }
        });
        self.finish(waiter)
    }

    /// Polls the other cases, after a wake-up that no channel caused. Returns `None` if a channel operation won
    /// meanwhile.
    #[cold]
    #[inline(never)]
    fn keep_waiting(&mut self, cx: &mut Context<'_>) -> Option<Poll<C::Output>> {
        if !self.token.begin_poll() {
            return None;
        }
        let last = coop::is_last(cx.waker());
        // SAFETY: the token is busy (I4).
        if !last && !unsafe { self.token.will_wake(cx) } {
            let waker = TaskWaker::new(cx.waker());
            // SAFETY: as above.
            drop(unsafe { self.token.set_waker(waker) });
        }
        let mut candidates = Candidates::new(self.biased, self.cases.count());
        if self.other_cases != 0 {
            self.cases().each(0, &mut |index, role, _| {
                if *role == Role::Other {
                    candidates.push(index);
                }
            });
        }
        while let Some(index) = candidates.draw() {
            if self.cases().poll_case(index, cx) {
                self.token.end();
                self.dequeue_all(None);
                return Some(Poll::Ready(self.output(index)));
            }
        }
        if last {
            self.withdraw();
            return Some(Poll::Pending);
        }
        if self.token.end_poll() {
            return Some(self.park(cx));
        }
        // An offer went by.
        let mut locks = Locks::new(self.channel_cases);
        let candidates = self.lock_all(&mut locks);
        self.token.resume();
        let Some((index, woken)) = self.attempt(candidates) else {
            // The offer was withdrawn or taken by another receiver. A stream does not queue, so one that passed by
            // while this select was busy waits for a send to wake it: its wake was missed. Later ones find the waker.
            let mut missed_wakes = Vec::new();
            self.each_channel(|_, raw| {
                // SAFETY: all locks are held.
                let woken = unsafe { raw.renotify(cx) };
                if !woken.is_empty() {
                    missed_wakes.push(woken);
                }
            });
            locks.unlock();
            missed_wakes.into_iter().for_each(Woken::wake);
            return Some(self.park(cx));
        };
        self.token.end();
        locks.unlock();
        woken.wake();
        let winner = self.cases.raw(index).map(|raw| raw.waiter());
        self.dequeue_all(winner);
        Some(Poll::Ready(self.output(index)))
    }

    /// Removes the channel operations from their queues, while the token is busy. Offers missed meanwhile are queued at
    /// their own channels.
    fn withdraw(&mut self) {
        let mut locks = Locks::new(self.channel_cases);
        self.lock_all(&mut locks);
        // SAFETY: all locks are held.
        self.each_channel(|_, raw| unsafe { raw.dequeue() });
        self.token.resume();
        self.stage = Stage::First;
        locks.unlock();
    }

    /// Removes every case from its queue. A case that has won is handled by its own drop.
    #[cold]
    #[inline(never)]
    fn abandon(&mut self) {
        let claimed = match self.token.end() {
            TokenState::Claimed(waiter) => Some(waiter),
            TokenState::Waiting | TokenState::Fired(_) | TokenState::Done => None,
        };
        self.each_channel(|_, raw| {
            // A winner that is still being completed is complete once the lock was free.
            let _held = raw.lock().guard();
            if claimed != Some(raw.waiter()) {
                // SAFETY: the lock is held.
                unsafe { raw.dequeue() };
            }
        });
    }
}

impl<C: Cases> Future for Selecting<C> {
    type Output = C::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        // SAFETY: nothing is moved out of the pinned select.
        let this = unsafe { self.get_unchecked_mut() };
        match this.stage {
            Stage::First => this.start(cx),
            Stage::Parked => this.resume(cx),
            Stage::Over => panic!("{POLLED_AFTER_COMPLETION}"),
        }
    }
}

/// Drops the cases of a finished select, even if taking its output panics.
struct Losers<'a, C: Cases>(&'a mut ManuallyDrop<C>);

impl<C: Cases> Drop for Losers<'_, C> {
    #[inline(always)]
    fn drop(&mut self) {
        // True only if no case has a place in a queue (I5), a waker or a value.
        if !self.0.drop_is_noop() {
            // SAFETY: made once for a select, when its stage becomes `Over`, and nothing touches the cases afterwards.
            unsafe { ManuallyDrop::drop(self.0) }
        }
    }
}

impl<C: Cases> Drop for Selecting<C> {
    #[inline]
    fn drop(&mut self) {
        if self.stage == Stage::Over {
            return;
        }
        if self.stage == Stage::Parked {
            self.abandon();
        }
        drop(Losers(&mut self.cases));
    }
}

impl<C: Cases> fmt::Debug for Selecting<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selecting").field("site", &self.site).finish_non_exhaustive()
    }
}

// SAFETY: the token is atomic, and its waker is the owner's or the claimer's alone (I4); the cases answer for
// themselves.
unsafe impl<C: Cases + Send> Send for Selecting<C> {}
// SAFETY: a shared `Selecting` gives access to nothing.
unsafe impl<C: Cases + Sync> Sync for Selecting<C> {}

/// `select! {}`: waits forever.
#[doc(hidden)]
#[track_caller]
pub fn forever() -> impl Future<Output = Never> {
    let site = Location::caller();
    poll_fn(move |cx| {
        coop::park_at(cx, site, Reason::SelectNoCases);
        Poll::Pending
    })
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
