//! Goroutines that communicate by channels.

use std::time::{Duration, Instant};

use super::{Channel, Executor, Group, Received, Sent, Shared};

pub(crate) type GroupOf<C> = <<C as Channel>::On as Executor>::Group;

/// This many pairs of one sender and one receiver.
pub(crate) async fn streams<C: Channel>(
    on: C::On,
    n: u64,
    capacity: usize,
    pairs: u64,
) -> (u64, Duration) {
    let group = GroupOf::<C>::of(pairs as usize);
    let each = n.div_ceil(pairs);
    let start = Instant::now();
    for _ in 0..pairs {
        let (mut sender, mut receiver) = C::new(capacity);
        on.go(async move {
            for i in 0..each as usize {
                assert!(C::send(&mut sender, i).await.sent());
            }
        });
        let group = group.clone();
        on.go(async move {
            for i in 0..each as usize {
                assert_eq!(C::recv(&mut receiver).await.value(), Some(i));
            }
            group.done();
        });
    }
    group.wait().await;
    (pairs * each, start.elapsed())
}

/// A message goes to another goroutine and comes back: one operation is the round trip.
pub(crate) async fn ping_pong<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    let (mut there, mut arrives) = C::new(0);
    let (mut back, mut returns) = C::new(0);
    let start = Instant::now();
    on.go(async move {
        while let Some(value) = C::recv(&mut arrives).await.value() {
            C::send(&mut back, value).await;
        }
    });
    let player = on.join(async move {
        for i in 0..n as usize {
            C::send(&mut there, i).await;
            assert_eq!(C::recv(&mut returns).await.value(), Some(i));
        }
    });
    player.await;
    (n, start.elapsed())
}

/// A message goes round a ring of a thousand goroutines: one operation is one hop.
pub(crate) async fn ring<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    const SIZE: u64 = 1000;
    let (mut first, mut last) = C::new(0);
    for _ in 1..SIZE {
        let (mut next, after) = C::new(0);
        let mut before = std::mem::replace(&mut last, after);
        on.go(async move {
            while let Some(value) = C::recv(&mut before).await.value() {
                C::send(&mut next, value).await;
            }
        });
    }
    let rounds = n.div_ceil(SIZE);
    let took = on.join(async move {
        let start = Instant::now();
        for i in 0..rounds as usize {
            C::send(&mut first, i).await;
            assert_eq!(C::recv(&mut last).await.value(), Some(i));
        }
        start.elapsed()
    });
    (rounds * SIZE, took.await)
}

/// Several goroutines send, several receive.
pub(crate) async fn crowd<C: Shared>(
    on: C::On,
    n: u64,
    capacity: usize,
    producers: u64,
    consumers: u64,
) -> (u64, Duration) {
    let (sender, receiver) = C::new(capacity);
    let group = GroupOf::<C>::of(consumers as usize);
    let start = Instant::now();
    let sent = senders::<C>(&on, sender, n, producers);
    for _ in 0..consumers {
        let (mut receiver, group) = (C::share(&receiver), group.clone());
        on.go(async move {
            while C::recv(&mut receiver).await.value().is_some() {}
            group.done();
        });
    }
    drop(receiver);
    group.wait().await;
    (sent, start.elapsed())
}

/// A hundred goroutines send to one.
pub(crate) async fn fan_in<C: Channel<Sender: Clone>>(
    on: C::On,
    n: u64,
    capacity: usize,
) -> (u64, Duration) {
    let (sender, mut receiver) = C::new(capacity);
    let start = Instant::now();
    let sent = senders::<C>(&on, sender, n, 100);
    let receiving = on.join(async move {
        let mut received = 0;
        while C::recv(&mut receiver).await.value().is_some() {
            received += 1;
        }
        received
    });
    assert_eq!(receiving.await, sent);
    (sent, start.elapsed())
}

/// Starts this many goroutines that send through clones of one sender. Returns the total number of
/// messages.
fn senders<C: Channel<Sender: Clone>>(
    on: &C::On,
    sender: C::Sender,
    n: u64,
    producers: u64,
) -> u64 {
    let each = n.div_ceil(producers);
    for _ in 0..producers {
        let mut sender = sender.clone();
        on.go(async move {
            for i in 0..each as usize {
                assert!(C::send(&mut sender, i).await.sent());
            }
        });
    }
    each * producers
}

/// A tree of goroutines, ten children each, adds up its leaves. One operation is one tree.
pub(crate) async fn skynet<C: Channel<Sender: Clone>>(
    on: C::On,
    n: u64,
    leaves: usize,
) -> (u64, Duration) {
    fn node<C: Channel<Sender: Clone>>(on: C::On, mut up: C::Sender, number: usize, leaves: usize) {
        if leaves == 1 {
            on.go(async move {
                C::send(&mut up, number).await;
            });
            return;
        }
        on.clone().go(async move {
            let (sender, mut receiver) = C::new(0);
            for i in 0..10 {
                node::<C>(on.clone(), sender.clone(), number + i * (leaves / 10), leaves / 10);
            }
            let mut sum = 0;
            for _ in 0..10 {
                sum += C::recv(&mut receiver).await.value().expect("ten children");
            }
            C::send(&mut up, sum).await;
        });
    }
    let start = Instant::now();
    for _ in 0..n {
        let (sender, mut receiver) = C::new(0);
        node::<C>(on.clone(), sender, 0, leaves);
        assert_eq!(C::recv(&mut receiver).await.value(), Some(leaves * (leaves - 1) / 2));
    }
    (n, start.elapsed())
}

/// A channel on which many goroutines wait is closed. One operation is one of them; starting them
/// does not count.
pub(crate) async fn close_wakes<C: Shared>(on: C::On, n: u64, each: u64) -> (u64, Duration) {
    let (rounds, mut took) = (n.div_ceil(each), Duration::ZERO);
    for _ in 0..rounds {
        let (sender, receiver) = C::new(0);
        let (ready, group) = (GroupOf::<C>::of(each as usize), GroupOf::<C>::of(each as usize));
        for _ in 0..each {
            let (mut receiver, ready, group) = (C::share(&receiver), ready.clone(), group.clone());
            on.go(async move {
                ready.done();
                assert_eq!(C::recv(&mut receiver).await.value(), None);
                group.done();
            });
        }
        ready.wait().await;
        let start = Instant::now();
        drop(sender);
        group.wait().await;
        took += start.elapsed();
    }
    (rounds * each, took)
}

/// The sieve: a goroutine for every prime filters out its multiples for the next one. One operation
/// is a prime.
pub(crate) async fn sieve<C: Channel>(on: C::On, n: u64) -> (u64, Duration) {
    let start = Instant::now();
    let (mut numbers, mut from) = C::new(0);
    on.go(async move {
        for number in 2.. {
            if !C::send(&mut numbers, number).await.sent() {
                return;
            }
        }
    });
    for _ in 0..n {
        let prime = C::recv(&mut from).await.value().expect("there is no last prime");
        let (mut to, next) = C::new(0);
        let mut numbers = std::mem::replace(&mut from, next);
        on.go(async move {
            while let Some(number) = C::recv(&mut numbers).await.value() {
                if number % prime != 0 && !C::send(&mut to, number).await.sent() {
                    return;
                }
            }
        });
    }
    (n, start.elapsed())
}
