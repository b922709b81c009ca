//! Contexts: telling everybody who works on something that it is over.

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
        "One word ends them all",
        "Three goroutines work until they are told to stop. A channel that is closed would do for that; a context can be\n\
         passed on, so that whoever works for them is told as well.",
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
                println!("{name}: stopped after some work: {}", pieces > 0);
            });
        }
        time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
        workers.wait().await;
        println!("err: {}", ctx.err().unwrap());
        assert_eq!((stopped.load(Ordering::Relaxed), ctx.err()), (3, Some(ContextError::Canceled)));
    });
}

/// Waits for the end of its context and says so.
async fn branch(name: &'static str, ctx: Context, log: Sender<&'static str>) {
    ctx.done().await;
    log.send(name).await.unwrap();
}

fn tree() {
    heading(
        "A tree",
        "For a journey, a flight and a hotel are searched for at the same time; the search for hotels asks for prices. The\n\
         hotel is called off: it and what works for it ends; what is above and beside does not notice. Then the whole journey\n\
         is called off, and with it the rest.",
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
        "A context can end by itself when time is up. The earlier deadline counts, be it its own or that of a parent.",
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
        "Not even begun",
        "A report takes a minute, and whoever asks for it gives it a second. Who knows how long the work takes can look at the\n\
         deadline, and give up before it begins.",
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
        println!("{} at once: {}", answer.unwrap_err(), start.elapsed() < Duration::from_secs(1));
        assert_eq!(answer, Err(ContextError::DeadlineExceeded));
    });
}

fn cause() {
    heading(
        "Why",
        "Whoever ends a context may say why, and everything below can ask. The first one counts; what comes later changes\n\
         nothing.",
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
        "What goes along",
        "A request's user and number are needed in many layers, most of which do not care. The key of a value is its type, so\n\
         nobody else's is taken for it; and it needs no cast.",
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

        // One below may have another value; above, nothing changes.
        let other = ctx.with_value(User("bob"));
        println!(
            "below: {:?}, above: {:?}",
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
        "Afterwards",
        "A future given to `after_func` is started as a goroutine when the context ends, unless it is stopped before. What\n\
         must still be done then runs under `without_cancel`: the same values, but no end.",
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
        let stop = ctx.after_func(async move { second.send("never said".into()).await.unwrap() });
        assert!(stop.stop());
        cancel.cancel();
        let line = lines.recv().await.unwrap();
        println!("{line}");
        assert_eq!((line.as_str(), lines.recv().await), ("ann has left", None));
    });
}

fn run() {
    heading(
        "Any wait, until the context ends",
        "`ctx.run` is the select with `ctx.Done()` that Go's functions are full of. It takes any future, so no operation needs\n\
         a form of its own with a context.",
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

        // The receive that was called off took nothing along.
        tx.send("another").await.unwrap();
        assert_eq!(rx.recv().await, Some("another"));
    });
}

fn recv() {
    heading(
        "A loop over a channel, until the context ends",
        "A stream of numbers, of which somebody has had enough. In the loop is one word: `ctx.recv`, which looks at the\n\
         context first. (Go's select would draw, and go round a few more times.) What was not received stays in the channel.",
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
        println!("seen {seen:?}, {} are left", numbers.len());
        assert_eq!((seen, numbers.len()), (vec![1, 2, 3, 4], 6));
    });
}

fn many() {
    heading(
        "Many",
        "A hundred thousand goroutines wait for one context, each by a child of its own. No goroutine is there for the\n\
         tree itself; cancel returns when all of it has ended.",
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
            "{} have ended; cancel took {:.1} ms",
            grouped(ended),
            cancelled.as_secs_f64() * 1e3
        );
        assert_eq!(ended, MANY);
    });
}
