//! A send that replaces the oldest value of a full channel.

use super::core::{Attempt, Held};
use super::{SendError, Sender};
use crate::coop;
use crate::loom::atomic::{AtomicUsize, Ordering};

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
                (Attempt::Blocked, Some(value)) => match held.replace_oldest(value, &core.room) {
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

impl<T> Held<'_, T> {
    /// Puts a value into the full channel, and returns the oldest value, which it takes out:
    /// `value` itself if the channel has no place for it. Returns it as the error if the channel is
    /// unready.
    #[cold]
    #[inline(never)]
    fn replace_oldest(&mut self, value: T, room: &AtomicUsize) -> Result<Option<T>, T> {
        let room = room.load(Ordering::Relaxed);
        if room == 0 {
            return Ok(Some(value));
        }
        if self.buffered() < room && self.unclaimed.is_crowded() {
            return Err(value);
        }
        let oldest = match self.rotate(value)? {
            None => self.take_unclaimed(),
            Some(first) if self.unclaimed.len() == 0 => Some(first),
            Some(first) => {
                // `first` is older than the values in the buffer, and younger than all values that
                // were handed over.
                let number = self.handoff_seq.wrapping_add(1);
                self.handoff_seq = number;
                self.unclaimed.replace_oldest(first, number)
            }
        };
        self.rare = self.extras.is_some() || self.unclaimed.len() != 0;
        Ok(oldest)
    }
}
