//! A send that replaces the oldest value of a full channel.

use super::core::Attempt;
use super::{SendError, Sender};
use crate::coop;

impl<T> Sender<T> {
    /// Sends `value` without waiting, replacing the oldest value if the channel is full.
    ///
    /// The replaced value is returned as `Ok(Some(oldest))`. This is for receivers that need the
    /// latest values, not all of them. Go: a `select` that sends, and where it cannot, receives and
    /// tries again.
    ///
    /// The value overtakes those of waiting senders, which go on waiting. The oldest value may be
    /// one that returned from a dropped receive.
    ///
    /// A channel that is unbuffered, or whose places are all [reserved](Self::reserve), has no
    /// value to replace: if no receiver is waiting, `value` itself is returned as
    /// `Ok(Some(value))`. A [`nil`](Self::nil) sender returns it too.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the value if the channel is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    ///
    /// let (tx, rx) = chan::bounded(2);
    /// assert_eq!(tx.force_send(1), Ok(None));
    /// assert_eq!(tx.force_send(2), Ok(None));
    /// assert_eq!(tx.force_send(3), Ok(Some(1)));
    /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [2, 3]);
    /// ```
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn force_send(&self, mut value: T) -> Result<Option<T>, SendError<T>> {
        let Some(core) = self.handle.core() else { return Ok(Some(value)) };
        #[cfg(feature = "sim")]
        core.object.tried(std::panic::Location::caller());
        // Another thread may take the value without being woken.
        coop::note_unwinding();
        let mut held = core.held();
        let (attempt, value) = loop {
            value = match held.put_ready(value) {
                (Attempt::Blocked, Some(value)) => match held.replace_oldest(value) {
                    Ok(oldest) => return Ok(oldest),
                    Err(value) => value,
                },
                result => break result,
            };
            held.maintain();
        };
        drop(held);
        match (attempt, value) {
            (Attempt::Complete(_, woken), _) => {
                woken.wake();
                Ok(None)
            }
            (Attempt::Closed, Some(value)) => Err(SendError(value)),
            (_, value) => Ok(value),
        }
    }
}
