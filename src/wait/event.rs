//! An event to wait for: `event-listener` with every waker outside its lock.
//!
//! `event-listener` clones, drops and wakes the wakers it was given while it holds the lock of its
//! list. A waker may run foreign code, which may come back to the same event, so the list is never
//! given one. What it gets is a *proxy* that points at the [`WakerCell`] in the listening future:
//! cloning and dropping a proxy does nothing, and waking one only moves the task's waker out of the
//! cell into the [`Batch`] of the `notify` in progress, which performs the wakes after the list has
//! been unlocked.
//!
//! | the cell's waker | is touched by |
//! |---|---|
//! | while *armed*: the list holds a proxy to the cell | the holder of the list's lock (that is: a `notify`) |
//! | otherwise | the listener alone |
//!
//! A listener is armed and disarmed by polling the inner listener, which takes the lock: so the two
//! columns never meet, and a cell needs no lock or atomic of its own.
//!
//! Rejected: waking in batches of 32 from the stack. A newcomer could then be notified by a
//! broadcast that began before it (CO-04), since the list cannot be cut. Hence one vector, reserved
//! before the lock is taken.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use event_listener::{EventListener, IntoNotification, Listener as _};

use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::waker::TaskWaker;

/// How a listener came to be notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notified {
    /// By `notify_one`: if the listener can make no use of it, another must have it.
    One,
    /// By `notify_all`: everyone else who waited has one too.
    All,
}

/// A list of listeners, notified first come, first served. It stores no notification for later.
#[derive(Debug)]
pub(crate) struct Event {
    list: event_listener::Event<Notified>,
    /// Listeners that may be in the list: raised before one enters, lowered after it left. Lets a
    /// `notify` that finds nobody cost a load.
    listeners: AtomicUsize,
}

impl Event {
    const_fn! {
        /// An event nobody listens to. It allocates at the first `listen`.
        pub(crate) const fn new() -> Self {
            Event { list: event_listener::Event::with_tag(), listeners: AtomicUsize::new(0) }
        }
    }

    /// Joins the end of the list, now: a `notify` that begins after this has returned counts the
    /// listener in.
    ///
    /// To wait for a condition that is an atomic word: test it, `listen`, test it again, poll.
    /// Tests and changes of the word must be `SeqCst`, as the accesses to `listeners` are: then
    /// either the second test sees the change or the `notify` that follows the change sees the
    /// listener.
    pub(crate) fn listen(&self) -> Listener<'_> {
        self.listeners.fetch_add(1, Ordering::SeqCst);
        Listener {
            event: self,
            inner: Some(self.list.listen()),
            armed: false,
            cell: WakerCell(UnsafeCell::new(None)),
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
        BATCH.set(&raw mut batch);
        // Runs no foreign code, and does not unwind: the list has proxies only.
        let notified = self.list.notify(n.additional().tag(how));
        BATCH.set(ptr::null_mut());
        // The list is unlocked: now, and not before, the wakers may run.
        batch.wake();
        notified
    }

    /// How many listen, notified ones that did not look yet included.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }
}

/// One place in the list of an [`Event`].
///
/// Dropped with a notification of [`Notified::One`] that its owner has not seen, it passes that on
/// to the next.
#[derive(Debug)]
#[must_use = "a listener does nothing unless polled"]
pub(crate) struct Listener<'a> {
    event: &'a Event,
    /// `None` once the notification has been seen.
    inner: Option<EventListener<Notified>>,
    /// Whether the list may hold a proxy to `cell`.
    armed: bool,
    cell: WakerCell,
    /// The list points at `cell`.
    _pin: PhantomPinned,
}

// SAFETY: the one field that is not `Send` by itself is the cell with the waker. Its table at the
// top of the file says who may touch it; the lock of the list orders these accesses, and a waker
// may be used from any thread.
unsafe impl Send for Listener<'_> {}
// SAFETY: a shared reference to a listener reaches nothing but `Debug`.
unsafe impl Sync for Listener<'_> {}

impl Listener<'_> {
    /// Ready with the notification, once.
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Notified> {
        // SAFETY: nothing is moved out of the pinned listener; `cell` stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(inner) = &mut this.inner else { panic!("gopark: future polled after completion") };

        let mut polled = Poll::Pending;
        if this.armed {
            // Replaces the proxy by a waker that does nothing. A notification from here on is seen
            // by the poll below.
            polled = Pin::new(&mut *inner).poll(&mut Context::from_waker(Waker::noop()));
        }
        if polled.is_pending() {
            // SAFETY: not armed, so the cell is the listener's alone.
            let own = unsafe { &mut *this.cell.0.get() };
            if !own.as_ref().is_some_and(|own| own.will_wake(cx.waker())) {
                *own = Some(TaskWaker::new(cx.waker()));
            }
            // SAFETY: the functions of `PROXY` keep the contract of a waker for a pointer to a
            // cell, which lives as long as the list may hold the proxy: the listener leaves the
            // list before it is dropped, and does not move until then.
            let proxy =
                unsafe { Waker::from_raw(RawWaker::new(ptr::from_ref(&this.cell).cast(), &PROXY)) };
            polled = Pin::new(inner).poll(&mut Context::from_waker(&proxy));
        }
        this.armed = polled.is_pending();
        if polled.is_ready() {
            this.inner = None;
            this.event.listeners.fetch_sub(1, Ordering::SeqCst);
        }
        polled
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        // Waiting for no time at all is the one way to leave the list and learn, in the same
        // breath, of a notification and its kind. Dropping the inner listener would pass on a
        // broadcast as well, and would do it under the lock.
        let missed = inner.wait_timeout(Duration::ZERO);
        self.event.listeners.fetch_sub(1, Ordering::SeqCst);
        if missed == Some(Notified::One) {
            self.event.notify_one();
        }
    }
}

/// Where a listener keeps the waker of its task while it waits.
#[derive(Debug)]
struct WakerCell(UnsafeCell<Option<TaskWaker>>);

/// The functions of a proxy: a borrowed pointer to a cell, so that there is nothing to count.
static PROXY: RawWakerVTable =
    RawWakerVTable::new(|cell| RawWaker::new(cell, &PROXY), collect, collect, |_| ());

/// Wakes a proxy, called by `event-listener` with its list locked: moves the waker out of the cell,
/// no more.
///
/// # Safety
///
/// `cell` points to a live cell, and the caller holds the lock of the list which it is armed in.
unsafe fn collect(cell: *const ()) {
    // SAFETY: the caller's promise: alive, and armed cells are touched under this lock only.
    let waker = unsafe { (*(*cell.cast::<WakerCell>()).0.get()).take() };
    let batch = BATCH.get();
    debug_assert!(!batch.is_null(), "woken outside of Event::notify");
    match waker {
        // SAFETY: set and reset by `Event::notify`, which calls this in between and does not touch
        // its batch.
        Some(waker) if !batch.is_null() => unsafe { (*batch).push(waker) },
        Some(waker) => waker.wake(),
        None => {}
    }
}

thread_local! {
    /// The batch of the `notify` in progress on this thread, null if there is none.
    static BATCH: Cell<*mut Batch> = const { Cell::new(ptr::null_mut()) };
}

/// Wakers taken under the lock, to be woken after it.
#[derive(Default)]
struct Batch {
    first: Option<TaskWaker>,
    rest: VecDeque<TaskWaker>,
}

impl Batch {
    fn push(&mut self, waker: TaskWaker) {
        match self.first {
            None => self.first = Some(waker),
            // Within the room reserved, unless listeners have come since it was counted.
            Some(_) => self.rest.push_back(waker),
        }
    }

    /// Wakes all, in order.
    fn wake(self) {
        self.first.into_iter().chain(self.rest).for_each(TaskWaker::wake);
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
