//! Futures that the budget is not for.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::coop;
use crate::wait::case::{future_case, option_case};

/// Polls `future` outside of the budget: its operations complete whenever they can, and never give
/// way. tokio: `task::unconstrained`.
///
/// An operation of this crate that is ready gives way every 128th time, so that a loop over ready
/// ones lets others run. Where that is in the way, because the goroutine counts on what is ready or
/// yields by itself, this leaves it out. While the future does not wait, the other goroutines of
/// its processor wait for it, until the monitor lets another thread take them, some 10 ms later.
///
/// To ask whether something is there, use [`try_recv`](crate::chan::Receiver::try_recv) and its
/// kin, which have no budget; so has a poll with a waker of no task (`now_or_never`). `poll_once`
/// passes the task's waker, and may be told to give way.
///
/// Outside of goroutines there is no budget, and this changes nothing. It is a case of a
/// [`select!`](crate::select!).
///
/// # Cancellation
///
/// Dropping it drops `future`.
///
/// # Examples
///
/// ```
/// use gopark::chan;
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::bounded(1000);
///     for i in 0..1000 {
///         tx.try_send(i).unwrap();
///     }
///     let drained = gopark::unconstrained(async {
///         let mut n = 0;
///         while !rx.is_empty() {
///             rx.recv().await;
///             n += 1;
///         }
///         n // no other goroutine of this processor has run meanwhile
///     });
///     assert_eq!(drained.await, 1000);
/// });
/// ```
pub fn unconstrained<F: IntoFuture>(future: F) -> Unconstrained<F::IntoFuture> {
    Unconstrained { future: future.into_future() }
}

pin_project! {
    /// A future outside of the budget, made by [`unconstrained`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the future inside.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Unconstrained<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Unconstrained<F> {
    type Output = F::Output;

    // A join inside takes its call site from here.
    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.project().future;
        // Not a closure: it would hide the caller.
        let _unlimited = coop::Unlimited::new();
        future.poll(cx)
    }
}

future_case!(Unconstrained<F>, F: Future);
option_case!([F: Future<Output = Option<T>>, T] Unconstrained<F> => T);

impl<F> fmt::Debug for Unconstrained<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unconstrained").finish_non_exhaustive()
    }
}
