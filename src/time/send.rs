//! A send with a limit of time.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::sleep::{Sleep, sleep};
use crate::chan::{SendTimeoutError, Sender, Sending};
use crate::coop::{self, Reason};
use crate::wait::case::future_case;

impl<T> Sender<T> {
    /// Sends `value`, but waits no longer than `limit` from this call. Go: a `select` with
    /// `time.After`; tokio: `send_timeout`.
    ///
    /// The send is tried first, so it wins if the time is over as well. It differs from a
    /// [`timeout`](crate::time::timeout()) of [`send`](Self::send) in that the value comes back.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`] with the value: the time was over, or the channel is closed. The value
    /// was not sent then.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// As of [`send`](Self::send): dropping the future before the value was taken sends nothing and
    /// drops the value. The timer is taken out at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use gopark::chan::{self, SendTimeoutError};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     assert_eq!(tx.send_timeout(1, Duration::from_millis(1)).await, Ok(()));
    ///     assert_eq!(tx.send_timeout(2, Duration::from_millis(1)).await, Err(SendTimeoutError::Timeout(2)));
    ///     drop(rx);
    ///     assert_eq!(tx.send_timeout(3, Duration::from_millis(1)).await, Err(SendTimeoutError::Closed(3)));
    /// });
    /// ```
    #[track_caller]
    pub fn send_timeout(&self, value: T, limit: Duration) -> SendTimeout<'_, T> {
        SendTimeout { sending: self.send(value), sleep: sleep(limit) }
    }
}

pin_project! {
    /// A send with a limit of time, made by [`Sender::send_timeout`].
    ///
    /// # Panics
    ///
    /// When it is polled again after it has completed.
    ///
    /// # Cancellation
    ///
    /// Dropped before its value was taken, it leaves the queue and drops the value: nothing was
    /// sent.
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
        // Asked once, as by `Timeout`.
        if !coop::poll_ready(cx, site, Reason::ChanSend, None) {
            return Poll::Pending;
        }
        let sleep = this.sleep;
        coop::poll_limited(this.sending.as_mut(), cx, site, |cx| sleep.poll_elapsed(cx)).map(
            |sent| match sent {
                Some(sent) => sent.map_err(|error| SendTimeoutError::Closed(error.0)),
                None => {
                    coop::spend();
                    Err(SendTimeoutError::Timeout(this.sending.reclaim()))
                }
            },
        )
    }
}

future_case!(SendTimeout<'a, T>, 'a, T);

impl<T> fmt::Debug for SendTimeout<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendTimeout")
            .field("sending", &self.sending)
            .field("sleep", &self.sleep)
            .finish()
    }
}
