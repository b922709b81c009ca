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
use crate::readiness::{Direction, WaitForEnd};
use crate::time::{Sleep, sleep_at};
use crate::wait::acquire::Acquisition;

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
    pub(crate) struct Retrying<'a, O: Operation<'a>> {
        #[pin]
        attempts: Attempts<'a, O>,
        operation: O,
        site: &'static Location<'static>,
        // Boxed, because it is rare.
        pause: Option<Pin<Box<Pause<'a>>>>,
        delay: Duration,
    }
}

impl<'a, O: Retry<'a>> Retrying<'a, O> {
    pub(super) fn new(operation: O, site: &'static Location<'static>) -> Self {
        let attempts = Attempts::new(operation, site);
        Self { attempts, operation, site, pause: None, delay: O::FIRST_DELAY }
    }
}

impl<'a, O: Retry<'a>> Future for Retrying<'a, O> {
    type Output = io::Result<O::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(pause) = this.pause {
                ready!(pause.as_mut().poll(cx));
                *this.pause = None;
            }
            match ready!(this.attempts.as_mut().poll(cx)) {
                Err(error) if O::may_pass(&error) => {
                    let direction = this.operation.direction();
                    let end = O::SEES_END.then(|| direction.wait_for_end(this.site));
                    let sleep = sleep_at(*this.delay, this.site);
                    *this.pause = Some(Box::pin(Pause { sleep, direction, end }));
                    *this.delay = (*this.delay * 2).min(O::LONGEST_DELAY);
                    this.attempts.set(Attempts::new(*this.operation, this.site));
                }
                result => return Poll::Ready(result),
            }
        }
    }
}

pin_project! {
    /// The future of a delay.
    struct Pause<'a> {
        #[pin]
        sleep: Sleep,
        direction: &'a Direction,
        #[pin]
        end: Option<Acquisition<'a, WaitForEnd<'a>, ()>>,
    }
}

impl Future for Pause<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if !coop::is_final(cx) {
            while let Some(mut end) = this.end.as_mut().as_pin_mut() {
                if coop::without_note(|| end.as_mut().poll(cx)).is_pending() {
                    break;
                }
                if this.direction.is_over() {
                    return Poll::Ready(());
                }
                // It was another event.
                let site = end.site();
                end.set(this.direction.wait_for_end(site));
            }
        }
        this.sleep.poll(cx)
    }
}
