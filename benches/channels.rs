//! Channels: ours on our goroutines beside the others on theirs. `README.md` beside this file says what each case is;
//! names in Go's case are Go's own benchmarks.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{
    AsyncChannel, Channel, Executor, FlumeOnTokio, Group, KanalOnTokio, Ours, OursOnTokio, PROCS, Shared, Tokio,
    TokioMpsc, time_of,
};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

type GroupOf<C> = <<C as Channel>::On as Executor>::Group;

/// One goroutine sends, one receives, no buffer: each message is a switch.
async fn ctx_switch<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    streams::<C>(on, n, 0, 1).await
}

/// The same through a buffer of 128.
async fn spsc_128<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    streams::<C>(on, n, 128, 1).await
}

/// Go's `ChanSync`: as many unbuffered pairs as there are workers do not disturb each other.
async fn chan_sync<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    streams::<C>(on, n, 0, 2).await
}

async fn streams<C: Channel>(on: C::On, n: u64, capacity: usize, pairs: u64) -> (u64, Duration) {
    let group = GroupOf::<C>::of(pairs as usize);
    let each = n.div_ceil(pairs);
    let start = Instant::now();
    for _ in 0..pairs {
        let (sender, mut receiver) = C::new(capacity);
        on.go(async move {
            for i in 0..each as usize {
                assert!(C::send(&sender, i).await);
            }
        });
        let group = group.clone();
        on.go(async move {
            for i in 0..each as usize {
                assert_eq!(C::recv(&mut receiver).await, Some(i));
            }
            group.done();
        });
    }
    group.wait().await;
    (pairs * each, start.elapsed())
}

/// A message goes to another goroutine and comes back: one operation is the round trip.
async fn ping_pong<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    let (there, mut arrives) = C::new(0);
    let (back, mut returns) = C::new(0);
    let start = Instant::now();
    on.go(async move {
        while let Some(value) = C::recv(&mut arrives).await {
            C::send(&back, value).await;
        }
    });
    let player = on.join(async move {
        for i in 0..n as usize {
            C::send(&there, i).await;
            assert_eq!(C::recv(&mut returns).await, Some(i));
        }
    });
    player.await;
    (n, start.elapsed())
}

/// A message goes round a ring of a thousand goroutines: one operation is one hop.
async fn ring<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    const SIZE: u64 = 1000;
    let (first, mut last) = C::new(0);
    for _ in 1..SIZE {
        let (next, after) = C::new(0);
        let mut before = std::mem::replace(&mut last, after);
        on.go(async move {
            while let Some(value) = C::recv(&mut before).await {
                C::send(&next, value).await;
            }
        });
    }
    let rounds = n.div_ceil(SIZE);
    let took = on.join(async move {
        let start = Instant::now();
        for i in 0..rounds as usize {
            C::send(&first, i).await;
            assert_eq!(C::recv(&mut last).await, Some(i));
        }
        start.elapsed()
    });
    (rounds * SIZE, took.await)
}

/// Go's `ChanNonblocking`: each goroutine looks into an empty channel.
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

/// Go's `ChanUncontended`: a goroutine fills its own buffer of a hundred and empties it. One operation is one message.
async fn chan_uncontended<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    const ROOM: u64 = 100;
    let rounds = n.div_ceil(ROOM);
    let took = on.join(async move {
        let (sender, mut receiver) = C::new(ROOM as usize);
        let start = Instant::now();
        for _ in 0..rounds {
            for i in 0..ROOM as usize {
                C::send(&sender, i).await;
            }
            for i in 0..ROOM as usize {
                assert_eq!(C::recv(&mut receiver).await, Some(i));
            }
        }
        start.elapsed()
    });
    (rounds * ROOM, took.await)
}

/// Several send, several receive.
async fn crowd<C: Shared>(on: C::On, n: u64, capacity: usize, producers: u64, consumers: u64) -> (u64, Duration) {
    let (sender, receiver) = C::new(capacity);
    let group = GroupOf::<C>::of(consumers as usize);
    let each = n.div_ceil(producers);
    let start = Instant::now();
    for _ in 0..producers {
        let sender = sender.clone();
        on.go(async move {
            for i in 0..each as usize {
                assert!(C::send(&sender, i).await);
            }
        });
    }
    for _ in 0..consumers {
        let (mut receiver, group) = (C::share(&receiver), group.clone());
        on.go(async move {
            while C::recv(&mut receiver).await.is_some() {}
            group.done();
        });
    }
    drop((sender, receiver));
    group.wait().await;
    (each * producers, start.elapsed())
}

/// Go's `ChanProdCons0`, `10`, `100`: a producer and a consumer a worker.
async fn chan_prod_cons<C: Shared, const CAPACITY: usize>(on: C::On, n: u64) -> (u64, Duration) {
    crowd::<C>(on, n, CAPACITY, 2, 2).await
}

async fn mpmc_4x4<C: Shared>(on: C::On, n: u64) -> (u64, Duration) {
    crowd::<C>(on, n, 128, 4, 4).await
}

/// A million goroutines, when it is measured.
fn leaves() -> usize {
    if common::measures() { 1_000_000 } else { 1000 }
}

/// A tree of goroutines, ten children each, adds up its leaves. One operation is one tree.
async fn skynet<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    fn node<C: Channel>(on: C::On, up: C::Sender, number: usize, leaves: usize) {
        if leaves == 1 {
            on.go(async move {
                C::send(&up, number).await;
            });
            return;
        }
        on.clone().go(async move {
            let (sender, mut receiver) = C::new(0);
            for i in 0..10 {
                node::<C>(on.clone(), sender.clone(), number + i * (leaves / 10), leaves / 10);
            }
            let mut sum = 0;
            for _ in 0..10 {
                sum += C::recv(&mut receiver).await.expect("ten children");
            }
            C::send(&up, sum).await;
        });
    }
    let leaves = leaves();
    let start = Instant::now();
    for _ in 0..n {
        let (sender, mut receiver) = C::new(0);
        node::<C>(on.clone(), sender, 0, leaves);
        assert_eq!(C::recv(&mut receiver).await, Some(leaves * (leaves - 1) / 2));
    }
    (n, start.elapsed())
}

/// How many wait for one event.
fn audience() -> u64 {
    if common::measures() { 100_000 } else { 100 }
}

/// A channel is closed on which many goroutines wait. One operation is one of them; their start does not count.
async fn close_wakes<C: Shared>(on: C::On, n: u64) -> (u64, Duration) {
    let (rounds, each) = (n.div_ceil(audience()), audience());
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let (sender, receiver) = C::new(0);
        let (ready, group) = (GroupOf::<C>::of(each as usize), GroupOf::<C>::of(each as usize));
        for _ in 0..each {
            let (mut receiver, ready, group) = (C::share(&receiver), ready.clone(), group.clone());
            on.go(async move {
                ready.done();
                assert_eq!(C::recv(&mut receiver).await, None);
                group.done();
            });
        }
        ready.wait().await;
        let start = Instant::now();
        drop(sender);
        group.wait().await;
        took += start.elapsed();
    }
    (rounds * each, took)
}

/// The same with what tokio has for it.
async fn notify_wakes(on: Tokio, n: u64) -> (u64, Duration) {
    let (rounds, each) = (n.div_ceil(audience()), audience());
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let event = Arc::new(tokio::sync::Notify::new());
        let (ready, group) = (common::Latch::of(each as usize), common::Latch::of(each as usize));
        for _ in 0..each {
            let (event, ready, group) = (event.clone(), ready.clone(), group.clone());
            on.go(async move {
                // Waits from here on: `notified` counts from its call.
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

fn contender<C: Channel, F>(group: &mut BenchmarkGroup<'_, WallTime>, procs: &[usize], case: fn(C::On, u64) -> F)
where
    F: Future<Output = (u64, Duration)> + Send + 'static,
{
    for &procs in procs {
        let on = C::On::start(procs);
        group.bench_function(BenchmarkId::new(C::NAME, procs), |b| b.iter_custom(|n| time_of(&on, n, case)));
    }
}

/// The floor for threads: what the operating system takes to switch.
fn threads(group: &mut BenchmarkGroup<'_, WallTime>, capacity: usize) {
    group.bench_function(BenchmarkId::new("crossbeam-on-threads", 2), |b| {
        b.iter_custom(|n| {
            let (sender, receiver) = crossbeam_channel::bounded::<usize>(capacity);
            let start = Instant::now();
            let thread = std::thread::spawn(move || (0..n as usize).for_each(|i| sender.send(i).expect("receiver")));
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
            contender::<KanalOnTokio, _>(&mut group, &PROCS, chan_prod_cons::<KanalOnTokio, $capacity>);
            contender::<FlumeOnTokio, _>(&mut group, &PROCS, chan_prod_cons::<FlumeOnTokio, $capacity>);
            contender::<AsyncChannel, _>(&mut group, &PROCS, chan_prod_cons::<AsyncChannel, $capacity>);
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
    case!("ChanNonblocking", &[1], chan_nonblocking, [Ours, TokioMpsc, KanalOnTokio, FlumeOnTokio, AsyncChannel]);
    case!("ChanUncontended", &[1], chan_uncontended, [Ours, TokioMpsc, KanalOnTokio, FlumeOnTokio, AsyncChannel]);
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
