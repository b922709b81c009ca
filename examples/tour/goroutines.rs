//! Goroutines: how they start, how to wait for them, what they share, and what one costs.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gopark::sync::WaitGroup;
use gopark::{Runtime, block_on, chan, go, gosched, inspect, num_goroutine};

use crate::golang;
use crate::page::{Progress, grouped, heading, text};

pub(crate) fn chapter() {
    hello();
    anonymous();
    no_join_point();
    join_point();
    closure();
    loop_wrong();
    loop_right();
    blocked_without_end();
    memory();
    context_switch();
}

fn hello() {
    heading(
        "Hello from a goroutine",
        "`go` takes a future, usually the call of an async fn, and runs it concurrently. It returns a handle. Awaiting the\n\
         handle waits for the goroutine's end and returns its result.",
    );

    async fn say_hello() {
        println!("hello");
    }

    block_on(async {
        let goroutine = go(say_hello());
        // Main can do other things here.
        goroutine.await.unwrap();
    });
}

fn anonymous() {
    heading(
        "An anonymous goroutine",
        "An async block needs no name. Like any value, it can be stored in a variable first.",
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
        "Main returns without waiting for its goroutine, which may or may not have run by then. (In Go the process would end\n\
         with main, and the goroutine with it. Here `block_on` returns, the goroutine goes on in the background, and the\n\
         process ends when `fn main` does.)",
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
    println!("a little later it had in all {ROUNDS}, because the process had not ended");
}

fn join_point() {
    heading(
        "A WaitGroup as the join point",
        "`WaitGroup::go` increments a counter, starts the goroutine, and decrements the counter when it ends; `wait` waits for\n\
         zero. So all goroutines have run when main returns.\n\
         The last goroutine often comes first: a new or woken goroutine goes into the run-next slot of its processor (LIFO),\n\
         and moves the goroutine that was there to the end of the queue (FIFO). Go does the same. Its data is still in the\n\
         cache, and a pair of goroutines that exchange messages can stay on one processor.",
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
        "Go's closure writes to its parent's `salutation`. A goroutine may outlive its parent, so in Rust the sharing must be\n\
         explicit: an `Arc` for shared ownership, a lock for the write. (Without sharing no lock is needed: let the goroutine\n\
         own the value and return it.)",
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
        "The loop, wrong",
        "A well-known bug in Go: three goroutines share one loop variable and run after the loop has ended, so all three print\n\
         its last value. (Since Go 1.22 each iteration has its own variable.) The same code in Rust does not compile:",
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

To get Go's old behaviour, the variable must be shared explicitly. On one processor the goroutines run after the loop:"#,
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
        "The loop, right",
        "With `move`, as the compiler suggests, each goroutine owns its salutation. Each is printed once, in any order; the last\n\
         often first, because of the run-next slot.",
    );

    block_on(async {
        let wg = WaitGroup::new();
        for salutation in SALUTATIONS {
            wg.go(async move { println!("{salutation}") });
        }
        wg.wait().await;
    });
}

fn blocked_without_end() {
    heading(
        "A goroutine that never ends",
        "No value is ever sent on this channel, and the goroutine holds the sender itself, so the channel is never closed. In\n\
         Go such a goroutine is leaked, with all its memory, until the process ends. Here it ends with its runtime, which drops\n\
         it and runs its destructors. (If only its parent held a sender, dropping that would close the channel, and the\n\
         receive would return None.)\n\
         `GOPARK_DEBUG=leaks=report` lists such goroutines when main returns, without a change to the program.",
    );

    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            println!("… dropped, with everything that it owned");
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
    println!("main has returned; goroutines alive: {}. `inspect::leaks` says:", rt.num_goroutine());
    while inspect::goroutines().iter().all(|goroutine| !goroutine.is_waiting()) {
        std::thread::yield_now();
    }
    for leak in inspect::leaks(Duration::ZERO) {
        println!("  {} [{}] spawned at {}", leak.count, leak.reason, leak.spawned_at);
    }
    drop(rt);
    println!("the runtime is dropped");
}

/// Go's memory in KB by the number of goroutines, main included, as recorded once on another
/// machine.
const RECORDED_GO_KB: [(usize, usize); 5] =
    [(11, 65), (101, 327), (1001, 4784), (10_001, 30_474), (100_001, 262_300)];

/// Kilobytes and bytes per goroutine that Go takes for 10, 100, … 100 000 goroutines; true if
/// measured now.
fn go_memory(progress: &Progress) -> (Vec<(usize, usize)>, bool) {
    let mut measured = vec![];
    for row in 0..5 {
        let n = 10_usize.pow(row + 1);
        progress.show(&format!("Go: {} goroutines", grouped(n)));
        let Some(each) = golang::measure(&format!("parked_{n}"), n, gopark::num_cpu()) else {
            progress.clear();
            return (RECORDED_GO_KB.map(|(n, kb)| (kb, kb * 1024 / n)).to_vec(), false);
        };
        measured.push((each as usize * n / 1024, each as usize));
    }
    progress.clear();
    (measured, true)
}

fn memory() {
    heading(
        "What a goroutine weighs",
        "More and more goroutines wait on a channel on which nothing is sent. The table has the growth of the process's\n\
         resident memory since before the first one.",
    );

    if resident().is_none() {
        println!(
            "(skipped: resident memory is read from /proc/self/statm, which this system does not have)"
        );
        return;
    }
    let progress = Progress::new();
    let (go_memory, go_is_measured) = go_memory(&progress);
    let rt = Runtime::new();
    println!(
        "{:>11} {:>11} {:>9}   {:>11} {:>9}",
        "goroutines", "gopark, KB", "B each", "Go, KB", "B each"
    );
    let ended = rt.block_on(async {
        let (tx, rx) = chan::unbuffered::<()>();
        let (parked, ended) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        // Before the first goroutine, but after everything that starting and measuring needs has
        // been touched.
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
            let (go_kb, go_each) = match go_memory.get(row as usize) {
                Some(&(kb, each)) => (grouped(kb), grouped(each)),
                None => ("–".into(), "–".into()),
            };
            println!(
                "{:>11} {:>11} {:>9}   {go_kb:>11} {go_each:>9}",
                grouped(alive),
                grouped(bytes / 1024),
                grouped(bytes / alive)
            );
        }
        // Dropping the last sender closes the channel, which wakes all of them.
        drop(tx);
        while num_goroutine() > 1 {
            gosched().await;
        }
        ended.load(Ordering::Relaxed)
    });
    println!();
    text(if go_is_measured {
        "Go's columns were measured now, with `benches/go/compare`."
    } else {
        "`go` is not on the PATH, or its program did not build. So Go's columns have figures that were recorded once on another\n\
         machine; they count main too, for 11, 101, … 100 001 goroutines."
    });
    text(&format!(
        "A goroutine of Go has a stack of at least 2 KB and a descriptor. One of gopark has no stack: it is a single allocation\n\
         for a header and the future, which contains what lives across an `.await`, here three handles and the receive. One\n\
         that holds nothing takes 112 bytes (`cargo bench --bench compare -- parked`). Memory is counted in pages of 4 KB, so\n\
         the first rows say little.\n\
         Closing the channel then ended {} goroutines.",
        grouped(ended)
    ));
}

/// Returns the process's resident memory in bytes, on systems that report it.
fn resident() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size()?)
}

/// Returns the size of a page, which the kernel reports with each mapping.
fn page_size() -> Option<usize> {
    let smaps = fs::read_to_string("/proc/self/smaps").ok()?;
    let line = smaps.lines().find(|line| line.starts_with("KernelPageSize:"))?;
    let kb: usize = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kb * 1024)
}

fn context_switch() {
    heading(
        "What a switch between goroutines costs",
        "Two goroutines and an unbuffered channel: one sends, the other receives, again and again. An operation is one message,\n\
         which costs a switch from one goroutine to the other.",
    );

    let row = |who: &str, procs: usize, n: usize, ns: f64| {
        println!(
            "{:<24} {:>12} {ns:>10.1} ns/op",
            format!("{who}, gomaxprocs {procs}"),
            grouped(n)
        );
    };
    let progress = Progress::new();
    let mut go_is_measured = true;
    for procs in [1, gopark::num_cpu()] {
        let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
        let mut n = 1;
        let took = loop {
            progress.show(&format!("{} operations", grouped(n)));
            let took = rt.block_on(send_and_receive(n));
            if took >= Duration::from_millis(700) || n >= 1_000_000_000 {
                break took;
            }
            // About as many as fit into a second at the rate so far, and at most a hundred times
            // more.
            let rate = n as f64 / took.as_secs_f64().max(1e-9);
            n = (rate as usize).clamp(n + 1, n * 100);
        };
        progress.clear();
        row("gopark", procs, n, took.as_nanos() as f64 / n as f64);

        const GO_OPERATIONS: usize = 3_000_000;
        progress.show("Go");
        let go = golang::measure("ctx_switch", GO_OPERATIONS, procs);
        progress.clear();
        go_is_measured &= go.is_some();
        if let Some(ns) = go {
            row("Go", procs, GO_OPERATIONS, ns);
        }
        if procs == gopark::num_cpu() {
            break;
        }
    }
    if !go_is_measured {
        text(
            "\n`go` is not on the PATH, or its program did not build, so Go was not measured. A figure that was recorded once on\n\
             another machine, an i7-1255U: 131.6 ns/op.",
        );
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
