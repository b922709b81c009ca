//! What can be said of the scheduler's parts without a thread, and what its lists look like from inside.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::{Executor, GLOBAL_INTERVAL, Idle, LONG_ROUNDS, Processor, SPARES, Sched, lock, shard};
use crate::runtime::{Runtime, block_in_place, gosched};
use crate::time::sleep;

#[test]
fn somebody_is_woken_if_a_processor_is_idle_and_nobody_searches() {
    let idle = Idle::new();
    assert!((idle.idle(), idle.wants_wake(), idle.begin_wake()) == (0, false, false), "all are busy");
    idle.announce(false);
    assert_eq!((idle.idle(), idle.wants_wake()), (1, true));
    assert!(idle.begin_wake());
    assert!((idle.idle(), idle.wants_wake(), idle.begin_wake()) == (1, false, false), "one searches");
    idle.taken();
    assert_eq!((idle.idle(), idle.wants_wake(), idle.begin_wake()), (0, false, false));
    // It found nothing.
    idle.announce(true);
    assert_eq!((idle.idle(), idle.wants_wake(), idle.begin_wake()), (1, true, true));
    assert!(idle.end_search(), "the only one");
    assert_eq!((idle.idle(), idle.wants_wake()), (1, true));
}

#[test]
fn at_most_half_of_the_busy_ones_search() {
    let idle = Idle::new();
    idle.announce(false);
    idle.announce(false);
    assert_eq!([(); 4].map(|()| idle.begin_search(8)), [true, true, true, false]);
    assert_eq!([(); 3].map(|()| idle.end_search()), [false, false, true]);
    assert!(!idle.begin_search(2), "nobody is busy");
    assert!(!idle.begin_search(1), "retired ones are idle as well");
    assert!(idle.begin_search(3));
    assert!(!idle.begin_search(3));
    assert_eq!(idle.idle(), 2);
}

#[test]
fn the_global_queue_and_the_timers_have_their_turn_every_so_many_rounds() {
    let processor = Processor::new(0);
    for round in 1..=200 {
        let (global_first, look) = processor.begin_round();
        // It stays so until the global queue had something.
        assert_eq!(global_first, round >= GLOBAL_INTERVAL, "round {round}");
        assert_eq!(look, round % (GLOBAL_INTERVAL - 1) == 0, "round {round}");
    }
    assert_eq!((processor.rounds.load(Relaxed), processor.has_long_rounds()), (200, false));
    processor.local_rounds.set(0);
    processor.global_interval.store(LONG_ROUNDS, Relaxed);
    assert!(processor.has_long_rounds());
    assert_eq!([(); 4].map(|()| processor.begin_round()), [(false, true), (true, true), (true, true), (true, true)]);
}

fn runtime(procs: usize) -> (Runtime, &'static Executor) {
    let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
    let executor = rt.block_on(async { Executor::current().unwrap() });
    (rt, executor)
}

/// Checks what holds whenever the scheduler's lock is free.
fn checked(executor: &Executor) -> MutexGuard<'_, Sched> {
    let sched = lock(&executor.sched);
    let procs = executor.procs.load(Relaxed);
    for processor in executor.all_processors() {
        let idle = sched.idle.iter().filter(|idle| ptr::eq(**idle, processor)).count();
        let owner = processor.owner.get();
        let held = usize::from(owner.is_some()) + usize::from(processor.promised.get());
        let wanted = if processor.slot < procs { 1 - held.min(1) } else { 0 };
        assert!(held < 2 && idle == wanted, "slot {} of {procs}: {held} times held, {idle} times idle", processor.slot);
        if let Some(owner) = owner {
            assert!(sched.machines.iter().any(|machine| machine.machine == owner), "who holds a processor is listed");
            assert!(sched.spare.iter().all(|spare| spare.machine != owner), "who holds a processor is not parked");
        }
    }
    assert_eq!(executor.idle.idle(), sched.idle.len());
    if let Some((sleeper, _)) = sched.sleeper {
        assert!(sched.spare.iter().any(|spare| spare.machine == sleeper), "who sleeps is parked");
    }
    sched
}

/// Waits until there is nothing to run, and every thread is parked.
fn settled(executor: &Executor) -> MutexGuard<'_, Sched> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let sched = checked(executor);
        if sched.starting == 0 && sched.spare.len() == sched.machines.len() && !executor.has_work() {
            return sched;
        }
        drop(sched);
        assert!(Instant::now() < end, "the threads do not come to rest");
        thread::yield_now();
    }
}

#[test]
fn a_processor_in_use_is_idle_or_has_one_holder_whatever_gomaxprocs_does() {
    let (rt, executor) = runtime(1);
    for round in 0..2000 {
        rt.gomaxprocs(fastrand::usize(1..=6));
        for _ in 0..3 {
            rt.go(async move {
                gosched().await;
                if round % 16 == 0 {
                    block_in_place(thread::yield_now);
                }
            });
        }
        drop(checked(executor));
    }
    let procs = rt.gomaxprocs(0);
    assert_eq!(settled(executor).idle.len(), procs);
    assert_eq!(rt.num_goroutine(), 0);
}

#[test]
fn a_processor_that_is_retired_while_it_is_held_is_not_idle_afterwards() {
    let (rt, executor) = runtime(2);
    let (running, go_on) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
    for _ in 0..2 {
        let (running, go_on) = (running.clone(), go_on.clone());
        // Both block their processors, and are not long at it.
        rt.go(async move {
            running.wait();
            go_on.wait();
        });
    }
    running.wait();
    rt.gomaxprocs(1);
    go_on.wait();
    assert_eq!(settled(executor).idle.len(), 1);
}

#[test]
fn as_many_threads_are_kept_as_may_be_wanted_again() {
    let (rt, executor) = runtime(2);
    let barrier = Arc::new(Barrier::new(20));
    for _ in 0..20 {
        let barrier = barrier.clone();
        rt.go(async move { _ = block_in_place(|| barrier.wait()) });
    }
    assert_eq!(settled(executor).spare.len(), SPARES + 2);
}

#[test]
fn one_parked_thread_at_the_bottom_wakes_for_the_earliest_timer() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (rt, executor) = runtime(1);
    let barrier = Arc::new(Barrier::new(3));
    for _ in 0..3 {
        let barrier = barrier.clone();
        rt.go(async move { _ = block_in_place(|| barrier.wait()) });
    }
    let sleeper = || {
        let sched = settled(executor);
        let (sleeper, until) = sched.sleeper?;
        assert!(sched.spare.len() >= 3 && sched.spare[0].machine == sleeper, "others are woken first");
        assert!(until == shard::earliest(executor.all_timers()), "until the next timer");
        Some(sleeper)
    };
    assert_eq!(sleeper(), None);
    rt.go(sleep(HOUR));
    let first = sleeper();
    assert!(first.is_some());
    rt.go(async {});
    assert_eq!(sleeper(), first, "there is one already");
    rt.go(sleep(HOUR / 2));
    assert!(sleeper().is_some_and(|sleeper| Some(sleeper) != first), "who brought an earlier one");
}
