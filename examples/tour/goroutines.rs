//! Goroutines: how they start, how they are waited for, what they share, and what one costs.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gopark::sync::WaitGroup;
use gopark::{Runtime, block_on, chan, go, gosched, inspect, num_goroutine};

use crate::page::{Progress, grouped, heading, text};

pub(crate) fn chapter() {
    hello();
    anonymous();
    no_join_point();
    join_point();
    closure();
    loop_wrong();
    loop_right();
    blocked_for_ever();
    memory();
    context_switch();
}

fn hello() {
    heading(
        "Hello from a goroutine",
        "`go` takes a future, mostly the call of an async fn, and runs it beside the caller. What it returns is a handle;\n\
         awaiting it waits for the goroutine's end and gives its result.",
    );

    async fn say_hello() {
        println!("hello");
    }

    block_on(async {
        let goroutine = go(say_hello());
        // Other things go on here.
        goroutine.await.unwrap();
    });
}

fn anonymous() {
    heading(
        "An anonymous goroutine",
        "An async block needs no name. It may also be kept in a variable first, as any value.",
    );

    block_on(async {
        go(async { println!("hello") }).await.unwrap();

        let say_hello = async { println!("hello again") };
        go(say_hello).await.unwrap();
    });
}

fn no_join_point() {
    heading(
        "No join point",
        "The main returns without waiting for its goroutine: whether that has run by then is anybody's guess. (In Go the\n\
         process would end with main, and the goroutine with it. Here `block_on` returns, the goroutine goes on in the\n\
         background, and the process ends when `fn main` does.)",
    );

    const ROUNDS: usize = 1000;
    let all = WaitGroup::new();
    let mut in_time = 0;
    for _ in 0..ROUNDS {
        let said = Arc::new(AtomicBool::new(false));
        block_on(async {
            let said = said.clone();
            all.go(async move { said.store(true, Ordering::Relaxed) });
        });
        in_time += usize::from(said.load(Ordering::Relaxed));
    }
    println!("in {in_time} of {ROUNDS} rounds the goroutine had said hello when main returned");
    block_on(all.wait());
    println!("a little later it had in all {ROUNDS}: the process was still there");
}

fn join_point() {
    heading(
        "A WaitGroup as the join point",
        "`WaitGroup::go` counts one up, starts the goroutine, and counts one down at its end; `wait` waits for zero.\n\
         Now every goroutine has run when main returns. Their order is nobody's business.",
    );

    block_on(async {
        let wg = WaitGroup::new();
        for i in 1..=5 {
            wg.go(async move { println!("hello from {i}") });
        }
        wg.wait().await;
        println!("all said");
    });
}

fn closure() {
    heading(
        "A closure that shares a variable",
        "Go's closure writes to its parent's `salutation`. A goroutine may outlive its parent, so Rust wants the sharing said\n\
         aloud: an `Arc` for the common ownership, a lock for the write. (No sharing, no lock: let the goroutine own the\n\
         value and return it.)",
    );

    block_on(async {
        let salutation = Arc::new(Mutex::new("hello"));
        let wg = WaitGroup::new();
        let shared = salutation.clone();
        wg.go(async move { *shared.lock().unwrap() = "welcome" });
        wg.wait().await;
        println!("{}", salutation.lock().unwrap());
    });
}

const SALUTATIONS: [&str; 3] = ["hello", "greetings", "good day"];

fn loop_wrong() {
    heading(
        "The loop, in its wrong form",
        "Go's famous trap: three goroutines close over the one loop variable and run when the loop is over, so that all three\n\
         print its last value. (Go 1.22 took the trap away: each turn has a variable of its own.) The same in Rust:",
    );
    text(
        r#"    for salutation in ["hello", "greetings", "good day"] {
        wg.go(async {
            println!("{salutation}");
        });
    }

error[E0373]: async block may outlive the current function, but it borrows `salutation`,
              which is owned by the current function
  |
  |         wg.go(async {
  |               ^^^^^ may outlive borrowed value `salutation`
  |             println!("{salutation}");
  |                        ---------- `salutation` is borrowed here
  |
help: to force the async block to take ownership of `salutation`, use the `move` keyword

The nearest thing that does compile shares one variable on purpose, as Go's loop did unasked. On one processor the
goroutines run when the loop is over:"#,
    );
    println!();

    let one_at_a_time = Runtime::builder().gomaxprocs(1).build().unwrap();
    one_at_a_time.block_on(async {
        let wg = WaitGroup::new();
        let salutation = Arc::new(Mutex::new(""));
        for next in SALUTATIONS {
            *salutation.lock().unwrap() = next;
            let salutation = salutation.clone();
            wg.go(async move { println!("{}", salutation.lock().unwrap()) });
        }
        wg.wait().await;
    });
}

fn loop_right() {
    heading(
        "The loop, in its right form",
        "What the compiler asked for: `move`. Each goroutine owns its salutation, and each is said once, in whatever order.\n\
         (A new goroutine is the next to run on its processor, and the one that was to be next goes into the queue, as in\n\
         Go: so the last often comes first.)",
    );

    block_on(async {
        let wg = WaitGroup::new();
        for salutation in SALUTATIONS {
            wg.go(async move { println!("{salutation}") });
        }
        wg.wait().await;
    });
}

fn blocked_for_ever() {
    heading(
        "A goroutine that blocks for ever",
        "Nobody will send on this channel, and the goroutine itself holds the sender, so it will never close. In Go such a\n\
         goroutine is leaked, with all it holds, until the process ends. Here it stays while its runtime does, and is then\n\
         dropped, destructors and all. (Had only its parent held a sender, dropping that would have closed the channel and\n\
         ended the wait: a receiver that everybody has left is told so.)\n\
         `GOPARK_DEBUG=leaks=report` lists such goroutines when main returns, without a word in the program.",
    );

    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            println!("… dropped, and with it all it held");
        }
    }

    let rt = Runtime::new();
    rt.block_on(async {
        let (tx, rx) = chan::unbuffered::<()>();
        let started = WaitGroup::new();
        started.add(1);
        let here = started.clone();
        go(async move {
            let _guard = Guard;
            println!("waiting …");
            here.done();
            rx.recv().await;
            println!("never printed");
            drop(tx);
        });
        started.wait().await;
    });
    println!("main has returned; goroutines alive: {}. The leak is found:", rt.num_goroutine());
    while inspect::goroutines().iter().all(|goroutine| !goroutine.is_waiting()) {
        std::thread::yield_now();
    }
    for leak in inspect::leaks(Duration::ZERO) {
        println!("  {} [{}] spawned at {}", leak.count, leak.reason, leak.spawned_at);
    }
    drop(rt);
    println!("the runtime is gone");
}

/// Kilobytes that the chapter saw Go take, by the number of goroutines, its main included.
const GO_KB: [(usize, usize); 5] =
    [(11, 65), (101, 327), (1001, 4784), (10_001, 30_474), (100_001, 262_300)];

fn memory() {
    heading(
        "What a goroutine weighs",
        "Goroutines that wait on a channel where nothing comes, more and more of them, and what memory the process has come\n\
         to hold since there were none (resident, in KB). Go's column is the chapter's; it counts main, so its rows are for\n\
         11, 101, … 100 001.",
    );

    if resident().is_none() {
        println!(
            "(skipped: resident memory is read from /proc/self/statm, which this system does not have)"
        );
        return;
    }
    let progress = Progress::new();
    let rt = Runtime::new();
    println!(
        "{:>11} {:>11} {:>9}   {:>11} {:>9}",
        "goroutines", "gopark, KB", "B each", "Go, KB", "B each"
    );
    let ended = rt.block_on(async {
        let (tx, rx) = chan::unbuffered::<()>();
        let (parked, ended) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        // What is there without any goroutine, once all that starting and measuring needs has been touched.
        go(async {}).await.unwrap();
        let before = resident().and(resident()).unwrap_or(0);
        let mut alive = 0;
        for row in 0..6 {
            let wanted = 10_usize.pow(row + 1);
            while alive < wanted {
                progress.show(&format!("{} of {} goroutines", grouped(alive), grouped(wanted)));
                let batch = (wanted - alive).min(20_000);
                parked.add(batch);
                for _ in 0..batch {
                    let (rx, parked, ended) = (rx.clone(), parked.clone(), ended.clone());
                    go(async move {
                        parked.done();
                        rx.recv().await;
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
                parked.wait().await;
                alive += batch;
            }
            gosched().await;
            progress.clear();
            let bytes = resident().unwrap_or(before).saturating_sub(before);
            let (go_kb, go_each) = match GO_KB.get(row as usize) {
                Some(&(n, kb)) => (grouped(kb), grouped(kb * 1024 / n)),
                None => ("–".into(), "–".into()),
            };
            println!(
                "{:>11} {:>11} {:>9}   {go_kb:>11} {go_each:>9}",
                grouped(alive),
                grouped(bytes / 1024),
                grouped(bytes / alive)
            );
        }
        // Closing the channel wakes every one of them.
        drop(tx);
        while num_goroutine() > 1 {
            gosched().await;
        }
        ended.load(Ordering::Relaxed)
    });
    println!();
    text(&format!(
        "A goroutine of Go has a stack, 2 KB at the least, and its descriptor: some 2.6 KB each once there are many; the\n\
         first rows carry what the runtime takes in advance. Ours has no stack: it is one allocation, of its future (what\n\
         lives across an `.await`, here three handles and the receive itself) and a header. Memory comes in pages of 4 KB,\n\
         so the first rows tell little.\n\
         Closing the channel then ended {} goroutines.",
        grouped(ended)
    ));
}

/// Bytes of memory that the process has in use, where that can be known.
fn resident() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size()?)
}

/// The kernel counts in pages and tells their size beside the first mapping.
fn page_size() -> Option<usize> {
    let smaps = fs::read_to_string("/proc/self/smaps").ok()?;
    let line = smaps.lines().find(|line| line.starts_with("KernelPageSize:"))?;
    let kb: usize = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kb * 1024)
}

fn context_switch() {
    heading(
        "What a switch between goroutines costs",
        "Two goroutines and an unbuffered channel: one sends, the other receives, again and again; what an operation takes, as\n\
         `go test -bench` prints it. The chapter's figure for Go is 131.6 ns/op, on an i7-1255U.",
    );

    let progress = Progress::new();
    for procs in [1, gopark::num_cpu()] {
        let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
        let mut n = 1;
        let took = loop {
            progress.show(&format!("{} operations", grouped(n)));
            let took = rt.block_on(send_and_receive(n));
            if took >= Duration::from_millis(700) || n >= 1_000_000_000 {
                break took;
            }
            // As many as a second holds, by what is known so far, but not too many more.
            let rate = n as f64 / took.as_secs_f64().max(1e-9);
            n = (rate as usize).clamp(n + 1, n * 100);
        };
        progress.clear();
        let ns = took.as_nanos() as f64 / n as f64;
        println!("{:<30} {n:>12} {ns:>12.1} ns/op", format!("BenchmarkContextSwitch-{procs}"));
        if procs == gopark::num_cpu() {
            break;
        }
    }
}

async fn send_and_receive(n: usize) -> Duration {
    let (begin, started) = chan::unbuffered::<()>();
    let (tx, rx) = chan::unbuffered();
    let wg = WaitGroup::new();
    let started_too = started.clone();
    wg.go(async move {
        started.recv().await;
        for _ in 0..n {
            tx.send(()).await.unwrap();
        }
    });
    wg.go(async move {
        started_too.recv().await;
        for _ in 0..n {
            rx.recv().await.unwrap();
        }
    });
    let start = Instant::now();
    begin.close();
    wg.wait().await;
    start.elapsed()
}
