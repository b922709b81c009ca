//! Package sync: what goroutines share memory with, and wait for each other with.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gopark::sync::{Cond, Mutex, Once, OnceValue, Pool, RwMutex, WaitGroup};
use gopark::{block_on, go, gosched};

use crate::page::{Progress, grouped, heading, text};

pub(crate) fn chapter() {
    wait_group();
    mutex();
    readers_and_writer();
    bounded_queue();
    button();
    once();
    done();
    how_many_created();
    warm_cache();
}

fn wait_group() {
    heading(
        "WaitGroup: wait for what you do not need the results of",
        "A counter that can be waited for. Go wants `Add(1)` before each `go`, and a deferred `Done` inside; `WaitGroup::go`\n\
         does both. `add` and `done` are there for everything else. A clone is the same group.",
    );

    async fn greet(id: usize, say: Arc<Mutex<Vec<String>>>) {
        gosched().await;
        say.lock().await.push(format!("hello from {id}"));
    }

    block_on(async {
        let (wg, said) = (WaitGroup::new(), Arc::new(Mutex::new(Vec::new())));
        for id in 1..=3 {
            wg.go(greet(id, said.clone()));
        }
        wg.wait().await;
        println!("{}: the counter stands at {}", said.lock().await.len(), wg.count());

        // By hand: the goroutine says itself when it is done with the part that others wait for.
        wg.add(1);
        let group = wg.clone();
        let rest = go(async move {
            group.done();
            gosched().await;
            "and went on after that"
        });
        wg.wait().await;
        println!("it said that it was done, {}", rest.await.unwrap());
    });
}

fn mutex() {
    heading(
        "Mutex: one at a time",
        "Five goroutines count up, five count down. The value lives inside the lock, so there is no way to it but by the lock;\n\
         and no `defer mu.Unlock()`, for a guard unlocks when it goes out of scope, by a panic too.",
    );

    block_on(async {
        let (wg, count) = (WaitGroup::new(), Arc::new(Mutex::new(0)));
        for step in [1, 1, 1, 1, 1, -1, -1, -1, -1, -1] {
            let count = count.clone();
            wg.go(async move {
                let mut count = count.lock().await;
                *count += step;
                println!("{} to {count}", if step > 0 { "up  " } else { "down" });
            });
        }
        wg.wait().await;
        println!("all done, {}", count.lock().await);
    });
}

/// How often the producer locks.
const PRODUCED: usize = 5;

/// A producer that writes now and then, observers that look once each; what they take together.
async fn with_mutex(observers: usize) -> Duration {
    let (wg, value) = (WaitGroup::new(), Arc::new(Mutex::new(0_usize)));
    let start = Instant::now();
    let shared = value.clone();
    wg.go(async move {
        for _ in 0..PRODUCED {
            *shared.lock().await += 1;
            gosched().await;
        }
    });
    for _ in 0..observers {
        let value = value.clone();
        wg.go(async move { assert!(black_box(*value.lock().await) <= PRODUCED) });
    }
    wg.wait().await;
    start.elapsed()
}

/// The same with a lock that lets the observers in together.
async fn with_rwmutex(observers: usize) -> Duration {
    let (wg, value) = (WaitGroup::new(), Arc::new(RwMutex::new(0_usize)));
    let start = Instant::now();
    let shared = value.clone();
    wg.go(async move {
        for _ in 0..PRODUCED {
            *shared.lock().await += 1;
            gosched().await;
        }
    });
    for _ in 0..observers {
        let value = value.clone();
        wg.go(async move { assert!(black_box(*value.rlock().await) <= PRODUCED) });
    }
    wg.wait().await;
    start.elapsed()
}

fn readers_and_writer() {
    heading(
        "RwMutex: many readers, or one writer",
        "One producer that writes five times, and 1, 2, 4, … 65 536 observers that read once each: the time until all have\n\
         ended, the best of a few, first with an RwMutex, then with a Mutex. Readers that hold the lock for no time at all\n\
         have little from being let in together, so the two columns tell how little either lock costs beside the goroutine\n\
         that takes it. An RwMutex is for readers that take their time.",
    );

    let progress = Progress::new();
    println!("{:>9} {:>13} {:>13}", "readers", "RwMutex", "Mutex");
    for shift in 0..=16 {
        let observers = 1 << shift;
        progress.show(&format!("{} readers", grouped(observers)));
        let (mut rw, mut m) = (Duration::MAX, Duration::MAX);
        for _ in 0..5 {
            rw = rw.min(block_on(with_rwmutex(observers)));
            m = m.min(block_on(with_mutex(observers)));
        }
        progress.clear();
        let column = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
        println!("{:>9} {:>13} {:>13}", grouped(observers), column(rw), column(m));
    }
}

fn bounded_queue() {
    heading(
        "Cond: a queue of at most two",
        "Ten things are to go through a queue that holds two. Who finds it full waits for the condition; who takes something out\n\
         signals, which wakes the one who has waited longest. `wait` gives up the lock and has it again when it returns, and\n\
         the test stands in a loop, since somebody else may have come first. (A bounded channel is just that, ready made.)",
    );

    block_on(async {
        let shared = Arc::new((Mutex::new(Vec::with_capacity(2)), Cond::new()));
        let wg = WaitGroup::new();
        for item in 1..=10 {
            let (queue, taken) = &*shared;
            let mut queue = queue.lock().await;
            while queue.len() == 2 {
                queue = taken.wait(queue).await;
            }
            queue.push(item);
            println!("in: {item:>2}   ({} in the queue)", queue.len());
            drop(queue);
            let shared = shared.clone();
            wg.go(async move {
                gosched().await;
                let (queue, taken) = &*shared;
                let item = queue.lock().await.remove(0);
                println!("            out: {item:>2}");
                taken.signal();
            });
        }
        wg.wait().await;
        println!("left in the queue: {}", shared.0.lock().await.len());
    });
}

/// Something that can be clicked.
#[derive(Clone, Default)]
struct Button(Arc<(Mutex<usize>, Cond)>);

impl Button {
    /// Returns when a handler waits for the click.
    async fn on_click(&self, wg: &WaitGroup, handler: impl FnOnce() + Send + 'static) {
        let (ready, button) = (WaitGroup::new(), self.clone());
        ready.add(1);
        let waits = ready.clone();
        wg.go(async move {
            let (clicks, clicked) = &*button.0;
            let clicks = clicks.lock().await;
            let seen = *clicks;
            waits.done();
            drop(clicked.wait_while(clicks, |clicks| *clicks == seen).await);
            handler();
        });
        ready.wait().await;
    }

    async fn click(&self) {
        *self.0.0.lock().await += 1;
        self.0.1.broadcast();
    }
}

fn button() {
    heading(
        "Cond: a button with three handlers",
        "A broadcast wakes everyone who waits. Closing a channel does that too, but once; a button can be clicked again.",
    );

    block_on(async {
        let button = Button::default();
        for click in ["first", "second"] {
            let wg = WaitGroup::new();
            button.on_click(&wg, || println!("the window is maximized")).await;
            button.on_click(&wg, || println!("a message is shown")).await;
            button.on_click(&wg, || println!("the click is counted")).await;
            println!("the {click} click:");
            button.click().await;
            wg.wait().await;
        }
    });
}

fn once() {
    heading(
        "Once: a hundred ask, one does it",
        "`call_once` counts calls, not functions: when one has been run, no other will be.",
    );

    block_on(async {
        let (once, count, wg) =
            (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)), WaitGroup::new());
        for _ in 0..100 {
            let (once, count) = (once.clone(), count.clone());
            wg.go(async move { once.call_once(|| _ = count.fetch_add(1, Ordering::Relaxed)) });
        }
        wg.wait().await;
        println!(
            "a hundred goroutines asked for an increment; the count is {}",
            count.load(Ordering::Relaxed)
        );
        once.call_once(|| _ = count.fetch_sub(1, Ordering::Relaxed));
        println!("one asked for a decrement; the count is {}", count.load(Ordering::Relaxed));
    });
}

fn done() {
    heading(
        "What counts as done",
        "A function that has returned; and, as in Go, one that has panicked: nobody tries again. But an asynchronous one that is\n\
         dropped before its end (Go has no such thing) has not been done, and the next one does it.",
    );

    let once = Once::new();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ())); // the panic is part of the programme
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        once.call_once(|| panic!("no luck"))
    }));
    std::panic::set_hook(hook);
    println!("panicked: {}, done: {}", panicked.is_err(), once.is_done());

    let once = Once::new();
    block_on(async {
        let never = std::future::pending();
        let _ = futures_lite::future::poll_once(once.call_once_async(|| never)).await;
        println!("begun and dropped, done: {}", once.is_done());
        once.call_once_async(async || ()).await;
        println!("begun and ended, done: {}", once.is_done());

        let answer = OnceValue::new(|| {
            println!("(thinking)");
            42
        });
        println!("the value: {}, and again: {}", answer.get().await, answer.get().await);
    });
}

fn how_many_created() {
    heading(
        "Pool: how many were created",
        "A million goroutines need a kilobyte each, for a moment. The pool begins with four; the rest it makes when there is none\n\
         to spare.",
    );

    const WORKERS: usize = 1 << 20;
    static CREATED: AtomicUsize = AtomicUsize::new(0);
    fn create() -> Box<[u8; 1024]> {
        CREATED.fetch_add(1, Ordering::Relaxed);
        Box::new([0; 1024])
    }
    let progress = Progress::new();
    let start = Instant::now();
    block_on(async {
        let pool = Arc::new(Pool::new(create));
        for _ in 0..4 {
            pool.put(create());
        }
        let wg = WaitGroup::new();
        for worker in 0..WORKERS {
            if worker % (1 << 16) == 0 {
                progress.show(&format!("{} goroutines", grouped(worker)));
                wg.wait().await;
            }
            let pool = pool.clone();
            wg.go(async move {
                let mut buffer = pool.get();
                buffer[worker % 1024] = 1;
                pool.put(buffer);
            });
        }
        wg.wait().await;
    });
    progress.clear();
    println!(
        "{} goroutines, {} buffers, {:.0} ms",
        grouped(WORKERS),
        grouped(CREATED.load(Ordering::Relaxed)),
        start.elapsed().as_secs_f64() * 1e3
    );
}

/// What takes long to make.
struct Connection(usize);

fn connect() -> Connection {
    thread::sleep(Duration::from_millis(5)); // the network
    Connection(0)
}

fn warm_cache() {
    heading(
        "Pool: a warm cache of connections",
        "To connect takes five milliseconds. A hundred requests, one after the other: with a connection made for each, and with\n\
         connections out of a pool that was filled beforehand.",
    );

    const REQUESTS: u32 = 100;
    let progress = Progress::new();
    progress.show("connecting for each request");
    let start = Instant::now();
    for request in 0..REQUESTS as usize {
        let mut connection = black_box(connect());
        connection.0 += request;
        black_box(connection.0);
    }
    let cold = start.elapsed() / REQUESTS;

    progress.show("filling the pool");
    let pool = Pool::new(connect);
    for _ in 0..10 {
        pool.put(connect());
    }
    let start = Instant::now();
    for request in 0..REQUESTS as usize {
        let mut connection = pool.get_guard();
        connection.0 = black_box(request);
    }
    let warm = start.elapsed() / REQUESTS;
    progress.clear();
    println!("each connects: {:>12} ns/op", grouped(cold.as_nanos() as usize));
    println!("a warm pool:   {:>12} ns/op", grouped(warm.as_nanos() as usize));
    text(
        "\nA pool is for things that are dear to make and alike when they come back: who puts one clears it.",
    );
}
