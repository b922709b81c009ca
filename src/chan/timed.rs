//! Channels whose values come from a [`Source`]: those of timers.

use std::time::Duration;

use super::core::Core;
use super::handle::Handle;
use super::source::Source;
use super::{Receiver, Sender};
use crate::clock::Time;
use crate::wait::waiter::Woken;
use crate::wait::watch::Watch;

/// A channel whose values come from a source, which gets a sender to call [`Sender::serve`] on.
/// Unbuffered, as it looks. The channel keeps the source, and the source may keep the sender: the
/// circle ends with the last receiver.
pub(crate) fn timed<T>(source: impl FnOnce(Sender<T>) -> Box<dyn Source<T>>) -> Receiver<T> {
    let (tx, rx) = Handle::pair(Core::new(0, true));
    let rx = Receiver { handle: rx, watch: Watch::NONE };
    let source = source(Sender { handle: tx });
    if let Some(core) = rx.handle.core() {
        core.held().extras().source = Some(source);
    }
    rx
}

impl<T> Sender<T> {
    /// Hands the source's value, if there is one now, to the receive that has waited longest, or
    /// wakes the streams. Called after the source has got a value, outside of every lock.
    pub(crate) fn serve(&self) {
        let Some(core) = self.handle.core() else { return };
        let held = core.lock.guard();
        // SAFETY: the lock is held until the end, here and below.
        let st = unsafe { core.state() };
        let Some(source) = st.extras.as_mut().and_then(|extras| extras.source.as_mut()) else {
            return;
        };
        let (mut unclaimed, mut woken) = (None, Woken::NONE);
        // None if the timer was reset to a later time.
        if let Some(value) = source.take() {
            st.handoff_seq = st.handoff_seq.wrapping_add(1);
            let number = st.handoff_seq;
            // SAFETY: as above. It goes where a value goes that a dropped receive has left.
            (unclaimed, woken) = unsafe { core.return_unclaimed(value, number, &mut None) };
        }
        // SAFETY: as above.
        let armed = core.arm_source(unsafe { core.state() });
        drop(held);
        woken.wake();
        armed.wake();
        drop(unclaimed);
    }
}

impl<T> Receiver<T> {
    /// The timer is of the simulation that made it, as the time is of which it was told.
    #[cfg(feature = "sim")]
    pub(crate) fn used(&self, site: &std::panic::Location<'_>) {
        self.handle.core().expect("a channel with a source").object.tried(site);
    }

    /// Replaces the schedule of the source, under the channel's lock. A value handed to a receive
    /// that has not returned it yet is void if it is returned unclaimed. Returns true if there was
    /// to be another value.
    #[cfg_attr(feature = "sim", track_caller)]
    pub(crate) fn reschedule(&self, due: Option<Time>, period: Duration) -> bool {
        #[cfg(feature = "sim")]
        self.used(std::panic::Location::caller());
        let core = self.handle.core().expect("a channel with a source");
        let mut st = core.held();
        let handed_over = st.handoff_seq;
        let extras = st.extras();
        extras.voided_through = handed_over;
        let was_active =
            extras.source.as_mut().is_some_and(|source| source.reschedule(due, period));
        let armed = core.arm_source(&mut st);
        drop(st);
        armed.wake();
        was_active
    }
}
