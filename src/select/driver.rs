//! Floor 5: a select in progress, whatever its cases.

use std::fmt;
use std::future::pending;
use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use super::case::{RawCase, Woken};
use super::list::{Cases, Never};
use crate::coop::{self, Reason};
use crate::prim::{self, Lock};
use crate::waitq::{Seen, Token};

/// A select in progress.
///
/// # Cancellation
///
/// Dropping it takes every case out of its queue. One that was served meanwhile gives a received value on, as a dropped
/// receive does; a send that was taken stands.
#[doc(hidden)]
#[must_use = "a select does nothing unless awaited"]
pub struct Selecting<C: Cases, S: AsMut<[u32]>> {
    /// Gone when the stage is `Over`.
    cases: ManuallyDrop<C>,
    token: Token,
    stage: Stage,
    biased: bool,
    site: &'static Location<'static>,
    /// Room for the cases that are to be tried.
    candidates: S,
    /// The channel operations that are not switched off; once they are queued, by the address of their lock. The other
    /// cases stand at the end, the first one last.
    raws: S,
    raw_count: usize,
    /// How many cases are no channel operations.
    others: usize,
    _pin: PhantomPinned,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    /// The channel operations are queued.
    Parked,
    Over,
}

impl<C: Cases, S: AsMut<[u32]> + AsRef<[u32]> + Clone> Selecting<C, S> {
    /// `scratch` has room for as many numbers as there are cases.
    #[inline(always)]
    #[track_caller]
    pub fn new(biased: bool, cases: C, scratch: S) -> Self {
        Self {
            cases: ManuallyDrop::new(cases),
            token: Token::new(),
            stage: Stage::First,
            biased,
            site: Location::caller(),
            candidates: scratch.clone(),
            raws: scratch,
            raw_count: 0,
            others: 0,
            _pin: PhantomPinned,
        }
    }

    /// For a select with a `default`: takes a case that is ready, or none at one instant.
    #[inline]
    pub fn try_now(self) -> Option<C::Output> {
        let this = pin!(self);
        // SAFETY: nothing is moved out of the pinned select.
        let this = unsafe { this.get_unchecked_mut() };
        coop::exempt(|| {
            let mut cx = Context::from_waker(Waker::noop());
            if let Some(output) = this.try_alone(&mut cx) {
                return Some(output);
            }
            if this.raw_count < 2 && !prim::MODELLED {
                // One channel has been looked at, at one instant.
                return None;
            }
            this.sort_raws();
            this.lock_all();
            let found = this.attempt_all();
            this.unlock_all();
            found.map(|(index, woken)| {
                woken.wake();
                this.output(index)
            })
        })
    }

    fn cases(&mut self) -> Pin<&mut C> {
        // SAFETY: `cases` is pinned with `self`, whose owner is pinned wherever this is called from.
        unsafe { Pin::new_unchecked(&mut *self.cases) }
    }

    /// Draws one of the first `count` candidates, and takes it out.
    #[inline(always)]
    fn draw(&mut self, count: usize) -> usize {
        let candidates = self.candidates.as_mut();
        if self.biased {
            let first = candidates[0];
            candidates.copy_within(1..count, 0);
            return first as usize;
        }
        let drawn = if count == 1 { 0 } else { prim::random(count) };
        let index = candidates[drawn];
        candidates[drawn] = candidates[count - 1];
        index as usize
    }

    /// Step 1.
    #[inline(always)]
    fn try_alone(&mut self, cx: &mut Context<'_>) -> Option<C::Output> {
        let (mut count, mut raws, mut others) = (0, 0, 0);
        for index in 0..self.cases.count() {
            if !self.cases.enabled(index) {
                continue;
            }
            match self.cases.raw(index).filter(|raw| raw.fresh()) {
                Some(raw) => {
                    let ready = raw.seems_ready();
                    self.raws.as_mut()[raws] = index as u32;
                    raws += 1;
                    if !ready {
                        continue;
                    }
                }
                None => {
                    others += 1;
                    let raws = self.raws.as_mut();
                    raws[raws.len() - others] = index as u32;
                }
            }
            self.candidates.as_mut()[count] = index as u32;
            count += 1;
        }
        (self.raw_count, self.others) = (raws, others);
        while count > 0 {
            let index = self.draw(count);
            if self.cases().poll_case(index, cx) {
                return Some(self.output(index));
            }
            count -= 1;
        }
        None
    }

    /// Puts the channel operations in the order of their locks.
    #[inline(always)]
    fn sort_raws(&mut self) {
        let Self { raws, cases, raw_count, .. } = self;
        let raws = &mut raws.as_mut()[..*raw_count];
        let address = |index: u32| cases.raw(index as usize).map_or(0, |raw| std::ptr::from_ref(raw.lock()).addr());
        if raws.len() > 16 {
            return raws.sort_by_cached_key(|&index| address(index));
        }
        for end in 1..raws.len() {
            let (index, own) = (raws[end], address(raws[end]));
            let mut at = end;
            while at > 0 && address(raws[at - 1]) > own {
                raws[at] = raws[at - 1];
                at -= 1;
            }
            raws[at] = index;
        }
    }

    #[inline(always)]
    fn raw(&self, index: usize) -> &dyn RawCase {
        self.cases.raw(index).expect("only channel operations are asked")
    }

    /// The channel operations, in the order of their locks.
    #[inline(always)]
    fn each_raw(&self) -> impl Iterator<Item = (usize, &dyn RawCase)> {
        self.raws.as_ref()[..self.raw_count].iter().map(|&index| (index as usize, self.raw(index as usize)))
    }

    /// Calls `f` for each lock once, in order.
    #[inline(always)]
    fn each_lock(&self, f: impl Fn(&Lock)) {
        let mut last: *const Lock = std::ptr::null();
        for (_, raw) in self.each_raw() {
            let lock = raw.lock();
            if !std::ptr::eq(lock, last) {
                last = lock;
                f(lock);
            }
        }
    }

    #[inline(always)]
    fn lock_all(&self) {
        self.each_lock(Lock::lock);
    }

    #[inline(always)]
    fn unlock_all(&self) {
        // SAFETY: taken by `lock_all`, of the same list.
        self.each_lock(|lock| unsafe { lock.unlock() });
    }

    /// Tries the channel operations, with all their locks held.
    #[inline(always)]
    fn attempt_all(&mut self) -> Option<(usize, Woken)> {
        let mut count = 0;
        for at in 0..self.raw_count {
            let index = self.raws.as_ref()[at];
            if self.raw(index as usize).seems_ready() {
                self.candidates.as_mut()[count] = index;
                count += 1;
            }
        }
        if self.biased {
            // They were in the order of their locks.
            self.candidates.as_mut()[..count].sort_unstable();
        }
        while count > 0 {
            let index = self.draw(count);
            // SAFETY: all locks are held, and no case has won yet.
            if let Some(woken) = unsafe { self.raw(index).attempt(&raw const self.token) } {
                return Some((index, woken));
            }
            count -= 1;
        }
        None
    }

    /// Takes the channel operations out, the winner excepted.
    #[inline(always)]
    fn dequeue_all(&self, winner: Option<usize>) {
        for (index, raw) in self.each_raw() {
            if winner != Some(index) {
                let _held = raw.lock().guard();
                // SAFETY: the lock is held.
                unsafe { raw.dequeue(self.site) };
            }
        }
    }

    /// The result of the winner; the losers are gone when it returns. A loser's destructor may panic: what is returned
    /// must not be on its way out by then, for the compiler would leak it.
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
        if let Some(output) = self.try_alone(cx) {
            coop::spend();
            return Poll::Ready(output);
        }
        // A clone may run anybody's code: outside the locks.
        let waker = cx.waker().clone();
        // SAFETY: no case is queued yet.
        drop(unsafe { self.token.set_waker(Some(waker)) });
        self.sort_raws();
        self.lock_all();
        if let Some((index, woken)) = self.attempt_all() {
            self.unlock_all();
            woken.wake();
            coop::spend();
            return Poll::Ready(self.output(index));
        }
        if coop::is_last(cx.waker()) {
            self.unlock_all();
            return Poll::Pending;
        }
        let token = NonNull::from(&self.token);
        let mut watchers = Vec::new();
        for (_, raw) in self.each_raw() {
            // SAFETY: all locks are held; the case was fresh in `try_alone`, and is pinned with `self`, as the token is;
            // `drop` takes it out.
            let woken = unsafe { raw.enqueue(token) };
            if !woken.is_nobody() {
                watchers.push(woken);
            }
        }
        self.stage = Stage::Parked;
        self.unlock_all();
        if !watchers.is_empty() {
            watchers.into_iter().for_each(Woken::wake);
        }
        self.park()
    }

    fn park(&self) -> Poll<C::Output> {
        let cases = self.raw_count + self.others;
        coop::park_at(self.site, if cases == 0 { Reason::SelectNoCases } else { Reason::Select });
        Poll::Pending
    }

    /// A later poll: step 3, if a channel operation was served.
    #[inline(always)]
    fn resume(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        loop {
            match self.token.seen() {
                Seen::Fired(waiter) => return Poll::Ready(self.finish(waiter)),
                Seen::Claimed(waiter) => return Poll::Ready(self.finish_claimed(waiter)),
                Seen::Waiting => match self.keep_waiting(cx) {
                    Some(poll) => return poll,
                    None => continue,
                },
                Seen::Over => unreachable!("only the owner ends its token"),
            }
        }
    }

    #[inline(always)]
    fn finish(&mut self, waiter: usize) -> C::Output {
        let mut winner = None;
        for (index, raw) in self.each_raw() {
            if raw.waiter() == waiter {
                winner = Some(index);
                continue;
            }
            let _held = raw.lock().guard();
            // SAFETY: the lock is held.
            unsafe { raw.dequeue(self.site) };
        }
        self.output(winner.expect("a winner is one of the cases"))
    }

    /// The winner's value is on its way: it is there once its channel's lock is free.
    #[cold]
    fn finish_claimed(&mut self, waiter: usize) -> C::Output {
        for (_, raw) in self.each_raw().filter(|(_, raw)| raw.waiter() == waiter) {
            drop(raw.lock().guard());
        }
        self.finish(waiter)
    }

    /// Woken, but not by a channel. `None` if a channel was served meanwhile.
    #[cold]
    #[inline(never)]
    fn keep_waiting(&mut self, cx: &mut Context<'_>) -> Option<Poll<C::Output>> {
        if coop::is_last(cx.waker()) {
            return self.withdraw();
        }
        self.update_waker(cx.waker());
        if self.others == 0 {
            return if self.token.seen() == Seen::Waiting { Some(self.park()) } else { None };
        }
        if !self.token.begin_poll() {
            return None;
        }
        let mut count = 0;
        for &index in self.raws.as_ref().iter().rev().take(self.others) {
            self.candidates.as_mut()[count] = index;
            count += 1;
        }
        while count > 0 {
            let index = self.draw(count);
            if self.cases().poll_case(index, cx) {
                self.token.end();
                self.dequeue_all(None);
                return Some(Poll::Ready(self.output(index)));
            }
            count -= 1;
        }
        if self.token.end_poll() {
            return Some(self.park());
        }
        // An offer went by.
        self.lock_all();
        self.token.look_again();
        let Some((index, woken)) = self.attempt_all() else {
            // It was taken back, or taken by another. Had it been a stream, which does not queue, it would wait for a send
            // that told it too early. Who comes from here on finds the waker.
            let mut passers = Vec::new();
            for (_, raw) in self.each_raw() {
                // SAFETY: all locks are held.
                let woken = unsafe { raw.tell_again(cx.waker()) };
                if !woken.is_nobody() {
                    passers.push(woken);
                }
            }
            self.unlock_all();
            passers.into_iter().for_each(Woken::wake);
            return Some(self.park());
        };
        self.token.end();
        self.unlock_all();
        woken.wake();
        self.dequeue_all(Some(index));
        Some(Poll::Ready(self.output(index)))
    }

    /// Takes all out, unless one was served meanwhile.
    fn withdraw(&mut self) -> Option<Poll<C::Output>> {
        self.lock_all();
        let waiting = self.token.seen() == Seen::Waiting;
        if waiting {
            for (_, raw) in self.each_raw() {
                // SAFETY: all locks are held.
                unsafe { raw.dequeue(self.site) };
            }
            self.stage = Stage::First;
        }
        self.unlock_all();
        waiting.then_some(Poll::Pending)
    }

    /// Sees to it that whoever polled last is woken.
    fn update_waker(&self, waker: &Waker) {
        let mut fresh = None;
        let old = loop {
            self.lock_all();
            // SAFETY: all locks are held.
            let done = unsafe {
                if self.token.seen() != Seen::Waiting || self.token.will_wake(waker) {
                    Some(None)
                } else {
                    fresh.take().map(|fresh| self.token.set_waker(Some(fresh)))
                }
            };
            self.unlock_all();
            match done {
                Some(old) => break old,
                // A clone may run anybody's code: outside the locks.
                None => fresh = Some(waker.clone()),
            }
        };
        drop((old, fresh));
    }
}

impl<C: Cases, S: AsMut<[u32]> + AsRef<[u32]> + Clone> Future for Selecting<C, S> {
    type Output = C::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        // SAFETY: nothing is moved out of the pinned select.
        let this = unsafe { self.get_unchecked_mut() };
        match this.stage {
            Stage::First => this.start(cx),
            Stage::Parked => this.resume(cx),
            Stage::Over => panic!("gopark: select polled after completion"),
        }
    }
}

/// The cases of a select that is over: they go, also if its output panics.
struct Losers<'a, C>(&'a mut ManuallyDrop<C>);

impl<C> Drop for Losers<'_, C> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: made once for a select, when its stage becomes `Over`, and then nobody touches the cases any more.
        unsafe { ManuallyDrop::drop(self.0) }
    }
}

impl<C: Cases, S: AsMut<[u32]>> Drop for Selecting<C, S> {
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

impl<C: Cases, S: AsMut<[u32]>> Selecting<C, S> {
    /// Takes every case out. One that was served does in its own drop what a dropped operation does.
    #[cold]
    #[inline(never)]
    fn abandon(&mut self) {
        let claimed = match self.token.end() {
            Seen::Claimed(waiter) => Some(waiter),
            Seen::Waiting | Seen::Fired(_) | Seen::Over => None,
        };
        for &mut index in &mut self.raws.as_mut()[..self.raw_count] {
            let raw = self.cases.raw(index as usize).expect("only channel operations are listed");
            let _held = raw.lock().guard();
            if claimed != Some(raw.waiter()) {
                // SAFETY: the lock is held.
                unsafe { raw.dequeue(self.site) };
            }
        }
    }
}

impl<C: Cases, S: AsMut<[u32]>> fmt::Debug for Selecting<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selecting").field("site", &self.site).finish_non_exhaustive()
    }
}

// SAFETY: the token is atomic, and its waker is guarded by the channels' locks (I4); the cases answer for themselves.
unsafe impl<C: Cases + Send, S: AsMut<[u32]> + Send> Send for Selecting<C, S> {}
// SAFETY: a shared `Selecting` gives access to nothing.
unsafe impl<C: Cases + Sync, S: AsMut<[u32]> + Sync> Sync for Selecting<C, S> {}

/// `select! {}`: waits for ever.
#[doc(hidden)]
pub async fn forever() -> Never {
    coop::park(Reason::SelectNoCases);
    pending().await
}
