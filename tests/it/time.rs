//! Timers: rows TM, SCH-08, SCH-11, CA-14, CA-17.
//!
//! No test depends on how late a timer is. The tests check that it is not early, that the order is
//! right, and that it fires at all.

use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::StreamExt;
use futures_lite::future::block_on;
use gopark::chan::{self, Receiver, TryRecvError, TrySendError};
use gopark::context;
use gopark::sync::WaitGroup;
use gopark::time::{self, Elapsed, Ticker, Timer, after, timeout};
use gopark::{go, gosched, select};

#[cfg(all(target_os = "linux", not(miri)))]
use crate::executor::forbid_by_death;
use crate::hand::{Acts, After, Dice, Hand, on_procs};
use crate::util::{Drops, Wakes, in_time, isolated, no_hang, rt, spin_until};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn spin_to(moment: Instant) {
    spin_until(|| Instant::now() >= moment);
}

// ------------------------------------------------------------------------------------------ sleep

#[test]
fn a_sleep_lasts_as_long_as_it_should_tm01() {
    for procs in [1, 2] {
        on_procs(procs, async {
            for d in
                [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(30), MS, 7 * MS]
            {
                let start = Instant::now();
                time::sleep(d).await;
                assert!(start.elapsed() >= d);
                let handle = go(async move {
                    let start = Instant::now();
                    time::sleep(d).await;
                    start.elapsed()
                });
                assert!(handle.await.unwrap() >= d);
            }
        });
    }
}

/// The first sleep once read `/sys`, which a sandbox may forbid, and may punish by killing the
/// process.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn a_sleep_opens_no_file() {
    isolated(|| {
        let rt = rt(1);
        rt.block_on(gosched());
        // Read by the worker, which also fires the timers. The monitor may open files at any time.
        rt.block_on(async {
            forbid_by_death(libc::SYS_openat);
            time::sleep(MS).await;
            timeout(MS, pending::<()>()).await.unwrap_err();
        });
    });
}

/// If a timer fired between two reads of its state, during a poll for another reason, it was
/// registered again: that poll returned pending, and the task was woken twice.
#[test]
fn a_sleep_that_fires_while_it_is_polled_wakes_once_tm01() {
    no_hang(|| {
        for round in 0..10_000 {
            let (wakes, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            let mut sleep = pin!(time::sleep(Duration::from_nanos(500 * (round % 40))));
            while sleep.as_mut().poll(&mut cx).is_pending() {
                assert!(wakes.count() < 2, "round {round}");
            }
            assert!(wakes.count() < 2, "round {round}");
        }
    });
}

#[test]
fn what_waits_for_a_time_is_measured_by_time_now_tm01() {
    on_procs(1, async {
        let start = time::now();
        time::sleep(2 * MS).await;
        let slept = time::now();
        assert!(slept >= start + 2 * MS);

        let deadline = time::now() + 2 * MS;
        time::sleep_until(deadline).await;
        assert!(time::now() >= deadline);
        // A deadline that is not after now has passed at the first poll; one after it has not.
        assert!(timeout(Duration::ZERO, time::sleep_until(time::now())).await.is_ok());
        assert!(timeout(Duration::ZERO, time::sleep_until(time::now() + HOUR)).await.is_err());

        let before = time::now();
        let due = after(2 * MS).recv().await.unwrap();
        assert!(before + 2 * MS <= due && due <= time::now());

        let before = time::now();
        let (ctx, _cancel) = context::Context::background().with_timeout(HOUR);
        let deadline = ctx.deadline().unwrap();
        assert!(before + HOUR <= deadline && deadline <= time::now() + HOUR);
        let (ctx, _cancel) = context::Context::background().with_deadline(time::now());
        assert!(ctx.err().is_some());
    });
}

#[test]
fn time_now_agrees_with_instant_now() {
    let mut last = Instant::now();
    for _ in 0..1000 {
        let now = time::now();
        assert!(now >= last);
        last = Instant::now();
        assert!(last >= now);
    }
}

#[test]
fn many_sleeps_are_all_long_enough_and_all_end_tm01() {
    for procs in [1, 2] {
        on_procs(procs, async {
            let wg = WaitGroup::new();
            let mut dice = Dice::new(1);
            for _ in 0..5000 {
                let d = Duration::from_nanos(dice.roll(30_000_000) as u64);
                wg.go(async move {
                    let start = Instant::now();
                    time::sleep(d).await;
                    assert!(start.elapsed() >= d);
                });
            }
            wg.wait().await;
        });
    }
}

#[test]
fn no_time_and_time_past_are_over_at_once_and_too_much_is_for_ever_tm01() {
    for at_once in [
        time::sleep(Duration::ZERO),
        time::sleep_until(Instant::now() - MS),
        time::sleep_until(Instant::now()),
    ] {
        Hand::new(at_once).ready();
    }
    let mut for_ever = Hand::parked(time::sleep(Duration::MAX));
    let mut long = Hand::parked(time::sleep(Duration::from_secs(600 * 365 * 86_400)));
    assert!(Hand::new(after(Duration::MAX).recv()).is_pending());
    assert!(Timer::new(Duration::MAX).stop(), "a timer that never fires is active");
    assert!(for_ever.is_pending() && long.is_pending());
}

#[test]
fn the_time_counts_from_the_call() {
    no_hang(|| {
        let (rt, d) = (rt(1), 300 * MS);
        // Less than another wait would take.
        in_time(d, || {
            rt.block_on(async move {
                let (sleep, limited) = (time::sleep(d), timeout(d, pending::<()>()));
                spin_to(Instant::now() + d);
                // First polled when the time has passed: there is nothing to wait for.
                let late = Instant::now();
                sleep.await;
                assert!(limited.await.is_err());
                late.elapsed()
            })
        });
    });
}

#[test]
fn a_sleep_asked_by_a_select_with_default_looks_at_the_clock() {
    on_procs(1, async {
        let start = Instant::now();
        let (soon, never) = (time::sleep(3 * MS), time::sleep(HOUR));
        let (mut soon, mut never) = (pin!(soon), pin!(never));
        loop {
            let over = select! {
                _ = soon.as_mut() => true,
                _ = never.as_mut() => unreachable!("an hour"),
                default => false,
            };
            if over {
                break;
            }
        }
        assert!(start.elapsed() >= 3 * MS);
    });
}

#[test]
#[should_panic(expected = "sleep polled after completion")]
fn a_sleep_that_is_over_is_not_polled_again() {
    let mut sleep = Hand::new(time::sleep(Duration::ZERO));
    sleep.ready();
    sleep.ready();
}

#[test]
fn whoever_polled_last_is_woken_ca08() {
    no_hang(|| {
        let mut sleep = Hand::parked(time::sleep(HOUR));
        let (other, waker) = Wakes::new();
        assert!(sleep.poll_with(&waker).is_pending());
        sleep.future().reset(time::now() + MS);
        spin_until(|| other.count() == 1);
        assert!(sleep.poll_with(&waker).is_ready());
        assert_eq!(sleep.wakes(), 0, "the one who polled before");
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_times_tm06() {
    // If a processor loses its core for long, the monitor fires its timers, in no particular order:
    // then try again. And a goroutine that is late to sleep, as under a sanitizer, does not sleep
    // at all: then use twice the time before the first timer. With fewer timers the core is needed
    // for a shorter time.
    let in_order = |try_number: u32| {
        on_procs(1, async move {
            let ended = Arc::new(Mutex::new(Vec::new()));
            let wg = WaitGroup::new();
            let start = Instant::now();
            let mut dice = Dice::new(start.elapsed().as_nanos() as u64);
            let ahead = 5_000_000 << try_number.min(6);
            let count = (600 >> (try_number / 2)).max(20);
            for _ in 0..count {
                let deadline =
                    start + Duration::from_nanos(ahead + dice.roll(count * 33_000) as u64);
                let ended = ended.clone();
                wg.go(async move {
                    time::sleep_until(deadline).await;
                    ended.lock().unwrap().push(deadline);
                });
            }
            wg.wait().await;
            ended.lock().unwrap().is_sorted()
        })
    };
    assert!((0..20).any(in_order));
}

// ------------------------------------------------------------------------------------ the runtime

#[test]
fn timers_run_beside_goroutines_that_are_always_ready_sch08() {
    for procs in [1, 2] {
        on_procs(procs, async {
            // A pair that wakes each other without end, and one that yields without end, until the
            // timer ends them.
            let stop = Arc::new(AtomicBool::new(false));
            let (a, from_a) = chan::unbuffered::<()>();
            let (b, from_b) = chan::unbuffered::<()>();
            let wg = WaitGroup::new();
            let s = stop.clone();
            wg.go(async move {
                while !s.load(SeqCst) && a.send(()).await.is_ok() && from_b.recv().await.is_some() {
                }
            });
            wg.go(
                async move { while from_a.recv().await.is_some() && b.send(()).await.is_ok() {} },
            );
            let s = stop.clone();
            wg.go(async move {
                while !s.load(SeqCst) {
                    gosched().await;
                }
            });
            let s = stop.clone();
            let _timer = Timer::after_func(Duration::from_micros(1), async move {
                time::sleep(MS).await;
                s.store(true, SeqCst);
            });
            wg.wait().await;
        });
    }
}

#[test]
fn timers_run_while_every_processor_is_in_a_long_poll_sch08() {
    for procs in [1, 2] {
        on_procs(procs, async move {
            let ended = Arc::new(AtomicUsize::new(0));
            for _ in 0..8 {
                let ended = ended.clone();
                go(async move {
                    time::sleep(5 * MS).await;
                    ended.fetch_add(1, SeqCst);
                });
            }
            gosched().await;
            // These block until the sleepers have run.
            let blockers: Vec<_> = (0..procs)
                .map(|_| {
                    let ended = ended.clone();
                    go(async move { spin_until(|| ended.load(SeqCst) == 8) })
                })
                .collect();
            for blocker in blockers {
                blocker.await.unwrap();
            }
        });
    }
}

#[test]
fn a_timer_of_a_goroutine_that_gives_its_processor_away_is_looked_after_sch12() {
    on_procs(1, async {
        let (tx, rx) = chan::bounded(1);
        go(async move {
            time::sleep(5 * MS).await;
            tx.send(()).await.unwrap();
        });
        gosched().await;
        gopark::block_in_place(|| rx.recv_blocking());
    });
}

#[test]
fn timers_of_processors_that_are_taken_away_fire_sch15() {
    on_procs(4, async {
        let wg = WaitGroup::new();
        for i in 0..400 {
            wg.go(async move {
                time::sleep(MS * (i % 20)).await;
                time::sleep(MS).await;
            });
        }
        for procs in [1, 3, 2, 4, 1] {
            gopark::gomaxprocs(procs);
            time::sleep(3 * MS).await;
        }
        wg.wait().await;
    });
}

#[cfg(unix)]
fn cpu_time() -> Duration {
    // SAFETY: `usage` is valid for the result.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

#[cfg(unix)]
#[test]
fn a_runtime_with_nothing_but_timers_burns_no_cpu_sch11() {
    isolated(|| {
        let rt = rt(2);
        for _ in 0..100 {
            rt.go(time::sleep(HOUR));
        }
        // One timer of the driver as well.
        let mut foreign = Hand::parked(time::sleep(HOUR));
        rt.block_on(async { time::sleep(20 * MS).await });
        let before = cpu_time();
        rt.block_on(async { time::sleep(400 * MS).await });
        let used = cpu_time() - before;
        assert!(used < 40 * MS, "{used:?}");
        assert!(foreign.is_pending());
    });
}

#[test]
fn an_earlier_timer_wakes_an_idle_runtime_tm11_sch11() {
    no_hang(|| {
        for procs in [1, 2, 4] {
            let rt = rt(procs);
            rt.go(time::sleep(HOUR));
            let start = Instant::now();
            for i in 0..50 {
                // From outside, so that every worker may sleep until the hour has passed.
                let late = rt.block_on(async move {
                    let start = Instant::now();
                    time::sleep(Duration::from_micros(500 - 10 * i)).await;
                    start.elapsed()
                });
                assert!(late < Duration::from_secs(5));
            }
            assert!(start.elapsed() < Duration::from_secs(30));
        }
    });
}

#[test]
fn a_sleep_that_leaves_its_runtime_ends_elsewhere() {
    no_hang(|| {
        let rt = rt(2);
        let start = Instant::now();
        let (mut sleep, mut long) = rt.block_on(async {
            let mut sleeps = (Box::pin(time::sleep(400 * MS)), Box::pin(time::sleep(HOUR)));
            poll_fn(|cx| {
                assert!(
                    sleeps.0.as_mut().poll(cx).is_pending()
                        && sleeps.1.as_mut().poll(cx).is_pending()
                );
                Poll::Ready(())
            })
            .await;
            sleeps
        });
        drop(rt);
        block_on(sleep.as_mut());
        assert!(start.elapsed() >= 400 * MS);
        // The next runtime reuses the same parts.
        let next = crate::util::rt(2);
        next.block_on(async { time::sleep(MS).await });
        assert!(poll_once(long.as_mut()).is_pending());
    });
}

#[test]
fn sleeping_goroutines_are_dropped_with_their_runtime_and_timers_work_in_the_next_ca16() {
    no_hang(|| {
        for round in 0..30 {
            let drops = Drops::new();
            let rt = rt(1 + round % 3);
            for i in 0..50 {
                let one = drops.one();
                rt.go(async move {
                    let _one = one;
                    time::sleep(if i % 2 == 0 { HOUR } else { MS * (i % 5) }).await;
                });
            }
            rt.block_on(async { time::sleep(2 * MS).await });
            drop(rt);
            assert_eq!(drops.count(), 50);
        }
    });
}

#[test]
fn a_waker_that_panics_costs_no_worker_and_no_timer() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a bad waker");
        }
    }
    isolated(|| {
        on_procs(1, async {
            let waker = Waker::from(Arc::new(Bad));
            let mut bad: Vec<_> = (0..5).map(|_| Box::pin(time::sleep(MS))).collect();
            for sleep in &mut bad {
                assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
            let start = Instant::now();
            time::sleep(2 * MS).await;
            assert!(start.elapsed() >= 2 * MS);
            for mut sleep in bad {
                assert!(poll_once(sleep.as_mut()).is_ready());
            }
        });
    });
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// -------------------------------------------------------------------------------- other executors

#[test]
fn timers_work_on_plain_threads_and_in_a_local_main() {
    no_hang(|| {
        let threads: Vec<_> = (0..4u32)
            .map(|i| {
                thread::spawn(move || {
                    for j in 0..20 {
                        let (start, d) =
                            (Instant::now(), Duration::from_micros(u64::from(200 * i + 37 * j)));
                        block_on(time::sleep(d));
                        assert!(start.elapsed() >= d);
                    }
                    Timer::new(MS).channel().recv_blocking()
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap().is_some());
        }
        let rt = rt(1);
        rt.block_on_local(async {
            time::sleep(MS).await;
            let handle = go(time::sleep(MS));
            assert!(after(MS).recv().await.is_some());
            handle.await.unwrap();
        });
    });
}

#[test]
fn an_earlier_timer_of_a_plain_thread_wakes_the_driver_tm11() {
    no_hang(|| {
        let long = Hand::parked(time::sleep(HOUR));
        for i in (1..60).rev() {
            let start = Instant::now();
            block_on(time::sleep(Duration::from_micros(20 * i)));
            assert!(start.elapsed() < Duration::from_secs(10));
        }
        assert_eq!(long.wakes(), 0);
    });
}

// ---------------------------------------------------------------------------------------- timeout

#[test]
fn if_both_are_ready_the_operation_wins_ca17() {
    let (tx, rx) = chan::bounded(1);
    tx.try_send(7).unwrap();
    let late = timeout(Duration::from_nanos(1), rx.recv());
    spin_to(Instant::now() + MS);
    assert_eq!(Hand::new(late).ready(), Ok(Some(7)));
    assert_eq!(Hand::new(timeout(Duration::ZERO, ready(5))).ready(), Ok(5));

    // Also if both become ready while it is parked.
    no_hang(move || {
        let mut parked = Hand::parked(timeout(400 * MS, rx.recv()));
        spin_until(|| parked.wakes() > 0);
        tx.try_send(8).unwrap();
        assert_eq!(parked.ready(), Ok(Some(8)));
    });
}

#[test]
fn a_timed_out_operation_leaves_no_trace_ca17() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let mut late = Hand::new(timeout(Duration::ZERO, rx.recv()));
        assert!(late.ready().is_err());
        // The future still exists, but its operation does not.
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
        let value = Arc::new(2);
        let (tx, rx) = chan::bounded(1);
        tx.try_send(Arc::new(1)).unwrap();
        let mut late = Hand::parked(timeout(400 * MS, tx.send(value.clone())));
        spin_until(|| late.wakes() > 0);
        assert!(late.ready().is_err());
        assert_eq!(Arc::strong_count(&value), 1, "dropped with the operation");
        assert_eq!(
            (rx.len(), rx.try_recv().map(|v| *v), rx.try_recv()),
            (1, Ok(1), Err(TryRecvError::Empty))
        );
    });
    let error: Elapsed = Hand::new(timeout(Duration::ZERO, pending::<()>())).ready().unwrap_err();
    assert_eq!(error.to_string(), "deadline has elapsed");
}

#[test]
fn an_operation_that_never_runs_out_of_work_times_out() {
    on_procs(1, async {
        let (tx, rx) = chan::unbuffered::<()>();
        tx.close();
        let late = timeout(5 * MS, async {
            loop {
                rx.recv().await;
            }
        });
        let never: Result<(), Elapsed> = late.await;
        assert!(never.is_err());
    });
}

#[test]
fn a_foreign_operation_times_out_though_the_budget_was_spent_before() {
    on_procs(1, async {
        let (tx, rx) = chan::unbuffered::<()>();
        tx.close();
        for spent in 100..140 {
            for _ in 0..spent {
                rx.recv().await;
            }
            assert!(timeout(Duration::from_micros(50), pending::<()>()).await.is_err());
        }
    });
}

#[test]
#[should_panic(expected = "timeout polled after completion")]
fn a_timeout_that_is_over_is_not_polled_again() {
    let mut late = Hand::new(timeout(HOUR, ready(())));
    late.ready().unwrap();
    let _ = late.ready();
}

#[test]
fn dropped_timeouts_leave_nothing_behind_ca14() {
    // A timer that is left keeps its waker.
    let park = |count: usize| {
        let (wakes, waker) = Wakes::new();
        let mut dice = Dice::new(count as u64);
        let mut kept = Vec::new();
        for _ in 0..count {
            let mut one =
                Box::pin(timeout(MS * (5_000 + dice.roll(3_600_000) as u32), pending::<()>()));
            assert!(one.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            kept.push(one);
            while kept.len() > dice.roll(100) {
                drop(kept.swap_remove(dice.roll(kept.len())));
            }
        }
        drop(kept);
        drop(waker);
        assert_eq!(Arc::strong_count(&wakes), 1);
        assert_eq!(wakes.count(), 0);
    };
    park(100_000);
    on_procs(2, async move {
        let handles: Vec<_> = (0..4).map(|i| go(async move { park(25_000 + i) })).collect();
        for handle in handles {
            handle.await.unwrap();
        }
    });
}

#[test]
fn sleeps_are_dropped_at_any_moment_and_on_any_thread_ca14() {
    no_hang(|| {
        let (wakes, waker) = Wakes::new();
        let rt = rt(2);
        let (tx, rx) = chan::bounded::<Vec<Pin<Box<time::Sleep>>>>(8);
        let dropper =
            thread::spawn(move || rx.iter_blocking().map(|sleeps| sleeps.len()).sum::<usize>());
        let handles: Vec<_> = (0..4u64)
            .map(|seed| {
                let (waker, tx) = (waker.clone(), tx.clone());
                rt.go(async move {
                    let mut dice = Dice::new(seed);
                    for _ in 0..200 {
                        let mut sleeps: Vec<_> = (0..20)
                            .map(|_| {
                                Box::pin(time::sleep(Duration::from_nanos(
                                    dice.roll(400_000) as u64
                                )))
                            })
                            .collect();
                        for sleep in &mut sleeps {
                            let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
                        }
                        if dice.roll(4) == 0 {
                            gosched().await;
                        }
                        tx.send(sleeps).await.unwrap();
                    }
                })
            })
            .collect();
        for handle in handles {
            block_on(handle).unwrap();
        }
        drop(tx);
        assert_eq!(dropper.join().unwrap(), 4 * 200 * 20);
        drop((rt, waker));
        // A wake in flight may hold its waker for a moment.
        spin_until(|| Arc::strong_count(&wakes) == 1);
    });
}

#[test]
fn a_sleep_may_be_dropped_from_inside_its_own_wake_ca14() {
    no_hang(|| {
        for procs in [0, 1] {
            let slot = Arc::new(Mutex::new(Vec::new()));
            let done = Arc::new(AtomicUsize::new(0));
            let (s, d) = (slot.clone(), done.clone());
            let waker = Waker::from(Arc::new(Acts {
                on_wake: Box::new(move || {
                    // This one, which has fired, and others, which may be firing now.
                    let sleeps: Vec<Pin<Box<time::Sleep>>> =
                        std::mem::take(&mut *s.lock().unwrap());
                    d.fetch_add(sleeps.len(), SeqCst);
                    drop(sleeps);
                }),
                on_drop: Box::new(|| ()),
            }));
            let (s, w) = (slot.clone(), waker.clone());
            let start = move || {
                let mut sleeps: Vec<_> = (0..50)
                    .map(|i| Box::pin(time::sleep(MS + Duration::from_micros(i / 5))))
                    .collect();
                let mut held = s.lock().unwrap();
                for sleep in &mut sleeps {
                    assert!(sleep.as_mut().poll(&mut Context::from_waker(&w)).is_pending());
                }
                held.append(&mut sleeps);
            };
            if procs == 0 {
                start();
                spin_until(|| done.load(SeqCst) == 50);
            } else {
                let done = done.clone();
                on_procs(procs, async move {
                    start();
                    while done.load(SeqCst) < 50 {
                        gosched().await;
                    }
                });
            }
        }
    });
}

// ----------------------------------------------------------------------------- channels of timers

#[test]
fn the_value_is_the_due_time_however_late_it_is_read_tm02() {
    let before = Instant::now();
    let rx = after(2 * MS);
    let made = Instant::now();
    spin_to(made + 20 * MS);
    let value = rx.try_recv().unwrap();
    assert!(before + 2 * MS <= value && value <= made + 2 * MS);
}

#[test]
fn a_timer_channel_looks_unbuffered_and_needs_nobody_to_run_it_tm03() {
    let timer = Timer::new(HOUR);
    let rx = timer.channel().clone();
    let look = |rx: &Receiver<Instant>| {
        (rx.len(), rx.capacity(), rx.is_empty(), rx.is_full(), rx.is_closed())
    };
    assert_eq!(look(&rx), (0, 0, true, true, false));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    timer.reset(MS);
    spin_to(Instant::now() + MS);
    assert_eq!(look(&rx), (0, 0, true, true, false));
    // This process has never had a runtime or a wait.
    assert!(rx.try_recv().is_ok());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    timer.reset(Duration::ZERO);
    let now = select! {
        at = rx.recv() => at.is_some(),
        default => false,
    };
    assert!(now);
}

#[test]
fn stop_and_reset_leave_no_stale_value_and_answer_as_go_does_tm04() {
    // (what was done before, what stop and reset return)
    let pending = || Timer::new(HOUR);
    let unread = || Timer::new(Duration::ZERO);
    let read = || {
        let timer = Timer::new(Duration::ZERO);
        timer.channel().try_recv().unwrap();
        timer
    };
    let stopped = || {
        let timer = Timer::new(HOUR);
        assert!(timer.stop());
        timer
    };
    let cases: [(&str, &dyn Fn() -> Timer, bool); 4] = [
        ("pending", &pending, true),
        ("unread", &unread, true),
        ("read", &read, false),
        ("stopped", &stopped, false),
    ];
    for (name, make, active) in cases {
        let timer = make();
        assert_eq!(timer.stop(), active, "{name}");
        assert_eq!(timer.channel().try_recv(), Err(TryRecvError::Empty), "{name}");
        assert!(!timer.stop(), "{name}");
        let timer = make();
        assert_eq!(timer.reset(HOUR), active, "{name}");
        assert_eq!(timer.channel().try_recv(), Err(TryRecvError::Empty), "{name}");
        assert!(timer.reset(Duration::ZERO), "{name}");
        assert!(timer.channel().try_recv().is_ok(), "{name}");
        assert!(!timer.reset(HOUR), "{name}");
    }
}

#[test]
fn a_value_that_was_handed_to_a_dropped_receive_is_there_again_unless_it_is_stale_ca01_tm04() {
    no_hang(|| {
        for stale in [false, true] {
            let timer = Timer::new(HOUR);
            let receive = Hand::parked(timer.channel().recv());
            timer.reset(MS);
            spin_until(|| receive.wakes() == 1);
            // Handed over: for the timer it counts as received.
            if stale {
                assert!(!timer.reset(HOUR));
            }
            drop(receive);
            assert_eq!(timer.channel().len(), 0);
            assert_eq!(timer.channel().try_recv().is_ok(), !stale);
            assert_eq!(timer.stop(), stale);
            // Nothing is left for later.
            assert!(timer.channel().try_recv().is_err());
        }
        // To the next waiter, if there is one.
        let timer = Timer::new(HOUR);
        let (mut first, mut second) =
            (Hand::parked(timer.channel().recv()), Hand::parked(timer.channel().recv()));
        timer.reset(MS);
        spin_until(|| first.wakes() == 1);
        assert!(second.is_pending());
        drop(first);
        assert_eq!(second.wakes(), 1);
        assert!(second.ready().is_some());
        first = Hand::parked(timer.channel().recv());
        assert!(first.is_pending());
    });
}

#[test]
fn if_not_stopped_then_received_never_hangs_tm04() {
    for procs in [1, 2] {
        on_procs(procs, async {
            let wg = WaitGroup::new();
            for i in 0..1000u64 {
                wg.go(async move {
                    let timer = Timer::new(Duration::from_micros(i % 50));
                    if i % 3 == 0 {
                        gosched().await;
                    }
                    let receiver = (i % 2 == 0).then(|| {
                        let rx = timer.channel().clone();
                        go(async move {
                            select! {
                                at = rx.recv() => at.is_some(),
                                _ = time::sleep(2 * MS) => false,
                            }
                        })
                    });
                    if i % 5 == 0 {
                        time::sleep(Duration::from_micros(30)).await;
                    }
                    let prevented = if i % 7 == 0 { timer.reset(HOUR) } else { timer.stop() };
                    match receiver {
                        Some(receiver) => {
                            assert_ne!(receiver.await.unwrap(), prevented, "received or prevented")
                        }
                        None => assert!(prevented, "no other receiver got it"),
                    }
                    assert!(timer.channel().try_recv().is_err());
                });
            }
            wg.wait().await;
        });
    }
}

#[test]
fn a_timer_that_starts_a_goroutine_tm05() {
    on_procs(2, async {
        // Started: too late to stop it, and stop does not wait.
        let (tx, rx) = chan::unbuffered();
        let (go_on, gate) = chan::unbuffered::<()>();
        let timer = Timer::after_func(MS, async move {
            tx.send(()).await.unwrap();
            gate.recv().await;
        });
        assert!(rx.recv().await.is_some());
        assert!(!timer.stop());
        // It runs only once.
        assert!(!timer.reset(Duration::ZERO) && !timer.stop());
        drop(go_on);

        // Stopped in time, and set again.
        let (tx, rx) = chan::bounded(1);
        let timer = Timer::after_func(HOUR, async move { tx.send(()).await.unwrap() });
        assert!(timer.stop() && !timer.stop());
        assert!(!timer.reset(HOUR), "it was not active");
        assert!(timer.reset(MS), "it was");
        // Dropping the timer does not stop it.
        let nil = timer.channel().clone();
        drop(timer);
        assert!(rx.recv().await.is_some());
        assert_eq!(nil, Receiver::nil());

        // Never started: dropped with the timer.
        let drops = Drops::new();
        let one = drops.one();
        let timer = Timer::after_func(HOUR, async move { drop(one) });
        timer.stop();
        drop(timer);
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn stop_and_start_of_a_goroutine_agree_tm05() {
    for procs in [1, 2] {
        on_procs(procs, async {
            for i in 0..2000u64 {
                let started = Arc::new(AtomicBool::new(false));
                let (tx, rx) = chan::unbuffered::<()>();
                let s = started.clone();
                let timer = Timer::after_func(Duration::from_micros(i % 20), async move {
                    s.store(true, SeqCst);
                    drop(tx);
                });
                if i % 2 == 0 {
                    time::sleep(Duration::from_micros(i % 40)).await;
                }
                let prevented = timer.stop();
                drop(timer);
                // When it ends, whether it ran or not, the channel is closed.
                assert_eq!(rx.recv().await, None);
                assert_ne!(started.load(SeqCst), prevented);
            }
        });
    }
}

/// A bug: a runtime was dropped, and its executor became that of the next one. The future of an
/// `after_func` of the first runtime started in the second.
#[test]
fn a_goroutine_of_a_runtime_that_is_gone_is_not_started_in_another() {
    no_hang(|| {
        let (drops, started) = (Drops::new(), Arc::new(AtomicBool::new(false)));
        let first = rt(1);
        let (one, s) = (drops.one(), started.clone());
        let timer = first.block_on(async move {
            Timer::after_func(1000 * MS, async move {
                let _one = one;
                s.store(true, SeqCst);
            })
        });
        drop(first);
        let second = rt(1);
        second.block_on(async { time::sleep(1005 * MS).await });
        spin_until(|| drops.count() == 1);
        assert!(!started.load(SeqCst));
        assert!(!timer.stop());
    });
}

#[test]
fn a_late_ticker_gives_one_tick_and_stays_on_its_grid_tm07() {
    let period = 4 * MS;
    let before = Instant::now();
    let ticker = Ticker::new(period);
    let made = Instant::now();
    spin_to(made + 22 * MS);
    let asked = Instant::now();
    let first = ticker.channel().try_recv().unwrap();
    let answered = Instant::now();
    assert!(before + period <= first && first <= made + period, "the first one waited");
    assert_eq!(ticker.channel().len(), 0);
    // The next tick is the first one of the grid after the check, and so on.
    let mut last = no_hang(move || {
        let second = block_on(ticker.tick());
        assert!(second > asked && second <= answered + period);
        assert_eq!((second - first).as_nanos() % period.as_nanos(), 0);
        (second, ticker)
    });
    for _ in 0..5 {
        last = no_hang(move || {
            let (at, ticker) = last;
            let next = block_on(ticker.tick());
            assert!(next > at && next <= Instant::now());
            assert_eq!((next - at).as_nanos() % period.as_nanos(), 0);
            (next, ticker)
        });
    }
}

/// A bug: a close through the channel closed it, and a tick that waited panicked.
#[test]
fn a_receiver_does_not_close_a_timers_channel() {
    no_hang(|| {
        let ticker = Ticker::new(HOUR);
        let mut tick = Hand::parked(ticker.tick());
        assert!(!ticker.channel().close() && !ticker.channel().is_closed());
        assert!(tick.is_pending());
        ticker.reset(MS);
        spin_until(|| tick.wakes() > 0);
        tick.ready();
        let rx = after(Duration::ZERO);
        assert!(!rx.close() && rx.try_recv().is_ok());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn a_stopped_ticker_is_silent_and_open_and_reset_starts_anew_tm08() {
    no_hang(|| {
        let ticker = Ticker::new(MS);
        block_on(ticker.tick());
        ticker.stop();
        let mut waits = Hand::parked(ticker.tick());
        spin_to(Instant::now() + 3 * MS);
        assert!(waits.is_pending() && !ticker.channel().is_closed());
        assert_eq!(ticker.channel().try_recv(), Err(TryRecvError::Empty));
        let start = Instant::now();
        ticker.reset(5 * MS);
        // The waiters were served.
        spin_until(|| waits.wakes() > 0);
        let at = waits.ready();
        assert!(at >= start + 5 * MS);
        assert_eq!(block_on(ticker.tick()).duration_since(at).as_nanos() % (5 * MS).as_nanos(), 0);
    });
}

#[test]
fn a_period_of_zero_panics_at_the_caller_tm08() {
    let text = |f: &dyn Fn()| {
        let panic = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
        *panic.downcast_ref::<&str>().unwrap()
    };
    assert_eq!(text(&|| drop(Ticker::new(Duration::ZERO))), "non-positive interval for NewTicker");
    let ticker = Ticker::new(HOUR);
    assert_eq!(text(&|| ticker.reset(Duration::ZERO)), "non-positive interval for Ticker.Reset");
}

#[test]
fn timers_that_nobody_holds_vanish_tm09() {
    no_hang(|| {
        let (wakes, waker) = Wakes::new();
        for i in 0..10_000 {
            let rx = after(HOUR);
            let ticker = Ticker::new(HOUR);
            if i % 2 == 0 {
                let mut receive = Box::pin(rx.recv());
                assert!(receive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                let mut tick = Box::pin(ticker.tick());
                assert!(tick.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
        }
        drop(waker);
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

#[test]
fn of_many_waiters_exactly_one_gets_the_value_tm10() {
    for procs in [1, 2] {
        on_procs(procs, async {
            for round in 0..50u64 {
                let timer = Arc::new(Timer::new(Duration::from_micros(100)));
                let got = Arc::new(AtomicUsize::new(0));
                let (done, all) = chan::unbuffered::<()>();
                let wg = WaitGroup::new();
                for i in 0..10 {
                    let (timer, got, all) = (timer.clone(), got.clone(), all.clone());
                    wg.go(async move {
                        let other = chan::unbuffered::<()>();
                        let value = match (i + round) % 3 {
                            0 => select! {
                                at = timer.channel().recv() => at,
                                _ = all.recv() => None,
                            },
                            1 => select! {
                                at = timer.channel().recv() => at,
                                _ = other.1.recv() => None,
                                _ = select::fut(all.recv()) => None,
                            },
                            _ => {
                                let mut stream = timer.channel().clone();
                                select! {
                                    at = select::fut(stream.next()) => at,
                                    _ = all.recv() => None,
                                }
                            }
                        };
                        if value.is_some() {
                            got.fetch_add(1, SeqCst);
                        }
                    });
                }
                let g = got.clone();
                while g.load(SeqCst) == 0 {
                    time::sleep(Duration::from_micros(50)).await;
                }
                done.close();
                wg.wait().await;
                assert_eq!(got.load(SeqCst), 1);
                assert!(timer.channel().try_recv().is_err());
            }
        });
    }
}

#[test]
fn a_ticker_serves_everybody_who_waits_tm10() {
    for procs in [1, 2] {
        on_procs(procs, async {
            let ticker = Arc::new(Ticker::new(Duration::from_micros(200)));
            let wg = WaitGroup::new();
            let seen = Arc::new(Mutex::new(Vec::new()));
            for i in 0..9 {
                let (ticker, seen) = (ticker.clone(), seen.clone());
                wg.go(async move {
                    let (_open, never) = chan::unbuffered::<()>();
                    for _ in 0..10 {
                        let at = match i % 3 {
                            0 => ticker.tick().await,
                            1 => select! {
                                at = ticker.tick() => at,
                                _ = never.recv() => unreachable!("no sender"),
                            },
                            _ => select! {
                                at = ticker.tick() => at,
                                _ = select::fut(async { loop { gosched().await } }) => {
                                    unreachable!("it never ends")
                                }
                            },
                        };
                        seen.lock().unwrap().push(at);
                    }
                });
            }
            wg.wait().await;
            let mut seen = std::mem::take(&mut *seen.lock().unwrap());
            seen.sort();
            let all = seen.len();
            seen.dedup();
            assert_eq!((all, seen.len()), (90, 90), "each tick goes to one");
        });
    }
}

#[test]
fn a_timer_channel_as_a_stream_wakes_its_watchers() {
    on_procs(1, async {
        let ticker = Ticker::new(MS);
        let ticks: Vec<_> = ticker.channel().clone().take(4).collect().await;
        assert!(ticks.is_sorted() && ticks.len() == 4);
        let timer = Timer::new(HOUR);
        let mut stream = timer.channel().clone();
        let waits = go(async move { stream.next().await });
        gosched().await;
        timer.reset(MS);
        assert!(waits.await.unwrap().is_some());
    });
}

#[test]
fn moving_timers_earlier_is_never_lost_under_churn_tm11() {
    for procs in [1, 2] {
        on_procs(procs, async {
            let wg = WaitGroup::new();
            for i in 0..2000u64 {
                wg.go(async move {
                    let mut dice = Dice::new(i);
                    let timer = Arc::new(Timer::new(HOUR));
                    let rx = timer.channel().clone();
                    let waiter = go(async move { rx.recv().await.is_some() });
                    for _ in 0..dice.roll(5) {
                        if dice.roll(2) == 0 {
                            gosched().await;
                        }
                        timer.reset(Duration::from_millis(1000 + dice.roll(100_000) as u64));
                    }
                    // Another processor may be moving it now.
                    let mover = timer.clone();
                    go(async move { mover.reset(Duration::from_micros(dice.roll(3000) as u64)) })
                        .await
                        .unwrap();
                    assert!(waiter.await.unwrap());
                });
            }
            wg.wait().await;
        });
    }
}

#[test]
fn timers_are_moved_by_plain_threads_while_goroutines_wait_tm11() {
    no_hang(|| {
        let rt = rt(2);
        for i in 0..200u64 {
            let timer = Arc::new(Timer::new(HOUR));
            let rx = timer.channel().clone();
            let waiter = rt.go(async move { rx.recv().await.is_some() });
            let mover = thread::spawn(move || {
                timer.reset(HOUR / 2);
                timer.reset(Duration::from_micros(i))
            });
            assert!(mover.join().unwrap());
            assert!(block_on(waiter).unwrap());
        }
    });
}

/// A bug: the send was pending when it was polled, and was taken before the time was checked. The
/// time-out reported it as not sent.
#[test]
fn a_timeout_tells_a_send_as_sent_that_was_taken_while_it_looked_at_the_time_ca17() {
    let (tx, rx) = chan::unbuffered();
    let operation = After::new(tx.send(1), || assert_eq!(rx.try_recv(), Ok(1)));
    assert_eq!(Hand::new(timeout(Duration::ZERO, operation)).ready(), Ok(Ok(())));
}

/// A bug: the send was taken between the last poll and its drop, and the time-out reported it as
/// not sent. The last poll removes the send from the queue now.
#[test]
fn what_a_timeout_gives_up_is_out_of_reach_before_it_is_dropped_ca17() {
    let (tx, rx) = chan::unbuffered();
    let polls = AtomicUsize::new(0);
    let operation = After::new(tx.send(1), || {
        if polls.fetch_add(1, SeqCst) == 1 {
            assert!(rx.try_recv().is_err(), "a send that is being given up was taken");
        }
    });
    assert!(Hand::new(timeout(Duration::ZERO, operation)).ready().is_err());
    assert_eq!(polls.into_inner(), 2);
}

#[test]
fn what_a_timeout_polls_for_the_first_time_when_it_gives_up_does_not_come_in_ca17() {
    let (tx, rx) = chan::unbuffered();
    let (mut send, mut recv) = (Box::pin(tx.send(1)), Box::pin(rx.recv()));
    let mut polls = 0;
    let operation = poll_fn(|cx| {
        polls += 1;
        if polls == 2 {
            assert!(send.as_mut().poll(cx).is_pending());
            assert!(rx.try_recv().is_err(), "a send that is being given up was taken");
            assert!(recv.as_mut().poll(cx).is_pending());
            assert!(tx.try_send(2).is_err(), "a receive that is being given up was served");
        }
        Poll::<()>::Pending
    });
    assert!(Hand::new(timeout(Duration::ZERO, operation)).ready().is_err());
    assert_eq!(polls, 2);
}

/// A bug: the last poll removed the channel operations of the select from their queues, but did not
/// reach a send inside a future that was another case. It was taken after that.
#[test]
fn what_a_timeout_gives_up_is_out_of_reach_though_it_is_a_future_in_a_select_ca17() {
    let ((tx, rx), (_other_tx, other)) = (chan::unbuffered(), chan::unbuffered::<()>());
    let polls = AtomicUsize::new(0);
    let selecting = Box::pin(async {
        gopark::select! {
            sent = gopark::select::fut(async { tx.send(1).await }) => sent.is_ok(),
            _ = other.recv() => unreachable!("no sender"),
        }
    });
    let operation = After::new(selecting, || {
        if polls.fetch_add(1, SeqCst) == 1 {
            assert!(rx.try_recv().is_err(), "a send that is being given up was taken");
        }
    });
    assert!(Hand::new(timeout(Duration::ZERO, operation)).ready().is_err());
    assert_eq!(polls.into_inner(), 2);
}

#[test]
fn a_sleep_that_is_reset_ends_at_the_new_time_though_it_is_not_polled_again() {
    let later = || time::now() + Duration::from_secs(1000);
    let sleeps = |deadline| Box::pin(time::sleep_until(deadline)); // asleep: the subject
    let (wakes, waker) = Wakes::new();
    let cx = &mut Context::from_waker(&waker);
    // An earlier time.
    let mut sleep = sleeps(later());
    assert!(sleep.as_mut().poll(cx).is_pending());
    let soon = time::now() + Duration::from_millis(3);
    sleep.as_mut().reset(soon);
    no_hang(move || spin_until(|| wakes.count() > 0));
    assert!(time::now() >= soon);
    assert!(sleep.as_mut().poll(cx).is_ready());
    // Set again after the time had passed; and to a later time.
    sleep.as_mut().reset(time::now() + Duration::from_secs(100));
    assert!(sleep.as_mut().poll(cx).is_pending());
    sleep.as_mut().reset(later());
    assert!(sleep.as_mut().poll(cx).is_pending());
    // To a time in the past.
    sleep.as_mut().reset(time::now());
    assert!(sleep.as_mut().poll(cx).is_ready());
}

/// A bug: a sleep that was polled while it was due never did not keep the waker, so a reset to a
/// time that comes woke no task.
#[test]
fn a_sleep_that_was_due_never_ends_at_the_new_time_though_it_is_not_polled_again() {
    let never = || time::now() + Duration::from_secs(20_000_000_000);
    for was_due in [false, true] {
        let (wakes, waker) = Wakes::new();
        let cx = &mut Context::from_waker(&waker);
        let first = if was_due { HOUR } else { Duration::MAX };
        let mut sleep = Box::pin(time::sleep(first)); // asleep: the subject
        assert!(sleep.as_mut().poll(cx).is_pending());
        if was_due {
            sleep.as_mut().reset(never());
            assert!(sleep.as_mut().poll(cx).is_pending());
            sleep.as_mut().reset(never());
        }
        assert_eq!(wakes.count(), 0);
        let soon = time::now() + 3 * MS;
        sleep.as_mut().reset(soon);
        no_hang(move || spin_until(|| wakes.count() > 0));
        assert!(time::now() >= soon);
        assert!(sleep.as_mut().poll(cx).is_ready());
    }
    // A waker that is replaced, and one that is left with the sleep.
    let (wakes, waker) = Wakes::new();
    let mut sleep = Hand::parked(time::sleep(Duration::MAX)); // asleep: the subject
    assert!(sleep.poll_with(&waker).is_pending());
    sleep.future().reset(time::now());
    assert_eq!((sleep.wakes(), wakes.count()), (0, 1));
    sleep.ready();
    let mut sleep = Hand::new(time::sleep(Duration::MAX)); // asleep: the subject
    assert!(sleep.poll_with(&waker).is_pending());
    drop(sleep);
    drop(waker);
    assert_eq!(Arc::strong_count(&wakes), 1);
}

#[test]
fn a_function_that_returns_io_errors_can_pass_on_those_of_waits() {
    use gopark::context::ContextError;
    use std::io::{self, ErrorKind};

    fn kind(error: impl Into<io::Error>) -> (ErrorKind, String) {
        let error = error.into();
        (error.kind(), error.to_string())
    }

    gopark::block_on(async {
        let elapsed = time::timeout(Duration::ZERO, std::future::pending::<()>()).await;
        assert_eq!(
            kind(elapsed.unwrap_err()),
            (ErrorKind::TimedOut, "deadline has elapsed".into())
        );
        let handle = gopark::go(std::future::pending::<()>());
        handle.abort();
        let (kind_of_join, text) = kind(handle.await.unwrap_err());
        assert_eq!(kind_of_join, ErrorKind::Other);
        assert!(text.ends_with("was aborted"), "{text}");
    });
    assert_eq!(
        kind(ContextError::DeadlineExceeded),
        (ErrorKind::TimedOut, "context deadline exceeded".into())
    );
    assert_eq!(kind(ContextError::Canceled), (ErrorKind::Other, "context canceled".into()));
}
