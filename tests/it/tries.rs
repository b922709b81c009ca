//! Operations with a limit as cases of a `select!`, and attempts that are not repeated: a `default`,
//! the last poll of a limit. They leave no trace that another operation finds.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::future::{block_on, poll_once};
use gopark::chan::{SendTimeoutError, Sender};
use gopark::context::{Context as GoContext, ContextError, ContextSendError};
use gopark::select::{Select, fut};
use gopark::sync::{Barrier, Mutex, RwMutex, Semaphore, oneshot};
use gopark::time::rate::Limiter;
use gopark::{chan, go, gosched, select, unconstrained};

use crate::util::{Wakes, rt};

const HOUR: Duration = Duration::from_secs(3600);

/// Tries `$case` beside a default. Before the attempt ends, `$seen` is evaluated, and returned.
macro_rules! seen_in_a_try {
    ($case:expr, $seen:expr) => {{
        let seen = Cell::new(None);
        let look = fut(poll_fn(|_| {
            seen.set(Some($seen));
            Poll::<()>::Pending
        }));
        let tried = async {
            select! {
                biased;
                _ = $case => panic!("there is nothing to wait for"),
                _ = look => unreachable!(),
                default => {}
            }
        };
        block_on(tried);
        seen.take().expect("the second case was tried")
    }};
}

/// A bug: each of these was enqueued, and dequeued when it was dropped. Meanwhile a receiver on
/// another thread took the value, though the select reported that nothing was sent; a try failed
/// beside a free lock or permit; a barrier's other arrivals completed a round without it.
#[test]
fn a_default_beside_a_wait_leaves_no_trace_sel06_rw06() {
    let (tx, rx) = chan::unbuffered();
    assert!(seen_in_a_try!(tx.send_timeout(1, HOUR), rx.try_recv()).is_err());
    let (ctx, _cancel) = GoContext::background().with_cancel();
    assert!(seen_in_a_try!(ctx.send(&tx, 1), rx.try_recv()).is_err());
    assert!(seen_in_a_try!(unconstrained(tx.send(1)), rx.try_recv()).is_err());

    let lock = RwMutex::new(());
    let reads = block_on(lock.rlock());
    assert!(seen_in_a_try!(lock.lock(), lock.try_rlock()).is_some());
    drop(reads);

    let semaphore = Semaphore::new(2);
    let permit = semaphore.try_acquire(1).unwrap();
    assert!(seen_in_a_try!(semaphore.acquire(2), semaphore.try_acquire(1)).is_some());
    drop(permit);

    let mutex = Mutex::new(());
    let guard = block_on(mutex.lock());
    let guard = Cell::new(Some(guard));
    assert!(seen_in_a_try!(mutex.lock(), {
        drop(guard.take());
        mutex.try_lock().is_some()
    }));

    let barrier = Barrier::new(2);
    let arrives = || pin!(barrier.wait()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(seen_in_a_try!(barrier.wait(), arrives()).is_pending());

    let limiter = Limiter::new(0.001, 1);
    assert!(limiter.allow(1));
    assert!(seen_in_a_try!(limiter.wait(1), limiter.tokens()) > -0.5);
}

#[test]
fn a_try_completes_what_is_ready() {
    let barrier = Barrier::new(2);
    let mut first = pin!(barrier.wait());
    assert!(block_on(poll_once(first.as_mut())).is_none());
    block_on(async {
        select! {
            arrived = barrier.wait() => assert!(arrived.is_leader()),
            default => panic!("it is the last arrival"),
        }
        assert!(!first.await.is_leader());
        let limiter = Limiter::new(0.001, 1);
        select! {
            waited = limiter.wait(1) => assert!(waited.is_ok()),
            default => panic!("there is a token"),
        }
        select! {
            waited = limiter.wait(2) => assert!(waited.is_err()),
            default => panic!("no wait helps"),
        }
    });
}

/// A bug: the last poll found that the round had not ended; before the arrival was withdrawn,
/// another one ended the round, so that one side reported a time-out, and the other a full round.
#[test]
fn a_wait_for_a_barrier_that_times_out_is_withdrawn_by_its_last_poll() {
    block_on(async {
        let barrier = Barrier::new(2);
        let (ctx, cancel) = GoContext::background().with_cancel();
        let mut wait = pin!(barrier.wait());
        {
            let mut limited = pin!(ctx.run(wait.as_mut()));
            assert!(poll_once(limited.as_mut()).await.is_none());
            cancel.cancel();
            assert!(limited.await.is_err());
        }
        let mut second = pin!(barrier.wait());
        assert!(poll_once(second.as_mut()).await.is_none(), "the first has left");
        // It arrives again.
        assert!(wait.await.is_leader());
        assert!(!second.await.is_leader());
    });
}

/// A bug: the goroutine had used up its budget, so that the last poll of the operation was refused,
/// and its value was dropped.
#[test]
fn a_last_poll_completes_an_operation_though_the_budget_is_spent_ca17() {
    rt(1).block_on(async {
        // So that the budget is not renewed.
        let other = go(async {
            loop {
                gosched().await
            }
        });
        gosched().await;
        let (ctx, cancel) = GoContext::background().with_cancel();
        let (tx, rx) = oneshot::channel();
        let (closing, closed) = chan::bounded::<()>(1);
        closing.close();
        let mut run = pin!(ctx.run(rx));
        let mut tx = Some(tx);
        assert!(poll_once(run.as_mut()).await.is_none());
        let ran = poll_fn(|cx| {
            if let Some(tx) = tx.take() {
                tx.send(7).unwrap();
            }
            cancel.cancel();
            while pin!(closed.recv()).poll(cx).is_ready() {}
            run.as_mut().poll(cx)
        });
        assert_eq!(ran.await, Ok(Ok(7)));
        other.abort();
    });
}

/// A bug: the context had ended first and its case stood first, but a value that arrived before the
/// select ran again won.
#[test]
fn an_earlier_case_of_a_parked_biased_select_comes_before_a_received_value() {
    let (tx, rx) = chan::bounded(1);
    let (ctx, cancel) = GoContext::background().with_cancel();
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut selecting = pin!(async {
            select! {
                biased;
                _ = ctx.done() => None,
                value = rx.recv() => value,
            }
        });
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        cancel.cancel();
        tx.try_send(1).unwrap();
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(None));
    }
    assert_eq!(rx.try_recv(), Ok(1), "the value is not lost");
    {
        let (ctx, cancel) = GoContext::background().with_cancel();
        let (full, _receiver) = chan::unbuffered();
        let mut selecting = pin!(async {
            select! {
                biased;
                sent = ctx.send(&full, 7) => sent.is_ok(),
                _ = rx.recv() => true,
            }
        });
        assert_eq!(rx.try_recv().ok(), None);
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        cancel.cancel();
        tx.try_send(3).unwrap();
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(false));
    }
    assert_eq!(rx.try_recv(), Ok(3));
    // A case that stands behind the receive does not.
    let mut selecting = pin!(async {
        select! {
            biased;
            value = rx.recv() => value,
            _ = ctx.done() => None,
        }
    });
    tx.try_send(2).unwrap();
    assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
}

type Boxed<'a> = Pin<Box<dyn Future<Output = &'a str> + 'a>>;

/// A bug: the send waited in the queue alone. A receiver took its value, another channel took the
/// other case of the select, and both had taken place. A select met itself.
#[test]
fn a_send_with_a_limit_is_a_case_like_a_plain_send_sel06_sel08() {
    let (tx, rx) = chan::unbuffered::<u8>();
    let (tx2, rx2) = chan::unbuffered::<u8>();
    let (ctx, _cancel) = GoContext::background().with_cancel();
    let mut cx = Context::from_waker(Waker::noop());
    let selects: [Boxed<'_>; 4] = [
        Box::pin(async {
            select! { _ = ctx.send(&tx, 7) => "sent", _ = rx2.recv() => "got" }
        }),
        Box::pin(async {
            select! { _ = tx.send_timeout(7, HOUR) => "sent", _ = rx2.recv() => "got" }
        }),
        Box::pin(async {
            let mut send = Box::pin(ctx.send(&tx, 7));
            select! { _ = send.as_mut() => "sent", _ = rx2.recv() => "got" }
        }),
        Box::pin(Select::new().case(ctx.send(&tx, 7), |_| "sent").recv(&rx2, |_| "got").wait()),
    ];
    for mut selecting in selects {
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(rx.try_recv(), Ok(7));
        assert!(tx2.try_send(1).is_err(), "the select has chosen");
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready("sent"));
    }
    for _ in 0..100 {
        let mut itself = pin!(async {
            select! {
                _ = ctx.send(&tx, 7) => {}
                _ = tx.send_timeout(7, HOUR) => {}
                _ = rx.recv() => {}
            }
        });
        assert!(itself.as_mut().poll(&mut cx).is_pending(), "it met itself");
    }
    assert!(rx.try_recv().is_err());
}

#[test]
fn a_send_with_a_limit_gives_its_value_back_when_a_parked_select_finds_the_limit_reached() {
    let (tx, rx) = chan::unbuffered();
    let (_tx2, rx2) = chan::unbuffered::<u8>();
    let (ctx, cancel) = GoContext::background().with_cancel();
    for has_ended in [false, true] {
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let mut selecting = pin!(async {
            select! {
                sent = ctx.send(&tx, 7) => sent,
                _ = rx2.recv() => unreachable!(),
            }
        });
        if !has_ended {
            assert!(selecting.as_mut().poll(&mut cx).is_pending());
            cancel.cancel();
            assert_eq!(wakes.count(), 1);
        }
        let ended = Poll::Ready(Err(ContextSendError::Context(ContextError::Canceled, 7)));
        assert_eq!(selecting.as_mut().poll(&mut cx), ended);
        assert!(rx.try_recv().is_err());
    }
    let timed_out = async {
        select! {
            sent = tx.send_timeout(8, Duration::from_millis(1)) => sent,
            _ = rx2.recv() => unreachable!(),
        }
    };
    assert_eq!(block_on(timed_out), Err(SendTimeoutError::Timeout(8)));
    assert!(rx.try_recv().is_err());
    drop(rx);
    let closed = async {
        select! {
            sent = tx.send_timeout(9, HOUR) => sent,
            _ = rx2.recv() => unreachable!(),
        }
    };
    assert_eq!(block_on(closed), Err(SendTimeoutError::Closed(9)));
}

#[test]
fn a_send_with_a_limit_that_lost_a_select_continues_as_a_future_and_the_other_way_round() {
    let (tx, rx) = chan::unbuffered();
    let (tx2, rx2) = chan::bounded(1);
    let (ctx, cancel) = GoContext::background().with_cancel();
    let mut cx = Context::from_waker(Waker::noop());
    let mut send = Box::pin(ctx.send(&tx, 7));
    tx2.try_send(1).unwrap();
    let lost = async {
        select! {
            biased;
            _ = send.as_mut() => unreachable!("there is no receiver"),
            got = rx2.recv() => assert_eq!(got, Some(1)),
        }
    };
    block_on(lost);
    assert!(rx.try_recv().is_err(), "it is in no queue");
    assert!(send.as_mut().poll(&mut cx).is_pending());
    {
        // Now it has a place of its own, which it keeps as a case.
        let mut selecting = pin!(async {
            select! {
                sent = send.as_mut() => sent,
                _ = rx2.recv() => unreachable!(),
            }
        });
        assert!(selecting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(rx.try_recv(), Ok(7));
        assert_eq!(selecting.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    }
    let mut nil = pin!(async {
        select! {
            sent = ctx.send(&Sender::nil(), 8) => sent,
            _ = rx2.recv() => unreachable!(),
        }
    });
    assert!(nil.as_mut().poll(&mut cx).is_pending());
    cancel.cancel();
    let ended = Err(ContextSendError::Context(ContextError::Canceled, 8));
    assert_eq!(nil.as_mut().poll(&mut cx), Poll::Ready(ended));
}
