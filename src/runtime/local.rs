//! Goroutines that are not `Send`: they stay on the thread of a `block_on_local`.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

use crate::coop;
use crate::crash::BlockOnCall;
use crate::executor::Executor;
use crate::fork;
use crate::goroutine;
use crate::join::JoinHandle;
use crate::local_queue::LocalQueue;
#[cfg(feature = "sim")]
use crate::simulated::{self, Outside};

/// Starts a goroutine that need not be [`Send`]: it runs on this thread, beside the main of the
/// [`block_on_local`](crate::block_on_local) that it is in. tokio: `spawn_local`. Go needs none.
///
/// The main and its local goroutines run in turns, each until it waits, first come first served;
/// those that [`go`](crate::go()) starts run on the workers meanwhile. What blocks this thread
/// blocks them all. What is left of them when the main has returned is dropped on this thread,
/// before `block_on_local` returns.
///
/// Otherwise it is a goroutine as any other: it has a budget, its panic is that of its handle or is
/// unrecovered ([`OnPanic`](crate::OnPanic)), it counts in
/// [`num_goroutine`](crate::num_goroutine), and [`inspect`](crate::inspect) lists it. The handle is
/// [`Send`] if the output is: any goroutine may join or abort it.
///
/// In a simulation, which has one thread, it works everywhere.
///
/// # Panics
///
/// Outside of a `block_on_local`, as in what [`go`](crate::go()) has started.
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
            "gopark: go_local called outside of a block_on_local, on whose thread it starts its goroutine"
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
    /// A goroutine's future, which enters its queue's registry when it parks for the first time.
    struct Member<F> {
        #[pin]
        future: F,
        queue: Arc<LocalQueue>,
        entry: Option<u32>,
    }

    impl<F> PinnedDrop for Member<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Not the last reference: that which drops the future has one.
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

/// A call of `block_on_local`, on its thread.
pub(super) struct Local<'a> {
    pub(super) executor: &'static Executor,
    pub(super) call: &'a BlockOnCall,
    pub(super) queue: Arc<LocalQueue>,
}

impl Local<'_> {
    /// Polls the main until it returns, and the goroutines beside it. In each round the main comes
    /// once, and each goroutine that could run when the round began.
    #[cfg_attr(feature = "sim", track_caller)]
    pub(super) fn run<F: Future>(&self, mut main: Pin<&mut F>) -> F::Output {
        #[cfg(feature = "sim")]
        simulated::leaves(Outside::Blocking);
        let waker = Waker::from(self.queue.clone());
        let mut cx = Context::from_waker(&waker);
        // In a goroutine it notes what blocks the thread, until it returns.
        coop::without_note(|| {
            loop {
                if self.queue.begin_main_poll() {
                    if let Poll::Ready(output) = main.as_mut().poll(&mut cx) {
                        return output;
                    }
                    self.queue.end_main_poll();
                }
                let round = self.queue.len();
                (0..round).for_each(|_| _ = self.poll_next());
                if round == 0 {
                    self.queue.park();
                }
            }
        })
    }

    /// Drops the goroutines that are left, after the main.
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
                // Another thread is about to enqueue one that it has woken.
                self.queue.park();
            }
        }
    }

    /// Polls the next goroutine, or drops it if it must end. False if there is none.
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
