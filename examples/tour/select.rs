//! `select!`: waiting for several channels at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gopark::chan::{self, Receiver};
use gopark::select::Select;
use gopark::{Runtime, block_on, go, gosched, select, time};

use crate::page::{grouped, heading};

pub(crate) fn chapter() {
    first();
    several_ready();
    shares();
    time_out();
    default();
    for_select();
    both_directions();
    switching_off();
    run_time_list();
    empty();
}

fn first() {
    heading(
        "Waiting for the first of several",
        "`select!` checks all cases. If none is ready, the goroutine waits on all channels at the same time.",
    );

    block_on(async {
        let start = Instant::now();
        let (_unused, quiet) = chan::unbuffered::<()>();
        let (tx, closes) = chan::unbuffered::<()>();
        go(async move {
            time::sleep(Duration::from_millis(300)).await;
            tx.close();
        });
        println!("waiting …");
        select! {
            _ = closes.recv() => println!("unblocked after {} ms", start.elapsed().as_millis()),
            _ = quiet.recv() => println!("never printed"),
        }
    });
}

fn several_ready() {
    heading(
        "Several cases are ready",
        "Two closed channels are always ready. Each `select!` draws one of them with equal chances, so no case starves.",
    );

    block_on(async {
        let ((a, one), (b, two)) = (chan::unbuffered::<()>(), chan::unbuffered::<()>());
        a.close();
        b.close();
        let (mut c1, mut c2) = (0, 0);
        for _ in 0..1000 {
            select! {
                _ = one.recv() => c1 += 1,
                _ = two.recv() => c2 += 1,
            }
        }
        println!("c1: {c1}\nc2: {c2}");
    });
}

fn shares() {
    heading(
        "Cases that are not ready have no weight",
        "Six cases, of which the third, fourth and sixth are ready: each of these gets a third. (Starting at a random case and\n\
         taking the next ready one would give 1/2, 1/6 and 1/3.) With `biased;` the first ready case in the text wins.",
    );

    block_on(async {
        let (closed, rx) = chan::unbuffered::<()>();
        closed.close();
        let (_open, not) = chan::unbuffered::<()>();
        let mut counts = [0; 3];
        let mut biased = [0; 3];
        for _ in 0..30_000 {
            let won = select! {
                _ = not.recv() => unreachable!(),
                _ = not.recv() => unreachable!(),
                _ = rx.recv() => 0,
                _ = rx.recv() => 1,
                _ = not.recv() => unreachable!(),
                _ = rx.recv() => 2,
            };
            counts[won] += 1;
            let won = select! {
                biased;
                _ = not.recv() => unreachable!(),
                _ = rx.recv() => 0,
                _ = rx.recv() => 1,
                _ = rx.recv() => 2,
            };
            biased[won] += 1;
        }
        println!("of 30 000:  {counts:?}, biased {biased:?}");
    });
}

fn time_out() {
    heading(
        "A time-out",
        "A sleep can be a case, and limits the wait. For a single operation, `time::timeout` does the same.",
    );

    block_on(async {
        let start = Instant::now();
        let (_unused, quiet) = chan::unbuffered::<i32>();
        select! {
            n = quiet.recv() => println!("got {n:?}"),
            _ = time::sleep(Duration::from_millis(200)) => println!("timed out after {} ms", start.elapsed().as_millis()),
        }
        let late = time::timeout(Duration::from_millis(50), quiet.recv()).await;
        println!("the second time-out: {}", late.unwrap_err());
    });
}

fn default() {
    heading(
        "No case is ready: default",
        "With a `default` the select does not wait: if no case is ready at that instant, the body of `default` runs. It needs no\n\
         async code around it.",
    );

    let (_tx, quiet) = chan::unbuffered::<i32>();
    let start = Instant::now();
    select! {
        n = quiet.recv() => println!("got {n:?}"),
        default => println!("in default after {:.1} µs", start.elapsed().as_nanos() as f64 / 1000.0),
    }
}

fn for_select() {
    heading(
        "A loop: work until stopped",
        "The for-select loop: check the stop channel, do a piece of work, repeat. `gosched` lets other goroutines run.",
    );

    block_on(async {
        let (tx, done) = chan::unbuffered::<()>();
        go(async move {
            time::sleep(Duration::from_millis(100)).await;
            tx.close();
        });
        let mut pieces = 0;
        loop {
            select! {
                _ = done.recv() => break,
                default => {}
            }
            pieces += 1;
            gosched().await;
        }
        println!("{} pieces of work were done before the stop", grouped(pieces));
    });
}

fn both_directions() {
    heading(
        "Sends and receives in one select",
        "A case may also send. Two goroutines run the same select on one channel, and each can send its name or receive the\n\
         other's: one of them sends and the other receives. A select never receives its own value.",
    );

    block_on(async {
        let (tx, rx) = chan::unbuffered();
        let players = ["Ann", "Joe"].map(|name| {
            let (tx, rx) = (tx.clone(), rx.clone());
            go(async move {
                select! {
                    sent = tx.send(name) => { sent.unwrap(); None }
                    other = rx.recv() => other.map(|other| format!("{name} heard {other}")),
                }
            })
        });
        for player in players {
            if let Some(heard) = player.await.unwrap() {
                println!("{heard}");
            }
        }
    });
}

fn switching_off() {
    heading(
        "Switching a case off",
        "Two sources are merged until both have ended. A closed channel is always ready, so its case must be switched off. Go\n\
         sets the variable to nil. Here there are three ways: a condition, a nil receiver, and, the shortest, a pattern\n\
         `Some(n)` with an `else` that runs when all cases are off.",
    );

    fn numbers(from: i32, to: i32) -> Receiver<i32> {
        let (tx, rx) = chan::unbuffered();
        go(async move {
            for n in from..to {
                tx.send(n).await.unwrap();
            }
        });
        rx
    }

    block_on(async {
        let (small, mut large) = (numbers(0, 50), numbers(100, 150));
        let (mut small_open, mut large_open) = (true, true);
        let (mut count, mut sum) = (0, 0);
        while small_open || large_open {
            let n = select! {
                n = small.recv(), if small_open => { small_open = n.is_some(); n }
                n = large.recv() => n.or_else(|| {
                    large = Receiver::nil();
                    large_open = false;
                    None
                }),
            };
            count += n.iter().len();
            sum += n.unwrap_or(0);
        }
        println!("condition and nil: {count} numbers, their sum is {sum}");

        let (small, large) = (numbers(0, 50), numbers(100, 150));
        let (mut count, mut sum) = (0, 0);
        loop {
            let n = select! {
                Some(n) = small.recv() => n,
                Some(n) = large.recv() => n,
                else => break,
            };
            count += 1;
            sum += n;
        }
        println!("`Some` and `else`: {count} numbers, their sum is {sum}");
    });
}

fn run_time_list() {
    heading(
        "Cases that are known at run time only",
        "Go's `reflect.Select`: the program adds any number of cases, with the same guarantees.",
    );

    block_on(async {
        let channels: Vec<_> = (0..1000).map(|_| chan::bounded(1)).collect();
        channels[417].0.send("here").await.unwrap();
        let mut select = Select::new();
        for (i, (_, rx)) in channels.iter().enumerate() {
            select = select.recv(rx, move |word| (i, word));
        }
        println!("{:?}", select.wait().await);
    });
}

fn empty() {
    heading(
        "An empty select",
        "`select {}` never completes. It is the usual last line of a main whose work is done by other goroutines. A goroutine\n\
         that waits so costs only its memory, and is dropped with its runtime.",
    );

    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let dropped = Arc::new(AtomicBool::new(false));
    let rt = Runtime::new();
    rt.block_on({
        let guard = Guard(dropped.clone());
        async move {
            go(async move {
                let _guard = guard;
                select! {}
            });
            for _ in 0..1000 {
                gosched().await;
            }
        }
    });
    println!(
        "main has returned: goroutines {}, guard dropped: {}",
        rt.num_goroutine(),
        dropped.load(Ordering::SeqCst)
    );
    drop(rt);
    println!("the runtime is dropped: guard dropped: {}", dropped.load(Ordering::SeqCst));
}
