//! Contexts: cancellation, deadlines and values for all goroutines that work on one task.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gopark::chan::{self, Sender};
use gopark::context::{Context, ContextError};
use gopark::sync::WaitGroup;
use gopark::{block_on, go, gosched, select, time};

use crate::page::{grouped, heading};

pub(crate) fn chapter() {
    done_channel();
    tree();
    deadline();
    check_before();
    cause();
    value();
    after_func();
    run();
    recv();
    many();
}

fn done_channel() {
    heading(
        "One cancel ends all",
        "Three goroutines work until they are cancelled. A closed channel would be enough for that; but a context can also be\n\
         passed on to the functions that they call.",
    );

    block_on(async {
        let (ctx, cancel) = Context::background().with_cancel();
        let workers = WaitGroup::new();
        let stopped = Arc::new(AtomicUsize::new(0));
        for name in ["first", "second", "third"] {
            let (ctx, stopped) = (ctx.clone(), stopped.clone());
            workers.go(async move {
                let mut pieces = 0_u64;
                loop {
                    select! {
                        _ = ctx.done() => break,
                        default => pieces += 1,
                    }
                    gosched().await;
                }
                stopped.fetch_add(1, Ordering::Relaxed);
                println!("{name}: stopped, has done some work: {}", pieces > 0);
            });
        }
        time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
        workers.wait().await;
        println!("err: {}", ctx.err().unwrap());
        assert_eq!((stopped.load(Ordering::Relaxed), ctx.err()), (3, Some(ContextError::Canceled)));
    });
}

/// Waits for the end of its context and sends its name.
async fn branch(name: &'static str, ctx: Context, log: Sender<&'static str>) {
    ctx.done().await;
    log.send(name).await.unwrap();
}

fn tree() {
    heading(
        "A tree",
        "A journey needs a flight and a hotel, which are searched for at the same time; the hotel search also asks for prices.\n\
         Cancelling the hotel ends it and its descendants, but not its parent and its sibling. Then cancelling the journey\n\
         ends the rest.",
    );

    block_on(async {
        // journey ─┬─ flight
        //          └─ hotel ── prices
        let (journey, cancel_journey) = Context::background().with_cancel();
        let (flight, _) = journey.with_cancel();
        let (hotel, cancel_hotel) = journey.with_cancel();
        let (prices, _) = hotel.with_cancel();
        let (log, ended) = chan::bounded(3);
        for (name, ctx) in [("flight", &flight), ("hotel", &hotel), ("prices", &prices)] {
            go(branch(name, ctx.clone(), log.clone()));
        }
        drop(log);
        gosched().await;

        cancel_hotel.cancel();
        let mut first = [ended.recv().await.unwrap(), ended.recv().await.unwrap()];
        first.sort();
        println!("ended: {first:?}; journey: {:?}, flight: {:?}", journey.err(), flight.err());
        assert_eq!(first, ["hotel", "prices"]);
        assert!(journey.err().is_none() && flight.err().is_none());

        cancel_journey.cancel();
        let last = ended.recv().await.unwrap();
        println!("ended: {last:?}; journey: {}", journey.err().unwrap());
        assert_eq!((last, ended.recv().await), ("flight", None));
    });
}

fn deadline() {
    heading(
        "A deadline",
        "A context with a deadline ends by itself. The earliest deadline counts, its own or that of an ancestor.",
    );

    block_on(async {
        let start = Instant::now();
        let (request, _) = Context::background().with_timeout(Duration::from_millis(100));
        let (query, _) = request.with_timeout(Duration::from_secs(60));
        query.done().await;
        let took = start.elapsed();
        println!("after {} ms: {}", took.as_millis(), query.err().unwrap());
        assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(10));
        assert_eq!(query.deadline(), request.deadline());
        assert!(query.err().unwrap().is_timeout());
    });
}

fn check_before() {
    heading(
        "Failing early",
        "A report takes a minute, and its caller allows a second. A function that knows how long it takes can check the deadline\n\
         and fail before it starts.",
    );

    async fn report(ctx: &Context) -> Result<&'static str, ContextError> {
        const TAKES: Duration = Duration::from_secs(60);
        if ctx.deadline().is_some_and(|deadline| deadline < Instant::now() + TAKES) {
            return Err(ContextError::DeadlineExceeded);
        }
        ctx.run(time::sleep(TAKES)).await.map(|()| "all is well")
    }

    block_on(async {
        let start = Instant::now();
        let (ctx, _) = Context::background().with_timeout(Duration::from_secs(1));
        let answer = report(&ctx).await;
        println!("{}, at once: {}", answer.unwrap_err(), start.elapsed() < Duration::from_secs(1));
        assert_eq!(answer, Err(ContextError::DeadlineExceeded));
    });
}

fn cause() {
    heading(
        "Causes",
        "A cancel may have a cause, which all descendants can read. The first cancel counts; later ones change nothing.",
    );

    block_on(async {
        let (server, stop) = Context::background().with_cancel_cause();
        let (request, hang_up) = server.with_cancel_cause();
        let (query, _) =
            request.with_timeout_cause(Duration::from_secs(60), "the database is slow");
        hang_up.cancel("the client hung up");
        stop.cancel("time for an update");
        for (name, ctx) in [("server", &server), ("request", &request), ("query", &query)] {
            println!("{name:>7}: {}, because: {}", ctx.err().unwrap(), ctx.cause().unwrap());
        }
        assert_eq!(server.cause().unwrap().to_string(), "time for an update");
        assert_eq!(query.cause().unwrap().to_string(), "the client hung up");
    });
}

fn value() {
    heading(
        "Values",
        "Many layers pass on the user and the number of a request without using them. The key of a value is its type, so two\n\
         packages cannot use the same key by mistake, and no cast is needed.",
    );

    #[derive(Debug, PartialEq)]
    struct User(&'static str);
    #[derive(Debug, PartialEq)]
    struct Number(u64);

    async fn handle(ctx: Context) -> String {
        let (User(user), Number(number)) = (&*ctx.value().unwrap(), &*ctx.value().unwrap());
        format!("request {number} of {user}")
    }

    block_on(async {
        let ctx = Context::background().with_value(User("ann")).with_value(Number(7));
        let text = go(handle(ctx.clone())).await.unwrap();
        println!("{text}");
        assert_eq!(text, "request 7 of ann");

        // A child may replace a value. The parent keeps its own.
        let other = ctx.with_value(User("bob"));
        println!(
            "child: {:?}, parent: {:?}",
            other.value::<User>().unwrap(),
            ctx.value::<User>().unwrap()
        );
        assert_eq!(
            (other.value(), ctx.value()),
            (Some(Arc::new(User("bob"))), Some(Arc::new(User("ann"))))
        );
        assert!(ctx.value::<String>().is_none());
    });
}

fn after_func() {
    heading(
        "Work after the end",
        "`after_func` starts a future as a goroutine when the context ends, unless it was stopped before. Work that must still be\n\
         done then can use `without_cancel`, a context with the same values that does not end.",
    );

    struct User(&'static str);

    block_on(async {
        let (ctx, cancel) = Context::background().with_value(User("ann")).with_cancel();
        let (log, lines) = chan::bounded(2);
        let rest = ctx.without_cancel();
        let (first, second) = (log.clone(), log);
        ctx.after_func(async move {
            let line =
                rest.run(async { format!("{} has left", rest.value::<User>().unwrap().0) }).await;
            first.send(line.unwrap()).await.unwrap();
        });
        let stop = ctx.after_func(async move { second.send("never sent".into()).await.unwrap() });
        assert!(stop.stop());
        cancel.cancel();
        let line = lines.recv().await.unwrap();
        println!("{line}");
        assert_eq!((line.as_str(), lines.recv().await), ("ann has left", None));
    });
}

fn run() {
    heading(
        "Any operation, until the context ends",
        "`ctx.run` is Go's usual select with `ctx.Done()`. It takes any future, so operations need no variant with a context.",
    );

    block_on(async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::bounded(1);
        tx.send("a letter").await.unwrap();
        let got = ctx.run(rx.recv()).await;
        println!("{got:?}");
        assert_eq!(got, Ok(Some("a letter")));

        go(async move {
            time::sleep(Duration::from_millis(50)).await;
            cancel.cancel();
        });
        let got = ctx.run(rx.recv()).await;
        println!("{got:?}");
        assert_eq!(got, Err(ContextError::Canceled));

        // The receive that was cancelled has taken nothing.
        tx.send("another").await.unwrap();
        assert_eq!(rx.recv().await, Some("another"));
    });
}

fn recv() {
    heading(
        "A loop over a channel, until the context ends",
        "The loop receives numbers until the context is cancelled. `ctx.recv` checks the context first. (Go's select would draw,\n\
         and might receive a few more.) Values that were not received stay in the channel.",
    );

    block_on(async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, numbers) = chan::bounded(10);
        for n in 1..=10 {
            tx.send(n).await.unwrap();
        }
        let mut seen = vec![];
        while let Some(n) = ctx.recv(&numbers).await {
            seen.push(n);
            if n == 4 {
                cancel.cancel();
            }
        }
        println!("received {seen:?}, {} are left", numbers.len());
        assert_eq!((seen, numbers.len()), (vec![1, 2, 3, 4], 6));
    });
}

fn many() {
    heading(
        "A large tree",
        "A hundred thousand goroutines wait for one context, each with a child of its own. The tree needs no goroutine. `cancel`\n\
         returns when all contexts of the tree have ended.",
    );

    const MANY: usize = 100_000;
    block_on(async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (wg, waiting, ended) =
            (WaitGroup::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..MANY {
            let ((child, _), waiting, ended) = (ctx.with_cancel(), waiting.clone(), ended.clone());
            wg.go(async move {
                waiting.fetch_add(1, Ordering::Relaxed);
                child.done().await;
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        while waiting.load(Ordering::Relaxed) < MANY {
            gosched().await;
        }
        let start = Instant::now();
        cancel.cancel();
        let cancelled = start.elapsed();
        wg.wait().await;
        let ended = ended.load(Ordering::Relaxed);
        println!(
            "{} goroutines have ended; cancel took {:.1} ms",
            grouped(ended),
            cancelled.as_secs_f64() * 1e3
        );
        assert_eq!(ended, MANY);
    });
}
