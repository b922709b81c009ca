//! Channels whose values come from a [`Source`]: those of timers.

use std::ptr;
use std::time::Duration;

use super::core::Core;
use super::handle::Handle;
use super::source::Source;
use super::{Receiver, Sender};
use crate::clock::Time;
use crate::wait::waiter::{Waiter, Woken, state};

/// A channel whose values come from a source, which gets a sender to call [`Sender::serve`] on. Unbuffered, as it
/// looks. The channel keeps the source, and the source may keep the sender: the circle ends with the last receiver.
pub(crate) fn timed<T>(source: impl FnOnce(Sender<T>) -> Box<dyn Source<T>>) -> Receiver<T> {
    let (tx, rx) = Handle::pair(Core::new(0, true));
    let rx = Receiver { handle: rx };
    let source = source(Sender { handle: tx });
    if let Some(core) = rx.handle.core() {
        core.held().extras().source = Some(source);
    }
    rx
}

impl<T> Sender<T> {
    /// Hands the source's value, if there is one now, to the receive that has waited longest, or wakes the streams. Called
    /// after the source has got a value, outside of every lock.
    pub(crate) fn serve(&self) {
        let Some(core) = self.handle.core() else { return };
        let mut st = core.held();
        let Some(source) = st.extras.as_mut().and_then(|extras| extras.source.as_mut()) else { return };
        let (mut woken, mut armed) = (Woken::NONE, Woken::NONE);
        if !source.is_ready() {
            // The timer was reset to a later time.
            armed = core.arm_source(&mut st);
        // SAFETY: the lock is held, for the claim and what follows from it.
        } else if let Some(receiver) = unsafe { core.recvq.claim(ptr::null()) } {
            let value = source.take().expect("ready a moment ago");
            st.handoff_seq = st.handoff_seq.wrapping_add(1);
            // SAFETY: claimed above, under the same lock.
            unsafe {
                Waiter::give(receiver.as_ptr(), value, st.handoff_seq);
                woken = Waiter::complete(receiver.as_ptr(), state::DONE);
            }
            armed = core.arm_source(&mut st);
        } else {
            woken = st.watchers();
        }
        drop(st);
        woken.wake();
        armed.wake();
    }
}

impl<T> Receiver<T> {
    /// Replaces the schedule of the source, under the channel's lock. A value handed to a receive that has not returned it yet
    /// is void if it is returned unclaimed. Returns true if there was to be another value.
    pub(crate) fn reschedule(&self, due: Option<Time>, period: Duration) -> bool {
        let core = self.handle.core().expect("a channel with a source");
        let mut st = core.held();
        let handed_over = st.handoff_seq;
        let extras = st.extras();
        extras.voided_through = handed_over;
        let was_active = extras.source.as_mut().is_some_and(|source| source.reschedule(due, period));
        let armed = core.arm_source(&mut st);
        drop(st);
        armed.wake();
        was_active
    }
}
