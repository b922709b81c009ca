//! A channel for a single value.
//!
//! tokio: `sync::oneshot`; Go: a channel with a buffer of one.
//!
//! A channel is one allocation. If there may be several values, use a
//! [`bounded(1)`](crate::chan::bounded) channel; for the result of a goroutine, a
//! [`JoinHandle`](crate::JoinHandle) suffices.
//!
//! # Memory ordering
//!
//! A send synchronizes before the completion of the receive. The close or the drop of the receiver
//! synchronizes before the completion of [`closed`](Sender::closed).
//!
//! # Examples
//!
//! ```
//! use gopark::sync::oneshot;
//!
//! gopark::block_on(async {
//!     let (tx, rx) = oneshot::channel();
//!     gopark::go(async move { tx.send("hello") });
//!     assert_eq!(rx.await, Ok("hello"));
//! });
//! ```

use std::error::Error;
use std::fmt;
use std::panic::{Location, RefUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::chan::TryRecvError;
use crate::coop::{self, Object, Reason};
use crate::lock::Lock;
use crate::wait::block_on::block_on;
use crate::wait::case::future_case;
use crate::waker::TaskWaker;

/// Creates a channel for a single value.
///
/// # Examples
///
/// ```
/// use gopark::sync::oneshot;
///
/// let (tx, rx) = oneshot::channel();
/// tx.send(7).unwrap();
/// assert_eq!(gopark::block_on(rx), Ok(7));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = State {
        value: None,
        sender_gone: false,
        receiver_gone: false,
        sender: None,
        receiver: None,
    };
    let shared = Arc::new(Shared { state: Lock::new(state), object: Object::new() });
    (Sender(Some(shared.clone())), Receiver(Some(shared)))
}

struct Shared<T> {
    state: Lock<State<T>>,
    object: Object,
}

// A panic cannot leave it inconsistent: no user code runs under the lock.
impl<T> RefUnwindSafe for Shared<T> {}

struct State<T> {
    value: Option<T>,
    /// The sender has sent, or was dropped.
    sender_gone: bool,
    /// The receiver is closed, or was dropped.
    receiver_gone: bool,
    /// The task that waits until the receiver is dropped.
    sender: Option<TaskWaker>,
    /// The task that waits for the value.
    receiver: Option<TaskWaker>,
}

impl<T> State<T> {
    /// Takes the value. `None` if it may still be sent.
    fn received(&mut self) -> Option<Result<T, RecvError>> {
        match self.value.take() {
            Some(value) => Some(Ok(value)),
            None => (self.sender_gone || self.receiver_gone).then_some(Err(RecvError {})),
        }
    }
}

impl<T> Shared<T> {
    /// Completes with what `ask` returns. If that is `None`, stores the task of `cx` in `slot`.
    fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        site: &'static Location<'static>,
        slot: fn(&mut State<T>) -> &mut Option<TaskWaker>,
        mut ask: impl FnMut(&mut State<T>) -> Option<R>,
    ) -> Poll<R> {
        if !coop::poll_ready(cx, site, Reason::Oneshot, &self.object) {
            return Poll::Pending;
        }
        let mut own = None;
        loop {
            // Dropped in reverse order: the lock is released before `_old` is dropped.
            let _old;
            let mut state = self.state.lock();
            if let Some(answer) = ask(&mut state) {
                drop(state);
                coop::spend();
                return Poll::Ready(answer);
            }
            let stored = slot(&mut state);
            if stored.as_ref().is_some_and(|stored| stored.will_wake(cx.waker())) {
                break;
            }
            if own.is_none() && coop::trusts(cx.waker()) {
                own = Some(TaskWaker::of_current(cx.waker()));
            }
            if own.is_some() {
                _old = std::mem::replace(stored, own);
                break;
            }
            drop(state);
            // Cloned after the lock was released.
            own = Some(TaskWaker::new(cx.waker()));
        }
        coop::park_at(cx, site, Reason::Oneshot);
        Poll::Pending
    }
}

/// The sending half of a [`channel`].
///
/// # Examples
///
/// ```
/// let (tx, rx) = gopark::sync::oneshot::channel();
/// tx.send("done").unwrap();
/// assert_eq!(gopark::block_on(rx), Ok("done"));
/// ```
pub struct Sender<T>(Option<Arc<Shared<T>>>);

impl<T> Sender<T> {
    /// Sends the value, without waiting.
    ///
    /// # Errors
    ///
    /// Returns `value` if the receiver has been closed or dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::oneshot;
    ///
    /// let (tx, rx) = oneshot::channel();
    /// drop(rx);
    /// assert_eq!(tx.send(7), Err(7));
    /// ```
    pub fn send(mut self, value: T) -> Result<(), T> {
        let Some(shared) = self.0.take() else { unreachable!("taken by the send or the drop") };
        let receiver = {
            let mut state = shared.state.lock();
            if state.receiver_gone {
                drop(state);
                return Err(value);
            }
            state.value = Some(value);
            state.sender_gone = true;
            state.receiver.take()
        };
        receiver.into_iter().for_each(TaskWaker::wake);
        Ok(())
    }

    /// Waits until the receiver has been closed or dropped.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::oneshot;
    ///
    /// gopark::block_on(async {
    ///     let (mut tx, rx) = oneshot::channel::<u32>();
    ///     gopark::go(async move { drop(rx) });
    ///     tx.closed().await;
    ///     assert!(tx.is_closed());
    /// });
    /// ```
    #[track_caller]
    pub fn closed(&mut self) -> Closed<'_, T> {
        Closed { shared: self.shared(), site: Location::caller() }
    }

    /// Returns true if the receiver has been closed or dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::sync::oneshot::channel::<u32>();
    /// assert!(!tx.is_closed());
    /// drop(rx);
    /// assert!(tx.is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.shared().state.lock().receiver_gone
    }

    fn shared(&self) -> &Shared<T> {
        self.0.as_ref().expect("taken by the send or the drop")
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let (receiver, _sender) = {
            let mut state = shared.state.lock();
            state.sender_gone = true;
            (state.receiver.take(), state.sender.take())
        };
        receiver.into_iter().for_each(TaskWaker::wake);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// The receiving half of a [`channel`]: a future that completes with the value, and a case of a
/// `select!`.
///
/// # Cancellation
///
/// Dropping the receiver drops a value that has been sent. To keep the receiver, await `&mut rx`.
///
/// # Panics
///
/// If the receiver is polled after it has completed, or after [`try_recv`](Self::try_recv) has
/// returned the value.
///
/// # Examples
///
/// ```
/// use gopark::sync::oneshot;
/// use gopark::{chan, select};
///
/// gopark::block_on(async {
///     let (tx, mut rx) = oneshot::channel();
///     let (_stop, stopped) = chan::unbuffered::<()>();
///     gopark::go(async move { tx.send(7) });
///     select! {
///         value = &mut rx => assert_eq!(value, Ok(7)),
///         _ = stopped.recv() => unreachable!(),
///     }
/// });
/// ```
#[must_use = "a receiver does nothing unless awaited"]
pub struct Receiver<T>(Option<Arc<Shared<T>>>);

impl<T> Receiver<T> {
    /// Receives the value if it has been sent. Does not wait.
    ///
    /// # Errors
    ///
    /// * [`TryRecvError::Empty`]: the value may still be sent.
    /// * [`TryRecvError::Closed`]: it cannot arrive any more, because the sender was dropped or the
    ///   receiver was closed before the send; or it has been received.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan::TryRecvError;
    /// use gopark::sync::oneshot;
    ///
    /// let (tx, mut rx) = oneshot::channel();
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.send(7).unwrap();
    /// assert_eq!(rx.try_recv(), Ok(7));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let Some(shared) = &self.0 else { return Err(TryRecvError::Closed) };
        let Some(received) = shared.state.lock().received() else {
            return Err(TryRecvError::Empty);
        };
        let value = received.map_err(|_| TryRecvError::Closed)?;
        self.0 = None;
        Ok(value)
    }

    /// Closes the channel: from now on a send fails. A value that has been sent can still be
    /// received.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::oneshot;
    ///
    /// let (tx, mut rx) = oneshot::channel();
    /// rx.close();
    /// assert_eq!(tx.send(7), Err(7));
    /// assert!(rx.recv_blocking().is_err());
    /// ```
    pub fn close(&mut self) {
        let Some(shared) = &self.0 else { return };
        let sender = {
            let mut state = shared.state.lock();
            state.receiver_gone = true;
            state.sender.take()
        };
        sender.into_iter().for_each(TaskWaker::wake);
    }

    /// Blocks the current thread until the value arrives. For threads that run no goroutines.
    ///
    /// Do not call this in a goroutine: await the receiver instead. This call blocks the worker
    /// thread until the monitor takes its processor away, after about 10 ms.
    ///
    /// # Errors
    ///
    /// [`RecvError`], if the sender has been dropped, or the receiver closed, before a send.
    ///
    /// # Panics
    ///
    /// If the value has been received already.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::sync::oneshot::channel();
    /// std::thread::spawn(move || tx.send(7));
    /// assert_eq!(rx.recv_blocking(), Ok(7));
    /// ```
    #[track_caller]
    pub fn recv_blocking(self) -> Result<T, RecvError> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        block_on(self)
    }
}

future_case!(Receiver<T>, T);

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    // `track_caller` gives the location of the `await`: storing it would cost a word.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = self.0.as_ref().expect("gopark: future polled after completion");
        let site = Location::caller();
        let polled = shared.poll(cx, site, |state| &mut state.receiver, State::received);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let (sender, _receiver, _value) = {
            let mut state = shared.state.lock();
            state.receiver_gone = true;
            (state.sender.take(), state.receiver.take(), state.value.take())
        };
        sender.into_iter().for_each(TaskWaker::wake);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("received", &self.0.is_none()).finish_non_exhaustive()
    }
}

/// The future of [`Sender::closed`].
///
/// # Examples
///
/// ```
/// use gopark::select;
/// use gopark::sync::oneshot;
///
/// gopark::block_on(async {
///     let (mut tx, rx) = oneshot::channel::<u32>();
///     let mut closed = tx.closed();
///     select! {
///         _ = &mut closed => unreachable!("the receiver exists"),
///         default => drop(rx),
///     }
///     closed.await;
///     assert_eq!(tx.send(7), Err(7));
/// });
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Closed<'a, T> {
    shared: &'a Shared<T>,
    site: &'static Location<'static>,
}

future_case!(Closed<'a, T>, 'a, T);

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll(
            cx,
            self.site,
            |state| &mut state.sender,
            |state| state.receiver_gone.then_some(()),
        )
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        // Otherwise the channel would keep the task. Dropped after the lock was released.
        let _waker = self.shared.state.lock().sender.take();
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").finish_non_exhaustive()
    }
}

/// The error of a receive: the sender was dropped without sending, or the receiver was
/// [closed](Receiver::close) before.
///
/// # Examples
///
/// ```
/// use gopark::sync::oneshot;
///
/// let (tx, rx) = oneshot::channel::<u32>();
/// drop(tx);
/// assert_eq!(gopark::block_on(rx).unwrap_err().to_string(), "the sender was dropped");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecvError {}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("the sender was dropped")
    }
}

impl Error for RecvError {}
