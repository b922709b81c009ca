//! A single case of gopark and nothing else, for `perf`, `valgrind` and the like: `cargo bench
//! --bench hotpath -- ctx_switch 1000000`. Prints nanoseconds per operation.
//!
//! The arguments: the case, the number of operations (1000), the number of processors (1), and the
//! number of idle sockets (0): so many are open in the runtime, and a goroutine waits in a read of
//! each.

mod common;

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use gopark::Runtime;
use gopark::chan;
use gopark::net::UnixStream;
use gopark::sync::{Mutex, RwMutex, Semaphore, WaitGroup};

#[inline(never)]
async fn ctx_switch(n: usize) -> Duration {
    let (tx, rx) = chan::unbuffered::<usize>();
    let start = Instant::now();
    gopark::go(async move {
        for i in 0..n {
            tx.send(i).await.expect("a receiver");
        }
    });
    let receiver = gopark::go(async move { while rx.recv().await.is_some() {} });
    receiver.await.expect("does not panic");
    start.elapsed()
}

#[inline(never)]
async fn spawn_join(n: usize) -> Duration {
    let group = WaitGroup::new();
    group.add(n);
    let start = Instant::now();
    for _ in 0..n {
        let group = group.clone();
        gopark::go(async move { group.done() });
    }
    group.wait().await;
    start.elapsed()
}

#[inline(never)]
async fn spsc(n: usize) -> Duration {
    let (tx, rx) = chan::bounded::<usize>(128);
    let start = Instant::now();
    gopark::go(async move {
        for i in 0..n {
            tx.send(i).await.expect("a receiver");
        }
    });
    let receiver = gopark::go(async move { while rx.recv().await.is_some() {} });
    receiver.await.expect("does not panic");
    start.elapsed()
}

/// One operation is a message there and back.
#[inline(never)]
async fn ping_pong(n: usize) -> Duration {
    let (there, arrives) = chan::unbuffered::<usize>();
    let (back, returns) = chan::unbuffered::<usize>();
    let start = Instant::now();
    gopark::go(async move {
        while let Some(value) = arrives.recv().await {
            back.send(value).await.expect("a receiver");
        }
    });
    let player = gopark::go(async move {
        for i in 0..n {
            there.send(i).await.expect("a receiver");
            assert_eq!(returns.recv().await, Some(i));
        }
    });
    player.await.expect("does not panic");
    start.elapsed()
}

/// One goroutine selects over this many receives, as many others send; one operation is one value.
#[inline(never)]
async fn select_among<const CHANNELS: usize>(n: usize, capacity: usize) -> Duration {
    let each = n.div_ceil(CHANNELS);
    let start = Instant::now();
    let of = [(); CHANNELS].map(|()| {
        let (tx, rx) = chan::bounded::<usize>(capacity);
        gopark::go(async move {
            for i in 0..each {
                tx.send(i).await.expect("a receiver");
            }
            // The channel must not close, because a closed one is ready.
            std::future::pending::<()>().await;
        });
        rx
    });
    let receiver = gopark::go(async move {
        for _ in 0..CHANNELS * each {
            let value = match &of[..] {
                [a, b] => gopark::select! { v = a.recv() => v, v = b.recv() => v },
                [a, b, c, d] => {
                    gopark::select! {
                        v = a.recv() => v,
                        v = b.recv() => v,
                        v = c.recv() => v,
                        v = d.recv() => v,
                    }
                }
                [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] => {
                    gopark::select! {
                        v = a.recv() => v,
                        v = b.recv() => v,
                        v = c.recv() => v,
                        v = d.recv() => v,
                        v = e.recv() => v,
                        v = f.recv() => v,
                        v = g.recv() => v,
                        v = h.recv() => v,
                        v = i.recv() => v,
                        v = j.recv() => v,
                        v = k.recv() => v,
                        v = l.recv() => v,
                        v = m.recv() => v,
                        v = n.recv() => v,
                        v = o.recv() => v,
                        v = p.recv() => v,
                    }
                }
                _ => unreachable!(),
            };
            assert!(value.is_some());
        }
    });
    receiver.await.expect("does not panic");
    start.elapsed()
}

/// One operation is a lock and an unlock. With two goroutines each lock waits for the other's
/// unlock.
#[inline(never)]
async fn mutex<const GOROUTINES: usize>(n: usize) -> Duration {
    let (each, mutex) = (n.div_ceil(GOROUTINES), Arc::new(Mutex::new(0)));
    let start = Instant::now();
    let players = [(); GOROUTINES].map(|()| {
        let mutex = Arc::clone(&mutex);
        gopark::go(async move {
            for _ in 0..each {
                let mut held = mutex.lock().await;
                *held += 1;
                if GOROUTINES > 1 {
                    gopark::gosched().await;
                }
            }
        })
    });
    for player in players {
        player.await.expect("does not panic");
    }
    start.elapsed()
}

/// One operation is a lock and an unlock, of which one in a hundred is a writer's; or every one.
#[inline(never)]
async fn rwmutex<const WRITE_EVERY: usize>(n: usize) -> Duration {
    let rwmutex = RwMutex::new(0);
    let start = Instant::now();
    for i in 0..n {
        if i % WRITE_EVERY == 0 {
            *rwmutex.lock().await += 1;
        } else {
            std::hint::black_box(*rwmutex.rlock().await);
        }
    }
    start.elapsed()
}

/// One operation is an acquisition and a release of one permit.
#[inline(never)]
async fn semaphore(n: usize) -> Duration {
    let semaphore = Semaphore::new(1);
    let start = Instant::now();
    for _ in 0..n {
        drop(std::hint::black_box(semaphore.acquire(1).await));
    }
    start.elapsed()
}

/// A hundred goroutines yield in turn.
#[inline(never)]
async fn gosched(n: usize) -> Duration {
    const CROWD: usize = 100;
    let start = Instant::now();
    let crowd = [(); CROWD].map(|()| {
        gopark::go(async move {
            for _ in 0..n.div_ceil(CROWD) {
                gopark::gosched().await;
            }
        })
    });
    for goroutine in crowd {
        goroutine.await.expect("does not panic");
    }
    start.elapsed()
}

/// One operation is a goroutine that parks once, which enters it into the registry.
#[inline(never)]
async fn first_park(n: usize) -> Duration {
    const CROWD: usize = 1000;
    let start = Instant::now();
    for _ in 0..n.div_ceil(CROWD) {
        let group = WaitGroup::new();
        let (tx, rx) = chan::unbuffered::<()>();
        group.add(CROWD);
        for _ in 0..CROWD {
            let (group, rx) = (group.clone(), rx.clone());
            gopark::go(async move {
                rx.recv().await;
                group.done();
            });
        }
        gopark::gosched().await;
        tx.close();
        group.wait().await;
    }
    start.elapsed()
}

/// One operation is a time-out that is started and dropped.
#[inline(never)]
async fn timeout_dropped(n: usize) -> Duration {
    let start = Instant::now();
    for i in 0..n {
        let limit = Duration::from_millis(1000 + i as u64 % 1000);
        let mut limited = pin!(gopark::time::timeout(limit, pending::<()>()));
        poll_fn(|cx| {
            assert!(limited.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    start.elapsed()
}

/// Opens this many sockets, in pairs, and starts a goroutine for each that waits for data.
async fn wait_on_idle_sockets(n: usize) {
    for _ in 0..n.div_ceil(2) {
        let (one, other) = UnixStream::pair().expect("two more files");
        for stream in [one, other] {
            gopark::go(async move { stream.read(&mut [0]).await });
        }
    }
    // Until they wait.
    for _ in 0..3 {
        gopark::gosched().await;
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let n = args.get(1).map_or(1000, |n| n.parse().expect("a number of operations"));
    let procs = args.get(2).map_or(1, |procs| procs.parse().expect("a number of processors"));
    let idle = args.get(3).map_or(0, |idle| idle.parse().expect("a number of sockets"));
    let case = args.first().cloned().unwrap_or_else(|| "ctx_switch".into());
    let rt = Runtime::builder().gomaxprocs(procs).build().expect("threads");
    let name = case.clone();
    let took = rt.block_on(async move {
        wait_on_idle_sockets(idle).await;
        match name.as_str() {
            "ctx_switch" => ctx_switch(n).await,
            "spawn_join" => spawn_join(n).await,
            "spsc" => spsc(n).await,
            "ping_pong" => ping_pong(n).await,
            "select_2" => select_among::<2>(n, 0).await,
            "select_4_64" => select_among::<4>(n, 64).await,
            "select_16" => select_among::<16>(n, 0).await,
            "mutex" => mutex::<1>(n).await,
            "mutex_2" => mutex::<2>(n).await,
            "rwmutex" => rwmutex::<100>(n).await,
            "rwmutex_write" => rwmutex::<1>(n).await,
            "semaphore" => semaphore(n).await,
            "gosched" => gosched(n).await,
            "first_park" => first_park(n).await,
            "timeout_dropped" => timeout_dropped(n).await,
            _ => panic!(
                "cases: ctx_switch, spawn_join, spsc, ping_pong, select_2, select_4_64, select_16, \
                 mutex, mutex_2, rwmutex, rwmutex_write, semaphore, gosched, first_park, \
                 timeout_dropped"
            ),
        }
    });
    println!("{case}: {:.1} ns", took.as_nanos() as f64 / n as f64);
}
