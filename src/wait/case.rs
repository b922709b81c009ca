//! The cases of a `select!`.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::coop;
use crate::lock::{HeldLocks, RawLock};
use crate::wait::waiter::{OwnToken, Token, Woken, state};

/// A case of a [`select!`](crate::select!): every wait of this crate is one, and [`fut`] makes one
/// from any other future.
///
/// A reference to a case is a case, too, so that you can continue with it in a later select:
/// `&mut C`, `Pin<&mut C>`, `Pin<Box<C>>`.
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
///         _ = rx.recv() => unreachable!("no value is sent"),
///     }
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a case of a `select!`",
    note = "gopark's own operations are cases; wrap any other future: `gopark::select::fut(future)`"
)]
pub trait Case {
    /// The output of the operation.
    type Output;

    /// Tries the case once. A channel operation registers nothing; any other future is polled.
    #[doc(hidden)]
    fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output>;

    /// Returns the case as a channel operation, if it is one. Each call must return the same
    /// operation.
    #[doc(hidden)]
    #[inline]
    fn raw(self: Pin<&Self>, _: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        None
    }

    /// Returns true if dropping the case now would have no effect.
    #[doc(hidden)]
    #[inline(always)]
    fn drop_is_noop(&self, _: Sealed) -> bool {
        false
    }

    /// Takes the output of a channel operation that won.
    #[doc(hidden)]
    fn won(self: Pin<&mut Self>) -> Self::Output {
        unreachable!("only a channel operation is completed by others")
    }

    /// Returns true if the case is a channel operation with a limit, such as the end of a context.
    #[doc(hidden)]
    #[inline(always)]
    fn has_limit(&self, _: Sealed) -> bool {
        false
    }

    /// Polls the limit, if there is one.
    #[doc(hidden)]
    fn poll_limit(self: Pin<&mut Self>, _: &mut Context<'_>, _: Sealed) -> Poll<()> {
        Poll::Pending
    }

    /// Gives up the operation, which is in no queue, because its limit was reached.
    #[doc(hidden)]
    fn limited(self: Pin<&mut Self>, _: Sealed) -> Self::Output {
        unreachable!("the case has no limit")
    }
}

/// A case whose output is an `Option`, where `None` means the end. In a [`select!`](crate::select!)
/// it may have the pattern `Some(..)`.
///
/// It is implemented for a [receive](crate::chan::Receiver::recv),
/// [`IntoStream::next`](crate::chan::IntoStream::next),
/// [`Context::recv`](crate::context::Context::recv),
/// [`JoinSet::join_next`](crate::JoinSet::join_next), [`fut`] of any future with an `Option`, and
/// references to these: `&mut C`, `Pin<&mut C>`, `Pin<Box<C>>`.
///
/// At `None` the case is switched off: the select continues without it. If the case was passed by
/// reference, its operation is complete. In a later select a receive is off again; for any other
/// future, the result of a poll after completion depends on that future.
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
    note = "the pattern needs an operation whose output is an `Option`, such as a receive; use a \
            name for any other: `v = operation`"
)]
pub trait OptionCase: Case<Output = Option<Self::Value>> {
    /// The value in the `Some`.
    type Value;

    /// Like [`Case::raw`]: the same operation, in a form that can go off.
    #[doc(hidden)]
    fn raw_some(self: Pin<&Self>, _: Sealed) -> Option<Pin<&dyn ChannelCase>>;

    /// Like [`Case::poll_case`].
    #[doc(hidden)]
    fn poll_some(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: Sealed,
    ) -> Poll<Option<Self::Value>> {
        self.poll_case(cx)
    }
}

/// Implements [`OptionCase`] for a case that is not a channel operation.
macro_rules! option_case {
    ([$($generics:tt)+] $future:ty => $value:ty) => {
        impl<$($generics)+> $crate::wait::case::OptionCase for $future {
            type Value = $value;

            fn raw_some(
                self: ::std::pin::Pin<&Self>,
                _: $crate::wait::case::Sealed,
            ) -> Option<::std::pin::Pin<&dyn $crate::wait::case::ChannelCase>> {
                None
            }
        }
    };
}
pub(crate) use option_case;

/// A value that only this crate can make. So no foreign `Case` can pretend to be a channel
/// operation, which is trusted with locks.
#[derive(Clone, Copy, Debug)]
pub struct Sealed(());

impl Sealed {
    pub(crate) const TOKEN: Self = Self(());
}

/// The error of an attempt that did nothing, because the channel must first allocate or free memory
/// outside its lock.
#[doc(hidden)]
#[derive(Debug)]
pub struct Unready;

/// A channel operation that can be locked, tried, queued and removed.
#[doc(hidden)]
pub trait ChannelCase {
    /// Returns the state of the waiter. `IDLE` if the operation was never polled alone.
    fn state(&self) -> u8;

    fn is_unpolled(&self) -> bool {
        self.state() == state::IDLE
    }

    fn lock(&self) -> &RawLock;

    /// Returns the address of the waiter, which the token stores if the case wins.
    fn waiter(&self) -> usize;

    /// Notes the use of the channel by a select with this call site.
    #[cfg(feature = "sim")]
    fn used(&self, site: &'static std::panic::Location<'static>);

    /// Returns true if the operation would not have to wait. Exact only under the lock.
    fn seems_ready(&self) -> bool;

    /// Returns true if dropping the complete operation undoes it: if it is a receive.
    fn can_be_undone(&self) -> bool;

    /// Returns true if this is the case of an arm `Some(..)` that has gone off, because its channel
    /// is closed and drained. Then the operation is not in a queue.
    fn is_off(&self) -> bool {
        false
    }

    /// Completes the operation, if that is possible now. If the channel is closed and drained, the
    /// case of an arm `Some(..)` is not complete, but off.
    ///
    /// # Errors
    ///
    /// [`Unready`]: nothing was done, and [`maintain`](Self::maintain) must be called first.
    ///
    /// # Panics
    ///
    /// If the lock is not among those that are held, or the operation is complete.
    fn attempt(&self, held: HeldLocks<'_>, own: *const Token) -> Result<Option<Woken>, Unready>;

    /// Makes the channel ready for the operation. The lock must not be held.
    fn maintain(&self);

    /// Queues the operation.
    ///
    /// # Panics
    ///
    /// If the lock is not among those that are held, or the operation is not unpolled.
    fn enqueue(self: Pin<&Self>, held: HeldLocks<'_>, token: OwnToken) -> Woken;

    /// Queues the operation, unless it may be ready. The lock must not be held.
    fn queue(self: Pin<&Self>, token: OwnToken) -> Queued;

    /// Wakes the streams again if the operation is a send: a stream that was woken when the send
    /// was queued may have found its select busy. Does not wake the streams of the task of `cx`,
    /// which runs this select. The lock must not be held.
    fn renotify(&self, cx: &Context<'_>);

    /// Removes the operation from its queue, if it is in one. Afterwards the operation is complete,
    /// or as if it had never been polled. The lock must not be held.
    fn dequeue(&self);
}

/// The result of [`ChannelCase::queue`].
#[doc(hidden)]
#[derive(Debug)]
pub enum Queued {
    /// The operation is the first one in the queue.
    First,
    /// The operation is behind another one.
    Behind,
    /// The operation was not queued, because it may be ready, or is not unpolled.
    No,
}

/// Implements [`Case`] for a wait future of this crate. The future can be dropped at any time
/// without loss, so it only needs to be polled.
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

/// Implements `Future` and [`Case`] for a type with a channel operation in its pinned field `$op`,
/// whose output can be mapped. It uses neither `Poll::map` nor an identity map, because either
/// would copy the output twice more in a debug build.
macro_rules! operation_case {
    ($future:ty, $($generics:tt),+; $op:ident -> $output:ty $(, $value:ident => $map:expr)?) => {
        impl<$($generics),+> ::std::future::Future for $future {
            type Output = $output;

            #[inline(always)]
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<$output> {
                $crate::wait::case::operation_case!(
                    @poll self.project().$op.poll(cx) $(, $value => $map)?
                )
            }
        }

        impl<$($generics),+> $crate::wait::case::Case for $future {
            type Output = $output;

            #[inline]
            fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<$output> {
                $crate::wait::case::operation_case!(
                    @poll self.project().$op.poll_case(cx) $(, $value => $map)?
                )
            }

            #[inline]
            fn raw(
                self: Pin<&Self>,
                private: $crate::wait::case::Sealed,
            ) -> Option<Pin<&dyn $crate::wait::case::ChannelCase>> {
                self.project_ref().$op.raw(private)
            }

            #[inline(always)]
            fn drop_is_noop(&self, private: $crate::wait::case::Sealed) -> bool {
                self.$op.drop_is_noop(private)
            }

            #[inline]
            fn won(self: Pin<&mut Self>) -> $output {
                $crate::wait::case::operation_case!(
                    @won self.project().$op.won() $(, $value => $map)?
                )
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

/// Makes a case of a [`select!`](crate::select!) from any future.
///
/// The future is polled when its turn comes. If it loses it is dropped; whether that loses data
/// depends on the future.
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

pin_project! {
    /// A case made from any future by [`fut`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    ///
    /// use gopark::select::fut;
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::unbuffered();
    ///     let mut work = pin!(fut(async { tx.send("half").await.map(|()| "all") }));
    ///     select! {
    ///         progress = rx.recv() => assert_eq!(progress, Some("half")),
    ///         _ = work.as_mut() => unreachable!("no one has received"),
    ///     }
    ///     select! { result = work.as_mut() => assert_eq!(result, Ok("all")) }
    /// });
    /// ```
    #[derive(Debug)]
    #[must_use = "a case does nothing unless selected"]
    pub struct Fut<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Case for Fut<F> {
    type Output = F::Output;

    fn poll_case(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        coop::without_note(|| self.project().future.poll(cx))
    }
}

option_case!([F: Future<Output = Option<T>>, T] Fut<F> => T);

pin_project! {
    /// A wait of this crate that is an `async` block, which itself cannot be a case.
    #[must_use = "futures do nothing unless awaited"]
    struct AsyncWait<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for AsyncWait<F> {
    type Output = F::Output;

    // `track_caller`: a panic is reported at the `await`.
    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

future_case!(AsyncWait<F>, F: Future);

/// Makes a case of a wait that is an `async` block. It stays a future.
#[inline(always)]
pub(crate) fn async_wait<F: Future>(
    future: F,
) -> impl Future<Output = F::Output> + Case<Output = F::Output> {
    AsyncWait { future }
}

impl<C: Case + Unpin + ?Sized> Case for &mut C {
    type Output = C::Output;

    fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        Pin::new(&mut **self).poll_case(cx)
    }

    fn raw(self: Pin<&Self>, private: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        Pin::new(&**self.get_ref()).raw(private)
    }

    fn drop_is_noop(&self, _: Sealed) -> bool {
        true
    }

    fn won(mut self: Pin<&mut Self>) -> C::Output {
        Pin::new(&mut **self).won()
    }

    fn has_limit(&self, private: Sealed) -> bool {
        (**self).has_limit(private)
    }

    fn poll_limit(mut self: Pin<&mut Self>, cx: &mut Context<'_>, private: Sealed) -> Poll<()> {
        Pin::new(&mut **self).poll_limit(cx, private)
    }

    fn limited(mut self: Pin<&mut Self>, private: Sealed) -> C::Output {
        Pin::new(&mut **self).limited(private)
    }
}

impl<C: OptionCase + Unpin + ?Sized> OptionCase for &mut C {
    type Value = C::Value;

    fn raw_some(self: Pin<&Self>, private: Sealed) -> Option<Pin<&dyn ChannelCase>> {
        Pin::new(&**self.get_ref()).raw_some(private)
    }

    fn poll_some(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        private: Sealed,
    ) -> Poll<Option<C::Value>> {
        Pin::new(&mut **self).poll_some(cx, private)
    }
}

/// Implements the traits for the two kinds of pinned pointers: one borrows its case, the other owns
/// it. They are not implemented for every pointer type, because a pointer that leads to a different
/// case each time would break the promise of [`Case::raw`].
macro_rules! pinned_case {
    ($pointer:ty, $drop_is_noop:literal) => {
        impl<C: Case + ?Sized> Case for Pin<$pointer> {
            type Output = C::Output;

            fn poll_case(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
                (*self).as_mut().poll_case(cx)
            }

            fn raw(self: Pin<&Self>, private: Sealed) -> Option<Pin<&dyn ChannelCase>> {
                self.get_ref().as_ref().raw(private)
            }

            fn drop_is_noop(&self, _: Sealed) -> bool {
                $drop_is_noop
            }

            fn won(mut self: Pin<&mut Self>) -> C::Output {
                (*self).as_mut().won()
            }

            fn has_limit(&self, private: Sealed) -> bool {
                (**self).has_limit(private)
            }

            fn poll_limit(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                private: Sealed,
            ) -> Poll<()> {
                (*self).as_mut().poll_limit(cx, private)
            }

            fn limited(mut self: Pin<&mut Self>, private: Sealed) -> C::Output {
                (*self).as_mut().limited(private)
            }
        }

        impl<C: OptionCase + ?Sized> OptionCase for Pin<$pointer> {
            type Value = C::Value;

            fn raw_some(self: Pin<&Self>, private: Sealed) -> Option<Pin<&dyn ChannelCase>> {
                self.get_ref().as_ref().raw_some(private)
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
