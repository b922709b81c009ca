//! The thread that writes dumps and the scheduler's trace, if `GOPARK_DEBUG` asks for either.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use super::dump::dump;
use crate::caught::{self, Catcher};
use crate::clock;
use crate::debug;
use crate::executor::Executor;
use crate::threads;

/// Called when a runtime starts: the first call starts the thread. If the system refuses, dumps and
/// traces are missing, and nothing else.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    let settings = debug::settings();
    if settings.dump || settings.sched.is_some() {
        STARTED.call_once(|| {
            // Not in the thread: a signal that comes before it runs must not end the process.
            let quit = if settings.dump { catch_quit() } else { None };
            let _ = threads::start("gopark-debug".into(), move || run(quit, settings.sched));
        });
    }
}

/// Catches SIGQUIT. Returns `None` if the system has no such signal, or refuses.
fn catch_quit() -> Option<Catcher> {
    let catcher = Catcher::open(&caught::DUMP).ok()?;
    catcher.catch(caught::QUIT).ok()?;
    Some(catcher)
}

fn run(quit: Option<Catcher>, period: Option<Duration>) {
    threads::serve();
    let began = clock::now();
    // An overflow means never.
    let mut next = period.and_then(|period| began.checked_add(period));
    loop {
        let limit = next.map(|next| next.saturating_duration_since(clock::now()));
        let dumps = match (&quit, limit) {
            (Some(quit), limit) => !quit.wait(limit).is_empty(),
            (None, Some(limit)) => {
                thread::sleep(limit);
                false
            }
            (None, None) => return,
        };
        // Errors are ignored because stderr may be closed.
        if dumps {
            let _ = dump(&mut io::stderr());
        }
        let now = clock::now();
        if let (Some(at), Some(period)) = (next.filter(|at| *at <= now), period) {
            next = at.checked_add(period).map(|next| next.max(now));
            let _ = io::stderr().write_all(trace(now - began).as_bytes());
        }
    }
}

/// Returns a line for each runtime, in the form of Go's `schedtrace`.
fn trace(elapsed: Duration) -> String {
    let mut text = String::new();
    for executor in Executor::all() {
        let load = executor.load();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "SCHED {}ms: runtime={} gomaxprocs={} idleprocs={} threads={} idlethreads={} \
             goroutines={} runqueue={} {:?}",
            elapsed.as_millis(),
            executor.number(),
            load.procs,
            load.idle,
            load.threads,
            load.parked,
            executor.live(),
            load.global,
            load.local,
        );
    }
    text
}
