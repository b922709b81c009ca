//! `sync::Mutex`.

use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_fn, poll_once};
use gopark::sync::futures::Lock;
use gopark::sync::{Mutex, MutexGuard, WaitGroup};
use gopark::{go, gosched, time};

use crate::hand::{Acts, Dice, Hand, on_procs};
use crate::util::{Wakes, no_hang};

#[test]
fn try_lock_fails_while_locked_mx01() {
    let m = Mutex::new(1);
    let guard = m.try_lock().unwrap();
    assert!(m.try_lock().is_none());
    drop(guard);
    assert_eq!(*m.try_lock().unwrap(), 1);
}

#[test]
fn waiters_are_served_in_order_of_arrival() {
    let m = Mutex::new(());
    let guard = m.try_lock().unwrap();
    let mut waiters: Vec<_> = (0..5).map(|_| Hand::parked(m.lock())).collect();
    drop(guard);
    for i in 0..5 {
        assert_eq!(
            waiters.iter().map(Hand::wakes).collect::<Vec<_>>(),
            (0..5).map(|j| usize::from(j <= i)).collect::<Vec<_>>()
        );
        assert!(waiters[i + 1..].iter_mut().all(Hand::is_pending));
        drop(waiters[i].ready());
    }
    assert!(m.try_lock().is_some());
}

#[test]
fn unlock_hands_the_lock_over_outside_of_gopark() {
    let m = Mutex::new(());
    let guard = m.try_lock().unwrap();
    let mut first = Hand::parked(m.lock());
    drop(guard);
    // No other goroutine gets the lock between the unlock and the poll of its new owner.
    assert!(m.try_lock().is_none());
    let mut newcomer = Hand::parked(m.lock());
    drop(first.ready());
    assert_eq!(newcomer.wakes(), 1);
    drop(newcomer.ready());
}

#[test]
fn woken_waiter_competes_and_keeps_its_place_mx02() {
    on_procs(1, async {
        loop {
            let start = Instant::now();
            let m = Arc::new(Mutex::new(Vec::new()));
            let mut guard = m.lock().await;
            let wg = WaitGroup::new();
            for i in 0..3 {
                let m = m.clone();
                wg.go(async move { m.lock().await.push(i) });
                gosched().await;
            }
            // Both are parked. Until one of them runs, any goroutine can take the lock.
            for _ in 0..100 {
                drop(guard);
                guard = m.try_lock().expect("in normal mode a newcomer may barge");
            }
            // The first one runs and finds it locked again. It stays the first.
            gosched().await;
            drop(guard);
            wg.wait().await;
            // After a millisecond the next one would be woken as well.
            if start.elapsed() < Duration::from_millis(1) {
                assert_eq!(*m.lock().await, [0, 1, 2]);
                return;
            }
        }
    });
}

#[test]
fn one_waiter_at_a_time_is_woken_to_compete_mx08() {
    on_procs(1, async {
        let m = Mutex::new(());
        // After a millisecond the next one would be woken as well.
        let mut waiters = loop {
            let start = Instant::now();
            let guard = m.try_lock().unwrap();
            let waiters: Vec<_> = (0..3).map(|_| Hand::parked(m.lock())).collect();
            drop(guard);
            for _ in 0..10 {
                drop(m.try_lock().unwrap());
            }
            if start.elapsed() < Duration::from_millis(1) {
                break waiters;
            }
        };
        assert_eq!(waiters.iter().map(Hand::wakes).sum::<usize>(), 1);
        drop(waiters[0].ready());
        assert_eq!(waiters.iter().map(Hand::wakes).sum::<usize>(), 2);
        // A waiter that loses is notified again by the unlock of the goroutine that it lost to.
        let guard = m.try_lock().unwrap();
        assert!(waiters[1].is_pending());
        drop(guard);
        assert_eq!(waiters[1].wakes(), 2);
        drop(waiters[1].ready());
        drop(waiters[2].ready());
    });
}

/// A free mutex with this many waiters, of which the first has been woken; all have waited for
/// longer than a waiter may lose.
async fn woken_long_ago(m: &Mutex<()>, waiters: usize) -> Vec<Hand<Lock<'_, ()>>> {
    let guard = m.try_lock().unwrap();
    let waiters: Vec<_> = (0..waiters).map(|_| Hand::parked(m.lock())).collect();
    time::sleep(Duration::from_millis(2)).await;
    drop(guard);
    assert_eq!(waiters.iter().map(Hand::wakes).sum::<usize>(), 1);
    waiters
}

/// A bug: a waiter was woken and not polled, because its task was busy. All waiters behind it
/// waited although the lock was free.
#[test]
fn woken_waiter_that_is_not_polled_keeps_nobody_waiting_mx08() {
    on_procs(1, async {
        let m = Mutex::new(());
        let mut waiters = woken_long_ago(&m, 3).await;
        drop(m.try_lock().unwrap());
        assert_eq!(waiters.iter().map(Hand::wakes).collect::<Vec<_>>(), [1, 1, 0]);
        // Its unlock wakes the third; the first finds the lock free whenever it is polled.
        drop(waiters[1].ready());
        assert_eq!(waiters[2].wakes(), 1);
        drop(waiters[0].ready());
        drop(waiters[2].ready());
        drop(m.try_lock().unwrap());
        drop(Hand::new(m.lock()).ready());
    });
}

#[test]
fn waiter_that_was_passed_over_and_loses_is_the_first_again_mx02_mx03() {
    on_procs(1, async {
        let m = Mutex::new(());
        let mut waiters = woken_long_ago(&m, 3).await;
        drop(m.try_lock().unwrap());
        let guard = m.try_lock().unwrap();
        assert!(waiters[0].is_pending());
        // It has lost for long, so the lock is handed to it.
        drop(guard);
        assert!(m.try_lock().is_none());
        assert_eq!(waiters[0].wakes(), 2);
        drop(waiters[0].ready());
        drop(waiters[1].ready());
        drop(waiters[2].ready());
        drop(m.try_lock().unwrap());
    });
}

/// The queue was empty meanwhile.
#[test]
fn waiter_that_was_passed_over_queues_anew_mx02() {
    on_procs(1, async {
        let m = Mutex::new(());
        let mut waiters = woken_long_ago(&m, 2).await;
        drop(m.try_lock().unwrap());
        drop(waiters[1].ready());
        let guard = m.try_lock().unwrap();
        assert!(waiters[0].is_pending());
        let mut last = Hand::parked(m.lock());
        drop(guard);
        assert_eq!(waiters[0].wakes(), 2);
        drop(waiters[0].ready());
        drop(last.ready());
        drop(m.try_lock().unwrap());
    });
}

#[test]
fn waiter_that_was_passed_over_leaves_no_trace_ca02() {
    on_procs(1, async {
        let m = Mutex::new(());
        let mut waiters = woken_long_ago(&m, 3).await;
        drop(m.try_lock().unwrap());
        drop(waiters.remove(0));
        // The next waiter's wake is not passed on twice.
        assert_eq!((waiters[0].wakes(), waiters[1].wakes()), (1, 0));
        drop(waiters.remove(0));
        assert_eq!(waiters[0].wakes(), 1);
        drop(waiters[0].ready());
        drop(m.try_lock().unwrap());
    });
}

/// Wakes each of many waiters, one at each unlock.
#[test]
fn many_that_are_not_polled_are_passed_over_mx08() {
    on_procs(1, async {
        let m = Mutex::new(());
        let waiters = woken_long_ago(&m, 100).await;
        for _ in 0..99 {
            drop(m.try_lock().unwrap());
        }
        assert!(waiters.iter().all(|waiter| waiter.wakes() == 1));
        // In any order of polls and drops.
        for (i, mut waiter) in waiters.into_iter().enumerate().rev() {
            if i % 3 > 0 {
                drop(waiter.ready());
            }
        }
        drop(m.try_lock().unwrap());
    });
}

#[test]
fn starving_waiter_gets_the_lock_mx03() {
    on_procs(1, async {
        let m = Arc::new(Mutex::new(()));
        let served = Arc::new(AtomicBool::new(false));
        let guard = m.lock().await;
        let (m2, served2) = (m.clone(), served.clone());
        let waiter = go(async move {
            drop(m2.lock().await);
            served2.store(true, Ordering::SeqCst);
        });
        gosched().await;
        // Whenever the waiter runs, the lock is taken. Only a hand-off gives it the lock.
        let mut guard = Some(guard);
        while !served.load(Ordering::SeqCst) {
            gosched().await;
            drop(guard.take());
            guard = Some(m.lock().await);
        }
        drop(guard);
        waiter.await.unwrap();
    });
}

/// A waiter that has lost for more than a millisecond. (The test waits for the clock, because no
/// other event tells.)
fn starve<'a>(
    m: &'a Mutex<()>,
    waiter: &mut Hand<gopark::sync::futures::Lock<'a, ()>>,
) -> MutexGuard<'a, ()> {
    let guard = m.try_lock().expect("in normal mode a newcomer may barge");
    let since = std::time::Instant::now();
    while since.elapsed().as_micros() < 1_200 {
        std::hint::spin_loop();
    }
    assert!(waiter.is_pending());
    guard
}

#[test]
fn starving_waiter_is_owed_the_lock_mx01_mx03() {
    on_procs(1, async {
        let m = Mutex::new(());
        let guard = m.try_lock().unwrap();
        let mut first = Hand::parked(m.lock());
        let mut second = Hand::parked(m.lock());
        drop(guard);
        let guard = starve(&m, &mut first);
        drop(guard);
        assert!(m.try_lock().is_none(), "it is the starving one's");
        // A newcomer does not even try. (A hand-off uses up the budget.)
        gosched().await;
        let mut newcomer = Hand::parked(m.lock());
        drop(first.ready());
        // The second one has waited as long, so the lock is handed over once more.
        assert!(m.try_lock().is_none());
        drop(second.ready());
        // The newcomer has not. With it, at the latest, the normal mode returns.
        drop(newcomer.ready());
        gosched().await;
        let guard = m.try_lock().unwrap();
        let mut last = Hand::parked(m.lock());
        drop(guard);
        drop(m.try_lock().expect("normal mode again"));
        drop(last.ready());
    });
}

#[test]
fn new_owner_runs_before_the_one_who_unlocked_goes_on_mx04() {
    on_procs(1, async {
        let m: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
        let log = Arc::new(std::sync::Mutex::new(Vec::new()));
        let guard = m.lock().await;
        // A notified waiter in front has starved, and the lock is then handed to the goroutine
        // behind it.
        let mut first = Hand::parked(m.lock());
        let log2 = log.clone();
        let owner = go(async move {
            let _guard = m.lock().await;
            log2.lock().unwrap().push("owner");
        });
        gosched().await;
        drop(guard);
        drop(starve(m, &mut first));
        // Another goroutine could run as well.
        let log2 = log.clone();
        let bystander = go(async move { log2.lock().unwrap().push("bystander") });
        let free = Mutex::new(());
        drop(first.ready());
        drop(free.lock().await);
        log.lock().unwrap().push("unlocker");
        owner.await.unwrap();
        bystander.await.unwrap();
        assert_eq!(log.lock().unwrap()[0], "owner");
        assert_ne!(log.lock().unwrap()[1], "owner");
    });
}

#[test]
fn lock_unlock_loop_on_one_processor_lets_its_waiter_in_mx03() {
    on_procs(1, async {
        let m = Arc::new(Mutex::new(false));
        let guard = m.lock().await;
        let m2 = m.clone();
        let waiter = go(async move { *m2.lock().await = true });
        gosched().await;
        drop(guard);
        while !*m.lock().await {}
        waiter.await.unwrap();
    });
}

#[test]
fn hundreds_of_waiters_all_starve_and_all_get_it_mx03() {
    on_procs(2, async {
        let m = Arc::new(Mutex::new(0));
        let wg = WaitGroup::new();
        for _ in 0..300 {
            let m = m.clone();
            wg.go(async move {
                for _ in 0..10 {
                    let mut n = m.lock().await;
                    *n += 1;
                    gosched().await;
                }
            });
        }
        wg.wait().await;
        assert_eq!(*m.lock().await, 3000);
    });
}

#[test]
fn another_goroutine_may_unlock_mx06() {
    on_procs(2, async {
        let m: &'static Mutex<i32> = Box::leak(Box::new(Mutex::new(1)));
        let guard = m.lock().await;
        let unlocks = go(async move { drop(guard) });
        assert_eq!(*m.lock().await, 1);
        unlocks.await.unwrap();
    });
}

#[test]
fn locking_twice_waits_for_ever_mx06() {
    let m = Mutex::new(());
    let _guard = m.try_lock().unwrap();
    let mut again = Hand::parked(m.lock());
    assert!(again.is_pending());
}

#[test]
fn panic_leaves_the_mutex_usable_mx07() {
    let m = Mutex::new(1);
    let caught = catch_unwind(|| {
        let mut guard = m.try_lock().unwrap();
        *guard = 2;
        panic!("while locked");
    });
    assert!(caught.is_err());
    assert_eq!(*m.try_lock().unwrap(), 2);
}

#[test]
fn dropped_owner_passes_the_lock_on_ca02() {
    let m = Mutex::new(());
    let guard = m.try_lock().unwrap();
    let first = Hand::parked(m.lock());
    let mut second = Hand::parked(m.lock());
    drop(guard);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!(second.wakes(), 1);
    drop(second.ready());
    // Dropping the last owner unlocks it.
    let guard = m.try_lock().unwrap();
    let only = Hand::parked(m.lock());
    drop(guard);
    drop(only);
    assert!(m.try_lock().is_some());
}

#[test]
fn dropped_waiter_that_was_told_passes_the_word_on_ca03() {
    on_procs(1, async {
        let m = Mutex::new(());
        let guard = m.try_lock().unwrap();
        let first = Hand::parked(m.lock());
        let mut second = Hand::parked(m.lock());
        drop(guard);
        assert_eq!((first.wakes(), second.wakes()), (1, 0));
        drop(first);
        assert_eq!(second.wakes(), 1);
        drop(second.ready());

        // If the lock was taken meanwhile, its unlock must pass on the notification.
        let guard = m.try_lock().unwrap();
        let first = Hand::parked(m.lock());
        let mut second = Hand::parked(m.lock());
        drop(guard);
        let barger = m.try_lock().unwrap();
        drop(first);
        assert_eq!(second.wakes(), 0);
        drop(barger);
        assert_eq!(second.wakes(), 1);
        drop(second.ready());
    });
}

#[test]
fn dropped_waiter_that_was_not_told_just_leaves_ca03() {
    let m = Mutex::new(());
    let guard = m.try_lock().unwrap();
    let mut first = Hand::parked(m.lock());
    let second = Hand::parked(m.lock());
    let mut third = Hand::parked(m.lock());
    drop(second);
    drop(guard);
    assert_eq!((first.wakes(), third.wakes()), (1, 0));
    drop(first.ready());
    drop(third.ready());
    assert!(m.try_lock().is_some());
}

#[test]
fn polling_again_keeps_the_place_and_takes_the_new_waker_ca08() {
    let m = Mutex::new(());
    let guard = m.try_lock().unwrap();
    let mut first = Hand::parked(m.lock());
    let second = Hand::parked(m.lock());
    let (other, waker) = Wakes::new();
    assert!(first.poll_with(&waker).is_pending());
    drop(guard);
    assert_eq!((first.wakes(), other.count(), second.wakes()), (0, 1, 0));
    drop(first.ready());
    assert_eq!(second.wakes(), 1);
}

#[test]
#[should_panic(expected = "polled after completion")]
fn polling_after_completion_panics() {
    let m = Mutex::new(());
    let mut lock = Hand::new(m.lock());
    drop(lock.ready());
    let _ = lock.poll();
}

#[test]
fn wakers_may_use_the_mutex_ca06() {
    let m: &'static Mutex<usize> = Box::leak(Box::new(Mutex::new(0)));
    // Enters the queue, is woken or not, and leaves it, all during another's wake or drop.
    let acts = move || {
        let first = m.try_lock();
        let mut lock = Hand::new(m.lock());
        let _ = lock.poll();
        drop(lock);
        drop(first);
    };
    let waker = || Waker::from(Arc::new(Acts { on_wake: Box::new(acts), on_drop: Box::new(acts) }));
    let guard = m.try_lock().unwrap();
    let mut a = Hand::new(m.lock());
    assert!(a.poll_with(&waker()).is_pending());
    // Replaces the waker, of which this is the last clone.
    assert!(a.poll_with(&waker()).is_pending());
    let mut b = Hand::new(m.lock());
    assert!(b.poll_with(&waker()).is_pending());
    drop(guard);
    drop(a);
    drop(b.ready());
    assert!(m.try_lock().is_some());
}

#[test]
fn leaked_owner_keeps_the_lock_and_nothing_else_happens_ca09() {
    let m: &'static Mutex<i32> = Box::leak(Box::new(Mutex::new(0)));
    let guard = m.try_lock().unwrap();
    Hand::parked(m.lock()).leak();
    let mut other = Hand::parked(m.lock());
    drop(guard);
    assert!(other.is_pending() && m.try_lock().is_none());
    drop(other);
}

#[test]
fn out_of_budget_a_lock_holds_no_place_ca18() {
    on_procs(1, async {
        let free = Mutex::new(());
        let taken = Mutex::new(());
        let guard = taken.try_lock().unwrap();
        let mut late = pin!(taken.lock());
        let mut newcomer = None;
        poll_fn(|cx| {
            // Uses up the budget.
            loop {
                let mut lock = pin!(free.lock());
                if lock.as_mut().poll(cx).is_pending() {
                    break;
                }
            }
            assert!(late.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        gosched().await;
        // If it had kept a place in the queue, this one would come after it.
        newcomer.get_or_insert(Hand::parked(taken.lock()));
        drop(guard);
        assert_eq!(newcomer.as_ref().unwrap().wakes(), 1);
    });
}

#[test]
fn mutex_fits_everywhere() {
    static COUNT: Mutex<u32> = Mutex::new(1);
    *COUNT.lock_blocking() += 1;
    assert_eq!(*COUNT.lock_blocking(), 2);
    let unsized_: &Mutex<[i32]> = &Mutex::new([1, 2, 3]);
    assert_eq!(block_on(unsized_.lock()).len(), 3);
    let object: Box<Mutex<dyn Fn() -> i32 + Send>> = Box::new(Mutex::new(|| 7));
    assert_eq!((object.try_lock().unwrap())(), 7);
    let mut m = Mutex::<String>::default();
    m.get_mut().push('x');
    assert_eq!(format!("{m:?}"), "Mutex { value: \"x\" }");
    let guard = m.try_lock().unwrap();
    assert_eq!(format!("{m:?} {guard:?} {guard}"), "Mutex { value: <locked> } \"x\" x");
    assert!(std::ptr::eq(MutexGuard::mutex(&guard), &m));
    drop(guard);
    assert_eq!(m.into_inner(), "x");
    assert_eq!(Mutex::from(3).into_inner(), 3);

    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Mutex<std::cell::Cell<i32>>>();
    sync::<Mutex<std::cell::Cell<i32>>>();
    send::<MutexGuard<'_, std::cell::Cell<i32>>>();
    send::<gopark::sync::futures::Lock<'_, std::cell::Cell<i32>>>();
    sync::<MutexGuard<'_, i32>>();
}

/// Any order of arrivals, polls, drops and unlocks, against a model that is a queue. Outside of
/// gopark the model says exactly which operation owns the lock at every moment.
#[test]
fn random_cancellation_follows_the_model() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let m = Mutex::new(());
        let mut waiting = VecDeque::new();
        let mut owner: Option<Hand<_>> = None;
        let mut guard = None;
        for _ in 0..400 {
            // The model: a free lock goes to the one that arrives, an unlocked one to the first in
            // the queue.
            match dice.roll(5) {
                0 | 1 => {
                    let mut hand = Hand::new(m.lock());
                    match hand.poll() {
                        Poll::Ready(g) => {
                            assert!(guard.is_none() && owner.is_none() && waiting.is_empty());
                            guard = Some(g);
                        }
                        Poll::Pending => {
                            assert!(guard.is_some() || owner.is_some());
                            waiting.push_back(hand);
                        }
                    }
                }
                2 => {
                    if guard.take().is_some() {
                        owner = waiting.pop_front();
                    }
                }
                3 if !waiting.is_empty() => {
                    let gone = waiting.remove(dice.roll(waiting.len())).unwrap();
                    assert_eq!(gone.wakes(), 0);
                }
                3 => {
                    // The owner is dropped, whether it was notified or not: the next one owns the
                    // lock.
                    if owner.take().is_some() {
                        owner = waiting.pop_front();
                    }
                }
                _ => {
                    if let Some(hand) = waiting.get_mut(dice.roll(waiting.len() + 1)) {
                        assert!(hand.is_pending());
                    } else if let Some(mut hand) = owner.take() {
                        guard = Some(hand.ready());
                    }
                }
            }
            assert!(waiting.iter().all(|hand| hand.wakes() == 0));
            assert!(owner.as_ref().is_none_or(|hand| hand.wakes() == 1));
            assert_eq!(m.try_lock().is_some(), guard.is_none() && owner.is_none());
        }
    }
}

/// The same on a processor, where the notified waiter competes: a free lock with waiters has
/// notified one of them, and no second one until that has waited for a millisecond.
#[test]
fn random_cancellation_never_loses_the_word_on_a_processor() {
    on_procs(1, async {
        for seed in 0..300 {
            let mut dice = Dice::new(seed);
            let m = Mutex::new(());
            let mut waiting: VecDeque<(Hand<_>, usize, Instant)> = VecDeque::new();
            let mut guard = None;
            // The mutex takes the time of a wait from a clock that is read once a poll, so after a
            // stall it is ahead of the test's.
            let (mut last, mut stalled) = (Instant::now(), false);
            for _ in 0..300 {
                match dice.roll(6) {
                    0 | 1 => {
                        let start = Instant::now();
                        let mut hand = Hand::new(m.lock());
                        // This test is not about the budget.
                        while hand.poll().map(|g| guard = Some(g)).is_pending() && hand.wakes() > 0
                        {
                            hand = Hand::new(m.lock());
                            gosched().await;
                        }
                        if guard.is_none() || dice.roll(2) == 0 {
                            waiting.push_back((hand, 0, start));
                        }
                    }
                    2 => guard = None,
                    3 if !waiting.is_empty() => drop(waiting.remove(dice.roll(waiting.len()))),
                    _ => {
                        let at = dice.roll(waiting.len() + 1);
                        if let Some((hand, seen, _)) = waiting.get_mut(at) {
                            *seen = hand.wakes();
                            if let Poll::Ready(g) = hand.poll() {
                                assert!(guard.is_none());
                                guard = Some(g);
                                waiting.remove(at);
                            }
                        }
                    }
                }
                waiting.retain(|(hand, ..)| !hand.is_done());
                let told = || waiting.iter().filter(|(hand, seen, _)| hand.wakes() > *seen);
                let young =
                    told().filter(|(.., start)| start.elapsed() < Duration::from_millis(1)).count();
                stalled |= last.elapsed() > Duration::from_micros(200);
                last = Instant::now();
                assert!(young <= 1 || stalled, "a herd");
                if guard.is_none() && !waiting.is_empty() {
                    assert!(told().count() >= 1, "no waiter knows that the lock is free");
                }
            }
        }
    });
}

#[test]
fn threads_count_right_while_others_give_up() {
    no_hang(|| {
        let m = Arc::new(Mutex::new(0usize));
        let total = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for t in 0..4 {
                let (m, total) = (m.clone(), &total);
                s.spawn(move || {
                    let mut dice = Dice::new(t);
                    for _ in 0..5_000 {
                        if dice.roll(3) == 0 {
                            if let Some(mut guard) = block_on(poll_once(m.lock())) {
                                *guard += 1;
                                total.fetch_add(1, Ordering::Relaxed);
                            }
                        } else {
                            *m.lock_blocking() += 1;
                            total.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(*m.try_lock().unwrap(), total.into_inner());
    });
}

/// Both rules at once: goroutines compete, threads hand over.
#[test]
fn goroutines_and_threads_share_a_mutex() {
    let m = Arc::new(Mutex::new(0usize));
    let threads: Vec<_> = (0..2)
        .map(|t| {
            let m = m.clone();
            std::thread::spawn(move || {
                let mut dice = Dice::new(t);
                for _ in 0..10_000 {
                    if dice.roll(4) == 0 {
                        // Gives up, whether or not it has been granted the lock meanwhile.
                        drop(block_on(poll_once(m.lock())));
                    } else {
                        drop(m.lock_blocking());
                    }
                }
            })
        })
        .collect();
    let m2 = m.clone();
    on_procs(2, async move {
        let wg = WaitGroup::new();
        for g in 0..8 {
            let m = m2.clone();
            wg.go(async move {
                let mut dice = Dice::new(100 + g);
                for i in 0..5_000 {
                    if dice.roll(5) == 0 {
                        let _ = poll_once(m.lock()).await;
                    }
                    let mut n = m.lock().await;
                    *n += 1;
                    if i % 64 == 0 {
                        gosched().await;
                    }
                }
            });
        }
        wg.wait().await;
    });
    no_hang(|| threads.into_iter().for_each(|t| t.join().unwrap()));
    assert_eq!(*m.try_lock().unwrap(), 8 * 5_000);
}

#[test]
fn a_waker_that_panics_leaves_the_mutex_in_order() {
    let m = Mutex::new(());
    let guard = m.try_lock().unwrap();
    let waker = Waker::from(Arc::new(Acts {
        on_wake: Box::new(|| panic!("bad waker")),
        on_drop: Box::new(|| ()),
    }));
    let mut a = Hand::new(m.lock());
    assert!(a.poll_with(&waker).is_pending());
    drop(guard);
    drop(a.ready());
    assert!(m.try_lock().is_some());
}

#[test]
fn an_owned_guard_keeps_its_mutex_and_unlocks_it_elsewhere() {
    fn is_send<T: Send + 'static>(value: T) -> T {
        value
    }
    on_procs(2, async {
        let m = Arc::new(Mutex::new(1));
        let mut guard = is_send(m.lock_owned().await);
        assert!(m.try_lock_owned().is_none());
        let mut next = Hand::parked(m.lock_owned());
        go(async move { *guard += 1 }).await.unwrap();
        let guard = next.ready();
        assert_eq!(format!("{guard} {guard:?}"), "2 2");
        drop(next);
        drop(m);
        assert_eq!(*guard, 2);
    });
}

#[test]
fn a_dropped_owned_lock_passes_the_lock_on_ca02() {
    let m = Arc::new(Mutex::new(()));
    let held = m.try_lock_owned().unwrap();
    let (first, mut second) = (Hand::parked(m.lock_owned()), Hand::parked(m.lock()));
    drop(held);
    drop(first);
    drop(second.ready());
    assert!(m.try_lock().is_some());
}
