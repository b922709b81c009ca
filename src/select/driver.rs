//! A select in progress, with any list of cases.

use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::ptr;
use std::task::{Context, Poll};

use super::list::{Cases, Role};
use crate::coop::{self, Reason};
use crate::lock::{HeldLocks, RawLock};
use crate::loom;
use crate::random;
use crate::wait::case::{ChannelCase, Queued, Unready};
use crate::wait::waiter::{OwnToken, Token, Woken, state};
use crate::waker::TaskWaker;

/// A select in progress.
///
/// # Cancellation
///
/// Dropping it removes every case from its queue. A receive that has won passes its value on, like
/// any dropped receive. A value that was already sent stays sent.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "a select does nothing unless awaited"]
pub struct Selecting<C: Cases> {
    /// Dropped when the stage is `Over`.
    cases: ManuallyDrop<C>,
    token: Token,
    site: &'static Location<'static>,
    /// The number of cases that are on and are channel operations.
    channel_cases: u32,
    /// True if there are other cases that are on.
    has_others: bool,
    stage: Stage,
    biased: bool,
    _pin: PhantomPinned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    First,
    /// The channel operations are queued.
    Parked,
    Over,
}

/// A select with more cases tries a random case first. With fewer, checking all of them costs less
/// than a wrong guess.
const MANY: usize = 8;

/// A set of cases to try: a bit for each of the first 64 cases, and the numbers of the others.
struct Candidates {
    biased: bool,
    count: usize,
    first: u64,
    others: Vec<u32>,
}

impl Candidates {
    /// Returns an empty set with room for `cases` cases, because nothing may be allocated while
    /// locks are held.
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
        let mut before =
            if self.biased || self.count == 0 { 0 } else { random::below(self.count + 1) };
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
        let index =
            if self.biased { self.others.remove(0) } else { self.others.swap_remove(before) };
        Some(index as usize)
    }
}

/// The channel of the case with this number must be maintained first.
struct UnreadyCase(usize);

/// The maximum number of locks that are kept on the stack.
const FEW: usize = 16;

/// Acquires the locks in `locks`, which is sorted, in their order and each of them once. Returns
/// the acquired locks.
///
/// # Safety
///
/// The locks live.
#[inline(always)]
unsafe fn lock_each_once(locks: &mut [*const RawLock]) -> &[*const RawLock] {
    let (mut held, mut last) = (0, ptr::null());
    for at in 0..locks.len() {
        let lock = locks[at];
        if lock != last {
            // SAFETY: the caller promises that the lock lives; `held` is at most `at`.
            unsafe {
                (*lock).lock();
                *locks.get_unchecked_mut(held) = lock;
            }
            held += 1;
            last = lock;
        }
    }
    // SAFETY: `held` is at most the number of locks.
    unsafe { locks.get_unchecked(..held) }
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
            has_others: false,
            stage: Stage::First,
            biased,
            _pin: PhantomPinned,
        }
    }

    /// Completes a case that is ready. Returns `None` only if there was one instant at which no
    /// case was ready. This is a select with a `default`.
    #[inline]
    pub fn try_now(self) -> Option<C::Output> {
        let this = pin!(self);
        // SAFETY: nothing is moved out of the pinned select.
        let this = unsafe { this.get_unchecked_mut() };
        coop::try_once(|cx| {
            #[cfg(feature = "sim")]
            this.note_use();
            if let Poll::Ready(output) = this.try_each(cx) {
                return Some(output);
            }
            if this.recount() {
                return this.end_with_all_off();
            }
            if this.channel_cases < 2 && !loom::MODELLED {
                // There was at most one channel to check, so that was one instant.
                return None;
            }
            if let Some((index, woken)) = this.with_locks(Self::attempt) {
                woken.wake();
                return Some(this.won(index));
            }
            if this.recount() { this.end_with_all_off() } else { None }
        })
    }

    #[inline(always)]
    fn cases(&mut self) -> Pin<&mut C> {
        // SAFETY: `cases` is pinned with `self`, and this is only called on a pinned select.
        unsafe { Pin::new_unchecked(&mut *self.cases) }
    }

    #[inline(always)]
    fn own_token(&self) -> OwnToken {
        // SAFETY: the token is pinned with `self`, whose drop removes the cases from their queues.
        unsafe { OwnToken::new(&self.token) }
    }

    /// Calls `f` for each channel operation, with its number.
    #[inline(always)]
    fn each_channel(&mut self, mut f: impl FnMut(usize, Pin<&dyn ChannelCase>)) {
        self.cases().each(0, &mut |index, role, raw| {
            if let (Role::Channel, Some(raw)) = (*role, raw) {
                f(index, raw);
            }
        });
    }

    /// Returns a copy of the roles of all cases.
    #[cold]
    #[inline(never)]
    fn roles(&mut self) -> Vec<Role> {
        let mut roles = Vec::with_capacity(self.cases.count());
        self.cases().each(0, &mut |_, role, _| roles.push(*role));
        roles
    }

    /// Notes the use of the channels for the simulation.
    #[cfg(feature = "sim")]
    fn note_use(&mut self) {
        let site = self.site;
        self.cases().each(0, &mut |_, role, raw| {
            raw.filter(|_| *role != Role::Off).into_iter().for_each(|raw| raw.used(site));
        });
    }

    /// Step 1: tries the cases without a common lock.
    ///
    /// If there are many cases, a random one is tried before all are checked, because it is likely
    /// to be ready if most are. This favours no case.
    #[inline(always)]
    fn try_each(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        let count = self.cases.count();
        let mut tried = None;
        if count > MANY && !self.biased {
            let index = random::below(count);
            let raw = self.cases().raw(index).filter(|raw| raw.is_unpolled());
            if raw.is_none_or(|raw| raw.seems_ready()) {
                let polled = self.cases().poll_case(index, cx);
                if polled.is_ready() {
                    self.finish();
                    return polled;
                }
            }
            tried = Some(index);
        }
        let mut candidates = Candidates::new(self.biased, self.cases.count());
        let (mut channel_cases, mut has_others) = (0, false);
        // A limit is polled with its operation, and the list does not tell which case has one.
        let has_limits = self.cases.has_limits();
        self.cases().each(0, &mut |index, role, raw| {
            if *role == Role::Off {
                return;
            }
            match raw.filter(|raw| raw.is_unpolled()) {
                Some(raw) => {
                    *role = Role::Channel;
                    channel_cases += 1;
                    if has_limits || raw.seems_ready() {
                        candidates.push(index);
                    }
                }
                None => {
                    *role = Role::Other;
                    has_others = true;
                    if tried != Some(index) {
                        candidates.push(index);
                    }
                }
            }
        });
        (self.channel_cases, self.has_others) = (channel_cases, has_others);
        while let Some(index) = candidates.draw() {
            let polled = self.cases().poll_case(index, cx);
            if polled.is_ready() {
                self.finish();
                return polled;
            }
        }
        Poll::Pending
    }

    /// Recounts the cases that are on, if some may have gone off. Returns true if none is on. Must
    /// be called while no case has won, and either no case is queued or all locks are held.
    #[inline(always)]
    fn recount(&mut self) -> bool {
        self.cases.may_go_off() && self.count_on() == 0
    }

    #[cold]
    #[inline(never)]
    fn count_on(&mut self) -> u32 {
        let (mut channel_cases, mut other_cases) = (0, 0);
        self.cases().each(0, &mut |_, role, raw| match *role {
            Role::Channel if raw.is_some_and(|raw| raw.is_off()) => *role = Role::Off,
            Role::Channel => channel_cases += 1,
            Role::Other => other_cases += 1,
            Role::Off => {}
        });
        (self.channel_cases, self.has_others) = (channel_cases, other_cases > 0);
        let on = channel_cases + other_cases;
        self.token.set_on(on);
        on
    }

    /// Ends a select whose cases are all off, if it has an output for that.
    #[cold]
    #[inline(never)]
    fn end_with_all_off(&mut self) -> Option<C::Output> {
        let output = self.cases().all_off();
        if output.is_some() {
            self.finish();
        }
        output
    }

    /// Polls a select whose cases are all off: it ends, or waits forever. No case is queued.
    #[cold]
    #[inline(never)]
    fn poll_all_off(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        match self.end_with_all_off() {
            Some(output) => Poll::Ready(output),
            None => self.park(cx),
        }
    }

    /// Like [`poll_all_off`](Self::poll_all_off), after the last case went off while cases were
    /// queued.
    #[cold]
    #[inline(never)]
    fn resume_all_off(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        // A close that has counted out its case may still access it until it releases the lock,
        // which `dequeue_all` waits for.
        self.dequeue_all(None);
        self.count_on();
        self.token.resume();
        self.stage = Stage::First;
        self.poll_all_off(cx)
    }

    /// Calls `f` with all channels locked, each once, in the order of the locks' addresses. `f`
    /// gets the locks, and an empty set with room for the cases, because nothing may be allocated
    /// under locks. If a channel is unready, it is maintained and `f` is called again.
    #[inline(always)]
    fn with_locks<R>(
        &mut self,
        mut f: impl FnMut(&mut Self, HeldLocks<'_>, &mut Candidates) -> Result<R, UnreadyCase>,
    ) -> R {
        loop {
            match self.with_locks_once(&mut f) {
                Ok(result) => return result,
                Err(UnreadyCase(index)) => {
                    self.cases().raw(index).into_iter().for_each(|raw| raw.maintain())
                }
            }
        }
    }

    #[inline(always)]
    fn with_locks_once<R>(
        &mut self,
        f: impl FnOnce(&mut Self, HeldLocks<'_>, &mut Candidates) -> R,
    ) -> R {
        let mut candidates = Candidates::new(self.biased, self.cases.count());
        let (mut few, mut many) = ([ptr::null(); FEW], Vec::new());
        let locks = self.sorted_locks(&mut few, &mut many);
        // SAFETY: a channel lives as long as an operation on it, and the operations live as long as
        // this select.
        let held = unsafe { lock_each_once(locks) };
        // SAFETY: the locks are held during the call.
        let result = f(self, unsafe { HeldLocks::new(held) }, &mut candidates);
        for &lock in held {
            // SAFETY: as above; the lock was acquired above.
            unsafe { (*lock).unlock() };
        }
        result
    }

    /// Returns the locks of the channel operations, sorted by address.
    fn sorted_locks<'a>(
        &mut self,
        few: &'a mut [*const RawLock; FEW],
        many: &'a mut Vec<*const RawLock>,
    ) -> &'a mut [*const RawLock] {
        let count = self.channel_cases as usize;
        let locks: &mut [*const RawLock] = if count <= FEW {
            &mut few[..count]
        } else {
            many.resize(count, ptr::null());
            many
        };
        let mut places = locks.iter_mut();
        self.each_channel(|_, raw| *places.next().expect("counted by `try_each`") = raw.lock());
        locks.sort_unstable();
        locks
    }

    /// Tries the channel operations, with all their locks held. `candidates` must be empty, and is
    /// empty again if this returns `Ok(None)`.
    #[inline(always)]
    fn attempt(
        &mut self,
        held: HeldLocks<'_>,
        candidates: &mut Candidates,
    ) -> Result<Option<(usize, Woken)>, UnreadyCase> {
        self.each_channel(|index, raw| {
            if raw.seems_ready() {
                candidates.push(index);
            }
        });
        while let Some(index) = candidates.draw() {
            let own = &raw const self.token;
            let raw = self.cases().raw(index).expect("only channel operations are pushed");
            match raw.attempt(held, own) {
                Ok(Some(woken)) => return Ok(Some((index, woken))),
                Ok(None) => {}
                Err(Unready) => return Err(UnreadyCase(index)),
            }
        }
        Ok(None)
    }

    /// Calls `f` for each channel operation in random order, or in source order if the select is
    /// biased. `candidates` must be empty.
    ///
    /// The order matters because of several operations on one channel, the first in the queue
    /// always wins.
    #[cold]
    #[inline(never)]
    fn each_drawn(
        &mut self,
        candidates: &mut Candidates,
        f: &mut dyn FnMut(Pin<&dyn ChannelCase>),
    ) {
        self.each_channel(|index, _| candidates.push(index));
        while let Some(index) = candidates.draw() {
            f(self.cases().raw(index).expect("only channel operations are pushed"));
        }
    }

    /// Removes the channel operations from their queues, and returns the number of the operation
    /// whose waiter is at address `winner`. When this returns the winner is complete.
    #[inline(always)]
    fn dequeue_all(&mut self, winner: Option<usize>) -> Option<usize> {
        let mut number = None;
        self.each_channel(|index, raw| {
            if winner == Some(raw.waiter()) {
                number = Some(index);
                if !state::is_queued(raw.state()) {
                    return;
                }
            }
            // If the winner is still being completed, this waits for the lock, and the winner is
            // complete afterwards.
            raw.dequeue();
        });
        number
    }

    /// Ends the select with the output of a channel operation that won.
    #[inline(always)]
    fn won(&mut self, index: usize) -> C::Output {
        let output = self.cases().won(index);
        self.finish();
        output
    }

    /// Ends the select by dropping the losers. A loser's destructor may panic, so the output must
    /// already be in a variable: the compiler would leak an output in the return slot.
    #[inline(always)]
    fn finish(&mut self) {
        self.stage = Stage::Over;
        self.drop_cases();
    }

    /// Drops the cases. Called once, when the stage is `Over` or when the select is dropped before
    /// that; the cases are not accessed afterwards.
    #[inline(always)]
    fn drop_cases(&mut self) {
        // True only if no case has a place in a queue (I5), a waker or a value.
        if !self.cases.drop_is_noop() {
            // SAFETY: called once, and the cases are not accessed afterwards.
            unsafe { ManuallyDrop::drop(&mut self.cases) }
        }
    }

    /// The first poll: step 1, and step 2 if nothing was ready.
    #[inline(always)]
    fn start(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        if !coop::poll_ready(cx, self.site, Reason::Select, None) {
            return Poll::Pending;
        }
        #[cfg(feature = "sim")]
        self.note_use();
        let polled = self.try_each(cx);
        if polled.is_ready() {
            coop::spend();
            return polled;
        }
        if self.recount() {
            coop::spend();
            return self.poll_all_off(cx);
        }
        if coop::is_last(cx.waker()) {
            return Poll::Pending;
        }
        self.look_and_park(cx)
    }

    /// Step 2. Not inlined, so that the code of step 1, where most selects end, is shorter.
    #[inline(never)]
    fn look_and_park(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        // Cloned outside the locks, because a clone may run foreign code.
        let waker = TaskWaker::new(cx.waker());
        // SAFETY: no case is queued yet.
        drop(unsafe { self.token.set_waker(waker) });
        if self.queue_each() { self.park(cx) } else { self.look_and_park_locked(cx) }
    }

    /// Queues the channel operations, one channel after the other; each of them may win at once.
    /// Returns false if an operation may be ready, or if two are on one channel, because the first
    /// of these would always win.
    #[inline(always)]
    fn queue_each(&mut self) -> bool {
        self.stage = Stage::Parked;
        let token = self.own_token();
        let (mut ready, mut crowded) = (false, false);
        self.each_channel(|_, raw| {
            if !ready {
                match raw.queue(token) {
                    Queued::First => {}
                    Queued::Behind => crowded = true,
                    Queued::No => ready = true,
                }
            }
        });
        !(ready || crowded && self.has_twins())
    }

    /// Returns true if two of the channel operations are on one channel.
    #[cold]
    #[inline(never)]
    fn has_twins(&mut self) -> bool {
        let (mut few, mut many) = ([ptr::null(); FEW], Vec::new());
        self.sorted_locks(&mut few, &mut many).windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Step 2 with all channels locked at once, after [`queue_each`](Self::queue_each) failed.
    #[cold]
    #[inline(never)]
    fn look_and_park_locked(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        if !self.token.begin_poll() {
            // A channel operation has won already.
            return self.park(cx);
        }
        // No operation can win meanwhile, because the token is busy. Offers missed now are found
        // below.
        self.dequeue_all(None);
        self.token.resume();
        self.stage = Stage::First;
        // Allocated outside the locks. Each case adds at most one.
        let mut watchers = Vec::with_capacity(self.channel_cases as usize);
        let found = self.with_locks(|this, held, candidates| {
            let found = this.attempt(held, candidates)?;
            if found.is_none() && !this.recount() {
                let token = this.own_token();
                this.each_drawn(candidates, &mut |raw| {
                    add(&mut watchers, raw.enqueue(held, token));
                });
                this.stage = Stage::Parked;
            }
            Ok(found)
        });
        watchers.into_iter().for_each(Woken::wake);
        if let Some((index, woken)) = found {
            woken.wake();
            coop::spend();
            return Poll::Ready(self.won(index));
        }
        if self.cases.may_go_off() && self.stage == Stage::First {
            coop::spend();
            return self.poll_all_off(cx);
        }
        self.park(cx)
    }

    fn park(&self, cx: &Context<'_>) -> Poll<C::Output> {
        let has_cases = self.channel_cases > 0 || self.has_others;
        coop::park_at(
            cx,
            self.site,
            if has_cases { Reason::Select } else { Reason::SelectNoCases },
        );
        Poll::Pending
    }

    /// A later poll: step 3, if a channel operation has won.
    #[inline(always)]
    fn resume(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        loop {
            if let Some(waiter) = self.token.winner() {
                let winner = self.dequeue_all(Some(waiter)).expect("a winner is one of the cases");
                if self.cases.may_go_off() && self.is_off(winner) {
                    return self.resume_all_off(cx);
                }
                if self.biased && (self.has_others || self.cases.has_limits()) {
                    return self.prefer_earlier(winner, cx);
                }
                return Poll::Ready(self.won(winner));
            }
            if let Some(poll) = self.keep_waiting(cx) {
                return poll;
            }
        }
    }

    /// Ends a biased select in which a channel operation has won. If it was a receive, an earlier
    /// case that is ready comes first: the dropped receive passes its value on. A value that was
    /// sent cannot be taken back.
    #[cold]
    #[inline(never)]
    fn prefer_earlier(&mut self, winner: usize, cx: &mut Context<'_>) -> Poll<C::Output> {
        if !self.cases().raw(winner).is_some_and(|raw| raw.can_be_undone()) {
            return Poll::Ready(self.won(winner));
        }
        for (index, role) in self.roles().into_iter().take(winner).enumerate() {
            let polled = match role {
                Role::Off => Poll::Pending,
                Role::Other => self.cases().poll_case(index, cx),
                // It has left its queue.
                Role::Channel => {
                    let limit = self.cases().poll_limit(index, cx);
                    limit.map(|()| self.cases().limited(index))
                }
            };
            if polled.is_ready() {
                self.finish();
                return polled;
            }
        }
        Poll::Ready(self.won(winner))
    }

    /// Returns true if a channel operation has gone off. If the winner has gone off, it was the
    /// last case that was on.
    #[cold]
    #[inline(never)]
    fn is_off(&mut self, index: usize) -> bool {
        self.cases().raw(index).is_some_and(|raw| raw.is_off())
    }

    /// Polls the other cases, after a wake that did not come from a channel. Returns `None` if a
    /// channel operation won meanwhile.
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
        let has_limits = self.cases.has_limits();
        self.cases().each(0, &mut |index, role, _| {
            if *role == Role::Other || has_limits && *role == Role::Channel {
                candidates.push(index);
            }
        });
        let roles = if has_limits { self.roles() } else { Vec::new() };
        while let Some(index) = candidates.draw() {
            if has_limits && roles[index] == Role::Channel {
                if self.cases().poll_limit(index, cx).is_ready() {
                    self.leave();
                    let output = self.cases().limited(index);
                    self.finish();
                    return Some(Poll::Ready(output));
                }
                continue;
            }
            let polled = self.cases().poll_case(index, cx);
            if polled.is_ready() {
                self.leave();
                self.finish();
                return Some(polled);
            }
            // Checked before the next poll, which may panic.
            if self.cases.may_go_off() && self.went_off(index) {
                return Some(self.resume_all_off(cx));
            }
        }
        if last {
            // No operation can win meanwhile, because the token is busy. Missed offers are queued
            // in their own channels.
            self.dequeue_all(None);
            self.token.resume();
            self.stage = Stage::First;
            return Some(Poll::Pending);
        }
        if self.token.end_poll() {
            return Some(self.park(cx));
        }
        // An offer was missed while the token was busy.
        let mut all_off = false;
        let found = self.with_locks(|this, held, candidates| {
            let found = this.attempt(held, candidates)?;
            if found.is_some() {
                this.token.end();
            } else {
                all_off = this.recount();
                this.token.resume();
            }
            Ok(found)
        });
        if all_off {
            return Some(self.resume_all_off(cx));
        }
        let Some((index, woken)) = found else {
            // The missed offer was withdrawn, or another receiver took it. Or a stream made it. A
            // stream does not queue: it saw no sender while this select was busy, and now waits for
            // a wake. Wake it here. Streams that are polled from now on find the select.
            self.each_channel(|_, raw| raw.renotify(cx));
            return Some(self.park(cx));
        };
        woken.wake();
        self.leave();
        Some(Poll::Ready(self.won(index)))
    }

    /// Counts out a case if it went off when it was polled. Returns true if it was the last one.
    #[cold]
    #[inline(never)]
    fn went_off(&mut self, index: usize) -> bool {
        self.cases().is_off(index) && self.token.count_out()
    }

    /// Ensures that no channel operation can win from now on, and removes them from their queues.
    /// The drop of an operation that has already won deals with its value.
    #[cold]
    #[inline(never)]
    fn leave(&mut self) {
        self.token.end();
        self.dequeue_all(None);
    }
}

/// Adds tasks to `all`, which is woken after all locks are released.
fn add(all: &mut Vec<Woken>, woken: Woken) {
    if !woken.is_empty() {
        all.push(woken);
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
            Stage::Over => panic!("gopark: select polled after completion"),
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
            self.leave();
        }
        self.drop_cases();
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
