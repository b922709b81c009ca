//! Operations that allocate and operations that do not; and all memory is freed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Cx, Poll, Wake, Waker};

use futures_lite::Stream;
use gopark::context::Context;
use gopark::{Runtime, chan, gosched, select};

/// Counts this thread's allocations, and its bytes in use.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
    /// A channel whose length is read, which takes its lock, at each of this thread's allocations.
    static ASKED: Cell<Option<&'static chan::Receiver<u64>>> = const { Cell::new(None) };
}

fn ask() {
    if let Some(rx) = ASKED.take() {
        black_box(rx.len());
        ASKED.set(Some(rx));
    }
}

// SAFETY: the system's allocator does the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ask();
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as isize);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ask();
        BYTES.set(BYTES.get() - layout.size() as isize);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The number of allocations of `f` on this thread, and of its bytes that are still in use.
fn cost<T>(f: impl FnOnce() -> T) -> (usize, isize, T) {
    let (allocations, bytes) = (ALLOCATIONS.get(), BYTES.get());
    let value = f();
    (ALLOCATIONS.get() - allocations, BYTES.get() - bytes, value)
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Cx::from_waker(Waker::noop()))
}

#[test]
fn background_allocates_nothing_cx01() {
    let (allocations, ..) = cost(|| {
        let ctx = black_box(Context::background()).clone();
        assert!(
            ctx.err().is_none()
                && ctx.value::<i32>().is_none()
                && poll_once(ctx.done()).is_pending()
        );
        black_box(Context::todo().without_cancel());
    });
    assert_eq!(allocations, 0);
}

#[test]
fn derived_context_is_one_allocation_and_a_wait_none_cx04() {
    let (root, _cancel) = Context::background().with_cancel();
    let (allocations, _, (ctx, cancel)) = cost(|| root.with_cancel());
    assert_eq!(allocations, 1);
    let (_tx, rx) = chan::unbuffered::<()>();
    let (allocations, ..) = cost(|| {
        assert!(poll_once(ctx.done()).is_pending());
        assert!(poll_once(ctx.run(std::future::pending::<()>())).is_pending());
        assert!(poll_once(ctx.recv(&rx)).is_pending());
        let mut done = pin!(ctx.done());
        assert!(done.as_mut().poll(&mut Cx::from_waker(Waker::noop())).is_pending());
        cancel.cancel();
        assert!(done.as_mut().poll(&mut Cx::from_waker(Waker::noop())).is_ready());
        black_box(ctx.clone());
    });
    assert_eq!(allocations, 0);
}

#[test]
fn operations_and_selects_that_wait_allocate_nothing() {
    let ((tx, rx), (other_tx, other)) = (chan::unbuffered::<i32>(), chan::unbuffered::<i32>());
    let (allocations, ..) = cost(|| {
        assert!(poll_once(tx.send(1)).is_pending());
        assert!(poll_once(rx.recv()).is_pending());
        let selecting = async {
            select! { _ = tx.send(1) => {}, _ = other.recv() => {} }
        };
        assert!(poll_once(selecting).is_pending());
    });
    assert_eq!(allocations, 0);
    drop((other_tx, rx));
}

#[test]
fn a_select_that_parks_allocates_nothing() {
    let ((a_tx, a), (_b_tx, b)) = (chan::unbuffered::<i32>(), chan::unbuffered::<i32>());
    let (allocations, ..) = cost(|| {
        let mut selecting = pin!(async {
            select! { v = a.recv() => v, v = b.recv() => v }
        });
        let mut cx = Cx::from_waker(Waker::noop());
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        a_tx.try_send(1).unwrap();
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(1)));
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_join_allocates_once_for_a_task_of_another_executor() {
    struct Task;
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let waker = Waker::from(Arc::new(Task));
    let mut handle = gopark::go(std::future::pending::<()>());
    let mut poll = || cost(|| pin!(&mut handle).poll(&mut Cx::from_waker(&waker)).is_pending());
    assert_eq!(
        [poll(), poll()].map(|(allocations, _, pending)| (allocations, pending)),
        [(1, true), (0, true)]
    );
    handle.abort();
}

#[test]
fn a_goroutine_that_parks_again_allocates_nothing() {
    Runtime::builder().gomaxprocs(1).build().unwrap().block_on(async {
        loop {
            gosched().await;
            let (thread, allocations) = (std::thread::current().id(), ALLOCATIONS.get());
            for _ in 0..1000 {
                gosched().await;
            }
            let allocations = ALLOCATIONS.get() - allocations;
            // Otherwise the system stopped the thread, and the processor was given to another one.
            if thread == std::thread::current().id() {
                assert_eq!(allocations, 0);
                break;
            }
        }
    });
}

/// Trees are freed in whichever order they are dropped.
#[test]
fn all_memory_of_contexts_comes_back_cx04() {
    let tree = |cancelled: usize| {
        let (root, cancel) = Context::background().with_cancel_cause();
        let mut contexts = vec![root.clone()];
        let mut cancels = Vec::new();
        for i in 0..200 {
            let (ctx, cancel) = contexts[i / 2].with_value([i; 4]).with_cancel();
            contexts.push(ctx);
            cancels.push(cancel);
        }
        // Functions that are never started: their contexts have no other handle.
        if cancelled != 1 {
            for ctx in contexts.iter().step_by(3) {
                let text = "captured".repeat(10);
                drop(ctx.after_func(async move { drop(text) }));
            }
        }
        match cancelled {
            0 => drop(contexts),
            1 => cancel.cancel("a cause".to_owned()),
            _ => {
                contexts.reverse();
                contexts.truncate(50);
                drop(cancels);
                drop(contexts);
                drop(root);
            }
        }
    };
    // One-time allocations of the process must not count.
    tree(1);
    tree(0);
    for cancelled in 0..3 {
        let (allocations, bytes, ()) = cost(|| tree(cancelled));
        assert!(allocations > 200);
        assert_eq!(bytes, 0, "way {cancelled}");
    }
}

/// A child that is created and dropped leaves nothing in a parent that stays.
#[test]
fn short_lived_children_cost_their_parent_no_memory_cx04() {
    let (plain, _keep) = Context::background().with_cancel();
    let (timed, _keep) = plain.with_timeout(std::time::Duration::from_secs(1000));
    let children = |parent: &Context, count: usize| {
        for i in 0..count {
            let (ctx, cancel) = parent.with_cancel();
            match i % 4 {
                0 => cancel.cancel(),
                1 => assert!(ctx.after_func(async {}).stop()),
                2 => assert!(parent.after_func(async {}).stop()),
                _ => {}
            }
        }
    };
    for parent in [&plain, &timed] {
        // The first `after_func` starts the global runtime, which stays.
        children(parent, 4);
        let (.., bytes, ()) = cost(|| children(parent, 100_000));
        assert_eq!(bytes, 0);
    }
}

#[test]
fn a_stream_allocates_its_place_once_and_gives_it_back() {
    fn poll<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
        Pin::new(stream).poll_next(&mut Cx::from_waker(Waker::noop()))
    }
    fn run<S: Stream<Item = i32> + Unpin>(stream: &mut S, tx: &chan::Sender<i32>) {
        for value in 0..100 {
            assert!(poll(stream).is_pending() && poll(stream).is_pending());
            tx.try_send(value).unwrap();
            assert_eq!(poll(stream), Poll::Ready(Some(value)));
        }
    }
    let (tx, rx) = chan::bounded(1);
    // The first channel allocates what all channels share.
    assert!(poll(&mut rx.clone()).is_pending());
    let mut watching = rx.clone();
    let (allocations, ..) = cost(|| run(&mut watching, &tx));
    assert_eq!(allocations, 1);
    let (allocations, bytes, ()) = cost(|| (0..1000).for_each(|_| run(&mut watching, &tx)));
    assert_eq!((allocations, bytes), (0, 0));
    let (allocations, bytes, ()) = cost(|| {
        let mut stream = rx.into_stream();
        run(&mut stream, &tx);
        assert!(poll(&mut stream).is_pending());
    });
    assert_eq!((allocations, bytes), (1, 0));
    let (_, bytes, ()) = cost(|| drop(watching));
    assert!(bytes < 0);
}

/// An allocator may use a channel, to trace for example: then it would wait for its own thread.
#[test]
fn nothing_is_allocated_or_freed_under_a_channels_lock() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for capacity in [0, 5, 1_000_000] {
            let (tx, rx) = chan::bounded::<u64>(capacity);
            // It is leaked because a thread-local must not drop it.
            let rx: &'static chan::Receiver<u64> = Box::leak(Box::new(rx));
            ASKED.set(Some(rx));
            for _ in 0..3 {
                // Handed over, and returned in no particular order.
                let mut receives: Vec<_> = (0..300).map(|_| Box::pin(rx.recv())).collect();
                for receive in &mut receives {
                    assert!(receive.as_mut().poll(&mut Cx::from_waker(Waker::noop())).is_pending());
                }
                for value in 0..300 {
                    tx.try_send(value).unwrap();
                }
                for step in 0..300 {
                    drop(receives.swap_remove(step * 7 % receives.len()));
                }
                let mut sends: Vec<_> =
                    (0..1000).map(|value| Box::pin(tx.send(300 + value))).collect();
                for send in &mut sends {
                    let _ = send.as_mut().poll(&mut Cx::from_waker(Waker::noop()));
                }
                for value in 0..1300 {
                    assert_eq!(rx.try_recv(), Ok(value));
                }
            }
            for value in 0..1000 {
                let _ = tx.try_send(value);
            }
            for value in 0..1000 {
                tx.force_send(value).unwrap();
            }
            assert!(poll_once(tx.closed()).is_pending());
            drop((tx.downgrade(), rx.downgrade()));
            let mut values = Vec::new();
            assert_eq!(poll_once(rx.recv_many(&mut values, 700)).is_ready(), capacity != 0);
            assert!(tx.close());
            while rx.try_recv().is_ok() {}
            ASKED.set(None);
        }
        done.send(()).unwrap();
    });
    is_done
        .recv_timeout(std::time::Duration::from_secs(60))
        .expect("a channel's lock is taken within itself");
}

#[test]
fn a_drained_channel_keeps_one_small_block() {
    // The first channel of the process allocates the queues of threads that sleep in locks.
    let (_, once, _) = cost(|| drop(chan::bounded::<u64>(1)));
    assert!(once < 8000, "{once} bytes");
    let (_, bytes, channel) = cost(|| {
        let (tx, rx) = chan::bounded::<u64>(usize::MAX);
        (0..1_000_000).for_each(|value| tx.try_send(value).unwrap());
        (0..1_000_000).for_each(|value| assert_eq!(rx.try_recv(), Ok(value)));
        (tx, rx)
    });
    assert!(bytes < 3000, "{bytes} bytes");
    drop(channel);
}

/// Before, the map kept the memory of the largest number of calls for its life.
#[test]
fn a_single_flight_keeps_no_memory_of_calls_that_have_ended() {
    let flights = gopark::sync::SingleFlight::new();
    let (_, bytes, ()) = cost(|| {
        let mut calls: Vec<_> =
            (0..14_336).map(|i| Box::pin(flights.work(i, std::future::pending::<()>()))).collect();
        for call in &mut calls {
            assert!(call.as_mut().poll(&mut Cx::from_waker(Waker::noop())).is_pending());
        }
    });
    assert!(bytes < 10_000, "{bytes} bytes");
}
