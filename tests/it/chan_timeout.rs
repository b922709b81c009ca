//! Sends and receives with a time limit.

use std::pin::pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use gopark::chan::{self, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError};
use gopark::{go, gosched, select, time};

use crate::util::{Wakes, no_hang};

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_send_that_times_out_gives_its_value_back_and_leaves_the_queue() {
    no_hang(|| {
        gopark::block_on(async {
            for cap in [0, 1, 200] {
                let (tx, rx) = chan::bounded(cap);
                for v in 0..cap {
                    tx.try_send(v.to_string()).unwrap();
                }
                let start = Instant::now();
                let late = tx.send_timeout("late".into(), SHORT).await;
                assert!(start.elapsed() >= SHORT);
                assert_eq!(late, Err(SendTimeoutError::Timeout("late".into())));
                assert_eq!(
                    rx.try_iter().collect::<Vec<_>>(),
                    (0..cap).map(|v| v.to_string()).collect::<Vec<_>>()
                );
            }
        });
    });
}

#[test]
fn a_send_with_no_time_is_tried_once() {
    gopark::block_on(async {
        let (tx, rx) = chan::bounded(1);
        assert_eq!(tx.send_timeout(1, Duration::ZERO).await, Ok(()));
        assert_eq!(tx.send_timeout(2, Duration::ZERO).await, Err(SendTimeoutError::Timeout(2)));
        assert_eq!(rx.try_recv(), Ok(1));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn a_limited_send_waits_for_a_receiver_and_fails_at_a_close() {
    no_hang(|| {
        gopark::block_on(async {
            let (tx, rx) = chan::unbuffered();
            let sender = tx.clone();
            let sent = go(async move {
                (sender.send_timeout(1, LONG).await, sender.send_timeout(2, LONG).await)
            });
            assert_eq!(rx.recv().await, Some(1));
            gosched().await;
            assert!(tx.close());
            assert_eq!(sent.await.unwrap(), (Ok(()), Err(SendTimeoutError::Closed(2))));
            assert_eq!(tx.send_timeout(3, LONG).await, Err(SendTimeoutError::Closed(3)));
        });
    });
}

#[test]
fn a_limited_send_keeps_its_place_in_line() {
    let (tx, rx) = chan::unbuffered();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let (mut first, mut second) = (pin!(tx.send_timeout(1, LONG)), pin!(tx.send(2)));
    assert!(
        first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending()
    );
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2)));
    assert_eq!(first.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
}

#[test]
fn a_limited_send_that_is_dropped_drops_its_value_and_sends_nothing() {
    let (tx, rx) = chan::unbuffered();
    let value = std::sync::Arc::new(());
    let (_, waker) = Wakes::new();
    {
        let mut send = pin!(tx.send_timeout(value.clone(), LONG));
        assert!(send.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn each_value_of_a_limited_send_is_received_or_comes_back() {
    no_hang(|| {
        gopark::block_on(async {
            let (tx, rx) = chan::unbuffered();
            let receiver = go(async move {
                let mut received = Vec::new();
                while let Some(v) = rx.recv().await {
                    received.push(v);
                    // asleep: so that the sender's time limit passes at some values and not at
                    // others
                    time::sleep(Duration::from_micros(v % 7 * 10)).await;
                }
                received
            });
            let mut sent = Vec::new();
            for v in 0..2000_u64 {
                match tx.send_timeout(v, Duration::from_micros(v % 5 * 10)).await {
                    Ok(()) => sent.push(v),
                    Err(back) => assert_eq!(back, SendTimeoutError::Timeout(v)),
                }
            }
            drop(tx);
            assert_eq!(receiver.await.unwrap(), sent);
        });
    });
}

#[test]
fn a_limited_send_is_a_case_of_a_select() {
    gopark::block_on(async {
        let (tx, rx) = chan::bounded(1);
        let (_open, quiet) = chan::unbuffered::<()>();
        for expected in [Ok(()), Err(SendTimeoutError::Timeout('x'))] {
            select! {
                sent = tx.send_timeout('x', SHORT) => assert_eq!(sent, expected),
                v = quiet.recv() => unreachable!("nothing is sent, yet {v:?}"),
            }
        }
        assert_eq!(rx.len(), 1);
    });
}

#[test]
fn a_limited_send_on_a_nil_channel_times_out() {
    gopark::block_on(async {
        assert_eq!(Sender::nil().send_timeout(1, SHORT).await, Err(SendTimeoutError::Timeout(1)));
    });
    assert_eq!(Sender::nil().send_timeout_blocking(1, SHORT), Err(SendTimeoutError::Timeout(1)));
}

#[test]
fn a_thread_sends_within_its_time_or_gets_the_value_back() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let start = Instant::now();
        assert_eq!(tx.send_timeout_blocking(1, SHORT), Err(SendTimeoutError::Timeout(1)));
        assert!(start.elapsed() >= SHORT);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        let sender = tx.clone();
        let thread = thread::spawn(move || {
            (sender.send_timeout_blocking(2, LONG), sender.send_timeout_blocking(3, Duration::MAX))
        });
        assert_eq!(rx.recv_blocking(), Some(2));
        drop(rx);
        assert_eq!(thread.join().unwrap(), (Ok(()), Err(SendTimeoutError::Closed(3))));
    });
}

#[test]
fn a_thread_receives_within_its_time() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let start = Instant::now();
        assert_eq!(rx.recv_timeout_blocking(SHORT), Err(RecvTimeoutError::Timeout));
        assert!(start.elapsed() >= SHORT);
        let thread = thread::spawn(move || {
            (rx.recv_timeout_blocking(LONG), rx.recv_timeout_blocking(Duration::MAX))
        });
        tx.send_blocking(1).unwrap();
        drop(tx);
        assert_eq!(thread.join().unwrap(), (Ok(1), Err(RecvTimeoutError::Closed)));
    });
}

#[test]
fn the_errors_say_what_happened() {
    assert_eq!(SendTimeoutError::Timeout(()).to_string(), "send timed out");
    assert_eq!(SendTimeoutError::Closed(()).to_string(), "send on closed channel");
    assert_eq!(format!("{:?}", SendTimeoutError::Closed(1)), "Closed(..)");
    assert_eq!(RecvTimeoutError::Timeout.to_string(), "receive timed out");
    assert_eq!(RecvTimeoutError::Closed.to_string(), "receive on closed channel");
}
