//! Channels: the CH rows.

use std::collections::{HashMap, HashSet};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_lite::future::block_on as block_thread_on;
use futures_lite::{Stream, StreamExt};
use gopark::chan::{self, Receiver, SendError, Sender, TryRecvError, TrySendError};
use gopark::sync::WaitGroup;
use gopark::{Runtime, go, gosched};

use crate::hand::Hand;
use crate::util::{Wakes, no_hang};

fn runtime(procs: usize) -> Runtime {
    Runtime::builder().gomaxprocs(procs).build().unwrap()
}

#[test]
fn an_unbuffered_send_completes_when_the_value_is_taken_ch01() {
    let (tx, rx) = chan::unbuffered();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut send = pin!(tx.send(1));
    assert!(send.as_mut().poll(&mut cx).is_pending());
    assert_eq!(wakes.count(), 0);
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(wakes.count(), 1);
    assert_eq!(send.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
}

#[test]
fn as_many_sends_as_there_is_room_complete_alone_in_order_ch02() {
    for cap in [1, 2, 3, 10, 200] {
        let (tx, rx) = chan::bounded(cap);
        for v in 0..cap {
            assert_eq!(block_thread_on(tx.send(v)), Ok(()));
        }
        assert_eq!(tx.try_send(cap), Err(TrySendError::Full(cap)));
        for v in 0..cap {
            assert_eq!(rx.try_recv(), Ok(v));
        }
    }
}

#[test]
fn a_nil_channel_is_never_ready_ch03() {
    let (tx, rx) = (Sender::nil(), Receiver::<i32>::nil());
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let (mut send, mut recv) = (pin!(tx.send(1)), pin!(rx.recv()));
    for _ in 0..3 {
        assert!(send.as_mut().poll(&mut cx).is_pending());
        assert!(recv.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(wakes.count(), 0);
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!((tx.len(), tx.capacity(), tx.is_closed()), (0, 0, false));
    assert_eq!((rx.len(), rx.capacity(), rx.is_closed()), (0, 0, false));
    let closed = std::panic::catch_unwind(|| Sender::<i32>::nil().close()).unwrap_err();
    assert_eq!(closed.downcast_ref::<&str>(), Some(&"close of nil channel"));
}

#[test]
fn waiters_are_served_in_the_order_of_arrival_ch04() {
    let (tx, rx) = chan::unbuffered();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut receivers: Vec<_> = (0..5).map(|_| Box::pin(rx.recv())).collect();
    for r in &mut receivers {
        assert!(r.as_mut().poll(&mut cx).is_pending());
    }
    (0..5).for_each(|v| tx.try_send(v).unwrap());
    for (v, r) in receivers.iter_mut().enumerate() {
        assert_eq!(r.as_mut().poll(&mut cx), Poll::Ready(Some(v)));
    }
    let mut senders: Vec<_> = (0..5).map(|v| Box::pin(tx.send(v))).collect();
    for s in &mut senders {
        assert!(s.as_mut().poll(&mut cx).is_pending());
    }
    (0..5).for_each(|v| assert_eq!(rx.try_recv(), Ok(v)));
}

#[test]
fn a_receive_from_a_full_buffer_moves_the_oldest_sender_in_ch05() {
    let (tx, rx) = chan::bounded(2);
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    (0..2).for_each(|v| tx.try_send(v).unwrap());
    let mut senders: Vec<_> = (2..6).map(|v| Box::pin(tx.send(v))).collect();
    for s in &mut senders {
        assert!(s.as_mut().poll(&mut cx).is_pending());
    }
    let mut lens = vec![];
    for v in 0..6 {
        assert_eq!(rx.try_recv(), Ok(v));
        lens.push(rx.len());
        if v < 4 {
            assert_eq!(wakes.count(), v + 1);
            assert_eq!(tx.try_send(99), Err(TrySendError::Full(99)), "no newcomer slips in");
        }
    }
    assert_eq!(lens, [2, 2, 2, 2, 1, 0]);
}

#[test]
fn a_send_writes_straight_into_a_waiting_receive_ch06() {
    let (tx, rx) = chan::bounded(3);
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut recv = pin!(rx.recv());
    assert!(recv.as_mut().poll(&mut cx).is_pending());
    tx.try_send(7).unwrap();
    assert_eq!((tx.len(), wakes.count()), (0, 1));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "a third party gets nothing");
    assert_eq!(recv.as_mut().poll(&mut cx), Poll::Ready(Some(7)));
}

/// Counts the polls of a future.
struct Polls<F>(std::pin::Pin<Box<F>>, Arc<AtomicUsize>);

impl<F: Future> Future for Polls<F> {
    type Output = F::Output;
    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.as_mut().poll(cx)
    }
}

#[test]
fn a_blocked_operation_is_polled_exactly_twice_ch07() {
    no_hang(|| {
        runtime(1).block_on(async {
            const N: usize = 50;
            let (tx, rx) = chan::unbuffered::<usize>();
            let polls = Arc::new(AtomicUsize::new(0));
            let wg = WaitGroup::new();
            for _ in 0..N {
                let (rx, polls) = (rx.clone(), polls.clone());
                wg.go(async move {
                    let recv = Polls(Box::pin(rx.recv()), polls);
                    recv.await.unwrap();
                });
            }
            while polls.load(Ordering::Relaxed) < N {
                gosched().await;
            }
            for v in 0..N {
                tx.send(v).await.unwrap();
            }
            wg.wait().await;
            assert_eq!(polls.load(Ordering::Relaxed), 2 * N);
        });
    });
}

#[test]
fn a_closed_channel_is_drained_in_order_and_then_ends_ch08() {
    let (tx, rx) = chan::bounded(3);
    (0..3).for_each(|v| tx.try_send(v).unwrap());
    assert!(tx.close());
    assert!(!tx.close(), "closing twice returns false ch11");
    (0..3).for_each(|v| assert_eq!(block_thread_on(rx.recv()), Some(v)));
    for _ in 0..3 {
        assert_eq!(block_thread_on(rx.recv()), None);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    }
}

#[test]
fn close_releases_everyone_who_waits_ch09() {
    let (tx, rx) = chan::bounded(1);
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    tx.try_send(7).unwrap();
    let mut senders: Vec<_> = (0..100).map(|v| Box::pin(tx.send(v))).collect();
    for s in &mut senders {
        assert!(s.as_mut().poll(&mut cx).is_pending());
    }
    tx.close();
    assert_eq!(wakes.count(), 100);
    for (v, s) in senders.iter_mut().enumerate() {
        assert_eq!(s.as_mut().poll(&mut cx), Poll::Ready(Err(SendError(v))));
    }
    assert_eq!(rx.try_recv(), Ok(7));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));

    let (tx, rx) = chan::unbuffered::<i32>();
    let mut receivers: Vec<_> = (0..100).map(|_| Box::pin(rx.recv())).collect();
    for r in &mut receivers {
        assert!(r.as_mut().poll(&mut cx).is_pending());
    }
    drop(tx);
    for r in &mut receivers {
        assert_eq!(r.as_mut().poll(&mut cx), Poll::Ready(None));
    }
    assert_eq!(wakes.count(), 200);
}

#[test]
fn a_send_on_a_closed_channel_gives_the_value_back_ch10() {
    let (tx, rx) = chan::bounded(1);
    tx.close();
    assert_eq!(block_thread_on(tx.send(3)), Err(SendError(3)));
    assert_eq!(tx.try_send(4), Err(TrySendError::Closed(4)));
    assert_eq!(tx.send_blocking(5).unwrap_err().into_inner(), 5);
    assert!(rx.is_closed());
}

#[test]
fn the_last_handle_of_a_side_closes_ch12() {
    let (tx, rx) = chan::bounded(2);
    let other = tx.clone();
    drop(tx);
    assert!(!rx.is_closed());
    other.try_send(Arc::new(())).unwrap();
    drop(other);
    assert!(rx.is_closed());
    assert!(rx.try_recv().is_ok());

    let (tx, rx) = chan::bounded(2);
    let value = Arc::new(());
    tx.try_send(value.clone()).unwrap();
    let rx2 = rx.clone();
    drop(rx);
    assert!(!tx.is_closed());
    drop(rx2);
    assert!(tx.is_closed());
    assert!(!tx.close(), "it was closed by the last receiver");
    assert_eq!(Arc::strong_count(&value), 1, "what it held is dropped at once");
    assert!(matches!(tx.try_send(value), Err(TrySendError::Closed(_))));
}

#[test]
fn a_try_receive_never_misses_a_value_for_a_racing_close_ch13() {
    no_hang(|| {
        for _ in 0..2_000 {
            let (tx, rx) = chan::bounded(1);
            tx.try_send(1).unwrap();
            let closer = thread::spawn(move || tx.close());
            assert_eq!(rx.try_recv(), Ok(1));
            assert!(closer.join().unwrap());
            assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
        }
    });
}

#[test]
fn len_counts_the_buffer_alone_ch14() {
    let (tx, rx) = chan::bounded(2);
    let (_, waker) = Wakes::new();
    (0..2).for_each(|v| tx.try_send(v).unwrap());
    let mut waiting = pin!(tx.send(2));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((tx.len(), rx.len(), tx.capacity(), rx.capacity()), (2, 2, 2, 2));
    let (tx, _rx) = chan::unbuffered::<i32>();
    assert_eq!((tx.len(), tx.capacity(), tx.is_empty(), tx.is_full()), (0, 0, true, true));
}

#[test]
fn many_consumers_share_a_range_ch15_ch18() {
    no_hang(|| {
        for procs in [1, 2, 4] {
            for cap in [0, 1, 16] {
                runtime(procs).block_on(async move {
                    let (tx, rx) = chan::bounded::<usize>(cap);
                    let (out_tx, out) = chan::bounded::<(usize, usize)>(8);
                    let workers = WaitGroup::new();
                    for w in 0..23 {
                        let (mut rx, out) = (rx.clone(), out_tx.clone());
                        workers.go(async move {
                            // Some receive as a stream, some with `recv`.
                            if w % 3 == 0 {
                                while let Some(v) = rx.next().await {
                                    out.send((w, v)).await.unwrap();
                                }
                            } else {
                                while let Some(v) = rx.recv().await {
                                    out.send((w, v)).await.unwrap();
                                }
                            }
                        });
                    }
                    drop((rx, out_tx));
                    for p in 0..4 {
                        let tx = tx.clone();
                        go(async move {
                            for v in 0..250 {
                                tx.send(p * 1000 + v).await.unwrap();
                            }
                        });
                    }
                    drop(tx);
                    let mut seen = HashSet::new();
                    let mut last: HashMap<(usize, usize), usize> = HashMap::new();
                    while let Some((w, v)) = out.recv().await {
                        assert!(seen.insert(v), "{v} came twice");
                        // FIFO for each sender, as each consumer sees it.
                        if let Some(before) = last.insert((w, v / 1000), v) {
                            assert!(before < v, "{before} before {v}");
                        }
                    }
                    workers.wait().await;
                    assert_eq!(seen.len(), 1000);
                });
            }
        }
    });
}

#[test]
fn zero_size_values_obey_the_capacity_and_a_huge_one_is_no_problem_ch17_ch20() {
    let (tx, rx) = chan::bounded(1000);
    (0..1000).for_each(|_| tx.try_send(()).unwrap());
    assert_eq!(tx.try_send(()), Err(TrySendError::Full(())));
    assert_eq!(rx.len(), 1000);
    let (tx, _rx) = chan::bounded::<u64>(usize::MAX / 2);
    assert_eq!(tx.try_send(1), Ok(()));
}

#[test]
fn every_value_is_dropped_exactly_once_ch18() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let value = || Counted(drops.clone());
    let (tx, rx) = chan::bounded(8);
    for _ in 0..5 {
        assert!(tx.try_send(value()).is_ok());
    }
    drop(rx.try_recv());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    drop(tx);
    assert_eq!(drops.load(Ordering::Relaxed), 1, "the rest can still be received");
    drop(rx);
    assert_eq!(drops.load(Ordering::Relaxed), 5);
    let (tx, rx) = chan::unbuffered();
    drop(tx.send(value()));
    drop(rx);
    assert_eq!(drops.load(Ordering::Relaxed), 6);
}

#[test]
fn a_channel_orders_plain_memory_ch19() {
    no_hang(|| {
        runtime(2).block_on(async {
            // A buffered channel, used as a semaphore, guards a plain counter.
            struct Plain(std::cell::UnsafeCell<usize>);
            // SAFETY: the channel below guards it.
            unsafe impl Sync for Plain {}
            let counter = Arc::new(Plain(std::cell::UnsafeCell::new(0)));
            let (acquire, release) = chan::bounded::<()>(1);
            let wg = WaitGroup::new();
            for _ in 0..8 {
                let (counter, acquire, release) =
                    (counter.clone(), acquire.clone(), release.clone());
                wg.go(async move {
                    for _ in 0..500 {
                        acquire.send(()).await.unwrap();
                        // SAFETY: this goroutine holds the only token.
                        unsafe { *counter.0.get() += 1 };
                        release.recv().await.unwrap();
                    }
                });
            }
            wg.wait().await;
            // SAFETY: all goroutines have ended.
            assert_eq!(unsafe { *counter.0.get() }, 4000);
        });
    });
}

#[test]
fn channels_are_values_ch21() {
    let (tx, rx) = chan::unbuffered::<i32>();
    let (other, _other_rx) = chan::unbuffered::<i32>();
    assert!(tx == tx.clone() && tx != other && rx == rx.clone());
    let names: HashMap<_, _> = [(tx.clone(), "tx"), (other, "other")].into();
    assert_eq!(names[&tx], "tx");
    // A channel that is sent through a channel.
    let (meta_tx, meta) = chan::bounded(1);
    meta_tx.try_send(tx).unwrap();
    let tx = meta.try_recv().unwrap();
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
}

#[test]
fn plain_threads_and_goroutines_share_a_channel() {
    no_hang(|| {
        let rt = runtime(2);
        let (tx, rx) = chan::unbuffered::<usize>();
        let (back_tx, back) = chan::bounded(2);
        for _ in 0..3 {
            let (rx, back) = (rx.clone(), back_tx.clone());
            rt.go(async move {
                while let Some(v) = rx.recv().await {
                    back.send(v * 2).await.unwrap();
                }
            });
        }
        drop((rx, back_tx));
        let feeder = thread::spawn(move || (0..500).for_each(|v| tx.send_blocking(v).unwrap()));
        assert_eq!(back.iter_blocking().sum::<usize>(), 500 * 499);
        feeder.join().unwrap();
        assert_eq!(back.recv_blocking(), None);
    });
}

#[test]
fn an_idle_stream_delays_nobody_and_strands_nothing() {
    let (tx, rx) = chan::unbuffered();
    let mut idle = rx.clone();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    assert!(idle.poll_next(&mut cx).is_pending());
    // The stream only watches; it is not a queued receiver.
    assert_eq!(tx.try_send(0), Err(TrySendError::Full(0)));
    let (_, send_waker) = Wakes::new();
    let mut send_cx = Context::from_waker(&send_waker);
    let mut send = pin!(tx.send(1));
    assert!(send.as_mut().poll(&mut send_cx).is_pending());
    assert_eq!(wakes.count(), 1, "the stream is notified");
    assert_eq!(rx.try_recv(), Ok(1), "yet another receiver may take it");
    assert!(idle.poll_next(&mut cx).is_pending());
    assert_eq!(send.as_mut().poll(&mut send_cx), Poll::Ready(Ok(())));
    let mut send = pin!(tx.send(2));
    assert!(send.as_mut().poll(&mut send_cx).is_pending());
    assert_eq!(idle.poll_next(&mut cx), Poll::Ready(Some(2)));
    tx.close();
    assert_eq!(idle.poll_next(&mut cx), Poll::Ready(None));
}

#[test]
fn streams_that_go_leave_no_wakers_behind() {
    let (_tx, rx) = chan::unbuffered::<i32>();
    let (wakes, waker) = Wakes::new();
    for _ in 0..1000 {
        let (_, other) = Wakes::new();
        assert!(rx.clone().poll_next(&mut Context::from_waker(&other)).is_pending());
    }
    assert!(rx.clone().poll_next(&mut Context::from_waker(&waker)).is_pending());
    // The waker, its clone in the channel, and `wakes`.
    assert!(Arc::strong_count(&wakes) <= 3);
}

#[test]
fn every_receiver_may_be_a_stream_and_none_is_woken_before_there_is_a_value() {
    let (tx, rx) = chan::bounded(1);
    let mut streams = [rx.clone(), rx.clone(), rx];
    let wakers = [(); 3].map(|()| Wakes::new());
    for (stream, (_, waker)) in streams.iter_mut().zip(&wakers) {
        assert!(Pin::new(stream).poll_next(&mut Context::from_waker(waker)).is_pending());
    }
    assert_eq!(wakers.each_ref().map(|(wakes, _)| wakes.count()), [0; 3]);
    tx.try_send(1).unwrap();
    assert_eq!(wakers.each_ref().map(|(wakes, _)| wakes.count()), [1; 3]);
}

#[test]
fn errors_say_what_happened_and_need_no_debug() {
    struct Mute;
    let errors: [Box<dyn std::error::Error>; 4] = [
        Box::new(SendError(Mute)),
        Box::new(TrySendError::Full(Mute)),
        Box::new(TrySendError::Closed(Mute)),
        Box::new(TryRecvError::Closed),
    ];
    let texts: Vec<_> = errors.iter().map(|e| format!("{e} | {e:?}")).collect();
    assert_eq!(
        texts,
        [
            "send on closed channel | SendError(..)",
            "send would wait: the channel is full | Full(..)",
            "send on closed channel | Closed(..)",
            "receive on closed channel | Closed",
        ]
    );
}

#[test]
fn debug_shows_the_channel_and_not_what_it_holds() {
    struct Mute;
    let (tx, rx) = chan::bounded(2);
    assert!(tx.try_send(Mute).is_ok());
    let channel = "channel: Some(Channel { len: 1, capacity: 2, closed: false, .. })";
    assert_eq!(format!("{tx:?}"), format!("Sender {{ {channel} }}"));
    assert_eq!(format!("{rx:?}"), format!("Receiver {{ {channel} }}"));
    assert_eq!(format!("{:?}", tx.send(Mute)), format!("Sending {{ {channel}, .. }}"));
    assert_eq!(format!("{:?}", rx.recv()), format!("Receiving {{ {channel}, .. }}"));
    tx.close();
    assert!(format!("{rx:?}").contains("closed: true"));
    assert_eq!(format!("{:?}", Sender::<Mute>::nil()), "Sender { channel: None }");
}

#[test]
#[should_panic(expected = "polled after completion")]
fn polling_after_completion_panics() {
    let (tx, _rx) = chan::bounded(1);
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut send = pin!(tx.send(1));
    assert!(send.as_mut().poll(&mut cx).is_ready());
    let _ = send.as_mut().poll(&mut cx);
}

#[test]
fn a_receive_that_another_task_takes_over_wakes_that_one_ca08() {
    let (tx, rx) = chan::unbuffered();
    let ((old, old_waker), (new, new_waker)) = (Wakes::new(), Wakes::new());
    let mut recv = pin!(rx.recv());
    assert!(recv.as_mut().poll(&mut Context::from_waker(&old_waker)).is_pending());
    assert!(recv.as_mut().poll(&mut Context::from_waker(&new_waker)).is_pending());
    tx.try_send(1).unwrap();
    assert_eq!((old.count(), new.count()), (0, 1));
    assert_eq!(recv.as_mut().poll(&mut Context::from_waker(&new_waker)), Poll::Ready(Some(1)));
}

/// A waker that panics.
struct Bad;

impl std::task::Wake for Bad {
    fn wake(self: Arc<Self>) {
        panic!("a bad waker");
    }
}

#[test]
fn a_waker_that_panics_costs_nobody_else_the_end_of_the_channel_ch09() {
    let (tx, rx) = chan::unbuffered::<()>();
    let (wakes, good) = Wakes::new();
    let bad = Waker::from(Arc::new(Bad));
    // More than a close wakes in one batch.
    let mut receives: Vec<_> = (0..100).map(|_| Box::pin(rx.recv())).collect();
    for (i, receive) in receives.iter_mut().enumerate() {
        let waker = if i == 40 { &bad } else { &good };
        assert!(receive.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    let mut streams: Vec<_> = (0..3).map(|_| rx.clone()).collect();
    for stream in &mut streams {
        let (_, own) = Wakes::new();
        assert!(Pin::new(stream).poll_next(&mut Context::from_waker(&own)).is_pending());
    }
    assert!(tx.close());
    assert_eq!(wakes.count(), 99);
    for receive in &mut receives {
        assert_eq!(receive.as_mut().poll(&mut Context::from_waker(&good)), Poll::Ready(None));
    }
}

#[test]
fn a_stream_whose_waker_panics_costs_no_other_stream_its_wake() {
    let (tx, rx) = chan::bounded(1);
    let (wakes, good) = Wakes::new();
    let bad = Waker::from(Arc::new(Bad));
    let (mut first, mut second) = (rx.clone(), rx.clone());
    assert!(Pin::new(&mut first).poll_next(&mut Context::from_waker(&bad)).is_pending());
    assert!(Pin::new(&mut second).poll_next(&mut Context::from_waker(&good)).is_pending());
    tx.try_send(1).unwrap();
    assert_eq!(wakes.count(), 1);
    assert_eq!(
        Pin::new(&mut second).poll_next(&mut Context::from_waker(&good)),
        Poll::Ready(Some(1))
    );
}

/// After sixty-four values that were returned have been received, the channel does some upkeep. It
/// mistook a small buffer for one that grows: its first round added a block to the ring, and its
/// second round freed the block with the values.
#[test]
fn a_small_buffer_is_left_alone_when_many_values_have_come_back() {
    let (tx, rx) = chan::bounded(4);
    // The next value goes to the second place, so that the third value after it is at the end.
    tx.try_send(0).unwrap();
    assert_eq!(rx.try_recv(), Ok(0));
    let mut receives: Vec<_> = (0..130).map(|_| Hand::parked(rx.recv())).collect();
    (0..130).for_each(|i| tx.try_send(i).unwrap());
    let late = receives.split_off(65);
    drop(receives);
    (0..64).for_each(|i| assert_eq!(rx.try_recv(), Ok(i)));
    (1000..1003).for_each(|i| tx.try_send(i).unwrap());
    assert_eq!(rx.try_recv(), Ok(64));
    tx.try_send(1003).unwrap();
    drop(late);
    (65..130).chain(1000..1004).for_each(|i| assert_eq!(rx.try_recv(), Ok(i)));
    for i in 0..100 {
        tx.try_send(i).unwrap();
        assert_eq!(rx.try_recv(), Ok(i));
    }
}
