//! A receiver as a stream: it watches the channel instead of queueing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::Stream;

use super::core::{Core, RecvAttempt, Side};
use super::{Receiver, TryRecvError};
use crate::coop;
use crate::loom::atomic::Ordering;
use crate::wait::waiter::Watchers;
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
        let Some(core) = self.handle.core() else { return Poll::Pending };
        let found = match self.try_recv() {
            Err(TryRecvError::Empty) => {
                // The clone may run foreign code: outside the lock.
                let waker = TaskWaker::new(cx.waker());
                core.lock.lock();
                // SAFETY: the lock is held until below.
                let (took, (unused, crowded_out)) = unsafe {
                    match core.take(std::ptr::null()) {
                        RecvAttempt::Empty | RecvAttempt::NotReadyYet => (RecvAttempt::Empty, core.watch(waker, cx)),
                        took => (took, (Some(waker), None)),
                    }
                };
                // SAFETY: taken above.
                unsafe { core.lock.unlock() };
                drop(unused);
                if let Some(waker) = crowded_out {
                    waker.wake();
                }
                match took {
                    RecvAttempt::Value(value, wake) => {
                        wake.wake();
                        Poll::Ready(Some(value))
                    }
                    RecvAttempt::Closed => Poll::Ready(None),
                    RecvAttempt::Empty | RecvAttempt::NotReadyYet => Poll::Pending,
                }
            }
            Ok(value) => Poll::Ready(Some(value)),
            Err(TryRecvError::Closed) => Poll::Ready(None),
        };
        let value = ready!(found);
        coop::spend();
        Poll::Ready(value)
    }
}

impl<T> Core<T> {
    /// Registers a stream, to be woken when there may be something to take. What comes back is to be dealt with outside
    /// the lock: the waker, if it is known already, and one to wake.
    ///
    /// Dropped streams leave stale wakers. If there are more watchers than receivers, the oldest is woken: a live
    /// stream registers again, a stale waker is removed.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(super) unsafe fn watch(&self, waker: TaskWaker, cx: &Context<'_>) -> (Option<TaskWaker>, Option<TaskWaker>) {
        // SAFETY: the lock is held.
        unsafe {
            self.with(|st| {
                let watchers = st.extras().watchers.get_or_insert_default();
                if watchers.iter().any(|known| known.will_wake(cx.waker())) {
                    return (Some(waker), None);
                }
                watchers.push_back(waker);
                let crowded = watchers.len() > self.count(Side::Receive).load(Ordering::Relaxed);
                let crowded_out = if crowded { watchers.pop_front() } else { None };
                self.arm_source(st);
                (None, crowded_out)
            })
        }
    }

    /// The streams that watch, but for the task of `cx`, which goes on watching.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(super) unsafe fn watchers_but(&self, cx: &Context<'_>) -> Watchers {
        // SAFETY: the lock is held.
        unsafe {
            self.with(|st| {
                let Some(extras) = &mut st.extras else { return Watchers::NONE };
                let Some(mut others) = extras.watchers.take() else { return Watchers::NONE };
                if let Some(at) = others.iter().position(|known| known.will_wake(cx.waker())) {
                    extras.watchers = others.remove(at).map(|own| Box::new(VecDeque::from([own])));
                }
                Watchers::new(Some(others))
            })
        }
    }
}
