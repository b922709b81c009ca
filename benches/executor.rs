//! Goroutines: the cost of starting one, of yielding, and of waking one from a thread that is no
//! worker. `README.md` in this folder describes each case.

mod common;

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::executor::{spawn_join, yields};
use common::{Executor, Gopark, Group, PROCS, Smol, Tokio, time_of};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main,
};

/// The same with join handles, a hundred at a time.
async fn join_handles<E: Executor>(executor: E, n: u64) -> (u64, Duration) {
    let rounds = n.div_ceil(100);
    let start = Instant::now();
    for _ in 0..rounds {
        let handles: Vec<_> = (0..100).map(|i| executor.join(async move { i })).collect();
        for (i, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.await, i);
        }
    }
    (100 * rounds, start.elapsed())
}

/// Go's `CreateGoroutines`: each starts the next.
async fn create_goroutines<E: Executor>(executor: E, n: u64) -> (u64, Duration) {
    fn next<E: Executor>(executor: E, group: E::Group, left: u64) {
        let spawner = executor.clone();
        executor.go(async move {
            match left {
                0 => group.done(),
                _ => next(spawner, group, left - 1),
            }
        });
    }
    let group = E::Group::of(1);
    let start = Instant::now();
    next(executor, group.clone(), n);
    group.wait().await;
    (n, start.elapsed())
}

/// The goroutine's turn when odd, the thread's when even.
#[derive(Default)]
struct Turn {
    turn: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Turn {
    fn wait(&self, until: usize) -> impl Future<Output = ()> + Send {
        poll_fn(move |cx| {
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            if self.turn.load(Ordering::SeqCst) >= until { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A thread wakes a goroutine, which unparks the thread: one round trip. Both sleep while they
/// wait.
fn wake_from_outside<E: Executor>(executor: &E, n: u64) -> Duration {
    let turn = Arc::new(Turn::default());
    let (theirs, me) = (turn.clone(), thread::current());
    let start = Instant::now();
    executor.go_from_outside(async move {
        for i in 0..n as usize {
            theirs.wait(2 * i + 1).await;
            theirs.turn.store(2 * i + 2, Ordering::SeqCst);
            me.unpark();
        }
    });
    for i in 0..n as usize {
        turn.turn.store(2 * i + 1, Ordering::SeqCst);
        turn.wake();
        while turn.turn.load(Ordering::SeqCst) != 2 * i + 2 {
            thread::park();
        }
    }
    start.elapsed()
}

/// A thread starts goroutines that do not wait.
fn spawn_from_outside<E: Executor>(executor: &E, n: u64) -> Duration {
    let group = E::Group::of(n as usize);
    let start = Instant::now();
    for _ in 0..n {
        let group = group.clone();
        executor.go_from_outside(async move { group.done() });
    }
    executor.block_on(async move { group.wait().await });
    start.elapsed()
}

macro_rules! inside {
    ($case:ident) => {
        |executor, n| time_of(executor, n, $case)
    };
}

fn contender<E: Executor>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    case: impl Fn(&E, u64) -> Duration,
) {
    for procs in PROCS {
        let executor = E::start(procs);
        group.bench_function(BenchmarkId::new(E::NAME, procs), |b| {
            b.iter_custom(|n| case(&executor, n))
        });
    }
}

fn benches(c: &mut Criterion) {
    macro_rules! case {
        ($name:literal, $case:expr) => {
            let mut group = c.benchmark_group($name);
            group.sampling_mode(SamplingMode::Flat);
            contender::<Gopark>(&mut group, $case);
            contender::<Tokio>(&mut group, $case);
            contender::<Smol>(&mut group, $case);
            group.finish();
        };
    }
    case!("spawn_join", inside!(spawn_join));
    case!("join_handles", inside!(join_handles));
    case!("CreateGoroutines", inside!(create_goroutines));
    case!("yield", inside!(yields));
    case!("wake_from_outside", wake_from_outside);
    case!("spawn_from_outside", spawn_from_outside);
}

criterion_group! {
    name = executor;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700));
    targets = benches
}
criterion_main!(executor);
