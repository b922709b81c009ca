//! A receiver as a stream: it watches the channel instead of queueing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::Stream;

use super::core::{Core, Side};
use super::{Receiver, TryRecvError};
use crate::coop::{self, Reason};
use crate::loom::atomic::Ordering;
use crate::wait::waiter::Woken;
use crate::waker::TaskWaker;

/// A stream of the values, until the channel is closed and drained.
///
/// # Cancellation
///
/// A stream is woken when there is something to take and then takes it as a newcomer would; it is never handed a value.
/// So dropping a `next()` or leaving the stream idle strands nothing.
impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if !coop::poll_ready(cx) {
            return Poll::Pending;
        }
        // Which call of `next` waits is not known: that is a future of another crate.
        let Some(core) = self.handle.core() else {
            coop::park_at(cx, None, Reason::ChanReceiveNil);
            return Poll::Pending;
        };
        let mut received = self.try_recv();
        if let Err(TryRecvError::Empty) = received {
            core.watch(cx);
            // A send that came before the stream was registered has not woken it.
            received = self.try_recv();
        }
        if let Err(TryRecvError::Empty) = received {
            coop::park_at(cx, None, Reason::ChanReceive);
            return Poll::Pending;
        }
        coop::spend();
        Poll::Ready(received.ok())
    }
}

impl<T> Core<T> {
    /// Registers a stream, to be woken when there may be something to take.
    ///
    /// Dropped streams leave stale wakers. If there are more watchers than receivers, the oldest is woken: a live
    /// stream registers again, a stale waker is removed.
    fn watch(&self, cx: &Context<'_>) {
        // The clone may run foreign code, as its drop may: outside the lock.
        let waker = TaskWaker::new(cx.waker());
        let mut st = self.held();
        let watchers = st.extras().watchers.get_or_insert_default();
        if watchers.iter().any(|known| known.will_wake(cx.waker())) {
            return;
        }
        watchers.push_back(waker);
        let crowded = watchers.len() > self.count(Side::Receive).load(Ordering::Relaxed);
        let crowded_out = if crowded { watchers.pop_front() } else { None };
        let armed = self.arm_source(&mut st);
        drop(st);
        Woken::task(crowded_out).wake();
        armed.wake();
    }

    /// The streams that watch, but for the task of `cx`, which goes on watching.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(super) unsafe fn watchers_but(&self, cx: &Context<'_>) -> Woken {
        // SAFETY: the lock is held.
        let Some(extras) = &mut unsafe { self.state() }.extras else { return Woken::NONE };
        let Some(mut others) = extras.watchers.take() else { return Woken::NONE };
        if let Some(at) = others.iter().position(|known| known.will_wake(cx.waker())) {
            extras.watchers = others.remove(at).map(|own| Box::new(VecDeque::from([own])));
        }
        Woken::watchers(Some(others))
    }
}
