//! Acquiring a resource for which tasks wait in a queue: the common future of locks, semaphores,
//! and the end of a context.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::coop::{self, Object, Reason};
use crate::holders;
use crate::wait::block_on::block_on;
use crate::wait::queue::{GRANTED, OwnWaiter, Waiter};
use crate::waker::TaskWaker;

/// A way to acquire a resource. A resource may have several. It is a type parameter of the futures,
/// because an associated type of the request would make them invariant.
pub(crate) trait Mode {
    /// The data that the queue stores for each waiter.
    type Data;
}

impl Mode for () {
    type Data = ();
}

/// The resource that an [`Acquisition`] acquires, and its output.
pub(crate) trait Request<'a, M: Mode>: Copy {
    type Resource: Resource<'a, M>;

    /// The output of the future, for example a guard.
    type Output;

    fn resource(self) -> Self::Resource;

    /// Returns the wait reason of a goroutine that waits for the resource.
    fn reason(self) -> Reason;

    /// Makes the output of the future.
    fn output(self, acquired: Acquired<Self::Resource, M>) -> Self::Output;
}

/// A resource that can be acquired, and for which tasks wait in a queue. It is a reference, for
/// `'a`, to the [`Queues`](super::queue::Queues) and what else there is.
pub(crate) trait Resource<'a, M: Mode>: Copy {
    /// True if a waiter that is granted has nothing else to do: then [`look`](Self::look) is not
    /// called.
    const GRANT_IS_ALL: bool = false;

    /// Returns false if the resource can never be acquired. Then the future stays pending, and is
    /// not enqueued.
    #[inline]
    fn exists(self) -> bool {
        true
    }

    /// Acquires the resource if that is possible without waiting.
    fn try_acquire(self) -> bool;

    /// Like [`try_acquire`](Self::try_acquire), optimized for success.
    #[inline]
    fn try_first(self) -> bool {
        self.try_acquire()
    }

    /// Like [`try_acquire`](Self::try_acquire), after [`try_first`](Self::try_first) has failed.
    #[inline]
    fn try_again(self) -> bool {
        self.try_acquire()
    }

    /// Returns the address under which [`holders`] records the goroutine that holds the resource,
    /// if the resource has a single holder.
    fn recorded(self) -> Option<usize> {
        None
    }

    fn extra(self) -> M::Data;

    fn object(self) -> Option<&'a Object>;

    /// Links the new waiter and returns false, or acquires the resource after all and returns true.
    fn enqueue(self, own: OwnWaiter<'_, 'a, M::Data>) -> bool;

    /// Returns true if the waiter, which was linked before, has acquired the resource; then it is
    /// unlinked. Otherwise it keeps its place, and the task of `cx` is woken when that changes.
    fn look(self, own: OwnWaiter<'_, 'a, M::Data>, cx: &mut Context<'_>) -> bool;

    /// Unlinks a waiter for which `look` has not returned true, or passes on the resource that it
    /// was granted.
    fn cancel(self, own: OwnWaiter<'_, 'a, M::Data>);
}

/// The proof that a resource was acquired in the way `M`, and not released since: one of its
/// functions returned true, or, if [`GRANT_IS_ALL`](Resource::GRANT_IS_ALL), the waiter was
/// granted.
pub(crate) struct Acquired<R, M>(R, PhantomData<M>);

impl<R, M> Acquired<R, M> {
    /// # Safety
    ///
    /// The resource was acquired in this way, and there is no other proof of that.
    #[inline]
    pub(crate) unsafe fn new(resource: R) -> Self {
        Self(resource, PhantomData)
    }

    #[inline]
    pub(crate) fn into_resource(self) -> R {
        self.0
    }
}

/// Acquires the resource if that is possible without waiting.
#[inline]
#[track_caller]
pub(crate) fn acquire_now<'a, R: Request<'a, M>, M: Mode>(request: R) -> Option<R::Output> {
    let resource = request.resource();
    #[cfg(feature = "sim")]
    if let Some(object) = resource.object() {
        object.tried(Location::caller());
    }
    let acquired = resource.try_acquire();
    if holders::is_on() {
        if let (true, Some(address)) = (acquired, resource.recorded()) {
            holders::acquired(address, Location::caller());
        }
    }
    acquired.then(|| request.output(Acquired(resource, PhantomData)))
}

/// The future of a [`Request`].
#[must_use = "futures do nothing unless awaited"]
#[repr(C)]
pub(crate) struct Acquisition<'a, R: Request<'a, M>, M: Mode> {
    /// Not dropped, because [`leave`](Waiting::leave) drops the waiter: a second check would cost a
    /// lock a tenth.
    waiting: ManuallyDrop<Waiting<'a, M>>,
    request: R,
}

/// The state of an [`Acquisition`] without its request, which each function gets as an argument: if
/// the owner has it in another form, its future is smaller.
///
/// The owner must call [`leave`](Self::leave) before it drops a waiting one: the drop aborts, as
/// that of a linked waiter does.
#[repr(C)]
pub(crate) struct Waiting<'a, M: Mode> {
    stage: Stage<M::Data>,
    site: &'static Location<'static>,
    /// The resource is borrowed.
    _resource: PhantomData<&'a ()>,
}

enum Stage<X> {
    /// Not polled yet, or only polled without budget. There is no waiter.
    New,
    /// The waiter is linked, or granted. [`end`](Self::end) drops it: an implicit drop would cost
    /// a future that has not waited a call.
    Waiting(ManuallyDrop<Waiter<X>>),
    /// Completed.
    Done,
}

impl<X> Stage<X> {
    /// Makes the stage `Done`.
    fn end(&mut self) {
        if let Stage::Waiting(waiter) = self {
            // SAFETY: the stage changes next; the drop of a waiter does not unwind.
            unsafe { ManuallyDrop::drop(waiter) };
        }
        *self = Stage::Done;
    }
}

impl<'a, M: Mode> Waiting<'a, M> {
    #[inline]
    pub(crate) fn new(site: &'static Location<'static>) -> Self {
        Self { stage: Stage::New, site, _resource: PhantomData }
    }

    /// Returns the call site.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// Returns true if there is no waiter yet, and the request has not been fulfilled.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.stage, Stage::New)
    }

    /// Returns true if there is a waiter.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }

    /// Begins anew, after the end of the wait.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn restart(self: Pin<&mut Self>) {
        self.skip_to(Stage::New);
    }

    /// Completes, without a wait.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn finish(self: Pin<&mut Self>) {
        self.skip_to(Stage::Done);
    }

    #[cfg(feature = "net")]
    #[inline]
    fn skip_to(self: Pin<&mut Self>, stage: Stage<M::Data>) {
        assert!(!self.is_waiting(), "there is no waiter");
        // SAFETY: nothing is moved out, and there is no waiter that must not move.
        unsafe { self.get_unchecked_mut() }.stage = stage;
    }

    #[inline(always)]
    fn is_granted(&self) -> bool {
        matches!(&self.stage, Stage::Waiting(waiter) if waiter.state() == GRANTED)
    }

    /// A poll in any stage. It does not check the budget.
    #[inline]
    pub(crate) fn poll<R: Request<'a, M>>(
        self: Pin<&mut Self>,
        request: R,
        cx: &mut Context<'_>,
    ) -> Poll<R::Output> {
        // SAFETY: nothing is moved out, and a waiter is not moved.
        let this = unsafe { self.get_unchecked_mut() };
        let resource = request.resource();
        let acquired = match &this.stage {
            Stage::Done => panic!("gopark: future polled after completion"),
            Stage::New => {
                // An attempt that is not repeated enqueues nothing: others would find the waiter.
                resource.try_again()
                    || resource.exists() && !coop::is_passing(cx) && {
                        let waiter = Waiter::new(TaskWaker::new(cx.waker()), resource.extra());
                        this.stage = Stage::Waiting(ManuallyDrop::new(waiter));
                        let Stage::Waiting(waiter) = &this.stage else { unreachable!() };
                        // SAFETY: it is pinned with `self`, whose destructor runs before `'a`
                        // ends; only the future makes an `OwnWaiter` of it.
                        resource.enqueue(unsafe { OwnWaiter::new(waiter) })
                    }
            }
            // SAFETY: as above.
            Stage::Waiting(waiter) => resource.look(unsafe { OwnWaiter::new(waiter) }, cx),
        };
        if holders::is_on() {
            if let Some(address) = resource.recorded() {
                if acquired {
                    holders::acquired(address, this.site)
                } else if matches!(this.stage, Stage::Waiting(_)) {
                    holders::waits(address)
                }
            }
        }
        if !acquired {
            coop::park_at(cx, this.site, request.reason());
            return Poll::Pending;
        }
        this.stage.end();
        coop::spend();
        Poll::Ready(request.output(Acquired(resource, PhantomData)))
    }

    /// Gives up the waiter's place in the queue.
    #[cold]
    #[inline(never)]
    pub(crate) fn leave<R: Request<'a, M>>(self: Pin<&mut Self>, request: R) {
        /// Drops the waiter, even if `cancel` panics.
        struct End<'s, X>(&'s mut Stage<X>);
        impl<X> Drop for End<'_, X> {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        let resource = request.resource();
        // SAFETY: as in `poll`.
        let stage = End(unsafe { &mut self.get_unchecked_mut().stage });
        let Stage::Waiting(waiter) = &*stage.0 else { return };
        // Otherwise `enqueue` has panicked before it linked the waiter.
        if waiter.was_linked() {
            // SAFETY: as in `poll`.
            resource.cancel(unsafe { OwnWaiter::new(waiter) });
        }
        drop(stage);
        if holders::is_on() && resource.recorded().is_some() {
            holders::waits_no_more();
        }
    }
}

impl<'a, M: Mode> Drop for Waiting<'a, M> {
    #[inline]
    fn drop(&mut self) {
        if self.is_waiting() {
            self.stage.end();
        }
    }
}

impl<'a, R: Request<'a, M>, M: Mode> Acquisition<'a, R, M> {
    #[inline]
    pub(crate) fn new(request: R, site: &'static Location<'static>) -> Self {
        Self { waiting: ManuallyDrop::new(Waiting::new(site)), request }
    }

    #[inline]
    pub(crate) fn request(&self) -> R {
        self.request
    }

    /// Returns the call site of the acquisition.
    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.waiting.site
    }

    #[inline]
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        if matches!(self.waiting.stage, Stage::New) {
            if !(coop::has_budget() || self.may_begin(cx)) {
                return Poll::Pending;
            }
            let (request, resource) = (self.request, self.request.resource());
            if resource.try_first() {
                // SAFETY: nothing is moved out. The stage is `New`, so there is no waiter that must
                // not move.
                unsafe { self.get_unchecked_mut() }.waiting.stage = Stage::Done;
                coop::spend_one();
                return Poll::Ready(request.output(Acquired(resource, PhantomData)));
            }
        } else if R::Resource::GRANT_IS_ALL && self.waiting.is_granted() && !holders::is_on() {
            let (request, resource) = (self.request, self.request.resource());
            // SAFETY: as above; a granted waiter is not linked (Q3), and has no waker to drop.
            unsafe { self.get_unchecked_mut() }.waiting.stage = Stage::Done;
            coop::spend();
            return Poll::Ready(request.output(Acquired(resource, PhantomData)));
        }
        self.poll_inner(cx)
    }

    /// Checks the budget. Not inlined, because the arguments alone cost a sixth of an acquisition.
    #[cold]
    #[inline(never)]
    fn may_begin(&self, cx: &mut Context<'_>) -> bool {
        let object = self.request.resource().object();
        coop::poll_ready(cx, self.waiting.site, self.request.reason(), object)
    }

    #[inline(never)]
    fn poll_inner(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        let request = self.request;
        self.waiting().poll(request, cx)
    }

    #[inline]
    fn waiting(self: Pin<&mut Self>) -> Pin<&mut Waiting<'a, M>> {
        // SAFETY: pinned with `self`.
        unsafe { self.map_unchecked_mut(|this| &mut *this.waiting) }
    }

    /// Blocks the thread until the resource is acquired.
    pub(crate) fn block(self) -> R::Output {
        let resource = self.request.resource();
        if resource.try_first() {
            return self.request.output(Acquired(resource, PhantomData));
        }
        let mut this = pin!(self);
        // The budget is not checked, because a blocked thread cannot yield.
        block_on(poll_fn(|cx| this.as_mut().poll_inner(cx)))
    }
}

impl<'a, R: Request<'a, M>, M: Mode> Drop for Acquisition<'a, R, M> {
    #[inline]
    fn drop(&mut self) {
        if self.waiting.is_waiting() {
            let request = self.request;
            // SAFETY: it does not move any more.
            unsafe { Pin::new_unchecked(self) }.waiting().leave(request);
        }
    }
}

/// Shows the stage.
impl<'a, R: Request<'a, M>, M: Mode> fmt::Debug for Acquisition<'a, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.waiting.stage {
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
        $name:ident<$a:lifetime $(, $t:ident)?>($request:ty, $mode:ty) -> $output:ty) => {
        $(#[$meta])*
        #[must_use = "futures do nothing unless awaited"]
        pub struct $name<$a $(, $t: ?Sized)?>(
            $crate::wait::acquire::Acquisition<$a, $request, $mode>
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

#[cfg(all(test, not(gopark_loom)))]
mod tests;
