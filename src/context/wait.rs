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
use crate::wait::acquire::{Acquired, Acquisition, Request, acquisition};
use crate::wait::case::{Case, ChannelCase, Sealed, future_case, option_case};

acquisition! {
    /// The future of [`Context::done`](super::Context::done).
    ///
    /// # Cancellation
    ///
    /// Dropping it has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    ///
    /// use gopark::context::Context;
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let (tx, rx) = chan::bounded(8);
    ///     (0..8).for_each(|v| tx.try_send(v).unwrap());
    ///     let mut done = pin!(ctx.done()); // One wait for all rounds.
    ///     loop {
    ///         select! {
    ///             biased;
    ///             _ = done.as_mut() => break,
    ///             v = rx.recv() => if v == Some(3) { cancel.cancel() },
    ///         }
    ///     }
    ///     assert_eq!(rx.len(), 4);
    /// });
    /// ```
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

impl<'a> Request<'a, ()> for Option<&'a Node> {
    type Resource = Self;
    type Output = ();

    fn resource(self) -> Self {
        self
    }

    fn reason(self) -> Reason {
        Reason::ContextDone
    }

    fn output(self, _: Acquired<Self, ()>) {}
}

pin_project! {
    /// The future of [`Context::run`](super::Context::run).
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the future inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gopark::context::{Context, ContextError, Run};
    /// use gopark::time::Sleep;
    ///
    /// fn pause(ctx: &Context) -> Run<'_, Sleep> {
    ///     ctx.sleep(Duration::from_secs(3600))
    /// }
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel.cancel();
    /// assert_eq!(gopark::block_on(pause(&ctx)), Err(ContextError::Canceled));
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    ///
    /// use gopark::context::Context;
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (ctx, cancel) = Context::background().with_cancel();
    ///     let (_tx, rx) = chan::unbuffered::<u8>();
    ///     let mut receiving = pin!(ctx.recv(&rx));
    ///     select! {
    ///         _ = receiving.as_mut() => unreachable!("no value was sent"),
    ///         default => cancel.cancel(),
    ///     }
    ///     assert_eq!(receiving.await, None);
    /// });
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    /// use gopark::context::{Context, Sending};
    ///
    /// gopark::block_on(async {
    ///     let ctx = Context::background();
    ///     let ((a_tx, a), (b_tx, b)) = (chan::bounded(1), chan::bounded(1));
    ///     let sends: [Sending<'_, i32>; 2] = [ctx.send(&a_tx, 7), ctx.send(&b_tx, 8)];
    ///     for send in sends {
    ///         send.await.unwrap();
    ///     }
    ///     assert_eq!((a.try_recv(), b.try_recv()), (Ok(7), Ok(8)));
    /// });
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct Sending<'a, T> {
        #[pin]
        pub(super) run: Run<'a, chan::Sending<'a, T>>,
    }
}

fn closed<T>(SendError(value): SendError<T>) -> ContextSendError<T> {
    ContextSendError::Closed(value)
}

/// The operation of the send is in the queue as a case of the `select!`, not alone, so that it does
/// not complete beside another case. If it was polled before, it keeps its own place.
impl<T> Case for Sending<'_, T> {
    type Output = Result<(), ContextSendError<T>>;

    fn poll_case(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        let raw = self.as_ref().raw(Sealed::TOKEN);
        if !raw.is_some_and(|raw| raw.is_unpolled()) {
            return coop::without_note(|| self.poll(cx));
        }
        if self.run.done.err().is_some() {
            return Poll::Ready(self.limited(Sealed::TOKEN));
        }
        let run = self.as_mut().project().run.project();
        if let Poll::Ready(sent) = run.future.poll_case(cx) {
            *run.progress = Progress::Over;
            return Poll::Ready(sent.map_err(closed));
        }
        let limit = self.as_mut().poll_limit(cx, Sealed::TOKEN);
        limit.map(|()| self.limited(Sealed::TOKEN))
    }

    fn raw(self: Pin<&Self>, private: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        self.project_ref().run.project_ref().future.raw(private)
    }

    fn won(self: Pin<&mut Self>) -> Self::Output {
        let run = self.project().run.project();
        *run.progress = Progress::Over;
        run.future.won().map_err(closed)
    }

    fn has_limit(&self, _: Sealed) -> bool {
        true
    }

    fn poll_limit(self: Pin<&mut Self>, cx: &mut Cx<'_>, _: Sealed) -> Poll<()> {
        coop::without_note(|| self.project().run.project().done.poll(cx))
    }

    fn limited(self: Pin<&mut Self>, _: Sealed) -> Self::Output {
        let run = self.project().run.project();
        *run.progress = Progress::Over;
        let err = run.done.err().unwrap_or(ContextError::Canceled);
        Err(ContextSendError::Context(err, run.future.give_up()))
    }
}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), ContextSendError<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        let mut run = self.project().run;
        run.as_mut().poll(cx).map(|ran| match ran {
            Ok(sent) => sent.map_err(closed),
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
