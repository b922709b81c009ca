//! The protocols of `Notify`, `Barrier`, `OnceCell`, `Monitor`, `oneshot`, `watch`, `broadcast`,
//! `JoinSet`, `AbortHandle`, `ErrGroup`, `Limiter`, of owned guards, `recv_many`, `reserve`, weak
//! ends, and a context's `send` and `sleep`. Each is tested with goroutines that give up midway,
//! and each with a bug in its use that the simulation must find.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex as Std;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use gopark::context::{Context, ContextSendError};
use gopark::sim::Config;
use gopark::sync::{Barrier, ErrGroup, Monitor, Mutex, Notify, OnceCell, RwMutex, Semaphore};
use gopark::sync::{broadcast, oneshot, watch};
use gopark::time::rate::{Limit, Limiter};
use gopark::{JoinSet, chan, go, gosched, sim, time};

use crate::planted::is_found;
use crate::protocols::{MS, check};

#[test]
fn a_notification_that_an_aborted_waiter_was_given_goes_to_the_next() {
    check(|| async {
        let shared = Arc::new((Std::new(VecDeque::new()), Notify::new(), AtomicUsize::new(0)));
        let consumers = [0, 1, 2].map(|n| {
            let shared = shared.clone();
            go(async move {
                loop {
                    let item = shared.0.lock().unwrap().pop_front();
                    match item {
                        Some(()) => _ = shared.2.fetch_add(1, Relaxed),
                        None if n == 0 => _ = time::timeout(MS, shared.1.notified()).await,
                        None => shared.1.notified().await,
                    }
                }
            })
        });
        let producers = [(); 2].map(|()| {
            let shared = shared.clone();
            go(async move {
                for _ in 0..2 {
                    shared.0.lock().unwrap().push_back(());
                    shared.1.notify_one();
                    gosched().await;
                }
            })
        });
        gosched().await;
        consumers[1].abort();
        for producer in producers {
            producer.await.unwrap();
        }
        consumers[0].abort();
        sim::wait().await;
        assert_eq!(shared.2.load(Relaxed), 4, "none waits while an item is there");
        consumers[2].abort();
    });
}

#[test]
fn a_test_before_the_call_of_notified_misses_a_notification() {
    let program = |is_wrong: bool| async move {
        let shared = Arc::new((AtomicBool::new(false), Notify::new()));
        let sets = shared.clone();
        go(async move {
            sets.0.store(true, Relaxed);
            sets.1.notify_all();
        });
        let early = shared.1.notified();
        while !shared.0.load(Relaxed) {
            gosched().await;
            if is_wrong {
                shared.1.notified().await;
                return;
            }
            if !shared.0.load(Relaxed) {
                return early.await;
            }
        }
    };
    check(|| program(false));
    is_found(&Config::new(), "[notify", || program(true));
}

#[test]
fn each_round_of_a_barrier_has_one_leader_and_all_though_one_gives_up() {
    check(|| async {
        let barrier = Arc::new((Barrier::new(3), AtomicUsize::new(0), AtomicUsize::new(0)));
        let parties = [0, 1, 2].map(|n| {
            let barrier = barrier.clone();
            go(async move {
                for round in 1..=2 {
                    barrier.1.fetch_add(1, Relaxed);
                    let result = loop {
                        let wait = barrier.0.wait();
                        if n > 0 {
                            break wait.await;
                        }
                        if let Ok(result) = time::timeout(MS, wait).await {
                            break result;
                        }
                    };
                    barrier.2.fetch_add(usize::from(result.is_leader()), Relaxed);
                    assert!(barrier.1.load(Relaxed) >= 3 * round, "all are there");
                }
            })
        });
        for party in parties {
            party.await.unwrap();
        }
        assert_eq!(barrier.2.load(Relaxed), 2);
    });
}

#[test]
fn a_barrier_for_too_few_is_found() {
    is_found(&Config::new(), "all are there", || async {
        let shared = Arc::new((Barrier::new(2), AtomicUsize::new(0)));
        for _ in 0..3 {
            let shared = shared.clone();
            go(async move {
                shared.1.fetch_add(1, Relaxed);
                shared.0.wait().await;
            });
        }
        gosched().await;
        shared.0.wait().await;
        assert_eq!(shared.1.load(Relaxed), 3, "all are there");
    });
}

#[test]
fn a_cell_is_set_once_whichever_of_its_callers_fails_or_gives_up() {
    check(|| async {
        let (cell, made) = (Arc::new(OnceCell::new()), Arc::new(AtomicUsize::new(0)));
        let callers = [0, 1, 2, 3].map(|n| {
            let (cell, made) = (cell.clone(), made.clone());
            go(async move {
                let make = async {
                    time::sleep(MS).await;
                    if n == 1 {
                        return Err("fails");
                    }
                    made.fetch_add(1, Relaxed);
                    Ok(n)
                };
                match time::timeout(MS * (n + 1), cell.get_or_try_init(|| make)).await {
                    Ok(Ok(value)) => assert_eq!(Some(value), cell.get()),
                    Ok(Err(_)) => assert_eq!(n, 1),
                    Err(_) => {}
                }
            })
        });
        callers[3].abort();
        for caller in callers {
            let _ = caller.await;
        }
        let value = *cell.get_or_init(|| async { made.fetch_add(1, Relaxed) as u32 + 7 }).await;
        assert_eq!((made.load(Relaxed), cell.set(9)), (1, Err(9)));
        assert_eq!(cell.get(), Some(&value));
    });
}

#[test]
fn a_value_that_is_made_before_it_is_known_to_be_wanted_is_found() {
    is_found(&Config::new(), "made once", || async {
        let (cell, made) = (Arc::new(OnceCell::new()), Arc::new(AtomicUsize::new(0)));
        let callers = [(); 2].map(|()| {
            let (cell, made) = (cell.clone(), made.clone());
            go(async move {
                if cell.get().is_none() {
                    gosched().await;
                    let value = made.fetch_add(1, Relaxed);
                    cell.set(value).ok();
                }
            })
        });
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(made.load(Relaxed), 1, "made once");
    });
}

#[test]
fn a_monitors_queue_hands_on_each_item_once_though_a_consumer_gives_up() {
    check(|| async {
        let queue = Arc::new(Monitor::new((VecDeque::new(), false)));
        let taken = Arc::new(Std::new(Vec::new()));
        let consumers = [0, 1, 2].map(|n| {
            let (queue, taken) = (queue.clone(), taken.clone());
            go(async move {
                loop {
                    let wait = async {
                        queue
                            .lock()
                            .await
                            .wait_while(|(items, end)| items.is_empty() && !*end)
                            .await
                    };
                    let waited =
                        if n == 0 { time::timeout(MS, wait).await.ok() } else { Some(wait.await) };
                    let Some(mut guard) = waited else { break };
                    let Some(item) = guard.0.pop_front() else { break };
                    taken.lock().unwrap().push(item);
                }
            })
        });
        for item in 0..5 {
            queue.lock().await.0.push_back(item);
            queue.signal();
            if item == 2 {
                consumers[2].abort();
            }
        }
        queue.lock().await.1 = true;
        queue.broadcast();
        for consumer in consumers {
            let _ = consumer.await;
        }
        let (left, _) = Arc::into_inner(queue).expect("all have ended").into_inner();
        let mut all = taken.lock().unwrap().clone();
        all.extend(left);
        all.sort_unstable();
        // An aborted goroutine could have dropped an item that it had taken out. It awaits nothing
        // in between, so it has not.
        assert_eq!(all, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_monitors_condition_that_is_tested_once_is_found() {
    is_found(&Config::new(), "an item", || async {
        let queue = Arc::new(Monitor::new(0));
        let consumers = [(); 2].map(|()| {
            let queue = queue.clone();
            go(async move {
                let mut guard = queue.lock().await;
                if *guard == 0 {
                    guard = guard.wait().await;
                }
                assert!(*guard > 0, "an item");
                *guard -= 1;
            })
        });
        for _ in 0..2 {
            *queue.lock().await += 1;
            queue.broadcast();
        }
        for consumer in consumers {
            consumer.await.map_err(|error| std::panic::resume_unwind(error.into_panic())).unwrap();
        }
    });
}

#[test]
fn a_oneshots_value_is_received_or_given_back() {
    check(|| async {
        let (tx, mut rx) = oneshot::channel();
        let (mut watched, gone) = oneshot::channel::<()>();
        let sender = go(async move {
            time::sleep(MS).await;
            tx.send(7)
        });
        let closes = go(async move { watched.closed().await });
        let received = match time::timeout(MS, &mut rx).await {
            Ok(received) => received.ok(),
            Err(_) => {
                gosched().await;
                // A value that arrived meanwhile is still there.
                time::timeout(MS, &mut rx).await.ok().and_then(Result::ok)
            }
        };
        drop((rx, gone));
        let sent = sender.await.unwrap();
        closes.await.unwrap();
        // A value that was sent in time, but never looked at, is dropped with the receiver.
        assert!(received.is_none() || sent.is_ok());
        assert!(sent.is_ok() || sent == Err(7));
    });
}

#[test]
fn a_oneshot_whose_receiver_gives_up_is_found() {
    is_found(&Config::new(), "received", || async {
        let (tx, rx) = oneshot::channel();
        let sender = go(async move {
            time::sleep(MS).await;
            tx.send(7).is_ok()
        });
        let received = time::timeout(MS, rx).await;
        let sent = sender.await.unwrap();
        assert_eq!(sent, received.is_ok(), "received");
        assert!(sent, "received");
    });
}

#[test]
fn each_receiver_of_a_watch_sees_the_last_value_and_goes_forward() {
    check(|| async {
        let (tx, rx) = watch::channel(0);
        let receivers = [0, 1, 2].map(|n| {
            let mut rx = rx.clone();
            go(async move {
                let mut seen = 0;
                loop {
                    let changed = match n {
                        0 => match time::timeout(MS, rx.changed()).await {
                            Ok(changed) => changed,
                            Err(_) => continue,
                        },
                        1 => rx.wait_for(|value| *value > seen).await.map(drop),
                        _ => rx.changed().await,
                    };
                    let now = *rx.borrow_and_update();
                    assert!(now >= seen, "forward");
                    seen = now;
                    if changed.is_err() {
                        return seen;
                    }
                }
            })
        });
        drop(rx);
        for value in 1..=3 {
            tx.send(value).unwrap();
            gosched().await;
        }
        drop(tx);
        for receiver in receivers {
            assert_eq!(receiver.await.unwrap(), 3);
        }
    });
}

#[test]
fn a_watch_that_is_taken_for_a_queue_is_found() {
    is_found(&Config::new(), "each of them", || async {
        let (tx, mut rx) = watch::channel(0);
        go(async move {
            for value in 1..=3 {
                tx.send(value).unwrap();
                gosched().await;
            }
        });
        let mut sum = 0;
        while rx.changed().await.is_ok() {
            gosched().await;
            sum += *rx.borrow_and_update();
        }
        assert_eq!(sum, 6, "each of them");
    });
}

#[test]
fn each_receiver_of_a_broadcast_gets_what_it_does_not_miss_in_order() {
    check(|| async {
        let (tx, rx) = broadcast::bounded(2);
        let receivers = [0, 1].map(|n| {
            let mut rx = tx.subscribe();
            go(async move {
                let mut next = 0;
                loop {
                    let received = if n == 0 {
                        time::timeout(MS, rx.recv()).await
                    } else {
                        Ok(rx.recv().await)
                    };
                    match received {
                        Err(_) => {}
                        Ok(Ok(value)) => {
                            assert_eq!(value, next);
                            next += 1;
                        }
                        Ok(Err(broadcast::RecvError::Lagged(missed))) => next += missed,
                        Ok(Err(_)) => return next,
                    }
                }
            })
        });
        drop(rx);
        for value in 0..5 {
            tx.send(value).unwrap();
            if value % 2 == 1 {
                gosched().await;
            }
        }
        drop(tx);
        for receiver in receivers {
            assert_eq!(receiver.await.unwrap(), 5);
        }
    });
}

#[test]
fn a_broadcast_that_misses_values_is_found() {
    is_found(&Config::new(), "all of them", || async {
        let (tx, mut rx) = broadcast::bounded(2);
        let sender = go(async move {
            for value in 0..4 {
                tx.send(value).ok();
                gosched().await;
            }
        });
        for _ in 0..4 {
            assert!(rx.recv().await.is_ok(), "all of them");
        }
        sender.await.unwrap();
    });
}

#[test]
fn a_set_gives_each_result_once_though_a_join_is_given_up() {
    check(|| async {
        let mut set = JoinSet::new();
        let aborts: Vec<_> = (0..4u32)
            .map(|n| {
                set.go(async move {
                    time::sleep(MS * (n % 2)).await;
                    n
                })
            })
            .collect();
        gosched().await;
        aborts[2].abort();
        let (mut results, mut aborted) = (Vec::new(), 0);
        while !set.is_empty() {
            match time::timeout(MS / 2, set.join_next()).await {
                Ok(Some(Ok(n))) => results.push(n),
                Ok(Some(Err(error))) => aborted += usize::from(error.is_aborted()),
                Ok(None) => panic!("there is one"),
                Err(_) => {}
            }
        }
        results.sort_unstable();
        assert!(results == [0, 1, 2, 3] || results == [0, 1, 3] && aborted == 1, "{results:?}");
        aborts.iter().for_each(gopark::AbortHandle::abort);
        assert!(set.join_next().await.is_none());
    });
}

#[test]
fn a_set_whose_order_is_taken_for_that_of_the_starts_is_found() {
    is_found(&Config::new(), "in order", || async {
        let mut set = JoinSet::new();
        for n in 0..2 {
            set.go(async move {
                gosched().await;
                n
            });
        }
        assert_eq!(set.join_all().await, [0, 1], "in order");
    });
}

/// Counts its drops.
struct Drops(Arc<AtomicUsize>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_remote_abort_at_any_point_drops_the_goroutine_once() {
    check(|| async {
        let drops = Arc::new(AtomicUsize::new(0));
        let (tx, rx) = chan::unbuffered();
        let counts = Drops(drops.clone());
        let goroutine = go(async move {
            let _counts = counts;
            tx.send(1).await.ok();
            time::sleep(MS).await;
            tx.send(2).await.ok();
        });
        let aborts = [0, 1].map(|n| {
            let handle = goroutine.abort_handle();
            go(async move {
                time::sleep(MS * n).await;
                handle.abort();
                handle.abort();
            })
        });
        let receiver = go(async move { while rx.recv().await.is_some() {} });
        let ended = goroutine.await;
        assert_eq!(drops.load(Relaxed), 1);
        assert!(ended.is_ok() || ended.unwrap_err().is_aborted());
        for abort in aborts {
            abort.await.unwrap();
        }
        receiver.await.unwrap();
        assert_eq!(drops.load(Relaxed), 1);
    });
}

#[test]
fn an_abort_in_the_midst_of_two_steps_is_found() {
    is_found(&Config::new(), "both or none", || async {
        let steps = Arc::new(AtomicUsize::new(0));
        let takes = steps.clone();
        let goroutine = go(async move {
            takes.fetch_add(1, Relaxed);
            gosched().await;
            takes.fetch_add(1, Relaxed);
        });
        gosched().await;
        goroutine.abort_handle().abort();
        let _ = goroutine.await;
        assert_ne!(steps.load(Relaxed), 1, "both or none");
    });
}

#[test]
fn a_group_refuses_what_is_beyond_its_limit_and_waits_for_the_rest() {
    check(|| async {
        let (group, ctx) = ErrGroup::<usize>::with_context(&Context::background());
        group.set_limit(2);
        let inside = Arc::new(AtomicUsize::new(0));
        let mut begun = 0;
        for n in 0..4 {
            let (inside, ctx) = (inside.clone(), ctx.clone());
            let one = async move {
                assert!(inside.fetch_add(1, Relaxed) < 2, "no more than two");
                let slept = ctx.sleep(MS).await; // asleep: so that a member is inside for a while
                inside.fetch_sub(1, Relaxed);
                if n == 1 { Err(n) } else { slept.map_err(|_| 100 + n) }
            };
            if n % 2 == 0 {
                begun += usize::from(time::timeout(MS / 2, group.go(one)).await.is_ok());
            } else {
                begun += usize::from(group.try_go(one));
            }
        }
        let result = group.wait().await;
        assert_eq!(inside.load(Relaxed), 0);
        assert!(begun >= 1 && ctx.err().is_some());
        assert!(result.is_ok() || result.unwrap_err() != 100);
    });
}

#[test]
fn a_groups_first_error_that_is_taken_for_the_least_is_found() {
    is_found(&Config::new(), "the least", || async {
        let group = ErrGroup::<usize>::new();
        for n in 0..2 {
            group
                .go(async move {
                    gosched().await;
                    Err(n)
                })
                .await;
        }
        assert_eq!(group.wait().await, Err(0), "the least");
    });
}

#[test]
fn a_limiter_lets_no_more_through_than_its_limit() {
    check(|| async {
        let limiter = Arc::new(Limiter::new(Limit::every(MS), 2));
        let (begin, passed) = (time::now(), Arc::new(AtomicUsize::new(0)));
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let (limiter, passed) = (limiter.clone(), passed.clone());
                go(async move {
                    let wait = limiter.wait(1 + n % 2);
                    let waited = if n < 2 { time::timeout(MS, wait).await } else { Ok(wait.await) };
                    if let Ok(waited) = waited {
                        waited.unwrap();
                        let passed = passed.fetch_add(1 + n % 2, Relaxed) + 1 + n % 2;
                        let most = 2 + (time::now() - begin).as_micros() / 1000;
                        assert!(passed as u128 <= most, "{passed} of {most}");
                    }
                })
            })
            .collect();
        gosched().await;
        waiters[4].abort();
        for waiter in waiters {
            let _ = waiter.await;
        }
        time::sleep(MS * 10).await;
        assert!(limiter.allow(2) && !limiter.allow(1), "the burst is there again, and no more");
    });
}

#[test]
fn a_reservation_of_tokens_is_waited_for_or_given_back() {
    check(|| async {
        let (limiter, begin) = (Arc::new(Limiter::new(Limit::every(MS), 1)), time::now());
        let users = [0, 1, 2].map(|n| {
            let limiter = limiter.clone();
            go(async move {
                let reservation = limiter.reserve(1);
                assert!(reservation.is_ok());
                gosched().await;
                if n == 0 {
                    return reservation.cancel();
                }
                time::sleep(reservation.delay()).await;
            })
        });
        for user in users {
            user.await.unwrap();
        }
        let waited = time::now() - begin;
        assert!(waited <= MS * 2, "{waited:?} for three tokens, one of them at once");
        time::sleep(MS * 2).await;
        assert!(limiter.allow(1) && !limiter.allow(1), "the burst is there again, and no more");
    });
}

#[test]
fn a_look_at_a_limiters_tokens_before_they_are_taken_is_found() {
    is_found(&Config::new(), "there were tokens", || async {
        let limiter = Arc::new(Limiter::new(Limit::every(MS), 1));
        let takers = [(); 2].map(|()| {
            let limiter = limiter.clone();
            go(async move {
                if limiter.tokens() >= 1.0 {
                    gosched().await;
                    assert!(limiter.allow(1), "there were tokens");
                }
            })
        });
        for taker in takers {
            taker.await.map_err(|error| std::panic::resume_unwind(error.into_panic())).unwrap();
        }
    });
}

#[test]
fn what_is_owned_is_given_back_by_whoever_gives_up() {
    check(|| async {
        let (lock, rw, permits) =
            (Arc::new(Mutex::new(0)), Arc::new(RwMutex::new(0)), Arc::new(Semaphore::new(3)));
        let goroutines: Vec<_> = (0..4)
            .map(|n| {
                let (lock, rw, permits) = (lock.clone(), rw.clone(), permits.clone());
                go(async move {
                    let all = async {
                        let mut taken = permits.acquire_owned(2).await;
                        let part = taken.split(1).expect("there are two");
                        let mut guard = lock.lock_owned().await;
                        *guard += 1;
                        if n % 2 == 0 {
                            *rw.lock_owned().await += 1;
                        } else {
                            assert!(*rw.rlock_owned().await <= 2);
                        }
                        // It may go to another goroutine.
                        go(async move {
                            gosched().await;
                            drop(guard);
                        });
                        taken.merge(part);
                        time::sleep(MS).await;
                        taken
                    };
                    drop(if n == 0 { time::timeout(MS, all).await.ok() } else { Some(all.await) })
                })
            })
            .collect();
        gosched().await;
        goroutines[3].abort();
        for goroutine in goroutines {
            let _ = goroutine.await;
        }
        sim::wait().await;
        assert!(lock.try_lock().is_some() && rw.try_lock().is_some());
        assert_eq!(permits.available(), 3);
    });
}

#[test]
fn a_permit_that_is_forgotten_by_one_that_fails_is_found() {
    is_found(&Config::new(), "[semaphore", || async {
        let (permits, fails) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicBool::new(false)));
        let sets = fails.clone();
        go(async move { sets.store(true, Relaxed) });
        let permit = permits.acquire_owned(1).await;
        gosched().await;
        if fails.load(Relaxed) {
            permit.forget();
        }
        drop(permits.acquire_owned(1).await);
    });
}

#[test]
fn receives_of_many_lose_nothing_and_keep_the_order() {
    check(|| async {
        let (tx, rx) = chan::bounded(3);
        let receivers = [0, 1, 2].map(|n| {
            let rx = rx.clone();
            go(async move {
                let mut values = Vec::new();
                loop {
                    let many = rx.recv_many(&mut values, 2);
                    let received =
                        if n == 0 { time::timeout(MS, many).await } else { Ok(many.await) };
                    match received {
                        Ok(0) => return values,
                        Ok(count) => assert!(count <= 2),
                        Err(_) => gosched().await,
                    }
                }
            })
        });
        drop(rx);
        for value in 0..7 {
            tx.send(value).await.unwrap();
        }
        drop(tx);
        let mut all = Vec::new();
        for receiver in receivers {
            let values: Vec<usize> = receiver.await.unwrap();
            assert!(values.is_sorted(), "{values:?}");
            all.extend(values);
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
    });
}

#[test]
fn a_receive_of_many_that_is_taken_for_one_of_all_is_found() {
    is_found(&Config::new(), "all of them", || async {
        let (tx, rx) = chan::bounded(3);
        go(async move {
            for value in 0..3 {
                tx.send(value).await.unwrap();
            }
        });
        let mut values = Vec::new();
        gosched().await;
        rx.recv_many(&mut values, 3).await;
        assert_eq!(values, [0, 1, 2], "all of them");
    });
}

#[test]
fn a_reserved_place_is_filled_or_goes_to_the_next() {
    check(|| async {
        let (tx, rx) = chan::bounded(2);
        let senders: Vec<_> = (0..4)
            .map(|n| {
                let tx = tx.clone();
                go(async move {
                    let place = if n == 0 {
                        time::timeout(MS, tx.reserve()).await.ok()
                    } else {
                        Some(tx.reserve().await)
                    };
                    let Some(place) = place else { return 0 };
                    gosched().await;
                    match (n, place) {
                        // It has a place, and gives it back.
                        (1, _) => 0,
                        (_, place) => place.unwrap().send(n).map_or(0, |()| 1),
                    }
                })
            })
            .collect();
        let receiver = go(async move {
            let mut received = Vec::new();
            while let Some(n) = rx.recv().await {
                received.push(n);
            }
            received
        });
        gosched().await;
        senders[3].abort();
        drop(tx);
        let mut sent = 0;
        for sender in senders {
            // A value that an aborted goroutine sent is received, or was not sent.
            sent += sender.await.unwrap_or(0);
        }
        let received = receiver.await.unwrap();
        let others = received.iter().filter(|n| **n != 3).count();
        assert!(others <= sent && sent <= received.len(), "{sent} of {received:?}");
        assert!(received.contains(&2) && !received.contains(&1));
    });
}

#[test]
fn a_place_that_is_kept_by_one_that_waits_for_another_is_found() {
    is_found(&Config::new(), "all goroutines are asleep", || async {
        let (tx, rx) = chan::bounded(2);
        let both = |tx: chan::Sender<u8>| async move {
            let (first, second) = (tx.reserve().await, tx.reserve().await);
            drop((first, second));
        };
        let holders = [(); 2].map(|()| go(both(tx.clone())));
        for holder in holders {
            holder.await.unwrap();
        }
        drop((tx, rx));
    });
}

#[test]
fn a_weak_end_sends_as_long_as_there_is_a_strong_one() {
    check(|| async {
        let (tx, rx) = chan::bounded(1);
        let senders = [0, 1].map(|n| {
            let weak = tx.downgrade();
            go(async move {
                let mut sent = 0;
                for _ in 0..2 {
                    gosched().await;
                    let Some(tx) = weak.upgrade() else { break };
                    let send = tx.send(n);
                    let done = if n == 0 { time::timeout(MS, send).await } else { Ok(send.await) };
                    sent += usize::from(done == Ok(Ok(())));
                }
                assert!(sent <= 2);
                sent
            })
        });
        go(async move {
            gosched().await;
            drop(tx);
        });
        let mut received = 0;
        while rx.recv().await.is_some() {
            received += 1;
        }
        let mut sent = 0;
        for sender in senders {
            sent += sender.await.unwrap();
        }
        assert_eq!(sent, received);
    });
}

#[test]
fn a_weak_end_that_must_be_there_is_found() {
    is_found(&Config::new(), "a sender", || async {
        let (tx, rx) = chan::bounded(2);
        let weak = tx.downgrade();
        let late = go(async move { weak.upgrade().expect("a sender").send(2).await.unwrap() });
        tx.send(1).await.unwrap();
        drop(tx);
        while rx.recv().await.is_some() {}
        late.await.map_err(|error| std::panic::resume_unwind(error.into_panic())).unwrap();
    });
}

#[test]
fn a_contexts_send_sends_or_gives_the_value_back() {
    check(|| async {
        let (root, cancel) = Context::background().with_timeout(MS * 2);
        let (tx, rx) = chan::unbuffered();
        let senders: Vec<_> = (0..3)
            .map(|n| {
                let (ctx, tx) = (root.clone(), tx.clone());
                go(async move {
                    ctx.sleep(MS * (n % 2)).await.ok(); // asleep: the context may end meanwhile
                    match ctx.send(&tx, n).await {
                        Ok(()) => true,
                        Err(
                            ContextSendError::Context(_, value) | ContextSendError::Closed(value),
                        ) => {
                            assert_eq!(value, n);
                            false
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                })
            })
            .collect();
        drop(tx);
        let receiver = go(async move {
            let mut received = Vec::new();
            let mut first = pin!(rx.recv());
            received.extend((&mut first).await);
            time::sleep(MS).await;
            while let Some(value) = rx.recv().await {
                received.push(value);
            }
            received
        });
        gosched().await;
        cancel.cancel();
        let mut sent = Vec::new();
        for (n, sender) in senders.into_iter().enumerate() {
            sent.extend(sender.await.unwrap().then_some(n as u32));
        }
        let mut received = receiver.await.unwrap();
        received.sort_unstable();
        assert_eq!(received, sent);
    });
}

#[test]
fn a_contexts_send_whose_end_is_forgotten_is_found() {
    is_found(&Config::new(), "it was sent", || async {
        let (ctx, cancel) = Context::background().with_timeout(Duration::from_secs(1));
        let (tx, rx) = chan::bounded(1);
        let sender = go(async move { ctx.send(&tx, 1).await.expect("it was sent") });
        go(async move { cancel.cancel() });
        while rx.recv().await.is_some() {}
        sender.await.map_err(|error| std::panic::resume_unwind(error.into_panic())).unwrap();
    });
}
