//! Resident bytes of a goroutine that is parked, by what it holds: ours beside tokio's and async-executor's. Prints a
//! table. Each figure is taken in a process of its own, because memory that was used once is not given back.

mod common;

use std::process::Command;

use common::memory::{parked, resident};
use common::{Executor, Gopark, Group, Smol, Tokio, measures};

const STATES: [usize; 4] = [0, 128, 512, 2048];

/// The same for what most goroutines wait for: the next message. The channel is one for all.
fn receiving_ours(n: usize) -> usize {
    let executor = Gopark::start(1);
    executor.block_on(async move {
        let group = gopark::sync::WaitGroup::of(n);
        let (sender, receiver) = gopark::chan::unbuffered::<usize>();
        let before = resident();
        for _ in 0..n {
            let (group, receiver) = (group.clone(), receiver.clone());
            gopark::go(async move {
                group.done();
                receiver.recv().await;
            });
        }
        group.wait().await;
        Gopark::yield_now().await;
        let bytes = (resident() - before) / n;
        drop(sender);
        bytes
    })
}

/// The channel that tokio's users take for that: its own has one receiver.
fn receiving_tokio(n: usize) -> usize {
    let executor = Tokio::start(1);
    executor.block_on(async move {
        let group = common::Latch::of(n);
        let (sender, receiver) = async_channel::bounded::<usize>(1);
        let before = resident();
        for _ in 0..n {
            let (group, receiver) = (group.clone(), receiver.clone());
            tokio::spawn(async move {
                group.done();
                let _ = receiver.recv().await;
            });
        }
        group.wait().await;
        Tokio::yield_now().await;
        let bytes = (resident() - before) / n;
        drop(sender);
        bytes
    })
}

fn by_state<E: Executor>(state: usize, n: usize) -> usize {
    match state {
        0 => parked::<E, 0>(E::start(1), n),
        128 => parked::<E, 128>(E::start(1), n),
        512 => parked::<E, 512>(E::start(1), n),
        _ => parked::<E, 2048>(E::start(1), n),
    }
}

fn measure(case: &str, contender: &str, n: usize) -> usize {
    match (case, contender) {
        ("recv", "gopark") => receiving_ours(n),
        ("recv", "tokio") => receiving_tokio(n),
        (state, "gopark") => by_state::<Gopark>(state.parse().expect("a size"), n),
        (state, "tokio") => by_state::<Tokio>(state.parse().expect("a size"), n),
        (state, _) => by_state::<Smol>(state.parse().expect("a size"), n),
    }
}

fn in_its_own_process(case: &str, contender: &str, n: usize) -> String {
    let me = std::env::current_exe().expect("a path");
    let answer = Command::new(me).args(["measure", case, contender, &n.to_string()]).output().expect("starts");
    assert!(answer.status.success(), "{case} of {contender}: {}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).expect("a number").trim().to_owned()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, measure_it, case, contender, n] = &args[..] {
        if measure_it == "measure" {
            println!("{}", measure(case, contender, n.parse().expect("a number")));
            // A million goroutines need not be freed one by one.
            std::process::exit(0);
        }
    }
    let n = if measures() { 200_000 } else { 1000 };
    println!("resident bytes a parked goroutine ({n} of them)");
    println!("{:<34}{:>8}{:>8}{:>16}", "", "gopark", "tokio", "async-executor");
    for state in STATES {
        let state = state.to_string();
        let [ours, tokio, smol] = ["gopark", "tokio", "async-executor"].map(|who| in_its_own_process(&state, who, n));
        println!("{:<34}{ours:>8}{tokio:>8}{smol:>16}", format!("{state} bytes of its own"));
    }
    let [ours, tokio] = ["gopark", "tokio"].map(|who| in_its_own_process("recv", who, n));
    println!("{:<34}{ours:>8}{tokio:>8}{:>16}", "receiving (tokio: async-channel)", "");
}
