//! Goroutines that share something exclusively, or wait for each other.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Executor, Gopark, Group, Smol, Tokio};

/// The locks of one crate, around a number. The futures are the crate's own, because its users
/// would not have a wrapper around them.
pub(crate) trait Locks: Executor {
    type Mutex: Send + Sync + 'static;
    type RwLock: Send + Sync + 'static;
    type Semaphore: Send + Sync + 'static;

    fn mutex() -> Self::Mutex;
    fn rwlock() -> Self::RwLock;
    fn semaphore(permits: usize) -> Self::Semaphore;
    fn lock(mutex: &Self::Mutex) -> impl Future<Output: DerefMut<Target = usize>> + Send;
    fn read(lock: &Self::RwLock) -> impl Future<Output: Deref<Target = usize>> + Send;
    fn write(lock: &Self::RwLock) -> impl Future<Output: DerefMut<Target = usize>> + Send;
    fn acquire(semaphore: &Self::Semaphore) -> impl Future + Send;
}

macro_rules! locks {
    (
        $on:ty, $mutex:ty, $rwlock:ty, $semaphore:ty, $read:ident, $write:ident
        $(, $permits:literal)?
    ) => {
        impl Locks for $on {
            type Mutex = $mutex;
            type RwLock = $rwlock;
            type Semaphore = $semaphore;

            fn mutex() -> $mutex {
                <$mutex>::new(0)
            }
            fn rwlock() -> $rwlock {
                <$rwlock>::new(0)
            }
            fn semaphore(permits: usize) -> $semaphore {
                <$semaphore>::new(permits)
            }
            #[inline(always)]
            fn lock(mutex: &$mutex) -> impl Future<Output: DerefMut<Target = usize>> + Send {
                mutex.lock()
            }
            #[inline(always)]
            fn read(lock: &$rwlock) -> impl Future<Output: Deref<Target = usize>> + Send {
                lock.$read()
            }
            #[inline(always)]
            fn write(lock: &$rwlock) -> impl Future<Output: DerefMut<Target = usize>> + Send {
                lock.$write()
            }
            #[inline(always)]
            fn acquire(semaphore: &$semaphore) -> impl Future + Send {
                semaphore.acquire($($permits)?)
            }
        }
    };
}

locks!(
    Gopark,
    gopark::sync::Mutex<usize>,
    gopark::sync::RwMutex<usize>,
    gopark::sync::Semaphore,
    rlock,
    lock,
    1
);

locks!(
    Tokio,
    tokio::sync::Mutex<usize>,
    tokio::sync::RwLock<usize>,
    tokio::sync::Semaphore,
    read,
    write
);

locks!(
    Smol,
    async_lock::Mutex<usize>,
    async_lock::RwLock<usize>,
    async_lock::Semaphore,
    read,
    write
);

/// This many goroutines divide the operations among them.
pub(crate) async fn among<E: Executor, F>(
    executor: E,
    goroutines: u64,
    n: u64,
    body: impl Fn(u64) -> F + Copy + Send + 'static,
) -> (u64, Duration)
where
    F: Future<Output = ()> + Send + 'static,
{
    let each = n.div_ceil(goroutines);
    let group = E::Group::of(goroutines as usize);
    let start = Instant::now();
    for _ in 0..goroutines {
        let group = group.clone();
        let work = body(each);
        executor.go(async move {
            work.await;
            group.done();
        });
    }
    group.wait().await;
    (each * goroutines, start.elapsed())
}

/// A value that lives until the process ends, so that goroutines can share it by reference.
pub(crate) fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

pub(crate) async fn mutex<E: Locks>(executor: E, n: u64, goroutines: u64) -> (u64, Duration) {
    let m = leak(E::mutex());
    let add = move |each| async move {
        for _ in 0..each {
            *E::lock(m).await += 1;
        }
    };
    among(executor, goroutines, n, add).await
}

/// One write in a hundred.
pub(crate) async fn rwmutex<E: Locks>(executor: E, n: u64) -> (u64, Duration) {
    let lock = leak(E::rwlock());
    let mix = move |each| async move {
        for i in 0..each {
            if i % 100 == 0 {
                *E::write(lock).await += 1;
            } else {
                std::hint::black_box(*E::read(lock).await);
            }
        }
    };
    among(executor, 8, n, mix).await
}

/// This many goroutines wait, and one broadcast wakes them. It ends when all have run.
pub(crate) async fn cond_broadcast(executor: Gopark, n: u64, crowd: u64) -> (u64, Duration) {
    let state = Arc::new((gopark::sync::Mutex::new((0, 0)), gopark::sync::Cond::new()));
    let (rounds, mut took) = (n.div_ceil(crowd), Duration::ZERO);
    for round in 1..=rounds {
        let group = gopark::sync::WaitGroup::of(crowd as usize);
        for _ in 0..crowd {
            let (state, group) = (state.clone(), group.clone());
            executor.go(async move {
                let mut guard = state.0.lock().await;
                guard.1 += 1;
                drop(state.1.wait_while(guard, |guard| guard.0 != round).await);
                group.done();
            });
        }
        while state.0.lock().await.1 != crowd * round {
            gopark::gosched().await;
        }
        let start = Instant::now();
        state.0.lock().await.0 = round;
        state.1.broadcast();
        group.wait().await;
        took += start.elapsed();
    }
    (crowd * rounds, took)
}

/// The same with tokio's nearest equivalent, which has no lock.
pub(crate) async fn notify_waiters(executor: Tokio, n: u64, crowd: u64) -> (u64, Duration) {
    let notify = Arc::new(tokio::sync::Notify::new());
    let (rounds, mut took) = (n.div_ceil(crowd), Duration::ZERO);
    for _ in 0..rounds {
        let waiting = Arc::new(AtomicUsize::new(0));
        let group = <Tokio as Executor>::Group::of(crowd as usize);
        for _ in 0..crowd {
            let (notify, waiting, group) = (notify.clone(), waiting.clone(), group.clone());
            executor.go(async move {
                let mut notified = std::pin::pin!(notify.notified());
                notified.as_mut().enable();
                waiting.fetch_add(1, Ordering::SeqCst);
                notified.await;
                group.done();
            });
        }
        while waiting.load(Ordering::SeqCst) != crowd as usize {
            Tokio::yield_now().await;
        }
        let start = Instant::now();
        notify.notify_waiters();
        group.wait().await;
        took += start.elapsed();
    }
    (crowd * rounds, took)
}

/// Eight goroutines take a kilobyte from the pool and put it back.
pub(crate) async fn pool(executor: Gopark, n: u64) -> (u64, Duration) {
    let pool = leak(gopark::sync::Pool::new(|| Box::new([0_u8; 1024])));
    let work = move |each| async move {
        for _ in 0..each {
            let mut buffer = pool.get();
            buffer[0] = buffer[0].wrapping_add(1);
            pool.put(buffer);
        }
    };
    among(executor, 8, n, work).await
}
