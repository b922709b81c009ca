//! [`Sender::send_timeout`].

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::sleep::{Sleep, sleep};
use crate::chan::{SendError, SendTimeoutError, Sender, Sending};
use crate::coop::{self, Reason};
use crate::wait::case::{Case, ChannelCase, Sealed};

impl<T> Sender<T> {
    /// Sends `value`, but waits at most `limit` from this call. Go: a `select` with `time.After`;
    /// tokio: `send_timeout`.
    ///
    /// The send is tried first, so it wins if the time has elapsed as well. Unlike a
    /// [`timeout`](crate::time::timeout()) of [`send`](Self::send), it returns the value.
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send): if the future is dropped before the value was taken, it drops the
    /// value, and nothing was sent. The timer is removed at once.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`], with the value, if the time elapsed first or the channel is closed.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gopark::chan::{self, SendTimeoutError};
    ///
    /// gopark::block_on(async {
    ///     let limit = Duration::from_millis(1);
    ///     let (tx, rx) = chan::bounded(1);
    ///     assert_eq!(tx.send_timeout(1, limit).await, Ok(()));
    ///     assert_eq!(tx.send_timeout(2, limit).await, Err(SendTimeoutError::Timeout(2)));
    ///     drop(rx);
    ///     assert_eq!(tx.send_timeout(3, limit).await, Err(SendTimeoutError::Closed(3)));
    /// });
    /// ```
    #[track_caller]
    pub fn send_timeout(&self, value: T, limit: Duration) -> SendTimeout<'_, T> {
        SendTimeout { sending: self.send(value), sleep: sleep(limit) }
    }
}

pin_project! {
    /// A send with a time limit, returned by [`Sender::send_timeout`].
    ///
    /// # Cancellation
    ///
    /// If it is dropped before its value was taken, it leaves the queue and drops the value:
    /// nothing was sent.
    ///
    /// # Panics
    ///
    /// If it is polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::time::Duration;
    ///
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     tx.send("old").await.unwrap();
    ///     let mut sending = pin!(tx.send_timeout("new", Duration::from_secs(60)));
    ///     select! {
    ///         _ = sending.as_mut() => unreachable!("the buffer is full"),
    ///         old = rx.recv() => assert_eq!(old, Some("old")),
    ///     }
    ///     assert_eq!(sending.await, Ok(()));
    /// });
    /// ```
    #[must_use = "a send does nothing unless awaited"]
    pub struct SendTimeout<'a, T> {
        #[pin]
        sending: Sending<'a, T>,
        #[pin]
        sleep: Sleep,
    }
}

impl<T> Future for SendTimeout<'_, T> {
    type Output = Result<(), SendTimeoutError<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let site = this.sleep.site();
        // Checked once for both futures, as in `Timeout`.
        if !coop::poll_ready(cx, site, Reason::ChanSend, None) {
            return Poll::Pending;
        }
        let sleep = this.sleep;
        coop::poll_limited(this.sending.as_mut(), cx, site, |cx| sleep.poll_elapsed(cx)).map(
            |sent| match sent {
                Some(sent) => sent.map_err(closed),
                None => {
                    coop::spend();
                    Err(SendTimeoutError::Timeout(this.sending.give_up()))
                }
            },
        )
    }
}

fn closed<T>(SendError(value): SendError<T>) -> SendTimeoutError<T> {
    SendTimeoutError::Closed(value)
}

/// The operation of the send is in the queue as a case of the `select!`, not alone, so that it does
/// not complete beside another case. If it was polled before, it keeps its own place.
impl<T> Case for SendTimeout<'_, T> {
    type Output = Result<(), SendTimeoutError<T>>;

    fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let raw = self.as_ref().raw(Sealed::TOKEN);
        if !raw.is_some_and(|raw| raw.is_unpolled()) {
            return coop::without_note(|| self.poll(cx));
        }
        if let Poll::Ready(sent) = self.as_mut().project().sending.poll_case(cx) {
            return Poll::Ready(sent.map_err(closed));
        }
        let limit = self.as_mut().poll_limit(cx, Sealed::TOKEN);
        limit.map(|()| self.limited(Sealed::TOKEN))
    }

    fn raw(self: Pin<&Self>, private: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        self.project_ref().sending.raw(private)
    }

    fn won(self: Pin<&mut Self>) -> Self::Output {
        let sent = self.project().sending.won();
        sent.map_err(closed)
    }

    fn has_limit(&self, _: Sealed) -> bool {
        true
    }

    fn poll_limit(self: Pin<&mut Self>, cx: &mut Context<'_>, _: Sealed) -> Poll<()> {
        coop::without_note(|| self.project().sleep.poll_elapsed(cx))
    }

    fn limited(self: Pin<&mut Self>, _: Sealed) -> Self::Output {
        Err(SendTimeoutError::Timeout(self.project().sending.give_up()))
    }
}

impl<T> fmt::Debug for SendTimeout<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendTimeout")
            .field("sending", &self.sending)
            .field("sleep", &self.sleep)
            .finish()
    }
}
