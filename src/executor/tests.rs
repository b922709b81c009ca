//! Tests of the scheduler's parts without threads, and of its internal lists.

mod edges;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, mpsc};
use std::task::Wake;
use std::thread;
use std::time::{Duration, Instant};

use super::{
    EXECUTORS, Executor, GLOBAL_BATCH, Held, KEEP_PARKED, MONITOR_IDLE_LOOKS, MONITOR_PERIOD,
    OVERDUE, Place, Processor, Sched, Task, Time, Worker, lock, shard,
};
use crate::crash::OnPanic;
use crate::goroutine;
use crate::local_queue::LocalQueue;
use crate::processor::{FIRE_LEAST, Work};
use crate::runtime::{Runtime, block_in_place, go, gosched, unblock};
use crate::threads::refusal::refuse;
use crate::time::sleep;
use crate::timer::shard::Node;

fn runtime(procs: usize) -> (Runtime, &'static Executor) {
    let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
    let executor = rt.block_on(async { Executor::current().unwrap() });
    (rt, executor)
}

/// Blocks `count` goroutines at once, so that the runtime needs as many threads.
fn block_at_once(rt: &Runtime, count: usize) {
    let barrier = Arc::new(Barrier::new(count));
    for _ in 0..count {
        let barrier = barrier.clone();
        rt.go(async move { _ = block_in_place(|| barrier.wait()) });
    }
}

/// As `block_at_once`, in closures.
fn unblock_at_once(rt: &Runtime, count: usize) {
    let barrier = Arc::new(Barrier::new(count));
    for _ in 0..count {
        let barrier = barrier.clone();
        rt.go(unblock(move || _ = barrier.wait()));
    }
}

/// Checks what holds whenever the scheduler's lock is free.
fn checked(executor: &Executor) -> MutexGuard<'_, Sched> {
    let sched = lock(&executor.sched);
    let procs = executor.procs.load(Relaxed);
    for processor in executor.processors.all() {
        let listed =
            |list: &[&Processor]| list.iter().filter(|other| ptr::eq(**other, processor)).count();
        let place = processor.place.get();
        assert_eq!(listed(&sched.idle), usize::from(place == Place::Idle), "{place:?}");
        let id = processor.id;
        match place {
            Place::Retired => {
                assert!(id >= procs && processor.queue.is_empty(), "processor {id} of {procs}")
            }
            Place::Idle => {
                assert!(id < procs && processor.queue.is_empty(), "processor {id} of {procs}")
            }
            Place::Held(_) => {}
        }
        assert!(
            place == Place::Retired || id < executor.processors.bound(),
            "processor {id} is out of bounds"
        );
    }
    assert_eq!(executor.idle.idle(), sched.idle.len());
    executor.spares.check();
    sched
}

/// Waits between two checks of a condition. A thread that yields instead would keep a core busy,
/// and the scheduler's lock.
fn pause() {
    thread::sleep(Duration::from_micros(200));
}

/// Returns the number of parked threads once there is nothing to run.
fn parked(executor: &Executor) -> usize {
    drop(settled(executor));
    executor.spares.parked()
}

/// Waits until there is nothing to run, and every thread is parked.
fn settled(executor: &Executor) -> MutexGuard<'_, Sched> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let sched = checked(executor);
        let (parked, threads) = executor.spares.counts();
        let at_rest = !executor.spares.has_wish() && !executor.idle.is_searched();
        if at_rest && parked == threads && !executor.has_work() {
            return sched;
        }
        drop(sched);
        assert!(Instant::now() < end, "the threads do not come to rest");
        pause();
    }
}

#[test]
fn a_yield_on_a_processor_that_may_be_lost_is_not_the_next_goroutines() {
    let (rt, executor) = runtime(1);
    rt.block_on(async {
        {
            // As a thief does that takes only the run-next goroutine.
            let _sched = lock(&executor.sched);
            Worker::with(|w| w.run_next.abandon());
        }
        gosched().await;
        let processor = executor.processors.get(0).unwrap();
        assert!(!Worker::with(|w| w.has_yielded(processor)));
    });
}

#[test]
fn a_processor_in_use_is_idle_or_has_one_holder_whatever_gomaxprocs_does() {
    let (rt, executor) = runtime(1);
    for round in 0..2000 {
        rt.gomaxprocs(fastrand::usize(1..=6));
        for _ in 0..3 {
            rt.go(async move {
                gosched().await;
                if round % 16 == 0 {
                    block_in_place(thread::yield_now);
                }
            });
        }
        drop(checked(executor));
    }
    let procs = rt.gomaxprocs(0);
    assert_eq!(settled(executor).idle.len(), procs);
    assert_eq!(rt.num_goroutine(), 0);
}

#[test]
fn a_processor_that_is_retired_while_it_is_held_is_not_idle_afterwards() {
    let (rt, executor) = runtime(2);
    let (running, go_on) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
    for _ in 0..2 {
        let (running, go_on) = (running.clone(), go_on.clone());
        // Both block their processors for a short time.
        rt.go(async move {
            running.wait();
            go_on.wait();
        });
    }
    running.wait();
    rt.gomaxprocs(1);
    go_on.wait();
    assert_eq!(settled(executor).idle.len(), 1);
}

#[test]
fn threads_of_a_burst_end_and_as_many_are_kept_as_there_are_processors() {
    for bursts in [block_at_once, unblock_at_once] {
        let (rt, executor) = runtime(2);
        bursts(&rt, 20);
        let start = Instant::now();
        assert!(parked(executor) >= 20);
        while parked(executor) > 2 {
            assert!(start.elapsed() < 10 * KEEP_PARKED, "the surplus threads stay");
            pause();
        }
        assert_eq!(parked(executor), 2);
    }
}

#[test]
fn a_thread_that_is_refused_is_tried_again() {
    let rt = Runtime::builder().gomaxprocs(1).thread_name("refused-for-a-while").build().unwrap();
    let executor = rt.block_on(async { Executor::current().unwrap() });
    for announced in [true, false] {
        // With parked threads, no new one would be needed. A busy machine, on which a worker loses
        // its processor, leaves one.
        while parked(executor) > 1 {
            pause();
        }
        let refusal = refuse("refused-for-a-while", 100);
        let (inside, is_inside) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        rt.go(async move {
            let block = || {
                inside.send(()).unwrap();
                released.recv().unwrap_err();
            };
            if announced { block_in_place(block) } else { block() }
        });
        is_inside.recv().unwrap();
        let waits = rt.go(async {});
        let (first, start) = (refusal.count(), Instant::now());
        while refusal.count() < first + 3 {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "the start is tried again every few milliseconds"
            );
            pause();
        }
        assert!(!waits.is_finished());
        drop(checked(executor));
        drop(refusal);
        futures_lite::future::block_on(waits).unwrap();
        drop(release);
    }
}

/// A bug: once `gomaxprocs` had been large, each wake-up cost as much as if it still were.
#[test]
fn after_many_processors_the_cost_is_that_of_the_setting_now() {
    let (rt, executor) = runtime(1);
    rt.gomaxprocs(1000);
    for _ in 0..100 {
        rt.go(async { gosched().await });
    }
    rt.go(sleep(Duration::from_secs(3600)));
    rt.gomaxprocs(2);
    drop(settled(executor));
    assert_eq!((executor.processors.bound(), executor.processors.in_use().count()), (2, 2));
    drop(rt);
    let (rt, executor) = runtime(3);
    assert_eq!(executor.processors.in_use().count(), 3, "whatever the runtime before had");
    drop(rt);
}

/// The current round of each thread of a stress test. A thread that hangs ends the process.
struct Watched<const N: usize>([AtomicUsize; N]);

impl<const N: usize> Watched<N> {
    /// Runs `round` `rounds` times in all, on `N` threads at once.
    fn run(rounds: usize, limit: Duration, round: impl Fn(usize) + Sync) {
        let watched = Self([const { AtomicUsize::new(0) }; N]);
        thread::scope(|s| {
            let (done, is_done) = mpsc::channel::<()>();
            for begun in &watched.0 {
                let (done, round) = (done.clone(), &round);
                s.spawn(move || {
                    let _done = done;
                    let all = catch_unwind(AssertUnwindSafe(|| {
                        for number in 0..rounds / N {
                            begun.store(number, Relaxed);
                            round(number);
                        }
                    }));
                    begun.store(rounds, Relaxed);
                    all.unwrap_or_else(|payload| resume_unwind(payload));
                });
            }
            drop(done);
            let mut seen = None;
            while is_done.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                let now = watched.0.each_ref().map(|begun| begun.load(Relaxed));
                let hangs = |(before, now): (&usize, &usize)| before == now && *now < rounds;
                if seen.is_some_and(|seen: [usize; N]| seen.iter().zip(&now).any(hangs)) {
                    eprintln!("a round takes longer than {limit:?}; the threads are at {now:?}");
                    std::process::abort();
                }
                seen = Some(now);
            }
        });
    }
}

/// Runtimes that come and go while threads are refused, goroutines compute, block, wait, panic, and
/// are aborted, and `gomaxprocs` changes. Each `retire` asserts that the executor is like a new
/// one, and the test that each is retired in the end.
#[test]
fn whatever_a_runtime_went_through_its_executor_is_as_new_afterwards() {
    const ROUNDS: usize = if cfg!(miri) { 4 } else { 20_000 };
    let _refusal = refuse("stress-refused", 30);
    // Each executor, and the number of the runtime that used it last.
    let used: Mutex<HashMap<u16, (&'static Executor, usize)>> = Mutex::default();
    Watched::<4>::run(ROUNDS, Duration::from_secs(60), |round| {
        let name = if round % 32 == 0 { "stress-refused" } else { "stress" };
        let most = if fastrand::bool() { fastrand::usize(1..=5) } else { 512 };
        let builder = Runtime::builder()
            .gomaxprocs(fastrand::usize(1..=4))
            .max_threads(most)
            .thread_name(name);
        let Ok(rt) = builder.on_panic(OnPanic::Isolate).build() else { return };
        // Other runtimes may be dropped before they have started.
        if fastrand::bool() {
            let executor = rt.block_on(async { Executor::current().unwrap() });
            lock(&used).insert(executor.index, (executor, executor.generation()));
        }
        let start = || rt.go(live(fastrand::u32(..64)));
        let handles: Vec<_> = (0..fastrand::usize(..12)).map(|_| start()).collect();
        for handle in handles {
            match fastrand::u32(..6) {
                0 => handle.abort(),
                1 => _ = futures_lite::future::block_on(futures_lite::future::poll_once(handle)),
                2 => _ = rt.gomaxprocs(fastrand::usize(1..=6)),
                3 => thread::yield_now(),
                _ => {}
            }
        }
        match fastrand::u32(..5) {
            0 => assert!(rt.shutdown_timeout(Duration::ZERO) < 30),
            1 => drop(rt),
            2 => assert_eq!(rt.shutdown_timeout(Duration::from_secs(50)), 0),
            way => {
                let own = Arc::new(rt);
                let theirs = own.clone();
                let dropped = own.go(async move {
                    if way == 3 { drop(theirs) } else { unblock(move || drop(theirs)).await }
                });
                drop(own);
                let _ = futures_lite::future::block_on(dropped);
            }
        }
    });
    let end = Instant::now() + Duration::from_secs(30);
    for (executor, generation) in lock(&used).values() {
        while executor.generation() == *generation {
            assert!(Instant::now() < end, "a runtime has not ended: {}", executor.leftovers());
            pause();
        }
    }
}

/// The body of a goroutine of a stress test.
async fn live(choice: u32) {
    match choice {
        0..8 => block_in_place(thread::yield_now),
        8..16 => unblock(thread::yield_now).await,
        16..24 => gosched().await,
        24..32 => sleep(Duration::from_micros(50)).await,
        32..40 => _ = crate::go(gosched()),
        40..44 => _ = crate::go(async { unblock(|| ()).await }).await,
        44..46 => thread::sleep(Duration::from_millis(2)),
        46..48 => unblock(|| thread::sleep(Duration::from_millis(1))).await,
        48..50 => _ = crate::gomaxprocs(fastrand::usize(1..=6)),
        50 => resume_unwind(Box::new("on purpose")),
        51..54 => {
            _ = futures_lite::future::zip(unblock(|| ()), sleep(Duration::from_micros(20))).await
        }
        54..56 => {
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(300) {
                std::hint::spin_loop();
            }
        }
        _ => std::future::pending().await,
    }
}

#[test]
fn one_parked_thread_at_the_bottom_wakes_for_the_earliest_timer() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (rt, executor) = runtime(1);
    block_at_once(&rt, 3);
    let sleeper = || {
        assert!(parked(executor) >= 3);
        let (sleeper, until) = executor.spares.sleeper()?;
        assert!(until == shard::earliest(executor.all_timers()), "until the next timer");
        Some(sleeper)
    };
    assert_eq!(sleeper(), None);
    rt.go(sleep(HOUR));
    let first = sleeper();
    assert!(first.is_some());
    rt.go(async {});
    assert_eq!(sleeper(), first, "there is a sleeper already");
    rt.go(sleep(HOUR / 2));
    assert!(
        sleeper().is_some_and(|sleeper| Some(sleeper) != first),
        "the thread that added an earlier one"
    );
}

#[test]
fn a_thread_that_wakes_for_a_cancelled_timer_sleeps_until_the_next_one() {
    let (rt, executor) = runtime(1);
    rt.go(sleep(Duration::from_secs(3600)));
    drop(settled(executor));
    let short = rt.go(sleep(Duration::from_millis(20)));
    drop(settled(executor));
    short.abort();
    let (late, end) =
        (Time::now().after(Duration::from_secs(1800)), Instant::now() + Duration::from_secs(60));
    while parked(executor) == 0 || executor.spares.sleeper().is_none_or(|(_, until)| until < late) {
        assert!(Instant::now() < end, "no thread wakes for the other timer");
        pause();
    }
}

/// An executor without threads: only the test runs its goroutines and fires its timers.
struct Still {
    executor: &'static Executor,
    processors: Vec<&'static Processor>,
    nodes: Vec<Pin<Box<Node>>>,
    fired: Arc<Mutex<Vec<usize>>>,
}

/// A waker that records the processor of its timer.
struct Noted(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

impl Still {
    fn new(procs: usize) -> Self {
        let executor = EXECUTORS.take(Duration::ZERO, Executor::new).unwrap();
        executor.closing.store(false, Relaxed);
        executor.set_gomaxprocs(procs);
        let mut sched = lock(&executor.sched);
        // No worker must be woken, because the test holds the processors.
        while let Some(processor) = sched.idle.last().copied() {
            executor.set_place(&mut sched, processor, Worker::with(Worker::place));
        }
        drop(sched);
        let processors = executor.processors.in_use().collect();
        Still { executor, processors, nodes: Vec::new(), fired: Arc::default() }
    }

    fn timers(&mut self, slot: usize, due: Time, count: usize) {
        for _ in 0..count {
            let (mut node, waker) =
                (Box::pin(Node::new(due)), Arc::new(Noted(slot, self.fired.clone())));
            let timers = &self.processors[slot].timers;
            assert!(timers.insert(node.as_mut().withdraw().0, due, waker.into()).is_ok());
            self.nodes.push(node);
        }
    }

    /// Returns the processors of the timers that have fired since the last call.
    fn fired(&self) -> Vec<usize> {
        std::mem::take(&mut *self.fired.lock().unwrap())
    }

    /// Enqueues a goroutine in the global queue.
    fn goroutine(&self) {
        self.executor
            .spawn_with(Location::caller(), |header| goroutine::allocate(header, async {}))
            .detach();
    }

    /// Returns the numbers of goroutines in the global queue and at each processor.
    fn queued(&self) -> (usize, Vec<usize>) {
        (
            self.executor.global.len(),
            self.processors.iter().map(|processor| processor.queue.len()).collect(),
        )
    }

    /// Discards the goroutine that was found. Returns whether there was one.
    fn ran(&self, found: Option<Task>) -> bool {
        found.map(|task| self.executor.discard(task)).is_some()
    }

    /// Enqueues goroutines at a processor.
    fn goroutines(&self, slot: usize, count: usize) {
        for _ in 0..count {
            self.goroutine();
            let task = self.executor.global.pop().unwrap();
            assert!(self.processors[slot].queue.push_shared(task).is_ok());
        }
    }
}

/// Discards the goroutines in the queues.
fn drain(executor: &'static Executor) {
    let local =
        || executor.processors.all().find_map(|processor| processor.queue.shared().pop().ok());
    while let Some(task) = executor.global.pop().or_else(local) {
        executor.discard(task);
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        self.nodes.clear();
        drain(self.executor);
        assert_eq!(self.executor.live(), 0);
        self.executor.end_workers();
        assert!(self.executor.retire());
    }
}

#[test]
fn timers_are_looked_at_when_there_is_nothing_else_to_do_or_it_is_their_turn() {
    let mut still = Still::new(1);
    let processor = still.processors[0];
    assert!(!processor.fire_due(false) && !processor.fire_due(true), "there are none");
    still.timers(0, Time::now().after(Duration::from_secs(3600)), 1);
    assert!(!processor.fire_due(false) && !processor.fire_due(true), "none is due");
    still.timers(0, Time::PAST, 1);
    assert!(processor.fire_due(false));
    assert_eq!(still.fired(), [0]);
    still.timers(0, Time::PAST, 1);
    still.goroutines(0, 1);
    assert!(!processor.fire_due(false), "the processor has a goroutine to run");
    assert_eq!(still.fired(), []);
    assert!(processor.fire_due(true));
    assert_eq!(still.fired(), [0]);
}

#[test]
fn a_look_at_timers_fires_no_more_than_there_is_room_for_but_some() {
    let mut still = Still::new(1);
    let own = still.processors[0];
    still.goroutines(0, 250);
    still.timers(0, Time::PAST, 300);
    for _ in 0..2 {
        assert!(own.fire_due(true));
        assert_eq!(still.fired().len(), FIRE_LEAST);
    }
}

#[test]
fn an_idle_worker_fires_all_due_timers_and_the_monitor_all_overdue_ones() {
    let mut still = Still::new(2);
    let executor = still.executor;
    assert!(!executor.fire_late(Duration::ZERO));
    still.timers(0, Time::now().after(Duration::from_secs(3600)), 1);
    assert!(!executor.fire_late(Duration::ZERO));
    for late in [Duration::ZERO, OVERDUE] {
        still.timers(1, Time::PAST, 1);
        assert!(executor.fire_late(late));
        assert_eq!(still.fired(), [1]);
    }
    still.timers(1, Time::now(), 1);
    assert!(!executor.fire_late(Duration::from_secs(3600)));
}

/// A bug: the monitor counted the polls; a worker left `idle`, polled, and came back; then the
/// monitor looked. It found the runtime at rest, saw the poll a second later, and began anew. A
/// deadlock was reported after two seconds.
#[test]
fn a_poll_before_a_look_is_found_by_that_look() {
    let still = Still::new(1);
    let (executor, processor) = (still.executor, still.processors[0]);
    let set_place = |place| executor.set_place(&mut lock(&executor.sched), processor, place);
    set_place(Place::Idle);
    let (mut seen, mut idle_looks) = (0, 0);
    let mut look = || {
        executor.look(false, Duration::ZERO, &mut seen, &mut idle_looks);
        lock(&executor.sched).rest.is_some()
    };
    assert!(
        (0..MONITOR_IDLE_LOOKS).map(|_| look()).is_sorted() && look(),
        "at rest after some looks"
    );
    set_place(Worker::with(Worker::place));
    processor.polls.store(1, Relaxed);
    set_place(Place::Idle);
    assert!(!look());
    lock(&executor.sched).rest = None;
    set_place(Worker::with(Worker::place));
}

/// The system may schedule the thread of a main only some time after the wake.
#[test]
fn a_local_main_that_was_woken_is_work() {
    let queue = LocalQueue::new();
    // It was woken, is polled, and then waits.
    assert!(queue.is_polled().is_none() && queue.begin_main_poll());
    assert_eq!(queue.is_polled(), Some(true));
    queue.end_main_poll();
    assert!(queue.is_polled() == Some(false) && !queue.begin_main_poll());
    queue.wake_main();
    assert_eq!(queue.is_polled(), None);
}

#[test]
fn a_goroutine_that_does_not_wait_alone_wakes_an_idle_processor() {
    let still = Still::new(2);
    let (executor, own, other) = (still.executor, still.processors[0], still.processors[1]);
    still.goroutines(0, 2);
    let [first, second] = [(); 2].map(|()| own.queue.shared().pop().unwrap());
    let mut sched = lock(&executor.sched);
    executor.set_place(&mut sched, other, Place::Idle);
    drop(sched);
    let enqueue =
        |task| executor.enqueue(Held { worker: PhantomData, was: true, processor: own }, task);
    enqueue(first);
    assert!(!executor.spares.has_wish(), "the only one runs next");
    enqueue(second);
    assert!(executor.spares.has_wish(), "the monitor must start a worker");
}

/// A worker that begins ticks and polls in a row, and takes from the global queue if it `drains`
/// that. It ends when this is dropped.
struct Ticking<'a> {
    is_over: &'a AtomicBool,
    drains: &'a AtomicBool,
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

impl Still {
    fn tick(&self, slot: usize, f: impl FnOnce(&Ticking<'_>)) {
        let (is_over, drains) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let ticking = Ticking { is_over: &is_over, drains: &drains };
            let worker = scope.spawn(|| {
                let mut taken = Vec::new();
                while !is_over.load(Relaxed) {
                    self.processors[slot].begin_tick(false);
                    self.processors[slot].begin_poll();
                    if drains.load(Relaxed) {
                        taken.extend(self.executor.global.pop());
                    }
                }
                taken
            });
            f(&ticking);
            drop(ticking);
            for task in worker.join().unwrap() {
                self.executor.discard(task);
            }
        });
    }
}

fn share_state(processor: &Processor) {
    let contended = Work { ticks: 1000, polls: 1000, cpu: Duration::ZERO, contentions: 20 };
    processor.adapt(&contended, MONITOR_PERIOD);
}

#[test]
fn a_long_queue_is_left_alone_while_it_drains_only_if_its_goroutines_share_state() {
    let still = Still::new(2);
    let processor = still.processors[1];
    still.goroutines(1, 100);
    still.tick(1, |_| {
        assert!(!processor.is_draining());
        share_state(processor);
        // The other thread may have no core for as long as this one watches.
        let start = Instant::now();
        while !processor.is_draining() {
            assert!(start.elapsed() < Duration::from_secs(60), "a thief would take half of it");
        }
    });
    assert!(!processor.is_draining(), "no tick begins");
}

/// Makes the processor run one goroutine in a slice, until the monitor next checks it.
fn has_long_polls(processor: &Processor) {
    let long = Work { ticks: 1, polls: 1, cpu: MONITOR_PERIOD, contentions: 0 };
    processor.adapt(&long, MONITOR_PERIOD);
    assert!(processor.has_long_polls());
}

/// Each goroutine comes from the run-next slot, so its slice is full when it yields. Its successor
/// was enqueued behind it then.
#[test]
fn one_that_yields_comes_behind_the_one_that_it_started_even_if_polls_are_long() {
    let (rt, executor) = runtime(1);
    for _ in 0..100 {
        let order = Arc::new(Mutex::new(Vec::new()));
        rt.block_on(async {
            let (outer, inner) = (order.clone(), order.clone());
            go(async move {
                has_long_polls(executor.processors.get(0).unwrap());
                go(async move { lock(&inner).push("started") });
                gosched().await;
                lock(&outer).push("yielded");
            })
            .await
            .unwrap();
        });
        assert_eq!(*lock(&order), ["started", "yielded"]);
    }
}

/// A thief that left the global queue alone whatever its length made 10,000 new goroutines wait
/// for the one processor whose local queue was never empty.
#[test]
fn a_thief_leaves_a_global_queue_alone_only_while_that_drains() {
    let still = Still::new(2);
    let thief = still.processors[0];
    still.goroutines(1, 100);
    still.tick(1, |other| {
        share_state(still.processors[1]);
        let takes = || {
            still.goroutine();
            still.ran(still.executor.steal(thief, 2))
        };
        assert!((0..20).all(|_| takes()), "its goroutines share no state");
        drain(still.executor);
        still.goroutines(1, 100);
        share_state(thief);
        assert!((0..20).all(|_| takes()), "no other worker takes from it");
        drain(still.executor);
        still.goroutines(1, 100);
        other.drains.store(true, Relaxed);
        // The other thread may have no core meanwhile.
        let start = Instant::now();
        while takes() {
            assert!(start.elapsed() < Duration::from_secs(60), "it takes what the owner would");
        }
    });
}

#[test]
fn a_thief_takes_half_of_another_queue_or_from_the_global_queue() {
    let still = Still::new(3);
    let steal = || still.executor.steal(still.processors[0], 3);
    assert!(!still.ran(steal()));
    still.goroutines(0, 1);
    assert!(!still.ran(steal()), "its own");
    still.goroutines(2, 101);
    assert!(still.ran(steal()));
    assert_eq!(still.queued(), (0, vec![51, 0, 50]));
    assert!(still.ran(steal()));
    assert_eq!(still.queued(), (0, vec![75, 0, 25]));
    drain(still.executor);
    // The queue is short, so the thief gives its owner time to drain it, which the owner does not
    // do.
    still.goroutines(1, 3);
    assert!(still.ran(steal()));
    assert_eq!(still.queued(), (0, vec![1, 1, 0]));
    assert!(still.ran(steal()));
    assert_eq!(still.queued(), (0, vec![1, 0, 0]));
    still.goroutine();
    assert!(still.ran(steal()) && !still.ran(steal()));
}

#[test]
fn a_processor_takes_its_share_of_the_global_queue() {
    let still = Still::new(4);
    let take = |procs| still.executor.take_global(still.processors[0], procs);
    assert!(!still.ran(take(4)));
    (0..40).for_each(|_| still.goroutine());
    assert!(still.ran(take(4)));
    assert_eq!(still.queued(), (29, vec![10, 0, 0, 0]));
    assert!(still.ran(take(1)), "no other worker would take them from there");
    assert_eq!(still.queued(), (28, vec![10, 0, 0, 0]));
    (0..1000).for_each(|_| still.goroutine());
    assert!(still.ran(take(4)));
    assert_eq!(still.queued(), (1027 - GLOBAL_BATCH, vec![10 + GLOBAL_BATCH, 0, 0, 0]));
}

#[test]
fn a_goroutine_is_looked_for_where_it_is_likely_first() {
    let still = Still::new(2);
    let own = still.processors[0];
    let mut searching = false;
    let mut find = |global_first| {
        let found = still.executor.find(own, global_first, &mut searching);
        (still.ran(found), still.queued())
    };
    assert_eq!(find(false), (false, (0, vec![0, 0])));
    still.goroutines(0, 1);
    still.goroutines(1, 1);
    still.goroutine();
    still.goroutine();
    assert_eq!(find(true), (true, (1, vec![1, 1])));
    assert_eq!(find(false), (true, (1, vec![0, 1])));
    assert_eq!(find(false), (true, (0, vec![0, 1])));
    assert_eq!(find(false), (true, (0, vec![0, 0])));
    // The first search was in vain. A search that never ends keeps every other worker asleep.
    still.executor.stop_searching(&mut searching);
    assert_eq!(still.executor.idle.idle(), 0);
}

impl Executor {
    /// Returns the names of the parts that differ from a new executor, except the processors and
    /// the generation.
    pub(super) fn leftovers(&self) -> String {
        let sched = lock(&self.sched);
        let mut found = Vec::new();
        let mut check = |name: &str, fresh: bool| {
            if !fresh {
                found.push(name.to_owned());
            }
        };
        check("global queue", self.global.is_empty());
        check("idle word", self.idle.is_reset());
        check("gomaxprocs", self.procs.load(Relaxed) == 0);
        check("bound", self.processors.bound() == 0);
        check("goroutines", self.live() == 0);
        check("idle processors", sched.idle.is_empty());
        check("workers", self.spares.counts() == (0, 0) && !self.spares.has_wish());
        check(
            "monitor",
            sched.rest.is_none()
                && (sched.alert, sched.displaced.0.len(), sched.handed_over) == (0, 0, 0),
        );
        check("poller", self.has_no_poller());
        check("sleeper", self.spares.sleeper().is_none());
        check("calls of block_on", self.block_on_calls.is_empty());
        for processor in self.processors.all() {
            check("processor's queue", processor.queue.is_empty());
            check("processor's place", processor.place.get() == Place::Retired);
            check("processor", processor.is_reset());
        }
        found.join(", ")
    }
}

#[test]
fn a_retired_executor_is_as_a_new_one() {
    let executor = EXECUTORS.take(Duration::ZERO, Executor::new).unwrap();
    assert_eq!(executor.leftovers(), "");
    // As at the start of a runtime.
    executor.closing.store(false, Relaxed);
    executor.set_gomaxprocs(2);
    assert!(executor.idle.try_begin_search(4));
    let processor = executor.processors.get(1).unwrap();
    processor.begin_tick(false);
    let leftovers = executor.leftovers();
    for left in ["idle word", "gomaxprocs", "idle processors", "processor"] {
        assert!(leftovers.contains(left), "{left} is missing in: {leftovers}");
    }
    // A search that never ends would prevent the next runtime from waking a second worker. `retire`
    // asserts that nothing is left.
    assert!(!executor.retire());
    executor.idle.end_search();
    assert!(executor.retire());
    assert_eq!(executor.leftovers(), "");
}

#[test]
fn the_goroutines_of_a_processor_can_move_to_the_global_queue() {
    let still = Still::new(2);
    let (executor, processor) = (still.executor, still.processors[0]);
    let own = || {
        still.goroutine();
        // SAFETY: only the test holds the processor.
        let own = unsafe { processor.queue.own().claim() };
        let task = executor.global.pop().unwrap();
        assert!(processor.queue.owner(own).push(task).is_ok());
    };
    still.goroutines(0, 2);
    executor.drain(processor, None);
    assert_eq!(still.queued(), (2, vec![0, 0]));
    own();
    executor.publish_private_queue(processor);
    assert_eq!(still.queued(), (3, vec![0, 0]));
    own();
    still.goroutines(0, 1);
    still.goroutine();
    let next = executor.global.pop();
    executor.drain(processor, next);
    assert_eq!(still.queued(), (6, vec![0, 0]));
}
