//! The life cycle of a goroutine: its allocation, the wrapper of its future, and its end.

use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::process;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_task::{Builder, WithInfo};

use crate::clock;
use crate::coop::{self, Witness};
use crate::executor::Executor;
#[cfg(feature = "sim")]
use crate::executor::simulation::Simulation;
use crate::header::{Flags, Header, Keeper, OwnWaker, Reason, Task};
use crate::local_queue::LocalQueue;
use crate::panics::{Caught, catch, contain};
use crate::platform::light_fence;
use crate::wait::block_on::block_on;

mod remote;

use remote::{REMOTES, Remotes};
pub(crate) use remote::{Remote, abort};

/// The task handle of a goroutine that returns a `T`.
pub(crate) type Handle<T> = async_task::Task<Outcome<T>, Header>;

/// How a poll begins if it must do more than poll the goroutine's future.
enum Begin {
    Polls,
    /// It has been aborted.
    Ends,
    /// It answers whether something keeps the goroutine's waker.
    Answers,
}

#[cold]
#[inline(never)]
fn begin_special(header: &Header, flags: Flags) -> Begin {
    if flags.is_aborted() || flags.has_remote() && REMOTES.is_aborted(header) {
        return Begin::Ends;
    }
    match flags.keeper() {
        Keeper::Unknown => Begin::Polls,
        Keeper::Asked => Begin::Answers,
        Keeper::None | Keeper::Some => {
            header.set_keeper(Keeper::Unknown);
            Begin::Polls
        }
    }
}

/// Records that the goroutine's handle is being dropped. If the handle has not `joined` the
/// goroutine, nothing will recover a panic of it.
#[inline(always)]
pub(crate) fn detach(header: &Header, joined: bool) {
    if !joined {
        header.set_detached();
        // Pairs with the heavy fence of `BlockOnCalls::begin_unwinding`.
        light_fence();
    }
    let flags = header.flags();
    if flags.is_special_to_handle() {
        detach_special(header, flags, joined);
    }
}

#[cold]
#[inline(never)]
fn detach_special(header: &Header, flags: Flags, joined: bool) {
    if flags.is_unwinding() && !joined {
        Executor::of(header).block_on_calls().detached(header.id());
    }
    if flags.has_remote() {
        REMOTES.detached(header);
    }
}

/// Allocates a goroutine, which runs `future` once its task is enqueued.
#[inline(always)]
pub(crate) fn allocate<F>(header: Header, future: F) -> (Task, Handle<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let builder = Builder::new().metadata(header);
    builder.spawn(|_| Goroutine(ManuallyDrop::new(future)), WithInfo(Executor::schedule))
}

/// Starts a goroutine, whose future may borrow, on its executor. Then calls `run`, and blocks the
/// thread until the goroutine has ended. Returns its outcome, and the result of `run`.
#[cfg_attr(feature = "sim", track_caller)]
pub(crate) fn run_borrowing<F, R>(
    header: Header,
    future: F,
    run: impl FnOnce() -> R,
) -> (Outcome<F::Output>, R)
where
    F: Future + Send,
    F::Output: Send,
{
    // SAFETY: the future and its output are `Send`.
    unsafe { run_unchecked(header, future, |_| run()) }
}

/// As [`run_borrowing`], for a future that is not `Send`, in a simulation.
#[cfg(feature = "sim")]
pub(crate) fn run_simulated<F: Future, R>(
    simulation: Simulation,
    header: Header,
    future: F,
    run: impl FnOnce(&Handle<F::Output>) -> R,
) -> (Outcome<F::Output>, R) {
    assert!(ptr::eq(Executor::of(&header), simulation.executor), "a goroutine of the simulation");
    // SAFETY: only the thread of a simulation polls its goroutines, and this is that thread,
    // because a `Simulation` is not `Send`.
    unsafe { run_unchecked(header, future, run) }
}

/// # Safety
///
/// The future and its output are `Send`, or no other thread polls the goroutine.
#[cfg_attr(feature = "sim", track_caller)]
unsafe fn run_unchecked<F: Future, R>(
    header: Header,
    future: F,
    run: impl FnOnce(&Handle<F::Output>) -> R,
) -> (Outcome<F::Output>, R) {
    let (executor, site) = (Executor::of(&header), header.spawned_at());
    let builder = Builder::new().metadata(header);
    let body = || {
        let future = |_: &_| Goroutine(ManuallyDrop::new(future));
        let schedule = WithInfo(Executor::schedule);
        // SAFETY: the handle resolves only after the future has been dropped, and this function
        // returns only after the handle has resolved. `schedule` borrows nothing.
        let (task, mut handle) = unsafe { builder.spawn_unchecked(future, schedule) };
        executor.submit_outside(task, false);
        let result = run(&handle);
        let join = poll_fn(|cx| {
            let polled = Pin::new(&mut handle).poll(cx);
            if polled.is_pending() {
                coop::park_at(cx, site, Reason::Join);
            }
            polled
        });
        (block_on(join), result)
    };
    // The future may borrow from the caller's frames, which must not unwind while it is alive.
    catch(body).unwrap_or_else(|_| process::abort())
}

/// As [`allocate`], for a future that only this thread polls and drops. When it is woken, its task
/// is pushed to `queue`.
pub(crate) fn allocate_local<F>(
    header: Header,
    future: F,
    queue: Arc<LocalQueue>,
) -> (Task, Handle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    let builder = Builder::new().metadata(header);
    let schedule = move |task| {
        coop::note_unwinding();
        queue.push(task);
    };
    builder.spawn_local(|_| Goroutine(ManuallyDrop::new(future)), schedule)
}

/// As [`allocate_local`], in a runtime whose only thread is this one.
#[cfg(feature = "sim")]
pub(crate) fn allocate_here<F>(header: Header, future: F) -> (Task, Handle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    let builder = Builder::new().metadata(header);
    builder.spawn_local(|_| Goroutine(ManuallyDrop::new(future)), WithInfo(Executor::schedule))
}

/// Polls a goroutine on this thread, outside every other poll.
pub(crate) fn poll_here(task: Task) {
    let header = ptr::from_ref(task.metadata());
    coop::keep_waker(|| {
        // SAFETY: the metadata is used only while the task is being polled.
        unsafe { coop::enter(header, clock::coarse_epoch()) };
        Executor::run_here(task);
        coop::leave();
    });
}

/// The result of a goroutine. Dropping an unobserved panic reports it. If the destructor of the
/// value panics, that panic unwinds where the handle is dropped; if there is no handle any longer,
/// it counts as a panic of the goroutine.
///
/// It is one word if the goroutine returns nothing, because the output must not enlarge the
/// allocation of a small goroutine.
pub(crate) struct Outcome<T>(ManuallyDrop<Result<T, Box<Exit>>>);

impl<T> Outcome<T> {
    /// Adds a panic of the destructor of the goroutine's future.
    #[cold]
    fn or_panic(self, header: &Header, payload: Caught) -> Self {
        match &*self.0 {
            Err(exit) if exit.payload.is_some() => return self,
            _ => contain(|| drop(self)),
        }
        exit(header, Some(payload))
    }

    pub(crate) fn into_inner(self) -> Result<T, Box<Exit>> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the result is moved out only here.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<T> Drop for Outcome<T> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here.
        if let Err(payload) = catch(|| unsafe { ManuallyDrop::drop(&mut self.0) }) {
            match Executor::ending() {
                // The result is detached, and dropped at the end of its goroutine.
                Some(header) => drop(exit::<()>(header, Some(payload))),
                None => payload.resume(),
            }
        }
    }
}

/// Why a goroutine produced no output: it was aborted, or it panicked and the payload has not been
/// observed.
pub(crate) struct Exit {
    executor: &'static Executor,
    /// Identifies the goroutine's runtime among those that have used the executor.
    generation: usize,
    id: u64,
    spawned_at: &'static Location<'static>,
    payload: Option<Caught>,
}

impl Exit {
    /// Observes the end: returns the panic's payload, or `None` if the goroutine was aborted.
    pub(crate) fn observe(mut self) -> Option<Caught> {
        self.payload.take()
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        if let Some(payload) = self.payload.take() {
            let is_over = || self.executor.is_over(self.generation);
            self.executor.block_on_calls().unrecovered(self.id, self.spawned_at, payload, is_over);
            // The monitor aborts the process if no main takes the panic.
            self.executor.wake_monitor();
        }
    }
}

/// Wraps the user's future: catches its panics, registers the goroutine when it first parks, and
/// counts its end.
///
/// Only `Runnable::run` polls and drops it, and the executor stores the goroutine's header around
/// that call, so this needs no pointer to the header. The poll that ends the goroutine drops the
/// future, so that a panic in the destructor is part of the result. From then on the header says
/// that the goroutine has ended.
struct Goroutine<F>(ManuallyDrop<F>);

impl<F: Future> Future for Goroutine<F> {
    type Output = Outcome<F::Output>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<F::Output>> {
        // SAFETY: this is in the poll of a goroutine.
        let header = unsafe { Executor::running() };
        let flags = header.flags();
        let (witness, lent, mut witnessed);
        let mut polled_with = ptr::from_mut(cx);
        if flags.is_special() {
            match begin_special(header, flags) {
                Begin::Ends => return Poll::Ready(self.end(header, exit(header, None))),
                Begin::Polls => {}
                Begin::Answers => {
                    witness = Witness::new(cx.waker(), header);
                    // SAFETY: both are locals of this poll.
                    lent = unsafe { witness.waker() };
                    witnessed = Context::from_waker(&lent);
                    polled_with = ptr::from_mut(&mut witnessed).cast();
                }
            }
        }
        // SAFETY: it points to `cx` or to the witness's context, both of which outlive the poll,
        // and neither of which is used otherwise meanwhile.
        let polled_with = unsafe { &mut *polled_with };
        coop::polled_with(polled_with.waker());
        // SAFETY: `future` is pinned with `self`, and dropped in place.
        let future = unsafe { self.as_mut().map_unchecked_mut(|this| &mut *this.0) };
        let outcome = match catch(|| future.poll(polled_with)) {
            Ok(Poll::Pending) if !flags.is_registered() && park_first(header, cx.waker()) => {
                exit(header, None)
            }
            Ok(Poll::Pending) => {
                Executor::parks();
                return Poll::Pending;
            }
            Ok(Poll::Ready(value)) => Outcome(ManuallyDrop::new(Ok(value))),
            Err(payload) => exit(header, Some(payload)),
        };
        Poll::Ready(self.end(header, outcome))
    }
}

impl<F: Future> Goroutine<F> {
    /// Drops the future. If the drop panics, and the goroutine has not panicked before, this is the
    /// goroutine's panic.
    #[inline(always)]
    fn end(
        self: Pin<&mut Self>,
        header: &Header,
        outcome: Outcome<F::Output>,
    ) -> Outcome<F::Output> {
        coop::forget_waker();
        // SAFETY: the future is dropped in place, and only once, because the header says afterwards
        // that the goroutine has ended.
        let future = unsafe { &mut self.get_unchecked_mut().0 };
        // SAFETY: as above.
        let dropped = catch(|| unsafe { ManuallyDrop::drop(future) });
        header.set_ended();
        match dropped {
            Ok(()) => outcome,
            Err(payload) => outcome.or_panic(header, payload),
        }
    }
}

impl<F> Drop for Goroutine<F> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this is in the drop of a goroutine's future.
        let header = unsafe { Executor::running() };
        debug_assert!(header.has_ended(), "the executor polls each goroutine to its end");
        let flags = Remotes::flags_at_end(header);
        if flags.is_registered() {
            // This is not the last reference: the `Runnable` that drops the future has one.
            let registry = &Executor::shard_of(header).registry;
            drop(registry.remove(header.registry_key(), || header.clear_registered()));
        } else if flags.has_remote() {
            REMOTES.ended(header);
        }
        Executor::of(header).finished_running();
    }
}

#[cold]
#[inline(never)]
fn exit<T>(header: &Header, payload: Option<Caught>) -> Outcome<T> {
    let executor = Executor::of(header);
    let (generation, id, spawned_at) = (executor.generation(), header.id(), header.spawned_at());
    let exit = Exit { executor, generation, id, spawned_at, payload };
    Outcome(ManuallyDrop::new(Err(Box::new(exit))))
}

/// Registers a goroutine that parks for the first time, so that an abort or a shutdown can wake it.
/// Returns true if it was aborted before.
#[inline(never)]
fn park_first(header: &Header, waker: &Waker) -> bool {
    // The registry's waker is a counted reference. A detached goroutine whose other wakers have all
    // been dropped has no other reference.
    // SAFETY: it is the waker with which the task polls the goroutine.
    let own = || unsafe { OwnWaker::new(header, waker) };
    let before = header.set_registered(Executor::shard_of(header).registry.insert(own()));
    if !before.has_remote() {
        return before.is_aborted();
    }
    header.clear_has_remote();
    REMOTES.parked(header, own()) || before.is_aborted()
}
