//! Polling by hand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

pub(crate) use crate::dice::Dice;
use crate::util::{Wakes, no_hang};

/// A future that is polled when the test says so.
pub(crate) struct Hand<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
    waker: Waker,
    done: bool,
}

impl<F: Future> Hand<F> {
    pub(crate) fn new(future: F) -> Self {
        let (wakes, waker) = Wakes::new();
        Hand { future: Box::pin(future), wakes, waker, done: false }
    }

    /// Polled once, and found pending.
    #[track_caller]
    pub(crate) fn parked(future: F) -> Self {
        let mut hand = Hand::new(future);
        assert!(hand.poll().is_pending(), "ready at the first poll");
        hand
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.poll_with(&self.waker.clone())
    }

    /// As `poll`, but by another task.
    pub(crate) fn poll_with(&mut self, waker: &Waker) -> Poll<F::Output> {
        let polled = self.future.as_mut().poll(&mut Context::from_waker(waker));
        self.done |= polled.is_ready();
        polled
    }

    pub(crate) fn future(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }

    #[track_caller]
    pub(crate) fn ready(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("pending"),
        }
    }

    pub(crate) fn is_pending(&mut self) -> bool {
        self.poll().is_pending()
    }

    /// Whether it has completed.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The number of times it was woken.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.count()
    }

    /// Leaks it: it is never dropped and never polled again.
    pub(crate) fn leak(self) {
        std::mem::forget(self.future);
    }
}

/// Runs `f` as main of a runtime of its own with this many processors. It must not hang.
pub(crate) fn on_procs<T: Send + 'static>(
    n: usize,
    f: impl Future<Output = T> + Send + 'static,
) -> T {
    no_hang(move || {
        let runtime = gopark::Runtime::builder().gomaxprocs(n).build().expect("threads");
        runtime.block_on(f)
    })
}

/// A waker that runs code when it is woken and when its last clone is dropped.
pub(crate) struct Acts {
    pub(crate) on_wake: Box<dyn Fn() + Send + Sync>,
    pub(crate) on_drop: Box<dyn Fn() + Send + Sync>,
}

impl Wake for Acts {
    fn wake(self: Arc<Self>) {
        (self.on_wake)();
    }
}

impl Drop for Acts {
    fn drop(&mut self) {
        (self.on_drop)();
    }
}

/// A future that does something after each of its polls that returned pending.
pub(crate) struct After<F, H> {
    future: Pin<Box<F>>,
    then: H,
}

impl<F, H: FnMut() + Unpin> After<F, H> {
    pub(crate) fn new(future: F, then: H) -> Self {
        After { future: Box::pin(future), then }
    }
}

impl<F: Future, H: FnMut() + Unpin> Future for After<F, H> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.future.as_mut().poll(cx);
        if polled.is_pending() {
            (self.then)();
        }
        polled
    }
}
