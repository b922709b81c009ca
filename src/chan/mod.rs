//! Channels: the pipes that connect goroutines.
//!
//! [`unbuffered`] is Go's `make(chan T)`: a send completes when a receiver takes the value.
//! [`bounded`] is `make(chan T, n)`: n values fit in between. Both ends can be cloned, and any
//! number of goroutines, tasks of other executors and plain threads may use them at once; each
//! value reaches exactly one receiver.
//!
//! ```
//! use gopark::chan;
//!
//! gopark::block_on(async {
//!     let (tx, rx) = chan::unbuffered();
//!     gopark::go(async move {
//!         for i in 0..3 {
//!             tx.send(i).await.unwrap();
//!         }
//!     }); // the last sender is dropped: the channel closes
//!     let mut sum = 0;
//!     while let Some(i) = rx.recv().await {
//!         sum += i;
//!     }
//!     assert_eq!(sum, 3);
//! });
//! ```
//!
//! # What to rely on
//!
//! * **Hand-off.** A send that finds a receiver waiting gives the value to it, and a receive from a
//!   full buffer moves the oldest waiting sender's value in, in the same step. Nobody slips in
//!   between, and a waiting operation is woken once, when it is complete.
//! * **First come, first served** among waiting receivers, and among waiting senders.
//! * **Nothing lost.** Dropping any pending operation loses no value and no wake-up. A value that
//!   was handed to a receive comes back when that is dropped, also after a close, when other
//!   receivers have seen the end. What must have every value keeps a receiver until the last
//!   receive has settled, which is complete or dropped; [`try_recv`](Receiver::try_recv) finds the
//!   value.
//! * **Streams are guests.** A [`Receiver`] used as a `Stream` is woken when there is something to
//!   take, it is never handed a value; so a stream that is left idle delays no other receiver. The
//!   price is one more hop, and that a send which finds no receive waiting wakes every such stream.
//!   [`Receiver::into_stream`] makes a stream that waits in line.
//!
//! A [`Sender`] is no `Sink`: that trait accepts a value before there is a place for it, and a
//! channel without a buffer has none, so the value would lie in the sink, lost when that is
//! dropped. `futures::sink::unfold` over [`send`](Sender::send) makes one where a library wants it,
//! and says where the value is.
//!
//! # Memory ordering
//!
//! A send synchronizes before the completion of its receive. Closing a channel synchronizes before
//! a receive that returns because of it. On an unbuffered channel a receive synchronizes before the
//! completion of its send; on one of capacity C, the k-th receive synchronizes before the
//! completion of the k+C-th send. (The Go Memory Model, "Channel communication".)

mod buffer;
mod closed;
mod core;
mod error;
mod failed;
mod force;
mod handle;
mod iter;
mod link;
mod many;
mod op;
pub(crate) mod record;
#[forbid(unsafe_code)]
mod reserve;
mod source;
mod stream;
mod timed;
mod timeout;
mod unclaimed;
mod weak;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr;

use self::core::{Attempt, Core, Side};
use self::handle::Handle;
pub use closed::Closed;
pub use error::{RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
pub(crate) use failed::FailedSends;
pub use iter::{IntoIterBlocking, IterBlocking, TryIter};
pub use many::RecvMany;
pub use op::{Receiving, Sending};
pub use reserve::{Reserved, Reserving};
pub(crate) use source::Source;
pub use stream::{IntoStream, Next};
pub(crate) use timed::timed;
pub use weak::{WeakReceiver, WeakSender};

use crate::coop;
use crate::wait::block_on::block_on;
use crate::wait::watch::Watch;

/// A channel without a buffer. Go: `make(chan T)`.
///
/// ```
/// use gopark::chan;
///
/// let (tx, rx) = chan::unbuffered();
/// gopark::block_on(async {
///     gopark::go(async move { tx.send("hello").await });
///     assert_eq!(rx.recv().await, Some("hello"));
/// });
/// ```
#[doc(alias = "make")]
#[doc(alias = "chan")]
pub fn unbuffered<T>() -> (Sender<T>, Receiver<T>) {
    bounded(0)
}

/// A channel with room for `cap` values. Go: `make(chan T, cap)`. `bounded(0)` is [`unbuffered`].
///
/// The room of a small channel is allocated at once, that of a large one as it is used.
///
/// ```
/// use gopark::chan;
///
/// let (tx, rx) = chan::bounded(2);
/// assert!(tx.try_send(1).is_ok() && tx.try_send(2).is_ok() && tx.try_send(3).is_err());
/// assert_eq!((rx.len(), rx.capacity()), (2, 2));
/// ```
#[doc(alias = "make")]
#[doc(alias = "chan")]
pub fn bounded<T>(cap: usize) -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = Handle::pair(Core::new(cap, false));
    (Sender { handle: tx }, Receiver { handle: rx, watch: Watch::NONE })
}

/// A channel with room for any number of values: a send never waits. Go has none; tokio:
/// `mpsc::unbounded_channel`.
///
/// Its buffer grows by blocks, and gives them back as it drains; its [`capacity`](Sender::capacity)
/// is `usize::MAX`. Nothing slows a sender down that is faster than its receivers: where that may
/// happen, choose a [`bounded`] one.
///
/// ```
/// use gopark::chan;
///
/// let (tx, rx) = chan::unbounded();
/// assert!((0..10_000).all(|v| tx.try_send(v).is_ok()));
/// assert_eq!((rx.len(), rx.try_recv()), (10_000, Ok(0)));
/// ```
#[doc(alias = "make")]
#[doc(alias = "chan")]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

/// The sending end of a channel. Go: `chan<- T`.
///
/// Clones send into the same channel; they are equal, and hash alike. When the last one is dropped,
/// the channel closes.
pub struct Sender<T> {
    handle: Handle<T>,
}

/// The receiving end of a channel. Go: `<-chan T`.
///
/// Clones receive from the same channel, each value reaching one of them; they are equal, and hash
/// alike. When the last one is dropped, the channel closes, what it holds is dropped, and sends
/// fail, giving their value back.
pub struct Receiver<T> {
    handle: Handle<T>,
    /// Where it is registered as a stream.
    watch: Watch,
}

impl<T> Sender<T> {
    /// A sender of no channel, as Go's nil channel: a send waits for ever,
    /// [`try_send`](Self::try_send) finds it full, [`close`](Self::close) panics. In a `select!` it
    /// switches a case off.
    ///
    /// ```
    /// use gopark::chan::{Sender, TrySendError};
    ///
    /// let nil = Sender::nil();
    /// assert_eq!(nil.try_send(1), Err(TrySendError::Full(1)));
    /// ```
    pub const fn nil() -> Self {
        Self { handle: Handle::NIL }
    }

    /// Sends `value`, waiting until a receiver or the buffer takes it. Go: `ch <- v`.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the value if the channel is closed, or is closed while this waits.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future before the value was taken sends nothing and drops the value. Use
    /// [`try_send`](Self::try_send) where the value must come back, or [`reserve`](Self::reserve)
    /// where it is to be made when there is a place for it.
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     assert!(tx.send('a').await.is_ok());
    ///     assert_eq!(rx.recv().await, Some('a'));
    /// });
    /// ```
    #[doc(alias = "<-")]
    #[inline(always)]
    #[track_caller]
    pub fn send(&self, value: T) -> Sending<'_, T> {
        Sending::new(self.handle.core(), Location::caller()).holding(value)
    }

    /// Sends `value` if that is possible at once. Go: `select { case ch <- v: default: }`.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if it would have to wait, [`TrySendError::Closed`] if the channel is
    /// closed; both give the value back. A receiver that is used as a stream is not waiting: into
    /// an unbuffered channel that only streams watch nothing can be sent at once. Nor is a
    /// `select!` while it polls a case that is no channel operation, as [`fut`](crate::select::fut)
    /// of a future: what happens meanwhile finds its channels as if it had left their queues.
    ///
    /// ```
    /// use gopark::chan::{self, TrySendError};
    ///
    /// let (tx, _rx) = chan::unbuffered();
    /// assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    /// ```
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let Some(core) = self.handle.core() else { return Err(TrySendError::Full(value)) };
        #[cfg(feature = "sim")]
        core.object.tried(Location::caller());
        if !core.seems_ready_to_send() {
            return Err(TrySendError::Full(value));
        }
        // Somebody may take it without being woken.
        coop::note_unwinding();
        let mut value = Some(value);
        let held = core.lock.guard();
        // SAFETY: the lock is held; `put` takes the value once at most.
        let attempt = unsafe {
            core.until_ready(|| core.put(ptr::null(), || value.take().unwrap_unchecked()))
        };
        drop(held);
        let error = match attempt {
            Attempt::Complete(_, woken) => {
                woken.wake();
                return Ok(());
            }
            Attempt::Closed => TrySendError::Closed,
            Attempt::Blocked | Attempt::Unready => TrySendError::Full,
        };
        let Some(value) = value else { unreachable!("only a sent value is taken") };
        Err(error(value))
    }

    /// Sends `value`, blocking the thread: for plain threads that talk to goroutines.
    ///
    /// In a goroutine await [`send`](Self::send) instead: this keeps its thread from the others
    /// until the scheduler notices, some 10 ms later. If it cannot be awaited there, wrap it in
    /// [`block_in_place`](crate::block_in_place).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// let (tx, rx) = chan::unbuffered();
    /// let thread = std::thread::spawn(move || tx.send_blocking(5));
    /// assert_eq!(gopark::block_on(async { rx.recv().await }), Some(5));
    /// thread.join().unwrap().unwrap();
    /// ```
    #[track_caller]
    pub fn send_blocking(&self, value: T) -> Result<(), SendError<T>> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        match self.try_send(value) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(value)) => Err(SendError(value)),
            Err(TrySendError::Full(value)) => block_on(self.send(value)),
        }
    }

    /// Closes the channel: what it holds can still be received, and then receivers are told the
    /// end. Go: `close(ch)`.
    ///
    /// Sends that wait fail, giving their values back. True if this call closed it, false if it was
    /// closed before (where Go panics).
    ///
    /// # Panics
    ///
    /// On a [`nil`](Self::nil) sender: "close of nil channel".
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// let (tx, rx) = chan::bounded::<()>(1);
    /// assert!(tx.close());
    /// assert!(!tx.close());
    /// assert_eq!(gopark::block_on(async { rx.recv().await }), None);
    /// ```
    #[track_caller]
    pub fn close(&self) -> bool {
        match self.handle.core() {
            Some(core) => core.close(),
            None => panic!("close of nil channel"),
        }
    }
}

impl<T> Receiver<T> {
    /// A receiver of no channel, as Go's nil channel: a receive waits for ever,
    /// [`try_recv`](Self::try_recv) finds nothing. In a `select!` it switches a case off.
    ///
    /// ```
    /// use gopark::chan::{Receiver, TryRecvError};
    ///
    /// assert_eq!(Receiver::<u8>::nil().try_recv(), Err(TryRecvError::Empty));
    /// ```
    pub const fn nil() -> Self {
        Self { handle: Handle::NIL, watch: Watch::NONE }
    }

    /// Receives a value, waiting for one; `None` when the channel is closed and drained. Go: `v, ok
    /// := <-ch`.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no value: one that was handed to it already goes to the next
    /// receiver, else back to its place in the channel.
    ///
    /// If the channel is closed between the hand-over and the drop, the value comes back after
    /// other receivers were given `None`. Keep a receiver until the last receive has settled, which
    /// is complete or dropped, if every value counts: [`try_recv`](Self::try_recv) finds those that
    /// came back. With the last receiver they are dropped.
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     tx.send(7).await.unwrap();
    ///     drop(tx);
    ///     assert_eq!(rx.recv().await, Some(7));
    ///     assert_eq!(rx.recv().await, None);
    /// });
    /// ```
    #[doc(alias = "<-")]
    #[inline(always)]
    #[track_caller]
    pub fn recv(&self) -> Receiving<'_, T> {
        Receiving::new(self.handle.core(), Location::caller())
    }

    /// Receives a value if there is one now. Go: `select { case v, ok := <-ch: default: }`.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if it would have to wait, [`TryRecvError::Closed`] if the channel is
    /// closed and drained. Nothing will be sent any more then; but a value that was handed to a
    /// receive which has not settled may come back, see [`recv`](Self::recv).
    ///
    /// ```
    /// use gopark::chan::{self, TryRecvError};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.try_send(1).unwrap();
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// ```
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let Some(core) = self.handle.core() else { return Err(TryRecvError::Empty) };
        #[cfg(feature = "sim")]
        core.object.tried(Location::caller());
        if !core.seems_ready_to_recv() {
            return Err(TryRecvError::Empty);
        }
        let held = core.lock.guard();
        // SAFETY: the lock is held.
        let attempt = unsafe { core.until_ready(|| core.take(ptr::null())) };
        drop(held);
        match attempt {
            Attempt::Complete(value, woken) => {
                woken.wake();
                value.ok_or(TryRecvError::Closed)
            }
            Attempt::Closed => Err(TryRecvError::Closed),
            Attempt::Blocked | Attempt::Unready => Err(TryRecvError::Empty),
        }
    }

    /// Receives a value, blocking the thread: for plain threads that talk to goroutines. `None`
    /// when the channel is closed and drained.
    ///
    /// In a goroutine await [`recv`](Self::recv) instead: this keeps its thread from the others
    /// until the scheduler notices, some 10 ms later. If it cannot be awaited there, wrap it in
    /// [`block_in_place`](crate::block_in_place).
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// let (tx, rx) = chan::unbuffered();
    /// gopark::go(async move { tx.send(5).await });
    /// assert_eq!(rx.recv_blocking(), Some(5));
    /// assert_eq!(rx.recv_blocking(), None);
    /// ```
    #[track_caller]
    pub fn recv_blocking(&self) -> Option<T> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        match self.try_recv() {
            Ok(value) => Some(value),
            Err(TryRecvError::Closed) => None,
            Err(TryRecvError::Empty) => block_on(self.recv()),
        }
    }

    /// Closes the channel from this end: sends fail, also those that wait, giving their values
    /// back, and what it holds can still be received. tokio: `close`. In Go only the sending side
    /// may.
    ///
    /// True if this call closed it, false if it was closed before.
    ///
    /// # Panics
    ///
    /// On a [`nil`](Self::nil) receiver: "close of nil channel".
    ///
    /// ```
    /// use gopark::chan::{self, TryRecvError, TrySendError};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// tx.try_send(1).unwrap();
    /// assert!(rx.close());
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Closed(2)));
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// ```
    #[track_caller]
    pub fn close(&self) -> bool {
        match self.handle.core() {
            Some(core) => core.close(),
            None => panic!("close of nil channel"),
        }
    }

    /// Makes a stream that waits in line as [`recv`](Self::recv) does: a value is handed to the
    /// stream or receive that has waited longest, which alone is woken. The stream ends when the
    /// channel is closed and drained.
    ///
    /// A receiver is a stream as it is, at the price of a wake for each of them at each value. This
    /// one owns a place in line, which is allocated here, and works in any executor.
    ///
    /// # Cancellation
    ///
    /// A `next()` that is dropped leaves the stream in line, and a value that is handed to the
    /// stream stays with it until it is polled again. Dropping the stream loses no value: one that
    /// was handed to it goes to the next receiver, else back to its place in the channel.
    ///
    /// ```
    /// use futures_lite::StreamExt;
    /// use gopark::chan;
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::unbuffered();
    ///     for _ in 0..3 {
    ///         let squares = tx.clone();
    ///         gopark::go(async move { squares.send(2).await });
    ///     }
    ///     drop(tx);
    ///     let sum = rx.into_stream().map(|v| v * v).fold(0, |sum, v| sum + v).await;
    ///     assert_eq!(sum, 12);
    /// });
    /// ```
    pub fn into_stream(self) -> IntoStream<T> {
        IntoStream::new(self)
    }
}

/// What both ends have in common: what they tell of their channel, and that they are counted.
macro_rules! end {
    ($end:ident, $side:expr $(, $watch:ident)?) => {
        impl<T> $end<T> {
            /// True once the channel is closed, by [`close`](Sender::close) or because one side has
            /// no handles left. It may still hold values.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::unbuffered::<()>();
            /// assert!(!tx.is_closed());
            /// tx.close();
            /// assert!(tx.is_closed() && rx.is_closed());
            /// ```
            pub fn is_closed(&self) -> bool {
                self.handle.core().is_some_and(Core::is_closed)
            }

            /// The senders of the channel that there are now, clones and all; 0 if it is nil.
            /// Others may come and go meanwhile. tokio: `sender_strong_count`.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::unbuffered::<()>();
            /// let other = tx.clone();
            /// assert_eq!((tx.sender_count(), rx.sender_count()), (2, 2));
            /// drop((tx, other));
            /// assert_eq!(rx.sender_count(), 0);
            /// ```
            pub fn sender_count(&self) -> usize {
                self.handle.count(Side::Send)
            }

            /// The receivers of the channel that there are now, clones, streams and all; 0 if it is
            /// nil. Others may come and go meanwhile.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::unbuffered::<()>();
            /// let stream = rx.clone().into_stream();
            /// assert_eq!((tx.receiver_count(), rx.receiver_count()), (2, 2));
            /// drop((rx, stream));
            /// assert_eq!(tx.receiver_count(), 0);
            /// ```
            pub fn receiver_count(&self) -> usize {
                self.handle.count(Side::Receive)
            }

            /// The number of values in the channel now; never those of waiting senders. A value
            /// whose receiver was dropped after the hand-over counts, so this can exceed the
            /// capacity. Go: `len(ch)`.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded(3);
            /// tx.try_send('a').unwrap();
            /// assert_eq!((tx.len(), rx.len()), (1, 1));
            /// ```
            pub fn len(&self) -> usize {
                self.handle.core().map_or(0, Core::len)
            }

            /// The room of the channel; 0 if it is unbuffered or nil. Go: `cap(ch)`.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded::<()>(3);
            /// assert_eq!((tx.capacity(), rx.capacity()), (3, 3));
            /// ```
            #[doc(alias = "cap")]
            pub fn capacity(&self) -> usize {
                self.handle.core().map_or(0, |core| core.capacity)
            }

            /// True if the channel holds no value: always so for an unbuffered one.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::unbuffered::<()>();
            /// assert!(tx.is_empty() && rx.is_empty());
            /// ```
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// True if the channel holds as much as it has room for: always so for an unbuffered
            /// one.
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded(1);
            /// assert!(!rx.is_full());
            /// tx.try_send(()).unwrap();
            /// assert!(rx.is_full());
            /// ```
            pub fn is_full(&self) -> bool {
                self.len() >= self.capacity()
            }
        }

        impl<T> Clone for $end<T> {
            #[inline]
            fn clone(&self) -> Self {
                Self { handle: self.handle.clone_on($side) $(, $watch: Watch::NONE)? }
            }
        }

        impl<T> Drop for $end<T> {
            #[inline]
            fn drop(&mut self) {
                // The close by a last receiver must not wake its own task.
                $(self.$watch = Watch::NONE;)?
                self.handle.release($side);
            }
        }

        impl<T> PartialEq for $end<T> {
            fn eq(&self, other: &Self) -> bool {
                self.handle.address() == other.handle.address()
            }
        }

        impl<T> Eq for $end<T> {}

        impl<T> Hash for $end<T> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.handle.address().hash(state);
            }
        }

        // Whatever panics where, a channel is whole: no code of others runs while its state
        // changes.
        impl<T> UnwindSafe for $end<T> {}
        impl<T> RefUnwindSafe for $end<T> {}

        impl<T> fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($end)).field("channel", &self.handle.core()).finish()
            }
        }
    };
}

end!(Sender, Side::Send);
end!(Receiver, Side::Receive, watch);
