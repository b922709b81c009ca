//! An event to wait for: `event-listener` with every waker outside its lock.
//!
//! `event-listener` clones, drops and wakes the wakers it was given while it holds the lock of its list. A waker is
//! somebody else's code and may come back to the same event, so it is never given one. What it gets is a *proxy* that
//! points at the [`Seat`] in our own future: cloning and dropping a proxy does nothing, and waking one only moves the
//! real waker out of the seat into the [`Batch`] of the `notify` in progress, which performs the wakes after the list
//! has been unlocked.
//!
//! | the seat's waker | is touched by |
//! |---|---|
//! | while *armed*: the list holds a proxy to the seat | whoever holds the list's lock (that is: a `notify`) |
//! | otherwise | the listener alone |
//!
//! A listener is armed and disarmed by polling the inner listener, which takes the lock: so the two columns never meet,
//! and a seat needs no lock or atomic of its own.
//!
//! Rejected: waking in batches of 32 from the stack. A newcomer could then be notified by a broadcast that began
//! before it (CO-04), since the list cannot be cut. Hence one vector, reserved before the lock is taken.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use event_listener::{EventListener, IntoNotification, Listener as _};

use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::const_fn;

/// How a listener came to be notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notified {
    /// By `notify_one`: if the listener can make no use of it, another must have it.
    One,
    /// By `notify_all`: everyone else who waited has one too.
    All,
}

/// A list of listeners, notified first come, first served. It stores no notification for later.
pub(crate) struct Event {
    list: event_listener::Event<Notified>,
    /// Listeners that may be in the list: raised before one enters, lowered after it left. Lets a `notify` that finds
    /// nobody cost a load.
    listeners: AtomicUsize,
}

impl Event {
    const_fn! {
        /// An event nobody listens to. It allocates at the first `listen`.
        pub(crate) const fn new() -> Self {
            Event { list: event_listener::Event::with_tag(), listeners: AtomicUsize::new(0) }
        }
    }

    /// Joins the end of the list, now: a `notify` that begins after this has returned counts the listener in.
    ///
    /// To wait for a condition that is an atomic word: test it, `listen`, test it again, poll. Tests and changes of the
    /// word must be `SeqCst`, as the accesses to `listeners` are: then either the second test sees the change or the
    /// `notify` that follows the change sees the listener.
    pub(crate) fn listen(&self) -> Listener<'_> {
        self.listeners.fetch_add(1, Ordering::SeqCst);
        Listener {
            event: self,
            inner: Some(self.list.listen()),
            armed: false,
            seat: Seat(UnsafeCell::new(None)),
            _pin: PhantomPinned,
        }
    }

    /// Notifies the listener that has waited longest; says whether there was one.
    #[inline]
    pub(crate) fn notify_one(&self) -> bool {
        match self.listeners.load(Ordering::SeqCst) {
            0 => false,
            _ => self.notify(1, Batch::default(), Notified::One) == 1,
        }
    }

    /// Notifies every listener there is now, and nobody who comes later.
    #[inline]
    pub(crate) fn notify_all(&self) -> usize {
        match self.listeners.load(Ordering::SeqCst) {
            0 => 0,
            n => {
                // The first waker has a place of its own.
                let rest = VecDeque::with_capacity(n - 1);
                self.notify(usize::MAX, Batch { first: None, rest }, Notified::All)
            }
        }
    }

    fn notify(&self, n: usize, mut batch: Batch, how: Notified) -> usize {
        let notified = {
            let _collecting = Collecting::into(&mut batch);
            self.list.notify(n.additional().tag(how))
        };
        // The list is unlocked: now, and not before, the wakers may run.
        batch.wake();
        notified
    }

    /// How many listen, notified ones that did not look yet included.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("listeners", &self.listeners()).finish()
    }
}

/// One place in the list of an [`Event`].
///
/// Dropped with a notification of [`Notified::One`] that its owner has not seen, it passes that on to the next.
#[must_use = "a listener does nothing unless polled"]
pub(crate) struct Listener<'a> {
    event: &'a Event,
    /// `None` once the notification has been seen.
    inner: Option<EventListener<Notified>>,
    /// Whether the list may hold a proxy to `seat`.
    armed: bool,
    seat: Seat,
    /// The list points at `seat`.
    _pin: PhantomPinned,
}

// SAFETY: the one field that is not `Send` by itself is the seat, a cell with a waker. Its table at the top of the file says
// who may touch it; the lock of the list orders these accesses, and a waker may be used from any thread.
unsafe impl Send for Listener<'_> {}
// SAFETY: a shared reference to a listener reaches nothing but `Debug`.
unsafe impl Sync for Listener<'_> {}

impl Listener<'_> {
    /// Ready with the notification, once.
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Notified> {
        // SAFETY: nothing is moved out of the pinned listener; `seat` stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(inner) = &mut this.inner else { panic!("gopark: future polled after completion") };

        if this.armed {
            // Replaces the proxy by a waker that does nothing. A notification from here on is seen by the poll below.
            if let Poll::Ready(how) = Pin::new(&mut *inner).poll(&mut Context::from_waker(Waker::noop())) {
                this.leave();
                return Poll::Ready(how);
            }
            this.armed = false;
        }
        // SAFETY: not armed, so the seat is ours alone.
        match unsafe { &mut *this.seat.0.get() } {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        // SAFETY: the functions of `PROXY` keep the contract of a waker for a pointer to a seat, which lives as long as
        // the list may hold the proxy: the listener leaves the list before it is dropped, and does not move until then.
        let proxy = unsafe { Waker::from_raw(RawWaker::new(ptr::from_ref(&this.seat).cast(), &PROXY)) };
        match Pin::new(inner).poll(&mut Context::from_waker(&proxy)) {
            Poll::Ready(how) => {
                this.leave();
                Poll::Ready(how)
            }
            Poll::Pending => {
                this.armed = true;
                Poll::Pending
            }
        }
    }

    /// After the inner listener has been notified and so has left the list.
    fn leave(&mut self) {
        self.armed = false;
        self.inner = None;
        self.event.listeners.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        // Waiting for no time at all is the one way to leave the list and learn, in the same breath, of a notification and
        // its kind. Dropping the inner listener would pass on a broadcast as well, and would do it under the lock.
        let missed = inner.wait_timeout(Duration::ZERO);
        self.event.listeners.fetch_sub(1, Ordering::SeqCst);
        if missed == Some(Notified::One) {
            self.event.notify_one();
        }
    }
}

impl fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("notified", &self.inner.is_none()).finish_non_exhaustive()
    }
}

/// Where a listener keeps the waker of its task while it waits.
struct Seat(UnsafeCell<Option<Waker>>);

/// The functions of a proxy: a borrowed pointer to a seat, so that there is nothing to count.
static PROXY: RawWakerVTable = RawWakerVTable::new(|seat| RawWaker::new(seat, &PROXY), collect, collect, |_| ());

/// Wakes a proxy, called by `event-listener` with its list locked: moves the waker out of the seat, no more.
///
/// # Safety
///
/// `seat` points to a live seat, and the caller holds the lock of the list which it is armed in.
unsafe fn collect(seat: *const ()) {
    // SAFETY: the caller's promise: alive, and armed seats are touched under this lock only.
    let waker = unsafe { (*(*seat.cast::<Seat>()).0.get()).take() };
    let batch = BATCH.get();
    debug_assert!(!batch.is_null(), "woken outside of Event::notify");
    match waker {
        // SAFETY: the pointer is set and reset by `Collecting`, whose batch is borrowed for just as long.
        Some(waker) if !batch.is_null() => unsafe { (*batch).push(waker) },
        Some(waker) => waker.wake(),
        None => {}
    }
}

thread_local! {
    /// The batch of the `notify` in progress on this thread, null if there is none.
    static BATCH: Cell<*mut Batch> = const { Cell::new(ptr::null_mut()) };
}

/// While it lives, proxies woken on this thread go to its batch.
struct Collecting<'a> {
    outer: *mut Batch,
    _batch: std::marker::PhantomData<&'a mut Batch>,
}

impl<'a> Collecting<'a> {
    fn into(batch: &'a mut Batch) -> Self {
        Collecting { outer: BATCH.replace(batch), _batch: std::marker::PhantomData }
    }
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        BATCH.set(self.outer);
    }
}

/// Wakers taken under the lock, to be woken after it.
#[derive(Default)]
struct Batch {
    first: Option<Waker>,
    rest: VecDeque<Waker>,
}

impl Batch {
    fn push(&mut self, waker: Waker) {
        match self.first {
            None => self.first = Some(waker),
            // Within the room reserved, unless listeners have come since it was counted.
            Some(_) => self.rest.push_back(waker),
        }
    }

    /// Wakes all, in order.
    fn wake(mut self) {
        if let Some(waker) = self.first.take() {
            crate::coop::note_unwinding();
            waker.wake();
        }
        while let Some(waker) = self.rest.pop_front() {
            waker.wake();
        }
    }
}

impl Drop for Batch {
    /// A waker that panics must not cost the others their wake.
    fn drop(&mut self) {
        while let Some(waker) = self.rest.pop_front() {
            waker.wake();
        }
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex, Weak};
    use std::task::Wake;

    use super::*;

    /// Counts its wakes and runs a piece of code at each wake and when the last handle goes.
    struct Probe {
        wakes: AtomicUsize,
        wake: Box<dyn Fn() + Send + Sync>,
        drop: Box<dyn Fn() + Send + Sync>,
    }

    impl Probe {
        fn new() -> Arc<Self> {
            Self::with(|| (), || ())
        }
        fn with(wake: impl Fn() + Send + Sync + 'static, drop: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
            Arc::new(Probe { wakes: AtomicUsize::new(0), wake: Box::new(wake), drop: Box::new(drop) })
        }
        fn wakes(&self) -> usize {
            self.wakes.load(Ordering::SeqCst)
        }
    }

    impl Wake for Probe {
        fn wake(self: Arc<Self>) {
            self.wakes.fetch_add(1, Ordering::SeqCst);
            (self.wake)();
        }
    }

    impl Drop for Probe {
        fn drop(&mut self) {
            (self.drop)();
        }
    }

    fn poll(listener: &mut Pin<Box<Listener<'_>>>, probe: &Arc<Probe>) -> Poll<Notified> {
        listener.as_mut().poll(&mut Context::from_waker(&Waker::from(probe.clone())))
    }

    #[test]
    fn one_goes_to_the_longest_waiter_and_is_not_stored() {
        let event = Event::new();
        assert!(!event.notify_one());
        let (mut a, mut b) = (Box::pin(event.listen()), Box::pin(event.listen()));
        let (pa, pb) = (Probe::new(), Probe::new());
        // Polled the other way round: it is `listen` that counts.
        assert!(poll(&mut b, &pb).is_pending() && poll(&mut a, &pa).is_pending());
        assert!(event.notify_one());
        assert_eq!((pa.wakes(), pb.wakes()), (1, 0));
        assert!(poll(&mut b, &pb).is_pending());
        assert_eq!(poll(&mut a, &pa), Poll::Ready(Notified::One));
        assert_eq!(event.listeners(), 1);
        assert!(event.notify_one());
        assert!(!event.notify_one());
        assert_eq!(poll(&mut b, &pb), Poll::Ready(Notified::One));
        assert_eq!(event.listeners(), 0);
    }

    #[test]
    fn two_notifications_wake_two_though_the_first_was_not_looked_at() {
        let event = Event::new();
        let (mut a, mut b) = (Box::pin(event.listen()), Box::pin(event.listen()));
        let p = Probe::new();
        assert!(poll(&mut a, &p).is_pending() && poll(&mut b, &p).is_pending());
        assert!(event.notify_one() && event.notify_one());
        assert_eq!(p.wakes(), 2);
        assert!(poll(&mut a, &p).is_ready() && poll(&mut b, &p).is_ready());
    }

    #[test]
    fn all_reaches_those_who_wait_now_each_once() {
        let event = Event::new();
        let p = Probe::new();
        let mut now: Vec<_> = (0..100).map(|_| Box::pin(event.listen())).collect();
        // Some are armed, some were never polled.
        for listener in &mut now[..50] {
            assert!(poll(listener, &p).is_pending());
        }
        assert_eq!(event.notify_all(), 100);
        assert_eq!(p.wakes(), 50);
        let mut late = Box::pin(event.listen());
        for listener in &mut now {
            assert_eq!(poll(listener, &p), Poll::Ready(Notified::All));
        }
        assert!(poll(&mut late, &p).is_pending());
        assert_eq!(p.wakes(), 50);
    }

    #[test]
    fn a_dropped_listener_passes_a_single_notification_on() {
        let event = Event::new();
        let p = Probe::new();
        for armed in [false, true] {
            let (mut a, mut b) = (Box::pin(event.listen()), Box::pin(event.listen()));
            if armed {
                assert!(poll(&mut a, &p).is_pending());
            }
            assert!(event.notify_one());
            drop(a);
            assert_eq!(poll(&mut b, &p), Poll::Ready(Notified::One));
        }
        assert_eq!(event.listeners(), 0);
    }

    #[test]
    fn a_dropped_listener_keeps_a_broadcast_to_itself() {
        let event = Event::new();
        let p = Probe::new();
        for armed in [false, true] {
            let mut a = Box::pin(event.listen());
            if armed {
                assert!(poll(&mut a, &p).is_pending());
            }
            event.notify_all();
            let mut late = Box::pin(event.listen());
            drop(a);
            assert!(poll(&mut late, &p).is_pending());
        }
        assert_eq!(event.listeners(), 0);
    }

    #[test]
    fn a_new_waker_replaces_the_old_one_and_only_it_is_woken() {
        let event = Event::new();
        let mut a = Box::pin(event.listen());
        let (old, new) = (Probe::new(), Probe::new());
        assert!(poll(&mut a, &old).is_pending());
        assert!(poll(&mut a, &new).is_pending());
        assert_eq!(Arc::strong_count(&old), 1);
        event.notify_one();
        assert_eq!((old.wakes(), new.wakes()), (0, 1));
        assert_eq!(Arc::strong_count(&new), 1);
        assert!(poll(&mut a, &new).is_ready());
        assert_eq!(Arc::strong_count(&new), 1);
    }

    #[test]
    #[should_panic(expected = "polled after completion")]
    fn polling_after_completion_panics() {
        let event = Event::new();
        let mut a = Box::pin(event.listen());
        let p = Probe::new();
        event.notify_one();
        assert!(poll(&mut a, &p).is_ready());
        let _ = poll(&mut a, &p);
    }

    #[test]
    fn a_waker_may_come_back_to_the_event_when_woken_and_when_dropped() {
        let event: &'static Event = Box::leak(Box::new(Event::new()));
        let uses = |event: &'static Event| {
            let mut l = Box::pin(event.listen());
            let p = Probe::new();
            assert!(poll(&mut l, &p).is_pending());
            event.notify_all();
            drop(event.listen());
        };
        let dropped = Arc::new(AtomicBool::new(false));
        let d = dropped.clone();
        let p = Probe::with(
            move || uses(event),
            move || {
                uses(event);
                d.store(true, Ordering::SeqCst);
            },
        );
        let mut a = Box::pin(event.listen());
        assert!(poll(&mut a, &p).is_pending());
        let weak: Weak<Probe> = Arc::downgrade(&p);
        drop(p);
        // Drops the last handle of the first probe, which notifies this very listener.
        assert!(poll(&mut a, &Probe::new()).is_ready());
        assert!(weak.upgrade().is_none() && dropped.load(Ordering::SeqCst));

        let p = Probe::with(move || uses(event), || ());
        let mut a = Box::pin(event.listen());
        assert!(poll(&mut a, &p).is_pending());
        event.notify_one();
        assert_eq!(p.wakes(), 1);
        drop(a);
    }

    #[test]
    fn a_waker_may_drop_the_listeners_that_were_notified_with_it() {
        let event: &'static Event = Box::leak(Box::new(Event::new()));
        let others = Arc::new(Mutex::new(Vec::new()));
        let o = others.clone();
        let first = Probe::with(
            move || {
                let gone = std::mem::take(&mut *o.lock().unwrap());
                drop(gone);
            },
            || (),
        );
        let mut a = Box::pin(event.listen());
        assert!(poll(&mut a, &first).is_pending());
        let p = Probe::new();
        for _ in 0..10 {
            let mut l = Box::pin(event.listen());
            assert!(poll(&mut l, &p).is_pending());
            others.lock().unwrap().push(l);
        }
        event.notify_all();
        // They had been notified, so they are woken though nothing is left of them.
        assert_eq!((first.wakes(), p.wakes()), (1, 10));
        assert!(poll(&mut a, &first).is_ready());
        assert_eq!(event.listeners(), 0);
    }

    #[test]
    fn a_waker_that_panics_costs_nobody_else_the_wake() {
        let event = Event::new();
        let bad = Probe::with(|| panic!("bad waker"), || ());
        let good = Probe::new();
        let mut a = Box::pin(event.listen());
        assert!(poll(&mut a, &bad).is_pending());
        let mut rest: Vec<_> = (0..3).map(|_| Box::pin(event.listen())).collect();
        for l in &mut rest {
            assert!(poll(l, &good).is_pending());
        }
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event.notify_all()));
        assert!(caught.is_err());
        assert_eq!(good.wakes(), 3);
        // Nothing of the batch is left behind.
        assert!(BATCH.get().is_null());
    }

    /// Threads that listen, are polled with changing wakers and leave at any moment, against one that notifies. Each
    /// single notification is received exactly once, or found nobody.
    #[test]
    fn no_notification_is_lost_or_doubled_when_listeners_leave_at_random() {
        const THREADS: usize = 3;
        let event = Event::new();
        let received = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let sent = std::thread::scope(|s| {
            for t in 0..THREADS {
                let (event, received, stop) = (&event, &received, &stop);
                s.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(t as u64);
                    while !stop.load(Ordering::SeqCst) {
                        let mut l = Box::pin(event.listen());
                        let mut got = false;
                        for _ in 0..rng.usize(0..4) {
                            let p = Probe::new();
                            if poll(&mut l, &p).is_ready() {
                                got = true;
                                break;
                            }
                        }
                        if got {
                            received.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            let mut sent = 0;
            for _ in 0..30_000 {
                sent += usize::from(event.notify_one());
            }
            stop.store(true, Ordering::SeqCst);
            sent
        });
        // A notification passed on may find nobody, so fewer may be received than were sent, never more.
        assert!(received.load(Ordering::SeqCst) <= sent);
        assert_eq!(event.listeners(), 0);
    }

    /// As above, but one listener stays: it must get what the others could not use.
    #[test]
    fn the_one_who_stays_gets_what_the_leavers_passed_on() {
        for round in 0..300 {
            let event = Event::new();
            let mut leaver = Box::pin(event.listen());
            let mut stayer = Box::pin(event.listen());
            let (pl, ps) = (Probe::new(), Probe::new());
            if round % 3 != 0 {
                assert!(poll(&mut leaver, &pl).is_pending());
            }
            assert!(poll(&mut stayer, &ps).is_pending());
            std::thread::scope(|s| {
                s.spawn(|| assert!(event.notify_one()));
                s.spawn(|| drop(leaver));
            });
            assert_eq!(poll(&mut stayer, &ps), Poll::Ready(Notified::One), "round {round}");
            assert_eq!(ps.wakes(), 1);
        }
    }
}
