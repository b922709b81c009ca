//! The properties of a run: its choices, its time, its numbers, its end.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use gopark::sim::{self, Config, Outside, Strategy};
use gopark::{chan, go, gosched, select, sync, time};

use super::panic_of;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn it_returns_what_main_returns_which_need_not_be_send() {
    let borrowed = Rc::new(String::from("borrowed"));
    let output = sim::run(0, || async {
        gosched().await;
        Rc::clone(&borrowed)
    });
    assert_eq!(*output, "borrowed");
}

/// A program whose result depends on each choice.
async fn mixture() -> Vec<usize> {
    let (tx, rx) = chan::bounded(3);
    let lock = Arc::new(sync::Mutex::new(0));
    for n in 0..5 {
        let (tx, lock) = (tx.clone(), lock.clone());
        go(async move {
            time::sleep(Duration::from_millis(n as u64 % 2)).await;
            let mut guard = lock.lock().await;
            *guard += 1;
            tx.send(n * 10 + *guard).await.ok();
        });
    }
    drop(tx);
    let (other, also) = chan::unbuffered();
    go(async move {
        for n in 100..105 {
            other.send(n).await.ok();
        }
    });
    let mut seen = Vec::new();
    for _ in 0..10 {
        select! {
            n = rx.recv() => seen.extend(n),
            n = also.recv() => seen.extend(n),
        }
    }
    seen
}

#[test]
fn a_seed_stands_for_one_interleaving() {
    let first: Vec<_> = (0..50).map(|seed| sim::run(seed, mixture)).collect();
    let again: Vec<_> = (0..50).map(|seed| sim::run(seed, mixture)).collect();
    assert_eq!(first, again);
    let mut different = first;
    different.sort();
    different.dedup();
    assert!(different.len() > 30, "{}", different.len());
}

#[test]
fn a_seed_does_the_same_on_every_thread_and_beside_other_runtimes() {
    let here = sim::run(9, mixture);
    let there = std::thread::spawn(|| sim::run(9, mixture)).join().unwrap();
    assert_eq!(here, there);
    gopark::block_on(async { go(async {}).await.unwrap() });
    let unblocked = gopark::block_on(gopark::unblock(|| sim::run(9, mixture)));
    assert_eq!(here, unblocked);
}

#[test]
fn ids_begin_anew_in_each_run() {
    for seed in 0..3 {
        let ids = sim::run(seed, || async {
            let handle = go(async {});
            (gopark::inspect::goroutines()[0].id.to_string(), handle.id().to_string())
        });
        assert_eq!(ids, ("goroutine 1".into(), "goroutine 2".into()));
    }
}

#[test]
fn time_is_virtual_and_moves_when_all_wait() {
    let real = std::time::Instant::now();
    sim::run(3, || async {
        let begin = time::now();
        let sleeper = go(async move {
            time::sleep(SECOND * 3600).await;
            time::now() - begin
        });
        assert_eq!(time::now(), begin);
        assert_eq!(sleeper.await.unwrap(), SECOND * 3600);
        let ticker = time::Ticker::new(SECOND);
        for n in 1..=3 {
            assert_eq!(ticker.tick().await - begin, SECOND * (3600 + n));
        }
        ticker.stop();
        let late = time::timeout(SECOND, std::future::pending::<()>()).await;
        assert!(late.is_err());
        assert_eq!(time::now() - begin, SECOND * 3604);
    });
    assert!(real.elapsed() < SECOND * 60);
}

#[test]
fn wait_returns_once_all_others_are_blocked() {
    for seed in 0..100 {
        sim::run(seed, || async {
            let (count, lock) = (Arc::new(AtomicUsize::new(0)), Arc::new(sync::Mutex::new(())));
            let held = lock.lock().await;
            for _ in 0..3 {
                let (count, lock) = (count.clone(), lock.clone());
                go(async move {
                    gosched().await;
                    count.fetch_add(1, Relaxed);
                    // It is blocked here, in a lock.
                    drop(lock.lock().await);
                    count.fetch_add(10, Relaxed);
                });
            }
            sim::wait().await;
            assert_eq!(count.load(Relaxed), 3);
            drop(held);
            sim::wait().await;
            assert_eq!(count.load(Relaxed), 33);
        });
    }
}

#[test]
fn advance_passes_each_timer_in_order() {
    sim::run(0, || async {
        let begin = time::now();
        let (tx, rx) = chan::bounded(10);
        for n in [3, 1, 2] {
            let tx = tx.clone();
            go(async move {
                time::sleep(SECOND * n).await;
                tx.send(n).await
            });
        }
        sim::advance(SECOND * 2).await;
        assert_eq!([rx.try_recv(), rx.try_recv()], [Ok(1), Ok(2)]);
        assert!(rx.try_recv().is_err());
        assert_eq!(time::now() - begin, SECOND * 2);
    });
}

#[test]
fn a_deadlock_is_reported_with_its_goroutines() {
    let text = panic_of(|| {
        sim::run(0, || async {
            let (_tx, rx) = chan::unbuffered::<u8>();
            let other = rx.clone();
            go(async move { other.recv().await });
            rx.recv().await
        });
    });
    assert!(text.contains("all goroutines are asleep"), "{text}");
    assert!(
        text.contains("goroutine 1 (main) [chan receive, 0.0 s] at tests/sim/runs.rs:"),
        "{text}"
    );
    assert!(text.contains("goroutine 2 [chan receive, 0.0 s] at tests/sim/runs.rs:"), "{text}");
}

#[test]
fn a_run_without_end_is_one_of_too_many_steps() {
    let text = panic_of(|| {
        Config::new().runs(1).step_limit(1000).check(|| async {
            let other = go(std::future::pending::<()>());
            loop {
                if other.is_finished() {
                    break;
                }
                gosched().await;
            }
        });
    });
    assert!(text.contains("still there after 1000 steps"), "{text}");
    let ready = panic_of(|| {
        Config::new().runs(1).step_limit(1000).check(|| async {
            let (tx, rx) = chan::bounded(1);
            loop {
                tx.send(1).await.unwrap();
                rx.recv().await;
            }
        });
    });
    assert!(ready.contains("still there after 1000 steps"), "{ready}");
}

#[test]
fn a_leak_is_a_failure_if_that_is_asked_for() {
    let leaking = || async {
        let (tx, rx) = chan::unbuffered();
        go(async move { tx.send(1).await });
        Box::leak(Box::new(rx));
    };
    Config::new().runs(10).check(leaking);
    let text = panic_of(|| Config::new().runs(10).leaks(true).check(leaking));
    assert!(text.contains("1 goroutine still there when main had returned"), "{text}");
    assert!(text.contains("[chan send"), "{text}");
    // A goroutine that ends by itself is no leak.
    Config::new().runs(10).leaks(true).check(|| async {
        go(time::sleep(Duration::from_millis(300)));
        go(gosched());
    });
}

#[test]
fn what_is_left_is_dropped_when_main_returns() {
    struct Notes(Arc<AtomicUsize>);
    impl Drop for Notes {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    sim::run(0, || async {
        for n in 0..10 {
            let notes = Notes(dropped.clone());
            go(async move {
                let _notes = notes;
                if n % 2 == 0 {
                    time::sleep(SECOND).await;
                }
                std::future::pending::<()>().await
            });
            if n == 7 {
                gosched().await;
            }
        }
    });
    assert_eq!(dropped.load(Relaxed), 10);
}

#[test]
fn a_panic_of_a_goroutine_is_the_handles_or_the_runs() {
    sim::run(0, || async {
        let panics = go(async { panic!("kept") }).await;
        assert!(panics.unwrap_err().is_panic());
    });
    let text = panic_of(|| {
        sim::run(0, || async {
            go(async { panic!("lost") });
            std::future::pending::<()>().await
        });
    });
    assert!(text.contains("lost"), "{text}");
}

#[test]
fn the_numbers_of_cpus_are_virtual() {
    sim::run(0, || async {
        assert_eq!(gopark::num_cpu(), 4);
        assert_eq!(gopark::gomaxprocs(2), 4);
        assert_eq!(gopark::gomaxprocs(0), 2);
        assert_eq!(gopark::num_goroutine(), 1);
    });
    sim::run(0, || async { assert_eq!(gopark::gomaxprocs(0), 4) });
}

#[test]
fn a_program_that_is_not_deterministic_is_told_so() {
    let (runs, program) = (AtomicUsize::new(0), &AtomicUsize::new(0));
    let text = panic_of(|| {
        Config::new().runs(1).check(|| async {
            if program.fetch_add(1, Relaxed) % 2 == 0 {
                go(async {}).await.unwrap();
            }
            runs.fetch_add(1, Relaxed);
            panic!("always");
        });
    });
    assert!(text.contains("is not deterministic: two runs of seed 0 differ at step 1"), "{text}");
    assert!(text.contains("HashMap"), "{text}");
    assert_eq!(runs.load(Relaxed), 2);
}

#[test]
fn a_failure_is_shrunk_to_the_switches_that_it_needs() {
    let text = panic_of(|| {
        Config::new().check(|| async {
            let (count, lock) = (Arc::new(AtomicUsize::new(0)), Arc::new(sync::Mutex::new(())));
            let adders: Vec<_> = (0..4)
                .map(|_| {
                    let (count, lock) = (count.clone(), lock.clone());
                    go(async move {
                        for _ in 0..5 {
                            drop(lock.lock().await);
                        }
                        let before = count.load(Relaxed);
                        drop(lock.lock().await);
                        count.store(before + 1, Relaxed);
                    })
                })
                .collect();
            for adder in adders {
                adder.await.unwrap();
            }
            assert_eq!(count.load(Relaxed), 4);
        });
    });
    let shrunk =
        text.split("shrunk to ").nth(1).and_then(|rest| rest.split(" steps, ").nth(1)).unwrap();
    let switches: usize = shrunk.split(' ').next().unwrap().parse().unwrap();
    assert!(switches <= 8, "{text}");
}

#[test]
fn every_strategy_runs_what_yields_in_a_loop() {
    for strategy in [
        Strategy::Random,
        Strategy::Pct { depth: 1 },
        Strategy::Pct { depth: 5 },
        Strategy::RoundRobin,
    ] {
        Config::new().runs(50).step_limit(10_000).strategy(strategy).check(|| async {
            let done = Arc::new(AtomicUsize::new(0));
            let sets = done.clone();
            go(async move {
                gosched().await;
                sets.store(1, Relaxed);
            });
            while done.load(Relaxed) == 0 {
                gosched().await;
            }
        });
    }
}

#[test]
fn what_leaves_the_simulation_panics_at_its_place() {
    let of = |text: String, what: &str| {
        assert!(
            text.contains(&format!("{what} leaves the simulation, at tests/sim/runs.rs:")),
            "{text}"
        );
    };
    of(panic_of(|| sim::run(0, || async { gopark::unblock(|| ()).await })), "unblock");
    of(panic_of(|| sim::run(0, || async { gopark::block_in_place(|| ()) })), "block_in_place");
    of(
        panic_of(|| {
            sim::run(0, || async { chan::bounded(1).0.send_blocking(1) }).unwrap();
        }),
        "a blocking form",
    );
    of(
        panic_of(|| sim::run(0, || async { drop(sync::Mutex::new(1).lock_blocking()) })),
        "a blocking form",
    );
    of(
        panic_of(|| sim::run(0, || async { drop(gopark::Runtime::new()) })),
        "the use of another runtime",
    );
    let runtime = gopark::Runtime::new();
    let handle = runtime.handle();
    of(
        panic_of(|| sim::run(0, || async { drop(runtime.go(async {})) })),
        "the use of another runtime",
    );
    of(
        panic_of(|| sim::run(0, || async { drop(handle.go(async {})) })),
        "the use of another runtime",
    );
    of(
        panic_of(|| sim::run(0, || async { for () in chan::bounded(1).1.iter_blocking() {} })),
        "a blocking form",
    );
    of(
        panic_of(|| sim::run(0, || async { for () in chan::bounded(1).1.into_iter_blocking() {} })),
        "a blocking form",
    );
    #[cfg(feature = "net")]
    {
        use gopark::net::{TcpListener, TcpStream, UdpSocket, lookup_host};

        let address = "127.0.0.1:9";
        of(
            panic_of(|| sim::run(0, || async { drop(lookup_host("localhost:9").await) })),
            "unblock",
        );
        of(
            panic_of(|| sim::run(0, || async { drop(TcpStream::connect(("localhost", 9)).await) })),
            "unblock",
        );
        of(
            panic_of(|| sim::run(0, || async { drop(TcpListener::bind("127.0.0.1:0").await) })),
            "a socket",
        );
        of(
            panic_of(|| sim::run(0, || async { drop(TcpStream::connect(address).await) })),
            "a socket",
        );
        of(
            panic_of(|| sim::run(0, || async { drop(UdpSocket::bind("127.0.0.1:0").await) })),
            "a socket",
        );
    }
    // The handle of the simulation itself is allowed.
    sim::run(0, || async { gopark::Handle::current().go(async {}).await.unwrap() });
    of(
        panic_of(|| {
            sim::run(0, || async {
                let (tx, rx) = chan::unbuffered();
                let receiver = go(async move { rx.recv().await });
                sim::wait().await;
                std::thread::spawn(move || tx.send_blocking(1)).join().unwrap().unwrap();
                receiver.await
            })
            .unwrap();
        }),
        "a wake by another thread",
    );
}

#[test]
fn what_is_allowed_may_leave_it() {
    Config::new().runs(5).allow(Outside::Unblock).allow(Outside::Wake).check(|| async {
        assert_eq!(gopark::unblock(|| 5).await, 5);
        let (tx, rx) = chan::unbuffered();
        std::thread::spawn(move || tx.send_blocking(1));
        assert_eq!(rx.recv().await, Some(1));
    });
}

#[cfg(all(feature = "net", unix))]
#[test]
fn sockets_that_are_allowed_work() {
    Config::new().runs(5).allow(Outside::Socket).allow(Outside::Wake).check(|| async {
        let (a, b) = gopark::net::UnixStream::pair().unwrap();
        let reader = go(async move {
            let mut bytes = [0; 3];
            b.read_exact(&mut bytes).await.map(|()| bytes)
        });
        gosched().await;
        a.write_all(b"abc").await.unwrap();
        assert_eq!(&reader.await.unwrap().unwrap(), b"abc");
    });
}

/// A bug: descriptors share pages of slots, and a slot recorded the simulation that had used its
/// last descriptor. So the next simulation that opened a socket there was told that it used one of
/// another. (Without a socket that stays open the page is freed.)
#[cfg(all(feature = "net", unix))]
#[test]
fn sockets_of_each_run_are_new_next_to_one_that_stays_open() {
    let (stays, _) = gopark::net::UnixStream::pair().unwrap();
    Config::new().runs(5).allow(Outside::Socket).allow(Outside::Wake).check(|| async {
        let (a, b) = gopark::net::UnixStream::pair().unwrap();
        a.write_all(b"abc").await.unwrap();
        b.read_exact(&mut [0; 3]).await.unwrap();
    });
    drop(stays);
}

#[test]
fn a_simulation_inside_of_another_or_of_a_goroutine_panics() {
    let text = panic_of(|| sim::run(0, || async { sim::run(0, || async {}) }));
    assert!(text.contains("a simulation called inside a simulation"), "{text}");
    let text = panic_of(|| gopark::block_on(async { sim::run(0, || async {}) }));
    assert!(text.contains("inside a goroutine"), "{text}");
    assert!(panic_of(|| gopark::block_on(sim::wait())).contains("outside of a simulation"));
}

#[test]
fn time_outs_are_over_at_any_point_if_that_is_asked_for() {
    let late = AtomicUsize::new(0);
    Config::new().runs(200).cancel(0.2).check(|| async {
        let (tx, rx) = chan::bounded(1);
        go(async move {
            for n in 0..3 {
                gosched().await;
                tx.send(n).await.ok();
            }
        });
        if time::timeout(SECOND, rx.recv()).await.is_err() {
            late.fetch_add(1, Relaxed);
        }
    });
    assert!((1..200).contains(&late.load(Relaxed)), "{late:?}");
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn a_destructor_that_panics_is_no_end_of_the_process() {
    // The destructor of a panic's payload.
    let text = panic_of(|| sim::run(0, || async { std::panic::panic_any(PanicsWhenDropped) }));
    assert!(text.contains("Box<dyn Any>"), "{text}");
    // The destructor of a main's output, in a run that fails.
    let text = panic_of(|| {
        Config::new().runs(1).leaks(true).check(|| async {
            go(std::future::pending::<()>());
            PanicsWhenDropped
        });
    });
    assert!(text.contains("1 goroutine still there"), "{text}");
}

#[test]
fn a_wait_of_another_run_ends_no_wait_of_this_one() {
    let old = sim::run(0, || async {
        let mut wait = Box::pin(sim::wait());
        assert!(futures_lite::FutureExt::poll(&mut wait, &mut noop()).is_pending());
        Some(wait)
    });
    sim::run(0, || async {
        let begun = Arc::new(AtomicUsize::new(0));
        let begins = begun.clone();
        let waiter = go(async move {
            let mut wait = Box::pin(sim::wait());
            std::future::poll_fn(|cx| {
                let polled = wait.as_mut().poll(cx);
                begins.store(1, Relaxed);
                polled
            })
            .await;
        });
        while begun.load(Relaxed) == 0 {
            gosched().await;
        }
        drop(old);
        waiter.await.unwrap();
    });
}

#[test]
fn what_another_run_has_used_panics_where_it_is_used() {
    static LOCK: sync::Mutex<u8> = sync::Mutex::new(0);
    let locks = || async { *LOCK.lock().await += 1 };
    sim::run(0, locks);
    let text = panic_of(|| sim::run(1, locks));
    assert!(
        text.contains(
            "the use of what another run has used leaves the simulation, at tests/sim/runs.rs:"
        ),
        "{text}"
    );
    assert!(text.contains("(sync.Mutex.Lock)"), "{text}");
    Config::new().runs(2).allow(Outside::OtherRun).check(locks);

    let (tx, rx) = chan::bounded(9);
    // A channel that was used outside of any run belongs to no other run.
    gopark::block_on(tx.send(0)).unwrap();
    sim::run(0, || async { tx.send(1).await.unwrap() });
    let text = panic_of(|| sim::run(1, || async { assert_eq!(rx.recv().await, Some(0)) }));
    assert!(text.contains("(chan receive)"), "{text}");

    let (group, permits, rw) =
        (sync::WaitGroup::new(), sync::Semaphore::new(1), sync::RwMutex::new(0));
    let (ctx, cancel) = gopark::context::Context::background().with_cancel();
    cancel.cancel();
    let uses: [(&str, &dyn Fn()); 4] = [
        ("sync.WaitGroup.Wait", &|| sim::run(0, || group.wait())),
        ("semaphore", &|| drop(sim::run(0, || permits.acquire(1)))),
        ("sync.RWMutex.RLock", &|| drop(sim::run(0, || rw.rlock()))),
        ("context.Done", &|| sim::run(0, || ctx.done())),
    ];
    for (name, uses) in uses {
        uses();
        let text = panic_of(uses);
        assert!(text.contains(&format!("({name})")), "{text}");
    }
}

#[test]
fn what_is_tried_and_what_a_select_has_is_of_one_run_as_well() {
    let (tx, rx) = chan::bounded(9);
    let (lock, rw, permits) = (sync::Mutex::new(0), sync::RwMutex::new(0), sync::Semaphore::new(1));
    let also = chan::bounded::<u8>(1);
    let uses: [&dyn Fn(); 7] = [
        &|| _ = sim::run(0, || async { tx.try_send(1) }),
        &|| _ = sim::run(0, || async { tx.force_send(1) }),
        &|| _ = sim::run(0, || async { rx.try_recv() }),
        &|| sim::run(0, || async { drop(lock.try_lock()) }),
        &|| sim::run(0, || async { drop(rw.try_rlock()) }),
        &|| sim::run(0, || async { drop(permits.try_acquire(1)) }),
        &|| {
            sim::run(0, || async {
                gopark::select! {
                    _ = also.1.recv() => {}
                    default => {}
                }
            })
        },
    ];
    for (n, uses) in uses.iter().enumerate() {
        // The first run uses the channel of the first three.
        if n == 0 || n > 2 {
            uses();
        }
        let text = panic_of(uses);
        let leaves =
            "the use of what another run has used leaves the simulation, at tests/sim/runs.rs:";
        assert!(text.contains(leaves), "{n}: {text}");
    }
}

#[test]
fn a_timer_is_of_the_run_that_made_it_and_a_pool_of_the_first_that_used_it() {
    let soon = Duration::from_secs(1);
    fn made<T: 'static>(make: impl Fn() -> T) -> T {
        sim::run(0, || async { make() })
    }
    let new_timer = || time::Timer::new(soon);
    let after_func = || time::Timer::after_func(soon, async {});
    let pool = sync::Pool::new(|| 0);
    sim::run(0, || async { drop(pool.get_guard()) });
    let guard = sim::run(0, || async {
        let pool = Box::leak(Box::new(sync::Pool::new(|| 0)));
        pool.get_guard()
    });
    let uses: [(&str, &dyn Fn()); 14] = [
        ("sleep", &|| {
            let sleep = made(|| time::sleep(soon));
            sim::run(1, || sleep);
        }),
        ("sleep reset", &|| {
            let mut sleep = Box::pin(made(|| time::sleep(soon)));
            sim::run(1, || async { sleep.as_mut().reset(time::now() + soon) });
        }),
        ("sleep in a select", &|| {
            let mut sleep = Box::pin(made(|| time::sleep(soon)));
            sim::run(1, || async {
                gopark::select! { _ = sleep.as_mut() => {} }
            });
        }),
        ("timeout", &|| {
            let timeout = made(|| time::timeout(soon, std::future::pending::<()>()));
            _ = sim::run(1, || timeout);
        }),
        ("timer", &|| {
            let timer = made(new_timer);
            sim::run(1, || async { timer.channel().recv().await });
        }),
        ("timer stop", &|| {
            let timer = made(new_timer);
            sim::run(1, || async { timer.stop() });
        }),
        ("timer reset", &|| {
            let timer = made(new_timer);
            sim::run(1, || async { timer.reset(soon) });
        }),
        ("func stop", &|| {
            let timer = made(after_func);
            sim::run(1, || async { timer.stop() });
        }),
        ("func reset", &|| {
            let timer = made(after_func);
            sim::run(1, || async { timer.reset(soon) });
        }),
        ("after", &|| {
            let after = made(|| time::after(soon));
            sim::run(1, || async { after.recv().await });
        }),
        ("tick", &|| {
            let ticker = made(|| time::Ticker::new(soon));
            sim::run(1, || async { ticker.tick().await });
        }),
        ("ticker stop", &|| {
            let ticker = made(|| time::Ticker::new(soon));
            sim::run(1, || async { ticker.stop() });
        }),
        ("pool get", &|| _ = sim::run(1, || async { pool.get() })),
        ("pool put", &|| sim::run(1, || async { pool.put(1) })),
    ];
    for (name, uses) in uses {
        let text = panic_of(uses);
        let leaves =
            "the use of what another run has used leaves the simulation, at tests/sim/runs.rs:";
        assert!(text.contains(leaves), "{name}: {text}");
    }
    // A destructor must not panic.
    sim::run(1, || async { drop(guard) });
    let allowed = Config::new().runs(1).allow(Outside::OtherRun);
    allowed.check(|| async { assert_eq!(pool.get(), 0) });
}

#[test]
fn a_join_of_operations_gets_on() {
    use futures_lite::future::zip;
    for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }, Strategy::RoundRobin] {
        Config::new().runs(300).strategy(strategy).leaks(true).check(|| async {
            let lock = Arc::new(sync::Mutex::new(0));
            let (tx, rx) = chan::bounded(1);
            let joins = [(); 3].map(|()| {
                let (lock, tx, rx) = (lock.clone(), tx.clone(), rx.clone());
                go(async move {
                    let adds = async || {
                        for _ in 0..3 {
                            *lock.lock().await += 1;
                        }
                    };
                    let messages = zip(tx.send(1), rx.recv());
                    let slept = time::sleep(Duration::from_secs(1));
                    let (_, ((sent, got), _)) =
                        zip(zip(slept, adds()), zip(messages, zip(adds(), adds()))).await;
                    assert_eq!((sent, got), (Ok(()), Some(1)));
                })
            });
            for join in joins {
                join.await.unwrap();
            }
            assert_eq!(*lock.lock().await, 27);
        });
    }
}

/// One call starts them all, and they ask in the same poll.
#[test]
fn operations_of_one_site_in_a_join_get_on() {
    async fn all<F: Future<Output = ()>>(operations: Vec<F>) {
        let mut operations: Vec<_> = operations.into_iter().map(Box::pin).collect();
        std::future::poll_fn(|cx| {
            operations.retain_mut(|operation| operation.as_mut().poll(cx).is_pending());
            if operations.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }, Strategy::RoundRobin] {
        Config::new().runs(300).strategy(strategy).step_limit(100_000).leaks(true).check(
            || async {
                let places = Arc::new(sync::Semaphore::new(2));
                let (tx, rx) = chan::bounded(1);
                let sends = go(all((0..4)
                    .map(|i| {
                        let tx = tx.clone();
                        async move { tx.send(i).await.unwrap() }
                    })
                    .collect()));
                let sleeps =
                    go(all((0..4).map(|i| time::sleep(Duration::from_millis(i))).collect()));
                let acquires = go(all((0..4)
                    .map(|_| {
                        let places = places.clone();
                        async move { drop(places.acquire(1).await) }
                    })
                    .collect()));
                all((0..4).map(|_| async { assert!(rx.recv().await.is_some()) }).collect()).await;
                for join in [sends, sleeps, acquires] {
                    join.await.unwrap();
                }
            },
        );
    }
}

#[test]
fn a_future_that_nobody_wakes_is_told_when_all_else_is_blocked() {
    let text = panic_of(|| {
        sim::run(0, || async {
            let (_tx, rx) = chan::unbuffered::<u8>();
            go(async move { rx.recv().await });
            std::future::pending::<()>().await
        });
    });
    assert!(text.contains("nothing inside the runtime can wake them"), "{text}");
    assert!(text.contains("goroutine 1 (main) [foreign future"), "{text}");
}

#[test]
fn there_may_be_more_goroutines_than_a_queue_has_room_for() {
    for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }, Strategy::RoundRobin] {
        Config::new().runs(3).strategy(strategy).check(|| async {
            let (tx, rx) = chan::bounded(10);
            for n in 0..2000 {
                let tx = tx.clone();
                go(async move { tx.send(n).await });
            }
            drop(tx);
            let mut seen = Vec::new();
            while let Some(n) = rx.recv().await {
                seen.push(n);
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..2000));
        });
    }
}

#[test]
fn an_executor_inside_of_a_goroutine_gets_on() {
    Config::new().runs(100).check(|| async {
        let (tx, rx) = chan::bounded(1);
        let others = [(); 3].map(|()| {
            go(async {
                for _ in 0..5 {
                    gosched().await;
                }
            })
        });
        // It polls until it is ready, and gives no other goroutine a turn.
        futures_lite::future::block_on(tx.send(1)).unwrap();
        assert_eq!(futures_lite::future::block_on(rx.recv()), Some(1));
        // If it polls once, with a waker that wakes nothing, it gets its answer at once.
        assert_eq!(
            futures_lite::FutureExt::poll(&mut Box::pin(tx.send(2)), &mut noop()),
            std::task::Poll::Ready(Ok(()))
        );
        for other in others {
            other.await.unwrap();
        }
    });
}

fn noop() -> std::task::Context<'static> {
    std::task::Context::from_waker(std::task::Waker::noop())
}

/// Whether a goroutine has sent something after it was aborted. It ends in any case.
async fn outruns_its_abort() -> bool {
    let (tx, rx) = chan::bounded(2);
    let sender = go(async move {
        tx.send(1).await.ok();
        tx.send(2).await.ok();
        std::future::pending::<()>().await;
    });
    gosched().await;
    let sent = rx.len();
    sender.abort();
    assert!(sender.await.unwrap_err().is_aborted());
    rx.len() > sent
}

#[test]
fn a_goroutine_outruns_its_abort_at_the_rate_of_cancel_alone() {
    let times = |rate| {
        let times = Cell::new(0);
        Config::new().runs(200).cancel(rate).check(|| async {
            times.set(times.get() + usize::from(outruns_its_abort().await));
        });
        times.get()
    };
    assert_eq!(times(0.0), 0);
    assert!((1..200).contains(&times(0.3)));
}

#[test]
fn a_goroutine_that_outran_its_abort_is_replayed_and_shrunk() {
    let text = panic_of(|| {
        Config::new()
            .cancel(0.3)
            .check(|| async { assert!(!outruns_its_abort().await, "it was aborted") });
    });
    assert!(
        text.contains("it was aborted") && text.contains("its abort comes a moment too late"),
        "{text}"
    );
}

#[test]
fn by_pct_the_lowest_gets_on_though_others_go_on_for_ever() {
    Config::new().runs(20).strategy(Strategy::Pct { depth: 3 }).step_limit(200_000).check(
        || async {
            let (there, back) = (chan::unbuffered(), chan::unbuffered());
            for (take, give) in [(there.clone(), back.clone()), (back, there.clone())] {
                go(async move {
                    while let Some(ball) = take.1.recv().await {
                        give.0.send(ball).await.ok();
                    }
                });
            }
            there.0.send(()).await.ok();
            for _ in 0..20 {
                gosched().await;
            }
        },
    );
}

/// As outside of a simulation, where a payload whose destructor panics could end a worker: here it
/// would have aborted the process.
#[test]
fn a_second_panic_whose_payload_panics_as_well_fails_the_run_with_the_first() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the payload's destructor");
        }
    }
    struct Twice;
    impl Future for Twice {
        type Output = ();
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
            panic!("the first panic");
        }
    }
    impl Drop for Twice {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }
    let text = panic_of(|| {
        sim::run(0, || async move {
            go(Twice).await.unwrap();
        });
    });
    assert!(text.contains("the first panic"), "{text}");
}

/// A bug: a run that failed by another panic counted as a smaller run of the same failure, so the
/// report showed the steps of a run in which the reported panic did not happen; and it was longer.
#[test]
fn a_shrunk_run_fails_with_the_reported_panic_and_is_not_longer() {
    let report = |seed| {
        panic_of(|| {
            Config::new().seed(seed).runs(1).check(|| async {
                let order = Arc::new(std::sync::Mutex::new(Vec::new()));
                let mut handles = Vec::new();
                for number in 2..5 {
                    let order = order.clone();
                    handles.push(go(async move {
                        gosched().await;
                        order.lock().unwrap().push(number);
                    }));
                }
                for handle in handles {
                    handle.await.unwrap();
                }
                let first = order.lock().unwrap()[0];
                assert!(first != 4, "bug A: goroutine 4 came first");
                panic!("bug B: goroutine {first} came first");
            });
        })
    };
    let reports = (0..40).map(report).filter(|report| report.contains("bug A")).take(5);
    for report in reports {
        let at = |text: &str| report.find(text).expect("a step of the run");
        let ends = [2, 3, 4].map(|id| at(&format!("goroutine {id}, ends")));
        assert!(ends[2] < ends[0].min(ends[1]), "{report}");
        let number = |before: &str, after: &str| -> usize {
            let rest = report.split(before).nth(1).unwrap();
            rest.split(after).next().unwrap().parse().unwrap()
        };
        assert!(number("shrunk to ", " steps") <= number("replays it: ", " steps"), "{report}");
    }
}

/// A bug: the failing run was repeated, to shrink it, and waited for a wake that came only once.
#[test]
fn a_failure_is_not_repeated_if_other_threads_may_wake_goroutines() {
    let text = panic_of(|| {
        let first = Cell::new(true);
        Config::new().runs(1).allow(Outside::Wake).check(|| {
            let is_first = first.replace(false);
            async move {
                let (tx, rx) = chan::bounded::<()>(1);
                if is_first {
                    drop(tx);
                    rx.recv().await;
                    panic!("woken once");
                }
                std::mem::forget(tx);
                rx.recv().await;
            }
        });
    });
    assert!(text.contains("woken once"), "{text}");
}
