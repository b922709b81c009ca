//! Operations that are tried again after a delay, because no event tells when they may succeed.

use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::coop;
use crate::io::attempt::{Attempts, Operation};
use crate::time::{Sleep, sleep};
use crate::wait::watch::Watch;

/// An operation with errors that pass without an event.
pub(crate) trait Retry<'a>: Operation<'a> + Copy {
    /// The first delay; each later one is twice as long, up to the longest.
    const FIRST_DELAY: Duration;
    const LONGEST_DELAY: Duration;

    /// True if a close of the socket, or the end of its runtime, ends the delay. A task that waits
    /// for that is polled at each event of the direction.
    const SEES_END: bool;

    /// Returns true if the error may pass.
    fn may_pass(error: &io::Error) -> bool;
}

pin_project! {
    /// The future of an operation that is tried again after a delay if its error may pass.
    pub(crate) struct Retrying<'a, O> {
        #[pin]
        attempts: Attempts<'a, O>,
        operation: O,
        site: &'static Location<'static>,
        #[pin]
        pause: Option<Sleep>,
        delay: Duration,
        watch: Watch,
    }
}

impl<'a, O: Retry<'a>> Retrying<'a, O> {
    pub(super) fn new(operation: O, site: &'static Location<'static>) -> Self {
        let attempts = Attempts::new(operation, site);
        Self { attempts, operation, site, pause: None, delay: O::FIRST_DELAY, watch: Watch::NONE }
    }
}

impl<'a, O: Retry<'a>> Future for Retrying<'a, O> {
    type Output = io::Result<O::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(pause) = this.pause.as_mut().as_pin_mut() {
                let watches = O::SEES_END && !coop::is_final(cx);
                if !watches || this.operation.direction().watch_end(this.watch, cx) {
                    ready!(pause.poll(cx));
                    this.watch.end();
                }
                this.pause.set(None);
            }
            match ready!(this.attempts.as_mut().poll(cx)) {
                Err(error) if O::may_pass(&error) => {
                    this.pause.set(Some(sleep(*this.delay)));
                    *this.delay = (*this.delay * 2).min(O::LONGEST_DELAY);
                    this.attempts.set(Attempts::new(*this.operation, this.site));
                }
                result => return Poll::Ready(result),
            }
        }
    }
}
