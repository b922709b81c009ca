//! Notifications of one waiter or of all waiters: the basis of `Notify`, `Barrier`, `JoinSet`,
//! `watch` and `broadcast`.

// How it works.
//
// | bits | meaning | changed by |
// |---|---|---|
// | `QUEUED` | the queue is not empty | under the queue's lock |
// | `KEPT` | `notify_one` found no waiter | set by it, with `QUEUED` clear; cleared by a wait |
// | the rest | the round, in units of `ROUND` | `notify_all` begins the next one |
//
// A wait belongs to the round of its call and ends with that round. It is queued only during its
// own round, which the compare-exchange that sets `QUEUED` checks. `notify_all` grants waiters from
// the front while their round has ended, so a wait that begins while it wakes the others waits for
// the next round. `notify_one`, which may run in between, first grants those waiters as well, and
// then the waiter that it notifies.

use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::coop::{self, Object, Reason};
use crate::loom::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::wait::acquire::{Acquired, Acquisition, Mode, Request, Resource};
use crate::wait::queue::{self, Held, OwnWaiter, Queues, Waiter};
use crate::waker::{TaskWaker, WakeList};

const QUEUED: usize = 1;
const KEPT: usize = 2;
const ROUND: usize = 4;

/// See the table at the top of the file.
pub(super) struct RawNotify {
    /// A notification is a Release, the end of a wait an Acquire.
    word: AtomicUsize,
    queue: Queues<Call>,
    object: Object,
}

impl UnwindSafe for RawNotify {}
impl RefUnwindSafe for RawNotify {}

/// What the queue stores for a waiter.
pub(super) struct Call {
    round: usize,
    /// Set if `notify_one` granted the waiter: a waiter that is dropped passes that grant on.
    /// Ordered by the grant.
    by_one: AtomicBool,
}

impl Mode for Call {
    type Data = Call;
}

/// The only queue.
const Q: usize = 0;

impl RawNotify {
    const_fn! {
        pub(super) const fn new() -> Self {
            let (word, queue) = (AtomicUsize::new(0), Queues::new(()));
            RawNotify { word, queue, object: Object::new() }
        }
    }

    pub(super) fn object(&self) -> &Object {
        &self.object
    }

    /// Returns a wait for the next notification: for `notify_all` from now on, for `notify_one`
    /// from the first poll on.
    #[inline]
    pub(super) fn notified(
        &self,
        site: &'static Location<'static>,
        reason: Reason,
    ) -> Acquisition<'_, Wait<'_>, Call> {
        let round = self.word.load(Ordering::Acquire) / ROUND;
        Acquisition::new(Wait { notify: self, round, reason }, site)
    }

    /// Returns true if a notification is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.word.load(Ordering::Relaxed) & KEPT != 0
    }

    /// Notifies the waiter that has waited longest, or keeps the notification for the next wait.
    #[inline]
    pub(super) fn notify_one(&self) {
        let keep = |word| (word & QUEUED == 0).then_some(word | KEPT);
        if self.word.fetch_update(Ordering::Release, Ordering::Relaxed, keep).is_err() {
            self.grant_one();
        }
    }

    #[inline(never)]
    fn grant_one(&self) {
        let waker = loop {
            let mut queue = self.queue.lock();
            let Some(front) = queue.front(Q) else {
                self.word.fetch_or(KEPT, Ordering::Release);
                break None;
            };
            if self.is_over(front.extra.round) {
                // A `notify_all` has ended its round and is about to grant it. This notification
                // is for a later waiter.
                drop(queue);
                self.grant_all();
                continue;
            }
            front.extra.by_one.store(true, Ordering::Relaxed);
            self.leaves(&queue, front);
            break queue.grant_front(Q).flatten();
        };
        waker.into_iter().for_each(TaskWaker::wake);
    }

    /// Notifies all current waiters.
    #[inline]
    pub(super) fn notify_all(&self) {
        if self.word.fetch_add(ROUND, Ordering::Release) & QUEUED != 0 {
            self.grant_all();
        }
    }

    #[cold]
    fn grant_all(&self) {
        let mut wakes = WakeList::new();
        loop {
            {
                let mut queue = self.queue.lock();
                while !wakes.is_full() {
                    let Some(front) =
                        queue.front(Q).filter(|front| self.is_over(front.extra.round))
                    else {
                        break;
                    };
                    self.leaves(&queue, front);
                    queue.grant_front_into(Q, &mut wakes);
                }
            }
            let more = wakes.is_full();
            wakes.wake_all();
            if !more {
                return;
            }
        }
    }

    fn is_over(&self, round: usize) -> bool {
        self.word.load(Ordering::Relaxed) / ROUND != round
    }

    /// Clears `QUEUED` if `waiter`, which is about to leave the queue, is the last. The queue's
    /// lock is held.
    fn leaves(&self, queue: &Held<'_, Call>, waiter: &Waiter<Call>) {
        if queue.is_only(Q, waiter) {
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }
}

/// A wait that began in `round`.
#[derive(Clone, Copy)]
pub(super) struct Wait<'a> {
    notify: &'a RawNotify,
    round: usize,
    reason: Reason,
}

impl Wait<'_> {
    /// Ends the wait if it was notified, and returns whether it was. If not, sets `QUEUED` if
    /// `queues`.
    fn try_end(&self, queues: bool) -> bool {
        let word = &self.notify.word;
        let mut seen = word.load(Ordering::Acquire);
        loop {
            let (to, ends) = match seen {
                _ if seen / ROUND != self.round => return true,
                _ if seen & KEPT != 0 => (seen & !KEPT, true),
                _ if queues => (seen | QUEUED, false),
                _ => return false,
            };
            match word.compare_exchange_weak(seen, to, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return ends,
                Err(now) => seen = now,
            }
        }
    }
}

impl<'a> Request<'a, Call> for Wait<'a> {
    type Resource = Self;
    type Output = ();

    fn resource(self) -> Self {
        self
    }

    fn reason(self) -> Reason {
        self.reason
    }

    fn output(self, _: Acquired<Self, Call>) {}
}

impl<'a> Resource<'a, Call> for Wait<'a> {
    const GRANT_IS_ALL: bool = true;

    #[inline]
    fn try_acquire(self) -> bool {
        self.try_end(false)
    }

    /// `enqueue` tries once more, under the lock.
    #[inline]
    fn try_again(self) -> bool {
        false
    }

    fn extra(self) -> Call {
        Call { round: self.round, by_one: AtomicBool::new(false) }
    }

    fn object(self) -> Option<&'a Object> {
        Some(&self.notify.object)
    }

    fn enqueue(self, waiter: OwnWaiter<'_, 'a, Call>) -> bool {
        let mut queue = self.notify.queue.lock();
        if self.try_end(true) {
            return true;
        }
        queue.push_back(Q, waiter);
        false
    }

    fn look(self, waiter: OwnWaiter<'_, 'a, Call>, cx: &mut Context<'_>) -> bool {
        self.notify.queue.look(waiter, cx, |_, _| waiter.state() == queue::GRANTED)
    }

    #[cold]
    fn cancel(self, waiter: OwnWaiter<'_, 'a, Call>) {
        let mut queue = self.notify.queue.lock();
        if waiter.state() == queue::GRANTED {
            drop(queue);
            if waiter.extra.by_one.load(Ordering::Relaxed) {
                self.notify.notify_one();
            }
            return;
        }
        self.notify.leaves(&queue, &waiter);
        queue.remove(waiter);
    }
}

pin_project! {
    /// Waits until a condition holds. The condition is checked first, and then after each
    /// `notify_all`.
    pub(super) struct Until<'a> {
        notify: &'a RawNotify,
        site: &'static Location<'static>,
        reason: Reason,
        #[pin]
        waiting: Option<Acquisition<'a, Wait<'a>, Call>>,
    }
}

impl<'a> Until<'a> {
    pub(super) fn new(
        notify: &'a RawNotify,
        site: &'static Location<'static>,
        reason: Reason,
    ) -> Self {
        Until { notify, site, reason, waiting: None }
    }

    /// Gives up the wait. The next poll begins anew.
    pub(super) fn restart(self: Pin<&mut Self>) {
        self.project().waiting.set(None);
    }

    /// Polls until `ask` returns a value. Code that changes what `ask` returns must call
    /// `notify_all` afterwards.
    pub(super) fn poll<R>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut ask: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        let mut this = self.project();
        loop {
            if let Some(waiting) = this.waiting.as_mut().as_pin_mut() {
                if waiting.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.waiting.set(None);
            }
            if !coop::poll_ready(cx, *this.site, *this.reason, this.notify.object()) {
                return Poll::Pending;
            }
            // Created before `ask` is called, so that a later change ends the wait.
            let notified = this.notify.notified(this.site, *this.reason);
            if let Some(answer) = ask() {
                coop::spend();
                return Poll::Ready(answer);
            }
            this.waiting.set(Some(notified));
        }
    }
}
