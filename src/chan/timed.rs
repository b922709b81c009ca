//! Timer channels, whose values come from a [`Source`].

use std::pin::Pin;
use std::time::Duration;

use super::core::{Core, State};
use super::handle::Handle;
use super::source::Source;
use super::{Receiver, Sender};
use crate::clock::Time;
use crate::wait::waiter::Woken;
use crate::wait::watch::Watch;

/// Creates a channel whose values come from a source. The source gets a sender on which to call
/// [`Sender::serve`]. To its users the channel looks unbuffered. The channel owns the source, and
/// the source may own the sender; dropping the last receiver breaks this cycle.
pub(crate) fn timed<T>(source: impl FnOnce(Sender<T>) -> Pin<Box<dyn Source<T>>>) -> Receiver<T> {
    let (tx, rx) = Handle::pair(Core::new(0, true));
    let rx = Receiver { handle: rx, watch: Watch::NONE };
    let source = source(Sender { handle: tx });
    if let Some(core) = rx.handle.core() {
        core.held().extras().source = Some(source);
    }
    rx
}

impl<T> Core<T> {
    /// Returns true if the values come from a source.
    pub(super) fn is_timed(&self) -> bool {
        self.held().extras.as_deref().is_some_and(|extras| extras.source.is_some())
    }
}

impl<T> State<T> {
    /// Returns the source, if there is one.
    pub(super) fn source(&mut self) -> Option<Pin<&mut dyn Source<T>>> {
        Some(self.extras.as_mut()?.source.as_mut()?.as_mut())
    }
}

impl<T> Sender<T> {
    /// Hands the source's value, if there is one now, to the receive that has waited longest, or
    /// else wakes the streams. Must be called after the source has got a value, with no lock held.
    pub(crate) fn serve(&self) {
        let Some(core) = self.handle.core() else { return };
        let mut held = core.held();
        let Some(source) = held.source() else { return };
        let (mut unclaimed, mut woken) = (None, Woken::NONE);
        // None if the timer was reset to a later time.
        if let Some(value) = source.take() {
            let number = held.handoff_seq.wrapping_add(1);
            held.handoff_seq = number;
            // The value is treated like one that returned from a dropped receive.
            (unclaimed, woken) = held.return_unclaimed(value, number, &mut None);
        }
        let armed = held.arm_source();
        drop(held);
        woken.wake();
        armed.wake();
        drop(unclaimed);
    }
}

impl<T> Receiver<T> {
    /// Notes the use of the timer for the simulation, to which the timer and its time belong.
    #[cfg(feature = "sim")]
    pub(crate) fn used(&self, site: &std::panic::Location<'_>) {
        self.handle.core().expect("a channel with a source").object.tried(site);
    }

    /// Replaces the schedule of the source, under the channel's lock. A value that was already
    /// handed to a pending receive is void: it is discarded if that receive is dropped. Returns
    /// true if the old schedule had another value to come.
    #[cfg_attr(feature = "sim", track_caller)]
    pub(crate) fn reschedule(&self, due: Option<Time>, period: Duration) -> bool {
        #[cfg(feature = "sim")]
        self.used(std::panic::Location::caller());
        let core = self.handle.core().expect("a channel with a source");
        let mut st = core.held();
        let handed_over = st.handoff_seq;
        let extras = st.extras();
        extras.voided_through = handed_over;
        let was_active = st.source().is_some_and(|source| source.reschedule(due, period));
        let armed = st.arm_source();
        drop(st);
        armed.wake();
        was_active
    }
}
