//! Pairs of goroutines that hand over to each other: their slices end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
#[cfg(target_os = "linux")]
use std::time::Duration;

use gopark::chan;
use gopark::go;
#[cfg(target_os = "linux")]
use gopark::gosched;
use gopark::sync::WaitGroup;

use crate::util::{no_hang, rt};

/// A bug: each slice of such a pair is full, and after it the global queue came first. The local
/// queue was full as well, so the goroutine that ended the slice went to the global queue. That was
/// therefore never empty, and the 256 goroutines in the local queue never ran again.
#[test]
fn more_pairs_than_the_local_queue_holds_all_make_progress_sch05() {
    const PAIRS: usize = 400;
    const ROUNDS: usize = 100;
    no_hang(|| {
        rt(1).block_on(async {
            let (group, arrived) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
            for _ in 0..PAIRS {
                let ((ping, pinged), (pong, ponged)) = (chan::unbuffered(), chan::unbuffered());
                let arrived = arrived.clone();
                group.go(async move {
                    for round in 1.. {
                        ping.send(()).await.unwrap();
                        ponged.recv().await.unwrap();
                        arrived.fetch_add(usize::from(round == ROUNDS), SeqCst);
                        if arrived.load(SeqCst) == PAIRS {
                            return;
                        }
                    }
                });
                group.go(async move {
                    while pinged.recv().await.is_some() {
                        _ = pong.send(()).await;
                    }
                });
            }
            group.wait().await;
        })
    });
}

/// A bug: 32 polls of a pair came before the turn of the goroutines behind it, however long they
/// were: a sleep of 1 ms beside polls of 3 ms took 124.
#[cfg(target_os = "linux")]
#[test]
fn a_pair_with_long_polls_has_short_slices_sch03() {
    fn compute() {
        let used = || {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the call writes to `time`.
            unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
            Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
        };
        let start = used();
        while used() - start < Duration::from_micros(500) {}
    }
    no_hang(|| {
        rt(1).block_on(async {
            let ((ping, pinged), (pong, ponged)) = (chan::unbuffered(), chan::unbuffered());
            let polls = Arc::new(AtomicUsize::new(0));
            let counted = polls.clone();
            go(async move {
                while ping.send(()).await.is_ok() && ponged.recv().await.is_some() {
                    compute();
                    counted.fetch_add(1, SeqCst);
                }
            });
            go(async move {
                while pinged.recv().await.is_some() && pong.send(()).await.is_ok() {}
            });
            // The monitor has to find out first that polls are long.
            let mut between = 0;
            while !(1..=20).contains(&between) {
                let before = polls.load(SeqCst);
                for _ in 0..10 {
                    gosched().await;
                }
                between = polls.load(SeqCst) - before;
            }
        })
    });
}

/// A slice has up to 128 polls, but it looks at the global queue after each 16.
#[test]
fn a_goroutine_from_outside_does_not_wait_for_the_end_of_a_slice_sch03() {
    no_hang(|| {
        let runtime = rt(1);
        let handle = runtime.handle();
        runtime.block_on(async move {
            let ((ping, pinged), (pong, ponged)) = (chan::unbuffered(), chan::unbuffered());
            let (polls, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let counted = polls.clone();
            go(async move {
                while ponged.recv().await.is_some() {
                    counted.fetch_add(1, SeqCst);
                    if ping.send(()).await.is_err() {
                        return;
                    }
                }
            });
            let pair = go(async move {
                for round in 0..1000 {
                    _ = pong.send(()).await;
                    if round == 500 {
                        let (handle, ran, polls) = (handle.clone(), ran.clone(), polls.clone());
                        // From a plain thread it goes into the global queue.
                        let started = move || {
                            drop(handle.go(async move {
                                ran.store(polls.load(SeqCst), SeqCst);
                            }))
                        };
                        std::thread::spawn(started).join().unwrap();
                    }
                    _ = pinged.recv().await;
                }
                ran.load(SeqCst)
            });
            let ran = pair.await.unwrap();
            assert!((500..=512).contains(&ran), "it ran after {ran} rounds");
        });
    });
}
