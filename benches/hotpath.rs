//! One case of ours and nothing else, for `perf`, `valgrind` and the like:
//! `cargo bench --bench hotpath -- ctx_switch 1000000`. Prints nanoseconds an operation.

mod common;

use std::time::{Duration, Instant};

use gopark::Runtime;
use gopark::chan;
use gopark::sync::WaitGroup;

#[inline(never)]
async fn ctx_switch(n: usize) -> Duration {
    let (tx, rx) = chan::unbuffered::<usize>();
    let start = Instant::now();
    gopark::go(async move {
        for i in 0..n {
            tx.send(i).await.expect("a receiver");
        }
    });
    let receiver = gopark::go(async move { while rx.recv().await.is_some() {} });
    receiver.await.expect("does not panic");
    start.elapsed()
}

#[inline(never)]
async fn spawn_join(n: usize) -> Duration {
    let group = WaitGroup::new();
    group.add(n);
    let start = Instant::now();
    for _ in 0..n {
        let group = group.clone();
        gopark::go(async move { group.done() });
    }
    group.wait().await;
    start.elapsed()
}

#[inline(never)]
async fn spsc(n: usize) -> Duration {
    let (tx, rx) = chan::bounded::<usize>(128);
    let start = Instant::now();
    gopark::go(async move {
        for i in 0..n {
            tx.send(i).await.expect("a receiver");
        }
    });
    let receiver = gopark::go(async move { while rx.recv().await.is_some() {} });
    receiver.await.expect("does not panic");
    start.elapsed()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let n = args.get(1).map_or(1000, |n| n.parse().expect("a number of operations"));
    let procs = args.get(2).map_or(1, |procs| procs.parse().expect("a number of processors"));
    let case = args.first().cloned().unwrap_or_else(|| "ctx_switch".into());
    let rt = Runtime::builder().gomaxprocs(procs).build().expect("threads");
    let name = case.clone();
    let took = rt.block_on(async move {
        match name.as_str() {
            "ctx_switch" => ctx_switch(n).await,
            "spawn_join" => spawn_join(n).await,
            "spsc" => spsc(n).await,
            _ => panic!("cases: ctx_switch, spawn_join, spsc"),
        }
    });
    println!("{case}: {:.1} ns", took.as_nanos() as f64 / n as f64);
}
