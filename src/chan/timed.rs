//! Channels whose values come from a [`Source`]: those of timers.

use std::ptr;

use super::core::Core;
use super::handle::Handle;
use super::source::Source;
use super::{Receiver, Sender};
use crate::wait::waiter::{Waiter, Woken, state};

/// A channel whose values come from a source, which gets a sender to call [`Sender::serve`] on. Unbuffered, as it
/// looks. The channel keeps the source, and the source may keep the sender: the circle ends with the last receiver.
pub(crate) fn timed<T>(source: impl FnOnce(Sender<T>) -> Box<dyn Source<T>>) -> Receiver<T> {
    let (tx, rx) = Handle::timed_pair();
    let rx = Receiver { handle: rx };
    let source = source(Sender { handle: tx });
    if let Some(core) = rx.handle.core() {
        core.set_source(source);
    }
    rx
}

impl<T> Sender<T> {
    /// Serves the channel after its source has got a value.
    pub(crate) fn serve(&self) {
        if let Some(core) = self.handle.core() {
            core.serve();
        }
    }
}

impl<T> Receiver<T> {
    /// Runs `f`, which changes the source, under the channel's lock. Values taken from the source before are void.
    pub(crate) fn change_source<R>(&self, f: impl FnOnce() -> R) -> R {
        self.handle.core().expect("a channel with a source").change_source(f)
    }
}

impl<T> Core<T> {
    /// Gives the channel its source, before its first use.
    pub(super) fn set_source(&self, source: Box<dyn Source<T>>) {
        let _held = self.lock.guard();
        // SAFETY: the lock is held.
        unsafe { self.with(|st| st.extras().source = Some(source)) }
    }

    /// Hands the source's value, if there is one now, to the receive that has waited longest, or wakes the streams.
    /// Must be called outside of every lock.
    pub(super) fn serve(&self) {
        let (woken, armed) = {
            let _held = self.lock.guard();
            // SAFETY: the lock is held, for this block and the claim in it.
            unsafe {
                self.with(|st| {
                    let Some(source) = st.extras.as_mut().and_then(|extras| extras.source.as_mut()) else {
                        return (Woken::NONE, Woken::NONE);
                    };
                    if !source.is_ready() {
                        // The timer was reset to a later time.
                        return (Woken::NONE, self.arm_source(st));
                    }
                    let Some(receiver) = self.recvq.claim(ptr::null()) else { return (st.watchers(), Woken::NONE) };
                    st.handoff_seq = st.handoff_seq.wrapping_add(1);
                    Waiter::give(receiver.as_ptr(), source.take().expect("ready a moment ago"), st.handoff_seq);
                    let armed = self.arm_source(st);
                    (Waiter::complete(receiver.as_ptr(), state::DONE), armed)
                })
            }
        };
        woken.wake();
        armed.wake();
    }

    /// Runs `f` on what the source consists of, that is: under the lock. A value handed to a receive that has
    /// not returned it yet is void if it is returned unclaimed. `f` runs no foreign code.
    pub(super) fn change_source<R>(&self, f: impl FnOnce() -> R) -> R {
        let (result, armed) = {
            let _held = self.lock.guard();
            // SAFETY: the lock is held.
            unsafe {
                self.with(|st| {
                    st.extras().voided_through = st.handoff_seq;
                    (f(), self.arm_source(st))
                })
            }
        };
        armed.wake();
        result
    }
}
