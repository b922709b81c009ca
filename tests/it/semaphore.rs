//! `sync::Semaphore`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Cx, Poll, Waker};
use std::time::Duration;

use futures_lite::future::{block_on, poll_once};
use gopark::context::{Context, ContextError};
use gopark::sync::{Permit, Semaphore, WaitGroup};
use gopark::{chan, gosched, select};

use crate::hand::{Acts, Dice, Hand, on_procs};
use crate::util::{no_hang, within};

#[test]
fn small_request_does_not_overtake_a_large_one_xs04() {
    let s = Semaphore::new(4);
    let one = s.try_acquire(1).unwrap();
    let mut four = Hand::parked(s.acquire(4));
    let mut small = Hand::parked(s.acquire(1));
    assert!(s.try_acquire(1).is_none());
    drop(one);
    assert_eq!((four.wakes(), small.wakes()), (1, 0));
    drop(four.ready());
    drop(small.ready());
    assert_eq!(s.available(), 4);
}

#[test]
fn context_that_has_ended_wins_over_free_permits_xs05() {
    let s = Semaphore::new(2);
    let (ctx, cancel) = Context::background().with_cancel();
    drop(Hand::new(ctx.acquire(&s, 2)).ready().unwrap());
    cancel.cancel();
    assert_eq!(Hand::new(ctx.acquire(&s, 1)).ready().unwrap_err(), ContextError::Canceled);
    assert_eq!(s.available(), 2);
}

#[test]
fn cancel_then_release_fails_and_passes_the_permit_on_xs05() {
    let s = Semaphore::new(1);
    let (ctx, cancel) = Context::background().with_cancel();
    let held = s.try_acquire(1).unwrap();
    let mut front = Hand::parked(ctx.acquire(&s, 1));
    let mut behind = Hand::parked(s.acquire(1));
    cancel.cancel();
    drop(held);
    assert_eq!(behind.wakes(), 0);
    assert_eq!(front.ready().unwrap_err(), ContextError::Canceled);
    assert_eq!(behind.wakes(), 1);
    drop(behind.ready());
    assert_eq!(s.available(), 1);
}

#[test]
fn cancelled_head_lets_those_that_fit_proceed_xs05() {
    let s = Semaphore::new(2);
    let (ctx, cancel) = Context::background().with_cancel();
    let held = s.try_acquire(1).unwrap();
    let mut front = Hand::parked(ctx.acquire(&s, 2));
    let mut behind = Hand::parked(s.acquire(1));
    cancel.cancel();
    assert_eq!(front.ready().unwrap_err(), ContextError::Canceled);
    drop(behind.ready());
    drop(held);
    // If it is dropped instead of polled, it also leaves the queue.
    let held = s.try_acquire(2).unwrap();
    drop(Hand::parked(Context::background().acquire(&s, 1)));
    drop(held);
    assert_eq!(s.available(), 2);
}

#[test]
fn acquire_with_a_context_is_a_case_that_loses_without_a_trace_ca05() {
    let s = Semaphore::new(1);
    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, rx) = chan::bounded(1);
    block_on(async {
        select! {
            permit = ctx.acquire(&s, 1) => assert_eq!(permit.unwrap().count(), 1),
            _ = rx.recv() => unreachable!(),
        }
    });
    let held = s.try_acquire(1).unwrap();
    let mut selecting = Hand::parked(async {
        select! {
            permit = ctx.acquire(&s, 1) => permit.map(|_| 0),
            v = rx.recv() => Ok(v.unwrap()),
        }
    });
    let mut behind = Hand::parked(s.acquire(1));
    tx.try_send(7).unwrap();
    assert_eq!(selecting.ready(), Ok(7));
    drop(held);
    drop(behind.ready());
    assert_eq!(s.available(), 1);

    // A waiter that was granted a permit before the context ended, and is polled after that, takes
    // nothing.
    let held = s.try_acquire(1).unwrap();
    let mut selecting = Hand::parked(async {
        select! {
            permit = ctx.acquire(&s, 1) => permit.map(|_| 0),
            v = rx.recv() => Ok(v.unwrap()),
        }
    });
    drop(held);
    cancel.cancel();
    assert_eq!(selecting.ready(), Err(ContextError::Canceled));
    assert_eq!(s.available(), 1);

    let future = ctx.acquire(&s, 1);
    assert_eq!(
        format!("{future:?}"),
        "ContextAcquire { run: Some(Run { progress: New, .. }), .. }"
    );
}

#[test]
fn too_much_waits_for_the_context_alone_xs06() {
    let s = Semaphore::new(1);
    let (ctx, cancel) = Context::background().with_cancel();
    let mut huge = Hand::parked(ctx.acquire(&s, 2));
    assert!(s.try_acquire(1).is_some());
    cancel.cancel();
    assert_eq!(huge.wakes(), 1);
    assert_eq!(huge.ready().unwrap_err(), ContextError::Canceled);
}

#[test]
fn try_acquire_fails_while_somebody_waits_xs04() {
    let s = Semaphore::new(2);
    let one = s.try_acquire(1).unwrap();
    let two = Hand::parked(s.acquire(2));
    assert_eq!(s.available(), 1);
    assert!(s.try_acquire(1).is_none() && s.try_acquire(0).is_none());
    drop(two);
    assert!(s.try_acquire(1).is_some());
    drop(one);
}

#[test]
fn failed_try_changes_nothing() {
    let s = Semaphore::new(1);
    assert!(s.try_acquire(2).is_none());
    assert_eq!(s.available(), 1);
}

#[test]
fn cancelled_head_lets_those_behind_it_go_xs05() {
    let s = Semaphore::new(3);
    let two = s.try_acquire(2).unwrap();
    let head = Hand::parked(s.acquire(3));
    let mut next = Hand::parked(s.acquire(1));
    drop(head);
    assert_eq!(next.wakes(), 1);
    drop(next.ready());
    drop(two);
    assert_eq!(s.available(), 3);
}

#[test]
fn cancelled_grant_goes_back_and_on_xs05() {
    let s = Semaphore::new(3);
    let all = s.try_acquire(3).unwrap();
    let first = Hand::parked(s.acquire(3));
    let mut second = Hand::parked(s.acquire(2));
    drop(all);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!(second.wakes(), 1);
    drop(second.ready());
    assert_eq!(s.available(), 3);
}

#[test]
fn more_than_there_is_waits_in_nobodys_way_xs06() {
    let s = Semaphore::new(2);
    let mut never = Hand::parked(s.acquire(3));
    let one = s.try_acquire(1).unwrap();
    assert_eq!(block_on(s.acquire(1)).count(), 1);
    drop(one);
    assert!(never.is_pending());
    assert_eq!(never.wakes(), 0);
    assert!(Hand::new(s.acquire(usize::MAX)).is_pending());
    assert!(Semaphore::new(0).try_acquire(1).is_none());
}

#[test]
fn nothing_drawn_waits_for_its_turn_only() {
    let s = Semaphore::new(1);
    let zero = s.try_acquire(0).unwrap();
    let one = s.try_acquire(1).unwrap();
    drop(block_on(s.acquire(0)));
    let mut waits = Hand::parked(s.acquire(1));
    let mut zero_behind = Hand::parked(s.acquire(0));
    drop(one);
    drop(waits.ready());
    drop(zero_behind.ready());
    drop(zero);
    assert_eq!(s.available(), 1);
}

#[test]
fn dropped_acquire_leaves_the_permits_ca13() {
    let s = Semaphore::new(3);
    let one = s.try_acquire(1).unwrap();
    let waits = Hand::parked(s.acquire(3));
    drop(waits);
    assert_eq!(s.available(), 2);
    drop(s.try_acquire(2).unwrap());
    drop(one);
}

#[test]
fn many_are_granted_by_one_release() {
    let s = Semaphore::new(100);
    let all = s.try_acquire(100).unwrap();
    let mut waiters: Vec<_> = (0..100).map(|_| Hand::parked(s.acquire(1))).collect();
    let one_more = Hand::parked(s.acquire(1));
    drop(all);
    assert!(waiters.iter().all(|w| w.wakes() == 1));
    assert_eq!(one_more.wakes(), 0);
    drop(waiters.iter_mut().map(Hand::ready).collect::<Vec<_>>());
    assert_eq!(one_more.wakes(), 1);
}

#[test]
fn wakers_may_use_the_semaphore_ca06() {
    let s: &'static Semaphore = Box::leak(Box::new(Semaphore::new(2)));
    let acts = move || {
        let mut a = Hand::new(s.acquire(2));
        let _ = a.poll();
        drop(s.try_acquire(1));
    };
    let waker = || Waker::from(Arc::new(Acts { on_wake: Box::new(acts), on_drop: Box::new(acts) }));
    let both = s.try_acquire(2).unwrap();
    let mut waiters: Vec<_> = (0..40).map(|_| Hand::new(s.acquire(1))).collect();
    for w in &mut waiters {
        assert!(w.poll_with(&waker()).is_pending());
        assert!(w.poll_with(&waker()).is_pending());
    }
    drop(both);
    for mut w in waiters {
        drop(w.ready());
    }
    assert_eq!(s.available(), 2);
}

#[test]
#[should_panic(expected = "polled after completion")]
fn polling_after_completion_panics() {
    let s = Semaphore::new(1);
    let mut a = Hand::new(s.acquire(1));
    drop(a.ready());
    let _ = a.poll();
}

#[test]
#[should_panic(expected = "too many permits")]
fn too_many_permits_panic() {
    let _ = Semaphore::new(usize::MAX);
}

#[test]
fn semaphore_fits_everywhere() {
    static S: Semaphore = Semaphore::new(2);
    let permit = S.try_acquire(2).unwrap();
    assert_eq!(format!("{S:?}"), "Semaphore { size: 2, available: 0 }");
    std::thread::spawn(move || drop(permit)).join().unwrap();
    assert_eq!(S.available(), 2);
    fn send<T: Send>() {}
    send::<Permit<'_>>();
    send::<gopark::sync::futures::Acquire<'_>>();
}

#[test]
fn random_cancellation_follows_the_model() {
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let size = 1 + dice.roll(6);
        let s = Semaphore::new(size);
        let mut free = size;
        let mut waiting: VecDeque<(usize, Hand<_>)> = VecDeque::new();
        let mut granted: Vec<(usize, Hand<_>)> = Vec::new();
        let mut permits: Vec<Permit<'_>> = Vec::new();
        for _ in 0..300 {
            match dice.roll(6) {
                0 | 1 => {
                    let n = dice.roll(size + 1);
                    let mut hand = Hand::new(s.acquire(n));
                    match hand.poll() {
                        Poll::Ready(permit) => {
                            assert!(waiting.is_empty() && free >= n);
                            free -= n;
                            permits.push(permit);
                        }
                        Poll::Pending => {
                            assert!(!waiting.is_empty() || free < n);
                            waiting.push_back((n, hand));
                        }
                    }
                }
                2 if !permits.is_empty() => {
                    let permit = permits.swap_remove(dice.roll(permits.len()));
                    free += permit.count();
                }
                3 if !waiting.is_empty() => drop(waiting.remove(dice.roll(waiting.len()))),
                4 if !granted.is_empty() => {
                    let (n, hand) = granted.swap_remove(dice.roll(granted.len()));
                    free += n;
                    drop(hand);
                }
                _ => {
                    if let Some((_, hand)) = waiting.get_mut(dice.roll(waiting.len() + 1)) {
                        assert!(hand.is_pending());
                    }
                    if let Some((n, mut hand)) = granted.pop() {
                        let permit: Permit<'_> = hand.ready();
                        assert_eq!(permit.count(), n);
                        permits.push(permit);
                    }
                }
            }
            while waiting.front().is_some_and(|(n, _)| *n <= free) {
                let (n, hand) = waiting.pop_front().unwrap();
                free -= n;
                granted.push((n, hand));
            }
            assert!(waiting.iter().all(|(_, hand)| hand.wakes() == 0), "seed {seed}");
            assert!(granted.iter().all(|(_, hand)| hand.wakes() == 1), "seed {seed}");
            assert_eq!(s.available(), free);
            assert_eq!(s.try_acquire(1).is_some(), waiting.is_empty() && free >= 1);
        }
    }
}

#[test]
fn threads_and_goroutines_never_have_more_than_there_is() {
    const SIZE: usize = 5;
    fn hold(permit: Permit<'_>, held: &AtomicUsize) {
        let n = permit.count();
        assert!(held.fetch_add(n, Ordering::SeqCst) + n <= SIZE);
        held.fetch_sub(n, Ordering::SeqCst);
    }
    let s = Arc::new(Semaphore::new(SIZE));
    let held = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..2)
        .map(|t| {
            let (s, held) = (s.clone(), held.clone());
            std::thread::spawn(move || {
                let mut dice = Dice::new(t);
                for _ in 0..5_000 {
                    let n = dice.roll(SIZE + 1);
                    if dice.roll(3) == 0 {
                        let _ = block_on(poll_once(s.acquire(n))).map(|p| hold(p, &held));
                    } else {
                        hold(block_on(s.acquire(n)), &held);
                    }
                }
            })
        })
        .collect();
    let (s2, held2) = (s.clone(), held.clone());
    on_procs(2, async move {
        let wg = WaitGroup::new();
        for g in 0..8 {
            let (s, held) = (s2.clone(), held2.clone());
            wg.go(async move {
                let mut dice = Dice::new(100 + g);
                for i in 0..3_000 {
                    let n = dice.roll(SIZE + 1);
                    if dice.roll(3) == 0 {
                        let _ = poll_once(s.acquire(n)).await.map(|p| hold(p, &held));
                    } else {
                        let permit = s.acquire(n).await;
                        if i % 32 == 0 {
                            gosched().await;
                        }
                        hold(permit, &held);
                    }
                }
            });
        }
        wg.wait().await;
    });
    no_hang(|| threads.into_iter().for_each(|t| t.join().unwrap()));
    assert_eq!(s.available(), SIZE);
}

#[test]
fn a_waiter_for_more_than_there_is_gets_it_once_there_is() {
    let s = Semaphore::new(1);
    let (mut three, mut two) = (Hand::parked(s.acquire(3)), Hand::parked(s.acquire(2)));
    let one = s.try_acquire(1).unwrap();
    let mut small = Hand::parked(s.acquire(1));
    s.add_permits(1);
    // It joins the end of the queue, behind the small one.
    drop(small.ready());
    assert!(two.is_pending() && three.is_pending());
    drop(one);
    let two = two.ready();
    s.add_permits(1);
    assert!(three.is_pending());
    drop(two);
    assert_eq!(three.ready().count(), 3);
}

#[test]
fn those_for_whom_permits_are_added_are_served_in_their_order() {
    let s = Semaphore::new(0);
    let mut waits: Vec<_> = [2, 1, 4, 1].map(|n| Hand::parked(s.acquire(n))).into();
    assert!(s.try_acquire(0).is_some());
    s.add_permits(2);
    let first = waits[0].ready();
    assert!(waits[1..].iter_mut().all(Hand::is_pending));
    drop(first);
    let ones = (waits[1].ready(), waits[3].ready());
    assert!(waits[2].is_pending());
    s.add_permits(2);
    drop(ones);
    assert_eq!(waits[2].ready().count(), 4);
}

#[test]
fn permits_that_are_forgotten_make_the_semaphore_smaller() {
    let s = Semaphore::new(3);
    let (two, one) = (s.try_acquire(2).unwrap(), s.try_acquire(1).unwrap());
    let (mut all, mut next) = (Hand::parked(s.acquire(3)), Hand::parked(s.acquire(1)));
    one.forget();
    // Three permits will never be free again, so it blocks no other waiter.
    drop(two);
    assert_eq!((all.wakes(), next.wakes()), (0, 1));
    drop(next.ready());
    assert_eq!(s.available(), 2);
    s.add_permits(1);
    drop(all.ready());
    // A waiter that leaves either queue does no harm.
    drop(Hand::parked(s.acquire(4)));
    s.add_permits(1);
    assert_eq!(s.available(), 4);
}

#[test]
#[should_panic(expected = "gopark: too many permits of a Semaphore")]
fn no_more_permits_are_added_than_a_semaphore_may_have() {
    Semaphore::new(1).add_permits(usize::MAX / 4);
}

#[test]
fn permits_are_split_and_merged_and_none_is_lost() {
    let (s, other) = (Arc::new(Semaphore::new(5)), Semaphore::new(1));
    let mut owned = s.try_acquire_owned(3).unwrap();
    assert!(owned.split(4).is_none());
    let two = owned.split(2).unwrap();
    assert_eq!((owned.count(), two.count(), s.available()), (1, 2, 2));
    drop(owned);
    assert_eq!(s.available(), 3);
    let mut all = s.try_acquire_owned(1).unwrap();
    all.merge(two);
    assert_eq!((all.count(), s.available()), (3, 2));
    drop(all);
    let (mut mine, theirs) = (s.try_acquire(1).unwrap(), other.try_acquire(1).unwrap());
    let merge = std::panic::AssertUnwindSafe(|| mine.merge(theirs));
    assert!(std::panic::catch_unwind(merge).is_err());
    drop(mine);
    assert_eq!((s.available(), other.available()), (5, 1));
}

#[test]
fn owned_permits_limit_what_runs_elsewhere() {
    on_procs(2, async {
        let (limit, running) = (Arc::new(Semaphore::new(2)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..100 {
            let (permit, running) = (limit.acquire_owned(1).await, running.clone());
            gopark::go(async move {
                assert!(running.fetch_add(1, Ordering::SeqCst) < 2);
                gosched().await;
                running.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            });
        }
        limit.acquire(2).await.forget();
        assert_eq!(running.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_thread_blocks_until_it_has_permits() {
    no_hang(|| {
        let s = Semaphore::new(1);
        std::thread::scope(|scope| {
            let all = s.acquire_blocking(1);
            let other = scope.spawn(|| s.acquire_blocking(1).count());
            drop(all);
            assert_eq!(other.join().unwrap(), 1);
        });
    });
}

/// A bug: each change of the size moved every waiter once, under the lock. So a hundred thousand
/// waiters, each of which takes a permit and forgets it, cost ten thousand million steps.
#[test]
fn a_change_of_the_size_leaves_the_waiters_alone_that_it_does_not_concern() {
    const WAITERS: usize = 100_000;
    within(Duration::from_secs(30), || {
        let cx = &mut Cx::from_waker(Waker::noop());
        // All change queues, forth and back. One more never gets what it waits for.
        let s = Semaphore::new(0);
        let huge = Hand::parked(s.acquire(WAITERS));
        let mut waits: Vec<_> = (0..WAITERS).map(|_| Box::pin(s.acquire(1))).collect();
        assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(cx).is_pending()));
        drop(huge);
        for wait in &mut waits {
            s.add_permits(1);
            match wait.as_mut().poll(cx) {
                Poll::Ready(permit) => permit.forget(),
                Poll::Pending => panic!("pending"),
            }
        }
        // None changes its queue.
        let s = Semaphore::new(WAITERS + 1);
        let mut huge = Hand::parked(s.acquire(2 * WAITERS));
        let mut held = s.try_acquire(WAITERS + 1).unwrap();
        let mut waits: Vec<_> = (0..WAITERS).map(|_| Box::pin(s.acquire(1))).collect();
        assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(cx).is_pending()));
        for _ in 0..WAITERS {
            held.split(1).unwrap().forget();
        }
        drop(held);
        assert!(waits[0].as_mut().poll(cx).is_ready() && huge.is_pending());
    });
}

#[test]
fn random_changes_of_the_size_follow_the_model() {
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let mut size = dice.roll(6);
        let mut free = size;
        let s = Semaphore::new(size);
        let mut queue: VecDeque<(usize, Hand<_>)> = VecDeque::new();
        let mut oversized: VecDeque<(usize, Hand<_>)> = VecDeque::new();
        let mut permits: Vec<Permit<'_>> = Vec::new();
        for _ in 0..300 {
            match dice.roll(8) {
                0..=2 => {
                    let n = dice.roll(8);
                    let mut hand = Hand::new(s.acquire(n));
                    match hand.poll() {
                        Poll::Ready(permit) => {
                            assert!(queue.is_empty() && free >= n);
                            free -= n;
                            permits.push(permit);
                        }
                        Poll::Pending if n > size => oversized.push_back((n, hand)),
                        Poll::Pending => {
                            assert!(!queue.is_empty() || free < n);
                            queue.push_back((n, hand));
                        }
                    }
                }
                3 if !queue.is_empty() => drop(queue.remove(dice.roll(queue.len()))),
                4 if !oversized.is_empty() => drop(oversized.remove(dice.roll(oversized.len()))),
                5 if size < 8 => {
                    let n = dice.roll(3);
                    s.add_permits(n);
                    (size, free) = (size + n, free + n);
                    let (fit, rest) = oversized.drain(..).partition(|(n, _)| *n <= size);
                    let fit: VecDeque<_> = fit;
                    queue.extend(fit);
                    oversized = rest;
                }
                6 if !permits.is_empty() => {
                    let permit = permits.swap_remove(dice.roll(permits.len()));
                    size -= permit.count();
                    permit.forget();
                    let (fit, rest) = queue.drain(..).partition(|(n, _)| *n <= size);
                    let rest: VecDeque<_> = rest;
                    oversized.extend(rest);
                    queue = fit;
                }
                _ if !permits.is_empty() => {
                    let permit = permits.swap_remove(dice.roll(permits.len()));
                    free += permit.count();
                }
                _ => {}
            }
            while queue.front().is_some_and(|(n, _)| *n <= free) {
                let (n, mut hand) = queue.pop_front().unwrap();
                free -= n;
                permits.push(hand.ready());
            }
            for (_, hand) in queue.iter().chain(&oversized) {
                assert_eq!(hand.wakes(), 0, "seed {seed}");
            }
            assert_eq!(s.available(), free, "seed {seed}");
            assert_eq!(s.try_acquire(1).is_some(), queue.is_empty() && free >= 1, "seed {seed}");
        }
    }
}
