//! Receivers as streams: those that watch a channel, and those that wait in its queue.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::{Stream, StreamExt};
use gopark::chan::{self, IntoStream, Receiver, TryRecvError, TrySendError};
use gopark::select::fut;
use gopark::sync::WaitGroup;
use gopark::{go, gosched, select, time};

use crate::hand::{Hand, on_procs};
use crate::util::{Counted, Drops, Wakes, no_hang};

/// One poll of a stream, by the task of that waker.
fn poll<S: Stream + Unpin>(stream: &mut S, waker: &Waker) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(waker))
}

/// A parked stream, and the wakes of its task.
fn parked<S: Stream + Unpin>(mut stream: S) -> (S, Arc<Wakes>) {
    let (wakes, waker) = Wakes::new();
    assert!(poll(&mut stream, &waker).is_pending());
    (stream, wakes)
}

// ------------------------------------------------------------------------------------- that watch

/// A bug: a receiver that was polled as a stream and then dropped left its task's waker with the
/// channel.
#[test]
fn ten_thousand_streams_that_are_gone_leave_no_waker_behind() {
    let (_tx, rx) = chan::unbuffered::<i32>();
    let mut wakes = Vec::new();
    let mut look = |rx: &mut Receiver<i32>| {
        let (own, waker) = Wakes::new();
        assert!(poll(rx, &waker).is_pending());
        wakes.push(own);
    };
    // Several values at once, then one at a time.
    let mut burst: Vec<_> = (0..10_000).map(|_| rx.clone()).collect();
    burst.iter_mut().for_each(&mut look);
    drop(burst);
    (0..10_000).for_each(|_| look(&mut rx.clone()));
    let kept = wakes.iter().filter(|wakes| Arc::strong_count(wakes) > 1).count();
    assert_eq!(kept, 0);
}

#[test]
fn a_receiver_has_one_registration_that_of_the_task_that_polled_it_last_ca08() {
    let (tx, mut rx) = chan::bounded(1);
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let (wakes, waker) = Wakes::new();
        assert!(poll(&mut rx, &waker).is_pending());
        tasks.push(wakes);
    }
    assert_eq!(
        tasks.iter().filter(|wakes| Arc::strong_count(wakes) > 1).count(),
        1,
        "the others were let go"
    );
    assert_eq!(
        tasks.iter().map(|wakes| wakes.count()).sum::<usize>(),
        0,
        "nothing was there to be told"
    );
    tx.try_send(1).unwrap();
    let last = tasks.pop().unwrap();
    assert_eq!((last.count(), Arc::strong_count(&last)), (1, 1));
    assert_eq!(tasks.iter().map(|wakes| wakes.count()).sum::<usize>(), 0);
    // It is not registered again until it is polled.
    assert_eq!(rx.try_recv(), Ok(1));
    tx.try_send(2).unwrap();
    assert_eq!(last.count(), 1);
}

#[test]
fn a_stream_that_has_found_its_value_is_registered_no_more() {
    let (tx, rx) = chan::bounded(2);
    let (mut stream, wakes) = parked(rx);
    tx.try_send(1).unwrap();
    let (other, waker) = Wakes::new();
    assert_eq!(poll(&mut stream, &waker), Poll::Ready(Some(1)));
    let mut stream = parked(stream).0;
    // Served before it was woken: the value was there when it was polled again.
    let mut send = Hand::new(tx.send(2));
    assert!(send.poll().is_ready());
    assert_eq!(poll(&mut stream, &waker), Poll::Ready(Some(2)));
    tx.try_send(3).unwrap();
    assert_eq!((wakes.count(), other.count()), (1, 0));
    assert_eq!(
        (Arc::strong_count(&wakes), Arc::strong_count(&other)),
        (1, 2),
        "the waker of this test is left"
    );
}

/// Polls with a new waker each time, as instrumented executors do.
struct Wrapped(Waker);

impl Wake for Wrapped {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// A bug: each poll registered one more waker, and a registration woke the stream: it was woken for
/// each of its own polls, without end.
#[test]
fn a_stream_that_is_polled_with_a_fresh_waker_each_time_does_not_spin() {
    on_procs(1, async {
        let (tx, mut rx) = chan::unbuffered::<i32>();
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        let stream = go(poll_fn(move |cx| {
            // A second reason to be polled, once.
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                cx.waker().wake_by_ref();
            }
            poll(&mut rx, &Waker::from(Arc::new(Wrapped(cx.waker().clone()))))
        }));
        for _ in 0..100 {
            gosched().await;
        }
        assert_eq!(polls.load(Ordering::SeqCst), 2, "polls of an idle stream");
        tx.send(7).await.unwrap();
        assert_eq!(stream.await.unwrap(), Some(7));
        assert_eq!(polls.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn two_tasks_on_one_receiver_do_not_wake_each_other() {
    on_procs(2, async {
        let (tx, rx) = chan::bounded::<u8>(1);
        let (rx, polls) = (Arc::new(Mutex::new(rx)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let (rx, polls) = (rx.clone(), polls.clone());
                go(poll_fn(move |cx| {
                    polls.fetch_add(1, Ordering::SeqCst);
                    rx.lock().unwrap().poll_next(cx)
                }))
            })
            .collect();
        while polls.load(Ordering::SeqCst) < 2 {
            gosched().await;
        }
        for _ in 0..1000 {
            gosched().await;
        }
        assert_eq!(polls.load(Ordering::SeqCst), 2);
        // One of the two is woken, the last one.
        tx.send(1).await.unwrap();
        while !tasks.iter().any(|task| task.is_finished()) {
            gosched().await;
        }
        assert_eq!(polls.load(Ordering::SeqCst), 3);
        assert_eq!(tasks.iter().filter(|task| !task.is_finished()).count(), 1);
    });
}

#[test]
fn a_value_wakes_each_watching_stream_once_and_those_that_come_meanwhile_not() {
    const STREAMS: usize = 1000;
    let (tx, rx) = chan::bounded(STREAMS);
    let mut streams: Vec<_> = (0..STREAMS).map(|_| parked(rx.clone())).collect();
    tx.try_send(0).unwrap();
    assert!(streams.iter().all(|(_, wakes)| wakes.count() == 1));
    // None of them has been polled: there is none left to wake.
    tx.try_send(1).unwrap();
    assert!(streams.iter().all(|(_, wakes)| wakes.count() == 1));
    let woken = streams
        .iter_mut()
        .map(|(stream, _)| poll(stream, Waker::noop()))
        .filter(Poll::is_ready)
        .count();
    assert_eq!(woken, 2);

    // Each wake polls its stream again, which registers while the others are being woken.
    struct Again(Mutex<(Receiver<i32>, usize)>);
    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(self.clone());
            let mut held = self.0.lock().unwrap();
            held.1 += 1;
            while poll(&mut held.0, &waker).is_ready() {}
        }
    }
    let (tx, rx) = chan::bounded(1);
    let tasks: Vec<_> = (0..100).map(|_| Arc::new(Again(Mutex::new((rx.clone(), 0))))).collect();
    for task in &tasks {
        let mut held = task.0.lock().unwrap();
        assert!(poll(&mut held.0, &Waker::from(task.clone())).is_pending());
    }
    for value in 0..10 {
        tx.try_send(value).unwrap();
        assert_eq!(rx.len(), 0);
    }
    assert!(tasks.iter().all(|task| task.0.lock().unwrap().1 == 10));
    // Otherwise they own themselves.
    tasks.iter().for_each(|task| task.0.lock().unwrap().0 = Receiver::nil());
}

#[test]
fn a_dropped_next_costs_no_other_stream_its_wake_ca03() {
    let (tx, rx) = chan::bounded(1);
    let (mut first, mut second) = (rx.clone(), rx);
    drop(Hand::parked(first.next()));
    let mut next = Hand::parked(second.next());
    tx.try_send(1).unwrap();
    assert_eq!((next.wakes(), next.ready()), (1, Some(1)));
}

#[test]
fn the_last_receiver_goes_without_a_wake_of_its_own_task() {
    let (tx, rx) = chan::unbuffered::<()>();
    let (stream, wakes) = parked(rx);
    drop(stream);
    assert_eq!((wakes.count(), Arc::strong_count(&wakes)), (0, 1));
    assert!(tx.is_closed());
}

// ------------------------------------------------------------------------------ that wait in line

#[test]
fn a_value_wakes_one_stream_that_waits_in_line_ch07() {
    let (tx, rx) = chan::unbuffered();
    let mut streams: Vec<_> = (0..100).map(|_| parked(rx.clone().into_stream())).collect();
    for (value, at) in (0..250).zip((0..100).cycle()) {
        tx.try_send(value).unwrap();
        let (stream, wakes) = &mut streams[at];
        assert_eq!(wakes.count(), 1, "the one that has waited longest");
        let (fresh, waker) = Wakes::new();
        assert_eq!(poll(stream, &waker), Poll::Ready(Some(value)));
        assert!(poll(stream, &waker).is_pending());
        *wakes = fresh;
        assert_eq!(streams.iter().map(|(_, wakes)| wakes.count()).sum::<usize>(), 0);
    }
}

#[test]
fn streams_in_line_and_receives_are_served_in_the_order_of_arrival_ch04() {
    for cap in [0, 2] {
        let (tx, rx) = chan::bounded(cap);
        let mut first = Hand::parked(rx.recv());
        let (mut stream, _) = parked(rx.clone().into_stream());
        let mut last = Hand::parked(rx.recv());
        let (mut watching, told) = parked(rx.clone());
        (1..=3).for_each(|value| tx.try_send(value).unwrap());
        assert_eq!(told.count(), 0, "a value that is handed over is not offered");
        assert_eq!(poll(&mut watching, Waker::noop()), Poll::Pending);
        assert_eq!((last.ready(), first.ready()), (Some(3), Some(1)));
        assert_eq!(poll(&mut stream, Waker::noop()), Poll::Ready(Some(2)));
    }
}

#[test]
fn a_dropped_stream_gives_back_what_it_was_handed_ca01() {
    for cap in [0, 1] {
        let drops = Drops::new();
        let (tx, rx) = chan::bounded(cap);
        let (served, _) = parked(rx.clone().into_stream());
        let mut next = Hand::parked(rx.recv());
        tx.try_send(drops.one()).unwrap();
        assert_eq!(served.size_hint(), (1, None));
        drop(served);
        assert_eq!(next.wakes(), 1, "to the next receiver");
        assert!(next.ready().is_some());
        drop(next);
        let (served, _) = parked(rx.clone().into_stream());
        tx.try_send(drops.one()).unwrap();
        assert_eq!(rx.len(), 0);
        drop(served);
        assert_eq!((rx.len(), drops.count()), (1, 1), "back to the channel");
        assert!(rx.try_recv().is_ok());
        // The last receiver: the value is dropped with it.
        let (served, _) = parked(rx.into_stream());
        tx.try_send(drops.one()).unwrap();
        drop(served);
        assert_eq!(drops.count(), 3);
        assert!(tx.is_closed());
    }
}

#[test]
fn a_dropped_next_leaves_its_stream_in_line_ca08() {
    let (tx, rx) = chan::unbuffered();
    let mut stream = rx.clone().into_stream();
    drop(Hand::parked(stream.next()));
    let mut behind = Hand::parked(rx.recv());
    tx.try_send(1).unwrap();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "the stream has it");
    tx.try_send(2).unwrap();
    assert_eq!(behind.ready(), Some(2));
    assert_eq!(Hand::new(stream.next()).ready(), Some(1));
    assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)), "between two values it is not in line");
}

#[test]
fn another_task_takes_a_stream_over_and_keeps_its_place_ca08() {
    let (tx, rx) = chan::unbuffered();
    let (mut stream, old) = parked(rx.clone().into_stream());
    let mut behind = Hand::parked(rx.recv());
    let (new, waker) = Wakes::new();
    assert!(poll(&mut stream, &waker).is_pending());
    assert_eq!(Arc::strong_count(&old), 1, "let go");
    tx.try_send(1).unwrap();
    assert_eq!((new.count(), behind.wakes()), (1, 0));
    assert_eq!(poll(&mut stream, &waker), Poll::Ready(Some(1)));
    assert!(behind.is_pending());
}

#[test]
fn a_stream_in_line_ends_once_and_stays_so_ch08_ch09() {
    let (tx, rx) = chan::bounded(1);
    let (mut waiting, wakes) = parked(rx.clone().into_stream());
    let mut late = rx.clone().into_stream();
    assert_eq!(late.size_hint(), (0, None));
    // A value that comes back after the end, which the streams have already returned.
    let handed = Hand::parked(rx.recv());
    drop(Hand::parked(rx.recv()));
    tx.try_send(1).unwrap();
    assert_eq!(poll(&mut waiting, Waker::noop()), Poll::Ready(Some(1)));
    let (mut waiting, again) = parked(waiting);
    tx.try_send(2).unwrap();
    tx.close();
    assert_eq!((wakes.count(), again.count()), (1, 1));
    assert_eq!(waiting.size_hint(), (0, Some(0)));
    assert_eq!(
        (poll(&mut waiting, Waker::noop()), poll(&mut late, Waker::noop())),
        (Poll::Ready(None), Poll::Ready(None))
    );
    drop(handed);
    assert_eq!(rx.len(), 1);
    for stream in [&mut waiting, &mut late] {
        assert_eq!(poll(stream, Waker::noop()), Poll::Ready(None));
        assert_eq!(stream.size_hint(), (0, Some(0)));
    }
    assert_eq!(rx.try_recv(), Ok(2));
}

#[test]
fn a_stream_drains_what_there_is_and_completes_parked_sends_ch05_ch15() {
    for cap in [0, 1, 3] {
        let (tx, rx) = chan::bounded(cap);
        (0..cap).for_each(|value| tx.try_send(value).unwrap());
        let mut sends: Vec<_> = (cap..6).map(|value| Hand::parked(tx.send(value))).collect();
        let mut stream = rx.into_stream();
        for value in 0..6 {
            assert_eq!(poll(&mut stream, Waker::noop()), Poll::Ready(Some(value)));
        }
        assert!(sends.iter_mut().all(|send| send.ready().is_ok()));
        drop(sends);
        drop(tx);
        assert_eq!(poll(&mut stream, Waker::noop()), Poll::Ready(None));
    }
}

#[test]
fn a_stream_of_no_channel_is_pending_ch03() {
    let (mut stream, wakes) = parked(Receiver::<Counted>::nil().into_stream());
    assert!(poll(&mut stream, Waker::noop()).is_pending());
    assert_eq!((wakes.count(), stream.size_hint()), (0, (0, None)));
    assert_eq!(format!("{stream:?}"), "IntoStream { channel: None, .. }");
}

#[test]
fn a_receiver_that_watched_becomes_a_stream_in_line() {
    let (tx, rx) = chan::unbuffered();
    let (rx, watched) = parked(rx);
    let (mut stream, wakes) = parked(rx.into_stream());
    assert_eq!(Arc::strong_count(&watched), 1);
    tx.try_send(1).unwrap();
    assert_eq!((watched.count(), wakes.count()), (0, 1));
    assert_eq!(poll(&mut stream, Waker::noop()), Poll::Ready(Some(1)));
}

#[test]
fn a_next_that_times_out_or_loses_to_a_default_leaves_the_line_ca17() {
    on_procs(1, async {
        let (tx, rx) = chan::unbuffered();
        let mut stream = rx.into_stream();
        assert!(time::timeout(Duration::from_micros(10), stream.next()).await.is_err());
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
        let tried = select! { v = fut(stream.next()) => v, default => None };
        assert_eq!((tried, tx.try_send(2)), (None, Err(TrySendError::Full(2))));
        let sender = go(async move { tx.send(3).await });
        assert_eq!(time::timeout(Duration::from_secs(60), stream.next()).await, Ok(Some(3)));
        sender.await.unwrap().unwrap();
    });
}

/// Unlike a `next()` that is dropped: what a try or a timeout gives up is out of reach.
#[test]
fn a_stream_whose_next_times_out_or_loses_to_a_default_waits_behind_those_after_it() {
    for times_out in [false, true] {
        let (tx, rx) = chan::unbuffered();
        let mut stream = rx.clone().into_stream();
        drop(Hand::parked(stream.next()));
        let mut behind = Hand::parked(rx.recv());
        if times_out {
            Hand::new(time::timeout(Duration::ZERO, stream.next())).ready().unwrap_err();
        } else {
            let tried = Hand::new(async {
                select! { v = stream.next() => v, default => None }
            });
            assert_eq!({ tried }.ready(), None);
        }
        drop(Hand::parked(stream.next()));
        tx.try_send(1).unwrap();
        assert_eq!(behind.ready(), Some(1));
        tx.try_send(2).unwrap();
        assert_eq!(Hand::new(stream.next()).ready(), Some(2));
    }
}

#[test]
fn streams_in_line_work_in_any_executor_and_share_the_values_ch15_ch18() {
    const VALUES: usize = 3000;
    for cap in [0, 1, 7] {
        no_hang(move || {
            let (tx, rx) = chan::bounded(cap);
            let seen = Arc::new(Mutex::new(vec![0; VALUES]));
            let note = |mut stream: IntoStream<usize>| {
                let seen = seen.clone();
                async move {
                    let mut previous = None;
                    while let Some(value) = stream.next().await {
                        assert!(previous < Some(value), "in the order of sending");
                        previous = Some(value);
                        seen.lock().unwrap()[value] += 1;
                    }
                }
            };
            let runtime = crate::util::rt(2);
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let all = note(rx.clone().into_stream());
                    thread::spawn(move || futures_lite::future::block_on(all))
                })
                .collect();
            let goroutines: Vec<_> =
                (0..2).map(|_| runtime.go(note(rx.clone().into_stream()))).collect();
            drop(rx);
            (0..VALUES).for_each(|value| tx.send_blocking(value).unwrap());
            drop(tx);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            runtime.block_on(async {
                for goroutine in goroutines {
                    goroutine.await.unwrap()
                }
            });
            assert!(seen.lock().unwrap().iter().all(|times| *times == 1));
        });
    }
}

#[test]
fn a_herd_of_streams_in_line_is_polled_once_a_value() {
    on_procs(1, async {
        const STREAMS: usize = 1000;
        const VALUES: usize = 2000;
        let (tx, rx) = chan::unbuffered::<usize>();
        let (wg, polls) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..STREAMS {
            let (mut stream, polls) = (rx.clone().into_stream(), polls.clone());
            wg.go(poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                loop {
                    match Pin::new(&mut stream).poll_next(cx) {
                        Poll::Ready(Some(_)) => {}
                        Poll::Ready(None) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }));
        }
        while polls.load(Ordering::Relaxed) < STREAMS {
            gosched().await;
        }
        for value in 0..VALUES {
            tx.send(value).await.unwrap();
            gosched().await;
        }
        tx.close();
        wg.wait().await;
        // At most: a stream that is handed a value and polled late may find the end in the same
        // poll.
        let polls = polls.load(Ordering::Relaxed);
        assert!((2 * STREAMS..=STREAMS + VALUES + STREAMS).contains(&polls), "{polls} polls");
    });
}

#[test]
fn a_stream_of_a_ticker_waits_in_line() {
    on_procs(1, async {
        let ticker = time::Ticker::new(Duration::from_micros(100));
        let mut stream = ticker.channel().clone().into_stream();
        let (first, second) = (stream.next().await.unwrap(), stream.next().await.unwrap());
        assert!(first < second);
        // Until none is due.
        let (_wakes, waker) = Wakes::new();
        while poll(&mut stream, &waker).is_ready() {}
        ticker.reset(Duration::from_secs(3600));
        drop(stream);
        assert_eq!(
            ticker.channel().try_recv(),
            Err(TryRecvError::Empty),
            "no tick of before the reset"
        );
    });
}
