//! The futures of a context.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as Cx, Poll, ready};

use super::error::ContextError;
use super::tree::Node;
use crate::chan::Receiving;
use crate::coop::{self, Reason};
use crate::wait::case::future_case;
use crate::wait::queue::{Stage, Waiter};
use crate::waker::TaskWaker;

/// The future of [`Context::done`](super::Context::done).
///
/// # Cancellation
///
/// Dropping it has no effect.
#[must_use = "futures do nothing unless awaited"]
pub struct Done<'a> {
    node: Option<&'a Node>,
    stage: Stage<()>,
    site: &'static Location<'static>,
}

impl<'a> Done<'a> {
    pub(super) fn new(node: Option<&'a Node>, site: &'static Location<'static>) -> Self {
        Done { node, stage: Stage::New, site }
    }
}

future_case!(Done<'a>, 'a);

impl Future for Done<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out; a waiting stage stays where it is until it is unlinked.
        let this = unsafe { self.get_unchecked_mut() };
        if matches!(this.stage, Stage::New) && !coop::poll_ready(cx) {
            return Poll::Pending;
        }
        let done = match (&mut this.stage, this.node) {
            (Stage::Done, _) => panic!("gopark: future polled after completion"),
            // A background never ends.
            (_, None) => false,
            (Stage::New, Some(node)) if node.err().is_some() => true,
            (stage @ Stage::New, Some(node)) => {
                // Cloned before the lock.
                *stage = Stage::Waiting(Waiter::new(TaskWaker::new(cx.waker()), ()));
                let Stage::Waiting(waiter) = stage else { unreachable!() };
                // SAFETY: pinned with `self`, whose drop deregisters it.
                let done = unsafe { node.register(waiter) };
                if done {
                    // Not linked, so it may be dropped.
                    *stage = Stage::New;
                }
                done
            }
            // SAFETY: registered when the stage became `Waiting`, which is left as soon as this is true.
            (Stage::Waiting(waiter), Some(node)) => unsafe { node.look(waiter, cx) },
        };
        if !done {
            coop::park_at(this.site, Reason::ContextDone);
            return Poll::Pending;
        }
        this.stage = Stage::Done;
        coop::spend();
        Poll::Ready(())
    }
}

impl Drop for Done<'_> {
    #[inline]
    fn drop(&mut self) {
        if let (Stage::Waiting(waiter), Some(node)) = (&self.stage, self.node) {
            // SAFETY: registered when the stage became `Waiting`, which is left when `look` is true.
            unsafe { node.deregister(waiter) };
        }
    }
}

impl fmt::Debug for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").field("stage", &self.stage).finish_non_exhaustive()
    }
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

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        // SAFETY: `done` and `future` are pinned with `self`, and not moved; the rest is not pinned.
        let (done, mut future, progress) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.done), Pin::new_unchecked(&mut this.future), &mut this.progress)
        };
        let err = || done.node.and_then(Node::err);
        match *progress {
            Progress::Over => panic!("gopark: future polled after completion"),
            Progress::New => {
                // So that a loop over ended runs lets others in.
                if !coop::poll_ready(cx) {
                    return Poll::Pending;
                }
                if let Some(err) = err() {
                    *progress = Progress::Over;
                    coop::spend();
                    return Poll::Ready(Err(err));
                }
                *progress = Progress::Running;
            }
            Progress::Running => {}
        }
        let result = match future.as_mut().poll(cx) {
            Poll::Ready(value) => Ok(value),
            Poll::Pending => {
                let err = done.node;
                ready!(done.poll(cx));
                // It may have become ready in between, and must not do so afterwards.
                match coop::last_poll(future) {
                    Poll::Ready(value) => Ok(value),
                    Poll::Pending => Err(err.and_then(Node::err).unwrap_or(ContextError::Canceled)),
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
