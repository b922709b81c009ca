//! Blocking sends and receives with a time limit. The async forms need timers, a module above this
//! one: see `time/send.rs`.

use std::pin::pin;
use std::time::Duration;

use super::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError};
use crate::clock::Time;
use crate::wait::block_on::block_until;

impl<T> Sender<T> {
    /// Sends `value`, blocking the thread for at most `limit`. Go: a `select` with `time.After`;
    /// tokio: `send_timeout` in a `Handle::block_on`.
    ///
    /// Otherwise it behaves like [`send_blocking`](Self::send_blocking). In a goroutine await
    /// [`send_timeout`](Self::send_timeout) instead.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`] with the value, which was not sent: the limit expired, or the channel
    /// is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use gopark::chan::{self, SendTimeoutError};
    ///
    /// let limit = Duration::from_millis(1);
    /// let (tx, rx) = chan::bounded(1);
    /// assert_eq!(tx.send_timeout_blocking(1, limit), Ok(()));
    /// assert_eq!(tx.send_timeout_blocking(2, limit), Err(SendTimeoutError::Timeout(2)));
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// ```
    #[track_caller]
    pub fn send_timeout_blocking(
        &self,
        value: T,
        limit: Duration,
    ) -> Result<(), SendTimeoutError<T>> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        let value = match self.try_send(value) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(value)) => return Err(SendTimeoutError::Closed(value)),
            Err(TrySendError::Full(value)) => value,
        };
        let until = Time::now().after(limit);
        let mut sending = pin!(self.send(value));
        match block_until(sending.as_mut(), until) {
            Some(sent) => sent.map_err(|error| SendTimeoutError::Closed(error.0)),
            None => Err(SendTimeoutError::Timeout(sending.give_up())),
        }
    }
}

impl<T> Receiver<T> {
    /// Receives a value, blocking the thread for at most `limit`. Go: a `select` with `time.After`.
    ///
    /// Otherwise it behaves like [`recv_blocking`](Self::recv_blocking). In a goroutine await a
    /// [`timeout`](crate::time::timeout()) of [`recv`](Self::recv) instead.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`] if the limit expired, [`RecvTimeoutError::Closed`] if the
    /// channel is closed and drained.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use gopark::chan::{self, RecvTimeoutError};
    ///
    /// let limit = Duration::from_millis(1);
    /// let (tx, rx) = chan::unbuffered();
    /// assert_eq!(rx.recv_timeout_blocking(limit), Err(RecvTimeoutError::Timeout));
    /// gopark::go(async move { tx.send(5).await });
    /// assert_eq!(rx.recv_timeout_blocking(Duration::from_secs(60)), Ok(5));
    /// ```
    #[track_caller]
    pub fn recv_timeout_blocking(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
        #[cfg(feature = "sim")]
        crate::simulated::leaves(crate::simulated::Outside::Blocking);
        match self.try_recv() {
            Ok(value) => return Ok(value),
            Err(TryRecvError::Closed) => return Err(RecvTimeoutError::Closed),
            Err(TryRecvError::Empty) => {}
        }
        let until = Time::now().after(limit);
        match block_until(pin!(self.recv()), until) {
            Some(received) => received.ok_or(RecvTimeoutError::Closed),
            None => Err(RecvTimeoutError::Timeout),
        }
    }
}
