//! Races of the scheduler. Each test was written for one suspected race.

use std::cell::Cell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};
use std::{task, thread};

use futures_lite::future::block_on;
use gopark::sync::WaitGroup;

use gopark::{OnPanic, Runtime, chan, go, gosched, select};

use crate::util::{Counted, Drops, OnDrop, in_child, in_time, isolated, no_hang, rt, spin_until};

/// A bug: the drop counted its goroutines' ends, and queued the goroutines that they woke, at a
/// processor of the other runtime.
#[test]
fn a_runtime_dropped_inside_a_goroutine_of_another_keeps_both_counts_right() {
    no_hang(|| {
        in_time(Duration::from_millis(500), || {
            let (a, b) = (rt(2), rt(2));
            let drops = Drops::new();
            for _ in 0..10 {
                let one = drops.one();
                b.go(async move {
                    let _one = one;
                    pending::<()>().await;
                });
            }
            b.block_on(async { gosched().await });
            let d = drops.clone();
            let took = a.block_on(async move {
                go(async move {
                    let start = Instant::now();
                    drop(b);
                    assert_eq!(d.count(), 10, "it waited for the end of the other");
                    start.elapsed()
                })
                .await
                .unwrap()
            });
            assert_eq!(a.num_goroutine(), 0);
            took
        })
    });
}

#[test]
fn a_runtime_that_is_shut_down_inside_a_goroutine_of_another_is_waited_for() {
    no_hang(|| {
        let b = rt(1);
        let (stuck, is_stuck) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        b.go(async move {
            stuck.send(()).unwrap();
            released.recv().unwrap_err();
        });
        is_stuck.recv().unwrap();
        let took = rt(1).block_on(async move {
            let start = Instant::now();
            assert_eq!(b.shutdown_timeout(Duration::from_millis(100)), 1);
            start.elapsed()
        });
        assert!(took >= Duration::from_millis(100), "{took:?}");
        drop(release);
    });
}

#[test]
fn a_local_main_that_wakes_others_while_it_panics_ends() {
    isolated(|| {
        let rt = rt(1);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            rt.block_on_local(async {
                let (tx, rx) = chan::unbuffered::<()>();
                go(async move { rx.recv().await });
                gosched().await;
                thread::sleep(Duration::from_millis(20)); // asleep: the subject
                let _tx = tx;
                panic!("main");
            })
        }));
        assert!(caught.is_err());
    });
}

/// A bug: the destructor's panic recorded that a crash was under way, and the next main waited for
/// that crash without end.
#[test]
fn a_destructor_that_panics_during_shutdown_does_not_hang_the_next_runtime() {
    isolated(|| {
        let first = rt(1);
        let (tx, rx) = chan::unbuffered::<()>();
        struct Bad(Option<chan::Sender<()>>);
        impl Drop for Bad {
            fn drop(&mut self) {
                let _tx = self.0.take();
                panic!("bad destructor");
            }
        }
        let bad = Bad(Some(tx));
        first.go(async move { rx.recv().await });
        first.go(async move {
            let _bad = bad;
            pending::<()>().await;
        });
        first.block_on(async {
            gosched().await;
            gosched().await
        });
        drop(first);
        let second = rt(1);
        assert_eq!(second.block_on(async { 7 }), 7);
    });
}

#[test]
fn an_unobserved_panic_that_outlives_its_runtime_does_not_crash_another() {
    isolated(|| {
        let first = rt(1);
        let handle = first.go(async { panic!("never looked at") });
        while !handle.is_finished() {
            thread::yield_now();
        }
        drop(first);
        let second = rt(1);
        let value = second.block_on(async move {
            drop(handle);
            7
        });
        assert_eq!(value, 7);
    });
}

#[test]
fn a_long_chain_of_goroutines_is_dropped_without_recursion_sch24() {
    isolated(|| {
        let rt = rt(1);
        rt.block_on(async {
            let (first, mut left) = chan::unbuffered::<u32>();
            for _ in 0..50_000 {
                let (tx, rx) = chan::unbuffered::<u32>();
                go(async move {
                    while let Some(v) = left.recv().await {
                        let _ = tx.send(v + 1).await;
                    }
                });
                left = rx;
            }
            first.send(0).await.unwrap();
            assert_eq!(left.recv().await, Some(50_000));
            std::mem::forget(first);
            std::mem::forget(left);
        });
        drop(rt);
    });
}

#[test]
fn a_waker_called_under_a_lock_during_shutdown_runs_no_destructor_there() {
    isolated(|| {
        let rt = rt(1);
        let lock = Arc::new(Mutex::new(None::<task::Waker>));
        let (in_drop, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        // The registry is a stack: the goroutine that parks last is dropped first.
        let l = lock.clone();
        rt.go(async move {
            let l2 = l.clone();
            let _guard = OnDrop(move || drop(l2.lock()));
            std::future::poll_fn(|cx| {
                *l.lock().unwrap() = Some(cx.waker().clone());
                task::Poll::<()>::Pending
            })
            .await;
        });
        spin_until(|| lock.lock().unwrap().is_some());
        let (i, g) = (in_drop.clone(), go_on.clone());
        rt.go(async move {
            let _guard = OnDrop(move || {
                i.store(true, SeqCst);
                spin_until(|| g.load(SeqCst));
            });
            pending::<()>().await;
        });
        rt.block_on(async {
            gosched().await;
            gosched().await
        });
        let closer = thread::spawn(move || drop(rt));
        spin_until(|| in_drop.load(SeqCst));
        let mut held = lock.lock().unwrap();
        held.take().unwrap().wake();
        drop(held);
        go_on.store(true, SeqCst);
        closer.join().unwrap();
    });
}

/// A bug: `gomaxprocs(1)`, then `gomaxprocs(2)`, while a thread was being started for processor 1.
/// It had no owner yet, so it got a second thread, and both ran goroutines from one queue.
#[test]
fn a_processor_that_is_resized_away_and_back_has_one_thread_sch15() {
    no_hang(|| {
        for _ in 0..100 {
            let rt = rt(1);
            let ended = Arc::new(AtomicUsize::new(0));
            let n = 60;
            for _ in 0..n {
                let ended = ended.clone();
                rt.gomaxprocs(1);
                rt.gomaxprocs(2);
                rt.go(async move {
                    for _ in 0..20 {
                        let e = ended.clone();
                        go(async move {
                            e.fetch_add(1, SeqCst);
                        });
                        gosched().await;
                    }
                });
            }
            spin_until(|| ended.load(SeqCst) == n * 20);
            let deadline = Instant::now() + Duration::from_secs(20);
            while rt.num_goroutine() != 0 {
                assert!(
                    Instant::now() < deadline,
                    "{} goroutines are counted, none lives",
                    rt.num_goroutine() as isize
                );
                thread::yield_now();
            }
        }
    });
}

#[test]
fn a_processor_that_comes_back_while_it_is_held_is_not_idle_sch15() {
    no_hang(|| {
        // If the system is slow, the monitor takes a processor from a thread that spins. It must
        // not do so every time.
        let held = (0..50).any(|_| {
            let rt = rt(2);
            let spinning = Arc::new(AtomicUsize::new(0));
            for _ in 0..2 {
                let spinning = spinning.clone();
                rt.go(async move {
                    spinning.fetch_add(1, SeqCst);
                    spin_until(|| spinning.load(SeqCst) == 3);
                });
            }
            spin_until(|| spinning.load(SeqCst) == 2);
            rt.gomaxprocs(1);
            rt.gomaxprocs(2);
            let idle = idle(&rt);
            spinning.fetch_add(1, SeqCst);
            idle == 0
        });
        assert!(held, "a held processor is idle as well");
    });
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_panic_at_the_very_start_of_main_is_raised_on_its_caller() {
    let Some(ended) = in_child(&[]) else {
        // SAFETY: the struct is plain data, for which zeros are valid.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(0, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
        std::panic::set_hook(Box::new(|_| ()));
        let rt = rt(1);
        for _ in 0..2000 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                rt.block_on(async {
                    go(async { panic!("early") });
                    pending::<()>().await;
                })
            }));
            assert!(caught.is_err());
        }
        return;
    };
    assert_eq!(
        ended.code,
        Some(0),
        "{} crashes in {:?}",
        ended.stderr.lines().count(),
        ended.signal
    );
}

#[test]
fn a_crash_wins_against_a_local_main_that_returns_sch18() {
    isolated(|| {
        let rt = rt(1);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            rt.block_on_local(async {
                let (tx, rx) = chan::unbuffered::<()>();
                go(async move {
                    let slow = Duration::from_millis(50);
                    let _slow = OnDrop(move || thread::sleep(slow)); // asleep: the subject
                    let _tx = tx;
                    panic!("crash");
                });
                rx.recv().await
            })
        }));
        assert!(caught.is_err(), "main returned");
    });
}

/// A bug: a goroutine that unwound closed a channel before main checked it, so main needed no wake.
/// Only a wake recorded that a crash was under way, so main returned.
#[test]
fn a_crash_wins_against_a_local_main_that_saw_what_the_unwinding_left_sch18() {
    isolated(|| {
        for way in 0..3 {
            let rt = rt(1);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                rt.block_on_local(async {
                    let (tx, rx) = chan::bounded::<()>(1);
                    let group = WaitGroup::new();
                    group.add(1);
                    let theirs = group.clone();
                    go(async move {
                        let slow = Duration::from_millis(50);
                        let _slow = OnDrop(move || thread::sleep(slow)); // asleep: the subject
                        let _left = OnDrop(move || match way {
                            0 => drop(tx.close()),
                            1 => tx.try_send(()).unwrap(),
                            _ => theirs.done(),
                        });
                        panic!("crash");
                    });
                    // This wakes no worker.
                    spin_until(|| rx.is_closed() || rx.len() == 1 || group.count() == 0);
                })
            }));
            assert!(caught.is_err(), "main returned");
        }
    });
}

#[test]
fn a_local_main_whose_destructor_panics_is_no_longer_in_progress() {
    let Some(ended) = in_child(&[]) else {
        let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
        struct Main(u32);
        impl Future for Main {
            type Output = ();
            fn poll(self: std::pin::Pin<&mut Self>, _: &mut task::Context<'_>) -> task::Poll<()> {
                task::Poll::Ready(())
            }
        }
        impl Drop for Main {
            fn drop(&mut self) {
                panic!("main's destructor {}", self.0);
            }
        }
        assert!(catch_unwind(AssertUnwindSafe(|| rt.block_on_local(Main(1)))).is_err());
        rt.go(async { panic!("unrecovered") });
        // The crash ends this process. Without it the wait ends by itself, and the parent
        // complains.
        let deadline = Instant::now() + Duration::from_secs(5);
        spin_until(|| Instant::now() > deadline);
        return;
    };
    assert!(ended.signal.is_some(), "the panic was lost: {ended:#?}");
}

#[test]
fn a_retired_processor_that_is_handed_over_by_block_in_place_wakes_somebody_sch15() {
    no_hang(|| {
        for _ in 0..10 {
            let rt = rt(2);
            let both = Arc::new(AtomicUsize::new(0));
            let handles = [0, 1].map(|_| {
                let both = both.clone();
                rt.go(async move {
                    both.fetch_add(1, SeqCst);
                    spin_until(|| both.load(SeqCst) >= 2);
                    // One of the two ends; the other one has the runtime to itself.
                    if both.fetch_add(1, SeqCst) == 2 {
                        return;
                    }
                    thread::sleep(Duration::from_millis(2)); // asleep: the subject
                    gopark::gomaxprocs(1);
                    thread::sleep(Duration::from_millis(10)); // asleep: the subject
                    let (tx, rx) = std::sync::mpsc::channel();
                    go(async move { tx.send(()).unwrap() });
                    gopark::block_in_place(|| {
                        rx.recv_timeout(Duration::from_secs(2)).expect("the other one to run")
                    });
                })
            });
            for handle in handles {
                futures_lite::future::block_on(handle).unwrap();
            }
        }
    });
}

#[test]
fn a_thread_blocked_on_a_retired_processor_starves_nobody_sch12() {
    no_hang(|| {
        for _ in 0..10 {
            let rt = rt(2);
            let both = Arc::new(AtomicUsize::new(0));
            let handles = [0, 1].map(|_| {
                let both = both.clone();
                rt.go(async move {
                    both.fetch_add(1, SeqCst);
                    spin_until(|| both.load(SeqCst) >= 2);
                    if both.fetch_add(1, SeqCst) == 2 {
                        return;
                    }
                    thread::sleep(Duration::from_millis(2)); // asleep: the subject
                    gopark::gomaxprocs(1);
                    thread::sleep(Duration::from_millis(10)); // asleep: the subject
                    let (tx, rx) = std::sync::mpsc::channel();
                    go(async move { tx.send(()).unwrap() });
                    rx.recv_timeout(Duration::from_secs(2)).expect("the other one to run");
                })
            });
            for handle in handles {
                futures_lite::future::block_on(handle).unwrap();
            }
        }
    });
}

/// A bug: `done` reached zero; `add` and `wait` of the next round came; then `done` notified the
/// listeners, and ended that wait. Counter and round are one word now.
#[test]
fn a_wait_does_not_end_with_the_round_before_it_wg04() {
    no_hang(|| {
        let wg = WaitGroup::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let (w, a) = (wg.clone(), asked.clone());
        const OVER: usize = usize::MAX;
        let doner = thread::spawn(move || {
            for round in 1.. {
                spin_briefly(|| a.load(SeqCst) >= round);
                if a.load(SeqCst) == OVER {
                    break;
                }
                w.done();
            }
        });
        let mut cx = Context::from_waker(Waker::noop());
        let mut early = 0;
        // On a busy machine each round waits for two turns.
        let start = Instant::now();
        for round in (1..=2000).take_while(|_| start.elapsed() < Duration::from_secs(20)) {
            wg.add(1);
            let mut crowd: Vec<_> = (0..20).map(|_| Box::pin(wg.wait())).collect();
            crowd.iter_mut().for_each(|wait| assert!(wait.as_mut().poll(&mut cx).is_pending()));
            asked.store(round, SeqCst);
            spin_briefly(|| wg.count() == 0);
            // The round has ended, and the other thread is about to say so.
            wg.add(1);
            let mut next = pin!(wg.wait());
            for _ in 0..50 {
                if next.as_mut().poll(&mut cx).is_ready() {
                    early += 1;
                    break;
                }
            }
            wg.done();
            crowd.into_iter().for_each(block_on);
        }
        asked.store(OVER, SeqCst);
        doner.join().unwrap();
        assert_eq!(early, 0, "waits ended before their round did");
    });
}

/// Spins, because the next step is nanoseconds away, unless the other thread has no core.
fn spin_briefly(until: impl Fn() -> bool) {
    for round in 1u32.. {
        if until() {
            return;
        }
        if round % 50_000 == 0 { thread::yield_now() } else { std::hint::spin_loop() }
    }
}

#[test]
fn a_late_waker_aborts_nobody_of_the_next_runtime() {
    no_hang(|| {
        for round in 0..300 {
            let rt1 = rt(1);
            let wakers = Arc::new(Mutex::new(Vec::new()));
            for _ in 0..20 {
                let w = wakers.clone();
                rt1.go(std::future::poll_fn(move |cx| {
                    w.lock().unwrap().push(cx.waker().clone());
                    task::Poll::<()>::Pending
                }));
            }
            spin_until(|| wakers.lock().unwrap().len() == 20);
            let ws = std::mem::take(&mut *wakers.lock().unwrap());
            let go = Arc::new(AtomicBool::new(false));
            let g = go.clone();
            let waker = thread::spawn(move || {
                spin_until(|| g.load(SeqCst));
                ws.into_iter().for_each(task::Waker::wake);
            });
            go.store(true, SeqCst);
            drop(rt1);
            let rt2 = rt(1);
            for i in 0..20 {
                assert_eq!(rt2.block_on(async move { i }), i, "round {round}");
            }
            waker.join().unwrap();
        }
    });
}

/// A sandbox that is entered after the runtime has started may forbid `membarrier(2)`. The only
/// effect is that blocked threads then keep their processors.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn without_membarrier_the_monitor_lives_on() {
    let Some(ended) = in_child(&[]) else {
        let rt = rt(1);
        rt.block_on(async {});
        forbid(libc::SYS_membarrier, libc::SECCOMP_FILTER_FLAG_TSYNC);
        for _ in 0..3 {
            // It blocks for longer than the monitor waits, while work is queued.
            rt.block_on(async {
                let other = go(async {});
                let since = Instant::now();
                while since.elapsed() < Duration::from_millis(50) {
                    std::hint::spin_loop();
                }
                other.await.unwrap();
            });
        }
        assert_eq!(rt.shutdown_timeout(Duration::from_secs(20)), 0);
        return;
    };
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
}

/// From here on the system call fails with EPERM, in this thread or, with
/// `SECCOMP_FILTER_FLAG_TSYNC`, in all.
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) fn forbid(call: libc::c_long, flags: libc::c_ulong) {
    filter(call, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, flags);
}

/// From here on the system call ends the process if this thread makes it.
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) fn forbid_by_death(call: libc::c_long) {
    filter(call, libc::SECCOMP_RET_KILL_PROCESS, 0);
}

#[cfg(all(target_os = "linux", not(miri)))]
fn filter(call: libc::c_long, action: u32, flags: libc::c_ulong) {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program is valid, and outlives the calls.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) == 0
    };
    assert!(done, "{}", std::io::Error::last_os_error());
}

/// A bug: the drop returned when the threads had left the scheduler, before they had ended.
/// Destructors of their thread-locals ran after it.
#[test]
fn a_dropped_runtime_has_joined_its_threads() {
    no_hang(|| {
        struct Slow(Cell<Option<Arc<AtomicUsize>>>);
        impl Drop for Slow {
            fn drop(&mut self) {
                // Longer than a shutdown that does not wait.
                for _ in 0..30 {
                    thread::yield_now();
                }
                if let Some(gone) = self.0.take() {
                    gone.fetch_add(1, SeqCst);
                }
            }
        }
        thread_local! {
            static SLOW: Slow = const { Slow(Cell::new(None)) };
        }
        for _ in 0..20 {
            let gone = Arc::new(AtomicUsize::new(0));
            let rt = rt(1);
            let theirs = gone.clone();
            rt.block_on(async move { SLOW.with(|slow| slow.0.set(Some(theirs))) });
            // Like a drop, but it takes more than a second.
            rt.shutdown_timeout(Duration::from_secs(60));
            assert_eq!(
                gone.load(SeqCst),
                1,
                "a destructor of a worker's thread-local ran after the runtime's end"
            );
        }
    });
}

/// A bug: a name with a zero byte panicked inside `std`.
#[test]
fn a_thread_name_that_no_system_takes_is_an_error() {
    let error = Runtime::builder().thread_name("a\0b").build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

/// A bug: main did not return while a goroutine unwound that had woken a waiter. If that one's
/// destructor waited for something after main, both waited without end.
#[test]
fn under_isolate_main_returns_while_a_goroutine_unwinds() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(2).on_panic(OnPanic::Isolate).build().unwrap();
        let (returned, has_returned) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let seen = has_returned.clone();
        let theirs = returned.clone();
        let got = rt.block_on(async move {
            let (tx, rx) = chan::bounded(1);
            go(async move {
                let _last_words = OnDrop(move || {
                    tx.try_send(7).unwrap();
                    spin_until(|| theirs.load(SeqCst));
                    seen.store(true, SeqCst);
                });
                panic!("on purpose");
            });
            rx.recv().await
        });
        assert_eq!(got, Some(7));
        returned.store(true, SeqCst);
        spin_until(|| has_returned.load(SeqCst));
    });
}

/// A bug: a runtime was dropped while a thread searched. As the last searcher it woke another
/// thread, which ended and woke another, and so on, even after the drop had returned.
#[test]
fn threads_that_end_at_a_shutdown_start_no_others_ca16() {
    no_hang(|| {
        for round in 0..20 {
            let rt = rt(2 + round % 3);
            let drops = Drops::new();
            let (tx, rx) = chan::bounded(4);
            for i in 0..100 {
                let (tx, rx, counted) = (tx.clone(), rx.clone(), drops.one());
                rt.go(async move {
                    let _counted = counted;
                    loop {
                        select! { _ = tx.send(i) => {}, _ = rx.recv() => {} }
                        if i % 7 == 0 {
                            drop(go(async { gosched().await }));
                        }
                    }
                });
            }
            // Some rounds end before the threads have found work, some while they search.
            for _ in 0..round * 5 {
                thread::yield_now();
            }
            // There is no time to wait: the threads must end by themselves.
            assert_eq!(rt.shutdown_timeout(Duration::MAX), 0);
            assert_eq!(drops.count(), 100);
        }
    });
}

#[test]
fn what_the_only_processor_keeps_for_itself_is_shared_with_a_second_one_sch14() {
    no_hang(|| {
        rt(1).block_on(async {
            let ran = Arc::new(AtomicUsize::new(0));
            // More than its own queue can hold.
            for _ in 0..1000 {
                let ran = ran.clone();
                drop(go(async move { ran.fetch_add(1, SeqCst) }));
            }
            gopark::gomaxprocs(2);
            // This goroutine keeps the first processor busy.
            spin_until(|| ran.load(SeqCst) == 1000);
            gopark::gomaxprocs(1);
            for _ in 0..1000 {
                let ran = ran.clone();
                drop(go(async move { ran.fetch_add(1, SeqCst) }));
            }
            while ran.load(SeqCst) < 2000 {
                gosched().await;
            }
        });
    });
}

#[test]
fn a_goroutine_that_resizes_another_runtime_sends_nobody_there_sch14() {
    no_hang(|| {
        let a = Runtime::builder().gomaxprocs(1).thread_name("a").build().unwrap();
        let b = Runtime::builder().gomaxprocs(1).thread_name("b").build().unwrap();
        a.block_on(async {
            let handles: Vec<_> = (0..100)
                .map(|_| go(async { thread::current().name().expect("a name").to_owned() }))
                .collect();
            b.gomaxprocs(2);
            for handle in handles {
                let name = handle.await.unwrap();
                assert!(name.starts_with("a-"), "it ran at {name}");
            }
        });
    });
}

/// Starts one goroutine for each, which keeps it and never ends.
fn park_all(counted: Vec<Counted>) {
    for counted in counted {
        drop(go(async move {
            let _counted = counted;
            pending::<()>().await;
        }));
    }
}

/// Shuts the runtime down: this number of goroutines is dropped while one keeps its thread until
/// `release` is dropped.
fn end_beside_the_stuck_one(rt: Runtime, drops: &Drops, count: usize, release: mpsc::Sender<()>) {
    let end = thread::spawn(move || rt.shutdown_timeout(Duration::MAX));
    spin_until(|| drops.count() == count);
    assert!(!end.is_finished(), "it waits for the one that is stuck");
    drop(release);
    assert_eq!(end.join().unwrap(), 0);
}

#[test]
fn a_shutdown_reaches_what_waits_behind_a_thread_that_is_stuck_ca16() {
    no_hang(|| {
        for procs in [1, 2] {
            let rt = rt(procs);
            let drops = Drops::new();
            let (stuck, is_stuck) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let counted: Vec<_> = (0..300).map(|_| drops.one()).collect();
            rt.go(async move {
                park_all(counted);
                stuck.send(()).unwrap();
                released.recv().unwrap_err();
            });
            is_stuck.recv().unwrap();
            end_beside_the_stuck_one(rt, &drops, 300, release);
        }
    });
}

/// On the only processor there is work either in the run-next slot or in the queue.
#[test]
fn a_shutdown_reaches_the_one_goroutine_behind_a_thread_that_is_stuck_ca16() {
    no_hang(|| {
        for in_the_slot in [true, false] {
            let rt = rt(1);
            let drops = Drops::new();
            let one = vec![drops.one()];
            let (stuck, is_stuck) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            rt.go(async move {
                let stick = move || {
                    stuck.send(()).unwrap();
                    released.recv().unwrap_err();
                };
                park_all(one);
                if in_the_slot {
                    stick();
                } else {
                    // It is put into the slot, and runs next.
                    drop(go(async move { stick() }));
                }
            });
            is_stuck.recv().unwrap();
            end_beside_the_stuck_one(rt, &drops, 1, release);
        }
    });
}

/// The number of processors that a runtime considers idle.
fn idle(rt: &Runtime) -> usize {
    let shown = format!("{rt:?}");
    let (_, word) = shown.split_once("word: ").expect("the idle word");
    let word: usize = word.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    word % (1 << 16)
}

#[test]
fn a_runtime_in_the_place_of_others_has_none_of_their_idle_processors() {
    isolated(|| {
        for _ in 0..10 {
            rt(2).block_on(async {});
        }
        assert!(idle(&rt(2)) <= 2);
    });
}

#[test]
fn places_of_runtimes_are_used_again_ca16() {
    no_hang(|| {
        // The table has 4096 places.
        for _ in 0..5_000 {
            drop(rt(1));
        }
    });
}

/// A bug: a timer woke a goroutine between two polls, while a thief tried to take the run-next
/// slot, which fails then. The worker took the slot for empty, and went idle with the goroutine in
/// it.
#[test]
fn what_a_timer_woke_runs_though_a_thief_had_an_eye_on_it_sch14() {
    /// Wakes a goroutine, and keeps the processor busy for a while.
    struct Slow(chan::Sender<()>, usize);
    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            self.0.try_send(()).unwrap();
            (0..self.1).for_each(|_| std::hint::spin_loop());
        }
    }

    no_hang(|| {
        let rt = Arc::new(rt(2));
        let done = Arc::new(AtomicBool::new(false));
        let others = thread::spawn({
            let (rt, done) = (rt.clone(), done.clone());
            move || {
                // After each of these the second processor searches for something to steal.
                while !done.load(SeqCst) {
                    rt.block_on(rt.go(async {})).unwrap();
                }
            }
        });
        rt.block_on(async {
            for round in 0..10_000 {
                let (tx, rx) = chan::bounded(1);
                let slow = Waker::from(Arc::new(Slow(tx, 37 * (round % 100))));
                let mut timer = pin!(gopark::time::sleep(Duration::from_nanos(1)));
                assert!(timer.as_mut().poll(&mut Context::from_waker(&slow)).is_pending());
                rx.recv().await.unwrap();
            }
        });
        done.store(true, SeqCst);
        others.join().unwrap();
    });
}

/// From here on this thread cannot start another one.
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) fn forbid_threads() {
    forbid(libc::SYS_clone, 0);
    forbid(libc::SYS_clone3, 0);
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_shutdown_reaches_what_waits_at_a_processor_for_which_there_was_no_thread_ca16() {
    isolated(|| {
        let rt = rt(1);
        let drops = Drops::new();
        let (stuck, is_stuck) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let counted: Vec<_> = (0..100).map(|_| drops.one()).collect();
        rt.go(async move {
            park_all(counted);
            forbid_threads();
            gopark::block_in_place(|| {
                stuck.send(()).unwrap();
                released.recv().unwrap_err();
            });
        });
        is_stuck.recv().unwrap();
        end_beside_the_stuck_one(rt, &drops, 100, release);
    });
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_timer_for_which_there_is_no_thread_waits_until_there_is_one() {
    // A receive with a time limit needs the timer thread, which cannot be started here. Later
    // another thread can start it.
    isolated(|| {
        let (begins, has_begun) = mpsc::channel();
        let refused = thread::spawn(move || {
            forbid_threads();
            assert!(thread::Builder::new().spawn(|| ()).is_err());
            begins.send(()).unwrap();
            gopark::time::after(Duration::from_millis(10)).recv_blocking().is_some()
        });
        has_begun.recv().unwrap();
        thread::sleep(Duration::from_millis(30)); // asleep: nothing may start the thread meanwhile
        assert!(gopark::time::after(Duration::from_millis(1)).recv_blocking().is_some());
        assert!(refused.join().unwrap());
    });
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_runtime_that_could_not_start_leaves_its_place_to_the_next_one_ca16() {
    isolated(|| {
        let fails = thread::spawn(|| {
            forbid_threads();
            for _ in 0..5000 {
                assert!(Runtime::builder().gomaxprocs(1).build().is_err());
            }
        });
        fails.join().unwrap();
        drop(rt(1));
    });
}
