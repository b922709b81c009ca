//! [`go_local`]: goroutines that are not `Send`, which stay on the thread of a `block_on_local`.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

use super::box_large;
use crate::coop::{self, Reason};
use crate::crash::BlockOnCall;
use crate::executor::Executor;
use crate::fork;
use crate::goroutine;
use crate::join::JoinHandle;
use crate::local_queue::LocalQueue;
#[cfg(feature = "sim")]
use crate::simulated::{self, Outside};

/// Starts a goroutine that need not be [`Send`]. tokio: `spawn_local`. Go needs none.
///
/// It runs on the thread of the [`block_on_local`](crate::block_on_local) that this is called in.
/// The main and its local goroutines run in turns on this thread, each until it waits, in FIFO
/// order. Goroutines started by [`go`](crate::go()) run on the workers meanwhile. Code that blocks
/// this thread blocks the main and all its local goroutines. When the main has returned, the
/// remaining local goroutines are dropped on this thread, before `block_on_local` returns.
///
/// Otherwise it is a goroutine like any other: it has a budget, its panic is returned to the holder
/// of its handle or is unrecovered ([`OnPanic`](crate::OnPanic)), it counts in
/// [`num_goroutine`](crate::num_goroutine), and [`inspect`](crate::inspect) lists it. The handle is
/// [`Send`] if the output is: any goroutine may join or abort it.
///
/// In a simulation, which has one thread, it works everywhere.
///
/// # Panics
///
/// Outside of a `block_on_local`, and in a goroutine that [`go`](crate::go()) has started.
///
/// # Examples
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// gopark::block_on_local(async {
///     let list = Rc::new(RefCell::new(vec![1]));
///     let pushing = gopark::go_local({
///         let list = list.clone();
///         async move { list.borrow_mut().push(2) }
///     });
///     pushing.await.unwrap();
///     assert_eq!(*list.borrow(), [1, 2]);
/// });
/// ```
#[doc(alias = "spawn_local")]
#[track_caller]
pub fn go_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    box_large!(future: F => go_small_local(future))
}

#[track_caller]
fn go_small_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    fork::refuse();
    let (site, executor) = (Location::caller(), Executor::current());
    #[cfg(feature = "sim")]
    if let Some(executor) = executor.filter(|_| simulated::is_on()) {
        return JoinHandle::new(
            executor.spawn_with(site, |header| goroutine::allocate_here(header, future)),
        );
    }
    let queue = executor.and_then(|executor| executor.block_on_calls().local_queue());
    let (Some(executor), Some(queue)) = (executor, queue) else {
        panic!(
            "gopark: go_local called outside of a block_on_local, \
             on whose thread it starts its goroutine"
        )
    };
    let header = executor.start_outside(site, false);
    let member = Member { future, queue: queue.clone(), entry: None };
    let (task, handle) = goroutine::allocate_local(header, member, queue.clone());
    if queue.is_closed() {
        executor.discard(task);
    } else {
        queue.push(task);
        coop::let_main_give_way();
    }
    JoinHandle::new(handle)
}

pin_project! {
    /// The future of a local goroutine. It enters the registry of its queue when it parks for the
    /// first time.
    struct Member<F> {
        #[pin]
        future: F,
        queue: Arc<LocalQueue>,
        entry: Option<u32>,
    }

    impl<F> PinnedDrop for Member<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Not the last reference: the caller that drops the future holds another one.
            drop(this.entry.and_then(|entry| this.queue.parked.remove(entry, || ())));
        }
    }
}

impl<F: Future> Future for Member<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.future.poll(cx);
        if polled.is_pending() {
            this.entry.get_or_insert_with(|| this.queue.parked.insert(cx.waker().clone()));
        }
        polled
    }
}

/// The waker of the main.
impl Wake for LocalQueue {
    fn wake(self: Arc<Self>) {
        self.wake_main();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_main();
    }
}

/// A call of `block_on_local` in progress, on its thread.
pub(super) struct Local<'a> {
    pub(super) executor: &'static Executor,
    pub(super) call: &'a BlockOnCall,
    pub(super) queue: Arc<LocalQueue>,
    /// The call.
    pub(super) site: &'static Location<'static>,
}

impl Local<'_> {
    /// Polls the main and its local goroutines until the main returns. Each round polls the main
    /// once, and once each goroutine that was runnable when the round began. Returns `None` if the
    /// runtime shuts down, which drops mains as well.
    #[cfg_attr(feature = "sim", track_caller)]
    pub(super) fn run<F: Future>(&self, mut main: Pin<&mut F>) -> Option<F::Output> {
        #[cfg(feature = "sim")]
        simulated::leaves(Outside::Blocking);
        let waker = Waker::from(self.queue.clone());
        let mut cx = Context::from_waker(&waker);
        // In a goroutine the note says what blocks the thread, until this returns.
        coop::without_note(|| {
            coop::park_at(&cx, self.site, Reason::Join);
            let mut end_phase = self.executor.phases();
            while !self.executor.is_closing() {
                if self.queue.begin_main_poll() {
                    if let Poll::Ready(output) = main.as_mut().poll(&mut cx) {
                        return Some(output);
                    }
                    self.queue.end_main_poll();
                }
                let round = self.queue.len();
                (0..round).for_each(|_| _ = self.poll_next());
                if round == 0 {
                    end_phase();
                    self.queue.park();
                    end_phase();
                }
            }
            None
        })
    }

    /// Drops the goroutines that are left after the main has returned.
    pub(super) fn end(&self) {
        self.queue.close();
        loop {
            while self.poll_next() {}
            let parked = self.queue.parked.all();
            if parked.is_empty() {
                return;
            }
            parked.into_iter().for_each(Waker::wake);
            if self.queue.len() == 0 {
                // Another thread has woken one and is about to enqueue it.
                self.queue.park();
            }
        }
    }

    /// Polls the next goroutine, or drops it if it must end. Returns false if there is none.
    fn poll_next(&self) -> bool {
        let Some(task) = self.queue.next() else { return false };
        if self.queue.is_closed() || self.executor.is_closing() {
            task.metadata().set_aborted();
        }
        self.call.count_poll(|| goroutine::poll_here(task));
        self.queue.end_poll();
        true
    }
}
