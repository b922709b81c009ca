//! Waiting for several operations at once: what stands behind [`select!`](crate::select!), and [`Select`], its run-time
//! form.
//!
//! # How a select goes (Go's `selectgo`)
//!
//! 1. Without a lock, the cases that seem ready are noted; one of them is drawn and tried, then another, until one
//!    succeeds. Most selects end here, with one lock. The first success in a random order is a uniform choice among
//!    those that are ready.
//! 2. All channels are locked, each once, in the order of their addresses, and the cases are looked at again: this is the
//!    instant at which nothing was ready. With a `default`, it is taken now. Else a waiter is queued on each channel, and
//!    only then the locks are released, so no event falls in between.
//! 3. Whoever serves one of the waiters wins the select's token, which the others then find taken. The woken select takes
//!    its other waiters out before it returns.
//!
//! Cases that are no channel operations (locks, timers, joins, any future) are polled without any lock, when their turn
//! comes. While a parked select polls them its token is marked; an offer that passes by meanwhile leaves a note, upon
//! which the select looks at its channels again.

use std::fmt;
use std::future::pending;
use std::marker::PhantomPinned;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use crate::chan::{Receiver, SendError, Sender, Watchers};
use crate::coop::{self, Reason};
use crate::prim::{self, Lock};
use crate::waitq::{Seen, Token, Wake};

/// What can stand in a [`select!`](crate::select!): every wait of this crate as it is, and any other future through [`fut`].
///
/// Also a case by reference, to go on with it in a later select: `&mut C`, `Pin<&mut C>`, `Pin<Box<C>>`.
///
/// ```
/// use gopark::{chan, select};
///
/// gopark::block_on(async {
///     let handle = &mut gopark::go(async { 7 });
///     let (_tx, rx) = chan::unbuffered::<i32>();
///     select! {
///         joined = handle => assert_eq!(joined.unwrap(), 7),
///         _ = rx.recv() => unreachable!("nobody sends"),
///     }
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a `select!`",
    note = "an operation of this crate stands as it is; wrap any other future: `gopark::select::fut(future)`"
)]
pub trait Case {
    /// What the operation results in.
    type Output;

    /// Tries the case once. A channel operation registers nothing, any other future does what its `poll` does.
    #[doc(hidden)]
    fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output>;

    /// The case as a channel operation, if it is one.
    #[doc(hidden)]
    #[inline]
    fn raw(&self) -> Option<&dyn RawCase> {
        None
    }

    /// The result of a channel operation that won.
    #[doc(hidden)]
    fn won(self: Pin<&mut Self>) -> Self::Output {
        unreachable!("only a channel operation is completed by others")
    }
}

/// A channel operation that can be locked, tried, queued and taken out.
#[doc(hidden)]
pub trait RawCase {
    /// True if it was never polled by itself.
    fn fresh(&self) -> bool;

    fn lock(&self) -> &Lock;

    /// The address of the waiter, by which the token names a winner.
    fn waiter(&self) -> usize;

    /// May be wrong without the lock.
    fn seems_ready(&self) -> bool;

    /// Completes the operation, if that is possible now.
    ///
    /// # Safety
    ///
    /// The lock is held, and the operation is not complete.
    unsafe fn attempt(&self, own: *const Token) -> Option<Woken>;

    /// Queues the operation.
    ///
    /// # Safety
    ///
    /// The lock is held, the operation is fresh and pinned, and `token` outlives its time in the queue.
    unsafe fn enqueue(&self, token: NonNull<Token>) -> Woken;

    /// Takes the operation out, if it is in still; it is fresh again unless it is complete.
    ///
    /// # Safety
    ///
    /// The lock is held.
    unsafe fn dequeue(&self, site: &'static Location<'static>);
}

/// Wakers to call once every lock is released.
#[doc(hidden)]
#[must_use = "wake them after the locks are released"]
#[derive(Debug)]
pub struct Woken {
    wake: Wake,
    watchers: Watchers,
}

impl Woken {
    #[inline]
    pub(crate) fn new(wake: Wake, watchers: Watchers) -> Self {
        Self { wake, watchers }
    }

    #[inline]
    pub(crate) fn watchers(watchers: Watchers) -> Self {
        Self { wake: Wake::NONE, watchers }
    }

    #[inline]
    pub(crate) fn wake(self) {
        self.wake.wake();
        self.watchers.wake();
    }
}

/// Makes a wait future of this crate a case: it may be dropped at any time without loss, so polling it is enough.
macro_rules! future_case {
    ($future:ty $(, $($generics:tt)+)?) => {
        impl $(<$($generics)+>)? $crate::select::Case for $future {
            type Output = <$future as ::std::future::Future>::Output;

            #[inline]
            fn poll_case(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                ::std::future::Future::poll(self, cx)
            }
        }
    };
}
#[allow(unused_imports)]
pub(crate) use future_case;

future_case!(crate::JoinHandle<T>, T);
future_case!(crate::sync::Wait<'a>, 'a);
future_case!(crate::sync::mutex::Lock<'a, T>, 'a, T: ?Sized);
future_case!(crate::sync::rwmutex::RLock<'a, T>, 'a, T: ?Sized);
future_case!(crate::sync::rwmutex::WLock<'a, T>, 'a, T: ?Sized);
future_case!(crate::sync::semaphore::Acquire<'a>, 'a);
future_case!(crate::sync::cond::Wait<'a, G>, 'a, G: crate::sync::cond::Guard);

/// Any future as a case of a [`select!`](crate::select!).
///
/// It is polled when its turn comes and, if it loses, dropped: it is up to that future whether dropping it loses anything.
///
/// ```
/// use gopark::select::{self, fut};
///
/// gopark::block_on(async {
///     gopark::select! {
///         v = fut(async { 5 }) => assert_eq!(v, 5),
///     }
/// });
/// ```
pub fn fut<F: Future>(future: F) -> Fut<F> {
    Fut { future }
}

/// Any future as a case, made by [`fut`].
#[derive(Debug)]
#[must_use = "a case does nothing unless selected"]
pub struct Fut<F> {
    future: F,
}

impl<F: Future> Case for Fut<F> {
    type Output = F::Output;

    fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with `self`.
        unsafe { self.map_unchecked_mut(|this| &mut this.future) }.poll(cx)
    }
}

impl<C: Case + Unpin + ?Sized> Case for &mut C {
    type Output = C::Output;

    fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        Pin::new(&mut **self).poll_case(cx)
    }

    fn raw(&self) -> Option<&dyn RawCase> {
        (**self).raw()
    }

    fn won(mut self: Pin<&mut Self>) -> C::Output {
        Pin::new(&mut **self).won()
    }
}

/// The two kinds of pinned pointer.
macro_rules! pinned_case {
    ($pointer:ty) => {
        impl<C: Case + ?Sized> Case for Pin<$pointer> {
            type Output = C::Output;

            fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
                (*self).as_mut().poll_case(cx)
            }

            fn raw(&self) -> Option<&dyn RawCase> {
                (**self).raw()
            }

            fn won(mut self: Pin<&mut Self>) -> C::Output {
                (*self).as_mut().won()
            }
        }
    };
}

pinned_case!(&mut C);
pinned_case!(Box<C>);

// ------------------------------------------------------------------------------------------------ lists of cases

/// The cases of one select, by number.
#[doc(hidden)]
pub trait Cases {
    /// Which case won, and its result.
    type Output;

    fn count(&self) -> usize;

    fn enabled(&self, index: usize) -> bool;

    /// Tries case `index`, keeping its result.
    fn poll_case(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool;

    fn raw(&self, index: usize) -> Option<&dyn RawCase>;

    /// The result of case `index`, which won: kept, or still in the operation.
    fn output(self: Pin<&mut Self>, index: usize) -> Self::Output;
}

/// The first case of a list and the others. A `select!` is a nest of these, so that each case keeps its type.
#[doc(hidden)]
#[derive(Debug)]
pub struct Cons<C: Case, R> {
    case: C,
    enabled: bool,
    output: Option<C::Output>,
    rest: R,
}

/// The end of a list.
#[doc(hidden)]
#[derive(Debug)]
pub struct Nil;

/// Which case of a list won.
#[doc(hidden)]
#[derive(Debug)]
pub enum Which<T, R> {
    This(T),
    Rest(R),
}

/// None of none.
#[doc(hidden)]
#[derive(Debug)]
pub enum Never {}

impl<C: Case, R: Cases> Cons<C, R> {
    #[inline(always)]
    pub fn new(enabled: bool, case: C, rest: R) -> Self {
        Self { case, enabled, output: None, rest }
    }

    #[inline(always)]
    fn project(self: Pin<&mut Self>) -> (Pin<&mut C>, &mut Option<C::Output>, Pin<&mut R>) {
        // SAFETY: `case` and `rest` are pinned with `self` and never moved; `output` is not pinned.
        unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.case), &mut this.output, Pin::new_unchecked(&mut this.rest))
        }
    }
}

impl<C: Case, R: Cases> Cases for Cons<C, R> {
    type Output = Which<C::Output, R::Output>;

    #[inline(always)]
    fn count(&self) -> usize {
        1 + self.rest.count()
    }

    #[inline(always)]
    fn enabled(&self, index: usize) -> bool {
        if index == 0 { self.enabled } else { self.rest.enabled(index - 1) }
    }

    #[inline(always)]
    fn poll_case(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool {
        let (case, output, rest) = self.project();
        if index != 0 {
            return rest.poll_case(index - 1, cx);
        }
        match case.poll_case(cx) {
            Poll::Ready(value) => {
                *output = Some(value);
                true
            }
            Poll::Pending => false,
        }
    }

    #[inline(always)]
    fn raw(&self, index: usize) -> Option<&dyn RawCase> {
        if index == 0 { self.case.raw() } else { self.rest.raw(index - 1) }
    }

    #[inline(always)]
    fn output(self: Pin<&mut Self>, index: usize) -> Self::Output {
        let (case, output, rest) = self.project();
        if index != 0 {
            return Which::Rest(rest.output(index - 1));
        }
        Which::This(output.take().unwrap_or_else(|| case.won()))
    }
}

impl Cases for Nil {
    type Output = Never;

    fn count(&self) -> usize {
        0
    }

    fn enabled(&self, _: usize) -> bool {
        unreachable!("no case")
    }

    fn poll_case(self: Pin<&mut Self>, _: usize, _: &mut Context<'_>) -> bool {
        unreachable!("no case")
    }

    fn raw(&self, _: usize) -> Option<&dyn RawCase> {
        unreachable!("no case")
    }

    fn output(self: Pin<&mut Self>, _: usize) -> Never {
        unreachable!("no case")
    }
}

// ------------------------------------------------------------------------------------------------ the driver

/// A select in progress.
///
/// # Cancellation
///
/// Dropping it takes every case out of its queue. One that was served meanwhile gives a received value on, as a dropped
/// receive does; a send that was taken stands.
#[doc(hidden)]
#[must_use = "a select does nothing unless awaited"]
pub struct Selecting<C: Cases, S: AsMut<[u32]>> {
    cases: C,
    token: Token,
    stage: Stage,
    biased: bool,
    site: &'static Location<'static>,
    /// Room for the cases that are to be tried.
    candidates: S,
    /// The channel operations that are not switched off; once they are queued, by the address of their lock.
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
            cases,
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
            this.sort_raws();
            this.lock_all();
            let found = this.attempt_all();
            this.unlock_all();
            this.stage = Stage::Over;
            found.map(|(index, woken)| {
                woken.wake();
                this.output(index)
            })
        })
    }

    fn cases(&mut self) -> Pin<&mut C> {
        // SAFETY: `cases` is pinned with `self`, whose owner is pinned wherever this is called from.
        unsafe { Pin::new_unchecked(&mut self.cases) }
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
                None => others += 1,
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

    #[inline(always)]
    fn output(&mut self, index: usize) -> C::Output {
        self.stage = Stage::Over;
        self.cases().output(index)
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
        let token = NonNull::from(&self.token);
        let mut watchers = Vec::new();
        for (_, raw) in self.each_raw() {
            // SAFETY: all locks are held; the case was fresh in `try_alone`, and is pinned with `self`, as the token is;
            // `drop` takes it out.
            let woken = unsafe { raw.enqueue(token) };
            if !woken.watchers.is_empty() {
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
        self.update_waker(cx.waker());
        if self.others == 0 {
            return if self.token.seen() == Seen::Waiting { Some(self.park()) } else { None };
        }
        if !self.token.begin_poll() {
            return None;
        }
        let mut count = 0;
        for index in 0..self.cases.count() {
            if self.cases.enabled(index) && !self.raws.as_ref()[..self.raw_count].contains(&(index as u32)) {
                self.candidates.as_mut()[count] = index as u32;
                count += 1;
            }
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
        if self.token.seen() == Seen::Waiting {
            if let Some((index, woken)) = self.attempt_all() {
                self.token.end();
                self.unlock_all();
                woken.wake();
                self.dequeue_all(Some(index));
                return Some(Poll::Ready(self.output(index)));
            }
        }
        self.unlock_all();
        None
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

impl<C: Cases, S: AsMut<[u32]>> Drop for Selecting<C, S> {
    #[inline]
    fn drop(&mut self) {
        if self.stage == Stage::Parked {
            self.abandon();
        }
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
        f.debug_struct("Selecting").field("cases", &self.cases.count()).finish_non_exhaustive()
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

// ------------------------------------------------------------------------------------------------ the run-time list

/// A select over cases that are known only at run time. Go: `reflect.Select`.
///
/// As in [`select!`](crate::select!), the choice is uniform among the ready cases, exactly one case takes effect, and the
/// closure of that one runs. Without cases, [`wait`](Self::wait) waits for ever.
///
/// ```
/// use gopark::chan;
/// use gopark::select::Select;
///
/// gopark::block_on(async {
///     let channels: Vec<_> = (0..10).map(|_| chan::bounded(1)).collect();
///     channels[7].0.try_send("seven").unwrap();
///     let mut select = Select::new();
///     for (i, (_, rx)) in channels.iter().enumerate() {
///         select = select.recv(rx, move |value| (i, value));
///     }
///     assert_eq!(select.wait().await, (7, Some("seven")));
/// });
/// ```
#[doc(alias = "reflect")]
#[must_use = "a select does nothing unless waited for"]
pub struct Select<'a, R> {
    cases: Vec<Pin<Box<dyn Arm<R> + Send + 'a>>>,
}

/// A case and what to do with its result.
trait Arm<R> {
    fn poll_arm(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool;

    fn raw_arm(&self) -> Option<&dyn RawCase>;

    fn run(self: Pin<&mut Self>) -> R;
}

struct ArmOf<C: Case, F> {
    case: C,
    output: Option<C::Output>,
    then: Option<F>,
}

impl<C: Case, F: FnOnce(C::Output) -> R, R> Arm<R> for ArmOf<C, F> {
    fn poll_arm(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        // SAFETY: `case` is pinned with `self`, the other fields are not.
        let (case, output) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.case), &mut this.output)
        };
        match case.poll_case(cx) {
            Poll::Ready(value) => {
                *output = Some(value);
                true
            }
            Poll::Pending => false,
        }
    }

    fn raw_arm(&self) -> Option<&dyn RawCase> {
        self.case.raw()
    }

    fn run(self: Pin<&mut Self>) -> R {
        // SAFETY: as in `poll_arm`.
        let (case, output, then) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.case), &mut this.output, &mut this.then)
        };
        let output = output.take().unwrap_or_else(|| case.won());
        (then.take().expect("a case wins once"))(output)
    }
}

impl<'a, R> Select<'a, R> {
    /// A select without cases.
    ///
    /// ```
    /// assert_eq!(gopark::select::Select::<()>::new().try_now(), None);
    /// ```
    pub fn new() -> Self {
        Self { cases: Vec::new() }
    }

    /// Adds a receive; `then` gets its value, or `None` if the channel is closed and drained.
    ///
    /// ```
    /// let (tx, rx) = gopark::chan::bounded(1);
    /// tx.try_send(3).unwrap();
    /// let select = gopark::select::Select::new().recv(&rx, |v: Option<i32>| v.unwrap() * 2);
    /// assert_eq!(select.try_now(), Some(6));
    /// ```
    #[track_caller]
    pub fn recv<T, F>(self, rx: &'a Receiver<T>, then: F) -> Self
    where
        T: Send + 'a,
        F: FnOnce(Option<T>) -> R + Send + 'a,
    {
        self.push(rx.recv(), then)
    }

    /// Adds a send; `then` gets its result. If another case wins, the value is dropped.
    ///
    /// ```
    /// let (tx, rx) = gopark::chan::bounded(1);
    /// let select = gopark::select::Select::new().send(&tx, 3, |sent| sent.is_ok());
    /// assert_eq!(select.try_now(), Some(true));
    /// assert_eq!(rx.try_recv(), Ok(3));
    /// ```
    #[track_caller]
    pub fn send<T, F>(self, tx: &'a Sender<T>, value: T, then: F) -> Self
    where
        T: Send + 'a,
        F: FnOnce(Result<(), SendError<T>>) -> R + Send + 'a,
    {
        self.push(tx.send(value), then)
    }

    /// Adds any other case.
    ///
    /// ```
    /// use gopark::select::{Select, fut};
    ///
    /// let answer = Select::new().case(fut(async { 42 }), |v| v).wait();
    /// assert_eq!(gopark::block_on(answer), 42);
    /// ```
    pub fn case<C, F>(self, case: C, then: F) -> Self
    where
        C: Case + Send + 'a,
        C::Output: Send,
        F: FnOnce(C::Output) -> R + Send + 'a,
    {
        self.push(case, then)
    }

    fn push<C, F>(mut self, case: C, then: F) -> Self
    where
        C: Case + Send + 'a,
        C::Output: Send,
        F: FnOnce(C::Output) -> R + Send + 'a,
    {
        self.cases.push(Box::pin(ArmOf { case, output: None, then: Some(then) }));
        self
    }

    /// Waits for one of the cases, and returns what its closure makes of it.
    ///
    /// # Cancellation
    ///
    /// As of [`select!`](crate::select!): nothing is lost.
    ///
    /// ```
    /// let (tx, rx) = gopark::chan::bounded(1);
    /// tx.try_send(3).unwrap();
    /// assert_eq!(gopark::block_on(gopark::select::Select::new().recv(&rx, |v| v).wait()), Some(3));
    /// ```
    #[track_caller]
    pub fn wait(self) -> impl Future<Output = R> + Send
    where
        R: 'a,
    {
        let scratch = vec![0; self.cases.len()];
        Selecting::new(false, self, scratch)
    }

    /// Takes one of the cases that are ready now, if any: a `select!` with `default`.
    ///
    /// ```
    /// let (_tx, rx) = gopark::chan::unbuffered::<()>();
    /// assert!(gopark::select::Select::new().recv(&rx, |_| ()).try_now().is_none());
    /// ```
    pub fn try_now(self) -> Option<R> {
        let scratch = vec![0; self.cases.len()];
        Selecting::new(false, self, scratch).try_now()
    }
}

impl<R> Cases for Select<'_, R> {
    type Output = R;

    fn count(&self) -> usize {
        self.cases.len()
    }

    fn enabled(&self, _: usize) -> bool {
        true
    }

    fn poll_case(mut self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool {
        self.cases[index].as_mut().poll_arm(cx)
    }

    fn raw(&self, index: usize) -> Option<&dyn RawCase> {
        self.cases[index].raw_arm()
    }

    fn output(mut self: Pin<&mut Self>, index: usize) -> R {
        let mut winner = self.cases.swap_remove(index);
        // The losers go before the closure runs.
        self.cases.clear();
        winner.as_mut().run()
    }
}

impl<R> Default for Select<'_, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for Select<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("cases", &self.cases.len()).finish()
    }
}
