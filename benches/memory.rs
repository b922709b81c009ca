//! Resident bytes of a parked goroutine, by what it waits for and what it holds: gopark's compared
//! with tokio's and async-executor's. Prints a table. Each figure is measured in a process of its
//! own, because memory that was used once is not given back. Linux only.

mod common;

use std::process::Command;

use common::memory::{pending, receiving};
use common::{AsyncChannel, AsyncChannelOnTokio, Executor, Gopark, Ours, Smol, Tokio, measures};

/// The bytes that a goroutine holds while it waits forever.
const STATES: [usize; 4] = [0, 128, 512, 2048];

const CONTENDERS: [&str; 3] = ["gopark", "tokio", "async-executor"];

fn pending_with<E: Executor>(state: &str, n: usize) -> usize {
    let on = E::at_best(1);
    match state {
        "0" => pending::<E, 0>(on, n),
        "128" => pending::<E, 128>(on, n),
        "512" => pending::<E, 512>(on, n),
        _ => pending::<E, 2048>(on, n),
    }
}

fn measure(case: &str, contender: &str, n: usize) -> usize {
    match (case, contender) {
        ("receiving", "gopark") => receiving::<Ours>(Gopark::at_best(1), n),
        // tokio's users take this channel, because tokio's own has one receiver.
        ("receiving", "tokio") => receiving::<AsyncChannelOnTokio>(Tokio::at_best(1), n),
        ("receiving", _) => receiving::<AsyncChannel>(Smol::at_best(1), n),
        (state, "gopark") => pending_with::<Gopark>(state, n),
        (state, "tokio") => pending_with::<Tokio>(state, n),
        (state, _) => pending_with::<Smol>(state, n),
    }
}

fn in_its_own_process(case: &str, contender: &str, n: usize) -> String {
    let me = std::env::current_exe().expect("a path");
    let answer = Command::new(me)
        .args(["measure", case, contender, &n.to_string()])
        .output()
        .expect("starts");
    assert!(
        answer.status.success(),
        "{case} of {contender}: {}",
        String::from_utf8_lossy(&answer.stderr)
    );
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
    let row = |title: &str, [ours, tokio, smol]: [String; 3]| {
        println!("{title:<34}{ours:>8}{tokio:>8}{smol:>16}")
    };
    row("", CONTENDERS.map(str::to_owned));
    for state in STATES {
        let state = state.to_string();
        row(
            &format!("pending, {state} bytes of its own"),
            CONTENDERS.map(|who| in_its_own_process(&state, who, n)),
        );
    }
    row("receiving (async-channel)", CONTENDERS.map(|who| in_its_own_process("receiving", who, n)));
}
