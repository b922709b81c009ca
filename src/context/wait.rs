//! The futures of a context.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as Cx, Poll};

use super::error::ContextError;
use super::tree::Node;
use crate::chan::Receiving;
use crate::coop::{self, Noted, Reason};
use crate::wait::acquire::{Acquisition, Resource, acquisition};
use crate::wait::case::future_case;
use crate::wait::queue::Waiter;

acquisition! {
    /// The future of [`Context::done`](super::Context::done).
    ///
    /// # Cancellation
    ///
    /// Dropping it has no effect.
    Done<'a>(Option<&'a Node>, ()) -> ()
}

impl<'a> Done<'a> {
    pub(super) fn new(node: Option<&'a Node>, site: &'static Location<'static>) -> Self {
        Done(Acquisition::new(node, site))
    }

    fn err(&self) -> Option<ContextError> {
        self.0.resource().and_then(Node::err)
    }
}

/// The end of a node, which all its waiters acquire. A background has no node, and does not end.
impl Resource<()> for Option<&Node> {
    type Output = ();
    const REASON: Reason = Reason::ContextDone;

    fn try_acquire(&self) -> bool {
        self.is_some_and(|node| node.err().is_some())
    }

    fn is_unattainable(&self) -> bool {
        self.is_none()
    }

    fn extra(&self) {}

    // Safety, of this and the next two: as the trait says.
    unsafe fn enqueue(&self, waiter: &Waiter<()>) -> bool {
        // SAFETY: passed on to the caller.
        self.is_some_and(|node| unsafe { node.register(waiter) })
    }

    unsafe fn look(&self, waiter: &Waiter<()>, cx: &mut Cx<'_>) -> bool {
        // SAFETY: passed on to the caller.
        self.is_some_and(|node| unsafe { node.look(waiter, cx) })
    }

    unsafe fn cancel(&self, waiter: &Waiter<()>) {
        if let Some(node) = self {
            // SAFETY: passed on to the caller.
            unsafe { node.deregister(waiter) };
        }
    }

    fn output(&self) {}
}

/// The future of [`Context::run`](super::Context::run).
///
/// # Cancellation
///
/// Dropping it drops the future inside.
#[must_use = "futures do nothing unless awaited"]
pub struct Run<'a, F> {
    done: Done<'a>,
    future: F,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    New,
    Running,
    Over,
}

impl<'a, F> Run<'a, F> {
    pub(super) fn new(done: Done<'a>, future: F) -> Self {
        Run { done, future, progress: Progress::New }
    }
}

future_case!(Run<'a, F>, 'a, F: Future);

impl<F: Future> Future for Run<'_, F> {
    type Output = Result<F::Output, ContextError>;

    // A join inside takes its call site from here.
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        // SAFETY: `done` and `future` are pinned with `self`, and not moved; the rest is not pinned.
        let (mut done, mut future, progress) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.done), Pin::new_unchecked(&mut this.future), &mut this.progress)
        };
        match *progress {
            Progress::Over => panic!("gopark: future polled after completion"),
            Progress::New => {
                // So that a loop over ended runs lets others in.
                if !coop::poll_ready(cx) {
                    return Poll::Pending;
                }
                if let Some(err) = done.err() {
                    *progress = Progress::Over;
                    coop::spend();
                    return Poll::Ready(Err(err));
                }
                *progress = Progress::Running;
            }
            Progress::Running => {}
        }
        let before = Noted::now();
        let result = match future.as_mut().poll(cx) {
            Poll::Ready(value) => Ok(value),
            Poll::Pending => {
                if coop::without_note(|| done.as_mut().poll(cx)).is_pending() {
                    // A future of this crate has noted what it waits for.
                    if before.is_current() {
                        coop::park_at(cx, done.0.site(), Reason::Foreign);
                    }
                    return Poll::Pending;
                }
                before.restore();
                // It may have become ready in between, and must not do so afterwards.
                match coop::last_poll(future) {
                    Poll::Ready(value) => Ok(value),
                    Poll::Pending => Err(done.err().unwrap_or(ContextError::Canceled)),
                }
            }
        };
        *progress = Progress::Over;
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for Run<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// The future of [`Context::recv`](super::Context::recv).
///
/// # Cancellation
///
/// Dropping it loses no value, as with [`Receiver::recv`](crate::chan::Receiver::recv).
#[must_use = "futures do nothing unless awaited"]
pub struct Recv<'a, T> {
    run: Run<'a, Receiving<'a, T>>,
}

impl<'a, T> Recv<'a, T> {
    pub(super) fn new(run: Run<'a, Receiving<'a, T>>) -> Self {
        Recv { run }
    }
}

future_case!(Recv<'a, T>, 'a, T);

impl<T> Future for Recv<'_, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<T>> {
        // SAFETY: `run` is pinned with `self`.
        let run = unsafe { self.map_unchecked_mut(|this| &mut this.run) };
        run.poll(cx).map(|received| received.ok().flatten())
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv").field("progress", &self.run.progress).finish_non_exhaustive()
    }
}
