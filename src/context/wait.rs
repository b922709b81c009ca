//! The futures of [`Context`](super::Context): [`Done`], [`Run`], [`Recv`], [`Sending`].

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as Cx, Poll};

use pin_project_lite::pin_project;

use super::error::{ContextError, ContextSendError};
use super::tree::Node;
use crate::chan::{self, Receiving, SendError};
use crate::coop::{self, Reason};
use crate::wait::acquire::{Acquisition, Request, acquisition};
use crate::wait::case::{future_case, option_case};

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
        self.0.request().and_then(Node::err)
    }
}

/// The request of [`Done`]. A background context has no node, so this never completes.
impl Request<()> for Option<&Node> {
    type Resource = Node;
    type Output = ();

    fn resource(&self) -> Option<&Node> {
        *self
    }

    fn reason(&self) -> Reason {
        Reason::ContextDone
    }

    fn output(&self) {}
}

pin_project! {
    /// The future of [`Context::run`](super::Context::run).
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the future inside.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Run<'a, F> {
        #[pin]
        done: Done<'a>,
        #[pin]
        future: F,
        progress: Progress,
    }
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
        let mut this = self.project();
        match *this.progress {
            Progress::Over => panic!("gopark: future polled after completion"),
            Progress::New => {
                // Spends from the budget, so that a loop over contexts that have ended yields.
                if !coop::poll_ready(cx, this.done.0.site(), Reason::Foreign, None) {
                    return Poll::Pending;
                }
                if let Some(err) = this.done.err() {
                    *this.progress = Progress::Over;
                    coop::spend();
                    return Poll::Ready(Err(err));
                }
                *this.progress = Progress::Running;
            }
            Progress::Running => {}
        }
        let site = this.done.0.site();
        let done = |cx: &mut Cx<'_>| coop::without_note(|| this.done.as_mut().poll(cx));
        coop::poll_limited(this.future, cx, site, done).map(|output| {
            *this.progress = Progress::Over;
            output.ok_or_else(|| this.done.err().unwrap_or(ContextError::Canceled))
        })
    }
}

impl<F> fmt::Debug for Run<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("progress", &self.progress).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Context::recv`](super::Context::recv).
    ///
    /// # Cancellation
    ///
    /// Dropping it loses no value, as with [`Receiver::recv`](crate::chan::Receiver::recv).
    #[must_use = "futures do nothing unless awaited"]
    pub struct Recv<'a, T> {
        #[pin]
        pub(super) run: Run<'a, Receiving<'a, T>>,
    }
}

future_case!(Recv<'a, T>, 'a, T);
option_case!(['a, T] Recv<'a, T> => T);

impl<T> Future for Recv<'_, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<T>> {
        self.project().run.poll(cx).map(|received| received.ok().flatten())
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv").field("progress", &self.run.progress).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Context::send`](super::Context::send).
    ///
    /// # Cancellation
    ///
    /// If it is dropped before its value was taken it drops the value, as
    /// [`Sender::send`](crate::chan::Sender::send) does.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Sending<'a, T> {
        #[pin]
        pub(super) run: Run<'a, chan::Sending<'a, T>>,
    }
}

future_case!(Sending<'a, T>, 'a, T);

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), ContextSendError<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        let mut run = self.project().run;
        run.as_mut().poll(cx).map(|ran| match ran {
            Ok(sent) => sent.map_err(|SendError(value)| ContextSendError::Closed(value)),
            // The send is in no queue: it was never polled, or polled for the last time.
            Err(err) => Err(ContextSendError::Context(err, run.project().future.give_up())),
        })
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("progress", &self.run.progress).finish_non_exhaustive()
    }
}
