//! Package sync: shared memory, and ways to wait for each other.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gopark::sync::{Cond, Mutex, Once, OnceValue, Pool, RwMutex, WaitGroup};
use gopark::{block_on, go, gosched, time};

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
        "WaitGroup: wait for goroutines without results",
        "A counter with a wait for zero. In Go before 1.25, `Add(1)` comes before each `go` and a deferred `Done` inside;\n\
         `WaitGroup::go` does both. `add` and `done` exist for other uses. A clone is the same group.",
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
        println!("{} greetings; the counter is {}", said.lock().await.len(), wg.count());

        // By hand: the goroutine calls `done` before its end.
        wg.add(1);
        let group = wg.clone();
        let rest = go(async move {
            group.done();
            gosched().await;
            "and went on after that"
        });
        wg.wait().await;
        println!("the goroutine called done, {}", rest.await.unwrap());
    });
}

fn mutex() {
    heading(
        "Mutex: one at a time",
        "Five goroutines count up, five count down. The lock contains the value, which can be reached only by locking. There is\n\
         no `defer mu.Unlock()`: the guard unlocks when it goes out of scope, also during a panic.",
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

/// The number of the producer's writes.
const PRODUCED: usize = 5;

/// Runs a producer that writes five times and observers that read once each. Returns the time until
/// all have ended.
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

/// The same with an RwMutex, which several observers can hold at the same time.
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

/// The time for which a patient reader holds the lock.
const HOLDS: Duration = Duration::from_millis(1);

/// Readers that hold the lock while they wait for something else, with either lock.
async fn patient_readers(readers: usize) -> (Duration, Duration) {
    let (wg, value) = (WaitGroup::new(), Arc::new(RwMutex::new(0_usize)));
    let start = Instant::now();
    for _ in 0..readers {
        let value = value.clone();
        wg.go(async move {
            let value = value.rlock().await;
            time::sleep(HOLDS).await;
            black_box(*value);
        });
    }
    wg.wait().await;
    let with_rwmutex = start.elapsed();

    let (wg, value) = (WaitGroup::new(), Arc::new(Mutex::new(0_usize)));
    let start = Instant::now();
    for _ in 0..readers {
        let value = value.clone();
        wg.go(async move {
            let value = value.lock().await;
            time::sleep(HOLDS).await;
            black_box(*value);
        });
    }
    wg.wait().await;
    (with_rwmutex, start.elapsed())
}

fn readers_and_writer() {
    heading(
        "RwMutex: many readers, or one writer",
        "One producer writes five times, and 1, 2, 4, … 65 536 observers read once each. The columns have the time until all\n\
         have ended, the best of five. These readers hold the lock for a few nanoseconds, so sharing it gains nothing: the\n\
         time is that of starting the goroutines. The last row is where an RwMutex pays: 100 readers that hold the lock for a\n\
         millisecond each, at the same time with an RwMutex, one after the other with a Mutex.",
    );

    let column = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
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
        println!("{:>9} {:>13} {:>13}", grouped(observers), column(rw), column(m));
    }
    let (rw, m) = block_on(patient_readers(100));
    println!("{:>9} {:>13} {:>13}   each holds it for 1 ms", 100, column(rw), column(m));
    assert!(m >= 100 * HOLDS && rw < m);
}

fn bounded_queue() {
    heading(
        "Cond: a queue of at most two",
        "Ten items go through a queue that holds two. If the queue is full, main waits for the condition. A goroutine that\n\
         removes an item signals, which wakes the longest waiter. `wait` unlocks, and locks again before it returns. The check\n\
         is in a loop, because another goroutine may have filled the queue first. (A bounded channel does all of this.)",
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

/// A button with click handlers.
#[derive(Clone, Default)]
struct Button(Arc<(Mutex<usize>, Cond)>);

impl Button {
    /// Starts a goroutine that calls the handler at the next click. Returns when that goroutine
    /// waits.
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
        "A broadcast wakes all waiters. Closing a channel does so too, but only once; a button can be clicked again.",
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
        "Once: a hundred calls, one execution",
        "`call_once` runs the function of its first call only. Later calls run nothing, even with another function.",
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
            "a hundred goroutines called it with an increment; the count is {}",
            count.load(Ordering::Relaxed)
        );
        once.call_once(|| _ = count.fetch_sub(1, Ordering::Relaxed));
        println!("main called it with a decrement; the count is {}", count.load(Ordering::Relaxed));
    });
}

fn done() {
    heading(
        "Once: panics and dropped calls",
        "As in Go, a function that panics counts as executed, like one that returns. An async function that is dropped before\n\
         its end (Go has no such thing) does not count: the next call runs its own.",
    );

    let once = Once::new();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ())); // this panic is intended: print nothing
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        once.call_once(|| panic!("no luck"))
    }));
    std::panic::set_hook(hook);
    println!("panicked: {}, done: {}", panicked.is_err(), once.is_done());

    let once = Once::new();
    block_on(async {
        let never = std::future::pending();
        let _ = futures_lite::future::poll_once(once.call_once_async(|| never)).await;
        println!("dropped, done: {}", once.is_done());
        once.call_once_async(async || ()).await;
        println!("completed, done: {}", once.is_done());

        let answer = OnceValue::new(|| {
            println!("(thinking)");
            42
        });
        println!("the value: {}, and again: {}", answer.get().await, answer.get().await);
    });
}

fn how_many_created() {
    heading(
        "Pool: how many buffers are created",
        "A million goroutines need a kilobyte each, for a moment. The pool starts with four buffers, and creates one whenever it\n\
         is empty.",
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

/// A value that takes long to create.
struct Connection(usize);

fn connect() -> Connection {
    thread::sleep(Duration::from_millis(5)); // the network
    Connection(0)
}

fn warm_cache() {
    heading(
        "Pool: a warm cache of connections",
        "Connecting takes five milliseconds. A hundred requests run one after the other: first with a new connection for each,\n\
         then with connections from a pool that was filled before.",
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
    println!("new connections: {:>12} ns/op", grouped(cold.as_nanos() as usize));
    println!("a warm pool:     {:>12} ns/op", grouped(warm.as_nanos() as usize));
    text(
        "\nUse a pool for values that are expensive to create. Reset a value before you put it back.",
    );
}
