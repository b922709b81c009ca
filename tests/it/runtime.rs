//! Goroutines, runtimes, blocking, gomaxprocs: the SCH rows.

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::block_on as block_thread_on;
use gopark::chan::Sender;
use gopark::context::Context as GoContext;
use gopark::sync::WaitGroup;
use gopark::{
    JoinHandle, Runtime, block_in_place, chan, go, gomaxprocs, gosched, num_goroutine, unblock,
};

use crate::util::{Drops, OnDrop, in_child, isolated, no_hang, rt, spin_until, undisturbed};

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap().push(what.into());
}

#[test]
fn the_newest_goroutine_runs_next_and_the_others_in_order_sch01() {
    no_hang(|| {
        let expected = ["9", "0", "1", "2", "3", "4", "5", "6", "7", "8"].map(str::to_owned);
        undisturbed(expected.to_vec(), || {
            let log = Log::default();
            rt(1).block_on(async {
                for i in 0..10 {
                    let log = log.clone();
                    go(async move { note(&log, i.to_string()) });
                }
                gosched().await;
                gosched().await;
            });
            std::mem::take(&mut *log.lock().unwrap())
        });
    });
}

#[test]
fn a_send_goes_on_and_its_receiver_runs_next_sch02() {
    no_hang(|| {
        let order = || {
            let log = Log::default();
            rt(1).block_on(async {
                let (tx, rx) = chan::unbuffered();
                let wg = WaitGroup::new();
                let l = log.clone();
                wg.go(async move {
                    rx.recv().await;
                    note(&l, "receiver");
                });
                gosched().await;
                for i in 0..2 {
                    let l = log.clone();
                    wg.go(async move { note(&l, format!("other {i}")) });
                }
                let l = log.clone();
                wg.go(async move {
                    tx.send(()).await.unwrap();
                    note(&l, "sender");
                });
                wg.wait().await;
            });
            let log = log.lock().unwrap();
            assert_eq!(log.len(), 4);
            [log[0].clone(), log[1].clone()]
        };
        undisturbed(["sender", "receiver"].map(str::to_owned), order);
    });
}

#[test]
fn a_pair_that_wakes_each_other_for_ever_does_not_starve_a_third_sch03() {
    no_hang(|| {
        rt(1).block_on(async {
            let (a_tx, a) = chan::unbuffered::<()>();
            let (b_tx, b) = chan::unbuffered::<()>();
            let stop = Arc::new(AtomicBool::new(false));
            let wg = WaitGroup::new();
            let s = stop.clone();
            wg.go(async move {
                while !s.load(Ordering::Relaxed) {
                    let _ = a_tx.send(()).await;
                    b.recv().await;
                }
            });
            wg.go(async move {
                while a.recv().await.is_some() {
                    let _ = b_tx.send(()).await;
                }
            });
            for _ in 0..100 {
                gosched().await;
            }
            stop.store(true, Ordering::Relaxed);
            wg.wait().await;
            assert_eq!(wg.count(), 0);
        });
    });
}

#[test]
fn a_pair_that_spends_no_budget_does_not_starve_a_third_sch03() {
    no_hang(|| {
        rt(1).block_on(async {
            let stop = Arc::new(AtomicBool::new(false));
            let wakers = Arc::new(Mutex::new([None::<Waker>, None]));
            for me in 0..2 {
                let (stop, wakers) = (stop.clone(), wakers.clone());
                go(poll_fn(move |cx| {
                    let mut wakers = wakers.lock().unwrap();
                    wakers[me] = Some(cx.waker().clone());
                    wakers[1 - me].take().into_iter().for_each(Waker::wake);
                    if stop.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
                }));
            }
            for _ in 0..100 {
                gosched().await;
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn gosched_goes_behind_everything_runnable_sch04() {
    no_hang(|| {
        let log = Log::default();
        rt(1).block_on(async {
            let wg = WaitGroup::new();
            for i in 0..3 {
                let log = log.clone();
                wg.go(async move {
                    note(&log, format!("g{i}"));
                    gosched().await;
                    note(&log, format!("g{i}'"));
                });
            }
            wg.wait().await;
        });
        assert_eq!(*log.lock().unwrap(), ["g2", "g0", "g1", "g2'", "g0'", "g1'"]);
    });
}

#[test]
fn gosched_goes_behind_what_waits_outside_the_processor_sch04() {
    no_hang(|| {
        rt(1).block_on(async {
            // It does not do so among goroutines that compute, so there are many short rounds
            // first. A goroutine that the system stops seems to compute: it is enough if the order
            // is right more often than not.
            let mut balance = 0;
            while balance < 5 {
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(12) {
                    gosched().await;
                }
                // More than a processor's queue can hold.
                let ran = Arc::new(AtomicUsize::new(0));
                let behind = Arc::new(AtomicUsize::new(0));
                let wg = WaitGroup::new();
                for i in 0..400 {
                    let (ran, behind) = (ran.clone(), behind.clone());
                    wg.go(async move {
                        ran.fetch_add(1, Ordering::SeqCst);
                        if i == 5 {
                            gosched().await;
                            behind.store(ran.load(Ordering::SeqCst), Ordering::SeqCst);
                        }
                    });
                }
                wg.wait().await;
                balance += if behind.load(Ordering::SeqCst) == 400 { 1 } else { -1 };
                assert!(balance > -20, "it went to the end of the processor's own queue");
            }
        });
    });
}

#[test]
fn injected_work_runs_beside_local_work_that_never_ends_sch05() {
    no_hang(|| {
        let rt = rt(1);
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..2 {
            let stop = stop.clone();
            rt.go(async move {
                while !stop.load(Ordering::Relaxed) {
                    gosched().await;
                }
            });
        }
        for _ in 0..50 {
            assert_eq!(rt.block_on(async { 7 }), 7);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn ten_thousand_from_one_spawner_all_run_once_sch06() {
    no_hang(|| {
        for procs in [1, 2, 4] {
            rt(procs).block_on(async {
                let ran = Arc::new(AtomicUsize::new(0));
                let wg = WaitGroup::new();
                for _ in 0..10_000 {
                    let ran = ran.clone();
                    wg.go(async move {
                        ran.fetch_add(1, Ordering::Relaxed);
                    });
                }
                wg.wait().await;
                assert_eq!(ran.load(Ordering::Relaxed), 10_000);
            });
        }
    });
}

#[test]
fn as_many_run_at_once_as_there_are_processors_sch09() {
    no_hang(|| {
        const P: usize = 3;
        let rt = rt(P);
        for _ in 0..3 {
            rt.block_on(async {
                let turn = Arc::new(AtomicUsize::new(0));
                let wg = WaitGroup::new();
                for me in 0..P {
                    let turn = turn.clone();
                    wg.go(async move {
                        for round in 0..5 {
                            // In turns, without yielding.
                            spin_until(|| turn.load(Ordering::SeqCst) == round * P + me);
                            turn.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                wg.wait().await;
                assert_eq!(turn.load(Ordering::SeqCst), 5 * P);
            });
        }
    });
}

#[test]
fn what_waits_behind_a_long_poll_is_stolen_before_the_monitor_sees_it_sch09() {
    no_hang(|| {
        for procs in [2, 3] {
            rt(procs).block_on(async {
                let mut soonest = Duration::MAX;
                for _ in 0..50 {
                    let ran = Arc::new(Mutex::new(None));
                    let (first, start) = (ran.clone(), Instant::now());
                    go(async move { *first.lock().unwrap() = Some(start.elapsed()) });
                    // It is put into the run-next slot: the goroutine that was there goes to the
                    // queue.
                    go(async {});
                    spin_until(|| ran.lock().unwrap().is_some());
                    soonest = soonest.min(ran.lock().unwrap().unwrap());
                    gosched().await;
                }
                assert!(soonest < Duration::from_millis(4), "{soonest:?} with {procs}");
            });
        }
    });
}

#[test]
fn wakes_from_foreign_threads_are_never_lost_sch10() {
    no_hang(|| {
        let rt = rt(2);
        let (tx, rx) = chan::bounded::<usize>(1);
        let sum = rt.go(async move {
            let mut sum = 0;
            while let Some(v) = rx.recv().await {
                sum += v;
            }
            sum
        });
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let tx = tx.clone();
                thread::spawn(move || (0..500).for_each(|v| tx.send_blocking(v).unwrap()))
            })
            .collect();
        drop(tx);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(block_thread_on(sum).unwrap(), 4 * 500 * 499 / 2);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_runtime_burns_no_cpu_sch11() {
    let Some(ended) = in_child(&[]) else {
        fn cpu() -> Duration {
            // SAFETY: the struct is plain data, which the call fills.
            unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
                let micros = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
                Duration::from_micros(micros(usage.ru_utime) + micros(usage.ru_stime))
            }
        }
        let rt = rt(4);
        rt.block_on(async {
            let wg = WaitGroup::new();
            (0..100).for_each(|_| wg.go(gosched()));
            wg.wait().await;
        });
        rt.go(pending::<()>());
        let (before, start) = (cpu(), Instant::now());
        thread::park_timeout(Duration::from_millis(300));
        let used = cpu() - before;
        assert!(used < start.elapsed() / 20, "{used:?}");
        // The monitor sleeps by now. It is woken when it is needed, ...
        rt.gomaxprocs(1);
        let (tx, rx) = std::sync::mpsc::channel();
        block_thread_on(rt.go(async move {
            go(async move { tx.send(()).unwrap() });
            rx.recv().unwrap();
        }))
        .unwrap();
        // ... and can be ended.
        let start = Instant::now();
        assert_eq!(rt.shutdown_timeout(Duration::from_secs(10)), 0);
        assert!(start.elapsed() < Duration::from_secs(10));
        return;
    };
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

/// Others run while `hog` occupies the only processor, also the goroutine in the run-next slot.
fn others_run_beside(hog: impl FnOnce(&AtomicUsize) + Send + 'static) {
    no_hang(|| {
        rt(1).block_on(async {
            let ran = Arc::new(AtomicUsize::new(0));
            let wg = WaitGroup::new();
            for _ in 0..3 {
                let ran = ran.clone();
                wg.go(async move {
                    ran.fetch_add(1, Ordering::SeqCst);
                    gosched().await;
                });
            }
            let r = ran.clone();
            let hog = go(async move {
                let next = r.clone();
                go(async move {
                    next.fetch_add(1, Ordering::SeqCst);
                });
                hog(&r);
                assert_eq!(r.load(Ordering::SeqCst), 4, "the others ran meanwhile");
            });
            hog.await.unwrap();
            wg.wait().await;
        });
    });
}

#[test]
fn a_goroutine_that_blocks_its_thread_starves_nobody_sch12() {
    others_run_beside(|ran| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                spin_until(|| ran.load(Ordering::SeqCst) == 4);
                std::net::TcpStream::connect(address).unwrap().write_all(&[1]).unwrap();
            });
            let mut byte = [0];
            listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [1]);
        });
    });
}

#[test]
fn a_goroutine_that_blocks_its_thread_starves_nobody_wherever_one_waits_sch12() {
    no_hang(|| {
        let rt = rt(1);
        for wait_in in ["slot", "queue", "global"] {
            let (tx, rx) = std::sync::mpsc::channel();
            let (blocks, blocking) = std::sync::mpsc::channel();
            let send = tx.clone();
            rt.go(async move {
                let block = move || {
                    blocks.send(()).unwrap();
                    rx.recv().unwrap();
                };
                if wait_in != "global" {
                    go(async move { send.send(()).unwrap() });
                }
                if wait_in == "queue" {
                    // It is put into the run-next slot, and runs next.
                    go(async move { block() });
                } else {
                    block();
                }
            });
            blocking.recv().unwrap();
            if wait_in == "global" {
                rt.go(async move { tx.send(()).unwrap() });
            }
            spin_until(|| rt.num_goroutine() == 0);
        }
    });
}

#[test]
fn a_goroutine_that_computes_starves_nobody_sch13() {
    others_run_beside(|ran| spin_until(|| ran.load(Ordering::SeqCst) == 4));
}

#[test]
fn block_in_place_hands_the_processor_over_at_once_sch12() {
    others_run_beside(|ran| block_in_place(|| spin_until(|| ran.load(Ordering::SeqCst) == 4)));
}

#[test]
fn what_is_alone_in_the_run_next_slot_runs_during_block_in_place_sch12() {
    no_hang(|| {
        rt(1).block_on(async {
            let mut soonest = Duration::MAX;
            for _ in 0..50 {
                let (tx, rx) = std::sync::mpsc::channel();
                go(async move { tx.send(Instant::now()).unwrap() });
                let start = Instant::now();
                let ran = block_in_place(|| rx.recv().unwrap());
                soonest = soonest.min(ran - start);
                gosched().await;
            }
            assert!(
                soonest < Duration::from_millis(5),
                "not before the monitor saw to it: {soonest:?}"
            );
        });
    });
}

#[test]
fn what_a_blocking_closure_spawns_runs_elsewhere_sch12() {
    no_hang(|| {
        rt(1).block_on(async {
            block_in_place(|| {
                let (tx, rx) = std::sync::mpsc::channel();
                go(async move { tx.send(1).unwrap() });
                assert_eq!(rx.recv(), Ok(1));
            });
        });
    });
}

#[test]
fn a_thread_that_blocked_goes_on_without_its_processor_sch12() {
    no_hang(|| {
        rt(1).block_on(async {
            let (tx, rx) = std::sync::mpsc::channel();
            go(async move { tx.send(()).unwrap() });
            block_in_place(|| rx.recv().unwrap());
            gosched().await;
            // From here on one runs at a time, unless the system stops it for long, which must not
            // happen every time.
            for tries in 0.. {
                assert!(tries < 100, "two threads have the only processor");
                let (running, met) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
                let wg = WaitGroup::new();
                for _ in 0..4 {
                    let (running, met) = (running.clone(), met.clone());
                    wg.go(async move {
                        for _ in 0..500 {
                            met.fetch_add(running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                            (0..20).for_each(|_| std::hint::spin_loop());
                            running.fetch_sub(1, Ordering::SeqCst);
                            gosched().await;
                        }
                    });
                }
                wg.wait().await;
                if met.load(Ordering::SeqCst) == 0 {
                    break;
                }
            }
        });
    });
}

#[test]
fn a_thread_that_blocked_has_its_run_next_slot_again_sch12() {
    no_hang(|| {
        rt(1).block_on(async {
            // Back on a thread that gave its processor up before, if there are two.
            for _ in 0..4 {
                block_in_place(|| {});
                gosched().await;
            }
            // If the system stops a thread for long enough, the monitor takes the goroutine in the
            // slot: sometimes, but not every time.
            for tries in 0.. {
                assert!(tries < 50, "the newest goroutine never ran next");
                let log = Log::default();
                for i in 0..3 {
                    let log = log.clone();
                    go(async move { note(&log, i.to_string()) });
                }
                while log.lock().unwrap().len() < 3 {
                    gosched().await;
                }
                if *log.lock().unwrap() == ["2", "0", "1"] {
                    break;
                }
            }
        });
    });
}

#[test]
fn a_loop_over_always_ready_operations_lets_its_siblings_run_sch13_ca18() {
    no_hang(|| {
        rt(1).block_on(async {
            let (tx, rx) = chan::bounded::<usize>(1);
            let ran = Arc::new(AtomicBool::new(false));
            let r = ran.clone();
            go(async move { r.store(true, Ordering::Relaxed) });
            let mut rounds = 0;
            while !ran.load(Ordering::Relaxed) {
                tx.send(rounds).await.unwrap();
                assert_eq!(rx.recv().await, Some(rounds));
                rounds += 1;
            }
            assert!(rounds < 1_000, "{rounds} rounds");
        });
    });
}

#[test]
fn an_executor_inside_a_goroutine_does_not_livelock_on_the_budget() {
    no_hang(|| {
        rt(1).block_on(async {
            let (tx, rx) = chan::bounded::<usize>(1);
            let sum = block_thread_on(async {
                let mut sum = 0;
                for v in 0..10_000 {
                    tx.send(v).await.unwrap();
                    sum += rx.recv().await.unwrap();
                }
                sum
            });
            assert_eq!(sum, 10_000 * 9_999 / 2);
        });
    });
}

#[test]
fn gomaxprocs_returns_the_previous_setting_and_0_asks_sch14() {
    let rt = rt(3);
    assert_eq!((rt.gomaxprocs(0), rt.gomaxprocs(5), rt.gomaxprocs(0)), (3, 3, 5));
    assert_eq!(rt.block_on(async { (gomaxprocs(0), gomaxprocs(1), gomaxprocs(0)) }), (5, 5, 1));
}

#[test]
fn the_environment_sets_the_default_and_a_bad_value_is_told_once_sch14() {
    for (value, want) in [("3", Some(3)), ("many", None), ("0", None), ("-1", None), ("", None)] {
        let Some(ended) = in_child(&[("GOMAXPROCS", value)]) else {
            let want = match std::env::var("GOMAXPROCS").unwrap().parse() {
                Ok(n) if n > 0 => n,
                _ => gopark::num_cpu(),
            };
            assert_eq!((gomaxprocs(0), Runtime::new().gomaxprocs(0)), (want, want));
            return;
        };
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let told = ended.stderr.matches("gopark: GOMAXPROCS=").count();
        assert_eq!(told, usize::from(want.is_none() && !value.is_empty()), "{ended:#?}");
    }
}

#[test]
fn live_resizes_lose_nothing_and_run_nothing_twice_sch15() {
    no_hang(|| {
        let rt = rt(2);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 1;
                while !stop.load(Ordering::Relaxed) {
                    n = n % 8 + 1;
                    rt.gomaxprocs(n);
                    thread::yield_now();
                }
            });
            for _ in 0..10 {
                rt.block_on(async {
                    let (tx, rx) = chan::bounded::<usize>(4);
                    let wg = WaitGroup::new();
                    for p in 0..8 {
                        let tx = tx.clone();
                        wg.go(async move {
                            for v in 0..200 {
                                tx.send(p * 200 + v).await.unwrap();
                                if v % 7 == 0 {
                                    go(async {}).await.unwrap();
                                }
                            }
                        });
                    }
                    drop(tx);
                    let mut seen = HashSet::new();
                    while let Some(v) = rx.recv().await {
                        assert!(seen.insert(v));
                    }
                    wg.wait().await;
                    assert_eq!(seen.len(), 1600);
                });
            }
            stop.store(true, Ordering::Relaxed);
        });
        spin_until(|| rt.num_goroutine() == 0);
    });
}

#[test]
fn num_goroutine_counts_mains_and_blocked_ones_sch16() {
    no_hang(|| {
        let rt = rt(2);
        assert_eq!(rt.num_goroutine(), 0);
        rt.block_on(async {
            assert_eq!(num_goroutine(), 1);
            let (tx, rx) = chan::unbuffered::<()>();
            let handles: Vec<_> = (0..7)
                .map(|_| {
                    let rx = rx.clone();
                    go(async move { rx.recv().await })
                })
                .collect();
            assert_eq!(num_goroutine(), 8);
            tx.close();
            for handle in handles {
                handle.await.unwrap();
            }
            assert_eq!(num_goroutine(), 1, "a join returns after the goroutine has left");
        });
        assert_eq!(rt.block_on_local(async { num_goroutine() }), 1);
        assert_eq!(rt.num_goroutine(), 0);
    });
}

#[test]
fn ids_are_never_used_again_sch17() {
    no_hang(|| {
        let mut ids = HashSet::new();
        for _ in 0..2 {
            let rt = rt(2);
            rt.block_on(async {
                for _ in 0..600 {
                    let handle = go(async {});
                    assert!(ids.insert(handle.id()));
                    handle.await.unwrap();
                }
            });
            for _ in 0..600 {
                assert!(ids.insert(rt.go(async {}).id()), "from a thread outside");
            }
        }
        assert!(
            ids.iter().all(|id| id.to_string() != "goroutine 1" && id.to_string() != "goroutine 0")
        );
    });
}

#[test]
fn the_first_goroutine_of_the_first_main_is_goroutine_2_sch17() {
    isolated(|| {
        assert_eq!(rt(1).block_on(async { go(async {}).id().to_string() }), "goroutine 2");
    });
}

#[test]
fn after_a_local_main_its_thread_is_outside_again() {
    isolated(|| {
        let (rt, other) = (rt(7), gomaxprocs(0));
        assert_ne!(other, 7);
        assert_eq!(rt.block_on_local(async { gomaxprocs(0) }), 7);
        assert_eq!(gomaxprocs(0), other, "the global runtime again");
    });
}

#[test]
fn a_runtime_shows_its_size() {
    let shown = format!("{:?}", rt(3));
    assert!(shown.contains("gomaxprocs: 3, goroutines: 0"), "{shown}");
}

#[test]
fn main_may_borrow_and_a_local_one_need_not_be_send() {
    no_hang(|| {
        let rt = rt(2);
        let mut list = vec![1];
        rt.block_on(async { list.push(2) });
        assert_eq!(list, [1, 2]);
        let cell = RefCell::new(Vec::new());
        rt.block_on_local(async {
            let (tx, rx) = chan::unbuffered();
            go(async move { tx.send(3).await });
            let got = rx.recv().await.unwrap();
            cell.borrow_mut().push(got);
        });
        assert_eq!(*cell.borrow(), [3]);
    });
}

/// The text of the panic of `f`.
fn panic_text(f: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err("it panics");
    let text = payload.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| payload.downcast_ref::<&str>().expect("a text").to_string())
}

#[test]
fn block_on_inside_a_goroutine_says_what_to_do() {
    no_hang(|| {
        let rt = rt(1);
        let texts = rt.block_on(async {
            [
                panic_text(|| gopark::block_on(async {})),
                panic_text(|| gopark::block_on_local(async {})),
                panic_text(|| block_in_place(|| gopark::block_on(async {}))),
            ]
        });
        let local = rt.block_on_local(async { panic_text(|| gopark::block_on(async {})) });
        for text in texts.into_iter().chain([local]) {
            assert!(text.starts_with("gopark: block_on called inside a goroutine"), "{text}");
        }
        assert_eq!(rt.block_on(async { 1 }), 1);
    });
}

#[test]
fn block_on_inside_block_in_place_says_what_else_to_do() {
    no_hang(|| {
        let rt = rt(1);
        let text =
            rt.block_on(async { panic_text(|| block_in_place(|| gopark::block_on(async {}))) });
        assert!(
            text.starts_with("gopark: block_on called inside a goroutine")
                && text.contains("unblock"),
            "{text}"
        );
        let local = rt
            .block_on_local(async { panic_text(|| block_in_place(|| gopark::block_on(async {}))) });
        assert_eq!(local, text);
        // Outside of it the advice is different, also after a panic in it.
        let outside = rt.block_on(async { panic_text(|| gopark::block_on(async {})) });
        assert!(
            outside.starts_with("gopark: block_on called inside a goroutine") && outside != text,
            "{outside}"
        );
        assert_eq!(rt.block_on(async { unblock(|| gopark::block_on(async { 3 })).await }), 3);
    });
}

/// It once never ended: a main that waits for a timer is woken by the thread that waits for the
/// timer.
#[test]
fn block_on_in_a_waker_of_a_timer_is_refused() {
    struct Blocks(mpsc::Sender<String>);
    impl Wake for Blocks {
        fn wake(self: Arc<Self>) {
            let text =
                panic_text(|| gopark::block_on(gopark::time::sleep(Duration::from_millis(1))));
            self.0.send(text).unwrap();
        }
    }

    no_hang(|| {
        let rt = rt(1);
        let (tx, texts) = mpsc::channel();
        let waker = Waker::from(Arc::new(Blocks(tx)));
        // On the timer thread, which belongs to no processor.
        let mut sleep = pin!(gopark::time::sleep(Duration::from_millis(400)));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let text = texts.recv().unwrap();
        assert!(text.starts_with("gopark: block_on called in a waker"), "{text}");
        // On a worker, or on its monitor.
        rt.block_on(async {
            let mut sleep = pin!(gopark::time::sleep(Duration::from_millis(400)));
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            gopark::time::sleep(Duration::from_millis(420)).await;
        });
        let text = texts.recv().unwrap();
        assert!(text.starts_with("gopark: block_on called in a waker"), "{text}");
    });
}

#[test]
fn abort_drops_the_future_at_its_next_suspension_ca15() {
    no_hang(|| {
        let rt = rt(1);
        rt.block_on(async {
            let drops = Drops::new();
            // Parked, never polled, and after completion.
            let one = drops.one();
            let parked = go(async move {
                let _one = one;
                pending::<()>().await;
            });
            gosched().await;
            let one = drops.one();
            let fresh = go(async move {
                let _one = one;
            });
            parked.abort();
            fresh.abort();
            assert!(parked.await.unwrap_err().is_aborted());
            let error = fresh.await.unwrap_err();
            assert!(error.is_aborted() && error.to_string().ends_with("was aborted"), "{error}");
            assert_eq!(drops.count(), 2);
            let done = go(async { 5 });
            while !done.is_finished() {
                gosched().await;
            }
            done.abort();
            assert_eq!(done.await.unwrap(), 5);
            // Never during a poll.
            let handle: Arc<Mutex<Option<gopark::JoinHandle<()>>>> = Arc::default();
            let (h, reached) = (handle.clone(), Arc::new(AtomicBool::new(false)));
            let r = reached.clone();
            let own = go(async move {
                gosched().await;
                h.lock().unwrap().as_ref().unwrap().abort();
                r.store(true, Ordering::Relaxed);
                pending::<()>().await;
            });
            *handle.lock().unwrap() = Some(own);
            spin_async(|| handle.lock().unwrap().as_ref().unwrap().is_finished()).await;
            assert!(reached.load(Ordering::Relaxed));
        });
        assert_eq!(rt.num_goroutine(), 0);
    });
}

async fn spin_async(ready: impl Fn() -> bool) {
    while !ready() {
        gosched().await;
    }
}

#[test]
fn a_dropped_handle_detaches_ca16() {
    no_hang(|| {
        rt(1).block_on(async {
            let (tx, rx) = chan::bounded(1);
            drop(go(async move { tx.send(1).await }));
            assert_eq!(rx.recv().await, Some(1));
        });
    });
}

/// A bug: a detached goroutine that waits for a nil channel is referenced by the registry only, and
/// that reference did not count: the goroutine was freed while it was listed.
#[test]
fn a_dropped_runtime_drops_every_goroutine_exactly_once_ca16() {
    no_hang(|| {
        for procs in [1, 2, 4] {
            let drops = Drops::new();
            let rt = rt(procs);
            let nil = chan::Receiver::<()>::nil();
            for kind in 0..300 {
                let (one, nil) = (drops.one(), nil.clone());
                let handle = rt.go(async move {
                    let _one = one;
                    match kind % 4 {
                        0 => {
                            nil.recv().await;
                        }
                        1 => loop {
                            gosched().await;
                        },
                        2 => pending::<()>().await,
                        _ => {}
                    }
                });
                if kind % 5 == 0 {
                    handle.abort();
                }
            }
            drop(rt);
            assert_eq!(drops.count(), 300);
        }
    });
}

#[test]
fn a_shutdown_with_a_stuck_worker_is_bounded_and_counts_stragglers() {
    no_hang(|| {
        let rt = rt(2);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, running) = std::sync::mpsc::channel();
        rt.go(async move {
            started.send(()).unwrap();
            held.recv().unwrap();
        });
        running.recv().unwrap();
        rt.go(pending::<()>());
        let start = Instant::now();
        assert_eq!(rt.shutdown_timeout(Duration::from_millis(50)), 1);
        assert!(start.elapsed() < Duration::from_secs(5));
        release.send(()).unwrap();
    });
}

#[test]
fn go_during_a_shutdown_gives_an_aborted_handle() {
    no_hang(|| {
        let rt = rt(1);
        let result = Arc::new(Mutex::new(None));
        let r = result.clone();
        rt.go(async move {
            let _last = OnDrop(move || {
                *r.lock().unwrap() = Some(go(async { unreachable!("no worker is left") }))
            });
            pending::<()>().await;
        });
        rt.block_on(gosched());
        drop(rt);
        let handle: gopark::JoinHandle<()> = result.lock().unwrap().take().unwrap();
        assert!(block_thread_on(handle).unwrap_err().is_aborted());
    });
}

#[test]
fn a_runtime_dropped_inside_its_own_goroutine_does_not_wait_for_itself() {
    no_hang(|| {
        let rt = Arc::new(rt(2));
        let drops = Drops::new();
        let one = drops.one();
        rt.go(async move {
            let _one = one;
            pending::<()>().await;
        });
        let (tx, done) = std::sync::mpsc::channel();
        let inner = rt.clone();
        let go_on = Arc::new(AtomicBool::new(false));
        let g = go_on.clone();
        rt.go(async move {
            spin_until(|| g.load(Ordering::SeqCst));
            drop(inner);
            tx.send(()).unwrap();
        });
        drop(rt);
        go_on.store(true, Ordering::SeqCst);
        done.recv().unwrap();
        spin_until(|| drops.count() == 1);
    });
}

#[test]
fn wakers_that_outlive_their_runtime_do_no_harm() {
    no_hang(|| {
        for _ in 0..50 {
            let rt = rt(2);
            let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
            for _ in 0..8 {
                let wakers = wakers.clone();
                rt.go(poll_fn(move |cx: &mut Context<'_>| {
                    wakers.lock().unwrap().push(cx.waker().clone());
                    Poll::<()>::Pending
                }));
            }
            spin_until(|| wakers.lock().unwrap().len() >= 8);
            drop(rt);
            let wakers = std::mem::take(&mut *wakers.lock().unwrap());
            wakers.iter().for_each(Waker::wake_by_ref);
            drop(wakers);
        }
    });
}

#[test]
fn unblock_runs_elsewhere_and_carries_panics() {
    no_hang(|| {
        rt(1).block_on(async {
            let here = thread::current().id();
            assert_ne!(unblock(|| thread::current().id()).await, here);
            let failed = go(async { unblock(|| panic!("blocking")).await }).await;
            assert!(failed.unwrap_err().is_panic());
        });
    });
}

#[test]
fn many_goroutines_in_a_chain_sch24() {
    no_hang(|| {
        rt(2).block_on(async {
            const N: u32 = 10_000;
            let (first, mut left) = chan::unbuffered::<u32>();
            for _ in 0..N {
                let (tx, rx) = chan::unbuffered();
                go(async move { tx.send(1 + left.recv().await.unwrap()).await });
                left = rx;
            }
            first.send(0).await.unwrap();
            assert_eq!(left.recv().await, Some(N));
        });
    });
}

#[test]
fn a_join_can_be_taken_up_again_ca12() {
    no_hang(|| {
        rt(1).block_on(async {
            let (tx, rx) = chan::unbuffered::<i32>();
            let mut handle = go(async move { rx.recv().await });
            {
                let mut first = pin!(&mut handle);
                let polled = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending())).await;
                assert!(polled);
            }
            tx.send(4).await.unwrap();
            assert_eq!((&mut handle).await.unwrap(), Some(4));
        });
    });
}

/// A bug: a goroutine was aborted while its `unblock` ran. If the drop of the result panicked, the
/// process aborted.
#[test]
fn what_an_abandoned_unblock_drops_may_panic() {
    isolated(|| {
        struct Bomb(Arc<AtomicBool>);
        impl Drop for Bomb {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
                panic!("a destructor");
            }
        }
        // A second panic follows only if the thread gives up, which ends the process.
        let panics = Arc::new(AtomicUsize::new(0));
        let seen = panics.clone();
        std::panic::set_hook(Box::new(move |_| {
            if seen.fetch_add(1, Ordering::SeqCst) > 0 {
                std::process::exit(3);
            }
        }));
        let (started, release, dropped) =
            (Arc::default(), Arc::<AtomicBool>::default(), Arc::default());
        let (s, r, bomb) =
            (Arc::<AtomicBool>::clone(&started), release.clone(), Bomb(Arc::clone(&dropped)));
        let handle = go(async {
            unblock(move || {
                s.store(true, Ordering::SeqCst);
                spin_until(|| r.load(Ordering::SeqCst));
                bomb
            })
            .await
        });
        spin_until(|| started.load(Ordering::SeqCst));
        handle.abort();
        assert!(block_thread_on(handle).is_err_and(|error| error.is_aborted()));
        release.store(true, Ordering::SeqCst);
        spin_until(|| dropped.load(Ordering::SeqCst));
        // The thread continues to unwind meanwhile.
        for _ in 0..1000 {
            assert_eq!(gopark::block_on(unblock(|| 5)), 5);
        }
        assert_eq!(panics.load(Ordering::SeqCst), 1);
    });
}

#[test]
#[should_panic(expected = "gopark: JoinHandle polled after completion")]
fn a_join_polled_after_completion_panics() {
    let mut handle = go(async {});
    assert!(block_thread_on(&mut handle).is_ok());
    let _ = block_thread_on(&mut handle);
}

// ---------------------------------------------------------------------------- handles, names, go!

#[test]
fn a_handle_starts_goroutines_and_mains_of_its_runtime_from_anywhere() {
    no_hang(|| {
        let runtime = Runtime::builder().gomaxprocs(1).thread_name("handled").build().unwrap();
        let handle = runtime.handle();
        let name = async || thread::current().name().unwrap_or_default().to_owned();
        let (on_go, on_main) = thread::spawn({
            let handle = handle.clone();
            move || {
                let joined = handle.go(async move { name().await });
                (gopark::block_on(joined).unwrap(), handle.block_on(name()))
            }
        })
        .join()
        .unwrap();
        assert!(
            on_go.starts_with("handled") && on_main.starts_with("handled"),
            "{on_go} {on_main}"
        );
        assert_eq!((handle.gomaxprocs(2), runtime.gomaxprocs(0), handle.gomaxprocs(0)), (1, 2, 2));
        let waits = handle.go(pending::<()>());
        assert_eq!((handle.num_goroutine(), runtime.num_goroutine()), (1, 1));
        waits.abort();
        assert!(runtime.block_on(waits).unwrap_err().is_aborted());
    });
}

#[test]
fn the_current_handle_is_that_of_the_goroutine() {
    no_hang(|| {
        assert!(gopark::Handle::try_current().is_err());
        let runtime = rt(1);
        let (current, tried) =
            runtime.block_on(async { (gopark::Handle::current(), gopark::Handle::try_current()) });
        for handle in [current, tried.unwrap()] {
            let waits = handle.go(pending::<()>());
            assert_eq!(runtime.num_goroutine(), 1);
            waits.abort();
            runtime.block_on(waits).unwrap_err();
        }
        // Elsewhere it is the global one.
        assert_eq!(gopark::Handle::current().gomaxprocs(0), gopark::gomaxprocs(0));
    });
}

#[test]
fn a_handle_whose_runtime_has_ended_reaches_no_other() {
    no_hang(|| {
        let drops = Drops::new();
        let runtime = rt(1);
        let handle = runtime.handle();
        assert_eq!(runtime.shutdown_timeout(Duration::from_secs(60)), 0);
        // One of these has the place of the first.
        let others: Vec<_> = (0..3).map(|_| rt(1)).collect();
        let counted = drops.one();
        let late = handle.go(async move {
            let _counted = counted;
            unreachable!("its runtime has ended")
        });
        assert_eq!(drops.count(), 1);
        assert!(late.is_finished());
        assert!(others[0].block_on(late).unwrap_err().is_aborted());
        // Also in a goroutine, of any runtime.
        for other in &others {
            let handle = handle.clone();
            other.block_on(async move {
                assert!(handle.go(async {}).await.unwrap_err().is_aborted());
                assert_eq!(num_goroutine(), 1);
            });
        }
        assert_eq!((handle.num_goroutine(), handle.gomaxprocs(7), handle.gomaxprocs(0)), (0, 0, 0));
        assert!(others.iter().all(|other| other.gomaxprocs(0) == 1));
        let panics =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle.block_on(async {})));
        let text = *panics.unwrap_err().downcast::<String>().unwrap_or_else(|text| {
            Box::new(text.downcast::<&str>().map(|text| text.to_string()).unwrap_or_default())
        });
        assert_eq!(text, "gopark: block_on of a handle whose runtime has ended");
    });
}

/// A bug: the shutdown returned once the last worker had left, but for the handle the runtime ended
/// when the monitor had seen that, so `gomaxprocs` could still change it.
#[test]
fn a_handle_changes_nothing_of_a_runtime_that_has_just_ended() {
    no_hang(|| {
        for _ in 0..200 {
            let runtime = rt(1);
            let handle = runtime.handle();
            assert_eq!(runtime.shutdown_timeout(Duration::from_secs(60)), 0);
            assert_eq!(handle.gomaxprocs(7), 0);
        }
    });
}

#[test]
fn go_named_gives_a_name_that_reports_show() {
    no_hang(|| {
        rt(1).block_on(async {
            let named = gopark::go_named("the namesake", async { gopark::inspect::goroutines() });
            let all = named.await.unwrap();
            assert!(
                all.iter().any(|goroutine| goroutine.to_string().contains("\"the namesake\"")),
                "{all:?}"
            );
        });
    });
}

#[test]
fn the_go_macro_clones_what_it_names_and_moves_the_rest() {
    no_hang(|| {
        rt(1).block_on(async {
            let (tx, rx) = chan::bounded(10);
            let (wg, moved) = (WaitGroup::new(), String::from("moved"));
            let joined = go!([tx, wg,] async {
                tx.send(1).await.unwrap();
                drop(wg);
                moved.len()
            });
            assert_eq!(joined.await.unwrap(), 5);
            go!(wg, [tx, wg] async move {
                tx.send(2).await.unwrap();
                drop(wg);
            });
            go!(wg, async {});
            wg.wait().await;
            let group = gopark::sync::ErrGroup::<i32>::new();
            go!(group, [tx] async { tx.send(3).await.map_err(|_| 3) }).await;
            group.wait().await.unwrap();
            let mut set = gopark::JoinSet::new();
            go!(set, [tx] async { tx.send(4).await });
            set.join_next().await.unwrap().unwrap().unwrap();
            go!(async { 5 }).await.unwrap();
            drop(tx);
            let mut all = vec![];
            while let Some(v) = rx.recv().await {
                all.push(v);
            }
            assert_eq!(all, [1, 2, 3, 4]);
        });
    });
}

/// Its parameters are references, as those of most functions are; the goroutine that it starts
/// outlives them.
fn starts_with_clones(
    ctx: &GoContext,
    tx: &mut Sender<usize>,
    names: &&[String],
) -> JoinHandle<usize> {
    let (number, text) = (7, "text");
    let names = names.to_vec();
    go!([ctx, tx, names, number, text] async {
        ctx.done().await;
        tx.send(number + names.len() + text.len()).await.unwrap();
        number
    })
}

#[test]
fn the_go_macro_clones_what_a_reference_refers_to() {
    no_hang(|| {
        rt(1).block_on(async {
            let ((ctx, cancel), (mut tx, rx)) =
                (GoContext::background().with_cancel(), chan::bounded(1));
            let started = starts_with_clones(&ctx, &mut tx, &&["one".to_owned()][..]);
            drop((ctx, tx));
            cancel.cancel();
            assert_eq!((rx.recv().await, started.await.unwrap()), (Some(7 + 1 + 4), 7));
        });
    });
}

#[test]
fn each_thread_that_polls_or_runs_blocking_code_calls_its_hooks() {
    no_hang(|| {
        type Ids = Arc<Mutex<HashSet<thread::ThreadId>>>;
        let (started, stopped) = (Ids::default(), Ids::default());
        let (on_start, on_stop) = (started.clone(), stopped.clone());
        let runtime = Runtime::builder()
            .gomaxprocs(2)
            .on_thread_start(move || {
                assert!(on_start.lock().unwrap().insert(thread::current().id()))
            })
            .on_thread_stop(move || _ = on_stop.lock().unwrap().insert(thread::current().id()))
            .build()
            .unwrap();
        let seen = Ids::default();
        let note = |seen: &Ids| _ = seen.lock().unwrap().insert(thread::current().id());
        runtime.block_on(async {
            note(&seen);
            let wg = WaitGroup::new();
            for _ in 0..100 {
                go!(wg, [seen] async {
                    note(&seen);
                    let blocking = seen.clone();
                    unblock(move || note(&blocking)).await;
                });
            }
            wg.wait().await;
        });
        assert!(seen.lock().unwrap().is_subset(&started.lock().unwrap()));
        assert_eq!(runtime.shutdown_timeout(Duration::from_secs(60)), 0);
        assert_eq!(*started.lock().unwrap(), *stopped.lock().unwrap());
    });
}

#[test]
fn a_hook_that_panics_keeps_no_thread_from_its_work() {
    no_hang(|| {
        let hook = || std::panic::resume_unwind(Box::new("in a hook"));
        let builder = Runtime::builder().gomaxprocs(1).on_thread_start(hook).on_thread_stop(hook);
        let runtime = builder.build().unwrap();
        assert_eq!(runtime.block_on(async { unblock(|| 5).await }), 5);
    });
}
