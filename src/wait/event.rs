//! An event to wait for: `event-listener`, with all wakers kept outside its lock.
//!
//! `event-listener` clones, drops and wakes its wakers while it holds the lock of its list. A waker
//! may run foreign code, which may use the same event, so the list never gets one. It gets a
//! *proxy*, which points to the [`WakerCell`] in the listening future. Cloning and dropping a proxy
//! does nothing. Waking it only moves the task's waker out of the cell into the [`Batch`] of the
//! `notify` in progress, which wakes the batch after the list has been unlocked.
//!
//! | the cell's waker | is accessed by |
//! |---|---|
//! | while *armed*: the list holds a proxy to the cell | a `notify`, which holds the list's lock |
//! | otherwise | only the listener |
//!
//! To arm or disarm a listener means to poll the inner listener, which takes the lock. So the two
//! kinds of access never overlap, and a cell needs no lock or atomic of its own.
//!
//! Rejected: waking in batches of 32 from the stack. A broadcast could then notify a listener that
//! was added after it began (CO-04), because the list cannot be split. Therefore there is one
//! vector, allocated before the lock is taken.

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

/// How a listener was notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notified {
    /// By `notify_one`. If the listener cannot use the notification, another listener must get it.
    One,
    /// By `notify_all`. All other listeners of that time were notified, too.
    All,
}

/// A list of listeners, notified first come, first served. It does not store notifications.
#[derive(Debug)]
pub(crate) struct Event {
    list: event_listener::Event<Notified>,
    /// The number of listeners that may be in the list: incremented before a listener is added,
    /// decremented after it was removed. So a `notify` without listeners costs one load.
    listeners: AtomicUsize,
}

impl Event {
    const_fn! {
        /// Returns an event without listeners. It allocates at the first `listen`.
        pub(crate) const fn new() -> Self {
            Event { list: event_listener::Event::with_tag(), listeners: AtomicUsize::new(0) }
        }
    }

    /// Adds a listener at the end of the list. It takes part in each `notify` that begins after
    /// this returns.
    ///
    /// To wait for a condition in an atomic word: test it, `listen`, test it again, poll. The tests
    /// and changes of the word must be `SeqCst`, like the accesses to `listeners`. Then either the
    /// second test sees the change, or the `notify` after the change sees the listener.
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

    /// Notifies the listener that has waited longest. Returns false if there was none.
    #[inline]
    pub(crate) fn notify_one(&self) -> bool {
        match self.listeners.load(Ordering::SeqCst) {
            0 => false,
            _ => self.notify(1, Batch::default(), Notified::One) == 1,
        }
    }

    /// Notifies all current listeners, and returns their number. Later listeners are not notified.
    #[inline]
    pub(crate) fn notify_all(&self) -> usize {
        match self.listeners.load(Ordering::SeqCst) {
            0 => 0,
            n => {
                // The first waker is stored in `first`.
                let rest = VecDeque::with_capacity(n - 1);
                self.notify(usize::MAX, Batch { first: None, rest }, Notified::All)
            }
        }
    }

    fn notify(&self, n: usize, mut batch: Batch, how: Notified) -> usize {
        BATCH.set(&raw mut batch);
        // The list has only proxies, so this runs no foreign code, and does not unwind.
        let notified = self.list.notify(n.additional().tag(how));
        BATCH.set(ptr::null_mut());
        // The list is unlocked, so the wakers may run now.
        batch.wake();
        notified
    }

    /// Returns the number of listeners, including notified ones that have not been polled yet.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }
}

/// One place in the list of an [`Event`].
///
/// If it is dropped with a notification of [`Notified::One`] that it has not returned, it passes
/// the notification on to the next listener.
#[derive(Debug)]
#[must_use = "a listener does nothing unless polled"]
pub(crate) struct Listener<'a> {
    event: &'a Event,
    /// `None` after the notification was returned.
    inner: Option<EventListener<Notified>>,
    /// True if the list may hold a proxy to `cell`.
    armed: bool,
    cell: WakerCell,
    /// The list points to `cell`.
    _pin: PhantomPinned,
}

// SAFETY: the only field that is not `Send` itself is the cell with the waker. It is accessed as in
// the table at the top of the file; the lock of the list orders these accesses, and a waker may be
// used from any thread.
unsafe impl Send for Listener<'_> {}
// SAFETY: a shared reference to a listener gives access only to `Debug`.
unsafe impl Sync for Listener<'_> {}

impl Listener<'_> {
    /// Returns the notification, once.
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Notified> {
        // SAFETY: nothing is moved out of the pinned listener; `cell` stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(inner) = &mut this.inner else { panic!("gopark: future polled after completion") };

        let mut polled = Poll::Pending;
        if this.armed {
            // Disarms: replaces the proxy by a waker that does nothing. The poll below sees any
            // notification from here on.
            polled = Pin::new(&mut *inner).poll(&mut Context::from_waker(Waker::noop()));
        }
        if polled.is_pending() {
            // SAFETY: not armed, so only the listener accesses the cell.
            let own = unsafe { &mut *this.cell.0.get() };
            if !own.as_ref().is_some_and(|own| own.will_wake(cx.waker())) {
                *own = Some(TaskWaker::new(cx.waker()));
            }
            let cell = ptr::from_ref(&this.cell).cast();
            // SAFETY: the functions of `PROXY` keep the contract of a waker for a pointer to a
            // cell. The cell lives as long as the list may hold the proxy, because the listener
            // does not move, and leaves the list before it is dropped.
            let proxy = unsafe { Waker::from_raw(RawWaker::new(cell, &PROXY)) };
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
        // A wait with a timeout of zero is the only way to leave the list and at the same time get
        // a notification and its kind. Dropping the inner listener would also pass on a broadcast,
        // and under the lock.
        let missed = inner.wait_timeout(Duration::ZERO);
        self.event.listeners.fetch_sub(1, Ordering::SeqCst);
        if missed == Some(Notified::One) {
            self.event.notify_one();
        }
    }
}

/// The waker of a listener's task, while the listener waits.
#[derive(Debug)]
struct WakerCell(UnsafeCell<Option<TaskWaker>>);

/// The functions of a proxy. It is a borrowed pointer to a cell, so there is no reference count.
static PROXY: RawWakerVTable =
    RawWakerVTable::new(|cell| RawWaker::new(cell, &PROXY), collect, collect, |_| ());

/// Wakes a proxy: only moves the waker out of the cell. `event-listener` calls it with its list
/// locked.
///
/// # Safety
///
/// `cell` points to a live cell, and the caller holds the lock of the list in which it is armed.
unsafe fn collect(cell: *const ()) {
    // SAFETY: the caller promises that the cell lives, and an armed cell is accessed only under
    // this lock.
    let waker = unsafe { (*(*cell.cast::<WakerCell>()).0.get()).take() };
    let batch = BATCH.get();
    debug_assert!(!batch.is_null(), "woken outside of Event::notify");
    match waker {
        // SAFETY: `Event::notify` sets and resets the pointer. It calls this function in between,
        // and does not access its batch then.
        Some(waker) if !batch.is_null() => unsafe { (*batch).push(waker) },
        Some(waker) => waker.wake(),
        None => {}
    }
}

thread_local! {
    /// The batch of the `notify` in progress on this thread, null if there is none.
    static BATCH: Cell<*mut Batch> = const { Cell::new(ptr::null_mut()) };
}

/// Wakers that were taken under the lock, and are woken after it was released.
#[derive(Default)]
struct Batch {
    first: Option<TaskWaker>,
    rest: VecDeque<TaskWaker>,
}

impl Batch {
    fn push(&mut self, waker: TaskWaker) {
        match self.first {
            None => self.first = Some(waker),
            // Allocates only if listeners were added after they were counted.
            Some(_) => self.rest.push_back(waker),
        }
    }

    /// Wakes all tasks, in order.
    fn wake(self) {
        self.first.into_iter().chain(self.rest).for_each(TaskWaker::wake);
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
