//! Cancellation: the CA rows of channels and `select!`. `fuzz` tests them at random.

use std::collections::HashSet;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_lite::future::or;
use futures_lite::{Stream, StreamExt};
use gopark::chan::{self, Receiver, SendError, Sender, TryRecvError, TrySendError};
use gopark::context::{Context as GoContext, ContextSendError};
use gopark::select::{Select, fut};
use gopark::time::rate::Limiter;
use gopark::{JoinHandle, go, gosched, select};

use crate::hand::{Acts, Dice, Hand, on_procs};
use crate::util::{Drops, Wakes, no_hang, rt};

// -------------------------------------------------------------------------------- on real threads

/// What happened to the values, each by its number.
struct Books {
    values: Vec<AtomicU8>,
    drops: Vec<AtomicU8>,
    next: AtomicUsize,
    faults: AtomicUsize,
}

const SENT: u8 = 1;
const BACK: u8 = 2;
const RECEIVED: u8 = 4;

struct Booked {
    id: usize,
    books: Arc<Books>,
}

impl Drop for Booked {
    fn drop(&mut self) {
        if self.books.drops[self.id].fetch_add(1, Ordering::Relaxed) != 0 {
            self.books.faults.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Books {
    fn new(most: usize) -> Arc<Self> {
        let zeroes = || (0..most).map(|_| AtomicU8::new(0)).collect();
        Arc::new(Self {
            values: zeroes(),
            drops: zeroes(),
            next: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
        })
    }

    fn one(self: &Arc<Self>) -> Booked {
        Booked { id: self.next.fetch_add(1, Ordering::Relaxed), books: self.clone() }
    }

    fn note(&self, id: usize, what: u8) {
        if self.values[id].fetch_or(what, Ordering::Relaxed) & what != 0 {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn received(&self, value: Option<Booked>) -> bool {
        value.inspect(|value| self.note(value.id, RECEIVED)).is_some()
    }

    fn sent(&self, id: usize, result: Result<(), SendError<Booked>>) -> bool {
        self.note(id, if result.is_ok() { SENT } else { BACK });
        result.is_ok()
    }

    #[track_caller]
    fn balance(&self, seed: u64) {
        assert_eq!(
            self.faults.load(Ordering::Relaxed),
            0,
            "seed {seed}: something happened twice to a value"
        );
        for id in 0..self.next.load(Ordering::Relaxed) {
            let (what, drops) =
                (self.values[id].load(Ordering::Relaxed), self.drops[id].load(Ordering::Relaxed));
            assert_eq!(
                drops, 1,
                "seed {seed}: value {id} was dropped {drops} times, what = {what:b}"
            );
            // Nothing is recorded when the sender was aborted: the value was received, or dropped
            // with the operation.
            let right = matches!(what, 0 | BACK | RECEIVED) || what == SENT | RECEIVED;
            assert!(
                right,
                "seed {seed}: value {id} came to {what:b} (sent 1, back 10, received 100)"
            );
        }
    }
}

type Ends = [(Sender<Booked>, Receiver<Booked>); 2];

/// Polls on behalf of a foreign task: its wakers wake the goroutine, and panic after that, or when
/// the last of them is dropped.
async fn with_bad_wakers<F: Future>(in_drop: bool, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let goroutine = cx.waker().clone();
        let panic_if = |panics| {
            if panics {
                resume_unwind(Box::new(()));
            }
        };
        let on_wake = Box::new(move || {
            goroutine.wake_by_ref();
            panic_if(!in_drop);
        });
        let waker =
            Waker::from(Arc::new(Acts { on_wake, on_drop: Box::new(move || panic_if(in_drop)) }));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        // This may be the last one.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(waker)));
        polled
    })
    .await
}

async fn produce([(a, ra), (b, _)]: Ends, books: Arc<Books>, seed: u64, count: usize) {
    let mut dice = Dice::new(seed);
    let limiter = Limiter::new(1e6, 2);
    for _ in 0..count {
        let (value, other) = (books.one(), books.one());
        let (id, other_id) = (value.id, other.id);
        let open = match dice.roll(11) {
            8 if a.capacity() > 0 => match a.reserve().await {
                Ok(place) => {
                    if dice.roll(2) == 0 {
                        gosched().await;
                    }
                    books.sent(id, place.send(value))
                }
                Err(_) => books.sent(id, Err(SendError(value))),
            },
            9 => {
                let (ctx, cancel) = GoContext::background().with_cancel();
                let cancels = go(async move {
                    gosched().await;
                    cancel.cancel();
                });
                let result = match ctx.send(&b, value).await {
                    Ok(()) => books.sent(id, Ok(())),
                    Err(ContextSendError::Context(_, value)) => {
                        !books.sent(id, Err(SendError(value)))
                    }
                    Err(error) => books.sent(id, Err(SendError(error.into_inner()))),
                };
                cancels.await.expect("it cancels");
                result
            }
            10 => {
                limiter.wait(1 + dice.roll(2)).await.expect("at most the burst");
                books.sent(id, a.send(value).await)
            }
            0 => books.sent(id, a.send(value).await),
            1 => select! {
                r = a.send(value) => books.sent(id, r),
                r = b.send(other) => books.sent(other_id, r),
            },
            // Both sides of one channel.
            2 => select! {
                r = a.send(value) => books.sent(id, r),
                v = ra.recv() => { books.received(v); true }
                r = a.send(other) => books.sent(other_id, r),
            },
            3 => select! {
                r = fut(b.send(value)) => books.sent(id, r),
                r = a.send(other) => books.sent(other_id, r),
            },
            4 => {
                let (one, two) = (&books, &books);
                let list = Select::new().send(&a, value, move |r| one.sent(id, r));
                list.send(&b, other, move |r| two.sent(other_id, r)).wait().await
            }
            5 => books.sent(id, with_bad_wakers(dice.roll(2) == 0, a.send(value)).await),
            6 => {
                // One channel twice.
                let selecting = async {
                    select! {
                        r = a.send(value) => books.sent(id, r),
                        r = a.send(other) => books.sent(other_id, r),
                    }
                };
                with_bad_wakers(dice.roll(2) == 0, selecting).await
            }
            _ => {
                let first = async { books.sent(id, a.send(value).await) };
                or(first, async { books.sent(other_id, b.send(other).await) }).await
            }
        };
        if !open {
            return;
        }
        if dice.roll(8) == 0 {
            gosched().await;
        }
    }
}

async fn consume(a: Receiver<Booked>, b: Receiver<Booked>, books: Arc<Books>, seed: u64) {
    let mut dice = Dice::new(seed);
    let (mut stream_a, mut stream_b) = (a.clone(), b.clone());
    let (mut open_a, mut open_b) = (true, true);
    while open_a || open_b {
        match dice.roll(10) {
            0 if open_a => open_a = books.received(a.recv().await),
            1 if open_b => open_b = books.received(stream_b.next().await),
            2 => select! {
                v = a.recv(), if open_a => open_a = books.received(v),
                v = b.recv(), if open_b => open_b = books.received(v),
            },
            3 => select! {
                v = a.recv(), if open_a => open_a = books.received(v),
                v = fut(b.recv()), if open_b => open_b = books.received(v),
            },
            4 if open_a && open_b => {
                let first = async { (true, books.received(a.recv().await)) };
                let (of_a, open) =
                    or(first, async { (false, books.received(stream_b.next().await)) }).await;
                *(if of_a { &mut open_a } else { &mut open_b }) = open;
            }
            5 => select! {
                v = fut(stream_a.next()), if open_a => open_a = books.received(v),
                v = b.recv(), if open_b => open_b = books.received(v),
                default => gosched().await,
            },
            6 if open_a => {
                let mut in_line = a.clone().into_stream();
                open_a =
                    books.received(in_line.next().await) && books.received(in_line.next().await);
            }
            7 if open_a && open_b => {
                // One channel twice.
                let list = Select::new()
                    .recv(&a, |v| (true, books.received(v)))
                    .recv(&a, |v| (true, books.received(v)));
                let (of_a, open) = list.recv(&b, |v| (false, books.received(v))).wait().await;
                *(if of_a { &mut open_a } else { &mut open_b }) = open;
            }
            8 if open_b => {
                let in_drop = dice.roll(2) == 0;
                open_b = match dice.roll(3) {
                    0 => books.received(with_bad_wakers(in_drop, b.recv()).await),
                    1 => books.received(with_bad_wakers(in_drop, stream_b.next()).await),
                    _ => books
                        .received(with_bad_wakers(in_drop, b.clone().into_stream().next()).await),
                };
            }
            9 => {
                let selecting = async {
                    select! {
                        v = a.recv(), if open_a => open_a = books.received(v),
                        v = b.recv(), if open_b => open_b = books.received(v),
                        v = a.recv(), if open_a => open_a = books.received(v),
                    }
                };
                with_bad_wakers(dice.roll(2) == 0, selecting).await;
            }
            _ => gosched().await,
        }
    }
}

#[test]
fn goroutines_that_are_aborted_at_any_moment_lose_nothing_ca01_ca05_ca07_ca15() {
    const ROUNDS: u64 = 6;
    no_hang(|| {
        for seed in 0..ROUNDS {
            for cap in [0, 1, 3] {
                aborts(seed, cap);
            }
        }
    });
}

fn aborts(seed: u64, cap: usize) {
    const WORKERS: usize = 6;
    const ABORTS: usize = 60;
    let runtime = rt(1 + seed as usize % 3);
    let books = Books::new(20_000);
    let ends: Ends = std::array::from_fn(|_| chan::bounded(cap));
    let (tx, rx) = (ends[0].0.clone(), ends[0].1.clone());
    let sender = thread::spawn({
        let books = books.clone();
        move || {
            for _ in 0..200 {
                let value = books.one();
                if !books.sent(value.id, tx.send_blocking(value)) {
                    return;
                }
            }
        }
    });
    let receiver = thread::spawn({
        let books = books.clone();
        move || rx.iter_blocking().for_each(|value| _ = books.received(Some(value)))
    });
    runtime.block_on({
        let (books, runtime) = (books.clone(), &runtime);
        async move {
            let mut dice = Dice::new(seed);
            let mut next_seed = seed * 1000;
            let mut seed_of_next = move || {
                next_seed += 1;
                next_seed
            };
            let [a, b] = [ends[0].1.clone(), ends[1].1.clone()];
            let consumer = |seed| go(consume(a.clone(), b.clone(), books.clone(), seed));
            let mut consumers: Vec<JoinHandle<()>> =
                (0..WORKERS).map(|_| consumer(seed_of_next())).collect();
            let producer = |seed| go(produce(ends.clone(), books.clone(), seed, 40));
            let mut producers: Vec<JoinHandle<()>> =
                (0..WORKERS).map(|_| producer(seed_of_next())).collect();
            let mut aborted = Vec::new();
            for _ in 0..ABORTS {
                for _ in 0..dice.roll(4) {
                    gosched().await;
                }
                let victim = dice.roll(WORKERS);
                let (group, fresh): (_, &dyn Fn(u64) -> JoinHandle<()>) = if dice.roll(2) == 0 {
                    (&mut consumers, &consumer)
                } else {
                    (&mut producers, &producer)
                };
                group[victim].abort();
                let old = std::mem::replace(&mut group[victim], fresh(seed_of_next()));
                if dice.roll(2) == 0 {
                    let _ = old.await;
                } else {
                    aborted.push(old);
                }
                if dice.roll(5) == 0 {
                    runtime.gomaxprocs(1 + dice.roll(4));
                }
            }
            for producer in producers {
                let _ = producer.await;
            }
            gopark::unblock(move || sender.join().expect("the sending thread")).await;
            // Aborted consumers may still hold values, and what is returned to the channel after
            // the last consumer has seen the end is never received.
            for old in aborted {
                let _ = old.await;
            }
            // Producers hold receivers as well, to select on both sides. After all producers have
            // ended, closing the channel ends the consumers.
            ends.iter().for_each(|(tx, _)| _ = tx.close());
            for consumer in consumers {
                let _ = consumer.await;
            }
        }
    });
    drop(runtime);
    receiver.join().expect("the receiving thread");
    books.balance(seed);
}

// ------------------------------------------------------------------------------------- row by row

#[test]
fn a_dropped_receive_gives_its_value_to_the_next_receiver_ca01() {
    for cap in [0, 1, 3] {
        let (tx, rx) = chan::bounded(cap);
        let (served, mut next) = (Hand::parked(rx.recv()), Hand::parked(rx.recv()));
        tx.try_send(1).unwrap();
        assert_eq!((served.wakes(), next.wakes()), (1, 0));
        drop(served);
        assert_eq!(next.wakes(), 1);
        assert_eq!(next.ready(), Some(1));
        assert_eq!((rx.len(), rx.try_recv()), (0, Err(TryRecvError::Empty)));
    }
}

#[test]
fn a_dropped_receive_gives_its_value_back_to_the_front_ca01() {
    for cap in [0, 1, 3] {
        let (tx, rx) = chan::bounded(cap);
        let served = Hand::parked(rx.recv());
        tx.try_send(0).unwrap();
        (1..=cap).for_each(|v| tx.try_send(v).unwrap());
        let behind = Hand::parked(tx.send(cap + 1));
        drop(served);
        assert_eq!(rx.len(), cap + 1, "it has a place of its own");
        assert_eq!(tx.try_send(99), Err(TrySendError::Full(99)));
        assert_eq!(behind.wakes(), 0);
        for v in 0..cap + 2 {
            assert_eq!(rx.try_recv(), Ok(v), "capacity {cap}");
        }
        assert_eq!(behind.wakes(), 1);
    }
}

#[test]
fn values_that_come_back_in_any_order_keep_theirs_ca01() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for cap in [0, 2] {
            let (tx, rx) = chan::bounded(cap);
            let mut served = [(); 3].map(|()| Some(Hand::parked(rx.recv())));
            (0..3 + cap).for_each(|v| tx.try_send(v).unwrap());
            order.into_iter().for_each(|i| drop(served[i].take()));
            let all: Vec<_> = std::iter::from_fn(|| rx.try_recv().ok()).collect();
            assert_eq!(all, (0..3 + cap).collect::<Vec<_>>(), "dropped in the order {order:?}");
        }
    }
}

/// A bug: capacity one. A receive with a value is dropped, the value comes back, and a send parks
/// behind it. Another receive took the value, and the send went on waiting next to an empty buffer.
#[test]
fn a_sender_that_waits_behind_a_returned_value_gets_the_room_it_leaves_ca01() {
    for cap in [1, 2] {
        let (tx, rx) = chan::bounded(cap);
        let served: Vec<_> = (0..cap).map(|_| Hand::parked(rx.recv())).collect();
        (0..cap).for_each(|v| tx.try_send(v).unwrap());
        drop(served);
        let mut behind = Hand::parked(tx.send(cap));
        assert_eq!(rx.try_recv(), Ok(0));
        // Otherwise it would wait although there is room, and a later sender would overtake it.
        assert_eq!(behind.wakes(), 1);
        assert_eq!(behind.ready(), Ok(()));
        assert_eq!(tx.try_send(99), Err(TrySendError::Full(99)));
        (1..=cap).for_each(|v| assert_eq!(rx.try_recv(), Ok(v)));
    }
}

#[test]
fn a_value_that_comes_back_to_a_closed_channel_is_received_all_the_same_ca01() {
    let (tx, rx) = chan::unbuffered();
    let served = Hand::parked(rx.recv());
    tx.try_send(1).unwrap();
    drop(tx);
    drop(served);
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_value_comes_back_after_the_end_to_a_receiver_that_was_kept_ca01() {
    for cap in [0, 1] {
        let (tx, rx) = chan::bounded(cap);
        let keeper = rx.clone();
        let aborted = Hand::parked(rx.recv());
        tx.try_send(1).unwrap(); // handed over
        tx.close();
        assert_eq!(Hand::new(keeper.recv()).ready(), None);
        assert_eq!(keeper.try_recv(), Err(TryRecvError::Closed));
        drop(aborted);
        // The last receive has completed or was dropped, so these are all the values.
        assert_eq!((keeper.len(), keeper.try_recv()), (1, Ok(1)));
        assert_eq!(keeper.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(Hand::new(keeper.recv()).ready(), None);
    }
    // The value is dropped once, with the last receiver.
    let drops = Drops::new();
    let (tx, rx) = chan::unbuffered();
    let aborted = Hand::parked({
        let rx = rx.clone();
        async move { rx.recv().await }
    });
    tx.try_send(drops.one()).unwrap();
    tx.close();
    assert!(Hand::new(rx.recv()).ready().is_none());
    drop(rx);
    assert_eq!(drops.count(), 0);
    drop(aborted);
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_value_that_comes_back_wakes_a_stream_ca01() {
    let (tx, rx) = chan::unbuffered();
    let mut stream = rx.clone();
    let served = Hand::parked(rx.recv());
    let mut next = Hand::parked(stream.next());
    tx.try_send(1).unwrap();
    assert_eq!(next.wakes(), 0);
    drop(served);
    assert_eq!(next.wakes(), 1);
    assert_eq!(next.ready(), Some(1));
}

#[test]
fn a_dropped_send_sends_nothing_and_a_taken_one_stands_ca04() {
    let drops = Drops::new();
    let (tx, rx) = chan::bounded(1);
    tx.try_send(drops.one()).unwrap();
    let (first, second) = (Hand::parked(tx.send(drops.one())), Hand::parked(tx.send(drops.one())));
    drop(second);
    assert_eq!((drops.count(), rx.len()), (1, 1));
    drop(rx.try_recv().unwrap());
    drop(first);
    assert_eq!(
        (drops.count(), rx.len()),
        (2, 1),
        "the first one was moved into the buffer: it stands"
    );
    drop(tx.send(drops.one())); // never polled
    assert_eq!(drops.count(), 3);
    drop(rx.try_recv().unwrap());
    assert_eq!((rx.len(), drops.count()), (0, 4));
}

#[test]
fn ten_thousand_dropped_selects_leave_nothing_behind_ca05() {
    let (a_tx, a) = chan::unbuffered();
    let (b_tx, b) = chan::unbuffered::<usize>();
    let mut dice = Dice::new(5);
    let (mut sent, mut received) = (0, 0);
    for i in 0..10_000 {
        let mut one = Hand::parked(async {
            select! { v = a.recv() => v, v = b.recv() => v }
        });
        let served = dice.roll(2) == 0;
        if served {
            [&a_tx, &b_tx][dice.roll(2)].try_send(i).unwrap();
            sent += i;
        }
        if served && dice.roll(2) == 0 {
            received += one.ready().unwrap();
        } else {
            drop(one);
            received += a.try_recv().or(b.try_recv()).unwrap_or(0);
        }
        assert!(a_tx.try_send(0).is_err() && b_tx.try_send(0).is_err(), "no waiter");
    }
    assert_eq!(sent, received);
}

/// A bug: while a select polls its futures, a stream looks at the channel into which the select
/// sends. It found the select busy, watched the channel, and was not notified later: both waited.
#[test]
fn a_stream_that_looks_while_a_sending_select_is_busy_is_told_later_ca05() {
    // When the select's other case is polled, it polls a stream of the channel that the select
    // sends to.
    let (tx, rx) = chan::unbuffered();
    let mut stream = rx.clone();
    let (told, stream_waker) = Wakes::new();
    let mut polls = 0;
    let mut selecting = Hand::new(async {
        select! {
            r = tx.send(1) => r.is_ok(),
            _ = fut(poll_fn(|_| {
                polls += 1;
                if polls == 2 {
                    let mut cx = Context::from_waker(&stream_waker);
                    let polled = Pin::new(&mut stream).poll_next(&mut cx);
                    assert!(polled.is_pending(), "the select is busy");
                }
                Poll::<()>::Pending
            })) => false,
        }
    });
    assert!(selecting.is_pending());
    assert!(selecting.is_pending());
    assert_eq!(told.count(), 1, "the stream waits for a value that is there");
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(selecting.ready());
}

/// A bug: the select checked its channels again because of its own send, polled the stream again,
/// and so on, within one poll.
#[test]
fn a_select_that_sends_to_a_stream_it_polls_itself_waits_sel08() {
    no_hang(|| {
        let (tx, rx) = chan::unbuffered();
        let mut stream = rx.clone();
        let mut selecting = Hand::new(async {
            select! { r = tx.send(1) => r.is_ok(), _ = fut(stream.next()) => false }
        });
        assert!(selecting.is_pending());
        let first = selecting.wakes();
        for _ in 0..3 {
            assert!(selecting.is_pending());
            assert_eq!(selecting.wakes(), first, "it wakes itself without end");
        }
        // Both sides still match other operations.
        assert_eq!(rx.try_recv(), Ok(1));
        assert!(selecting.ready());
    });
}

#[test]
fn while_the_winners_partner_is_woken_nobody_meets_a_case_that_lost() {
    // The offer that wins comes while the select is busy; the waker of the offer then tries the
    // other cases.
    let (tx, rx) = chan::unbuffered();
    let (send_tx, send_rx) = chan::unbuffered();
    let (recv_tx, recv_rx) = chan::unbuffered();
    let (met_tx, met) = chan::bounded(1);
    let (other_rx, other_tx) = (send_rx.clone(), recv_tx.clone());
    let on_wake =
        Box::new(move || met_tx.try_send((other_rx.try_recv(), other_tx.try_send(3))).unwrap());
    let partner_waker = Waker::from(Arc::new(Acts { on_wake, on_drop: Box::new(|| ()) }));
    let mut partner = pin!(tx.send(1));
    let mut polls = 0;
    let mut selecting = Hand::parked(async {
        select! {
            v = rx.recv() => v,
            r = send_tx.send(2) => unreachable!("{r:?}"),
            v = recv_rx.recv() => unreachable!("{v:?}"),
            _ = fut(poll_fn(|_| {
                polls += 1;
                if polls == 2 {
                    let mut cx = Context::from_waker(&partner_waker);
                    assert!(partner.as_mut().poll(&mut cx).is_pending(), "the select is busy");
                }
                Poll::<()>::Pending
            })) => None,
        }
    });
    assert_eq!(selecting.ready(), Some(1));
    assert_eq!(met.try_recv(), Ok((Err(TryRecvError::Empty), Err(TrySendError::Full(3)))));
}

#[test]
fn a_select_that_looks_again_does_not_meet_itself_sel08() {
    let (tx, rx) = chan::unbuffered();
    let mut polls = 0;
    let mut selecting = Hand::parked(async {
        select! {
            r = tx.send(1) => r.is_ok(),
            v = rx.recv() => unreachable!("its own {v:?}"),
            _ = fut(poll_fn(|_| {
                polls += 1;
                if polls == 2 {
                    assert!(rx.try_recv().is_err(), "the select is busy");
                }
                Poll::<()>::Pending
            })) => false,
        }
    });
    assert!(selecting.is_pending());
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(selecting.ready());
}

#[test]
fn a_loop_of_foreign_selects_loses_nothing_ca07() {
    for procs in [1, 2] {
        for cap in [0, 1, 3] {
            on_procs(procs, async move {
                const EACH: usize = 500;
                let ends: [_; 2] = std::array::from_fn(|_| chan::bounded(cap));
                for (i, (tx, _)) in ends.iter().enumerate() {
                    let tx = tx.clone();
                    go(async move {
                        for v in 0..EACH {
                            tx.send(i * EACH + v).await.unwrap();
                        }
                    });
                }
                let mut seen = HashSet::new();
                while seen.len() < 2 * EACH {
                    let v = or(ends[0].1.recv(), ends[1].1.recv()).await.unwrap();
                    assert!(seen.insert(v), "{v} came twice");
                }
            });
        }
    }
}

#[test]
fn polling_again_keeps_the_place_in_line_and_dropping_loses_it_ca08() {
    let (tx, rx) = chan::unbuffered();
    let (mut first, mut second) = (Hand::parked(rx.recv()), Hand::parked(rx.recv()));
    let (other, other_waker) = Wakes::new();
    assert!(first.poll_with(&other_waker).is_pending());
    tx.try_send(1).unwrap();
    assert_eq!((first.wakes(), other.count(), second.wakes()), (0, 1, 0));
    assert_eq!(first.ready(), Some(1));
    let third = Hand::parked(rx.recv());
    assert!(second.is_pending());
    drop(second);
    let mut again = Hand::parked(rx.recv());
    tx.try_send(2).unwrap();
    tx.try_send(3).unwrap();
    assert_eq!((third.wakes(), again.ready()), (1, Some(3)));
}

#[test]
fn a_spent_budget_leaves_no_trace_ca18() {
    on_procs(1, async {
        const VALUES: usize = 10_000;
        let (tx, rx) = chan::bounded(VALUES);
        (0..VALUES).for_each(|v| tx.try_send(v).unwrap());
        let (beside_tx, beside) = chan::bounded(VALUES);
        let sibling = go(async move {
            let mut turns = 0;
            while !beside_tx.is_closed() {
                turns += 1;
                gosched().await;
            }
            turns
        });
        for v in 0..VALUES {
            // In order: yielding does not cost the place in the queue.
            assert_eq!(rx.recv().await, Some(v));
            // An operation that cannot wait does not yield either.
            assert_eq!(beside.try_recv(), Err::<(), _>(TryRecvError::Empty));
            select! { _ = beside.recv() => unreachable!(), default => {} }
        }
        drop(beside);
        assert!(sibling.await.unwrap() > VALUES / 1000, "the drain starved its sibling");
        // A poll without budget has queued nothing: the value goes to the receiver that is queued.
        let mut last = pin!(rx.recv());
        let parked = poll_fn(|cx| Poll::Ready(last.as_mut().poll(cx).is_pending()));
        assert!(parked.await);
        tx.try_send(7).unwrap();
        assert_eq!(last.await, Some(7));
    });
}
