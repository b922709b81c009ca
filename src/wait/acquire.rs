//! Acquiring a resource for which tasks wait in a queue: the common future of locks, semaphores,
//! and the end of a context.

use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::coop::{self, Object, Reason};
use crate::holders;
use crate::wait::block_on::block_on;
use crate::wait::queue::{GRANTED, Waiter};
use crate::waker::TaskWaker;

/// The resource that an [`Acquisition`] acquires, and its output. `X` is the data that the queue
/// stores for each waiter. It is a type parameter, because there may be several ways to acquire one
/// resource, and because an associated type would make the futures invariant.
pub(crate) trait Request<X>: Copy {
    type Resource: Resource<X>;

    /// The output of the future, for example a guard.
    type Output;

    /// Returns the resource, or `None` if it can never be acquired. Then the future stays pending,
    /// and is not enqueued.
    fn resource(&self) -> Option<&Self::Resource>;

    /// Returns the wait reason of a goroutine that waits for the resource.
    fn reason(&self) -> Reason;

    /// Makes the output of the future. Called once, after the resource has been acquired.
    fn output(&self) -> Self::Output;
}

/// A resource that can be acquired, and for which tasks wait in a queue.
pub(crate) trait Resource<X> {
    /// True if a waiter that is granted has nothing else to do: then [`look`](Self::look) is not
    /// called.
    const GRANT_IS_ALL: bool = false;

    /// Acquires the resource if that is possible without waiting.
    fn try_acquire(&self) -> bool;

    /// Like [`try_acquire`](Self::try_acquire), optimized for success.
    #[inline]
    fn try_first(&self) -> bool {
        self.try_acquire()
    }

    /// Like [`try_acquire`](Self::try_acquire), after [`try_first`](Self::try_first) has failed.
    #[inline]
    fn try_again(&self) -> bool {
        self.try_acquire()
    }

    /// Returns the address under which [`holders`] records the goroutine that holds the resource,
    /// if the resource has a single holder.
    fn recorded(&self) -> Option<usize> {
        None
    }

    fn extra(&self) -> X;

    fn object(&self) -> &Object;

    /// Links the waiter and returns false, or acquires the resource after all and returns true.
    ///
    /// # Safety
    ///
    /// `waiter` is new and pinned. If this returns false, [`cancel`](Self::cancel) must be called
    /// before the waiter is dropped, unless [`look`](Self::look) has returned true.
    unsafe fn enqueue(&self, waiter: &Waiter<X>) -> bool;

    /// Returns true if the waiter has acquired the resource; then it is unlinked. Otherwise it
    /// keeps its place, and the task of `cx` is woken when that changes.
    ///
    /// # Safety
    ///
    /// `waiter` was linked by [`enqueue`](Self::enqueue), and no call of `look` has returned true
    /// for it.
    unsafe fn look(&self, waiter: &Waiter<X>, cx: &mut Context<'_>) -> bool;

    /// Unlinks the waiter, or passes on the resource that it was granted.
    ///
    /// # Safety
    ///
    /// As for [`look`](Self::look).
    unsafe fn cancel(&self, waiter: &Waiter<X>);
}

/// Acquires the resource if that is possible without waiting.
#[inline]
#[track_caller]
pub(crate) fn acquire_now<R: Resource<X>, X>(resource: &R) -> bool {
    #[cfg(feature = "sim")]
    resource.object().tried(Location::caller());
    if !holders::is_on() {
        return resource.try_acquire();
    }
    let acquired = resource.try_acquire();
    if let (true, Some(address)) = (acquired, resource.recorded()) {
        holders::acquired(address, Location::caller());
    }
    acquired
}

/// The future of a [`Request`].
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Acquisition<R: Request<X>, X> {
    request: R,
    stage: Stage<X>,
    site: &'static Location<'static>,
}

enum Stage<X> {
    /// Not polled yet, or only polled without budget. There is no waiter.
    New,
    /// The waiter is linked, or granted.
    Waiting(Waiter<X>),
    /// Completed.
    Done,
}

impl<R: Request<X>, X> Acquisition<R, X> {
    #[inline]
    pub(crate) fn new(request: R, site: &'static Location<'static>) -> Self {
        Self { request, stage: Stage::New, site }
    }

    #[inline]
    pub(crate) fn request(&self) -> R {
        self.request
    }

    /// Returns the call site of the acquisition.
    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    #[inline]
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        if matches!(self.stage, Stage::New) {
            if !(coop::has_budget() || self.may_begin(cx)) {
                return Poll::Pending;
            }
            let request = self.request;
            if request.resource().is_some_and(Resource::try_first) {
                // SAFETY: only the stage is moved out. It is `New`, so there is no waiter that must
                // not move.
                let this = unsafe { self.get_unchecked_mut() };
                // `New` needs no drop; `forget` spares the check.
                std::mem::forget(std::mem::replace(&mut this.stage, Stage::Done));
                coop::spend_one();
                return Poll::Ready(request.output());
            }
        } else if R::Resource::GRANT_IS_ALL && self.is_granted() && !holders::is_on() {
            let request = self.request;
            // SAFETY: as above; a granted waiter is not linked (Q3), and has no waker to drop.
            unsafe { std::ptr::write(&raw mut self.get_unchecked_mut().stage, Stage::Done) };
            coop::spend();
            return Poll::Ready(request.output());
        }
        self.poll_inner(cx)
    }

    #[inline(always)]
    fn is_granted(&self) -> bool {
        matches!(&self.stage, Stage::Waiting(waiter) if waiter.state() == GRANTED)
    }

    /// Checks the budget. Not inlined, because the arguments alone cost a sixth of an acquisition.
    #[cold]
    #[inline(never)]
    fn may_begin(&self, cx: &mut Context<'_>) -> bool {
        coop::poll_ready(
            cx,
            self.site,
            self.request.reason(),
            self.request.resource().map(Resource::object),
        )
    }

    /// A poll in any stage. It does not check the budget.
    #[inline(never)]
    fn poll_inner(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        // SAFETY: nothing is moved out, and a waiter is not moved.
        let this = unsafe { self.get_unchecked_mut() };
        let acquired = match (&this.stage, this.request.resource()) {
            (Stage::Done, _) => panic!("gopark: future polled after completion"),
            (_, None) => false,
            (Stage::New, Some(resource)) => {
                // An attempt that is not repeated enqueues nothing: others would find the waiter.
                resource.try_again()
                    || !coop::is_passing(cx) && {
                        this.stage = Stage::Waiting(Waiter::new(
                            TaskWaker::new(cx.waker()),
                            resource.extra(),
                        ));
                        let Stage::Waiting(waiter) = &this.stage else { unreachable!() };
                        // SAFETY: the waiter is new, and pinned with `self`, whose drop cancels it.
                        unsafe { resource.enqueue(waiter) }
                    }
            }
            // SAFETY: the waiter was linked when the stage became `Waiting`, and the stage changes
            // as soon as this returns true.
            (Stage::Waiting(waiter), Some(resource)) => unsafe { resource.look(waiter, cx) },
        };
        if holders::is_on() {
            if let Some(address) = this.request.resource().and_then(Resource::recorded) {
                if acquired {
                    holders::acquired(address, this.site)
                } else if matches!(this.stage, Stage::Waiting(_)) {
                    holders::waits(address)
                }
            }
        }
        if !acquired {
            coop::park_at(cx, this.site, this.request.reason());
            return Poll::Pending;
        }
        this.stage = Stage::Done;
        coop::spend();
        Poll::Ready(this.request.output())
    }

    /// Blocks the thread until the resource is acquired.
    pub(crate) fn block(self) -> R::Output {
        if self.request.resource().is_some_and(Resource::try_first) {
            return self.request.output();
        }
        let mut this = pin!(self);
        // The budget is not checked, because a blocked thread cannot yield.
        block_on(poll_fn(|cx| this.as_mut().poll_inner(cx)))
    }
}

impl<R: Request<X>, X> Drop for Acquisition<R, X> {
    #[inline]
    fn drop(&mut self) {
        if let (Stage::Waiting(waiter), Some(resource)) = (&self.stage, self.request.resource()) {
            // SAFETY: the waiter was linked when the stage became `Waiting`, and the stage would
            // have changed if the resource had been acquired.
            unsafe { leave(resource, waiter) };
        }
    }
}

/// Gives up a waiter's place in the queue.
///
/// # Safety
///
/// As for [`Resource::cancel`].
#[cold]
#[inline(never)]
unsafe fn leave<R: Resource<X>, X>(resource: &R, waiter: &Waiter<X>) {
    // SAFETY: passed on to the caller.
    unsafe { resource.cancel(waiter) };
    if holders::is_on() && resource.recorded().is_some() {
        holders::waits_no_more();
    }
}

/// Shows the stage.
impl<R: Request<X>, X> fmt::Debug for Acquisition<R, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.stage {
            Stage::New => "new",
            Stage::Waiting(waiter) if waiter.state() == GRANTED => "granted",
            Stage::Waiting(_) => "waiting",
            Stage::Done => "done",
        })
    }
}

/// Defines the public future of an [`Acquisition`], which is also a case of a `select!`.
macro_rules! acquisition {
    ($(#[$meta:meta])*
        $name:ident<$a:lifetime $(, $t:ident)?>($resource:ty, $extra:ty) -> $output:ty) => {
        $(#[$meta])*
        #[must_use = "futures do nothing unless awaited"]
        pub struct $name<$a $(, $t: ?Sized)?>(
            $crate::wait::acquire::Acquisition<$resource, $extra>
        );

        impl<$a $(, $t: ?Sized)?> Future for $name<$a $(, $t)?> {
            type Output = $output;

            #[inline]
            fn poll(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                // SAFETY: pinned with `self`.
                unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(cx)
            }
        }

        $crate::wait::case::future_case!($name<$a $(, $t)?>, $a $(, $t: ?Sized)?);

        impl<$a $(, $t: ?Sized)?> ::std::fmt::Debug for $name<$a $(, $t)?> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($name)).field("stage", &self.0).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use acquisition;
