//! Edge cases: jobs inside jobs, timers while every processor is held, goroutines that start while
//! a runtime ends.

use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::{block_at_once, parked, pause, runtime, settled};
use crate::alarm::alarm;
use crate::clock::Time;
use crate::coop;
use crate::crash::OnPanic;
use crate::executor::{Executor, KEEP_PARKED, Worker, lock};
use crate::platform::ThreadClock;
use crate::runtime::{
    Runtime, block_in_place, block_on, block_on_local, go, go_counted, gomaxprocs, unblock,
};
use crate::threads::refusal::refuse;
use crate::time::{Timer, sleep};
use crate::waker::TaskWaker;

/// Runs `body` on another thread, and panics if it takes too long.
fn ends(body: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        body();
        let _ = done.send(());
    });
    is_done.recv_timeout(Duration::from_secs(30)).expect("the body hangs or has panicked");
}

#[test]
fn a_job_on_a_local_main_unblocks() {
    ends(|| {
        let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
        let got = rt.block_on(unblock(|| block_on_local(async { unblock(|| 7).await })));
        assert_eq!(got, 7);
    });
}

#[test]
fn a_job_waits_for_two_jobs_at_once() {
    ends(|| {
        let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
        let got = rt.block_on(unblock(|| {
            use futures_lite::future::{block_on, zip};
            let ((a, b), (c, d)) =
                block_on(zip(zip(unblock(|| 7), unblock(|| 8)), zip(unblock(|| 7), unblock(|| 8))));
            assert_eq!((a, b), (c, d));
            (a, b)
        }));
        assert_eq!(got, (7, 8));
    });
}

#[test]
fn a_job_is_taken_when_room_opens_while_workers_are_parked() {
    ends(|| {
        let rt = Runtime::builder().gomaxprocs(1).max_threads(1).build().unwrap();
        let executor = rt.block_on(async { Executor::current().unwrap() });
        rt.block_on(unblock(move || {
            // A second thread starts while this one waits, and stays parked.
            block_on(async {});
            // Queued: there is no room for another job.
            let queued = go(unblock(|| 5));
            while executor.spares.parked() != 1 || !executor.spares.has_wish() {
                thread::yield_now();
            }
            // Now there is room.
            assert_eq!(block_on_local(queued).unwrap(), 5);
        }));
    });
}

#[test]
fn a_parked_worker_does_the_job_for_which_the_system_refuses_a_thread() {
    ends(|| {
        let rt = Runtime::builder().gomaxprocs(1).thread_name("job-refused").build().unwrap();
        rt.block_on(async {});
        let _refusal = refuse("job-refused", 100);
        for _ in 0..1000 {
            assert_eq!(rt.block_on(unblock(|| 5)), 5);
        }
    });
}

#[test]
fn a_job_is_taken_when_gomaxprocs_makes_room_for_it() {
    let rt = Runtime::builder().gomaxprocs(3).max_threads(4).build().unwrap();
    let executor = rt.block_on(async { Executor::current().unwrap() });
    block_at_once(&rt, 4);
    assert!(parked(executor) >= 4);
    let (release, released) = mpsc::channel::<()>();
    let (second, has_begun) = mpsc::channel();
    let (first, first_begun) = mpsc::channel();
    rt.go(unblock(move || {
        first.send(()).unwrap();
        _ = released.recv();
    }));
    first_begun.recv_timeout(Duration::from_secs(30)).unwrap();
    rt.go(unblock(move || second.send(()).unwrap()));
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end && (executor.spares.parked() != 3 || !executor.spares.has_wish()) {
        thread::yield_now();
    }
    rt.gomaxprocs(1);
    let begun = has_begun.recv_timeout(Duration::from_secs(10)).is_ok();
    drop(release);
    assert!(begun, "three threads are parked, three jobs have room, and one waits for another");
}

#[test]
fn there_may_be_as_many_threads_as_can_be_counted() {
    ends(|| {
        let rt = Runtime::builder().gomaxprocs(1).max_threads(usize::MAX).build().unwrap();
        assert_eq!(rt.block_on(unblock(|| block_on(unblock(|| 5)))), 5);
    });
}

#[test]
fn a_job_does_not_take_the_thread_that_sleeps_for_the_timers() {
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    let executor = rt.block_on(async { Executor::current().unwrap() });
    let (woken, is_woken) = mpsc::channel();
    rt.go(async move {
        sleep(Duration::from_millis(500)).await;
        woken.send(()).unwrap();
    });
    while settled(executor).rest.is_none() {
        pause();
    }
    let in_time =
        rt.block_on_local(unblock(move || is_woken.recv_timeout(Duration::from_secs(5)).is_ok()));
    assert!(in_time, "the timer waits for the end of the job");
}

#[test]
fn the_timers_of_a_processor_retired_by_a_blocked_goroutine_fire() {
    let (rt, executor) = runtime(8);
    block_at_once(&rt, 3);
    assert!(parked(executor) >= 3);
    rt.go(sleep(Duration::from_secs(3600)));
    assert!(parked(executor) >= 3);
    let in_time = rt.block_on(async move {
        let (fired, has_fired) = mpsc::channel();
        let timer =
            Timer::after_func(Duration::from_millis(500), async move { fired.send(()).unwrap() });
        gomaxprocs(1);
        let in_time = block_in_place(|| has_fired.recv_timeout(Duration::from_secs(5)).is_ok());
        drop(timer);
        in_time
    });
    assert!(in_time, "no thread fires it");
}

/// A waker whose `wake` does nothing.
struct Nothing;

impl std::task::Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

/// Returns the CPU time of the threads whose names begin with `prefix`.
#[cfg(target_os = "linux")]
fn cpu_of(prefix: &str) -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        if name.starts_with(prefix) {
            let fields: Vec<_> = rest.split_whitespace().collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    Duration::from_millis(10 * ticks)
}

/// A bug: the worker spun from the time at which a timer was due, while every processor was busy.
#[cfg(target_os = "linux")]
#[test]
fn a_parked_worker_sleeps_while_the_others_fire_the_timers() {
    let rt = Runtime::builder().gomaxprocs(1).thread_name("spins").build().unwrap();
    let executor = rt.block_on(async { Executor::current().unwrap() });
    block_at_once(&rt, 2);
    assert!(parked(executor) >= 2);
    // These timers make nothing runnable.
    let timers = rt.block_on(async {
        let at = |i| Time::now().after(Duration::from_millis(i));
        (300..700).map(|i| alarm(at(i), TaskWaker::from(Arc::new(Nothing)))).collect::<Vec<_>>()
    });
    // One of the two threads sleeps until the first timer; the second is called for the next
    // goroutine.
    assert!(parked(executor) >= 2);
    let before = cpu_of("spins");
    let used = rt.block_on(async {
        let (start, clock) = (Instant::now(), ThreadClock::of_this_thread());
        let before = clock.cpu_time();
        while start.elapsed() < Duration::from_millis(700) {}
        clock.cpu_time() - before
    });
    let all = cpu_of("spins") - before;
    drop(timers);
    assert!(
        all < used + Duration::from_millis(60),
        "the threads computed for {all:?}, the goroutine for {used:?}"
    );
}

/// Two goroutines compute until each has lost its processor, then block their threads: they must
/// not count as computing.
#[test]
fn goroutines_that_block_after_they_computed_do_not_count_as_computing() {
    let (rt, executor) = runtime(1);
    let mut releases = Vec::new();
    let mut blocked = Vec::new();
    // The monitor removes a displaced worker that sleeps, perhaps before the next one is displaced.
    let is_displaced =
        || Worker::with(|w| lock(&executor.sched).displaced.0.contains(&NonNull::from(w)));
    for _ in 0..2 {
        let (release, released) = mpsc::channel::<()>();
        releases.push(release);
        let (begun, has_begun) = mpsc::channel();
        blocked.push(rt.go(async move {
            begun.send(()).unwrap();
            while !is_displaced() {}
            let _ = released.recv();
        }));
        has_begun.recv().unwrap();
        // This one waits, so the processor is taken from the computing goroutine.
        futures_lite::future::block_on(rt.go(async {})).unwrap();
    }
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    let (begun, has_begun) = mpsc::channel();
    let computes = rt.go(async move {
        begun.send(()).unwrap();
        let start = Instant::now();
        while !seen.load(SeqCst) && start.elapsed() < Duration::from_secs(5) {}
        seen.load(SeqCst)
    });
    has_begun.recv().unwrap();
    rt.go(async move { flag.store(true, SeqCst) });
    let ran = futures_lite::future::block_on(computes).unwrap();
    drop(releases);
    assert!(ran, "a goroutine waits until another one stops computing");
}

#[test]
fn a_result_whose_destructor_unblocks_ends_with_the_runtime() {
    struct Waits(mpsc::Sender<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let executor = Executor::current().unwrap();
            while !executor.closing.load(SeqCst) || executor.live() != 0 {
                thread::yield_now();
            }
            while !executor.spares.is_ending() {
                thread::yield_now();
            }
            let _ = std::panic::catch_unwind(|| futures_lite::future::block_on(unblock(|| ())));
            self.0.send(()).unwrap();
        }
    }
    let (done, is_done) = mpsc::channel();
    let rt = Runtime::builder().gomaxprocs(1).on_panic(OnPanic::Isolate).build().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (detached, is_detached) = mpsc::channel();
    // Its result is dropped where it ends, because its handle has been dropped by then.
    drop(rt.go(async move {
        is_detached.recv().unwrap();
        begun.send(()).unwrap();
        Waits(done)
    }));
    detached.send(()).unwrap();
    has_begun.recv().unwrap();
    drop(rt);
    assert!(is_done.recv_timeout(Duration::from_secs(10)).is_ok(), "the thread never ends");
}

#[test]
fn as_many_threads_are_kept_as_there_are_processors_now() {
    let (rt, executor) = runtime(8);
    block_at_once(&rt, 8);
    assert!(parked(executor) >= 8);
    rt.gomaxprocs(1);
    let start = Instant::now();
    while parked(executor) > 1 {
        assert!(start.elapsed() < 5 * KEEP_PARKED, "the surplus threads stay");
        pause();
    }
}

/// A bug: a census revokes each processor for a moment. A goroutine that called `block_in_place`
/// then kept its processor, and the goroutines at it, until the monitor took them.
#[test]
fn a_goroutine_that_blocks_in_place_hands_over_a_processor_that_is_being_inspected() {
    ends(|| {
        let (rt, executor) = runtime(1);
        rt.block_on(async move {
            let (ran, has_run) = mpsc::channel();
            go(async move { ran.send(()).unwrap() });
            {
                // Until the call below, as a census does in the middle of it.
                let _sched = lock(&executor.sched);
                Worker::with(|w| w.run_next.abandon());
            }
            block_in_place(|| {
                let sched = lock(&executor.sched);
                let place = executor.processors.get(0).unwrap().place.get();
                assert!(Worker::with(|w| place != w.place()), "it has kept its processor");
                drop(sched);
                has_run.recv().unwrap();
            });
        });
    });
}

/// The wheel of an executor is as far as the clock of the runtimes that used it.
#[cfg(feature = "sim")]
#[test]
fn a_simulation_is_the_same_whatever_its_executor_was_used_for() {
    let run = || {
        crate::sim::run(7, || async {
            let (start, mut order) = (Time::now(), Vec::new());
            let (first, second) =
                (go(sleep(Duration::from_secs(10))), go(sleep(Duration::from_secs(1))));
            second.await.unwrap();
            order.push(Time::now().since(start));
            first.await.unwrap();
            order.push(Time::now().since(start));
            (Executor::current().unwrap(), order)
        })
    };
    let seconds = [1, 10].map(Duration::from_secs);
    assert_eq!(run().1, seconds);
    let old = Time::PAST.after(Duration::from_secs(3 * 3600));
    for _ in 0..1000 {
        let used = crate::executor::EXECUTORS.take(KEEP_PARKED, Executor::new).unwrap();
        // As the timers of a runtime in a process of that age leave it.
        used.processors.all().for_each(|processor| _ = processor.timers.fire(old, 1));
        crate::executor::EXECUTORS.put_back(used);
        let (executor, order) = run();
        assert_eq!(order, seconds);
        // Not another one, because another test has taken it.
        if std::ptr::eq(executor, used) && executor.processors.get(0).is_some() {
            return;
        }
    }
}

/// A bug: a timer that fires on a service thread starts a goroutine, and meanwhile a shutdown
/// begins. The future was dropped on the service thread.
#[test]
fn a_goroutine_that_is_counted_before_a_shutdown_is_dropped_on_a_worker() {
    ends(|| {
        let (rt, executor) = runtime(1);
        let site = Location::caller();
        let header = executor.start_in(executor.generation(), site, false).unwrap();
        assert_eq!(rt.shutdown_timeout(Duration::ZERO), 1);
        assert!(executor.is_closing());
        let (dropped, was_dropped) = mpsc::channel();
        struct OnDrop(mpsc::Sender<thread::ThreadId>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.send(thread::current().id()).unwrap();
            }
        }
        let on_drop = OnDrop(dropped);
        drop(go_counted(executor, header, async move { drop(on_drop) }));
        assert_ne!(was_dropped.recv().unwrap(), thread::current().id());
    });
}

/// A bug: async-task frees a goroutine, and then wakes the task that joins it. If that has a
/// foreign waker, an operation in it found the goroutine that had been freed.
#[test]
fn a_foreign_waker_that_joins_a_goroutine_runs_outside_of_it() {
    struct Foreign(mpsc::Sender<(Option<u64>, bool)>);
    impl Wake for Foreign {
        fn wake(self: Arc<Self>) {
            self.0.send((coop::goroutine(), Executor::ending().is_some())).unwrap();
        }
    }
    impl Drop for Foreign {
        fn drop(&mut self) {
            let _ = self.0.send((coop::goroutine(), Executor::ending().is_some()));
        }
    }
    ends(|| {
        let (rt, _) = runtime(1);
        let (release, released) = mpsc::channel::<()>();
        let mut handle = rt.go(async move { released.recv().unwrap_err() });
        let (seen, is_seen) = mpsc::channel();
        let waker = Waker::from(Arc::new(Foreign(seen)));
        assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
        drop((waker, release));
        assert_eq!(is_seen.recv().unwrap(), (None, false));
        drop(handle);
        assert_eq!(is_seen.recv().unwrap(), (None, false), "the destructor");
    });
}
