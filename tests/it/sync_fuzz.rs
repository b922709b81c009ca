//! All of package sync at once, at random: a waiter that is dropped at any time must not affect the
//! others. CA-02, CA-03, CA-10 – CA-13.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::task::Poll;

use futures_lite::future::{block_on, poll_fn, poll_once};
use gopark::context::Context;
use gopark::sync::{
    Cond, Monitor, MonitorGuard, Mutex, MutexGuard, OwnedMutexGuard, OwnedPermit,
    OwnedRwMutexReadGuard, OwnedRwMutexWriteGuard, Permit, RwMutex, RwMutexReadGuard,
    RwMutexWriteGuard, Semaphore, WaitGroup,
};
use gopark::{gosched, select};

use crate::hand::{Dice, Hand, on_procs};
use crate::util::no_hang;

const PERMITS: usize = 5;

/// The shared state, and the number of holders.
struct World {
    m: Arc<Mutex<()>>,
    rw: Arc<RwMutex<()>>,
    s: Arc<Semaphore>,
    c: Cond,
    monitor: Monitor<()>,
    /// It does not end.
    ctx: Context,
    owners: AtomicIsize,
    /// Readers count 1, writers 1000.
    inside: AtomicIsize,
    monitored: AtomicIsize,
    drawn: AtomicUsize,
}

impl World {
    fn new() -> Self {
        World {
            m: Arc::default(),
            rw: Arc::default(),
            s: Arc::new(Semaphore::new(PERMITS)),
            c: Cond::new(),
            monitor: Monitor::new(()),
            ctx: Context::background().with_cancel().0,
            owners: AtomicIsize::new(0),
            inside: AtomicIsize::new(0),
            monitored: AtomicIsize::new(0),
            drawn: AtomicUsize::new(0),
        }
    }

    /// No holder and no waiter is left: everything can be acquired.
    fn check_idle(&self) {
        assert!(self.m.try_lock().is_some(), "the mutex is free");
        assert!(self.rw.try_lock().is_some(), "the rwmutex is free");
        assert_eq!(self.s.available(), PERMITS);
        assert_eq!(format!("{:?}", self.c), "Cond { waiting: 0 }");
    }
}

/// A guard or a permit. Its drop first leaves, then releases.
enum Held<'a> {
    Mutex(#[allow(dead_code)] MutexGuard<'a, ()>, Inside<'a>),
    Read(#[allow(dead_code)] RwMutexReadGuard<'a, ()>, Inside<'a>),
    Write(#[allow(dead_code)] RwMutexWriteGuard<'a, ()>, Inside<'a>),
    Permit(#[allow(dead_code)] Permit<'a>, Drawn<'a>),
    Monitor(#[allow(dead_code)] MonitorGuard<'a, ()>, Inside<'a>),
    OwnedMutex(#[allow(dead_code)] OwnedMutexGuard<()>, Inside<'a>),
    OwnedRead(#[allow(dead_code)] OwnedRwMutexReadGuard<()>, Inside<'a>),
    OwnedWrite(#[allow(dead_code)] OwnedRwMutexWriteGuard<()>, Inside<'a>),
    OwnedPermit(#[allow(dead_code)] OwnedPermit, Drawn<'a>),
}

struct Inside<'a>(&'a AtomicIsize, isize);

impl<'a> Inside<'a> {
    fn enter(count: &'a AtomicIsize, by: isize) -> Self {
        let now = count.fetch_add(by, Ordering::SeqCst) + by;
        assert!(now == by || by == 1 && now < 1000, "{now} inside, one of them {by}");
        Inside(count, by)
    }
}

struct Drawn<'a>(&'a AtomicUsize, usize);

impl Held<'_> {
    fn leave(&self) {
        match self {
            Held::Mutex(_, Inside(count, by))
            | Held::Read(_, Inside(count, by))
            | Held::Write(_, Inside(count, by))
            | Held::Monitor(_, Inside(count, by))
            | Held::OwnedMutex(_, Inside(count, by))
            | Held::OwnedRead(_, Inside(count, by))
            | Held::OwnedWrite(_, Inside(count, by)) => {
                count.fetch_sub(*by, Ordering::SeqCst);
            }
            Held::Permit(_, Drawn(count, n)) | Held::OwnedPermit(_, Drawn(count, n)) => {
                count.fetch_sub(*n, Ordering::SeqCst);
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

type Op<'a> = Pin<Box<dyn Future<Output = Held<'a>> + Send + 'a>>;

fn mutex(world: &World) -> Op<'_> {
    let lock = world.m.lock();
    Box::pin(async move {
        let guard = lock.await;
        Held::Mutex(guard, Inside::enter(&world.owners, 1000))
    })
}

fn owned<'a>(world: &'a World, dice: &mut Dice) -> Op<'a> {
    match dice.roll(4) {
        0 => Box::pin(async {
            let guard = world.m.lock_owned().await;
            Held::OwnedMutex(guard, Inside::enter(&world.owners, 1000))
        }),
        1 => Box::pin(async {
            let guard = world.rw.rlock_owned().await;
            Held::OwnedRead(guard, Inside::enter(&world.inside, 1))
        }),
        2 => Box::pin(async {
            let guard = world.rw.lock_owned().await;
            Held::OwnedWrite(guard, Inside::enter(&world.inside, 1000))
        }),
        _ => {
            let n = 1 + dice.roll(PERMITS);
            Box::pin(async move {
                let mut permits = world.s.acquire_owned(n).await;
                assert!(world.drawn.fetch_add(n, Ordering::SeqCst) + n <= PERMITS);
                // In two parts, and as one again.
                let part = permits.split(n / 2).expect("at most as many as there are");
                permits.merge(part);
                Held::OwnedPermit(permits, Drawn(&world.drawn, n))
            })
        }
    }
}

/// Some wait in it, for a signal or a broadcast.
fn monitor(world: &World, waits: bool) -> Op<'_> {
    Box::pin(async move {
        let guard = world.monitor.lock().await;
        let guard = if waits { guard.wait().await } else { guard };
        Held::Monitor(guard, Inside::enter(&world.monitored, 1000))
    })
}

fn any<'a>(world: &'a World, dice: &mut Dice) -> Op<'a> {
    if dice.roll(4) == 0 {
        return owned(world, dice);
    }
    match dice.roll(8) {
        0 | 1 => mutex(world),
        2 | 3 => Box::pin(async {
            let guard = world.rw.rlock().await;
            Held::Read(guard, Inside::enter(&world.inside, 1))
        }),
        4 => Box::pin(async {
            let guard = world.rw.lock().await;
            Held::Write(guard, Inside::enter(&world.inside, 1000))
        }),
        _ => {
            let (n, with_context) = (dice.roll(PERMITS + 1), dice.roll(2) == 0);
            Box::pin(async move {
                let permit = select! {
                    permit = world.ctx.acquire(&world.s, n), if with_context => {
                        permit.expect("it does not end")
                    }
                    permit = world.s.acquire(n), if !with_context => permit,
                };
                assert!(world.drawn.fetch_add(n, Ordering::SeqCst) + n <= PERMITS);
                Held::Permit(permit, Drawn(&world.drawn, n))
            })
        }
    }
}

/// One task with many waits. Each one that is woken is polled at once, so when nothing is left to
/// poll, everything that can be acquired has been acquired. A wait that is then left, while nothing
/// is held, has been forgotten.
fn hold_and_drop(seed: u64) {
    let mut dice = Dice::new(seed);
    let world = World::new();
    let mut waits: Vec<(Hand<Op<'_>>, usize)> = Vec::new();
    let mut held: Vec<Held<'_>> = Vec::new();
    for _ in 0..400 {
        match dice.roll(8) {
            0..3 => waits.push((Hand::new(any(&world, &mut dice)), usize::MAX)),
            6 => waits.push((Hand::new(monitor(&world, dice.roll(2) == 0)), usize::MAX)),
            7 if dice.roll(4) == 0 => world.monitor.broadcast(),
            7 => world.monitor.signal(),
            3 if !waits.is_empty() => drop(waits.swap_remove(dice.roll(waits.len()))),
            4 if !held.is_empty() => drop(held.swap_remove(dice.roll(held.len()))),
            _ => {
                // It was granted, but is not polled for this long.
                for _ in 0..dice.roll(4) {
                    settle(&mut waits, &mut held);
                }
            }
        }
    }
    while !held.is_empty() || !waits.is_empty() {
        let before = waits.len();
        // A waiter in the monitor returns, however late it started.
        while {
            world.monitor.broadcast();
            settle(&mut waits, &mut held)
        } {}
        assert!(before == 0 || !held.is_empty(), "seed {seed}: {before} wait for what is free");
        held.clear();
    }
    world.check_idle();
}

/// Polls those that are new or were woken. Returns whether there was one.
fn settle<'a>(waits: &mut Vec<(Hand<Op<'a>>, usize)>, held: &mut Vec<Held<'a>>) -> bool {
    let mut any = false;
    for (hand, seen) in waits.iter_mut() {
        if hand.wakes() != *seen {
            any = true;
            *seen = hand.wakes();
            if let Poll::Ready(got) = hand.poll() {
                held.push(got);
            }
        }
    }
    waits.retain(|(hand, _)| !hand.is_done());
    any
}

#[test]
fn nobody_is_forgotten_whoever_gives_up_outside_of_gopark() {
    (0..400).for_each(hold_and_drop);
}

#[test]
fn nobody_is_forgotten_whoever_gives_up_on_a_processor() {
    on_procs(1, async {
        for seed in 1000..1400 {
            hold_and_drop(seed);
            // A new budget: running out of it midway is a wake like any other.
            gosched().await;
        }
    });
}

/// The common part of threads and goroutines: waits of all kinds, of which some are polled a few
/// times and dropped.
async fn live(world: &World, seed: u64, rounds: usize) {
    let mut dice = Dice::new(seed);
    for round in 0..rounds {
        let mut op = if dice.roll(8) == 0 { monitor(world, false) } else { any(world, &mut dice) };
        if dice.roll(3) == 0 {
            let polls = dice.roll(3);
            for _ in 0..polls {
                if let Some(got) = poll_once(op.as_mut()).await {
                    drop(got);
                    break;
                }
                std::thread::yield_now();
            }
            // Dropped here, whether or not it was granted.
            continue;
        }
        let got = op.await;
        if round % 50 == 0 {
            gosched().await;
        }
        match got {
            // Waits for a moment with the mutex that it acquired.
            Held::Mutex(..) if dice.roll(4) == 0 => {
                drop(got);
                let guard = world.m.lock().await;
                let mut wait = Box::pin(world.c.wait(guard));
                let _ = poll_once(wait.as_mut()).await;
                world.c.signal();
            }
            // Waits until it is notified, which happens once for each waiter; or gives up.
            Held::Monitor(..) if dice.roll(2) == 0 => {
                drop(got);
                let mut wait = Box::pin(world.monitor.lock().await.wait());
                let is_back = poll_once(wait.as_mut()).await.is_some();
                world.monitor.signal();
                if !is_back && dice.roll(2) == 0 {
                    drop(wait.await);
                }
            }
            got => drop(got),
        }
    }
}

#[test]
fn nobody_is_forgotten_among_threads_and_goroutines() {
    let world = Arc::new(World::new());
    let threads: Vec<_> = (0..2)
        .map(|t| {
            let world = world.clone();
            std::thread::spawn(move || block_on(live(&world, t, 4_000)))
        })
        .collect();
    let world2 = world.clone();
    on_procs(2, async move {
        let wg = WaitGroup::new();
        for g in 0..8 {
            let world = world2.clone();
            wg.go(async move { live(&world, 100 + g, 3_000).await });
        }
        wg.wait().await;
    });
    no_hang(|| threads.into_iter().for_each(|t| t.join().unwrap()));
    world.check_idle();
}

/// A mutex without contention for a while unlocks without a fence. The first waiter after that must
/// not be overlooked.
#[test]
fn peace_and_contention_alternate_and_nobody_is_overlooked() {
    const ROUNDS: usize = 400;
    no_hang(|| {
        let m = Mutex::new(0usize);
        let turn = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for t in 0..2 {
                let (m, turn) = (&m, &turn);
                s.spawn(move || {
                    let mut dice = Dice::new(t as u64);
                    for round in 0..ROUNDS {
                        // No contention: long enough for the lock to become biased.
                        if round % 2 == t {
                            (0..1_200 + dice.roll(100)).for_each(|_| *m.lock_blocking() += 1);
                            turn.fetch_add(1, Ordering::SeqCst);
                        }
                        // The other thread comes in the middle of these.
                        for _ in 0..dice.roll(60) {
                            *m.lock_blocking() += 1;
                            *m.lock_blocking() -= 1;
                        }
                        while turn.load(Ordering::SeqCst) <= round {
                            std::thread::yield_now();
                            *m.lock_blocking() += 0;
                        }
                    }
                });
            }
        });
        assert!(*m.try_lock().unwrap() >= ROUNDS * 1_200);
    });
}

/// The same with one waiter at a time, and no later wake that would hide the bug: if it is
/// overlooked, it hangs.
#[test]
fn the_first_who_disturbs_the_peace_is_not_overlooked() {
    const ROUNDS: usize = 1_000;
    no_hang(|| {
        let m = Mutex::new(());
        let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut dice = Dice::new(1);
                for round in 1..=ROUNDS {
                    // Enough for the lock to become biased now and then, less and less often.
                    (0..2_000).for_each(|_| drop(m.lock_blocking()));
                    let guard = m.lock_blocking();
                    begun.store(round, Ordering::SeqCst);
                    (0..dice.roll(300)).for_each(|_| std::hint::spin_loop());
                    drop(guard);
                    while done.load(Ordering::SeqCst) != round {
                        std::thread::yield_now();
                    }
                }
            });
            for round in 1..=ROUNDS {
                while begun.load(Ordering::SeqCst) != round {
                    std::thread::yield_now();
                }
                drop(m.lock_blocking());
                done.store(round, Ordering::SeqCst);
            }
        });
        assert!(m.try_lock().is_some());
    });
}

/// As above, on processors, where the woken waiter competes.
#[test]
fn peace_and_contention_alternate_among_goroutines() {
    on_procs(2, async {
        for round in 0..200 {
            let m = Arc::new(Mutex::new(0usize));
            let wg = WaitGroup::new();
            for g in 0..3 {
                let m = m.clone();
                wg.go(async move {
                    let mut dice = Dice::new(round * 3 + g);
                    for _ in 0..1_500 {
                        *m.lock().await += 1;
                    }
                    for _ in 0..20 {
                        let mut lock = Box::pin(m.lock());
                        let guard = poll_fn(|cx| Poll::Ready(lock.as_mut().poll(cx))).await;
                        if guard.is_pending() && dice.roll(2) == 0 {
                            *lock.await += 0;
                        }
                    }
                });
            }
            wg.wait().await;
            assert_eq!(*m.lock().await, 4_500);
        }
    });
}
