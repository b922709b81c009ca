//! What can stand in a `select!`.

use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use crate::lock::RawLock;
use crate::wait::waiter::{Token, Wake, Watchers};

/// What can stand in a [`select!`](crate::select!): every wait of this crate as it is, and any other future through [`fut`].
///
/// Also a case by reference, to go on with it in a later select: `&mut C`, `Pin<&mut C>`, `Pin<Box<C>>`.
///
/// ```
/// use gopark::{chan, select};
///
/// gopark::block_on(async {
///     let handle = &mut gopark::go(async { 7 });
///     let (_tx, rx) = chan::unbuffered::<i32>();
///     select! {
///         joined = handle => assert_eq!(joined.unwrap(), 7),
///         _ = rx.recv() => unreachable!("nobody sends"),
///     }
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a `select!`",
    note = "an operation of this crate stands as it is; wrap any other future: `gopark::select::fut(future)`"
)]
pub trait Case {
    /// What the operation results in.
    type Output;

    /// Tries the case once. A channel operation registers nothing, any other future does what its `poll` does.
    #[doc(hidden)]
    fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output>;

    /// The case as a channel operation, if it is one; always the same one.
    #[doc(hidden)]
    #[inline]
    fn raw(&self, _: Private) -> Option<&dyn RawCase> {
        None
    }

    /// True if nothing would happen if it were dropped just now.
    #[doc(hidden)]
    #[inline(always)]
    fn leaves_nothing(&self, _: Private) -> bool {
        false
    }

    /// The result of a channel operation that won.
    #[doc(hidden)]
    fn won(self: Pin<&mut Self>) -> Self::Output {
        unreachable!("only a channel operation is completed by others")
    }
}

/// Nobody else can name this: so no `Case` of others claims to be a channel operation, on whose word locks are taken and
/// released.
#[derive(Clone, Copy, Debug)]
pub struct Private(());

impl Private {
    pub(crate) const HERE: Self = Self(());
}

/// A channel operation that can be locked, tried, queued and taken out.
#[doc(hidden)]
pub trait RawCase {
    /// True if it was never polled by itself.
    fn fresh(&self) -> bool;

    fn lock(&self) -> &RawLock;

    /// The address of the waiter, by which the token names a winner.
    fn waiter(&self) -> usize;

    /// May be wrong without the lock.
    fn seems_ready(&self) -> bool;

    /// Completes the operation, if that is possible now.
    ///
    /// # Safety
    ///
    /// The lock is held, and the operation is not complete.
    unsafe fn attempt(&self, own: *const Token) -> Option<Woken>;

    /// Queues the operation.
    ///
    /// # Safety
    ///
    /// The lock is held, the operation is fresh and pinned, and `token` outlives its time in the queue.
    unsafe fn enqueue(&self, token: NonNull<Token>) -> Woken;

    /// While the operation is queued: those whom it must tell that it is there, though it told them when it was queued,
    /// because they may have found its select busy; `own`, the task that was busy, is not among them.
    ///
    /// # Safety
    ///
    /// The lock is held.
    unsafe fn tell_again(&self, own: &Waker) -> Woken;

    /// Takes the operation out, if it is in still; it is fresh again unless it is complete.
    ///
    /// # Safety
    ///
    /// The lock is held.
    unsafe fn dequeue(&self, site: &'static Location<'static>);
}

/// Wakers to call once every lock is released.
#[doc(hidden)]
#[must_use = "wake them after the locks are released"]
#[derive(Debug)]
pub struct Woken {
    wake: Wake,
    watchers: Watchers,
}

impl Woken {
    #[inline]
    pub(crate) fn new(wake: Wake, watchers: Watchers) -> Self {
        Self { wake, watchers }
    }

    #[inline]
    pub(crate) fn watchers(watchers: Watchers) -> Self {
        Self { wake: Wake::NONE, watchers }
    }

    /// True if there are no watchers to wake.
    #[inline]
    pub(crate) fn is_nobody(&self) -> bool {
        self.watchers.is_empty()
    }

    #[inline]
    pub(crate) fn wake(self) {
        self.wake.wake();
        self.watchers.wake();
    }
}

/// Makes a wait future of this crate a case: it may be dropped at any time without loss, so polling it is enough.
macro_rules! future_case {
    ($future:ty $(, $($generics:tt)+)?) => {
        impl $(<$($generics)+>)? $crate::wait::case::Case for $future {
            type Output = <$future as ::std::future::Future>::Output;

            #[inline]
            fn poll_case(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                ::std::future::Future::poll(self, cx)
            }
        }
    };
}
pub(crate) use future_case;

/// Any future as a case of a [`select!`](crate::select!).
///
/// It is polled when its turn comes and, if it loses, dropped: it is up to that future whether dropping it loses anything.
///
/// ```
/// use gopark::select::{self, fut};
///
/// gopark::block_on(async {
///     gopark::select! {
///         v = fut(async { 5 }) => assert_eq!(v, 5),
///     }
/// });
/// ```
pub fn fut<F: Future>(future: F) -> Fut<F> {
    Fut { future }
}

/// Any future as a case, made by [`fut`].
#[derive(Debug)]
#[must_use = "a case does nothing unless selected"]
pub struct Fut<F> {
    future: F,
}

impl<F: Future> Case for Fut<F> {
    type Output = F::Output;

    fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with `self`.
        unsafe { self.map_unchecked_mut(|this| &mut this.future) }.poll(cx)
    }
}

impl<C: Case + Unpin + ?Sized> Case for &mut C {
    type Output = C::Output;

    fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        Pin::new(&mut **self).poll_case(cx)
    }

    fn raw(&self, private: Private) -> Option<&dyn RawCase> {
        (**self).raw(private)
    }

    fn leaves_nothing(&self, _: Private) -> bool {
        true
    }

    fn won(mut self: Pin<&mut Self>) -> C::Output {
        Pin::new(&mut **self).won()
    }
}

/// The two kinds of pinned pointer; one leaves its case, the other frees it.
macro_rules! pinned_case {
    ($pointer:ty, $leaves_nothing:literal) => {
        impl<C: Case + ?Sized> Case for Pin<$pointer> {
            type Output = C::Output;

            fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
                (*self).as_mut().poll_case(cx)
            }

            fn raw(&self, private: Private) -> Option<&dyn RawCase> {
                (**self).raw(private)
            }

            fn leaves_nothing(&self, _: Private) -> bool {
                $leaves_nothing
            }

            fn won(mut self: Pin<&mut Self>) -> C::Output {
                (*self).as_mut().won()
            }
        }
    };
}

pinned_case!(&mut C, true);
pinned_case!(Box<C>, false);
