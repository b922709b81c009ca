//! A send that replaces the oldest value of a full channel.

use std::ptr;

use super::core::{Attempt, Core};
use super::{SendError, Sender};
use crate::coop;
use crate::loom::atomic::Ordering;
use crate::wait::waiter::Woken;

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
    pub fn force_send(&self, value: T) -> Result<Option<T>, SendError<T>> {
        let Some(core) = self.handle.core() else { return Ok(Some(value)) };
        #[cfg(feature = "sim")]
        core.object.tried(std::panic::Location::caller());
        // Another thread may take the value without being woken.
        coop::note_unwinding();
        let mut value = Some(value);
        let held = core.lock.guard();
        // SAFETY: the lock is held; one of the two takes the value, once.
        let attempt = unsafe {
            core.until_ready(|| match core.put(ptr::null(), || value.take().unwrap_unchecked()) {
                Attempt::Blocked => core.replace_oldest(|| value.take().unwrap_unchecked()),
                attempt => attempt,
            })
        };
        drop(held);
        match (attempt, value) {
            (Attempt::Complete(oldest, woken), _) => {
                woken.wake();
                Ok(oldest)
            }
            (Attempt::Closed, Some(value)) => Err(SendError(value)),
            (_, value) => Ok(value),
        }
    }
}

impl<T> Core<T> {
    /// Puts a value into the full channel, and completes with the oldest value, which it takes out.
    ///
    /// # Safety
    ///
    /// The lock is held, and a send would have to wait. `value` is called at most once.
    #[cold]
    #[inline(never)]
    unsafe fn replace_oldest(&self, value: impl FnOnce() -> T) -> Attempt<T> {
        let room = self.room.load(Ordering::Relaxed);
        if room == 0 {
            return Attempt::Blocked;
        }
        // SAFETY: the lock is held.
        let st = unsafe { self.state() };
        let in_buffer = self.len.load(Ordering::Relaxed) - st.unclaimed.len();
        // SAFETY: if the buffer is full, a value is taken out before one is added.
        if unsafe { st.buffer.make_room() }.is_err() {
            return Attempt::Unready;
        }
        let oldest = if in_buffer < room {
            if st.unclaimed.is_crowded() {
                return Attempt::Unready;
            }
            st.unclaimed.pop()
        } else {
            // SAFETY: the buffer holds `in_buffer` values, at least `room`, which is not 0.
            let Ok(first) = (unsafe { st.buffer.pop(in_buffer) }) else {
                return Attempt::Unready;
            };
            if st.unclaimed.len() == 0 {
                Some(first)
            } else {
                // `first` is older than the values in the buffer, and younger than all values
                // that were handed over.
                st.handoff_seq = st.handoff_seq.wrapping_add(1);
                st.unclaimed.replace_oldest(first, st.handoff_seq)
            }
        };
        // SAFETY: the buffer holds fewer values than it has places, as prepared above.
        let added = unsafe { st.buffer.push(value) };
        debug_assert!(added.is_ok(), "there is room");
        st.rare = st.extras.is_some() || st.unclaimed.len() != 0;
        Attempt::Complete(oldest, Woken::NONE)
    }
}
