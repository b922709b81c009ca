//! The cases of a `select!`.

use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use crate::coop;
use crate::lock::RawLock;
use crate::wait::waiter::{Token, Woken};

/// What can stand in a [`select!`](crate::select!): every wait of this crate as it is, and any
/// other future through [`fut`].
///
/// Also a case by reference, to go on with it in a later select: `&mut C`, `Pin<&mut C>`,
/// `Pin<Box<C>>`.
///
/// # Examples
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
    message = "`{Self}` cannot be a case of a `select!`",
    note = "gopark's own operations are cases; wrap any other future: `gopark::select::fut(future)`"
)]
pub trait Case {
    /// What the operation results in.
    type Output;

    /// Tries the case once. A channel operation registers nothing, any other future does what its
    /// `poll` does.
    #[doc(hidden)]
    fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output>;

    /// The case as a channel operation, if it is one; always the same one.
    #[doc(hidden)]
    #[inline]
    fn raw(&self, _: Sealed) -> Option<&dyn ChannelCase> {
        None
    }

    /// True if dropping it now would have no effect.
    #[doc(hidden)]
    #[inline(always)]
    fn drop_is_noop(&self, _: Sealed) -> bool {
        false
    }

    /// The result of a channel operation that won.
    #[doc(hidden)]
    fn won(self: Pin<&mut Self>) -> Self::Output {
        unreachable!("only a channel operation is completed by others")
    }
}

/// A case that comes to an `Option`, of which `None` is the end: in a [`select!`](crate::select!)
/// it may have the pattern `Some(..)`.
///
/// These are a [receive](crate::chan::Receiver::recv),
/// [`IntoStream::next`](crate::chan::IntoStream::next),
/// [`Context::recv`](crate::context::Context::recv),
/// [`JoinSet::join_next`](crate::JoinSet::join_next), and [`fut`] of any future of an `Option`.
/// Also such a case by reference: `&mut C`, `Pin<&mut C>`, `Pin<Box<C>>`.
///
/// A case that comes to `None` goes off: it is out of the select, which goes on with the others.
/// One that was given by reference is complete then. A receive comes to `None` again in a later
/// select; what else a future does that is polled after completion is its own affair.
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, Receiver};
/// use gopark::select;
/// use gopark::select::OptionCase;
///
/// /// The next value of either source.
/// async fn either<T>(a: impl OptionCase<Value = T>, b: &Receiver<T>) -> Option<T> {
///     select! {
///         Some(value) = a => Some(value),
///         Some(value) = b.recv() => Some(value),
///         else => None,
///     }
/// }
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::bounded(1);
///     let (_, closed) = chan::unbuffered::<i32>();
///     tx.send(1).await.unwrap();
///     assert_eq!(either(closed.recv(), &rx).await, Some(1));
///     drop(tx);
///     assert_eq!(either(closed.recv(), &rx).await, None);
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot have the pattern `Some(..)` in a `select!`",
    note = "the pattern needs an operation whose output is an `Option`, such as a receive; use a name for any other: `v = operation`"
)]
pub trait OptionCase: Case<Output = Option<Self::Value>> {
    /// What is in the `Some`.
    type Value;

    /// As [`Case::raw`]: the same operation, but one that goes off.
    #[doc(hidden)]
    fn raw_some(&self, _: Sealed) -> Option<&dyn ChannelCase>;

    /// As [`Case::poll_case`].
    #[doc(hidden)]
    fn poll_some(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: Sealed,
    ) -> Poll<Option<Self::Value>> {
        self.poll_case(cx)
    }
}

/// Makes an [`OptionCase`] of a case that is no channel operation.
macro_rules! option_case {
    ([$($generics:tt)+] $future:ty => $value:ty) => {
        impl<$($generics)+> $crate::wait::case::OptionCase for $future {
            type Value = $value;

            fn raw_some(&self, _: $crate::wait::case::Sealed) -> Option<&dyn $crate::wait::case::ChannelCase> {
                None
            }
        }
    };
}
pub(crate) use option_case;

/// Only this crate can make one. So no foreign `Case` can claim to be a channel operation, which is
/// trusted with locks.
#[derive(Clone, Copy, Debug)]
pub struct Sealed(());

impl Sealed {
    pub(crate) const TOKEN: Self = Self(());
}

/// The channel must allocate or free memory first, which it does without its lock.
#[doc(hidden)]
#[derive(Debug)]
pub struct Unready;

/// A channel operation that can be locked, tried, queued and removed.
#[doc(hidden)]
pub trait ChannelCase {
    /// The state of its waiter. `IDLE` if it has never been polled by itself.
    fn state(&self) -> u8;

    fn lock(&self) -> &RawLock;

    /// The address of the waiter, by which the token names a winner.
    fn waiter(&self) -> usize;

    /// The channel is used by a select of that place.
    #[cfg(feature = "sim")]
    fn used(&self, site: &'static std::panic::Location<'static>);

    /// May be wrong without the lock.
    fn seems_ready(&self) -> bool;

    /// True if it is the case of an arm `Some(..)` and has come to the channel's end: it is in no
    /// queue then.
    fn is_off(&self) -> bool {
        false
    }

    /// Completes the operation, if that is possible now. The case of an arm `Some(..)` is off
    /// afterwards, and not complete, if the channel is at its end.
    ///
    /// # Safety
    ///
    /// The lock is held, and the operation is not complete.
    ///
    /// # Errors
    ///
    /// [`Unready`]: nothing was done, and [`maintain`](Self::maintain) must be called first.
    unsafe fn attempt(&self, own: *const Token) -> Result<Option<Woken>, Unready>;

    /// Makes the channel ready for the operation. No lock is held.
    fn maintain(&self);

    /// Queues the operation.
    ///
    /// # Safety
    ///
    /// The lock is held, the operation is unpolled and pinned, and `token` outlives its time in the
    /// queue.
    unsafe fn enqueue(&self, token: NonNull<Token>) -> Woken;

    /// Queues the operation, unless it may be ready. No lock is held.
    ///
    /// # Safety
    ///
    /// As [`enqueue`](Self::enqueue), but for the lock.
    unsafe fn queue(&self, token: NonNull<Token>) -> Queued;

    /// Wakes the streams once more because of a queued operation: when it was queued they may have
    /// found its select busy. Those of the task of `cx`, which was busy, are left alone. No lock is
    /// held.
    fn renotify(&self, cx: &Context<'_>);

    /// Removes the operation from its queue, if it is linked; it is unpolled again unless it is
    /// complete. No lock is held.
    fn dequeue(&self);
}

/// How [`ChannelCase::queue`] ended.
#[doc(hidden)]
#[derive(Debug)]
pub enum Queued {
    /// First in its queue.
    First,
    /// Behind another operation.
    Behind,
    /// Not at all: it may be ready.
    No,
}

/// Makes a wait future of this crate a case: it may be dropped at any time without loss, so polling
/// it is enough.
macro_rules! future_case {
    ($future:ty $(, $($generics:tt)+)?) => {
        impl $(<$($generics)+>)? $crate::wait::case::Case for $future {
            type Output = <$future as ::std::future::Future>::Output;

            #[inline]
            fn poll_case(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                $crate::coop::without_note(|| ::std::future::Future::poll(self, cx))
            }
        }
    };
}
pub(crate) use future_case;

/// Makes a future, and the same case, of a channel operation in its pinned field `$op`, whose
/// output it may map. No `Poll::map`, and no map that maps nothing: either would copy the output
/// twice more in a debug build.
macro_rules! operation_case {
    ($future:ty, $($generics:tt),+; $op:ident -> $output:ty $(, $value:ident => $map:expr)?) => {
        impl<$($generics),+> ::std::future::Future for $future {
            type Output = $output;

            #[inline(always)]
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<$output> {
                $crate::wait::case::operation_case!(@poll self.project().$op.poll(cx) $(, $value => $map)?)
            }
        }

        impl<$($generics),+> $crate::wait::case::Case for $future {
            type Output = $output;

            #[inline]
            fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<$output> {
                $crate::wait::case::operation_case!(@poll self.project().$op.poll_case(cx) $(, $value => $map)?)
            }

            #[inline]
            fn raw(&self, private: $crate::wait::case::Sealed) -> Option<&dyn $crate::wait::case::ChannelCase> {
                self.$op.raw(private)
            }

            #[inline(always)]
            fn drop_is_noop(&self, private: $crate::wait::case::Sealed) -> bool {
                self.$op.drop_is_noop(private)
            }

            #[inline]
            fn won(self: Pin<&mut Self>) -> $output {
                $crate::wait::case::operation_case!(@won self.project().$op.won() $(, $value => $map)?)
            }
        }
    };
    (@poll $polled:expr) => {
        $polled
    };
    (@poll $polled:expr, $value:ident => $map:expr) => {
        match $polled {
            Poll::Ready($value) => Poll::Ready($map),
            Poll::Pending => Poll::Pending,
        }
    };
    (@won $won:expr) => {
        $won
    };
    (@won $won:expr, $value:ident => $map:expr) => {{
        let $value = $won;
        $map
    }};
}
pub(crate) use operation_case;

/// Any future as a case of a [`select!`](crate::select!).
///
/// It is polled when its turn comes and, if it loses, dropped: whether dropping it loses data
/// depends on that future.
///
/// # Examples
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
        let future = unsafe { self.map_unchecked_mut(|this| &mut this.future) };
        coop::without_note(|| future.poll(cx))
    }
}

option_case!([F: Future<Output = Option<T>>, T] Fut<F> => T);

impl<C: Case + Unpin + ?Sized> Case for &mut C {
    type Output = C::Output;

    fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        Pin::new(&mut **self).poll_case(cx)
    }

    fn raw(&self, private: Sealed) -> Option<&dyn ChannelCase> {
        (**self).raw(private)
    }

    fn drop_is_noop(&self, _: Sealed) -> bool {
        true
    }

    fn won(mut self: Pin<&mut Self>) -> C::Output {
        Pin::new(&mut **self).won()
    }
}

impl<C: OptionCase + Unpin + ?Sized> OptionCase for &mut C {
    type Value = C::Value;

    fn raw_some(&self, private: Sealed) -> Option<&dyn ChannelCase> {
        (**self).raw_some(private)
    }

    fn poll_some(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        private: Sealed,
    ) -> Poll<Option<C::Value>> {
        Pin::new(&mut **self).poll_some(cx, private)
    }
}

/// The two kinds of pinned pointer; one leaves its case, the other frees it. Not any kind: one that
/// leads to another case each time would break what [`Case::raw`] promises.
macro_rules! pinned_case {
    ($pointer:ty, $drop_is_noop:literal) => {
        impl<C: Case + ?Sized> Case for Pin<$pointer> {
            type Output = C::Output;

            fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
                (*self).as_mut().poll_case(cx)
            }

            fn raw(&self, private: Sealed) -> Option<&dyn ChannelCase> {
                (**self).raw(private)
            }

            fn drop_is_noop(&self, _: Sealed) -> bool {
                $drop_is_noop
            }

            fn won(mut self: Pin<&mut Self>) -> C::Output {
                (*self).as_mut().won()
            }
        }

        impl<C: OptionCase + ?Sized> OptionCase for Pin<$pointer> {
            type Value = C::Value;

            fn raw_some(&self, private: Sealed) -> Option<&dyn ChannelCase> {
                (**self).raw_some(private)
            }

            fn poll_some(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                private: Sealed,
            ) -> Poll<Option<C::Value>> {
                (*self).as_mut().poll_some(cx, private)
            }
        }
    };
}

pinned_case!(&mut C, true);
pinned_case!(Box<C>, false);
