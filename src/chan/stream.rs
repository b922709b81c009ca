//! A receiver as a stream: it watches the channel instead of queueing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};

use futures_lite::Stream;

use super::core::{Attempt, Core, Side};
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
            coop::park(cx, Reason::ChanReceiveNil);
            return Poll::Pending;
        };
        let received = match self.try_recv() {
            Ok(value) => Some(value),
            Err(TryRecvError::Closed) => None,
            Err(TryRecvError::Empty) => match core.take_or_watch(cx) {
                Poll::Ready(received) => received,
                Poll::Pending => {
                    coop::park(cx, Reason::ChanReceive);
                    return Poll::Pending;
                }
            },
        };
        coop::spend();
        Poll::Ready(received)
    }
}

impl<T> Core<T> {
    /// Receives, or registers a stream.
    fn take_or_watch(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        // The clone may run foreign code: outside the lock.
        let clone = TaskWaker::new(cx.waker());
        let held = self.lock.guard();
        // SAFETY: the lock is held.
        match unsafe { self.take(ptr::null()) } {
            Attempt::Complete(value, woken) => {
                drop(held);
                woken.wake();
                Poll::Ready(value)
            }
            Attempt::Closed => Poll::Ready(None),
            Attempt::Blocked => {
                // SAFETY: the lock is held.
                let (unused, woken) = unsafe { self.watch(clone, cx) };
                drop(held);
                drop(unused);
                woken.into_iter().flatten().for_each(TaskWaker::wake);
                Poll::Pending
            }
        }
    }

    /// Registers a stream, to be woken when there may be something to take. What comes back is to be dealt with outside
    /// the lock: the waker, if it is known already, and those to wake.
    ///
    /// Dropped streams leave stale wakers. If there are more watchers than receivers, the oldest is woken: a live
    /// stream registers again, a stale waker is removed.
    ///
    /// # Safety
    ///
    /// The lock is held.
    unsafe fn watch(&self, waker: TaskWaker, cx: &Context<'_>) -> (Option<TaskWaker>, [Option<TaskWaker>; 2]) {
        // SAFETY: the lock is held.
        unsafe {
            self.with(|st| {
                let watchers = st.extras().watchers.get_or_insert_default();
                if watchers.iter().any(|known| known.will_wake(cx.waker())) {
                    return (Some(waker), [None, None]);
                }
                watchers.push_back(waker);
                let crowded = watchers.len() > self.count(Side::Receive).load(Ordering::Relaxed);
                let crowded_out = if crowded { watchers.pop_front() } else { None };
                (None, [crowded_out, self.arm_source(st).into_task()])
            })
        }
    }

    /// The streams that watch, but for the task of `cx`, which goes on watching.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(super) unsafe fn watchers_but(&self, cx: &Context<'_>) -> Woken {
        // SAFETY: the lock is held.
        unsafe {
            self.with(|st| {
                let Some(extras) = &mut st.extras else { return Woken::NONE };
                let Some(mut others) = extras.watchers.take() else { return Woken::NONE };
                if let Some(at) = others.iter().position(|known| known.will_wake(cx.waker())) {
                    extras.watchers = others.remove(at).map(|own| Box::new(VecDeque::from([own])));
                }
                Woken::watchers(Some(others))
            })
        }
    }
}
