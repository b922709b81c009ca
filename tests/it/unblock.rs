//! `unblock` and the limit of threads: how many closures run at once, in what order, and what
//! happens to those that wait.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on as block_thread_on, poll_once, zip};
use gopark::{Runtime, block_in_place, go, gosched, unblock};

use crate::util::{Drops, no_hang, rt, spin_until};

/// A runtime with one processor and at most this many threads.
fn limited(threads: usize) -> Runtime {
    Runtime::builder().gomaxprocs(1).max_threads(threads).thread_name("limited").build().unwrap()
}

/// Polls each once, in their order, and then waits for all.
async fn in_order<T>(mut futures: Vec<Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none() {
                if let Poll::Ready(value) = future.as_mut().poll(cx) {
                    *result = Some(value);
                }
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// Blocks every thread that runs closures, so that the next ones wait. They continue when the
/// sender is dropped.
fn fill(rt: &Runtime, closures: usize) -> mpsc::Sender<()> {
    let (inside, is_inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    for _ in 0..closures {
        let (inside, released) = (inside.clone(), released.clone());
        rt.go(unblock(move || {
            inside.send(()).unwrap();
            // One waits for the sender, the others for the lock.
            let _ = released.lock().unwrap().recv();
        }));
    }
    (0..closures).for_each(|_| is_inside.recv().unwrap());
    release
}

#[test]
fn closures_run_in_their_order_and_no_more_at_once_than_threads_are_left() {
    no_hang(|| {
        const CLOSURES: usize = 20;
        let rt = limited(3);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let begun = Arc::new(Mutex::new(Vec::new()));
        let closure = |i| {
            let (now, most, begun) = (now.clone(), most.clone(), begun.clone());
            Box::pin(unblock(move || {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                {
                    let mut begun = begun.lock().unwrap();
                    begun.push(i);
                    // A closure that another thread has taken may not have run yet.
                    let before = begun.iter().filter(|other| **other < i).count();
                    assert!(before + 1 >= i, "{i} began after {begun:?}");
                }
                (0..100).for_each(|_| thread::yield_now());
                now.fetch_sub(1, SeqCst);
                i
            }))
        };
        let closures = (0..CLOSURES).map(closure).collect();
        let results = rt.block_on(async {
            // Goroutines run meanwhile: one thread is left for them.
            let other = go(gosched());
            let results = in_order(closures).await;
            other.await.unwrap();
            results
        });
        assert_eq!(results, Vec::from_iter(0..CLOSURES));
        assert!(most.load(SeqCst) <= 2, "{most:?} at once");
        assert_eq!(begun.lock().unwrap().len(), CLOSURES);
    });
}

#[test]
fn one_thread_runs_goroutines_and_closures() {
    no_hang(|| {
        let rt = limited(1);
        for i in 0..50 {
            assert_eq!(rt.block_on(async move { unblock(move || i).await }), i);
            let (a, b) =
                rt.block_on(async { zip(unblock(|| 1), go(async { unblock(|| 2).await })).await });
            assert_eq!((a, b.unwrap()), (1, 2));
            assert_eq!(rt.block_on(async { block_in_place(|| 3) }), 3);
        }
        assert_eq!(rt.shutdown_timeout(Duration::from_secs(20)), 0);
    });
}

#[test]
fn a_goroutine_that_blocks_its_thread_at_the_limit_keeps_its_processor_sch12() {
    no_hang(|| {
        let rt = limited(1);
        for announced in [true, false] {
            let (inside, is_inside) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let blocks = rt.go(async move {
                let block = || {
                    inside.send(()).unwrap();
                    released.recv().unwrap_err();
                };
                if announced { block_in_place(block) } else { block() }
            });
            is_inside.recv().unwrap();
            let others: Vec<_> = (0..10).map(|_| rt.go(gosched())).collect();
            assert!(others.iter().all(|other| !other.is_finished()), "there is no thread for them");
            drop(release);
            block_thread_on(blocks).unwrap();
            others.into_iter().for_each(|other| block_thread_on(other).unwrap());
        }
    });
}

#[test]
fn closures_that_wait_for_closures_get_on_at_the_limit() {
    let inner: [fn() -> i32; 5] = [
        || gopark::block_on(async { unblock(|| 1).await }),
        || gopark::block_on_local(async { unblock(|| 1).await }),
        || block_thread_on(unblock(|| 1)),
        // Two waits of one thread.
        || block_thread_on(async { zip(unblock(|| 1), unblock(|| 2)).await.0 }),
        || gopark::block_on(async { go(async { unblock(|| 1).await }).await.unwrap() }),
    ];
    for (i, inner) in inner.into_iter().enumerate() {
        no_hang(move || {
            let rt = limited(3);
            for round in 0..3 {
                let both = Arc::new(Barrier::new(2));
                let closures = (0..2).map(|_| {
                    let both = both.clone();
                    Box::pin(unblock(move || {
                        both.wait();
                        inner()
                    }))
                });
                let closures = closures.collect();
                assert_eq!(
                    rt.block_on(async { in_order(closures).await }),
                    [1, 1],
                    "form {i}, round {round}"
                );
            }
            // The limit is the same as before.
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let closure = |_| {
                let (now, most) = (now.clone(), most.clone());
                Box::pin(unblock(move || {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    (0..100).for_each(|_| thread::yield_now());
                    now.fetch_sub(1, SeqCst);
                }))
            };
            let closures = (0..10).map(closure).collect();
            rt.block_on(async { in_order(closures).await });
            assert!(most.load(SeqCst) <= 2, "{most:?} at once after form {i}");
        });
    }
}

#[test]
fn a_wait_for_a_closure_that_outlives_the_closure_it_began_in_takes_no_place() {
    no_hang(|| {
        let rt = limited(2);
        for _ in 0..3 {
            // It is polled on the thread of a closure, and waits elsewhere.
            let begun = rt.block_on(async {
                unblock(|| {
                    let mut inner = Box::pin(unblock(|| 5));
                    let polled = inner.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    (inner, polled)
                })
                .await
            });
            let (inner, polled) = begun;
            if polled.is_pending() {
                assert_eq!(block_thread_on(inner), 5);
            }
            assert_eq!(rt.block_on(async { unblock(|| 6).await }), 6);
        }
    });
}

#[test]
fn a_closure_whose_wait_is_dropped_before_it_begins_never_runs() {
    no_hang(|| {
        let rt = limited(2);
        let release = fill(&rt, 1);
        let (drops, ran) = (Drops::new(), Arc::new(AtomicBool::new(false)));
        rt.block_on(async {
            let (one, runs) = (drops.one(), ran.clone());
            let mut waits = Box::pin(unblock(move || {
                let _one = one;
                runs.store(true, SeqCst);
            }));
            assert!(poll_once(&mut waits).await.is_none());
        });
        drop(release);
        // Those behind it run.
        assert_eq!(rt.block_on(async { unblock(|| 7).await }), 7);
        spin_until(|| rt.num_goroutine() == 0);
        assert_eq!((ran.load(SeqCst), drops.count()), (false, 1));
    });
}

/// A bug: a shutdown polled goroutines that waited for one that it had just dropped, and that poll
/// could panic. They are dropped too.
#[test]
fn a_runtime_that_ends_drops_the_closures_that_wait_and_counts_the_running_ones_ca16() {
    no_hang(|| {
        for round in 0..6 {
            let rt = limited(3);
            let release = fill(&rt, 2);
            let (drops, ran) = (Drops::new(), Arc::new(AtomicUsize::new(0)));
            let waits: Vec<_> = (0..10)
                .map(|_| {
                    let (one, ran) = (drops.one(), ran.clone());
                    rt.go(unblock(move || {
                        let _one = one;
                        ran.fetch_add(1, SeqCst);
                    }))
                })
                .collect();
            if round % 2 == 0 {
                // So that all are submitted.
                rt.block_on(gosched());
            }
            // The goroutines that wait for them are dropped with the runtime.
            assert_eq!(rt.shutdown_timeout(Duration::from_millis(300)), 2, "the running ones");
            assert_eq!((drops.count(), ran.load(SeqCst)), (10, 0));
            drop(release);
            for waits in waits {
                assert!(block_thread_on(waits).unwrap_err().is_aborted());
            }
        }
    });
}

#[test]
fn a_wait_elsewhere_for_a_closure_that_never_began_panics_ca16() {
    no_hang(|| {
        let (rt, elsewhere) = (limited(2), rt(1));
        let release = fill(&rt, 1);
        let (submitted, is_submitted) = mpsc::channel();
        let mut waits = Box::pin(unblock(|| ()));
        assert!(rt.block_on(async { poll_once(&mut waits).await }).is_none());
        let joined = elsewhere.go(async move {
            submitted.send(()).unwrap();
            waits.await;
        });
        is_submitted.recv().unwrap();
        assert_eq!(rt.shutdown_timeout(Duration::from_millis(300)), 1);
        let error = block_thread_on(joined).unwrap_err();
        assert!(
            error.to_string().contains("shut down before the closure of `unblock` started"),
            "{error}"
        );
        drop(release);
    });
}

#[test]
fn the_panic_of_a_closure_reaches_whoever_awaits_it_and_its_thread_goes_on() {
    no_hang(|| {
        let rt = limited(2);
        for _ in 0..20 {
            let failed = block_thread_on(rt.go(unblock(|| panic!("in a closure"))));
            assert!(failed.unwrap_err().to_string().ends_with("in a closure"));
            assert_eq!(rt.block_on(async { unblock(|| 1).await }), 1);
        }
    });
}

#[test]
fn closures_and_goroutines_get_on_while_both_fill_the_threads() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(2).max_threads(4).build().unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let goroutines: Vec<_> = (0..200)
            .map(|i| {
                let done = done.clone();
                rt.go(async move {
                    match i % 4 {
                        0 => unblock(thread::yield_now).await,
                        1 => block_in_place(thread::yield_now),
                        2 => {
                            unblock(|| gopark::block_on(async { go(gosched()).await.unwrap() }))
                                .await
                        }
                        _ => gosched().await,
                    }
                    done.fetch_add(1, SeqCst);
                })
            })
            .collect();
        goroutines.into_iter().for_each(|goroutine| block_thread_on(goroutine).unwrap());
        assert_eq!(done.load(SeqCst), 200);
        rt.go(pending::<()>());
        assert_eq!(rt.shutdown_timeout(Duration::from_secs(20)), 0);
    });
}

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::clocks::cpu_time;
    use crate::executor::forbid;
    use crate::util::isolated;

    fn forbid_threads_everywhere() {
        forbid(libc::SYS_clone, libc::SECCOMP_FILTER_FLAG_TSYNC);
        forbid(libc::SYS_clone3, libc::SECCOMP_FILTER_FLAG_TSYNC);
    }

    /// The number of workers of the `limited` runtime in this process, without its monitor.
    fn workers() -> usize {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        // A thread that has just ended has no name.
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("limited-") && !name.starts_with("limited-m")).count()
    }

    #[test]
    fn there_are_no_more_threads_than_the_limit() {
        isolated(|| {
            let rt = limited(3);
            let most = Arc::new(AtomicUsize::new(0));
            let goroutines: Vec<_> = (0..60)
                .map(|i| {
                    let most = most.clone();
                    rt.go(async move {
                        let look = move || _ = most.fetch_max(workers(), SeqCst);
                        match i % 3 {
                            0 => unblock(look).await,
                            1 => block_in_place(look),
                            _ => look(),
                        }
                    })
                })
                .collect();
            goroutines.into_iter().for_each(|goroutine| block_thread_on(goroutine).unwrap());
            let most = most.load(SeqCst);
            // At least the thread that checks. On a busy machine it may run all of them.
            assert!((1..=3).contains(&most), "{most} threads");
        });
    }

    /// The worker parks and leaves the closure to the thread that is started for it; then that
    /// thread cannot be started.
    #[test]
    fn a_closure_for_which_no_thread_can_be_started_runs_on_a_parked_one() {
        isolated(|| {
            let rt = rt(1);
            rt.block_on(async {});
            forbid_threads_everywhere();
            for i in 0..20 {
                assert_eq!(rt.block_on(async move { unblock(move || i).await }), i);
            }
        });
    }

    #[test]
    fn a_closure_waits_for_a_thread_without_spinning_and_runs_once_there_is_one() {
        isolated(|| {
            let rt = rt(1);
            let (inside, is_inside) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            rt.block_on(async {});
            forbid_threads_everywhere();
            // The only thread is the one that it blocks.
            let waits = rt.go(async move {
                let mut waits = Box::pin(unblock(|| 8));
                assert!(poll_once(&mut waits).await.is_none());
                inside.send(()).unwrap();
                released.recv().unwrap_err();
                waits.await
            });
            is_inside.recv().unwrap();
            let (start, before) = (Instant::now(), cpu_time());
            thread::sleep(Duration::from_millis(300)); // asleep: the subject
            let (passed, spent) = (start.elapsed(), cpu_time() - before);
            assert!(spent < passed / 5, "{spent:?} of {passed:?}");
            assert!(!waits.is_finished());
            drop(release);
            assert_eq!(block_thread_on(waits).unwrap(), 8);
        });
    }
}

/// A bug: each closure that another one submits lent a thread, so a closure that waited for many at
/// once had as many threads as that.
#[test]
fn a_closure_that_waits_for_many_lends_one_thread() {
    no_hang(|| {
        const CLOSURES: usize = 300;
        let rt = limited(4);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = most.clone();
        let results = rt.block_on(unblock(move || {
            let closure = |i| {
                let (now, most) = (now.clone(), counted.clone());
                Box::pin(unblock(move || {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    (0..100).for_each(|_| thread::yield_now());
                    now.fetch_sub(1, SeqCst);
                    i
                }))
            };
            gopark::block_on_local(in_order((0..CLOSURES).map(closure).collect()))
        }));
        assert_eq!(results, Vec::from_iter(0..CLOSURES));
        // Three threads are left to closures. One runs the closure that waits, and lends a fourth.
        assert!(most.load(SeqCst) <= 3, "{most:?} at once");
    });
}

/// A bug: at the limit a closure waited for a worker that parks, and none does while goroutines
/// keep the processors busy.
#[test]
fn a_closure_runs_though_goroutines_keep_every_thread_busy() {
    no_hang(|| {
        for (procs, threads) in [(1, 1), (2, 2), (2, 1)] {
            let rt = Runtime::builder().gomaxprocs(procs).max_threads(threads).build().unwrap();
            for _ in 0..procs {
                rt.go(async {
                    loop {
                        gosched().await;
                    }
                });
            }
            for i in 0..3 {
                assert_eq!(rt.block_on(unblock(move || i)), i);
            }
            assert_eq!(rt.num_goroutine(), procs);
        }
    });
}
