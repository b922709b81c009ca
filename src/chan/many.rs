//! The receive of many values at once.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::Receiver;
use super::core::{Attempt, Core};
use super::op::Receiving;
use crate::coop::{self, Reason};
use crate::wait::case::{Case, ChannelCase, Sealed};
use crate::waker::WakeList;

/// The maximum number of values taken under one lock of the channel. Also the maximum number that
/// one receive takes in addition to those it found in the buffer.
const MOST: usize = 64;

impl<T> Receiver<T> {
    /// Waits for a value, and appends it and further available values to `values`, up to `max` in
    /// total. Go: a receive, then a loop around a `select` with `default`; tokio: `recv_many`.
    ///
    /// Returns the number of values received. It is 0 when the channel is closed and drained, or if
    /// `max` is 0.
    ///
    /// The receive ends even if senders keep up with it and `max` is large. After the first value
    /// it takes as many as the buffer holds at that moment, and at most 64 more: values that are
    /// sent meanwhile, or those of waiting senders.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses no value, see [`recv`](Self::recv). `values` is unchanged unless
    /// the future has completed.
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
    ///     let (tx, rx) = chan::bounded(8);
    ///     (0..5).for_each(|v| tx.try_send(v).unwrap());
    ///     let mut values = Vec::new();
    ///     assert_eq!(rx.recv_many(&mut values, 3).await, 3);
    ///     assert_eq!(rx.recv_many(&mut values, 3).await, 2);
    ///     assert_eq!(values, [0, 1, 2, 3, 4]);
    ///     drop(tx);
    ///     assert_eq!(rx.recv_many(&mut values, 3).await, 0);
    /// });
    /// ```
    #[track_caller]
    pub fn recv_many<'a>(&'a self, values: &'a mut Vec<T>, max: usize) -> RecvMany<'a, T> {
        RecvMany { first: self.recv(), core: self.handle.core(), values, max }
    }
}

pin_project! {
    /// A pending receive of many values, made by [`Receiver::recv_many`].
    ///
    /// # Cancellation
    ///
    /// Dropping it loses no value, see [`Receiver::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(3);
    ///     let mut values = Vec::new();
    ///     let mut receiving = Box::pin(rx.recv_many(&mut values, 10));
    ///     select! {
    ///         n = receiving.as_mut() => unreachable!("{n} values, but none was sent"),
    ///         default => (1..=3).for_each(|v| tx.try_send(v).unwrap()),
    ///     }
    ///     assert_eq!(receiving.await, 3);
    ///     assert_eq!(values, [1, 2, 3]);
    /// });
    /// ```
    #[must_use = "a receive does nothing unless awaited"]
    pub struct RecvMany<'a, T> {
        #[pin]
        first: Receiving<'a, T>,
        core: Option<&'a Core<T>>,
        values: &'a mut Vec<T>,
        max: usize,
    }
}

impl<T> RecvMany<'_, T> {
    /// Takes further values after the first one. `first` is `None` at the channel's end.
    fn complete(self: Pin<&mut Self>, first: Option<T>) -> usize {
        let this = self.project();
        let (Some(first), Some(core)) = (first, *this.core) else { return 0 };
        this.values.push(first);
        1 + core.take_many(this.values, *this.max - 1)
    }
}

impl<T> Future for RecvMany<'_, T> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        if self.max == 0 {
            if !coop::poll_ready(cx, None, Reason::ChanReceive, self.core.map(|core| &core.object))
            {
                return Poll::Pending;
            }
            coop::spend();
            return Poll::Ready(0);
        }
        match self.as_mut().project().first.poll(cx) {
            Poll::Ready(first) => Poll::Ready(self.complete(first)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Case for RecvMany<'_, T> {
    type Output = usize;

    fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        if self.max == 0 {
            return Poll::Ready(0);
        }
        match self.as_mut().project().first.poll_case(cx) {
            Poll::Ready(first) => Poll::Ready(self.complete(first)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// With `max` 0 the receive is ready whatever the state of the channel, so it is not treated as
    /// a channel operation.
    fn raw(self: Pin<&Self>, private: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        if self.max == 0 { None } else { self.project_ref().first.raw(private) }
    }

    fn drop_is_noop(&self, private: Sealed) -> bool {
        self.first.drop_is_noop(private)
    }

    fn won(mut self: Pin<&mut Self>) -> usize {
        let first = self.as_mut().project().first.won();
        self.complete(first)
    }
}

impl<T> Core<T> {
    /// Takes up to `max` available values, at most [`MOST`] of which were not in the buffer when
    /// the call began.
    fn take_many(&self, values: &mut Vec<T>, max: usize) -> usize {
        let before = values.len();
        let mut left = max.min(self.len_hint().saturating_add(MOST));
        let mut wakes = WakeList::new();
        while left > 0 && self.seems_ready_to_recv() {
            // Allocates before the channel is locked.
            values.reserve(left.min(MOST));
            let (mut batch, mut is_ready, mut is_drained) = (left.min(MOST), true, false);
            let mut held = self.held();
            while batch > 0 && !wakes.is_full() {
                match held.take() {
                    Attempt::Complete(Some(value), woken) => {
                        values.push(value);
                        // A receive wakes at most one sender, and no stream.
                        wakes.push(woken.into_task());
                        (batch, left) = (batch - 1, left - 1);
                    }
                    Attempt::Unready => {
                        is_ready = false;
                        break;
                    }
                    Attempt::Complete(None, _) | Attempt::Closed | Attempt::Blocked => {
                        is_drained = true;
                        break;
                    }
                }
            }
            drop(held);
            wakes.wake_all();
            if is_drained {
                break;
            }
            if !is_ready {
                self.maintain();
            }
        }
        values.len() - before
    }
}

impl<T> fmt::Debug for RecvMany<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvMany")
            .field("channel", &self.core)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
