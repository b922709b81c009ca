//! `select!`: waiting for several channels at once.

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
    for_ever();
}

fn first() {
    heading(
        "Waiting for whichever comes first",
        "All cases are looked at together. If none is ready, the goroutine waits, on all of the channels at once.",
    );

    block_on(async {
        let start = Instant::now();
        let (_nobody_sends, quiet) = chan::unbuffered::<()>();
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
        "Several are ready",
        "Two closed channels are ready each time. Which case is taken is drawn anew each time, with equal chances; nobody\n\
         could know which one is meant to be more important, and so none ever starves.",
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
        "Six cases of which three are ready, in the places 3, 4 and 6: a third each. (Starting at a random case and taking the\n\
         next that is ready would give 1/2, 1/6 and 1/3.) With `biased;` the first in the text is taken, and no chance.",
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
        "Nothing comes: a time-out",
        "A sleep is a case like any other, and bounds the waiting. `time::timeout` says the same of one operation.",
    );

    block_on(async {
        let start = Instant::now();
        let (_nobody_sends, quiet) = chan::unbuffered::<i32>();
        select! {
            n = quiet.recv() => println!("got {n:?}"),
            _ = time::sleep(Duration::from_millis(200)) => println!("timed out after {} ms", start.elapsed().as_millis()),
        }
        let late = time::timeout(Duration::from_millis(50), quiet.recv()).await;
        println!("and once more: {}", late.unwrap_err());
    });
}

fn default() {
    heading(
        "Nothing is ready, and there is something else to do",
        "With a `default` the select does not wait: if no case is ready at that instant, the default's body runs. It needs no\n\
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
        "A loop around it: work until told to stop",
        "The for-select loop: look whether anybody says stop, else do a piece of work, and again. A goroutine that works\n\
         gives way by `gosched`.",
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
        println!("{} pieces of work were done before the stop was signalled", grouped(pieces));
    });
}

fn both_directions() {
    heading(
        "Sends and receives side by side",
        "A case may send as well. Two goroutines run the same select on one channel, each ready to send its name and to\n\
         receive the other's: one of them sends, one receives, never both, and neither meets itself.",
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
        "Two sources are merged until both have ended. A closed channel is always ready, so its case must be switched off:\n\
         in Go by setting the variable to nil; here by a condition, or by a nil receiver as well.",
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
        println!("{count} numbers, their sum is {sum}");
    });
}

fn run_time_list() {
    heading(
        "Cases that are known at run time only",
        "Go's `reflect.Select`: any number of cases, put together by the program, with the same promises.",
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

fn for_ever() {
    heading(
        "An empty select",
        "`select {}` waits for ever: the usual last line of a main whose work is done by others. A goroutine that does so\n\
         costs nothing but its memory, and goes with its runtime.",
    );

    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let gone = Arc::new(AtomicBool::new(false));
    let rt = Runtime::new();
    rt.block_on({
        let guard = Guard(gone.clone());
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
        "after a while: goroutines {}, its guard dropped: {}",
        rt.num_goroutine(),
        gone.load(Ordering::SeqCst)
    );
    drop(rt);
    println!("the runtime gone: its guard dropped: {}", gone.load(Ordering::SeqCst));
}
