//! Channels: the pipes that connect goroutines.
//!
//! [`unbuffered`] is Go's `make(chan T)`: a send completes when a receiver takes the value.
//! [`bounded`] is `make(chan T, n)`: it has a buffer for n values. Both ends can be cloned. Any
//! number of goroutines, tasks of other executors and plain threads may use them at once; each
//! value reaches exactly one receiver.
//!
//! # What to rely on
//!
//! * **Hand-off.** A send that finds a waiting receive gives its value to it. A receive from a full
//!   buffer moves the oldest waiting sender's value into the free place, in the same step. No other
//!   operation can come in between, and a waiting operation is woken once, when it is complete.
//! * **First come, first served** among waiting receivers, and among waiting senders.
//! * **Nothing lost.** Dropping a pending operation loses no value and no wake-up. If a receive is
//!   dropped after a value was handed to it, the value returns to the channel. This can happen
//!   after a close, when other receivers have already got `None`. To receive every value, keep a
//!   receiver until the last receive has completed or was dropped, and then call
//!   [`try_recv`](Receiver::try_recv).
//! * **Streams cannot strand a value.** A [`Receiver`] used as a `Stream` is notified that a value
//!   is available, and then competes for it; it is never handed one. So an idle stream delays no
//!   other receiver. The price: a woken stream still has to take the value, and a send that finds
//!   no waiting receive wakes every such stream. [`Receiver::into_stream`] makes a stream that
//!   waits in the queue.
//!
//! A [`Sender`] does not implement `Sink`. That trait accepts a value before there is a place for
//! it, so on an unbuffered channel the value would stay in the sink, and be lost if the sink is
//! dropped. If a library needs a sink, make one with `futures::sink::unfold` over
//! [`send`](Sender::send), which makes clear where the value is.
//!
//! # Memory ordering
//!
//! A send synchronizes before the completion of its receive. Closing a channel synchronizes before
//! a receive that returns because the channel is closed. On an unbuffered channel a receive
//! synchronizes before the completion of its send. On a channel of capacity C, the k-th receive
//! synchronizes before the completion of the k+C-th send. (The Go Memory Model, "Channel
//! communication".)
//!
//! # Examples
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
//!     }); // The last sender is dropped, which closes the channel.
//!     let mut sum = 0;
//!     while let Some(i) = rx.recv().await {
//!         sum += i;
//!     }
//!     assert_eq!(sum, 3);
//! });
//! ```

mod buffer;
mod closed;
mod core;
mod counts;
mod error;
mod extras;
mod failed;
mod force;
mod handle;
mod iter;
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

/// Creates a channel without a buffer. Go: `make(chan T)`.
///
/// # Examples
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

/// Creates a channel with a buffer for `cap` values. Go: `make(chan T, cap)`.
///
/// `bounded(0)` is [`unbuffered`]. A small buffer is allocated at once, a large one as it fills.
///
/// # Examples
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

/// Creates a channel with room for any number of values: a send never waits. Go has none; tokio:
/// `mpsc::unbounded_channel`.
///
/// The buffer grows by blocks and frees them as it drains. Its [`capacity`](Sender::capacity) is
/// `usize::MAX`. If senders are faster than receivers the buffer grows without limit; where that
/// can happen, use a [`bounded`] channel.
///
/// # Examples
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
/// Clones send into the same channel, compare equal and have the same hash. When the last sender is
/// dropped, the channel closes.
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, Sender};
///
/// let (tx, rx) = chan::bounded(2);
/// let other: Sender<&str> = tx.clone();
/// assert_eq!(tx, other);
/// assert!(tx.try_send("a").is_ok() && other.try_send("b").is_ok());
/// drop((tx, other));
/// assert!(rx.is_closed());
/// assert_eq!(rx.iter_blocking().collect::<String>(), "ab");
/// ```
pub struct Sender<T> {
    handle: Handle<T>,
}

/// The receiving end of a channel. Go: `<-chan T`.
///
/// Clones receive from the same channel, compare equal and have the same hash; each value reaches
/// one of them. When the last receiver is dropped, the channel closes and its values are dropped.
/// Sends then fail and return their value.
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, Receiver};
///
/// fn squares(n: u32) -> Receiver<u32> {
///     let (tx, rx) = chan::unbuffered();
///     gopark::go(async move {
///         for i in 1..=n {
///             tx.send(i * i).await.unwrap();
///         }
///     });
///     rx
/// }
///
/// assert_eq!(squares(3).iter_blocking().collect::<Vec<_>>(), [1, 4, 9]);
/// ```
pub struct Receiver<T> {
    handle: Handle<T>,
    /// The registration as a stream.
    watch: Watch,
}

impl<T> Sender<T> {
    /// Returns a sender without a channel, like Go's nil channel.
    ///
    /// A send waits forever, [`try_send`](Self::try_send) returns `Full`, and
    /// [`close`](Self::close) panics. In a `select!` it switches a case off.
    ///
    /// # Examples
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
    /// # Cancellation
    ///
    /// Dropping the future before the value was taken sends nothing and drops the value. To keep
    /// the value, use [`try_send`](Self::try_send). To make the value only once there is a place
    /// for it, use [`reserve`](Self::reserve).
    ///
    /// # Errors
    ///
    /// [`SendError`] with the value if the channel is closed, or is closed while the send waits.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Examples
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

    /// Sends `value` if that is possible without waiting. Go: `select { case ch <- v: default: }`.
    ///
    /// A receiver that is used as a stream does not count as waiting: `try_send` into an unbuffered
    /// channel that only streams watch returns `Full`. A `select!` does not count as waiting either
    /// while it polls a case that is not a channel operation, such as [`fut`](crate::select::fut)
    /// of a future: meanwhile its channels behave as if it had left their queues.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if the send would have to wait, [`TrySendError::Closed`] if the
    /// channel is closed. Both return the value.
    ///
    /// # Examples
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
        // Another thread may take the value without being woken.
        coop::note_unwinding();
        let (attempt, value) = core.held().put_ready(value);
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
    /// Do not call this in a goroutine: it blocks the worker thread until the monitor takes its
    /// processor away, after about 10 ms. Await [`send`](Self::send) instead. Where nothing can be
    /// awaited, wrap the call in [`block_in_place`](crate::block_in_place).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
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

    /// Closes the channel: buffered values can still be received, then `recv` returns `None`. Go:
    /// `close(ch)`.
    ///
    /// Waiting sends fail and return their values. Returns true if this call closed the channel,
    /// false if it was closed already (where Go panics).
    ///
    /// # Panics
    ///
    /// If the sender is [`nil`](Self::nil): "close of nil channel".
    ///
    /// # Examples
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
    /// Returns a receiver without a channel, like Go's nil channel.
    ///
    /// A receive waits forever, and [`try_recv`](Self::try_recv) returns `Empty`. In a `select!` it
    /// switches a case off.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan::{Receiver, TryRecvError};
    ///
    /// assert_eq!(Receiver::<u8>::nil().try_recv(), Err(TryRecvError::Empty));
    /// ```
    pub const fn nil() -> Self {
        Self { handle: Handle::NIL, watch: Watch::NONE }
    }

    /// Waits for a value and receives it; returns `None` when the channel is closed and drained.
    /// Go: `v, ok := <-ch`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no value: a value that was already handed to it goes to the next
    /// receiver, or else back to its place in the channel.
    ///
    /// If the channel is closed between the hand-over and the drop, the value returns after other
    /// receivers have got `None`. To receive every value, keep a receiver until the last receive
    /// has completed or was dropped; [`try_recv`](Self::try_recv) finds the returned values. They
    /// are dropped with the last receiver.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Examples
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
    /// [`TryRecvError::Empty`] if the receive would have to wait, [`TryRecvError::Closed`] if the
    /// channel is closed and drained. Nothing can be sent after that, but a value that was handed
    /// to a still pending receive may return, see [`recv`](Self::recv).
    ///
    /// # Examples
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
        let attempt = core.held().take_ready();
        match attempt {
            Attempt::Complete(value, woken) => {
                woken.wake();
                value.ok_or(TryRecvError::Closed)
            }
            Attempt::Closed => Err(TryRecvError::Closed),
            Attempt::Blocked | Attempt::Unready => Err(TryRecvError::Empty),
        }
    }

    /// Receives a value, blocking the thread: for plain threads that talk to goroutines.
    ///
    /// Returns `None` when the channel is closed and drained.
    ///
    /// Do not call this in a goroutine: it blocks the worker thread until the monitor takes its
    /// processor away, after about 10 ms. Await [`recv`](Self::recv) instead. Where nothing can be
    /// awaited, wrap the call in [`block_in_place`](crate::block_in_place).
    ///
    /// # Examples
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

    /// Closes the channel from the receiving end: all sends fail and return their values, buffered
    /// values can still be received. tokio: `close`; in Go only the sending side can.
    ///
    /// Returns true if this call closed the channel, false if it was closed already. The channel of
    /// a [`Timer`](crate::time::Timer) or [`Ticker`](crate::time::Ticker) is never closed: this
    /// returns false.
    ///
    /// # Panics
    ///
    /// If the receiver is [`nil`](Self::nil): "close of nil channel".
    ///
    /// # Examples
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
            Some(core) => !core.is_timed() && core.close(),
            None => panic!("close of nil channel"),
        }
    }

    /// Converts the receiver into a stream that waits in the queue, as [`recv`](Self::recv) does.
    ///
    /// A value is handed to the stream or receive that has waited longest, and only that one is
    /// woken. The stream ends when the channel is closed and drained.
    ///
    /// A receiver itself is also a stream, but then each value wakes every such stream. The stream
    /// returned here has a waiter of its own, allocated by this call, and works in any executor.
    ///
    /// # Cancellation
    ///
    /// If a `next()` is dropped the stream keeps its place in the queue, and a value that is handed
    /// to the stream stays with it until it is polled again. But if the `next()` is given up by a
    /// timeout or by the `default` of a select, the stream leaves the queue. Dropping the stream
    /// loses no value: a value that was handed to it goes to the next receiver, or else back to its
    /// place in the channel.
    ///
    /// # Examples
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

/// What both ends have in common: the state of their channel, and their reference count.
macro_rules! end {
    ($end:ident, $side:expr $(, $watch:ident)?) => {
        impl<T> $end<T> {
            /// Returns true if the channel is closed, by [`close`](Sender::close) or because one
            /// side has no handles left. The channel may still hold values.
            ///
            /// # Examples
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

            /// Returns the current number of senders of the channel, including clones; 0 if it is
            /// nil. tokio: `sender_strong_count`.
            ///
            /// Other threads may clone and drop senders meanwhile.
            ///
            /// # Examples
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

            /// Returns the current number of receivers of the channel, including clones and
            /// streams; 0 if it is nil.
            ///
            /// Other threads may clone and drop receivers meanwhile.
            ///
            /// # Examples
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

            /// Returns the current number of values in the channel. Go: `len(ch)`.
            ///
            /// The values of waiting senders do not count. A value that returned because its
            /// receive was dropped counts, so the length can exceed the capacity.
            ///
            /// # Examples
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded(3);
            /// tx.try_send('a').unwrap();
            /// assert_eq!((tx.len(), rx.len()), (1, 1));
            /// ```
            pub fn len(&self) -> usize {
                self.handle.core().map_or(0, Core::len)
            }

            /// Returns the size of the channel's buffer; 0 if it is unbuffered or nil. Go:
            /// `cap(ch)`.
            ///
            /// # Examples
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::bounded::<()>(3);
            /// assert_eq!((tx.capacity(), rx.capacity()), (3, 3));
            /// ```
            #[doc(alias = "cap")]
            pub fn capacity(&self) -> usize {
                self.handle.core().map_or(0, |core| core.capacity)
            }

            /// Returns true if the channel holds no value.
            ///
            /// An unbuffered channel is always empty, unless a value returned from a dropped
            /// receive.
            ///
            /// # Examples
            ///
            /// ```
            /// let (tx, rx) = gopark::chan::unbuffered::<()>();
            /// assert!(tx.is_empty() && rx.is_empty());
            /// ```
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Returns true if the channel holds at least as many values as its capacity.
            ///
            /// An unbuffered channel is always full.
            ///
            /// # Examples
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

        // A panic cannot leave a channel inconsistent: no foreign code runs while its state
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
