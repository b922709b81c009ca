//! Reserved places in a buffer: CA-04.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::Stream;
use futures_lite::future::{block_on, poll_once};
use gopark::chan::{self, Receiver, SendError, Sender, TryRecvError, TrySendError};
use gopark::sync::WaitGroup;
use gopark::{go, select};

use crate::hand::{Dice, Hand, on_procs};
use crate::util::{Drops, Wakes, no_hang, within};

#[test]
fn a_reserved_place_is_taken_and_its_send_does_not_wait() {
    let (tx, rx) = chan::bounded(2);
    let place = block_on(tx.reserve()).unwrap();
    assert_eq!(tx.try_send(1), Ok(()));
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
    assert_eq!((tx.len(), tx.capacity(), tx.is_full()), (1, 2, false));
    assert_eq!(place.send(3), Ok(()));
    assert_eq!(
        (rx.try_recv(), rx.try_recv(), rx.try_recv()),
        (Ok(1), Ok(3), Err(TryRecvError::Empty))
    );
    assert_eq!((tx.try_send(4), tx.try_send(5)), (Ok(()), Ok(())));
}

#[test]
fn sends_and_reservations_wait_in_one_line() {
    let (tx, rx) = chan::bounded(1);
    tx.try_send(0).unwrap();
    let mut first = Hand::parked(tx.send(1));
    let mut second = Hand::parked(tx.reserve());
    let mut third = Hand::parked(tx.send(3));
    assert_eq!(rx.try_recv(), Ok(0));
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    first.ready().unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!((second.wakes(), third.wakes(), rx.len()), (1, 0, 0));
    second.ready().unwrap().send(2).unwrap();
    assert!(third.is_pending());
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(2), Ok(3)));
    third.ready().unwrap();
}

#[test]
fn a_place_that_is_dropped_goes_to_the_one_that_has_waited_longest() {
    let (tx, rx) = chan::bounded(1);
    let place = tx.try_reserve().unwrap();
    let mut reserve = Hand::parked(tx.reserve());
    let mut send = Hand::parked(tx.send(1));
    drop(place);
    assert_eq!((reserve.wakes(), send.wakes()), (1, 0));
    let place = reserve.ready().unwrap();
    assert!(tx.try_reserve().is_err());
    drop(place);
    assert_eq!((send.wakes(), rx.len()), (1, 1));
    send.ready().unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    drop(tx.try_reserve().unwrap());
    assert_eq!(tx.try_send(2), Ok(()));
}

#[test]
fn a_reservation_that_is_dropped_leaves_the_line_or_passes_its_place_on() {
    let (tx, rx) = chan::bounded(1);
    tx.try_send(0).unwrap();
    let leaves = Hand::parked(tx.reserve());
    let granted = Hand::parked(tx.reserve());
    let mut next = Hand::parked(tx.reserve());
    drop(leaves);
    assert_eq!(rx.try_recv(), Ok(0));
    assert_eq!((granted.wakes(), next.wakes()), (1, 0));
    drop(granted);
    assert_eq!(next.wakes(), 1);
    next.ready().unwrap().send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
}

#[test]
fn a_close_ends_reservations_and_gives_the_value_of_a_reserved_place_back() {
    let drops = Drops::new();
    let (tx, rx) = chan::bounded(1);
    let place = tx.try_reserve().unwrap();
    let mut waiting = Hand::parked(tx.reserve());
    rx.close();
    assert_eq!(waiting.ready().unwrap_err(), SendError(()));
    let back = place.send(drops.one()).unwrap_err();
    assert_eq!(drops.count(), 0);
    drop(back);
    assert_eq!(drops.count(), 1);
    assert_eq!(block_on(tx.reserve()).unwrap_err(), SendError(()));
    assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Closed(()));
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));

    // The last receiver is dropped.
    let (tx, rx) = chan::bounded(1);
    let place = tx.try_reserve().unwrap();
    drop(rx);
    assert_eq!(place.send(1), Err(SendError(1)));
}

#[test]
fn what_has_no_buffer_has_no_places() {
    let (tx, _rx) = chan::unbuffered::<u8>();
    for panics in [|tx: &Sender<u8>| drop(tx.reserve()), |tx: &Sender<u8>| drop(tx.try_reserve())] {
        let panicked = catch_unwind(AssertUnwindSafe(|| panics(&tx)));
        let text = *panicked.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(text, "gopark: reserve on an unbuffered channel");
    }
    let nil = Sender::<u8>::nil();
    assert_eq!(nil.try_reserve().unwrap_err(), TrySendError::Full(()));
    assert!(Hand::parked(nil.reserve()).is_pending());
}

#[test]
fn where_all_places_are_reserved_sends_and_receives_meet() {
    let (tx, rx) = chan::bounded(1);
    let place = tx.try_reserve().unwrap();
    // A reservation that waits has no value for a receive.
    let mut reserve = Hand::parked(tx.reserve());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    let mut send = Hand::parked(tx.send(1));
    assert_eq!(rx.try_recv(), Ok(1));
    send.ready().unwrap();
    let mut send = Hand::parked(tx.send(2));
    let got = select! { v = rx.recv() => v, default => None };
    assert_eq!(got, Some(2));
    send.ready().unwrap();
    let mut recv = Hand::parked(rx.recv());
    assert_eq!(tx.try_send(3), Ok(()));
    assert_eq!(recv.ready(), Some(3));
    // A select that waits for both takes the one that comes first.
    let (_other, never) = chan::unbuffered::<u8>();
    let mut selecting = Hand::parked(async {
        select! { v = rx.recv() => v, _ = never.recv() => None }
    });
    assert_eq!(tx.try_send(4), Ok(()));
    assert_eq!(selecting.ready(), Some(4));
    let mut selecting = Hand::parked(async {
        select! { sent = tx.send(5) => sent.is_ok(), _ = never.recv() => false }
    });
    assert_eq!(rx.try_recv(), Ok(5));
    assert!(selecting.ready());
    drop(place);
    drop(reserve.ready().unwrap());
    assert_eq!((tx.try_send(6), tx.len()), (Ok(()), 1));
}

#[test]
fn a_reserved_send_to_a_waiting_receiver_leaves_its_place_to_the_next() {
    let (tx, rx) = chan::bounded(1);
    let place = tx.try_reserve().unwrap();
    let mut reserve = Hand::parked(tx.reserve());
    let mut recv = Hand::parked(rx.recv());
    place.send(1).unwrap();
    assert_eq!(recv.ready(), Some(1));
    reserve.ready().unwrap().send(2).unwrap();
    assert_eq!(rx.try_recv(), Ok(2));
}

#[test]
fn a_reserved_send_does_not_wait_though_a_value_came_back() {
    let (tx, rx) = chan::bounded(2);
    let places = [tx.try_reserve().unwrap(), tx.try_reserve().unwrap()];
    let handed = Hand::parked(rx.recv());
    tx.try_send(1).unwrap();
    drop(handed);
    assert_eq!(rx.len(), 1);
    for (value, place) in (2..).zip(places) {
        place.send(value).unwrap();
    }
    let mut waits = Hand::parked(tx.reserve());
    assert_eq!(rx.len(), 3);
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(waits.is_pending());
    assert_eq!(rx.try_recv(), Ok(2));
    drop(waits.ready().unwrap());
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(3), Err(TryRecvError::Empty)));
}

#[test]
fn force_send_replaces_no_reserved_place() {
    let (tx, rx) = chan::bounded(2);
    let place = tx.try_reserve().unwrap();
    assert_eq!((tx.force_send(1), tx.force_send(2)), (Ok(None), Ok(Some(1))));
    let other = {
        assert_eq!(rx.try_recv(), Ok(2));
        tx.try_reserve().unwrap()
    };
    assert_eq!(tx.force_send(3), Ok(Some(3)), "there is nothing to replace");
    place.send(4).unwrap();
    other.send(5).unwrap();
    assert_eq!(tx.force_send(6), Ok(Some(4)));
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(5), Ok(6)));
}

#[test]
fn places_of_a_buffer_that_grows_are_there_when_they_are_used() {
    for (tx, rx) in [chan::bounded::<usize>(100_000), chan::unbounded()] {
        let places: Vec<_> = (0..5000).map(|_| tx.try_reserve().unwrap()).collect();
        for (value, place) in places.into_iter().enumerate() {
            match value % 3 {
                0 => drop(place),
                _ => place.send(value).unwrap(),
            }
        }
        let got: Vec<_> = rx.try_iter().collect();
        assert_eq!(got, (0..5000).filter(|value| value % 3 != 0).collect::<Vec<_>>());
        tx.try_send(1).unwrap();
    }
}

#[test]
fn a_reservation_is_a_case_that_loses_without_a_trace_ca05() {
    let (tx, rx) = chan::bounded(1);
    let (stop, stopped) = chan::bounded(1);
    let mut selecting = Hand::new(async {
        select! {
            place = tx.reserve() => place.unwrap().send(1),
            _ = stopped.recv() => unreachable!(),
        }
    });
    selecting.ready().unwrap();
    let mut selecting = Hand::parked(async {
        select! { place = tx.reserve() => place.is_ok(), _ = stopped.recv() => false }
    });
    let mut behind = Hand::parked(tx.reserve());
    stop.try_send(()).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    // The stop came first: the place goes to the next waiter.
    assert!(!selecting.ready());
    drop(behind.ready().unwrap());

    tx.try_send(2).unwrap();
    let mut selecting = Hand::parked(async {
        select! {
            place = tx.reserve() => place.unwrap().send(3),
            _ = stopped.recv() => unreachable!(),
        }
    });
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!(selecting.wakes(), 1);
    selecting.ready().unwrap();
    let dropped = Hand::parked(async {
        select! { place = tx.reserve() => drop(place), _ = stopped.recv() => unreachable!() }
    });
    assert_eq!(rx.try_recv(), Ok(3));
    drop(dropped);
    assert!(select! { place = tx.reserve() => place.is_ok(), default => false });
    assert!(tx.try_reserve().is_ok());
}

#[test]
fn a_stream_is_woken_by_a_reserved_send_and_by_a_place_that_lets_a_send_in() {
    let (tx, mut rx) = chan::bounded(1);
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let place = tx.try_reserve().unwrap();
    assert_eq!(Pin::new(&mut rx).poll_next(&mut cx), Poll::Pending);
    place.send(1).unwrap();
    assert_eq!(wakes.count(), 1);
    assert_eq!(Pin::new(&mut rx).poll_next(&mut cx), Poll::Ready(Some(1)));
    let place = tx.try_reserve().unwrap();
    assert_eq!(Pin::new(&mut rx).poll_next(&mut cx), Poll::Pending);
    let mut send = Hand::parked(tx.send(2));
    assert_eq!(wakes.count(), 2);
    drop(place);
    assert_eq!(Pin::new(&mut rx).poll_next(&mut cx), Poll::Ready(Some(2)));
    send.ready().unwrap();
}

/// Sends some values, each in one of several ways that may be cancelled.
async fn produce(tx: Sender<usize>, sent: &AtomicUsize, seed: u64) {
    let mut dice = Dice::new(seed);
    for _ in 0..100 {
        let value = 1 + dice.roll(1000);
        let polls = dice.roll(3);
        let is_sent = match dice.roll(6) {
            0 => tx.send(value).await.is_ok(),
            1 => tx.try_send(value).is_ok(),
            2 => tx.try_reserve().is_ok_and(|place| place.send(value).is_ok()),
            3 => {
                let mut reserve = Box::pin(tx.reserve());
                let mut place = None;
                for _ in 0..polls {
                    place = poll_once(reserve.as_mut()).await;
                    if place.is_some() {
                        break;
                    }
                    gopark::gosched().await;
                }
                drop(reserve);
                place.is_some_and(|place| place.unwrap().send(value).is_ok())
            }
            4 => {
                let place = tx.reserve().await.unwrap();
                (0..polls).for_each(|_| std::thread::yield_now());
                drop(place);
                false
            }
            _ => {
                let place = tx.reserve().await.unwrap();
                gopark::gosched().await;
                place.send(value).is_ok()
            }
        };
        if is_sent {
            sent.fetch_add(value, Ordering::Relaxed);
        }
    }
}

#[test]
fn whatever_is_given_up_every_value_arrives_and_every_place_comes_back() {
    for procs in [1, 2] {
        on_procs(procs, async {
            for round in 0..20 {
                let capacity = 1 + round % 4;
                let (tx, rx) = chan::bounded(capacity);
                let (sent, wg) = (Arc::new(AtomicUsize::new(0)), WaitGroup::new());
                for i in 0..4 {
                    let (tx, sent) = (tx.clone(), sent.clone());
                    wg.go(async move { produce(tx, &sent, (round * 10 + i) as u64).await });
                }
                let consumers = [rx.clone(), rx.clone()].map(|rx: Receiver<usize>| {
                    go(async move {
                        let mut sum = 0;
                        loop {
                            // Every third receive may be dropped while it holds a value.
                            let mut recv = Box::pin(rx.recv());
                            if sum % 3 == 0 {
                                match poll_once(recv.as_mut()).await {
                                    Some(Some(value)) => sum += value,
                                    Some(None) => return sum,
                                    None => gopark::gosched().await,
                                }
                                continue;
                            }
                            match recv.await {
                                Some(value) => sum += value,
                                None => return sum,
                            }
                        }
                    })
                });
                wg.wait().await;
                // The remaining values are received, and all places are free.
                loop {
                    gopark::gosched().await;
                    let places: Vec<_> =
                        (0..capacity).filter_map(|_| tx.try_reserve().ok()).collect();
                    if places.len() == capacity {
                        assert!(tx.try_reserve().is_err());
                        break;
                    }
                }
                tx.close();
                let [first, second] = consumers;
                let left: usize = rx.try_iter().sum();
                let received = first.await.unwrap()
                    + second.await.unwrap()
                    + left
                    + rx.try_iter().sum::<usize>();
                assert_eq!(received, sent.load(Ordering::Relaxed), "round {round}");
            }
        });
    }
}

#[test]
fn places_that_are_dropped_by_threads_are_all_there_in_the_end() {
    no_hang(|| {
        let (tx, rx) = chan::bounded::<u8>(3);
        let threads: Vec<_> = (0..3)
            .map(|seed| {
                let (tx, mut dice) = (tx.clone(), Dice::new(seed));
                std::thread::spawn(move || {
                    for _ in 0..2000 {
                        if dice.roll(2) == 0 {
                            drop(block_on(tx.reserve()).unwrap());
                        } else {
                            drop(block_on(poll_once(tx.reserve())));
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let places: Vec<_> = (0..3).map(|_| tx.try_reserve().unwrap()).collect();
        assert!(tx.try_reserve().is_err());
        places.into_iter().for_each(|place| place.send(1).unwrap());
        assert_eq!(rx.try_iter().count(), 3);
    });
}

/// A bug: a receive that found the buffer empty looked at each reservation that waited, for a send
/// among them, under the lock.
#[test]
fn a_receive_from_an_empty_buffer_does_not_look_at_each_reservation_that_waits() {
    const WAITING: usize = 100_000;
    within(Duration::from_secs(30), || {
        let (tx, rx) = chan::bounded(1);
        let place = tx.try_reserve().unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        let mut waits: Vec<_> = (0..WAITING).map(|_| Box::pin(tx.reserve())).collect();
        assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(cx).is_pending()));
        // Another send, another reservation, or none, before each receive.
        for i in 0..20_000 {
            if i % 100 == 0 {
                let mut send = Hand::parked(tx.send(i));
                assert_eq!(rx.try_recv(), Ok(i));
                send.ready().unwrap();
            }
            if i % 2 == 0 {
                let mut last = Box::pin(tx.reserve());
                assert!(last.as_mut().poll(cx).is_pending());
                waits.push(last);
            }
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        }
        // Each gets the place in turn.
        drop(place);
        for wait in &mut waits {
            match wait.as_mut().poll(cx) {
                Poll::Ready(place) => place.unwrap().send(7).unwrap(),
                Poll::Pending => panic!("pending"),
            }
            assert_eq!(rx.try_recv(), Ok(7));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        }
    });
}

#[test]
fn a_receive_finds_the_send_wherever_it_waits_among_reservations() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let (tx, rx) = chan::bounded(1);
        let place = tx.try_reserve().unwrap();
        let (mut reserves, mut sends) = (Vec::new(), VecDeque::new());
        for i in 0..100 {
            match dice.roll(5) {
                0 | 1 => reserves.push(Hand::parked(tx.reserve())),
                2 => sends.push_back((i, Hand::parked(tx.send(i)))),
                3 if !reserves.is_empty() => drop(reserves.swap_remove(dice.roll(reserves.len()))),
                3 => drop(sends.remove(dice.roll(sends.len() + 1))),
                _ => match sends.pop_front() {
                    Some((value, mut send)) => {
                        assert_eq!(rx.try_recv(), Ok(value), "seed {seed}");
                        send.ready().unwrap();
                    }
                    None => assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "seed {seed}"),
                },
            }
        }
        drop(place);
    }
}
