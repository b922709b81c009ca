//! [`unconstrained`]: exempts a future from the cooperative budget.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::coop;
use crate::wait::case::{future_case, option_case};

/// Polls `future` outside of the cooperative budget. tokio: `task::unconstrained`.
///
/// In a goroutine, every 128th operation of this crate yields even if it is ready, so that a loop
/// over ready operations lets other goroutines run. Use this where that yield is in the way,
/// because the goroutine relies on a ready operation to complete at once, or yields by itself.
/// Until `future` waits, the other goroutines of its processor do not run; after about 10 ms the
/// monitor moves them to another thread.
///
/// To test whether a value is there, use [`try_recv`](crate::chan::Receiver::try_recv) or another
/// `try_` function; these are outside of the budget anyway. So is a poll with a waker of no task
/// (`now_or_never`). `poll_once` passes the task's waker, so an operation in it may yield.
///
/// Outside of goroutines there is no budget, and this changes nothing. The future is a case of a
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
    /// A future outside of the budget, returned by [`unconstrained`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the future inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan::{self, Receiver, Receiving};
    /// use gopark::{Unconstrained, unconstrained};
    ///
    /// fn next(rx: &Receiver<u32>) -> Unconstrained<Receiving<'_, u32>> {
    ///     unconstrained(rx.recv())
    /// }
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// tx.try_send(7).unwrap();
    /// assert_eq!(gopark::block_on(next(&rx)), Some(7));
    /// ```
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
        // Not a closure, because a closure would hide the caller.
        let _unlimited = coop::Lent::unlimited();
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
