//! Reserved places in a channel's buffer, to be filled later.

use std::fmt;
use std::mem;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::core::{Attempt, Core};
use super::op::{Call, Op, Reserves};
use super::{SendError, Sender, TrySendError};
use crate::wait::case::{Case, ChannelCase, Sealed};

impl<T> Sender<T> {
    /// Waits for a place in the buffer and reserves it for a value that is made later. Go has none;
    /// tokio: `reserve`.
    ///
    /// The value can then be sent without waiting, and need not be made if there is no place. The
    /// future waits in the queue of the sends.
    ///
    /// The place belongs to the returned [`Reserved`]. If that is dropped unused, the place goes to
    /// the next waiting send or reservation. Until then one value fewer fits into the channel,
    /// although [`len`](Self::len), [`capacity`](Self::capacity) and [`is_full`](Self::is_full) do
    /// not count the reserved place. If all places are reserved, a waiting send and a receive that
    /// finds the buffer empty meet as on an unbuffered channel.
    ///
    /// The future is a case of a [`select!`](crate::select!). A [`nil`](Self::nil) sender waits
    /// forever.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up its position in the queue. If it had already been given a place
    /// in the buffer, the place goes to the next waiting operation.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the channel is closed, or is closed while the future waits.
    ///
    /// # Panics
    ///
    /// If the channel is unbuffered, because it has no places: "gopark: reserve on an unbuffered
    /// channel". The future panics when it is polled again after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     let place = tx.reserve().await.unwrap();
    ///     assert!(tx.try_send(1).is_err()); // There is no other place.
    ///     place.send(2).unwrap();
    ///     assert_eq!(rx.recv().await, Some(2));
    /// });
    /// ```
    #[track_caller]
    pub fn reserve(&self) -> Reserving<'_, T> {
        let core = self.handle.core();
        if let Some(core) = core {
            prepare(core);
        }
        Reserving { op: Op::new(core, Location::caller()) }
    }

    /// Reserves a place in the buffer if that is possible without waiting. tokio: `try_reserve`.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if there is no free place, [`TrySendError::Closed`] if the channel is
    /// closed.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan::{self, TrySendError};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let place = tx.try_reserve().unwrap();
    /// assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
    /// place.send(1).unwrap();
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// ```
    #[track_caller]
    pub fn try_reserve(&self) -> Result<Reserved<'_, T>, TrySendError<()>> {
        let Some(core) = self.handle.core() else { return Err(TrySendError::Full(())) };
        prepare(core);
        match core.try_reserve() {
            Attempt::Complete(..) => Ok(Reserved { core }),
            Attempt::Closed => Err(TrySendError::Closed(())),
            Attempt::Blocked | Attempt::Unready => Err(TrySendError::Full(())),
        }
    }
}

#[track_caller]
fn prepare<T>(core: &Core<T>) {
    assert!(core.capacity > 0, "gopark: reserve on an unbuffered channel");
    core.prepare_reserve();
}

/// A reserved place in a channel's buffer, made by [`Sender::reserve`]. tokio: `Permit`.
///
/// If it is dropped unused, the place goes to the send or reservation that has waited longest, or
/// else back to the channel.
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, Reserved};
///
/// let (tx, rx) = chan::bounded(2);
/// let mut places: Vec<Reserved<'_, u8>> = Vec::new();
/// while let Ok(place) = tx.try_reserve() {
///     places.push(place);
/// }
/// places.pop().unwrap().send(1).unwrap();
/// drop(places); // The other place goes back to the channel.
/// assert!(tx.try_send(2).is_ok());
/// assert_eq!(rx.len(), 2);
/// ```
#[must_use = "dropping it gives the place back at once"]
pub struct Reserved<'a, T> {
    core: &'a Core<T>,
}

impl<T> UnwindSafe for Reserved<'_, T> {}
impl<T> RefUnwindSafe for Reserved<'_, T> {}

impl<T> Reserved<'_, T> {
    /// Sends `value` without waiting.
    ///
    /// If a receiver is waiting it gets the value, and the place goes to the next waiting send or
    /// reservation. Otherwise the value goes into the buffer.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the value if the channel is closed, because receivers may already have
    /// got `None`. (In tokio the value can still be received.)
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan::{self, SendError};
    ///
    /// let (tx, rx) = chan::bounded(2);
    /// let (first, second) = (tx.try_reserve().unwrap(), tx.try_reserve().unwrap());
    /// assert_eq!(second.send(2), Ok(()));
    /// tx.close();
    /// assert_eq!(first.send(1), Err(SendError(1)));
    /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [2]);
    /// ```
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        let mut is_used = false;
        let unsent = self.core.send_reserved(value, &mut is_used);
        if is_used {
            mem::forget(self);
        }
        match unsent {
            None => Ok(()),
            Some(value) => Err(SendError(value)),
        }
    }
}

impl<T> Drop for Reserved<'_, T> {
    fn drop(&mut self) {
        self.core.unreserve();
    }
}

impl<T> fmt::Debug for Reserved<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("channel", &self.core).finish()
    }
}

pin_project! {
    /// A pending reservation, made by [`Sender::reserve`].
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up its position in the queue. If it had already been given a place in the
    /// buffer, the place goes to the next waiting operation.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    ///
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     tx.send("old").await.unwrap();
    ///     let mut reserving = pin!(tx.reserve());
    ///     select! {
    ///         _ = reserving.as_mut() => unreachable!("the buffer is full"),
    ///         old = rx.recv() => assert_eq!(old, Some("old")),
    ///     }
    ///     reserving.await.unwrap().send("new").unwrap();
    ///     assert_eq!(rx.recv().await, Some("new"));
    /// });
    /// ```
    #[must_use = "a reservation does nothing unless awaited"]
    pub struct Reserving<'a, T> {
        #[pin]
        op: Op<Call<'a, T>, T, Reserves>,
    }
}

impl<'a, T> Reserving<'a, T> {
    fn output(&self, is_reserved: bool) -> Result<Reserved<'a, T>, SendError<()>> {
        let core = self.op.core().filter(|_| is_reserved);
        core.map(|core| Reserved { core }).ok_or(SendError(()))
    }
}

impl<'a, T> Future for Reserving<'a, T> {
    type Output = Result<Reserved<'a, T>, SendError<()>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.as_mut().project().op.poll(cx);
        polled.map(|is_reserved| self.output(is_reserved))
    }
}

impl<'a, T> Case for Reserving<'a, T> {
    type Output = Result<Reserved<'a, T>, SendError<()>>;

    fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.as_mut().project().op.poll_case(cx);
        polled.map(|is_reserved| self.output(is_reserved))
    }

    fn raw(self: Pin<&Self>, private: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        self.project_ref().op.raw(private)
    }

    fn drop_is_noop(&self, private: Sealed) -> bool {
        self.op.drop_is_noop(private)
    }

    fn won(mut self: Pin<&mut Self>) -> Self::Output {
        let is_reserved = self.as_mut().project().op.won();
        self.output(is_reserved)
    }
}

impl<T> fmt::Debug for Reserving<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserving").field("channel", &self.op.core()).finish_non_exhaustive()
    }
}
