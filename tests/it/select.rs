//! `select!` and `Select`: the SEL rows.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures_lite::future::block_on as block_thread_on;
use gopark::chan::{self, Receiver, SendError, Sender, TryRecvError, TrySendError};
use gopark::select::{Select, fut};
use gopark::sync::{
    Cond, ErrGroup, Monitor, Mutex, Once, OnceCell, OnceValue, SingleFlight, WaitGroup, watch,
};
use gopark::{JoinSet, Runtime, go, gosched, select, unblock};

use crate::util::{Wakes, no_hang};

/// Ten sigma around an even share.
fn even(count: usize, rounds: usize, shares: usize) {
    let (n, p) = (rounds as f64, 1.0 / shares as f64);
    let off = (count as f64 - n * p).abs() / (n * p * (1.0 - p)).sqrt();
    assert!(off < 10.0, "{count} of {rounds} is {off:.1} sigma from 1/{shares}");
}

#[test]
fn without_cases_it_waits_for_ever_sel01() {
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut empty = pin!(async {
        select! {}
    });
    let mut nils = pin!(async {
        select! { _ = Receiver::<()>::nil().recv() => {}, _ = Sender::nil().send(1) => {} }
    });
    let mut off = pin!(async {
        let (_tx, rx) = chan::bounded::<()>(1);
        rx.try_recv().unwrap_err();
        select! { _ = rx.recv(), if false => {} }
    });
    for _ in 0..3 {
        assert!(empty.as_mut().poll(&mut cx).is_pending());
        assert!(nils.as_mut().poll(&mut cx).is_pending());
        assert!(off.as_mut().poll(&mut cx).is_pending());
    }
    assert!(pin!(Select::<()>::new().wait()).poll(&mut cx).is_pending());
    assert_eq!(wakes.count(), 0);
}

#[test]
fn one_case_is_the_bare_operation_and_with_default_a_try_sel01() {
    block_thread_on(async {
        let (tx, rx) = chan::bounded(1);
        select! { r = tx.send(5) => assert_eq!(r, Ok(())) }
        select! { r = tx.send(6) => unreachable!("full, yet {r:?}"), default => {} }
        select! { v = rx.recv() => assert_eq!(v, Some(5)) }
        select! { v = rx.recv() => unreachable!("empty, yet {v:?}"), default => {} }
        tx.close();
        select! { v = rx.recv() => assert_eq!(v, None), default => unreachable!("closed is ready") }
    });
}

#[test]
fn each_ready_case_is_as_likely_sel02() {
    const ROUNDS: usize = 20_000;
    let full = |n: usize| {
        let (tx, rx) = chan::bounded(n);
        (0..n).for_each(|i| tx.try_send(i).unwrap());
        (tx, rx)
    };
    let (_e_tx, e) = chan::unbuffered::<usize>();
    let ((_a_tx, a), (_b_tx, b), (_c_tx, c)) = (full(ROUNDS), full(ROUNDS), full(ROUNDS));
    let mut counts = [0; 3];
    for _ in 0..ROUNDS {
        // With gaps: cases that are not ready have no weight.
        let won = block_thread_on(async {
            select! {
                _ = e.recv() => unreachable!(),
                _ = e.recv() => unreachable!(),
                _ = a.recv() => 0,
                _ = b.recv() => 1,
                _ = e.recv() => unreachable!(),
                _ = c.recv() => 2,
            }
        });
        counts[won] += 1;
    }
    counts.into_iter().for_each(|count| even(count, ROUNDS, 3));
}

#[test]
fn each_of_a_hundred_ready_cases_is_as_likely_sel02() {
    const ROUNDS: usize = 20_000;
    let channels: Vec<_> = (0..100).map(|_| chan::unbuffered::<()>()).collect();
    channels.iter().for_each(|(tx, _)| assert!(tx.close()));
    let mut counts = [0; 100];
    for _ in 0..ROUNDS {
        let mut select = Select::new();
        for (i, (_, rx)) in channels.iter().enumerate() {
            select = select.recv(rx, move |_| i);
        }
        counts[select.try_now().expect("a closed channel is ready")] += 1;
    }
    counts.into_iter().for_each(|count| even(count, ROUNDS, 100));
}

#[test]
fn each_ready_one_of_many_cases_is_as_likely_whatever_it_is_sel02() {
    const ROUNDS: usize = 20_000;
    let (empty_tx, empty) = chan::unbuffered::<()>();
    let (closed_tx, closed) = chan::unbuffered::<()>();
    assert!(closed_tx.close());
    let mut counts = [0; 3];
    let mut polls = 0;
    for _ in 0..ROUNDS {
        let mut polled = false;
        let won = select! {
            _ = empty.recv() => unreachable!(),
            _ = closed.recv(), if false => unreachable!("switched off"),
            _ = closed.recv() => 0,
            _ = fut(async {}), if false => unreachable!("switched off"),
            _ = fut(async {}) => 1,
            _ = empty.recv() => unreachable!(),
            _ = empty_tx.send(()) => unreachable!(),
            r = closed_tx.send(()) => { assert!(r.is_err()); 2 }
            _ = fut(std::future::poll_fn(|_| {
                assert!(!std::mem::replace(&mut polled, true), "once is enough");
                polls += 1;
                std::task::Poll::<()>::Pending
            })) => unreachable!(),
            _ = empty.recv() => unreachable!(),
            default => unreachable!("some are ready"),
        };
        counts[won] += 1;
    }
    counts.into_iter().for_each(|count| even(count, ROUNDS, 3));
    // It comes before the first of three in one of four orders.
    even(polls, ROUNDS, 4);
}

#[test]
fn a_channel_listed_twice_has_two_shares_and_closed_counts_as_ready_sel02_sel13_sel14() {
    const ROUNDS: usize = 20_000;
    let (closed_tx, closed) = chan::unbuffered::<()>();
    closed_tx.close();
    let (tx, _rx) = chan::unbuffered::<u8>();
    tx.close();
    let mut counts = [0; 3];
    for _ in 0..ROUNDS {
        let won = select! {
            v = closed.recv() => { assert_eq!(v, None); 0 }
            v = closed.recv() => { assert_eq!(v, None); 1 }
            r = tx.send(9) => { assert_eq!(r, Err(SendError(9))); 2 }
            default => unreachable!("closed is ready"),
        };
        counts[won] += 1;
    }
    counts.into_iter().for_each(|count| even(count, ROUNDS, 3));
}

#[test]
fn biased_takes_the_first_ready_case() {
    let (tx, rx) = chan::bounded(8);
    (0..8).for_each(|i| tx.try_send(i).unwrap());
    for i in 0..8 {
        select! {
            biased;
            _ = Receiver::<()>::nil().recv() => unreachable!(),
            v = rx.recv() => assert_eq!(v, Some(i)),
            _ = rx.recv() => unreachable!("second in order"),
            default => unreachable!(),
        }
    }
}

#[test]
fn biased_takes_the_first_ready_one_of_many_cases() {
    let (tx, rx) = chan::unbuffered::<()>();
    let (_empty_tx, empty) = chan::unbuffered::<()>();
    assert!(tx.close());
    for _ in 0..200 {
        let won = select! {
            biased;
            _ = empty.recv() => unreachable!(),
            _ = rx.recv() => 1,
            _ = rx.recv() => 2,
            _ = rx.recv() => 3,
            _ = rx.recv() => 4,
            _ = rx.recv() => 5,
            _ = rx.recv() => 6,
            _ = rx.recv() => 7,
            _ = rx.recv() => 8,
            _ = rx.recv() => 9,
            default => unreachable!(),
        };
        assert_eq!(won, 1);
    }
}

#[test]
fn default_runs_if_nothing_is_ready_and_never_waits_or_gives_way_sel03() {
    // On a plain thread, which no event could wake.
    let (tx, rx) = chan::bounded(1);
    let look = || select! { v = rx.recv() => v, default => Some(-1) };
    let offer = |v| select! { sent = tx.send(v) => sent.is_ok(), default => false };
    assert_eq!(look(), Some(-1));
    assert!(offer(7) && !offer(8), "there is room for one");
    assert_eq!((look(), look()), (Some(7), Some(-1)));
    assert!(offer(9));
    assert!(tx.close());
    assert_eq!((look(), look()), (Some(9), None), "a closed channel is ready");

    // Nor in a goroutine, however often nothing is ready: it reaches the end within one poll.
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    rt.block_on(async {
        let (tx, rx) = chan::unbuffered::<()>();
        let mut looks = pin!(async {
            for _ in 0..1000 {
                select! {
                    _ = rx.recv() => unreachable!(),
                    _ = tx.send(()) => unreachable!(),
                    default => {}
                }
            }
        });
        assert!(poll_fn(|cx| Poll::Ready(looks.as_mut().poll(cx))).await.is_ready());
    });
}

#[test]
fn nothing_falls_between_the_look_and_the_wait_sel05() {
    no_hang(|| {
        const N: usize = 20_000;
        let rt = Runtime::builder().gomaxprocs(2).build().unwrap();
        rt.block_on(async {
            let ((a_tx, a), (b_tx, b)) = (chan::unbuffered(), chan::unbuffered());
            let sender = go(async move {
                for i in 0..N {
                    // Each value is sent only after the one before was received: a lost value is a
                    // hang.
                    if i % 2 == 0 { a_tx.send(i).await } else { b_tx.send(i).await }.unwrap();
                }
            });
            for i in 0..N {
                let got = select! { v = a.recv() => v, v = b.recv() => v, v = a.recv() => v };
                assert_eq!(got, Some(i));
            }
            sender.await.unwrap();
        });
    });
}

#[test]
fn default_runs_only_if_at_no_moment_a_case_was_ready_sel04() {
    no_hang(|| {
        Runtime::builder().gomaxprocs(2).build().unwrap().block_on(async {
            for _ in 0..5_000 {
                let (a_tx, a) = chan::bounded::<i32>(1);
                let (b_tx, b) = chan::bounded::<i32>(1);
                let done = AtomicUsize::new(0);
                a_tx.try_send(1).unwrap();
                let (b_tx, a2) = (b_tx.clone(), a.clone());
                let mover = go(async move {
                    // At every moment one of the two holds a value.
                    b_tx.try_send(1).unwrap();
                    a2.try_recv()
                });
                select! {
                    _ = a.recv() => { done.fetch_add(1, Ordering::Relaxed); }
                    _ = b.recv() => { done.fetch_add(1, Ordering::Relaxed); }
                    default => unreachable!("one was ready at every moment"),
                }
                let _ = mover.await.unwrap();
                assert_eq!(done.into_inner(), 1);
            }
        });
    });
}

#[test]
fn a_value_that_moves_while_a_case_is_polled_is_found_sel04() {
    let ((a_tx, a), (b_tx, b), (_never_tx, never)) =
        (chan::bounded(1), chan::bounded(1), chan::unbuffered::<()>());
    // After both were checked, and before either is tried. At every moment one of the two holds the
    // value.
    let moves = |from: &Receiver<i32>, to: &Sender<i32>| {
        to.try_send(1).unwrap();
        from.try_recv().unwrap();
        Poll::<()>::Pending
    };
    a_tx.try_send(1).unwrap();
    select! {
        biased;
        _ = fut(std::future::poll_fn(|_| moves(&a, &b_tx))) => unreachable!(),
        _ = a.recv() => unreachable!("it has moved on"),
        v = b.recv() => assert_eq!(v, Some(1)),
        default => unreachable!("one of two was ready at every moment"),
    }
    a_tx.try_send(1).unwrap();
    select! {
        biased;
        _ = fut(std::future::poll_fn(|_| moves(&a, &b_tx))) => unreachable!(),
        _ = a.recv() => unreachable!("it has moved on"),
        v = b.recv() => assert_eq!(v, Some(1)),
        _ = never.recv() => unreachable!("no sender"),
        default => unreachable!("one of three was ready at every moment"),
    }
}

#[test]
fn small_and_large_selects_lock_in_one_order() {
    no_hang(|| {
        let channels: Vec<_> = (0..17).map(|_| chan::unbuffered::<()>()).collect();
        let look = |count: usize| {
            for _ in 0..5_000 {
                let select = channels[..count]
                    .iter()
                    .fold(Select::new(), |select, (_, rx)| select.recv(rx, |_| ()));
                assert!(select.try_now().is_none(), "no sender");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| look(17));
            scope.spawn(|| look(16));
        });
    });
}

#[test]
fn exactly_one_case_takes_effect_sel06() {
    no_hang(|| {
        Runtime::builder().gomaxprocs(2).build().unwrap().block_on(async {
            const VALUES: usize = 5_000;
            // Program: double select. One sender selects over four channels, four muxes, one
            // collector.
            let channels: Vec<_> = (0..4).map(|_| chan::unbuffered::<usize>()).collect();
            let (out_tx, out) = chan::unbuffered();
            for (_, rx) in &channels {
                let (rx, out) = (rx.clone(), out_tx.clone());
                go(async move {
                    while let Some(v) = rx.recv().await {
                        out.send(v).await.unwrap();
                    }
                });
            }
            drop(out_tx);
            let txs: Vec<_> = channels.into_iter().map(|(tx, _)| tx).collect();
            go(async move {
                for v in 0..VALUES {
                    select! {
                        r = txs[0].send(v) => r.unwrap(),
                        r = txs[1].send(v) => r.unwrap(),
                        r = txs[2].send(v) => r.unwrap(),
                        r = txs[3].send(v) => r.unwrap(),
                    }
                }
            });
            let mut seen = vec![false; VALUES];
            while let Some(v) = out.recv().await {
                assert!(!std::mem::replace(&mut seen[v], true), "{v} came twice");
            }
            assert!(seen.into_iter().all(|v| v));
        });
    });
}

#[test]
fn selects_that_face_each_other_pair_off_sel07() {
    no_hang(|| {
        for procs in [1, 2] {
            Runtime::builder().gomaxprocs(procs).build().unwrap().block_on(async {
                let (a_tx, a) = chan::unbuffered::<usize>();
                let (b_tx, b) = chan::unbuffered::<usize>();
                let (sent, received) =
                    (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
                let wg = WaitGroup::new();
                for i in 0..8 {
                    let (a_tx, b_tx, a, b) = (a_tx.clone(), b_tx.clone(), a.clone(), b.clone());
                    let (sent, received) = (sent.clone(), received.clone());
                    wg.go(async move {
                        for v in 0..1_000 {
                            if i % 2 == 0 {
                                select! {
                                    r = a_tx.send(v) => r.unwrap(),
                                    r = b_tx.send(v) => r.unwrap(),
                                }
                                sent.fetch_add(v, Ordering::Relaxed);
                            } else {
                                let v = select! { v = b.recv() => v, v = a.recv() => v };
                                received.fetch_add(v.unwrap(), Ordering::Relaxed);
                            }
                        }
                    });
                }
                wg.wait().await;
                assert_eq!(sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
            });
        }
    });
}

#[test]
fn a_select_never_meets_itself_but_another_one_sel08() {
    let (tx, rx) = chan::unbuffered();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let both = |v: i32| {
        let (tx, rx) = (tx.clone(), rx.clone());
        async move {
            select! { r = tx.send(v) => { r.unwrap(); None } , got = rx.recv() => got }
        }
    };
    let mut one = pin!(both(1));
    for _ in 0..3 {
        assert!(one.as_mut().poll(&mut cx).is_pending());
    }
    let mut other = pin!(both(2));
    let second = other.as_mut().poll(&mut cx);
    assert_eq!(wakes.count(), 1);
    let first = one.as_mut().poll(&mut cx);
    match (first, second) {
        (Poll::Ready(None), Poll::Ready(Some(1))) | (Poll::Ready(Some(2)), Poll::Ready(None)) => {}
        other => panic!("they did not meet: {other:?}"),
    }
    // On a buffered channel it may receive its own value.
    let (tx, rx) = chan::bounded(10);
    for _ in 0..100 {
        select! {
            r = tx.send(1) => r.unwrap(),
            v = rx.recv() => assert_eq!(v, Some(1)),
            default => unreachable!(),
        }
        if tx.is_full() {
            rx.try_recv().unwrap();
        }
    }
}

#[test]
fn the_same_channel_may_stand_several_times_sel09() {
    let (a_tx, a) = chan::unbuffered();
    let (b_tx, b) = chan::unbuffered::<i32>();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    for v in 0..10 {
        let mut selecting = pin!(async {
            select! {
                v = a.recv() => v,
                v = b.recv() => v,
                v = a.recv() => v,
                v = b.recv() => v,
                v = a.recv() => v,
            }
        });
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        let mut plain = pin!(a.recv());
        assert!(plain.as_mut().poll(&mut cx).is_pending());
        assert_eq!(a_tx.try_send(v), Ok(()));
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(v)));
        // The neighbours in the queues are in their old order.
        assert_eq!(a_tx.try_send(100 + v), Ok(()));
        assert_eq!(plain.as_mut().poll(&mut cx), Poll::Ready(Some(100 + v)));
        assert!(a_tx.try_send(0).is_err() && b_tx.try_send(0).is_err(), "no waiter is left");
    }
    assert_eq!(wakes.count(), 20);
}

const PARKED_ROUNDS: usize = 5_000;

/// How often each case of `select(&tx, &rx)` wins, if `serve(&tx, &rx)` completes it after it has
/// parked. The value that `serve` receives must be the number of the case.
fn wins_when_parked<const CASES: usize>(
    select: impl AsyncFn(&Sender<usize>, &Receiver<usize>) -> usize,
    serve: impl Fn(&Sender<usize>, &Receiver<usize>) -> Option<usize>,
) -> [usize; CASES] {
    let mut cx = Context::from_waker(Waker::noop());
    let mut counts = [0; CASES];
    for _ in 0..PARKED_ROUNDS {
        let (tx, rx) = chan::unbuffered();
        let mut selecting = pin!(select(&tx, &rx));
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        let value = serve(&tx, &rx);
        let Poll::Ready(won) = selecting.poll(&mut cx) else { panic!("it was served") };
        assert!(value.is_none_or(|value| value == won), "case {won} won, and {value:?} was sent");
        counts[won] += 1;
    }
    counts
}

/// A bug: arms were queued in the order of the source, so of several arms on one channel the first
/// one always won if the select had parked.
#[test]
fn parked_arms_of_one_channel_have_equal_shares_sel19() {
    let (_quiet_tx, quiet) = chan::unbuffered::<()>();
    let all_even = |counts: &[usize]| {
        counts.iter().for_each(|&count| even(count, PARKED_ROUNDS, counts.len()))
    };
    let send = |tx: &Sender<usize>, _: &Receiver<usize>| {
        tx.try_send(7).unwrap();
        None
    };
    let receive = |_: &Sender<usize>, rx: &Receiver<usize>| Some(rx.try_recv().unwrap());
    let close = |tx: &Sender<usize>, _: &Receiver<usize>| {
        assert!(tx.close());
        None
    };

    let receives = async |_: &Sender<usize>, rx: &Receiver<usize>| {
        let twin = rx.clone();
        select! {
            _ = rx.recv() => 0,
            _ = quiet.recv() => unreachable!(),
            _ = twin.recv() => 1,
            _ = rx.recv() => 2,
        }
    };
    all_even(&wins_when_parked::<3>(receives, send));
    all_even(&wins_when_parked::<3>(receives, close));
    let sends = async |tx: &Sender<usize>, _: &Receiver<usize>| {
        select! { _ = tx.send(0) => 0, _ = quiet.recv() => unreachable!(), _ = tx.send(1) => 1 }
    };
    all_even(&wins_when_parked::<2>(sends, receive));
    all_even(&wins_when_parked::<2>(sends, close));
    // Two queues.
    let both = async |tx: &Sender<usize>, rx: &Receiver<usize>| {
        select! { _ = rx.recv() => 0, _ = tx.send(9) => unreachable!(), _ = rx.recv() => 1 }
    };
    all_even(&wins_when_parked::<2>(both, send));
    all_even(&wins_when_parked::<2>(both, close));

    let receives = async |_: &Sender<usize>, rx: &Receiver<usize>| {
        let cases = (0..100).fold(Select::new(), |select, i| select.recv(rx, move |_| i));
        cases.recv(&quiet, |_| unreachable!()).wait().await
    };
    all_even(&wins_when_parked::<100>(receives, send));
    all_even(&wins_when_parked::<100>(receives, close));
    let sends = async |tx: &Sender<usize>, _: &Receiver<usize>| {
        Select::new()
            .send(tx, 0, |_| 0)
            .recv(&quiet, |_| unreachable!())
            .send(tx, 1, |_| 1)
            .wait()
            .await
    };
    all_even(&wins_when_parked::<2>(sends, receive));
    all_even(&wins_when_parked::<2>(sends, close));

    let biased = async |tx: &Sender<usize>, rx: &Receiver<usize>| {
        select! {
            biased;
            _ = quiet.recv() => 2,
            _ = rx.recv() => 0,
            _ = tx.send(9) => 3,
            _ = rx.recv() => 1,
        }
    };
    assert_eq!(wins_when_parked(biased, send), [PARKED_ROUNDS, 0, 0, 0]);
    assert_eq!(wins_when_parked(biased, close), [PARKED_ROUNDS, 0, 0, 0]);
}

#[test]
fn a_stale_waiter_is_passed_over_sel10() {
    let (a_tx, a) = chan::unbuffered();
    let (b_tx, b) = chan::unbuffered();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut selecting = pin!(async {
        select! { v = a.recv() => v, v = b.recv() => v }
    });
    assert!(selecting.as_mut().poll(&mut cx).is_pending());
    let mut behind = pin!(b.recv());
    assert!(behind.as_mut().poll(&mut cx).is_pending());
    a_tx.try_send(1).unwrap();
    b_tx.try_send(2).unwrap();
    assert_eq!(behind.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
    assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(1)));
}

#[test]
fn losers_leave_no_registration_sel11() {
    let (quiet_tx, quiet) = chan::unbuffered::<()>();
    let (tx, rx) = chan::unbuffered();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    for v in 0..1_000 {
        let mut selecting = pin!(async {
            select! { _ = quiet.recv() => None, v = rx.recv() => v }
        });
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        tx.try_send(v).unwrap();
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(v)));
        assert!(quiet_tx.try_send(()).is_err(), "no waiter");
    }
}

#[test]
fn operands_are_evaluated_once_from_top_to_bottom_sel12() {
    let log = RefCell::new(Vec::new());
    let note = |what: &'static str| log.borrow_mut().push(what);
    let (tx, rx) = chan::bounded::<i32>(1);
    tx.try_send(1).unwrap();
    let nil = Sender::<i32>::nil();
    let off = || {
        note("guard");
        false
    };
    select! {
        _ = { note("ch:nil"); &nil }.send({ note("val:nil"); 0 }) => unreachable!(),
        _ = { note("ch:off"); &rx }.recv(), if off() => unreachable!(),
        v = { note("ch:d"); &rx }.recv() => { note("body"); assert_eq!(v, Some(1)); }
        default => unreachable!(),
    }
    assert_eq!(*log.borrow(), ["ch:nil", "val:nil", "guard", "ch:off", "ch:d", "body"]);
}

#[test]
fn bodies_are_part_of_the_surrounding_code_sel15() {
    async fn question(rx: &Receiver<Result<i32, String>>) -> Result<i32, String> {
        let v = select! { v = rx.recv() => v.unwrap()? };
        Ok(v)
    }
    block_thread_on(async {
        let (tx, rx) = chan::bounded(8);
        (0..5).for_each(|i| tx.try_send(i).unwrap());
        let mut seen = vec![];
        let broke = 'outer: loop {
            for _ in 0..100 {
                select! {
                    v = rx.recv() => match v {
                        Some(1) => continue,
                        Some(3) => break 'outer "three",
                        v => seen.push(v),
                    },
                    _ = Receiver::<()>::nil().recv() => return,
                }
            }
        };
        assert_eq!((broke, seen), ("three", vec![Some(0), Some(2)]));

        let (tx, rx) = chan::bounded(2);
        tx.try_send(Ok(1)).unwrap();
        tx.try_send(Err("no".to_string())).unwrap();
        assert_eq!(question(&rx).await, Ok(1));
        assert_eq!(question(&rx).await, Err("no".into()));

        // Nested, awaiting in a body.
        let (tx, rx) = chan::bounded(2);
        tx.try_send(1).unwrap();
        let nested = select! {
            v = rx.recv() => {
                tx.send(2).await.unwrap();
                select! { w = rx.recv() => (v, w) }
            }
        };
        assert_eq!(nested, (Some(1), Some(2)));
    });
}

#[test]
fn losers_are_gone_before_the_body_runs() {
    struct Noisy<'a>(&'a Cell<bool>);
    impl Drop for Noisy<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    block_thread_on(async {
        let dropped = Cell::new(false);
        let (noisy_tx, _noisy) = chan::unbuffered();
        let (tx, rx) = chan::bounded(1);
        tx.try_send(1).unwrap();
        let mut value = 5;
        select! {
            _ = noisy_tx.send(Noisy(&dropped)) => unreachable!(),
            _ = fut(async { std::future::pending::<()>().await; value }) => unreachable!(),
            _ = rx.recv() => {
                value += 1;
                assert!(dropped.get());
            }
        }
        assert_eq!(value, 6);
    });
}

#[test]
fn temporaries_of_operands_live_until_the_winner_is_known() {
    fn channel() -> Receiver<i32> {
        let (tx, rx) = chan::bounded(1);
        tx.try_send(7).unwrap();
        rx
    }
    block_thread_on(async {
        select! { v = channel().recv() => assert_eq!(v, Some(7)) }
    });
}

#[test]
fn a_thousand_cases_each_win_sel16() {
    no_hang(|| {
        let channels: Vec<_> = (0..1_000).map(|_| chan::bounded(1)).collect();
        for (i, (tx, _)) in channels.iter().enumerate() {
            tx.try_send(i).unwrap();
            let mut select = Select::new();
            for (j, (_, rx)) in channels.iter().enumerate().skip(i / 2) {
                select = select.recv(rx, move |v| (j, v));
            }
            assert_eq!(select.try_now(), Some((i, Some(i))));
        }
        let (_, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        for i in (0..1_000).step_by(111) {
            let select = channels
                .iter()
                .enumerate()
                .fold(Select::new(), |s, (j, (_, rx))| s.recv(rx, move |v| (j, v)));
            let mut wait = pin!(select.wait());
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            channels[i].0.try_send(i).unwrap();
            assert_eq!(wait.as_mut().poll(&mut cx), Poll::Ready((i, Some(i))));
        }
    });
}

#[test]
fn a_loop_with_an_always_ready_case_lets_others_run_sel17() {
    no_hang(|| {
        Runtime::builder().gomaxprocs(1).build().unwrap().block_on(async {
            let (always_tx, always) = chan::unbuffered::<()>();
            always_tx.close();
            let (stop_tx, stop) = chan::unbuffered::<()>();
            go(async move { stop_tx.close() });
            let mut rounds = 0;
            #[expect(clippy::while_let_loop, reason = "a select loop is written like this")]
            loop {
                select! { _ = always.recv() => rounds += 1, _ = stop.recv() => break }
            }
            assert!(rounds < 10_000, "the stop took {rounds} rounds to be seen");
        });
    });
}

#[test]
fn a_select_keeps_its_place_in_line_sel18() {
    let (tx, rx) = chan::unbuffered();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut first = pin!(async {
        select! { v = rx.recv() => v, _ = fut(std::future::pending::<()>()) => None }
    });
    let mut second = pin!(rx.recv());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    // A spurious poll does not cost the place in the queue.
    assert!(first.as_mut().poll(&mut cx).is_pending());
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    assert_eq!(second.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
    assert_eq!(first.as_mut().poll(&mut cx), Poll::Ready(Some(1)));
}

#[test]
fn a_dropped_select_loses_nothing_ca05() {
    let (tx, rx) = chan::unbuffered();
    let (other_tx, other) = chan::unbuffered::<i32>();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    for served in [false, true] {
        let mut selecting = Box::pin(async {
            select! { v = rx.recv() => v, v = other.recv() => v }
        });
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        if served {
            tx.try_send(1).unwrap();
        }
        drop(selecting);
        assert!(other_tx.try_send(0).is_err(), "no waiter");
        assert_eq!(rx.try_recv(), if served { Ok(1) } else { Err(TryRecvError::Empty) });
        assert!(tx.try_send(0).is_err(), "no waiter");
    }
    // A send whose value was taken counts.
    let mut selecting = Box::pin(async {
        select! { r = tx.send(5) => r.is_ok(), r = other_tx.send(6) => r.is_ok() }
    });
    assert!(selecting.as_mut().poll(&mut cx).is_pending());
    assert_eq!(rx.try_recv(), Ok(5));
    drop(selecting);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn the_last_poller_is_woken_ca08() {
    let (tx, rx) = chan::unbuffered();
    let ((stale, stale_waker), (fresh, fresh_waker)) = (Wakes::new(), Wakes::new());
    let mut selecting = pin!(async {
        select! { v = rx.recv() => v, _ = Receiver::<()>::nil().recv() => None }
    });
    assert!(selecting.as_mut().poll(&mut Context::from_waker(&stale_waker)).is_pending());
    assert!(selecting.as_mut().poll(&mut Context::from_waker(&fresh_waker)).is_pending());
    tx.try_send(1).unwrap();
    assert_eq!((stale.count(), fresh.count()), (0, 1));
    assert_eq!(
        selecting.as_mut().poll(&mut Context::from_waker(&fresh_waker)),
        Poll::Ready(Some(1))
    );
}

#[test]
fn joins_waits_and_futures_are_cases() {
    no_hang(|| {
        Runtime::builder().gomaxprocs(2).build().unwrap().block_on(async {
            let (_never_tx, never) = chan::unbuffered::<()>();
            let wg = WaitGroup::new();
            wg.add(1);
            let (tx, rx) = chan::unbuffered::<i32>();
            let mut handle = go(async move { rx.recv().await });
            select! {
                _ = &mut handle => unreachable!(),
                _ = wg.wait() => unreachable!(),
                r = tx.send(3) => r.unwrap(),
            }
            select! {
                v = &mut handle => assert_eq!(v.unwrap(), Some(3)),
                _ = never.recv() => unreachable!(),
            }
            wg.done();
            select! { _ = wg.wait() => {} , _ = never.recv() => unreachable!() }
            select! {
                v = fut(async { gosched().await; 9 }) => assert_eq!(v, 9),
                _ = never.recv() => unreachable!(),
            }
        });
    });
}

/// A bug: these were plain futures, and no cases.
#[test]
fn waits_of_several_steps_are_cases() {
    no_hang(|| {
        Runtime::builder().gomaxprocs(2).build().unwrap().block_on(async {
            let (_never_tx, never) = chan::unbuffered::<()>();
            macro_rules! wins {
                ($wait:expr) => {
                    select! {
                        output = $wait => output,
                        _ = never.recv() => unreachable!("no value is sent"),
                    }
                };
            }
            assert_eq!(wins!(unblock(|| 1)), 1);
            assert_eq!(wins!(Select::new().case(fut(async { 2 }), |two| two).wait()), 2);
            let group = ErrGroup::<&str>::new();
            wins!(group.go(async { Err("late") }));
            assert_eq!(wins!(group.wait()), Err("late"));
            assert_eq!(wins!(SingleFlight::new().work(3, async { 3 })), (3, false));
            let once = Once::new();
            wins!(once.call_once_async(async || gosched().await));
            assert!(once.is_done());
            let (value, cell) = (OnceValue::new(|| 4), OnceCell::new());
            assert_eq!(*wins!(value.get()), 4);
            assert_eq!(wins!(cell.get_or_try_init(async || Err(5))), Err(5));
            assert_eq!(*wins!(cell.get_or_init(async || 6)), 6);
            let (mutex, monitor) = (Mutex::new(7), Monitor::new(8));
            let guard = mutex.lock().await;
            assert_eq!(*wins!(Cond::new().wait_while(guard, |value| *value == 0)), 7);
            assert_eq!(*wins!(monitor.lock().await.wait_while(|value| *value == 0)), 8);
            let (_tx, mut rx) = watch::channel(9);
            assert_eq!(wins!(rx.wait_for(|value| *value == 9)).map(|value| *value), Ok(9));
            let mut set = JoinSet::new();
            set.go(async { 10 });
            assert_eq!(wins!(set.join_all()), [10]);
        });
    });
}

#[test]
fn a_case_by_reference_goes_on_in_the_next_select() {
    let (tx, rx) = chan::unbuffered();
    let (other_tx, other) = chan::bounded(1);
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut op = Box::pin(rx.recv());
    for v in 0..3 {
        let mut selecting = pin!(async {
            select! { v = &mut op => v, v = other.recv() => v }
        });
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        other_tx.try_send(v).unwrap();
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(v)));
    }
    tx.try_send(9).expect_err("it lost, so it does not wait");
    assert!(op.as_mut().poll(&mut cx).is_pending());
    tx.try_send(10).unwrap();
    let mut selecting = pin!(async {
        select! { v = op.as_mut() => v, v = other.recv() => v }
    });
    assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(10)));

    let mut op = Box::pin(rx.recv());
    let mut selecting = pin!(async {
        select! { v = &mut op => v, v = other.recv() => v }
    });
    assert!(selecting.as_mut().poll(&mut cx).is_pending());
    tx.try_send(11).expect("it waits like any other");
    assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(11)));
}

#[test]
fn a_case_by_reference_that_lost_to_a_late_future_waits_no_more() {
    let (tx, rx) = chan::unbuffered();
    let (offer_tx, offer) = chan::unbuffered();
    let mut cx = Context::from_waker(Waker::noop());
    let mut op = Box::pin(rx.recv());
    for by_offer in [false, true] {
        let mut offering = Box::pin(offer_tx.send(7));
        let mut polls = 0;
        let mut selecting = pin!(async {
            select! {
                v = &mut op => v,
                v = offer.recv() => v,
                v = fut(std::future::poll_fn(|cx| {
                    polls += 1;
                    match (polls, by_offer) {
                        (2, false) => Poll::Ready(Some(7)),
                        (2, true) => offering.as_mut().poll(cx).map(|_| None),
                        _ => Poll::Pending,
                    }
                })) => v,
            }
        });
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(7)));
        tx.try_send(8).expect_err("it lost, so it does not wait");
    }
    assert!(op.as_mut().poll(&mut cx).is_pending());
    tx.try_send(9).expect("it waits again, by itself");
    assert_eq!(op.as_mut().poll(&mut cx), Poll::Ready(Some(9)));
}

#[test]
fn a_case_by_reference_of_a_dropped_select_waits_no_more_ca05() {
    let (tx, rx) = chan::unbuffered();
    let (_never_tx, never) = chan::unbuffered();
    let mut cx = Context::from_waker(Waker::noop());
    for somebody_looks in [false, true] {
        let mut op = Box::pin(rx.recv());
        {
            let mut selecting = Box::pin(async {
                select! { v = &mut op => v, v = never.recv() => v }
            });
            assert!(selecting.as_mut().poll(&mut cx).is_pending());
        }
        if somebody_looks {
            tx.try_send(8).expect_err("no waiter");
        }
        assert!(op.as_mut().poll(&mut cx).is_pending());
        tx.try_send(9).expect("it waits again, by itself");
        assert_eq!(op.as_mut().poll(&mut cx), Poll::Ready(Some(9)));
    }
}

#[test]
fn a_select_shows_where_it_stands_and_how_many_cases_it_has() {
    let selecting = gopark::select::Selecting::new(false, gopark::select::Nil);
    let shown = format!("{selecting:?}");
    assert!(shown.starts_with("Selecting") && shown.contains("select.rs"), "{shown}");
    assert_eq!(format!("{:?}", Select::<()>::new()), "Select { cases: 0 }");
}

#[test]
fn an_offer_that_passes_a_polling_select_is_not_lost() {
    // When the select's other case is polled, it sends to the channel that the select waits on.
    let (tx, rx) = chan::unbuffered();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut sending = Box::pin(tx.send(1));
    let mut polls = 0;
    let mut selecting = pin!(async {
        select! {
            v = rx.recv() => v,
            _ = fut(std::future::poll_fn(|cx| {
                polls += 1;
                if polls == 2 {
                    assert!(sending.as_mut().poll(cx).is_pending(), "the select is busy");
                }
                Poll::<()>::Pending
            })) => None,
        }
    });
    assert!(selecting.as_mut().poll(&mut cx).is_pending());
    assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(1)));
}

/// A bug: each offer made the select check its channels again, which polled the case again, which
/// made an offer: the poll never ended.
#[test]
fn a_case_that_offers_to_its_own_select_while_polled_does_not_hang() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let mut selecting = pin!(async {
            select! {
                v = rx.recv() => v,
                _ = fut(std::future::poll_fn(|_| {
                    // It finds no partner: a select does not match itself.
                    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
                    Poll::<()>::Pending
                })) => None,
            }
        });
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(selecting.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(tx.try_send(2), Ok(()));
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
    });
}

#[test]
fn a_select_that_looks_again_does_not_meet_its_own_other_case_sel08() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let mut selecting = pin!(async {
            select! {
                v = rx.recv() => v,
                sent = tx.send(5) => sent.ok().map(|()| 5),
                _ = fut(std::future::poll_fn(|_| {
                    // An offer that is missed, so that the select checks again.
                    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
                    Poll::<()>::Pending
                })) => None,
            }
        });
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(selecting.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(rx.try_recv(), Ok(5));
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(5)));
    });
}

/// Never ready; its second poll panics.
fn panics_once() -> gopark::select::Fut<impl Future<Output = ()> + Send> {
    let mut polls = 0;
    fut(std::future::poll_fn(move |_| {
        polls += 1;
        if polls == 2 {
            panic!("the second poll");
        }
        Poll::Pending
    }))
}

/// A bug: after a case had panicked in a poll, the next poll checked the channels without end,
/// because the offer seemed to ask for one more check each time.
#[test]
fn a_select_whose_case_panicked_may_be_polled_again() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let mut selecting =
            pin!(Select::new().recv(&rx, |v| v).case(panics_once(), |()| None).wait());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        let panicked = catch_unwind(AssertUnwindSafe(|| selecting.as_mut().poll(&mut cx)));
        assert!(panicked.is_err());
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(tx.try_send(2), Ok(()));
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
    });
}

/// A bug: a case panicked in a poll, so the token stayed marked as busy. After the last poll and
/// one more, each offer skipped the select, and no wake came.
#[test]
fn a_select_whose_case_panicked_before_the_last_poll_may_be_polled_again() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let mut selecting =
            pin!(Select::new().recv(&rx, |v| v).case(panics_once(), |()| None).wait());
        let mut cx = Context::from_waker(Waker::noop());
        {
            let caught = std::future::poll_fn(|cx| {
                catch_unwind(AssertUnwindSafe(|| selecting.as_mut().poll(cx)))
                    .unwrap_or(Poll::Pending)
            });
            let (ctx, cancel) = gopark::context::Context::background().with_cancel();
            let mut limited = pin!(ctx.run(caught));
            assert!(limited.as_mut().poll(&mut cx).is_pending());
            cancel.cancel();
            // The second poll panics, the third is the last.
            assert!(limited.as_mut().poll(&mut cx).is_ready());
        }
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)), "the last poll took it out");
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(tx.try_send(2), Ok(()));
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
    });
}

/// A bug: each wake of the future compared each of the thousands of cases with each other case.
#[test]
fn many_channels_beside_a_busy_future_cost_no_square() {
    no_hang(|| {
        let channels: Vec<_> = (0..10_000).map(|_| chan::unbuffered::<()>()).collect();
        let mut polls = 0;
        let mut select = Select::new();
        for (_, rx) in &channels {
            select = select.recv(rx, |_| unreachable!("no sender"));
        }
        let busy = fut(std::future::poll_fn(|_| {
            polls += 1;
            if polls == 300 { Poll::Ready(polls) } else { Poll::Pending }
        }));
        let mut selecting = pin!(select.case(busy, |polls| polls).wait());
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 1..300 {
            assert!(selecting.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(300));
    });
}

/// A bug: the hidden methods of `Case`, called by hand, could move a value out of a send twice.
#[test]
fn only_a_case_that_won_gives_a_result() {
    use gopark::select::Case;
    let (tx, rx) = chan::bounded(1);
    let won = |mut send: std::pin::Pin<&mut chan::Sending<'_, Box<u8>>>| {
        catch_unwind(AssertUnwindSafe(|| send.as_mut().won())).is_err()
    };
    // Neither before it was tried, nor while it waits, nor twice.
    let mut first = pin!(tx.send(Box::new(1)));
    assert!(won(first.as_mut()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_ready());
    assert!(won(first.as_mut()));
    let mut second = pin!(tx.send(Box::new(2)));
    assert!(second.as_mut().poll(&mut cx).is_pending());
    assert!(won(second.as_mut()));
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(Box::new(1)), Ok(Box::new(2))));
}

#[test]
fn a_select_sends_into_a_buffer_that_grows_and_receives_from_one_that_shrinks() {
    no_hang(|| {
        let (tx, rx) = chan::bounded::<usize>(1_000_000);
        let (other_tx, other_rx) = chan::bounded::<usize>(1_000_000);
        futures_lite::future::block_on(async {
            let (mut sent, mut other_sent) = (0, 0);
            for _ in 0..5000 {
                select! {
                    result = tx.send(sent) => { result.unwrap(); sent += 1 },
                    result = other_tx.send(other_sent) => { result.unwrap(); other_sent += 1 },
                }
            }
            let (mut received, mut other_received) = (0, 0);
            for _ in 0..2000 {
                select! {
                    value = rx.recv() => { assert_eq!(value, Some(received)); received += 1 },
                    value = other_rx.recv() => {
                        assert_eq!(value, Some(other_received));
                        other_received += 1
                    }
                    default => unreachable!("both have some"),
                }
            }
            assert_eq!((rx.len(), other_rx.len()), (sent - received, other_sent - other_received));
            drop((tx, other_tx));
            while let Some(value) = rx.recv().await {
                assert_eq!(value, received);
                received += 1;
            }
            while let Some(value) = other_rx.recv().await {
                assert_eq!(value, other_received);
                other_received += 1;
            }
            assert_eq!((received, other_received), (sent, other_sent));
        });
    });
}

#[test]
fn arms_of_a_macro_take_expressions_and_blocks_and_default_is_a_name_too() {
    macro_rules! first {
        ($rx:expr => block $body:block else $other:block) => {
            select! { _ = $rx.recv() => $body default => $other }
        };
        ($rx:expr => $body:expr, else $other:expr) => {
            select! { _ = $rx.recv() => $body, default => $other }
        };
    }
    let (tx, rx) = chan::bounded(1);
    assert_eq!(first!(rx => 1, else { 2 }), 2);
    assert_eq!(first!(rx => block { 3 } else { 4 }), 4);
    tx.try_send(5).unwrap();
    assert_eq!(first!(rx => { 1 }, else 2), 1);
    tx.try_send(6).unwrap();
    let default = &rx;
    assert_eq!(select! { default = default.recv() => default, default => None }, Some(6));
}

/// docs/verification.md has the time that the compiler needs for such a select.
#[test]
fn each_of_fifty_arms_wins_at_once_and_after_a_wait() {
    async fn among(rx: &[Receiver<usize>]) -> (usize, Option<usize>) {
        macro_rules! receives {
            ($($i:literal)*) => { select! { $(v = rx[$i].recv() => ($i, v),)* } };
        }
        receives!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29
            30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49)
    }
    no_hang(|| {
        let (tx, rx): (Vec<_>, Vec<_>) = (0..50).map(|_| chan::bounded(1)).unzip();
        let send = |i: usize| tx[i].try_send(i).expect("room");
        (0..50).for_each(send);
        let mut won: Vec<_> = (0..50).map(|_| block_thread_on(among(&rx))).collect();
        won.sort_unstable();
        assert_eq!(won, (0..50).map(|i| (i, Some(i))).collect::<Vec<_>>());
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        for i in 0..50 {
            let mut selecting = pin!(among(&rx));
            assert!(selecting.as_mut().poll(&mut cx).is_pending());
            send(i);
            assert_eq!(
                (wakes.count(), selecting.poll(&mut cx)),
                (i + 1, Poll::Ready((i, Some(i))))
            );
        }
    });
}

#[test]
fn a_select_has_room_for_each_value_once() {
    let (_tx, rx) = chan::bounded::<[u8; 4096]>(1);
    let selecting = async {
        select! { v = rx.recv() => v, v = rx.recv() => v, v = rx.recv() => v, v = rx.recv() => v }
    };
    let size = size_of_val(&selecting);
    assert!(size < 4 * 4096 + 512, "{size}");
}

/// Clippy checks this, in the gate.
#[test]
#[deny(clippy::pedantic)]
fn a_unit_may_be_ignored() {
    no_hang(|| {
        block_thread_on(async {
            let (ctx, cancel) = gopark::context::Context::background().with_cancel();
            select! {
                _ = ctx.done() => unreachable!(),
                default => cancel.cancel(),
            }
            select! {
                _ = ctx.done() => {}
                _ = gopark::time::sleep(std::time::Duration::from_secs(3600)) => unreachable!(),
                _ = fut(std::future::pending::<()>()) => unreachable!(),
            }
        });
    });
}

#[test]
fn what_a_panic_in_a_poll_drops_loses_no_value_no_wake_and_no_lock() {
    no_hang(|| {
        let (handed_tx, handed) = chan::unbuffered();
        let (offered_tx, offered) = chan::unbuffered();
        let (taken_back_tx, taken_back) = chan::unbuffered();
        let (lock, sent) = (gopark::sync::Mutex::new(0), Arc::new(()));
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let mut offering = pin!(offered_tx.send(2));
        let mut next = pin!(handed.recv());
        let held = lock.try_lock().expect("it is free");
        {
            let mut polled = pin!(async {
                let mut receiving = pin!(handed.recv());
                let mut locking = pin!(lock.lock());
                let polled = poll_fn(|cx| {
                    if receiving.as_mut().poll(cx).is_ready() {
                        panic!("a value was handed over, but is not looked at");
                    }
                    assert!(locking.as_mut().poll(cx).is_pending());
                    Poll::<()>::Pending
                });
                let mut polls = 0;
                let panics = fut(poll_fn(|cx| {
                    polls += 1;
                    if polls == 2 {
                        // An offer that is missed while the select is busy.
                        assert!(offering.as_mut().poll(cx).is_pending());
                        panic!("the second poll");
                    }
                    Poll::<()>::Pending
                }));
                select! {
                    biased;
                    _ = panics => unreachable!(),
                    () = fut(polled) => unreachable!(),
                    _ = offered.recv() => unreachable!(),
                    _ = taken_back_tx.send(sent.clone()) => unreachable!(),
                }
            });
            assert!(polled.as_mut().poll(&mut cx).is_pending());
            assert!(next.as_mut().poll(&mut cx).is_pending());
            assert_eq!(handed_tx.try_send(1), Ok(()));
            drop(held);
            let woken = wakes.count();
            let panicked = catch_unwind(AssertUnwindSafe(|| polled.as_mut().poll(&mut cx)));
            assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "the second poll");
            assert_eq!(wakes.count(), woken + 1, "the next receiver");
        }
        assert_eq!(next.poll(&mut cx), Poll::Ready(Some(1)));
        assert_eq!(offered.try_recv(), Ok(2));
        assert!(offering.poll(&mut cx).is_ready());
        assert_eq!(taken_back.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(Arc::strong_count(&sent), 1);
        assert!(lock.try_lock().is_some());
    });
}
