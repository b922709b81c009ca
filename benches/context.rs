//! Contexts: the cost of deriving one, of waiting for one, and of ending a tree of them.

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Executor, Gopark, Group, PROCS};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gopark::context::Context;

/// One goroutine waits for each of `children` contexts; the parent ends; it is over when all have
/// ended.
async fn cancel_children(gopark: Gopark, children: usize) -> Duration {
    let (root, cancel) = Context::background().with_cancel();
    let (parked, ended) =
        (<Gopark as Executor>::Group::of(children), <Gopark as Executor>::Group::of(children));
    for _ in 0..children {
        let (ctx, _) = root.with_cancel();
        let (parked, ended) = (parked.clone(), ended.clone());
        gopark.go(async move {
            parked.done();
            ctx.done().await;
            ended.done();
        });
    }
    parked.wait().await;
    let start = Instant::now();
    cancel.cancel();
    ended.wait().await;
    start.elapsed()
}

fn trees(c: &mut Criterion) {
    let mut group = c.benchmark_group("ContextCancelTree");
    group.sample_size(10);
    for procs in PROCS {
        let gopark = Gopark::start(procs);
        for children in [1000, 100_000] {
            let id = BenchmarkId::new(format!("gopark-{procs}"), children);
            group.bench_function(id, |b| {
                b.iter_custom(|n| {
                    let each = (0..n).map(|_| {
                        let of_it = gopark.clone();
                        gopark.block_on(cancel_children(of_it, children))
                    });
                    each.sum()
                });
            });
        }
    }
    group.finish();
}

fn alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("Context");
    let (root, _keep) = Context::background().with_cancel();
    group.bench_function("with_cancel, cancel, drop", |b| {
        b.iter(|| {
            let (_ctx, cancel) = root.with_cancel();
            cancel.cancel();
        });
    });
    group.bench_function("with_cancel, drop", |b| b.iter(|| black_box(root.with_cancel())));
    group.bench_function("with_timeout, drop", |b| {
        b.iter(|| black_box(root.with_timeout(Duration::from_secs(100))));
    });
    group.bench_function("err", |b| b.iter(|| black_box(&root).err()));
    let rich = (0..8_u8).fold(root.with_value("the one"), |ctx, i| match i % 2 {
        0 => ctx.with_value(i),
        _ => ctx.with_value(Arc::new(i)),
    });
    group.bench_function("value, eight steps up", |b| b.iter(|| black_box(&rich).value::<&str>()));
    group.finish();
}

criterion_group!(benches, trees, alone);
criterion_main!(benches);
