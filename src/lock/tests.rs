//! Tests of the lock with real threads: exclusion, wake-ups, hand-over, no allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::sleep_lock::SleepLock;
use super::{Lock, contentions, prepare};

/// Counts the allocations of each thread of the unit tests.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: this passes all calls on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `body` on a new thread, and fails if it does not end.
fn no_hang<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    let thread = thread::spawn(move || drop(done.send(body())));
    match result.recv_timeout(Duration::from_secs(60)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("a thread sleeps, and is not woken"),
        Err(RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("the thread has panicked"))
        }
    }
}

/// Waits until `condition` returns true.
fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "the other thread does not get there");
        thread::yield_now();
    }
}

/// Starts a thread that sleeps until `lock` is released, then runs `then` with the lock held.
fn sleeper<T: Send + 'static>(
    lock: &Arc<SleepLock>,
    then: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let lock = lock.clone();
    thread::spawn(move || {
        lock.lock();
        let result = then();
        lock.unlock();
        result
    })
}

fn held() -> Arc<SleepLock> {
    prepare();
    let lock = Arc::new(SleepLock::new());
    lock.lock();
    lock
}

#[test]
fn an_unlock_wakes_a_sleeper() {
    no_hang(|| {
        let (lock, before) = (held(), contentions());
        let sleeper = sleeper(&lock, || ());
        until(|| lock.sleepers() == (1, 0));
        assert_ne!(contentions(), before, "other tests contend as well");
        lock.unlock();
        sleeper.join().unwrap();
        assert!(lock.is_idle());
    });
}

#[test]
fn a_sleeper_that_loses_is_handed_the_lock_by_the_next_unlock() {
    no_hang(|| {
        let lock = held();
        let (release, released) = channel::<()>();
        let sleeper = sleeper(&lock, move || released.recv());
        until(|| lock.sleepers() == (1, 0));
        // The sleeper is woken while this thread holds the lock, as a newcomer would.
        lock.wake_one();
        until(|| lock.sleepers() == (1, 1));
        lock.unlock();
        assert!(!lock.try_lock(), "the sleeper was not handed the lock");
        release.send(()).unwrap();
        sleeper.join().unwrap().unwrap();
        assert!(lock.is_idle());
    });
}

#[test]
fn a_sleeper_that_loses_again_keeps_its_place() {
    no_hang(|| {
        let lock = held();
        let starving = sleeper(&lock, Instant::now);
        until(|| lock.sleepers() == (1, 0));
        lock.wake_one();
        until(|| lock.sleepers() == (1, 1));
        let waiting = sleeper(&lock, Instant::now);
        until(|| lock.sleepers() == (2, 1));
        // A hand-over fails while this thread holds the lock.
        lock.wake_one();
        assert_eq!(lock.sleepers(), (2, 1));
        lock.unlock();
        assert!(
            starving.join().unwrap() < waiting.join().unwrap(),
            "the newcomer was served first"
        );
        assert!(lock.is_idle());
    });
}

#[test]
fn without_the_fence_a_sleeper_tries_again_by_itself() {
    no_hang(|| {
        let lock = held();
        let sleeper = {
            let lock = lock.clone();
            thread::spawn(move || {
                lock.sleep(|| false);
                lock.unlock();
            })
        };
        until(|| lock.sleepers().0 == 1);
        lock.unlock_unseen();
        sleeper.join().unwrap();
        assert!(lock.is_idle());
    });
}

// Elsewhere `std`'s mutex or condition variable may be boxed.
#[cfg(target_os = "linux")]
#[test]
fn a_thread_that_sleeps_or_wakes_another_allocates_nothing() {
    no_hang(|| {
        let lock = held();
        let sleeper = {
            let lock = lock.clone();
            thread::spawn(move || {
                let before = ALLOCATIONS.get();
                lock.lock();
                lock.unlock();
                ALLOCATIONS.get() - before
            })
        };
        until(|| lock.sleepers() == (1, 0));
        let before = ALLOCATIONS.get();
        lock.unlock();
        assert_eq!(ALLOCATIONS.get() - before, 0, "the unlock");
        assert_eq!(sleeper.join().unwrap(), 0, "the sleeper");
    });
}

/// Runs eight threads on three locks. Each lock guards a number that is read, and written a moment
/// later.
fn contend(rounds: usize, prepare_thread: fn()) {
    const THREADS: usize = 8;
    let locks = Arc::new([0, 1, 2].map(|_| Lock::new(0)));
    let inside = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (locks, inside) = (locks.clone(), inside.clone());
            thread::spawn(move || {
                prepare_thread();
                for round in 0..rounds {
                    let which = (thread + round) % 3;
                    let mut value = locks[which].lock();
                    let read = *value;
                    assert_eq!(
                        inside.fetch_add(1 << (16 * which), Ordering::Relaxed) >> (16 * which)
                            & 0xFFFF,
                        0
                    );
                    if round % 64 == 0 {
                        // The holder gives its core away, so that the others sleep.
                        thread::yield_now();
                    }
                    inside.fetch_sub(1 << (16 * which), Ordering::Relaxed);
                    *value = read + 1;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(locks.iter().map(|lock| *lock.lock()).sum::<usize>(), THREADS * rounds);
}

const ROUNDS: usize = if cfg!(miri) { 40 } else { 10_000 };

#[test]
fn threads_exclude_each_other() {
    prepare();
    no_hang(|| contend(ROUNDS, || ()));
}

/// A bug: a thread that found the lock held spun until its holder ran again: on one CPU, more than
/// a millisecond. It sleeps now.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn threads_exclude_each_other_on_one_cpu() {
    prepare();
    no_hang(|| {
        contend(ROUNDS, || {
            // SAFETY: the set is plain data; the call affects only this thread.
            unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
                let first = (0..1024).find(|cpu| libc::CPU_ISSET(*cpu, &set)).expect("a CPU");
                set = std::mem::zeroed();
                libc::CPU_SET(first, &mut set);
                assert_eq!(
                    libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set),
                    0
                );
            }
        });
    });
}
