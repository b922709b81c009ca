//! Arms `Some(..)` of a select: a case that yields `None` is switched off, and the others continue.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::future::block_on;
use gopark::chan::{self, Receiver, Sender};
use gopark::select::{OptionCase, Select, fut};
use gopark::{JoinSet, go, select};

use crate::hand::{Hand, on_procs};
use crate::util::no_hang;

type Ends<T> = (Sender<T>, Receiver<T>);

/// Two channels with one sender each.
fn two<T>(capacity: usize) -> (Ends<T>, Ends<T>) {
    (chan::bounded(capacity), chan::bounded(capacity))
}

/// The next value from either; `None` when both are closed.
async fn next<T>(a: &Receiver<T>, b: &Receiver<T>) -> Option<T> {
    select! {
        Some(v) = a.recv() => Some(v),
        Some(v) = b.recv() => Some(v),
        else => None,
    }
}

/// Ten sigma around an even share.
fn even(count: usize, rounds: usize, shares: usize) {
    let (n, p) = (rounds as f64, 1.0 / shares as f64);
    let off = (count as f64 - n * p).abs() / (n * p * (1.0 - p)).sqrt();
    assert!(off < 10.0, "{count} of {rounds} is {off:.1} sigma from 1/{shares}");
}

#[test]
fn a_close_takes_its_arm_out_and_wakes_the_select_only_if_it_was_the_last() {
    let ((a_tx, a), (b_tx, b)) = two(0);
    let mut selecting = Hand::parked(next(&a, &b));
    a_tx.close();
    assert_eq!(selecting.wakes(), 0);
    assert!(selecting.is_pending());
    b_tx.try_send(7).unwrap();
    assert_eq!((selecting.wakes(), selecting.ready()), (1, Some(7)));

    let mut selecting = Hand::parked(next(&a, &b));
    drop(b_tx);
    assert_eq!((selecting.wakes(), selecting.ready()), (1, None));

    let ((a_tx, a), (b_tx, b)) = two::<u8>(0);
    let mut selecting = Hand::parked(next(&a, &b));
    drop((b_tx, a_tx));
    assert_eq!((selecting.wakes(), selecting.ready()), (1, None));
}

#[test]
fn the_arms_that_are_on_keep_their_places_when_another_one_goes_off_sel18() {
    let ((a_tx, a), (b_tx, b)) = two(0);
    let mut first = Hand::parked(next(&a, &b));
    let mut second = Hand::parked(b.recv());
    a_tx.close();
    assert!(first.is_pending());
    b_tx.try_send(1).unwrap();
    b_tx.try_send(2).unwrap();
    assert_eq!((first.ready(), second.ready()), (Some(1), Some(2)));
}

#[test]
fn a_closed_channel_is_drained_before_its_arm_goes_off() {
    let ((a_tx, a), (b_tx, b)) = two(2);
    a_tx.try_send(1).unwrap();
    a_tx.try_send(2).unwrap();
    drop(a_tx);
    let mut seen: Vec<_> = (0..2).map(|_| block_on(next(&a, &b))).collect();
    seen.sort_unstable();
    assert_eq!(seen, [Some(1), Some(2)]);
    assert!(Hand::parked(next(&a, &b)).is_pending());
    drop(b_tx);
    assert_eq!(block_on(next(&a, &b)), None);
}

#[test]
fn with_all_arms_off_else_runs_or_default_or_it_waits_for_ever() {
    let (closed_tx, closed) = chan::unbuffered::<u8>();
    drop(closed_tx);
    let (_open, open) = chan::unbuffered::<u8>();
    let both = select! {
        Some(_) = closed.recv() => 0,
        else => 1,
        default => 2,
    };
    assert_eq!(both, 1);
    let both = select! {
        default => 2,
        else => 1,
        Some(_) = open.recv() => 0,
        Some(_) = closed.recv() => 0,
    };
    assert_eq!(both, 2, "one arm is on");
    assert_eq!(select! { Some(_) = closed.recv() => 0, default => 2 }, 2);
    let off = (false, false);
    let by_condition = select! {
        Some(_) = open.recv(), if off.0 => 0,
        _ = open.recv(), if off.1 => 0,
        else => 1,
        default => 2,
    };
    assert_eq!(by_condition, 1, "an arm that a condition switches off is off");
    assert_eq!(select! { else => 1, default => 2 }, 1);
    block_on(async {
        assert_eq!(select! { else => 1 }, 1);
        assert_eq!(select! { Some(_) = closed.recv() => 0, else => 1 }, 1);
        assert_eq!(select! { _ = open.recv(), if off.0 => 0, else => 1 }, 1);
    });

    let mut at_once = Hand::parked(async {
        select! { Some(_) = closed.recv() => {} }
    });
    let (late_tx, late) = chan::unbuffered::<u8>();
    let mut later = Hand::parked(async {
        select! { Some(_) = late.recv() => {} }
    });
    drop(late_tx);
    let mut nil = Hand::parked(async {
        select! {
            Some(_) = Receiver::<u8>::nil().recv() => 0,
            Some(_) = closed.recv() => 0,
            else => 1,
        }
    });
    for _ in 0..3 {
        assert!(at_once.is_pending() && later.is_pending());
        assert!(nil.is_pending(), "an arm of a nil channel is on, and never ready");
    }
    assert_eq!(at_once.wakes(), 0);
}

#[test]
fn an_arm_that_is_off_has_no_share_in_the_draw_sel02() {
    const ROUNDS: usize = 20_000;
    let full = || {
        let (tx, rx) = chan::bounded(ROUNDS);
        (0..ROUNDS).for_each(|i| tx.try_send(i).unwrap());
        (tx, rx)
    };
    let ((_a_tx, a), (_b_tx, b)) = (full(), full());
    let (_, closed) = chan::unbuffered::<usize>();
    let mut few = [0; 2];
    for _ in 0..ROUNDS / 2 {
        few[select! {
            Some(_) = closed.recv() => unreachable!(),
            Some(_) = a.recv() => 0,
            Some(_) = closed.recv() => unreachable!(),
            Some(_) = b.recv() => 1,
            default => unreachable!(),
        }] += 1;
    }
    few.into_iter().for_each(|count| even(count, ROUNDS / 2, 2));
    // From nine arms on, one is drawn before all are checked.
    let mut many = [0; 2];
    for _ in 0..ROUNDS / 4 {
        many[block_on(async {
            select! {
                Some(_) = closed.recv() => unreachable!(),
                Some(_) = closed.recv() => unreachable!(),
                Some(_) = closed.recv() => unreachable!(),
                Some(_) = a.recv() => 0,
                Some(_) = closed.recv() => unreachable!(),
                Some(_) = closed.recv() => unreachable!(),
                Some(()) = fut(async { None }) => unreachable!(),
                Some(_) = closed.recv() => unreachable!(),
                Some(_) = b.recv() => 1,
                Some(_) = closed.recv() => unreachable!(),
                else => unreachable!(),
            }
        })] += 1;
    }
    many.into_iter().for_each(|count| even(count, ROUNDS / 4, 2));
}

#[test]
fn arms_of_one_channel_that_waited_have_equal_shares_also_after_another_went_off_sel19() {
    const ROUNDS: usize = 4000;
    let mut counts = [0; 2];
    for _ in 0..ROUNDS {
        let ((a_tx, a), (b_tx, b)) = two(0);
        let mut selecting = Hand::parked(async {
            select! {
                Some(_) = a.recv() => unreachable!(),
                Some(()) = b.recv() => 0,
                Some(()) = b.recv() => 1,
            }
        });
        drop(a_tx);
        b_tx.try_send(()).unwrap();
        counts[selecting.ready()] += 1;
    }
    counts.into_iter().for_each(|count| even(count, ROUNDS, 2));
}

#[test]
fn biased_it_takes_the_first_arm_that_is_on() {
    let ((a_tx, a), (b_tx, b)) = two(1);
    drop(a_tx);
    for round in 0..10 {
        b_tx.try_send(round).unwrap();
        let got = select! {
            biased;
            Some(v) = a.recv() => v + 100,
            Some(v) = b.recv() => v,
            Some(v) = b.recv() => v + 200,
            default => unreachable!(),
        };
        assert_eq!(got, round);
    }
}

#[test]
fn a_plain_arm_of_the_same_select_learns_of_its_close_as_ever() {
    let ((a_tx, a), (b_tx, b)) = two::<u8>(0);
    let mut selecting = Hand::parked(async {
        select! {
            Some(v) = a.recv() => Some(v),
            v = b.recv() => v,
        }
    });
    drop(a_tx);
    assert!(selecting.is_pending());
    drop(b_tx);
    assert_eq!((selecting.wakes(), selecting.ready()), (1, None));
}

#[test]
fn everything_that_comes_to_an_option_goes_off_at_none() {
    on_procs(2, async {
        let (tx, rx) = chan::bounded(4);
        let (stream_tx, stream) = chan::bounded(4);
        let (ctx_tx, ctx_rx) = chan::bounded(4);
        let (ctx, _cancel) = gopark::context::Context::background().with_cancel();
        let mut stream = stream.into_stream();
        let mut set = JoinSet::new();
        for i in 0..3 {
            set.go(async move { 100 + i });
            tx.try_send(200 + i).unwrap();
            stream_tx.try_send(300 + i).unwrap();
            ctx_tx.try_send(400 + i).unwrap();
        }
        go(async move {
            tx.send(203).await.unwrap();
            stream_tx.send(303).await.unwrap();
            gopark::gosched().await;
            drop(ctx_tx);
        });
        let (mut sum, mut count, mut futures) = (0, 0, 0);
        loop {
            let future = fut(async {
                futures += 1;
                if futures < 4 { Some(499 + futures) } else { None }
            });
            sum += select! {
                Some(v) = rx.recv() => v,
                Some(v) = stream.next() => v,
                Some(v) = set.join_next() => v.unwrap(),
                Some(v) = ctx.recv(&ctx_rx) => v,
                Some(v) = future => v,
                else => break,
            };
            count += 1;
        }
        let sums =
            [303, 200 + 201 + 202 + 203, 300 + 301 + 302 + 303, 400 + 401 + 402, 500 + 501 + 502];
        assert_eq!((count, sum), (17, sums.into_iter().sum()));
    });
}

#[test]
fn a_context_that_ends_takes_its_receive_out() {
    let (tx, rx) = chan::unbuffered::<u8>();
    let (other_tx, other) = chan::unbuffered::<u8>();
    let (ctx, cancel) = gopark::context::Context::background().with_cancel();
    let mut selecting = Hand::parked(async {
        select! { Some(v) = ctx.recv(&rx) => v, Some(v) = other.recv() => v, else => 0 }
    });
    cancel.cancel();
    assert!(selecting.is_pending());
    assert!(tx.try_send(1).is_err(), "it does not receive any more");
    drop(other_tx);
    assert_eq!(selecting.ready(), 0);
}

#[test]
fn a_future_that_comes_to_none_while_it_waits_is_not_polled_again() {
    let (tx, rx) = chan::unbuffered::<u8>();
    let mut polls = 0;
    let mut selecting = Hand::parked(async {
        let future = fut(poll_fn(|_| {
            polls += 1;
            if polls < 2 { Poll::Pending } else { Poll::Ready(None::<u8>) }
        }));
        select! { Some(v) = future => Some(v), Some(v) = rx.recv() => Some(v), else => None }
    });
    for _ in 0..3 {
        assert!(selecting.is_pending());
    }
    drop(tx);
    assert_eq!((selecting.wakes(), selecting.ready()), (1, None));
    drop(selecting);
    assert_eq!(polls, 2);
}

#[test]
fn a_future_that_comes_to_none_last_ends_it() {
    let ((a_tx, a), (b_tx, b)) = two::<u8>(0);
    let (mut polls, off) = (0, b_tx.is_closed());
    let mut selecting = Hand::parked(async {
        let future = fut(poll_fn(|_| {
            polls += 1;
            if polls < 3 { Poll::Pending } else { Poll::Ready(None::<u8>) }
        }));
        select! {
            Some(v) = a.recv() => v,
            Some(v) = future => v,
            Some(v) = b.recv(), if off => v,
            else => 0,
        }
    });
    assert!(selecting.is_pending());
    drop(a_tx);
    assert_eq!((selecting.wakes(), selecting.ready()), (0, 0));
}

#[test]
fn a_close_in_the_poll_of_a_case_is_seen() {
    for (closes, expected) in [(1, None), (2, Some(0))] {
        let ((a_tx, a), (b_tx, b)) = two::<u8>(0);
        let mut polls = 0;
        let mut selecting = Hand::parked(async {
            let future = fut(poll_fn(|_| {
                polls += 1;
                if polls < 2 {
                    return Poll::Pending;
                }
                a_tx.close();
                if closes > 1 {
                    b_tx.close();
                }
                Poll::Ready(None::<u8>)
            }));
            select! {
                Some(v) = a.recv() => v,
                Some(v) = future => v,
                Some(v) = b.recv() => v,
                else => 0,
            }
        });
        let polled = match selecting.poll() {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        };
        assert_eq!(polled, expected);
    }
}

#[test]
fn a_case_that_panics_after_another_went_off_leaves_it_counted() {
    let (tx, rx) = chan::unbuffered::<u8>();
    let (mut first, mut second) = (0, 0);
    let goes_off = fut(poll_fn(|_| {
        first += 1;
        if first < 2 { Poll::Pending } else { Poll::Ready(None::<u8>) }
    }));
    let panics = fut(poll_fn(|_| {
        second += 1;
        assert!(second != 2, "the second poll");
        if second < 4 { Poll::Pending } else { Poll::Ready(None::<u8>) }
    }));
    let list = Select::new().case_some(goes_off, |v| v).case_some(panics, |v| v);
    let mut selecting = Hand::parked(list.recv_some(&rx, |v| v).or_else(|| 0).wait());
    assert!(catch_unwind(AssertUnwindSafe(|| selecting.poll())).is_err());
    assert!(selecting.is_pending());
    assert!(selecting.is_pending());
    drop(tx);
    assert_eq!((selecting.wakes(), selecting.ready()), (1, 0));
}

#[test]
fn a_receive_by_reference_that_went_off_is_off_in_the_next_select() {
    let ((a_tx, a), (b_tx, b)) = two(1);
    let mut early = pin!(a.recv());
    let mut parked = pin!(a.recv());
    {
        let mut selecting = Hand::parked(async {
            select! { Some(_) = parked.as_mut() => 0, Some(v) = b.recv() => v, else => 0 }
        });
        drop(a_tx);
        b_tx.try_send(1).unwrap();
        assert_eq!(selecting.ready(), 1);
    }
    for round in 2..5 {
        b_tx.try_send(round).unwrap();
        let got = block_on(async {
            select! {
                biased;
                Some(_) = parked.as_mut() => 0,
                Some(_) = early.as_mut() => 0,
                Some(v) = b.recv() => v,
                else => 0,
            }
        });
        assert_eq!(got, round);
    }
    assert_eq!((block_on(parked), block_on(early)), (None, None));
}

#[test]
fn a_select_that_is_dropped_after_a_close_leaves_no_registration_ca05() {
    let ((a_tx, a), (b_tx, b)) = two(0);
    for value in 0..3 {
        let selecting = Hand::parked(next(&a, &b));
        a_tx.close();
        if value == 1 {
            // Handed over, and given back.
            b_tx.try_send(value).unwrap();
        }
        drop(selecting);
        assert_eq!(b.try_recv().ok(), (value == 1).then_some(1));
        assert!(b_tx.try_send(value).is_err());
    }
}

#[test]
fn a_receive_that_a_leaked_select_had_queued_starts_anew() {
    for closes in [false, true] {
        let (tx, rx) = chan::unbuffered();
        let (rx, leaked): (&'static Receiver<u8>, _) = (Box::leak(Box::new(rx.clone())), rx);
        let mut receive = Box::pin(rx.recv());
        Hand::parked(async {
            select! { Some(_) = receive.as_mut() => 0, else => 1 }
        })
        .leak();
        if closes {
            drop(tx);
            assert_eq!(block_on(receive), None);
        } else {
            let mut again = Hand::parked(receive);
            tx.try_send(7).unwrap();
            assert_eq!(again.ready(), Some(7));
        }
        drop(leaked);
    }
}

#[test]
fn more_than_sixteen_arms_go_off_one_by_one() {
    no_hang(|| {
        let (tx, rx): (Vec<_>, Vec<_>) = (0..20).map(|_| chan::unbuffered::<usize>()).unzip();
        let mut selecting = Hand::parked(async {
            macro_rules! receives {
                ($($i:literal)*) => {
                    select! { $(Some(v) = rx[$i].recv() => Some(($i, v)),)* else => None }
                };
            }
            receives!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19)
        });
        for tx in &tx {
            assert_eq!(selecting.wakes(), 0);
            assert!(selecting.is_pending());
            tx.close();
        }
        assert_eq!((selecting.wakes(), selecting.ready()), (1, None));
    });
}

#[test]
fn the_body_of_else_is_part_of_the_surrounding_code_sel15() {
    block_on(async {
        let (tx, rx) = chan::bounded(3);
        (1..4).for_each(|i| tx.try_send(i).unwrap());
        drop(tx);
        let mut sum = 0;
        let answer = 'outer: loop {
            select! {
                Some(v) = rx.recv() => { sum += v; continue }
                else => { if sum == 6 { break 'outer "all" } }
            }
            unreachable!();
        };
        assert_eq!(answer, "all");
        let early = async {
            select! { Some(v) = rx.recv() => assert_eq!(v, 0), else => return 7 }
            0
        };
        assert_eq!(early.await, 7);
        let failed: Result<i32, &str> = async {
            let v = select! { Some(v) = rx.recv() => v, else => Err("closed")? };
            Ok(v)
        }
        .await;
        assert_eq!(failed, Err("closed"));
    });
}

#[test]
fn what_is_in_the_some_may_be_taken_apart() {
    let (tx, rx) = chan::bounded(1);
    tx.try_send((1, [2, 3])).unwrap();
    let sum = select! { Some((a, [b, c])) = rx.recv() => a + b + c, default => 0 };
    assert_eq!(sum, 6);
    tx.try_send((1, [2, 3])).unwrap();
    let sum = select! { Some((a, ..)) = rx.recv(), if sum == 0 => a, default => 0 };
    assert_eq!(sum, 0);
}

/// Merges the values of many senders by selects that are dropped after a random number of polls.
async fn merge(rxs: [Receiver<usize>; 3], drops: usize) -> usize {
    let [a, b, c] = &rxs;
    let (mut sum, mut dropped) = (0, 0);
    loop {
        let selecting = async {
            select! {
                Some(v) = a.recv() => Some(v),
                Some(v) = b.recv() => Some(v),
                Some(v) = c.recv() => Some(v),
                // It is woken at once: the select polls it while the others send and close.
                Some(v) = fut(poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::<Option<usize>>::Pending
                })), if drops > 0 => Some(v),
                else => None,
            }
        };
        let mut selecting = pin!(selecting);
        let polls = fastrand::usize(1..4);
        let polled = if drops > dropped {
            let mut polled = 0;
            poll_fn(|cx| match selecting.as_mut().poll(cx) {
                Poll::Ready(got) => Poll::Ready(Some(got)),
                Poll::Pending if polled == polls => Poll::Ready(None),
                Poll::Pending => {
                    polled += 1;
                    Poll::Pending
                }
            })
            .await
        } else {
            Some(next_of([a, b, c]).await)
        };
        match polled {
            Some(Some(value)) => sum += value,
            Some(None) => return sum,
            None => dropped += 1,
        }
    }
}

async fn next_of([a, b, c]: [&Receiver<usize>; 3]) -> Option<usize> {
    select! {
        Some(v) = a.recv() => Some(v),
        Some(v) = b.recv() => Some(v),
        Some(v) = c.recv() => Some(v),
        else => None,
    }
}

#[test]
fn dropped_at_any_poll_it_loses_no_value_and_sees_every_close() {
    for procs in [1, 2] {
        on_procs(procs, async {
            for round in 0..200 {
                let capacity = round % 3;
                let (txs, rxs): (Vec<_>, Vec<_>) = (0..3).map(|_| chan::bounded(capacity)).unzip();
                for tx in txs {
                    go(async move {
                        for value in 1..=10 {
                            tx.send(value).await.unwrap();
                            if value % 3 == 0 {
                                gopark::gosched().await;
                            }
                        }
                    });
                }
                let merged = go(merge(rxs.try_into().unwrap(), round % 40));
                assert_eq!(merged.await.unwrap(), 3 * 55);
            }
        });
    }
}

#[test]
fn closes_from_several_threads_end_it_once() {
    no_hang(|| {
        let runtime = crate::util::rt(2);
        runtime.block_on(async {
            for round in 0..2000 {
                let (txs, rxs): (Vec<_>, Vec<_>) =
                    (0..3).map(|_| chan::unbuffered::<usize>()).unzip();
                for (i, tx) in txs.into_iter().enumerate() {
                    if (round >> i) & 1 == 0 {
                        go(async move { drop(tx) });
                    } else {
                        // Sometimes on a thread that is none of the runtime's.
                        go(async move {
                            gopark::gosched().await;
                            tx.close();
                        });
                    }
                }
                assert_eq!(next_of([&rxs[0], &rxs[1], &rxs[2]]).await, None);
            }
        });
    });
}

#[test]
fn a_timeout_withdraws_its_arms_and_a_later_poll_goes_on() {
    on_procs(1, async {
        let ((a_tx, a), (b_tx, b)) = two(0);
        let mut selecting = pin!(next(&a, &b));
        let limit = Duration::from_millis(1);
        assert!(gopark::time::timeout(limit, selecting.as_mut()).await.is_err());
        assert!(a_tx.try_send(1).is_err() && b_tx.try_send(1).is_err());
        a_tx.close();
        go(async move { b_tx.send(2).await });
        assert_eq!(selecting.await, Some(2));
    });
}

#[test]
fn the_list_of_run_time_has_cases_that_go_off() {
    let ((a_tx, a), (b_tx, b)) = two(0);
    let list = || Select::new().recv_some(&a, Some).recv_some(&b, Some).or_else(|| None);
    assert!(list().try_now().is_none());
    let mut selecting = Hand::parked(list().wait());
    drop(a_tx);
    assert_eq!(selecting.wakes(), 0);
    b_tx.try_send(1).unwrap();
    assert_eq!(selecting.ready(), Some(1));
    let mut selecting = Hand::parked(list().wait());
    let mut without =
        Hand::parked(Select::new().recv_some(&a, |_| ()).recv_some(&b, |_| ()).wait());
    drop(b_tx);
    assert_eq!((selecting.wakes(), selecting.ready()), (1, None));
    assert!(without.is_pending() && without.is_pending());
    assert_eq!(list().try_now(), Some(None));
    assert!(Select::new().recv_some(&a, |_| ()).try_now().is_none());
    assert_eq!(Select::new().or_else(|| 1).try_now(), Some(1));
    assert_eq!(block_on(Select::new().or_else(|| 1).or_else(|| 2).wait()), 2);
}

#[test]
fn a_list_with_another_case_never_comes_to_its_or_else() {
    let (tx, rx) = chan::unbuffered::<u8>();
    let none = fut(pending::<()>());
    let mut selecting =
        Hand::parked(Select::new().recv_some(&rx, |_| 0).case(none, |()| 1).or_else(|| 2).wait());
    drop(tx);
    assert!(selecting.is_pending());
    assert_eq!(selecting.wakes(), 0);
}

#[test]
fn the_cases_of_a_list_that_went_off_have_no_share_sel02() {
    const ROUNDS: usize = 10_000;
    let (_, closed) = chan::unbuffered::<()>();
    let channels: Vec<_> = (0..4).map(|_| chan::bounded::<()>(ROUNDS)).collect();
    channels.iter().for_each(|(tx, _)| (0..ROUNDS).for_each(|_| tx.try_send(()).unwrap()));
    let mut counts = [0; 4];
    for _ in 0..ROUNDS {
        let mut select = Select::new();
        for (i, (_, rx)) in channels.iter().enumerate() {
            select = select.recv_some(&closed, |()| unreachable!()).recv_some(rx, move |()| i);
            select = select.recv_some(&closed, |()| unreachable!());
        }
        counts[select.or_else(|| unreachable!()).try_now().expect("four are ready")] += 1;
    }
    counts.into_iter().for_each(|count| even(count, ROUNDS, 4));
}

#[test]
fn a_thousand_cases_of_a_list_go_off() {
    no_hang(|| {
        let (mut txs, rxs): (Vec<_>, Vec<_>) =
            (0..1000).map(|_| chan::unbuffered::<usize>()).unzip();
        let mut select = Select::new();
        for rx in &rxs {
            select = select.recv_some(rx, Some);
        }
        let mut selecting = Hand::parked(select.or_else(|| None).wait());
        let last = txs.swap_remove(500);
        drop(txs);
        assert_eq!(selecting.wakes(), 0);
        last.try_send(5).unwrap();
        assert_eq!(selecting.ready(), Some(5));
    });
}

#[test]
fn a_thread_waits_for_a_list_until_a_case_takes_place_or_time_is_over() {
    no_hang(|| {
        let ((a_tx, a), (b_tx, b)) = two(0);
        let list = || Select::new().recv_some(&a, Some).recv_some(&b, Some).or_else(|| None);
        let limit = Duration::from_millis(2);
        assert_eq!(list().wait_timeout_blocking(Duration::ZERO), None);
        assert_eq!(list().wait_timeout_blocking(limit), None);
        assert!(a_tx.try_send(1).is_err(), "it left the queue");
        let sender = std::thread::spawn(move || {
            b_tx.send_blocking(1).unwrap();
            a_tx.send_blocking(2).unwrap();
        });
        assert_eq!(list().wait_blocking(), Some(1));
        assert_eq!(list().wait_timeout_blocking(Duration::MAX), Some(Some(2)));
        assert_eq!(list().wait_blocking(), None);
        assert_eq!(list().wait_timeout_blocking(limit), Some(None));
        sender.join().unwrap();
    });
}

#[test]
fn a_limit_of_time_that_is_over_and_a_send_agree_on_the_value() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let other = rx.clone();
        let receiver = std::thread::spawn(move || {
            let mut sum = 0;
            loop {
                let limit = Duration::from_micros(fastrand::u64(0..50));
                let list = Select::new().recv_some(&other, Some).or_else(|| None);
                match list.wait_timeout_blocking(limit) {
                    Some(Some(value)) => sum += value,
                    Some(None) => return sum,
                    None => {}
                }
            }
        });
        (1..=2000).for_each(|value| tx.send_blocking(value).unwrap());
        drop(tx);
        assert_eq!(receiver.join().unwrap(), 2000 * 2001 / 2);
        drop(rx);
    });
}

#[test]
fn a_case_is_generic_over_what_is_in_its_some() {
    async fn first<C: OptionCase>(case: C) -> Option<C::Value> {
        select! { Some(v) = case => Some(v), else => None }
    }
    let (tx, rx) = chan::bounded(1);
    tx.try_send(1).unwrap();
    assert_eq!(block_on(first(rx.recv())), Some(1));
    assert_eq!(block_on(first(Box::pin(fut(async { Some(2) })))), Some(2));
    assert_eq!(block_on(first(pin!(gopark::unconstrained(async { Some(3) })))), Some(3));
    assert_eq!(block_on(first(gopark::inspect::named("a name", async { None::<u8> }))), None);
}

#[test]
fn a_waker_is_called_once_however_many_closes_it_takes() {
    let woken = Arc::new(AtomicUsize::new(0));
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..3).map(|_| chan::unbuffered::<usize>()).unzip();
    let counts = woken.clone();
    let waker = Waker::from(Arc::new(crate::hand::Acts {
        on_wake: Box::new(move || _ = counts.fetch_add(1, Ordering::SeqCst)),
        on_drop: Box::new(|| ()),
    }));
    let mut selecting = Box::pin(next_of([&rxs[0], &rxs[1], &rxs[2]]));
    let mut cx = Context::from_waker(&waker);
    assert!(selecting.as_mut().poll(&mut cx).is_pending());
    drop(txs);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(None));
}
