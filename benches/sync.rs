//! Package sync compared with tokio's and async-lock's types, each on its own executor.
//!
//! One iteration is one operation: a lock with its unlock, a waiter's wake, a goroutine's start and
//! end.

mod common;

use std::future::Future;
use std::time::{Duration, Instant};

use common::sync::{Locks, among, leak, mutex, pool, rwmutex};
use common::{Executor, Gopark, PROCS, Smol, Tokio, time_of};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main,
};

async fn uncontended<E: Locks>(executor: E, n: u64) -> (u64, Duration) {
    mutex(executor, n, 1).await
}

async fn eight<E: Locks>(executor: E, n: u64) -> (u64, Duration) {
    mutex(executor, n, 8).await
}

/// Eight goroutines, four permits.
async fn semaphore<E: Locks>(executor: E, n: u64) -> (u64, Duration) {
    let s = leak(E::semaphore(4));
    let acquire = move |each| async move {
        for _ in 0..each {
            drop(E::acquire(s).await);
        }
    };
    among(executor, 8, n, acquire).await
}

/// A thousand wait.
async fn cond_broadcast(executor: Gopark, n: u64) -> (u64, Duration) {
    common::sync::cond_broadcast(executor, n, 1000).await
}

/// A thousand wait.
async fn notify_waiters(executor: Tokio, n: u64) -> (u64, Duration) {
    common::sync::notify_waiters(executor, n, 1000).await
}

/// Eight goroutines, without a pool.
async fn no_pool(executor: Gopark, n: u64) -> (u64, Duration) {
    let work = move |each| async move {
        for _ in 0..each {
            let mut buffer = Box::new([0_u8; 1024]);
            buffer[0] = buffer[0].wrapping_add(1);
            std::hint::black_box(buffer);
        }
    };
    among(executor, 8, n, work).await
}

/// Add, go and wait, a thousand at a time.
async fn waitgroup(_: Gopark, n: u64) -> (u64, Duration) {
    let rounds = n.div_ceil(1000);
    let group = gopark::sync::WaitGroup::new();
    let start = Instant::now();
    for _ in 0..rounds {
        for _ in 0..1000 {
            group.go(async {});
        }
        group.wait().await;
    }
    (1000 * rounds, start.elapsed())
}

async fn join_set(_: Tokio, n: u64) -> (u64, Duration) {
    let rounds = n.div_ceil(1000);
    let mut set = tokio::task::JoinSet::new();
    let start = Instant::now();
    for _ in 0..rounds {
        for _ in 0..1000 {
            set.spawn(async {});
        }
        while set.join_next().await.is_some() {}
    }
    (1000 * rounds, start.elapsed())
}

fn contender<E: Executor, F: Future<Output = (u64, Duration)> + Send + 'static>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    case: impl Fn(E, u64) -> F + Copy,
) {
    for procs in PROCS {
        let executor = E::start(procs);
        group.bench_function(BenchmarkId::new(name, procs), |b| {
            b.iter_custom(|n| time_of(&executor, n, case))
        });
    }
}

fn benches(c: &mut Criterion) {
    macro_rules! case {
        ($name:literal, $($contender:expr => $case:expr),+) => {
            let mut group = c.benchmark_group($name);
            group.sampling_mode(SamplingMode::Flat);
            $(contender(&mut group, $contender, $case);)+
            group.finish();
        };
    }
    macro_rules! all {
        ($name:literal, $case:ident) => {
            case!(
                $name,
                "gopark" => $case::<Gopark>,
                "tokio" => $case::<Tokio>,
                "async-lock" => $case::<Smol>
            );
        };
    }
    all!("Mutex/uncontended", uncontended);
    all!("Mutex/8", eight);
    all!("RwMutex/8", rwmutex);
    all!("Semaphore/8", semaphore);
    case!("Cond/broadcast", "gopark" => cond_broadcast, "tokio-notify" => notify_waiters);
    case!("Pool/8", "gopark" => pool, "allocator" => no_pool);
    case!("WaitGroup/1000", "gopark" => waitgroup, "tokio-joinset" => join_set);
}

criterion_group! {
    name = sync;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700));
    targets = benches
}
criterion_main!(sync);
