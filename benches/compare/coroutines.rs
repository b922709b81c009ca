//! The cases for may, whose coroutines have stacks of their own and block instead of returning a
//! future. Its channels are unbounded, so a sender never waits; cases about waiting senders do not
//! apply to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use may::coroutine::{sleep, yield_now};
use may::go;
use may::sync::{Condvar, Mutex, RwLock, SyncFlag, mpmc, mpsc};

use crate::answer::{Answer, cpu_time, per};
use crate::common::bystander::Beside;
use crate::common::compute;
use crate::common::memory::resident;

pub(crate) fn measure(case: &str, procs: usize, n: u64) -> Answer {
    may::config().set_workers(procs);
    if let Some(n) = case.strip_prefix("parked_") {
        return Ok(vec![parked(n.parse().expect("a number"))]);
    }
    match case {
        "ping_pong" => per(ping_pong(n), n),
        "ring" => per(ring(n), n.div_ceil(1000) * 1000),
        "yield" => per(among(100, n, || yield_now), n.div_ceil(100) * 100),
        "spawn_join" => per(spawn_join(n), n),
        "skynet" => {
            let leaves = 10_usize.pow(n.ilog10());
            per(skynet(leaves), leaves as u64)
        }
        "wake_outside" => per(wake_outside(n), n),
        "close" => per(close(n), n),
        "mutex_8" => {
            let mutex = Arc::new(Mutex::new(0_usize));
            let lock = || {
                let mutex = mutex.clone();
                move || *mutex.lock().expect("not poisoned") += 1
            };
            per(among(8, n, lock), n)
        }
        "rwmutex_8" => per(rwmutex(n), n),
        "cond" => per(cond(n.div_ceil(5)), n.div_ceil(5)),
        "sleepers" => per(sleepers(n), n),
        "beside_hogs" => Ok(lateness(Beside::Hogs, n as usize)),
        "beside_blocker" => Ok(lateness(Beside::Blocked, n as usize)),
        "beside_ping_pong" => Ok(lateness(Beside::PingPong, n as usize)),
        "idle" => Ok(vec![idle(n)]),
        "sieve" => Err("its channels have no bound: the first goroutine would count without end"),
        "pool_8" => Err("has no pool"),
        "watch" | "broadcast" | "oneshot" | "notify" | "join_set" | "once_cell" => {
            Err("has no such thing")
        }
        _ if case.starts_with("select") => Err("its select starts a coroutine for each arm"),
        _ => Err("its channels have no bound"),
    }
}

pub(crate) fn start(procs: usize) {
    may::config().set_workers(procs);
    go!(|| {}).join().expect("does not panic");
}

/// This many coroutines divide the operations. It ends when all have ended.
fn among<F: FnMut() + Send + 'static>(
    coroutines: u64,
    n: u64,
    operation: impl Fn() -> F,
) -> Duration {
    let each = n.div_ceil(coroutines);
    let start = Instant::now();
    let body = |_| {
        let mut operation = operation();
        go!(move || (0..each).for_each(|_| operation()))
    };
    let all: Vec<_> = (0..coroutines).map(body).collect();
    for one in all {
        one.join().expect("does not panic");
    }
    start.elapsed()
}

fn ping_pong(n: u64) -> Duration {
    let (there, arrives) = mpsc::channel();
    let (back, returns) = mpsc::channel();
    let start = Instant::now();
    go!(move || arrives.iter().try_for_each(|value: u64| back.send(value)));
    let player = go!(move || {
        for i in 0..n {
            there.send(i).expect("it plays");
            assert_eq!(returns.recv().expect("it plays"), i);
        }
    });
    player.join().expect("does not panic");
    start.elapsed()
}

fn ring(n: u64) -> Duration {
    let (first, mut last) = mpsc::channel::<u64>();
    for _ in 1..1000 {
        let (to, next) = mpsc::channel();
        let from = std::mem::replace(&mut last, next);
        go!(move || from.iter().try_for_each(|value| to.send(value)));
    }
    let start = Instant::now();
    let player = go!(move || {
        for i in 0..n.div_ceil(1000) {
            first.send(i).expect("the ring is whole");
            last.recv().expect("the ring is whole");
        }
    });
    player.join().expect("does not panic");
    start.elapsed()
}

fn spawn_join(n: u64) -> Duration {
    let (left, all) = (Arc::new(AtomicUsize::new(n as usize)), Arc::new(SyncFlag::new()));
    let done = all.clone();
    let start = Instant::now();
    go!(move || {
        for _ in 0..n {
            let (left, done) = (left.clone(), done.clone());
            go!(move || {
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    done.fire();
                }
            });
        }
    });
    all.wait();
    start.elapsed()
}

fn skynet(leaves: usize) -> Duration {
    fn node(up: mpsc::Sender<usize>, number: usize, leaves: usize) {
        go!(move || {
            if leaves == 1 {
                return up.send(number).expect("the parent waits");
            }
            let (sender, receiver) = mpsc::channel();
            for i in 0..10 {
                node(sender.clone(), number + i * (leaves / 10), leaves / 10);
            }
            up.send(receiver.iter().take(10).sum()).expect("the parent waits");
        });
    }
    let (sender, receiver) = mpsc::channel();
    let start = Instant::now();
    node(sender, 0, leaves);
    assert_eq!(receiver.recv(), Ok(leaves * (leaves - 1) / 2));
    start.elapsed()
}

fn wake_outside(n: u64) -> Duration {
    let (sender, receiver) = mpsc::channel();
    let received = Arc::new(AtomicUsize::new(0));
    let (seen, me) = (received.clone(), thread::current());
    let start = Instant::now();
    go!(move || {
        for i in receiver.iter() {
            received.store(i, Ordering::Release);
            me.unpark();
        }
    });
    for i in 1..=n as usize {
        sender.send(i).expect("it receives");
        while seen.load(Ordering::Acquire) != i {
            thread::park();
        }
    }
    start.elapsed()
}

/// A flag, in place of the close that its channels lack.
fn close(n: u64) -> Duration {
    let flag = Arc::new(SyncFlag::new());
    let (ready, woken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..n {
        let (flag, ready, woken) = (flag.clone(), ready.clone(), woken.clone());
        go!(move || {
            ready.fetch_add(1, Ordering::AcqRel);
            flag.wait();
            woken.fetch_add(1, Ordering::AcqRel);
        });
    }
    wait_for(&ready, n);
    let start = Instant::now();
    flag.fire();
    wait_for(&woken, n);
    start.elapsed()
}

/// For what a coroutine cannot report to this thread in another way without a cost to the case.
fn wait_for(count: &AtomicUsize, n: u64) {
    while count.load(Ordering::Acquire) != n as usize {
        thread::sleep(Duration::from_micros(50));
    }
}

fn rwmutex(n: u64) -> Duration {
    let lock = Arc::new(RwLock::new(0_usize));
    let mix = || {
        let (lock, mut i) = (lock.clone(), 0);
        move || {
            if i % 100 == 0 {
                *lock.write().expect("not poisoned") += 1;
            } else {
                std::hint::black_box(*lock.read().expect("not poisoned"));
            }
            i += 1;
        }
    };
    among(8, n, mix)
}

fn cond(n: u64) -> Duration {
    let state = Arc::new((Mutex::new((false, 0)), Condvar::new()));
    let woken = Arc::new(AtomicUsize::new(0));
    for _ in 0..n {
        let (state, woken) = (state.clone(), woken.clone());
        go!(move || {
            let mut guard = state.0.lock().expect("not poisoned");
            guard.1 += 1;
            while !guard.0 {
                guard = state.1.wait(guard).expect("not poisoned");
            }
            drop(guard);
            woken.fetch_add(1, Ordering::AcqRel);
        });
    }
    while state.0.lock().expect("not poisoned").1 != n {
        thread::sleep(Duration::from_micros(50));
    }
    let start = Instant::now();
    state.0.lock().expect("not poisoned").0 = true;
    state.1.notify_all();
    wait_for(&woken, n);
    start.elapsed()
}

fn sleepers(n: u64) -> Duration {
    let woken = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    for i in 0..n {
        let woken = woken.clone();
        go!(move || {
            sleep(Duration::from_millis(i % 100));
            woken.fetch_add(1, Ordering::AcqRel);
        });
    }
    wait_for(&woken, n);
    start.elapsed()
}

fn parked(n: u64) -> f64 {
    let mut before = 0;
    // One alone first, as in `../common/memory.rs`: may then creates the thousand that it keeps
    // ready.
    for n in [1, n] {
        let ready = Arc::new(AtomicUsize::new(0));
        before = resident();
        for _ in 0..n {
            let ready = ready.clone();
            go!(move || {
                ready.fetch_add(1, Ordering::AcqRel);
                may::coroutine::park();
            });
        }
        wait_for(&ready, n);
    }
    resident().saturating_sub(before) as f64 / n as f64
}

fn start_beside(beside: Beside) {
    match beside {
        Beside::Nothing => {}
        Beside::Hogs => {
            for _ in 0..4 {
                go!(|| loop {
                    compute(Duration::from_millis(3));
                    yield_now();
                });
            }
        }
        Beside::Blocked => {
            go!(|| loop {
                thread::sleep(Duration::from_millis(50));
                yield_now();
            });
        }
        Beside::PingPong => {
            let (there, arrives) = mpsc::channel();
            let (back, returns) = mpsc::channel();
            there.send(()).expect("it plays");
            go!(move || arrives.iter().try_for_each(|()| back.send(())));
            go!(move || returns.iter().try_for_each(|()| there.send(())));
        }
    }
}

/// As `lateness` in `../common/bystander.rs`: p50, p99, p99.9 in microseconds.
fn lateness(beside: Beside, n: usize) -> Vec<f64> {
    start_beside(beside);
    let (sender, receiver) = mpmc::channel::<Instant>();
    let clock = thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..n {
            thread::sleep(Duration::from_micros(random.u64(500..1500)));
            sender.send(Instant::now()).expect("it receives");
        }
    });
    let bystander = go!(move || receiver
        .iter()
        .map(|sent| sent.elapsed().as_secs_f64() * 1e6)
        .collect::<Vec<_>>());
    clock.join().expect("does not panic");
    let mut late = bystander.join().expect("does not panic");
    late.sort_unstable_by(f64::total_cmp);
    [0.5, 0.99, 0.999].map(|share| late[((n - 1) as f64 * share) as usize]).to_vec()
}

fn idle(milliseconds: u64) -> f64 {
    let (_sender, receiver) = mpsc::channel::<()>();
    go!(move || receiver.recv());
    thread::sleep(Duration::from_millis(100));
    let (start, before) = (Instant::now(), cpu_time());
    thread::sleep(Duration::from_millis(milliseconds));
    (cpu_time() - before).as_secs_f64() * 1e3 / start.elapsed().as_secs_f64()
}
