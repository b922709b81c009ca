//! Threads: what starts them, when they end, and what a shutdown waits for.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::block_on as block_thread_on;
use gopark::time::{self, Sleep, Timer};
use gopark::{Runtime, go, gosched};

use crate::util::{Drops, OnDrop, in_time, isolated, no_hang, rt, spin_until};

/// Longer than each wait of the scheduler here, shorter than a hang.
const BOUND: Duration = Duration::from_secs(10);

/// A bug: the shutdown ran destructors on its caller, so one that blocked kept it from returning.
#[test]
fn a_shutdown_returns_in_time_though_a_destructor_blocks() {
    no_hang(|| {
        let (rt, caller) = (rt(1), thread::current().id());
        let (release, released) = mpsc::channel::<()>();
        let (ran_on, ran) = mpsc::channel();
        let mut blocks = Some((released, ran_on));
        rt.go(async move {
            let _blocks = OnDrop(move || {
                let (released, ran_on) = blocks.take().unwrap();
                ran_on.send(thread::current().id()).unwrap();
                released.recv().unwrap_err();
            });
            pending::<()>().await;
        });
        rt.block_on(gosched());
        let start = Instant::now();
        assert_eq!(
            rt.shutdown_timeout(Duration::from_millis(100)),
            1,
            "the one whose destructor blocks"
        );
        assert!(start.elapsed() < BOUND);
        assert_ne!(ran.recv().unwrap(), caller, "a destructor ran on the thread that shuts down");
        drop(release);
    });
}

#[test]
fn a_destructor_that_blocks_does_not_keep_the_others_from_being_dropped() {
    no_hang(|| {
        for procs in [1, 2] {
            let (rt, drops) = (rt(procs), Drops::new());
            let (release, released) = mpsc::channel::<()>();
            let released = Arc::new(Mutex::new(released));
            let begun = Arc::new(AtomicUsize::new(0));
            for i in 0..60 {
                let (one, released, begun) = (drops.one(), released.clone(), begun.clone());
                rt.go(async move {
                    let _one = one;
                    let _blocks = OnDrop(move || {
                        if i % 30 == 0 {
                            released.lock().unwrap().recv().unwrap_err();
                        }
                    });
                    begun.fetch_add(1, Relaxed);
                    pending::<()>().await;
                });
            }
            spin_until(|| begun.load(Relaxed) == 60);
            // Until they have blocked for long enough to lose their processors.
            assert_eq!(rt.shutdown_timeout(Duration::from_millis(500)), 2);
            assert_eq!(drops.count(), 58);
            drop(release);
        }
    });
}

/// A bug: the shutdown waited without a limit for the destructors of the workers' thread-locals.
#[test]
fn a_shutdown_returns_in_time_though_a_thread_local_blocks() {
    struct Blocks(RefCell<Option<mpsc::Receiver<()>>>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            self.0.take().unwrap().recv().unwrap_err();
        }
    }
    thread_local! {
        static BLOCKS: Blocks = const { Blocks(RefCell::new(None)) };
    }

    no_hang(|| {
        for drops in [false, true] {
            let rt = rt(1);
            let (release, released) = mpsc::channel::<()>();
            rt.block_on(async move { BLOCKS.with(|blocks| blocks.0.replace(Some(released))) });
            let start = Instant::now();
            if drops {
                drop(rt);
            } else {
                assert_eq!(
                    rt.shutdown_timeout(Duration::from_millis(100)),
                    0,
                    "no goroutine is left"
                );
            }
            assert!(start.elapsed() < BOUND);
            drop(release);
        }
    });
}

#[test]
fn runtimes_that_are_not_waited_for_leave_their_places_to_the_next_ones() {
    isolated(|| {
        // The table has 4096 places.
        for _ in 0..5_000 {
            let rt = Runtime::builder().gomaxprocs(1).build().expect("a place for a runtime");
            assert_eq!(rt.shutdown_timeout(Duration::ZERO), 0);
        }
    });
}

/// Something that drops a runtime, and reports how long that took.
struct Owns(Mutex<Option<Arc<Runtime>>>, mpsc::Sender<Duration>);

impl Owns {
    fn new(rt: Arc<Runtime>) -> (Self, mpsc::Receiver<Duration>) {
        let (tx, took) = mpsc::channel();
        (Self(Mutex::new(Some(rt)), tx), took)
    }
}

impl Drop for Owns {
    fn drop(&mut self) {
        let start = Instant::now();
        let rt = self.0.lock().unwrap().take().and_then(Arc::into_inner);
        drop(rt.expect("the last one"));
        let _ = self.1.send(start.elapsed());
    }
}

/// A drop that waits takes a second.
const WAITED: Duration = Duration::from_millis(900);

/// A bug: the drop ran on a worker of the runtime, and waited for that worker to end.
#[test]
fn a_runtime_dropped_by_a_waker_on_its_own_worker_does_not_wait_for_itself() {
    struct Last(#[expect(dead_code, reason = "dropped")] Owns);
    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }

    no_hang(|| {
        in_time(WAITED, || {
            let rt = Arc::new(rt(1));
            let timer: Arc<Mutex<Option<Pin<Box<Sleep>>>>> = Arc::default();
            let (owns, took) = Owns::new(rt.clone());
            let theirs = timer.clone();
            rt.block_on(async move {
                // It fires on the worker, which drops the runtime together with the waker.
                let waker = Waker::from(Arc::new(Last(owns)));
                let mut sleep = Box::pin(time::sleep(Duration::from_millis(50)));
                assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                *theirs.lock().unwrap() = Some(sleep);
            });
            drop(rt);
            let took = took.recv().unwrap();
            drop(timer);
            took
        })
    });
}

/// A bug: each drop waited for a worker that was waiting in the other drop.
#[test]
fn two_runtimes_that_drop_each_other_do_not_wait_in_a_circle() {
    no_hang(|| {
        in_time(WAITED, || {
            let (a, b) = (Arc::new(rt(1)), rt(1));
            let (owns, took) = Owns::new(a.clone());
            let (ready, go_on) =
                (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let is_ready = ready.clone();
            b.go(async move {
                let _owns = owns;
                poll_fn(|_| {
                    is_ready.store(true, SeqCst);
                    Poll::<()>::Pending
                })
                .await;
            });
            spin_until(|| ready.load(SeqCst));
            let start = Instant::now();
            let theirs = go_on.clone();
            // A goroutine of `a` waits for the end of `b`, where a destructor drops `a`.
            let dropped = a.go(async move {
                spin_until(|| theirs.load(SeqCst));
                drop(b);
            });
            drop(a);
            go_on.store(true, SeqCst);
            let took = took.recv().unwrap();
            let _ = block_thread_on(dropped);
            took.max(start.elapsed())
        })
    });
}

/// A bug: the future of an `after_func` that outlived its runtime was dropped on the thread that
/// fires timers.
#[test]
fn what_outlives_its_runtime_is_not_dropped_on_the_timers_thread() {
    no_hang(|| {
        let rt = rt(1);
        let (tx, dropped_on) = mpsc::channel();
        let last = OnDrop(move || tx.send(thread::current().name().map(str::to_owned)).unwrap());
        let _timer = rt.block_on(async {
            Timer::after_func(Duration::from_millis(50), async move {
                let _last = last;
                pending::<()>().await;
            })
        });
        drop(rt);
        let name = dropped_on.recv().unwrap();
        assert!(name.as_deref() != Some("gopark-timers"), "{name:?}");
    });
}

#[test]
fn timers_of_a_retired_processor_fire() {
    no_hang(|| {
        let rt = rt(4);
        let sleepers: Vec<_> = (0..64)
            .map(|_| {
                rt.go(async {
                    go(async { gosched().await }).await.unwrap();
                    time::sleep(Duration::from_millis(100)).await;
                })
            })
            .collect();
        rt.block_on(async { time::sleep(Duration::from_millis(20)).await });
        rt.gomaxprocs(1);
        for sleeper in sleepers {
            block_thread_on(sleeper).unwrap();
        }
    });
}

/// Two goroutines that compute have lost their processor; a third one blocks its thread. Its
/// processor must be handed on at once, or the bystander that wakes it would never run.
#[test]
fn whoever_sleeps_in_its_thread_is_replaced_beside_as_many_as_may_compute_sch12() {
    no_hang(|| {
        for procs in [1, 2] {
            let rt = rt(procs);
            let stop = Arc::new(AtomicBool::new(false));
            let (wake, woken) = mpsc::channel();
            let computes: Vec<_> = (0..procs + 1)
                .map(|_| {
                    let stop = stop.clone();
                    rt.go(async move {
                        while !stop.load(SeqCst) {
                            std::hint::spin_loop();
                        }
                    })
                })
                .collect();
            let sleeps = rt.go(async move { woken.recv().unwrap() });
            let bystander = rt.go(async move { wake.send(()).unwrap() });
            block_thread_on(bystander).unwrap();
            block_thread_on(sleeps).unwrap();
            assert!(computes.iter().all(|computes| !computes.is_finished()));
            stop.store(true, SeqCst);
            computes.into_iter().for_each(|computes| block_thread_on(computes).unwrap());
        }
    });
}

/// The goroutine goes into the run-next slot, which wakes no worker. Then main is queued behind it,
/// and a worker must be woken.
#[test]
fn whoever_gives_way_to_one_that_computes_goes_on_beside_it_sch09_sch10() {
    no_hang(|| {
        const ROUNDS: usize = 20;
        let went_on = rt(2).block_on(async {
            let mut went_on = 0;
            for _ in 0..ROUNDS {
                // So that the other processor is idle again.
                time::sleep(Duration::from_millis(3)).await;
                let computed = Arc::new(AtomicBool::new(false));
                let theirs = computed.clone();
                let other = go(async move {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_millis(50) {
                        std::hint::spin_loop();
                    }
                    theirs.store(true, SeqCst);
                });
                gosched().await;
                went_on += usize::from(!computed.load(SeqCst));
                other.await.unwrap();
            }
            went_on
        });
        assert!(went_on > ROUNDS / 2, "only {went_on} times in {ROUNDS}");
    });
}

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use std::sync::atomic::AtomicUsize;

    use gopark::block_in_place;

    use super::*;
    use crate::clocks::thread_cpu_time;
    use crate::executor::{forbid, forbid_threads};

    fn blocks_usr1() -> bool {
        // SAFETY: the sets are valid; the call only reads.
        unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set);
            libc::sigismember(&raw const set, libc::SIGUSR1) == 1
        }
    }

    fn block_usr1() {
        // SAFETY: as above.
        unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigaddset(&raw mut set, libc::SIGUSR1);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
        assert!(blocks_usr1());
    }

    /// A bug: workers inherited the affinity, niceness and signal mask of the thread whose wake
    /// started them. The monitor starts them now.
    #[test]
    fn a_worker_inherits_nothing_from_the_thread_that_wakes() {
        no_hang(|| {
            let rt = rt(1);
            let (inside, is_inside) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            rt.go(async move {
                block_in_place(|| {
                    inside.send(()).unwrap();
                    released.recv().unwrap_err();
                });
            });
            is_inside.recv().unwrap();
            thread::scope(|s| {
                s.spawn(|| {
                    block_usr1();
                    // The only worker is the blocked one.
                    assert!(!block_thread_on(rt.go(async { blocks_usr1() })).unwrap());
                });
            });
            drop(release);
        });
    }

    /// A bug: the thread that fires timers inherited them from the first thread that had a timer. A
    /// monitor starts it now. In a process of its own, which has no such thread yet.
    #[test]
    fn the_timers_thread_inherits_nothing_from_the_thread_with_the_first_timer() {
        struct Tells(mpsc::Sender<bool>);
        impl Wake for Tells {
            fn wake(self: Arc<Self>) {
                self.0.send(blocks_usr1()).unwrap();
            }
        }

        isolated(|| {
            let _rt = rt(1);
            let user = thread::spawn(|| {
                block_usr1();
                let (tx, blocks) = mpsc::channel();
                let waker = Waker::from(Arc::new(Tells(tx)));
                let mut sleep = Box::pin(time::sleep(Duration::from_millis(1)));
                assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                assert!(!blocks.recv().unwrap());
            });
            user.join().unwrap();
        });
    }

    #[test]
    fn a_runtime_is_dropped_though_no_thread_can_be_started() {
        isolated(|| {
            let rt = rt(1);
            let _timer =
                rt.block_on(async { Timer::after_func(Duration::from_secs(3600), async {}) });
            forbid(libc::SYS_clone, libc::SECCOMP_FILTER_FLAG_TSYNC);
            forbid(libc::SYS_clone3, libc::SECCOMP_FILTER_FLAG_TSYNC);
            drop(rt);
        });
    }

    /// A bug: the system once refused a thread for a moment. Goroutines were stranded, and the drop
    /// of the runtime panicked.
    #[test]
    fn a_waker_that_may_start_no_thread_strands_nothing() {
        isolated(|| {
            let rt = rt(1);
            let (inside, is_inside) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            rt.go(async move {
                block_in_place(|| {
                    inside.send(()).unwrap();
                    released.recv().unwrap_err();
                });
            });
            is_inside.recv().unwrap();
            forbid_threads();
            block_thread_on(rt.go(async {})).unwrap();
            drop(release);
        });
    }

    /// The load of the machine makes no difference: what counts is the time that a goroutine has
    /// computed.
    #[test]
    fn no_more_than_two_compute_beside_those_with_a_processor_sch13() {
        no_hang(|| {
            for procs in [1, 2] {
                let rt = rt(procs);
                let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
                let computes: Vec<_> = (0..10)
                    .map(|_| {
                        let (now, most) = (now.clone(), most.clone());
                        rt.go(async move {
                            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                            let start = thread_cpu_time();
                            while thread_cpu_time() - start < Duration::from_millis(50) {
                                std::hint::spin_loop();
                            }
                            now.fetch_sub(1, SeqCst);
                        })
                    })
                    .collect();
                computes.into_iter().for_each(|computes| block_thread_on(computes).unwrap());
                let most = most.load(SeqCst);
                assert!(
                    (procs..=procs + 2).contains(&most),
                    "{most} in a poll at once, {procs} processors"
                );
            }
        });
    }
}
