//! How late a goroutine runs that has next to nothing to do, next to others that have much. Prints
//! a table.
//!
//! A message carries the time of its sending; the bystander reads the clock when it receives it.
//! Messages are sent in three ways: by a goroutine that sleeps, by a thread, and by a thread to a
//! goroutine that passes them on. The senders keep to their timetable whether or not the bystander
//! keeps up.

mod common;

use std::time::Duration;

use common::bystander::{Beside, By, lateness};
use common::{Executor, Gopark, Ours, PROCS, Tokio, TokioMpsc, measures};

fn main() {
    let n = if measures() { 2000 } else { 20 };
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    println!("lateness in microseconds: p50, p99, p99.9 of {n} messages, one every millisecond");
    println!(
        "{:<34}{:>27}{:>27}{:>12}",
        "beside, woken by, workers", "gopark", "tokio", "p99 ratio"
    );
    for beside in [Beside::Nothing, Beside::PingPong, Beside::Hogs, Beside::Blocked] {
        for by in [By::Thread, By::Goroutine] {
            for procs in PROCS {
                let case = format!("{beside:?}, {by:?}, {procs}");
                if wanted.as_ref().is_some_and(|wanted| !case.contains(wanted)) {
                    continue;
                }
                let ours = lateness::<Ours>(Gopark::at_best(procs), beside, by, n);
                let theirs = lateness::<TokioMpsc>(Tokio::at_best(procs), beside, by, n);
                let at = |late: &[Duration], share: f64| {
                    late[((n - 1) as f64 * share) as usize].as_secs_f64() * 1e6
                };
                let three = |late: &[Duration]| {
                    [0.5, 0.99, 0.999].map(|share| format!("{:>9.0}", at(late, share))).concat()
                };
                let ratio = at(&ours, 0.99) / at(&theirs, 0.99);
                println!("{case:<34}{}{}{ratio:>12.2}", three(&ours), three(&theirs));
            }
        }
    }
}
