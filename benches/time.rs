//! Timers: the cost of a sleep that ends, and of one that is dropped. `README.md` in this folder
//! describes each case.

mod common;

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use common::time::Timers;
use common::{Gopark, PROCS, Tokio, time_of};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main,
};

/// A hundred thousand of them.
async fn sleepers<E: Timers>(executor: E, n: u64) -> (u64, Duration) {
    common::time::sleepers(executor, n, 100_000).await
}

/// A time-out that starts, and is dropped.
async fn timeout_dropped<E: Timers>(_: E, n: u64) -> (u64, Duration) {
    let start = Instant::now();
    for i in 0..n {
        let limited = E::timeout(Duration::from_millis(1000 + i % 1000), pending::<()>());
        let mut limited = pin!(limited);
        poll_fn(|cx| {
            assert!(limited.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    (n, start.elapsed())
}

/// An operation that needs two polls and is in time.
async fn timeout_in_time<E: Timers>(_: E, n: u64) -> (u64, Duration) {
    let start = Instant::now();
    for _ in 0..n {
        assert!(E::timeout(Duration::from_secs(5), E::yield_now()).await);
    }
    (n, start.elapsed())
}

/// One goroutine that sleeps for the shortest time possible.
async fn short_sleep<E: Timers>(_: E, n: u64) -> (u64, Duration) {
    let start = Instant::now();
    for _ in 0..n {
        E::sleep(Duration::from_micros(1)).await;
    }
    (n, start.elapsed())
}

fn contender<E: Timers>(
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
        ($name:literal, $case:ident) => {
            let mut group = c.benchmark_group($name);
            group.sampling_mode(SamplingMode::Flat);
            contender::<Gopark>(&mut group, |executor, n| time_of(executor, n, $case));
            contender::<Tokio>(&mut group, |executor, n| time_of(executor, n, $case));
            group.finish();
        };
    }
    case!("sleepers", sleepers);
    case!("timeout_dropped", timeout_dropped);
    case!("timeout_in_time", timeout_in_time);
    case!("short_sleep", short_sleep);
}

criterion_group! {
    name = time;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700));
    targets = benches
}
criterion_main!(time);
