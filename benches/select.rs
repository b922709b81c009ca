//! `select!`: gopark's compared with tokio's macro over the channels that others use with it, and
//! with crossbeam's on threads. `README.md` in this folder describes each case. Names in CamelCase
//! are those of Go's own benchmarks.
//!
//! The contenders do not do quite the same, and each is used in its best way. tokio's macro polls
//! one future after the other, starting at a random one, and takes the first that is ready. It can
//! take a send back only by dropping its future, and where a crate has no rendezvous the capacity
//! is 1 instead of 0. kanal is missing because its receive, when dropped, loses the value that it
//! was given, so a loop of selects does not end.

mod common;

use std::time::{Duration, Instant};

use common::select::{Choosing, select_among};
use common::{
    AsyncChannel, Channel, Executor, FlumeOnTokio, Group, Ours, OursOnTokio, PROCS, Shared,
    TokioMpsc, time_of,
};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main,
};
use gopark::chan;

type GroupOf<C> = <<C as Channel>::On as Executor>::Group;
type Two<C> = [(<C as Channel>::Sender, <C as Channel>::Receiver); 2];

/// Two channels with room for one value, and a token that goes back and forth between them.
fn token<C: Choosing>(room: usize) -> Two<C> {
    [C::new(room), C::new(room)]
}

async fn pass_on<C: Choosing>([(tx_a, rx_a), (tx_b, rx_b)]: &mut Two<C>, n: u64) {
    for _ in 0..n {
        if C::of_two(rx_a, rx_b).await == 0 {
            C::send(tx_b, 0).await;
        } else {
            C::send(tx_a, 0).await;
        }
    }
}

/// Go's `SelectUncontended`: one goroutine, two channels of its own, one value that it moves from
/// one to the other.
async fn select_uncontended<C: Choosing>(on: C::On, n: u64) -> (u64, Duration) {
    let took = on.join(async move {
        let mut two = token::<C>(1);
        assert!(C::try_send(&two[0].0, 0));
        let start = Instant::now();
        pass_on::<C>(&mut two, n).await;
        start.elapsed()
    });
    (n, took.await)
}

/// Go's `SelectAsyncContended`: the same with two goroutines on the same two channels.
async fn select_async_contended<C: Choosing + Shared>(on: C::On, n: u64) -> (u64, Duration) {
    const PLAYERS: u64 = 2;
    let two = token::<C>(PLAYERS as usize);
    let group = GroupOf::<C>::of(PLAYERS as usize);
    let each = n.div_ceil(PLAYERS);
    let start = Instant::now();
    for _ in 0..PLAYERS {
        let mut own: Two<C> =
            [(two[0].0.clone(), C::share(&two[0].1)), (two[1].0.clone(), C::share(&two[1].1))];
        let group = group.clone();
        on.go(async move {
            C::send(&mut own[0].0, 0).await;
            pass_on::<C>(&mut own, each).await;
            group.done();
        });
    }
    group.wait().await;
    (PLAYERS * each, start.elapsed())
}

/// Go's `SelectNonblock`: selects of one case and a default. One operation is four of them.
async fn select_nonblock<C: Choosing>(on: C::On, n: u64) -> (u64, Duration) {
    let took = on.join(async move {
        let (_empty_tx, mut empty) = C::new(1);
        let (full, _full_rx) = C::new(1);
        let (room, mut ready) = C::new(1);
        assert!(C::try_send(&full, 0));
        let start = Instant::now();
        for _ in 0..n {
            C::looks(&mut empty, &full, &mut ready, &room);
        }
        start.elapsed()
    });
    (n, took.await)
}

async fn select_4<C: Choosing, const CAPACITY: usize>(on: C::On, n: u64) -> (u64, Duration) {
    select_among::<C, 4>(on, n, CAPACITY, false).await
}

/// The senders select as well, against a stop. Only for channels whose sends can be taken back
/// without loss.
async fn select_4_stop<C: Choosing>(on: C::On, n: u64) -> (u64, Duration) {
    assert!(C::SENDS_IN_SELECT);
    select_among::<C, 4>(on, n, 0, true).await
}

/// Go's `SelectSyncContended`: two goroutines select over receives from three unbuffered channels,
/// two over sends to them. Only for channels on which a rendezvous can be a case on both sides.
async fn select_sync_contended(on: <Ours as Channel>::On, n: u64) -> (u64, Duration) {
    const PAIRS: u64 = 2;
    let channels = [(); 3].map(|()| chan::unbuffered::<usize>());
    let (stop, stopped) = chan::unbuffered::<()>();
    let group = GroupOf::<Ours>::of(PAIRS as usize);
    let each = n.div_ceil(PAIRS);
    let start = Instant::now();
    for _ in 0..PAIRS {
        let [(a, _), (b, _), (c, _)] = channels.clone();
        let stopped = stopped.clone();
        on.go(async move {
            loop {
                gopark::select! {
                    _ = a.send(0) => {}
                    _ = b.send(0) => {}
                    _ = c.send(0) => {}
                    _ = stopped.recv() => return,
                }
            }
        });
        let [(_, a), (_, b), (_, c)] = channels.clone();
        let group = group.clone();
        on.go(async move {
            for _ in 0..each {
                gopark::select! { _ = a.recv() => {}, _ = b.recv() => {}, _ = c.recv() => {} }
            }
            group.done();
        });
    }
    group.wait().await;
    drop(stop);
    (PAIRS * each, start.elapsed())
}

/// crossbeam's select, which blocks threads: the same work for cases in which no thread has to
/// wait.
fn crossbeam_uncontended(n: u64) -> Duration {
    let ((tx_a, rx_a), (tx_b, rx_b)) =
        (crossbeam_channel::bounded(1), crossbeam_channel::bounded(1));
    tx_a.send(0).expect("room");
    let start = Instant::now();
    for _ in 0..n {
        crossbeam_channel::select! {
            recv(rx_a) -> _ => tx_b.send(0).expect("room"),
            recv(rx_b) -> _ => tx_a.send(0).expect("room"),
        }
    }
    start.elapsed()
}

fn crossbeam_nonblock(n: u64) -> Duration {
    let (_empty_tx, empty) = crossbeam_channel::bounded::<usize>(1);
    let (full, _full_rx) = crossbeam_channel::bounded(1);
    let (room, ready) = crossbeam_channel::bounded(1);
    full.send(0).expect("room");
    let start = Instant::now();
    for _ in 0..n {
        crossbeam_channel::select! { recv(empty) -> _ => unreachable!(), default => {} }
        crossbeam_channel::select! { send(full, 0) -> _ => unreachable!(), default => {} }
        crossbeam_channel::select! { send(room, 0) -> _ => {}, default => unreachable!() }
        crossbeam_channel::select! { recv(ready) -> _ => {}, default => unreachable!() }
    }
    start.elapsed()
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

fn benches(c: &mut Criterion) {
    macro_rules! case {
        (
            $name:literal, $procs:expr, [$($peer:ty => $case:expr),* $(,)?]
            $(, threads $threads:expr)?
        ) => {
            let mut group = c.benchmark_group($name);
            group.sampling_mode(SamplingMode::Flat);
            $(contender::<$peer, _>(&mut group, $procs, $case);)*
            $(group.bench_function(
                BenchmarkId::new("crossbeam-on-a-thread", 1),
                |b| b.iter_custom($threads),
            );)?
            group.finish();
        };
    }
    case!("SelectUncontended", &[1], [
        Ours => select_uncontended::<Ours>,
        OursOnTokio => select_uncontended::<OursOnTokio>,
        TokioMpsc => select_uncontended::<TokioMpsc>,
        FlumeOnTokio => select_uncontended::<FlumeOnTokio>,
        AsyncChannel => select_uncontended::<AsyncChannel>,
    ], threads crossbeam_uncontended);
    case!("SelectAsyncContended", &PROCS, [
        Ours => select_async_contended::<Ours>,
        OursOnTokio => select_async_contended::<OursOnTokio>,
        FlumeOnTokio => select_async_contended::<FlumeOnTokio>,
        AsyncChannel => select_async_contended::<AsyncChannel>,
    ]);
    case!("SelectSyncContended", &PROCS, [Ours => select_sync_contended]);
    case!("SelectNonblock", &[1], [
        Ours => select_nonblock::<Ours>,
        TokioMpsc => select_nonblock::<TokioMpsc>,
        FlumeOnTokio => select_nonblock::<FlumeOnTokio>,
        AsyncChannel => select_nonblock::<AsyncChannel>,
    ], threads crossbeam_nonblock);
    case!("select_4", &PROCS, [
        Ours => select_4::<Ours, 0>,
        OursOnTokio => select_4::<OursOnTokio, 0>,
        TokioMpsc => select_4::<TokioMpsc, 0>,
        FlumeOnTokio => select_4::<FlumeOnTokio, 1>,
        AsyncChannel => select_4::<AsyncChannel, 0>,
    ]);
    case!("select_4_stop", &PROCS, [
        Ours => select_4_stop::<Ours>,
        OursOnTokio => select_4_stop::<OursOnTokio>,
    ]);
    case!("select_4_64", &PROCS, [
        Ours => select_4::<Ours, 64>,
        OursOnTokio => select_4::<OursOnTokio, 64>,
        TokioMpsc => select_4::<TokioMpsc, 64>,
        FlumeOnTokio => select_4::<FlumeOnTokio, 64>,
        AsyncChannel => select_4::<AsyncChannel, 64>,
    ]);
}

criterion_group! {
    name = select;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = benches
}
criterion_main!(select);
