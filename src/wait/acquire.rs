//! Acquiring what may have to be waited for in a queue: the future behind those of the locks, of a
//! semaphore, and of the end of a context.

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

/// What an [`Acquisition`] acquires, and what comes of that. `X` is what the queue stores for each
/// waiter: a parameter, because there may be several ways to acquire one thing, and because a
/// projection would make the futures invariant.
pub(crate) trait Request<X>: Copy {
    type Resource: Resource<X>;

    /// What the future returns, a guard for example.
    type Output;

    /// None if it can never be acquired. Then the future is pending, and not enqueued.
    fn resource(&self) -> Option<&Self::Resource>;

    /// What a goroutine that waits for it is doing.
    fn reason(&self) -> Reason;

    /// Makes the future's result. Called once, after the resource has been acquired.
    fn output(&self) -> Self::Output;
}

/// What can be acquired, and is waited for in a queue.
pub(crate) trait Resource<X> {
    /// True if a waiter that is granted has nothing more to do: then [`look`](Self::look) is not
    /// asked.
    const GRANT_IS_ALL: bool = false;

    /// Acquires it if that is possible at once.
    fn try_acquire(&self) -> bool;

    /// As [`try_acquire`](Self::try_acquire), by the way that is fastest if it succeeds.
    #[inline]
    fn try_first(&self) -> bool {
        self.try_acquire()
    }

    /// As [`try_acquire`](Self::try_acquire), after [`try_first`](Self::try_first) has failed.
    #[inline]
    fn try_again(&self) -> bool {
        self.try_acquire()
    }

    /// The address under which [`holders`] records who has it, if one has it.
    fn recorded(&self) -> Option<usize> {
        None
    }

    fn extra(&self) -> X;

    fn object(&self) -> &Object;

    /// Links the waiter, or acquires the resource after all and returns true.
    ///
    /// # Safety
    ///
    /// `waiter` is new and pinned. If this returns false, [`cancel`](Self::cancel) comes before the
    /// waiter is dropped, unless [`look`](Self::look) returns true.
    unsafe fn enqueue(&self, waiter: &Waiter<X>) -> bool;

    /// Returns true if the waiter has acquired the resource, and is unlinked then. If not, it keeps
    /// its place, and the task of `cx` is woken when that changes.
    ///
    /// # Safety
    ///
    /// `waiter` was linked by [`enqueue`](Self::enqueue), and none of these calls has returned true
    /// for it.
    unsafe fn look(&self, waiter: &Waiter<X>, cx: &mut Context<'_>) -> bool;

    /// Unlinks the waiter, or passes on what it was granted.
    ///
    /// # Safety
    ///
    /// As for [`look`](Self::look).
    unsafe fn cancel(&self, waiter: &Waiter<X>);
}

/// Acquires what can be acquired at once.
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
    /// Not polled yet, or polled out of budget: waits for nothing.
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

    /// Where the acquisition was called.
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
                // SAFETY: nothing is moved out but the stage, which is `New`: there is no waiter
                // that would have to stay.
                let this = unsafe { self.get_unchecked_mut() };
                // Without a look at what there would be to drop otherwise.
                std::mem::forget(std::mem::replace(&mut this.stage, Stage::Done));
                coop::spend_one();
                return Poll::Ready(request.output());
            }
        } else if R::Resource::GRANT_IS_ALL && self.is_granted() && !holders::is_on() {
            let request = self.request;
            // SAFETY: as above; a waiter that is granted is linked nowhere (Q3), and has no waker
            // that would have to be dropped.
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

    /// Apart, because the arguments alone cost a sixth of an acquisition.
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

    /// A poll with all its cases, and without asking for the budget.
    #[inline(never)]
    fn poll_inner(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        // SAFETY: nothing is moved out; a waiting stage stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let acquired = match (&this.stage, this.request.resource()) {
            (Stage::Done, _) => panic!("gopark: future polled after completion"),
            (_, None) => false,
            (Stage::New, Some(resource)) => {
                resource.try_again() || {
                    this.stage =
                        Stage::Waiting(Waiter::new(TaskWaker::new(cx.waker()), resource.extra()));
                    let Stage::Waiting(waiter) = &this.stage else { unreachable!() };
                    // SAFETY: new, and pinned with `self`, whose drop cancels it.
                    unsafe { resource.enqueue(waiter) }
                }
            }
            // SAFETY: linked when the stage became `Waiting`, which is left as soon as this returns
            // true.
            (Stage::Waiting(waiter), Some(resource)) => unsafe { resource.look(waiter, cx) },
        };
        if holders::is_on() {
            if let Some(address) = this.request.resource().and_then(Resource::recorded) {
                if acquired {
                    holders::acquired(address, this.site)
                } else {
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
        // Without the budget: a blocked thread cannot yield.
        block_on(poll_fn(|cx| this.as_mut().poll_inner(cx)))
    }
}

impl<R: Request<X>, X> Drop for Acquisition<R, X> {
    #[inline]
    fn drop(&mut self) {
        if let (Stage::Waiting(waiter), Some(resource)) = (&self.stage, self.request.resource()) {
            // SAFETY: linked when the stage became `Waiting`, which is left when the resource is
            // acquired.
            unsafe { leave(resource, waiter) };
        }
    }
}

/// Drops a waiter's place in line.
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

/// The stage.
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

/// Defines the public future of an [`Acquisition`], which is a case of a `select!` as well.
macro_rules! acquisition {
    ($(#[$meta:meta])* $name:ident<$a:lifetime $(, $t:ident)?>($resource:ty, $extra:ty) -> $output:ty) => {
        $(#[$meta])*
        #[must_use = "futures do nothing unless awaited"]
        pub struct $name<$a $(, $t: ?Sized)?>($crate::wait::acquire::Acquisition<$resource, $extra>);

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
