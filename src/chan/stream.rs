//! Receivers as streams: one kind watches the channel, the other waits in its queue.

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::Stream;

use super::core::{Attempt, Core};
use super::extras::Extras;
use super::op::{Op, Receives};
use super::{Receiver, TryRecvError};
use crate::coop::{self, Reason};
use crate::wait::case::{future_case, option_case};
use crate::wait::waiter::{Woken, state};
use crate::wait::watch::Watchers;

/// A stream of the values, until the channel is closed and drained.
///
/// A receiver has at most one registration: that of the task that polled it last. The next poll
/// replaces it. A wake removes it, and so does dropping the receiver.
///
/// A send that finds no waiting receive wakes all registered streams, and each of them tries to
/// take the value. So each value costs one wake for each receiver used as a stream. Where many of
/// them share a channel, use [`into_stream`](Receiver::into_stream).
///
/// # Cancellation
///
/// A stream is notified that a value is available and then competes for it; it is never handed a
/// value. So dropping a `next()` or leaving the stream idle strands nothing.
impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        if !coop::poll_ready(
            cx,
            None,
            Reason::ChanReceive,
            this.handle.core().map(|core| &core.object),
        ) {
            return Poll::Pending;
        }
        // No wait site: `next` is a future of another crate, so its caller is not known.
        let Some(core) = this.handle.core() else {
            coop::park_at(cx, None, Reason::ChanReceiveNil);
            return Poll::Pending;
        };
        let mut received = this.try_recv();
        if let Err(TryRecvError::Empty) = received {
            if coop::is_passing(cx) {
                return Poll::Pending;
            }
            this.watch.register(|| core.watchers_of(|extras| &mut extras.watchers), cx);
            // Looks again, because a send before the registration has not woken the stream.
            received = core.take_or_arm();
        }
        if let Err(TryRecvError::Empty) = received {
            coop::park_at(cx, None, Reason::ChanReceive);
            return Poll::Pending;
        }
        this.watch.end();
        coop::spend();
        Poll::Ready(received.ok())
    }
}

impl<T> Core<T> {
    /// Returns the list of watchers at `place` in the extras, and creates it if necessary.
    pub(super) fn watchers_of(
        &self,
        place: fn(&mut Extras<T>) -> &mut Option<Arc<Watchers>>,
    ) -> Arc<Watchers> {
        let known = self.held().extras.as_deref_mut().and_then(|extras| place(extras).clone());
        known.unwrap_or_else(|| {
            // Allocated outside the lock. If another thread is faster, also freed outside it.
            let (fresh, mut extras) = (Arc::new(Watchers::new()), Some(Extras::boxed()));
            let mut st = self.held();
            let extras = st.extras_or(|| extras.take().expect("asked for once"));
            place(extras).get_or_insert_with(|| fresh.clone()).clone()
        })
    }

    /// Wakes the streams, except those of the task of `cx`, which stay registered.
    pub(super) fn wake_watchers_but(&self, cx: &Context<'_>) {
        let watchers = self.held().extras.as_ref().and_then(|extras| extras.watchers.clone());
        watchers.into_iter().for_each(|watchers| watchers.wake(Some(cx)));
    }

    /// Like [`Receiver::try_recv`], but always takes the lock, so the result is exact. It also arms
    /// the source for a stream that has registered.
    fn take_or_arm(&self) -> Result<T, TryRecvError> {
        let mut held = self.held();
        let (received, woken) = match held.take_ready() {
            Attempt::Complete(value, woken) => (value.ok_or(TryRecvError::Closed), woken),
            Attempt::Closed => (Err(TryRecvError::Closed), Woken::NONE),
            Attempt::Blocked | Attempt::Unready => (Err(TryRecvError::Empty), held.arm_source()),
        };
        drop(held);
        woken.wake();
        received
    }
}

/// A stream of the values of a channel that waits in the channel's queue, made by
/// [`Receiver::into_stream`].
///
/// It ends when the channel is closed and drained; polled again, it returns `None` again.
///
/// # Cancellation
///
/// A stream that was polled and found no value keeps its place in the queue, even if the `next()`
/// that polled it is dropped. A value that is handed to it stays with it until it is polled again.
/// If a `next()` is given up by a [`timeout`](crate::time::timeout()) or by the `default` of a
/// [`select!`](crate::select!), the stream leaves the queue; its next poll queues it at the end.
/// Dropping the stream loses nothing: it leaves the queue, and a value that was handed to it goes
/// to the next receiver, or else back to its place in the channel.
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, IntoStream};
///
/// struct Inbox {
///     letters: IntoStream<&'static str>,
/// }
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::bounded(1);
///     let mut inbox = Inbox { letters: rx.into_stream() };
///     tx.send("hello").await.unwrap();
///     assert_eq!(inbox.letters.next().await, Some("hello"));
/// });
/// ```
#[must_use = "a stream does nothing unless polled"]
pub struct IntoStream<T> {
    /// One receive for all values. It is finished once the stream has ended.
    op: Pin<Box<Op<Receiver<T>, T, Receives>>>,
}

impl<T> UnwindSafe for IntoStream<T> {}
impl<T> RefUnwindSafe for IntoStream<T> {}

impl<T> IntoStream<T> {
    pub(super) fn new(mut rx: Receiver<T>) -> Self {
        rx.watch.end();
        Self { op: Box::pin(Op::of(rx)) }
    }

    fn receiver(&self) -> &Receiver<T> {
        self.op.home()
    }

    /// Waits for the next value; returns `None` when the channel is closed and drained.
    ///
    /// The future is a case of a [`select!`](crate::select!), also with the pattern `Some(..)`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing, and the stream keeps its place in the queue, as described
    /// [above](Self#cancellation).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     let mut values = rx.into_stream();
    ///     tx.send(1).await.unwrap();
    ///     assert_eq!(values.next().await, Some(1));
    ///     drop(tx);
    ///     select! {
    ///         Some(_) = values.next() => unreachable!("it is closed"),
    ///         else => {}
    ///     }
    /// });
    /// ```
    #[expect(clippy::should_implement_trait, reason = "an iterator's `next` is no future")]
    #[track_caller]
    pub fn next(&mut self) -> Next<'_, T> {
        Next { stream: self, site: Location::caller() }
    }

    /// Polls for the next value, on behalf of the call at `site`, if that is known.
    fn poll_at(
        &mut self,
        cx: &mut Context<'_>,
        site: Option<&'static Location<'static>>,
    ) -> Poll<Option<T>> {
        let state = self.op.state();
        let spends = matches!(state, state::IDLE | state::FINISHED);
        if spends
            && !coop::poll_ready(
                cx,
                site,
                Reason::ChanReceive,
                self.receiver().handle.core().map(|core| &core.object),
            )
        {
            return Poll::Pending;
        }
        if state == state::FINISHED {
            coop::spend();
            return Poll::Ready(None);
        }
        if self.receiver().handle.core().is_none() {
            coop::park_at(cx, site, Reason::ChanReceiveNil);
            return Poll::Pending;
        }
        let mut received = if state == state::IDLE {
            self.receiver().try_recv()
        } else {
            self.op.as_mut().settle()
        };
        if let Err(TryRecvError::Empty) = received {
            received = self.op.as_mut().wait(cx);
        }
        match received {
            Err(TryRecvError::Empty) => {
                coop::park_at(cx, site, Reason::ChanReceive);
                return Poll::Pending;
            }
            Err(TryRecvError::Closed) => self.op.as_mut().finish(),
            Ok(_) => {}
        }
        if spends {
            coop::spend();
        }
        Poll::Ready(received.ok())
    }
}

impl<T> Stream for IntoStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll_at(cx, None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.op.state() {
            state::DONE => (1, None),
            state::CLOSED | state::FINISHED => (0, Some(0)),
            _ => (0, None),
        }
    }
}

impl<T> fmt::Debug for IntoStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoStream")
            .field("channel", &self.receiver().handle.core())
            .finish_non_exhaustive()
    }
}

/// The future of [`IntoStream::next`].
///
/// # Cancellation
///
/// Dropping it has no effect: the stream keeps its place in the queue, and a value that was handed
/// to it. A timeout or a `default` that gives it up [takes the stream out of the
/// queue](IntoStream#cancellation).
///
/// # Examples
///
/// ```
/// use gopark::{chan, select};
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::bounded(1);
///     let mut values = rx.into_stream();
///     let mut next = values.next();
///     select! {
///         _ = &mut next => unreachable!("no value was sent"),
///         default => drop(next),
///     }
///     tx.send(1).await.unwrap();
///     assert_eq!(values.next().await, Some(1));
/// });
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Next<'a, T> {
    stream: &'a mut IntoStream<T>,
    site: &'static Location<'static>,
}

impl<T> Future for Next<'_, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        this.stream.poll_at(cx, Some(this.site))
    }
}

future_case!(Next<'a, T>, 'a, T);
option_case!(['a, T] Next<'a, T> => T);

impl<T> fmt::Debug for Next<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("stream", &self.stream).finish()
    }
}
