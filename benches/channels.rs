//! Channels: gopark's on its goroutines, compared with the others on theirs. `README.md` in this
//! folder describes each case. Names in CamelCase are those of Go's own benchmarks.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::channels::{self, crowd, ping_pong, ring, streams};
use common::{
    AsyncChannel, Channel, Executor, FlumeOnTokio, Group, KanalOnTokio, Ours, OursOnTokio, PROCS,
    Received, Shared, Tokio, TokioMpsc, time_of,
};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main,
};

/// One goroutine sends, one receives, no buffer: each message is a switch.
async fn ctx_switch<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    streams::<C>(on, n, 0, 1).await
}

/// The same through a buffer of 128.
async fn spsc_128<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    streams::<C>(on, n, 128, 1).await
}

/// Go's `ChanSync`: as many unbuffered pairs as there are workers, which do not disturb each other.
async fn chan_sync<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    streams::<C>(on, n, 0, 2).await
}

/// Go's `ChanNonblocking`: each goroutine tries to receive from an empty channel.
async fn chan_nonblocking<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    let (sender, mut receiver) = C::new(0);
    let took = on.join(async move {
        let start = Instant::now();
        for _ in 0..n {
            assert_eq!(C::try_recv(&mut receiver), None);
        }
        start.elapsed()
    });
    let took = took.await;
    drop(sender);
    (n, took)
}

/// Go's `ChanUncontended`: a goroutine fills its own buffer of a hundred and empties it. One
/// operation is one message.
async fn chan_uncontended<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    const ROOM: u64 = 100;
    let rounds = n.div_ceil(ROOM);
    let took = on.join(async move {
        let (mut sender, mut receiver) = C::new(ROOM as usize);
        let start = Instant::now();
        for _ in 0..rounds {
            for i in 0..ROOM as usize {
                C::send(&mut sender, i).await;
            }
            for i in 0..ROOM as usize {
                assert_eq!(C::recv(&mut receiver).await.value(), Some(i));
            }
        }
        start.elapsed()
    });
    (rounds * ROOM, took.await)
}

/// Go's `ChanProdCons0`, `10`, `100`: a producer and a consumer for each worker.
async fn chan_prod_cons<C: Shared, const CAPACITY: usize>(on: C::On, n: u64) -> (u64, Duration) {
    crowd::<C>(on, n, CAPACITY, 2, 2).await
}

async fn mpmc_4x4<C: Shared>(on: C::On, n: u64) -> (u64, Duration) {
    crowd::<C>(on, n, 128, 4, 4).await
}

/// A million goroutines, if the bench measures.
fn leaves() -> usize {
    if common::measures() { 1_000_000 } else { 1000 }
}

/// One operation is one tree.
async fn skynet<C: Channel<Sender: Clone>>(on: C::On, n: u64) -> (u64, Duration) {
    channels::skynet::<C>(on, n, leaves()).await
}

/// The number of goroutines that wait for one event.
fn audience() -> u64 {
    if common::measures() { 100_000 } else { 100 }
}

async fn close_wakes<C: Shared>(on: C::On, n: u64) -> (u64, Duration) {
    channels::close_wakes::<C>(on, n, audience()).await
}

/// The same with tokio's equivalent.
async fn notify_wakes(on: Tokio, n: u64) -> (u64, Duration) {
    let (rounds, each) = (n.div_ceil(audience()), audience());
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let event = Arc::new(tokio::sync::Notify::new());
        let (ready, group) = (common::Latch::of(each as usize), common::Latch::of(each as usize));
        for _ in 0..each {
            let (event, ready, group) = (event.clone(), ready.clone(), group.clone());
            on.go(async move {
                // It waits from here on: `notified` counts from its call.
                let notified = event.notified();
                ready.done();
                notified.await;
                group.done();
            });
        }
        ready.wait().await;
        let start = Instant::now();
        event.notify_waiters();
        group.wait().await;
        took += start.elapsed();
    }
    (rounds * each, took)
}

fn contender<C: Channel, F>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    procs: &[usize],
    case: fn(C::On, u64) -> F,
) where
    F: Future<Output = (u64, Duration)> + Send + 'static,
{
    for &procs in procs {
        let on = C::On::start(procs);
        group.bench_function(BenchmarkId::new(C::NAME, procs), |b| {
            b.iter_custom(|n| time_of(&on, n, case))
        });
    }
}

/// The baseline for threads: the time of a switch by the operating system.
fn threads(group: &mut BenchmarkGroup<'_, WallTime>, capacity: usize) {
    group.bench_function(BenchmarkId::new("crossbeam-on-threads", 2), |b| {
        b.iter_custom(|n| {
            let (sender, receiver) = crossbeam_channel::bounded::<usize>(capacity);
            let start = Instant::now();
            let thread = std::thread::spawn(move || {
                (0..n as usize).for_each(|i| sender.send(i).expect("receiver"))
            });
            assert_eq!(receiver.iter().count() as u64, n);
            thread.join().expect("does not panic");
            start.elapsed()
        });
    });
}

fn benches(c: &mut Criterion) {
    macro_rules! case {
        ($name:literal, $procs:expr, $case:ident, [$($peer:ty),*] $(, $extra:expr)?) => {
            let mut group = c.benchmark_group($name);
            group.sampling_mode(SamplingMode::Flat);
            $(contender::<$peer, _>(&mut group, $procs, $case::<$peer>);)*
            $($extra(&mut group);)?
            group.finish();
        };
    }
    macro_rules! prod_cons {
        ($name:literal, $capacity:literal) => {
            let mut group = c.benchmark_group($name);
            group.sampling_mode(SamplingMode::Flat);
            contender::<Ours, _>(&mut group, &PROCS, chan_prod_cons::<Ours, $capacity>);
            contender::<KanalOnTokio, _>(
                &mut group,
                &PROCS,
                chan_prod_cons::<KanalOnTokio, $capacity>,
            );
            contender::<FlumeOnTokio, _>(
                &mut group,
                &PROCS,
                chan_prod_cons::<FlumeOnTokio, $capacity>,
            );
            contender::<AsyncChannel, _>(
                &mut group,
                &PROCS,
                chan_prod_cons::<AsyncChannel, $capacity>,
            );
            group.finish();
        };
    }
    case!(
        "ctx_switch",
        &PROCS,
        ctx_switch,
        [Ours, OursOnTokio, TokioMpsc, KanalOnTokio, FlumeOnTokio, AsyncChannel],
        |group: &mut _| threads(group, 0)
    );
    case!("ping_pong", &PROCS, ping_pong, [Ours, TokioMpsc, KanalOnTokio, AsyncChannel]);
    case!("ring", &PROCS, ring, [Ours, TokioMpsc, KanalOnTokio, AsyncChannel]);
    case!(
        "ChanNonblocking",
        &[1],
        chan_nonblocking,
        [Ours, TokioMpsc, KanalOnTokio, FlumeOnTokio, AsyncChannel]
    );
    case!(
        "ChanUncontended",
        &[1],
        chan_uncontended,
        [Ours, TokioMpsc, KanalOnTokio, FlumeOnTokio, AsyncChannel]
    );
    case!("ChanSync", &[2], chan_sync, [Ours, TokioMpsc, KanalOnTokio, AsyncChannel]);
    prod_cons!("ChanProdCons0", 0);
    prod_cons!("ChanProdCons10", 10);
    prod_cons!("ChanProdCons100", 100);
    case!(
        "spsc_128",
        &PROCS,
        spsc_128,
        [Ours, TokioMpsc, KanalOnTokio, FlumeOnTokio, AsyncChannel],
        |group: &mut _| threads(group, 128)
    );
    case!("mpmc_4x4", &PROCS, mpmc_4x4, [Ours, KanalOnTokio, FlumeOnTokio, AsyncChannel]);
    let mut group = c.benchmark_group("skynet");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(leaves() as u64));
    contender::<Ours, _>(&mut group, &PROCS, skynet::<Ours>);
    contender::<TokioMpsc, _>(&mut group, &PROCS, skynet::<TokioMpsc>);
    contender::<KanalOnTokio, _>(&mut group, &PROCS, skynet::<KanalOnTokio>);
    contender::<AsyncChannel, _>(&mut group, &PROCS, skynet::<AsyncChannel>);
    group.finish();
    let mut group = c.benchmark_group("close_wakes");
    group.sampling_mode(SamplingMode::Flat);
    contender::<Ours, _>(&mut group, &PROCS, close_wakes::<Ours>);
    contender::<KanalOnTokio, _>(&mut group, &PROCS, close_wakes::<KanalOnTokio>);
    contender::<AsyncChannel, _>(&mut group, &PROCS, close_wakes::<AsyncChannel>);
    for procs in PROCS {
        let on = Tokio::start(procs);
        group.bench_function(BenchmarkId::new("tokio-notify", procs), |b| {
            b.iter_custom(|n| time_of(&on, n, notify_wakes))
        });
    }
    group.finish();
}

criterion_group! {
    name = channels;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = benches
}
criterion_main!(channels);
