//! The primitives besides channels and locks that programs use: the same work with gopark's types
//! and with tokio's, which have the same names.

use std::future::Future;
use std::time::{Duration, Instant};

use super::{Gopark, Tokio};

/// The cases, for an executor whose library has the types.
pub(crate) trait Everyday: super::Executor {
    /// A round trip of two tasks by two watches.
    fn watch(on: Self, n: u64) -> impl Future<Output = (u64, Duration)> + Send + 'static;
    /// One task sends, four receive each value: one operation is a value received.
    fn broadcast(on: Self, n: u64) -> impl Future<Output = (u64, Duration)> + Send + 'static;
    /// A request through a channel, its answer through a oneshot.
    fn oneshot(on: Self, n: u64) -> impl Future<Output = (u64, Duration)> + Send + 'static;
    /// A round trip of two tasks by two `Notify`.
    fn notify(on: Self, n: u64) -> impl Future<Output = (u64, Duration)> + Send + 'static;
    /// A task of a `JoinSet`, from its start to its result.
    fn join_set(on: Self, n: u64) -> impl Future<Output = (u64, Duration)> + Send + 'static;
    /// A read of a `OnceCell` that is set.
    fn once_cell(on: Self, n: u64) -> impl Future<Output = (u64, Duration)> + Send + 'static;
    /// One task sends, one receives as many as there are: one operation is a message.
    fn recv_many(on: Self, n: u64) -> impl Future<Output = (u64, Duration)> + Send + 'static;
}

/// A `JoinSet` starts this many tasks before it waits for them.
const CROWD: u64 = 1000;
/// The receivers of a broadcast, and the number of values that are sent before all of these have
/// been received.
const RECEIVERS: u64 = 4;
const BATCH: u64 = 64;

macro_rules! everyday {
    (
        $executor:ident, $sync:path, channel: $channel:path, broadcast: $broadcast:path,
        set: $set:ty, go: $go:ident,
        acquire: |$semaphore:ident, $count:ident| $acquire:expr
    ) => {
        const _: () = {
            use std::sync::Arc;

            use $sync as sync;

            impl Everyday for $executor {
                async fn watch(on: Self, n: u64) -> (u64, Duration) {
                    let ((there, mut arrives), (back, mut returns)) =
                        (sync::watch::channel(0), sync::watch::channel(0));
                    let start = Instant::now();
                    let other = super::Executor::join(&on, async move {
                        for _ in 0..n {
                            arrives.changed().await.expect("a sender");
                            let value = *arrives.borrow();
                            back.send(value).expect("a receiver");
                        }
                    });
                    for i in 1..=n {
                        there.send(i).expect("a receiver");
                        returns.changed().await.expect("a sender");
                        assert_eq!(*returns.borrow(), i);
                    }
                    other.await;
                    (n, start.elapsed())
                }

                async fn broadcast(on: Self, n: u64) -> (u64, Duration) {
                    let (tx, _) = $broadcast(128);
                    let $semaphore = Arc::new(sync::Semaphore::new(0));
                    let batches = n.div_ceil(RECEIVERS * BATCH);
                    let start = Instant::now();
                    let mut receivers = Vec::new();
                    for _ in 0..RECEIVERS {
                        let (mut rx, received) = (tx.subscribe(), $semaphore.clone());
                        receivers.push(super::Executor::join(&on, async move {
                            for i in 0..batches * BATCH {
                                assert_eq!(rx.recv().await.expect("the next one"), i);
                                if i % BATCH == BATCH - 1 {
                                    received.add_permits(1);
                                }
                            }
                        }));
                    }
                    for i in 0..batches * BATCH {
                        tx.send(i).expect("receivers");
                        if i % BATCH == BATCH - 1 {
                            let $count = RECEIVERS as _;
                            $acquire.forget();
                        }
                    }
                    for receiver in receivers {
                        receiver.await;
                    }
                    (batches * BATCH * RECEIVERS, start.elapsed())
                }

                #[allow(unused_mut, reason = "tokio's receivers are exclusive")]
                async fn oneshot(on: Self, n: u64) -> (u64, Duration) {
                    let (requests, mut served) = $channel(16);
                    let start = Instant::now();
                    let server = super::Executor::join(&on, async move {
                        while let Some((i, answer)) = served.recv().await {
                            let answer: sync::oneshot::Sender<u64> = answer;
                            answer.send(i).expect("a receiver");
                        }
                    });
                    for i in 0..n {
                        let (answer, answered) = sync::oneshot::channel();
                        requests.send((i, answer)).await.expect("a server");
                        assert_eq!(answered.await.expect("an answer"), i);
                    }
                    drop(requests);
                    server.await;
                    (n, start.elapsed())
                }

                async fn notify(on: Self, n: u64) -> (u64, Duration) {
                    let pair = Arc::new((sync::Notify::new(), sync::Notify::new()));
                    let other = pair.clone();
                    let start = Instant::now();
                    let other = super::Executor::join(&on, async move {
                        for _ in 0..n {
                            other.0.notified().await;
                            other.1.notify_one();
                        }
                    });
                    for _ in 0..n {
                        pair.0.notify_one();
                        pair.1.notified().await;
                    }
                    other.await;
                    (n, start.elapsed())
                }

                async fn join_set(_: Self, n: u64) -> (u64, Duration) {
                    let rounds = n.div_ceil(CROWD);
                    let mut set = <$set>::new();
                    let start = Instant::now();
                    for _ in 0..rounds {
                        for i in 0..CROWD {
                            set.$go(async move { i });
                        }
                        while let Some(result) = set.join_next().await {
                            result.expect("does not panic");
                        }
                    }
                    (rounds * CROWD, start.elapsed())
                }

                async fn once_cell(_: Self, n: u64) -> (u64, Duration) {
                    let cell = sync::OnceCell::new();
                    let start = Instant::now();
                    for _ in 0..n {
                        std::hint::black_box(cell.get_or_init(|| async { 1 }).await);
                    }
                    (n, start.elapsed())
                }

                #[allow(unused_mut, reason = "tokio's receivers are exclusive")]
                async fn recv_many(on: Self, n: u64) -> (u64, Duration) {
                    let (tx, mut rx) = $channel(128);
                    let start = Instant::now();
                    let sender = super::Executor::join(&on, async move {
                        for i in 0..n {
                            tx.send(i).await.expect("a receiver");
                        }
                    });
                    let (mut received, mut values) = (0, Vec::with_capacity(64));
                    while rx.recv_many(&mut values, 64).await > 0 {
                        received += values.len() as u64;
                        values.clear();
                    }
                    assert_eq!(received, n);
                    sender.await;
                    (n, start.elapsed())
                }
            }
        };
    };
}

everyday!(
    Gopark, gopark::sync, channel: gopark::chan::bounded,
    broadcast: gopark::sync::broadcast::bounded,
    set: gopark::JoinSet<u64>, go: go, acquire: |semaphore, count| semaphore.acquire(count).await
);

everyday!(
    Tokio, tokio::sync, channel: tokio::sync::mpsc::channel,
    broadcast: tokio::sync::broadcast::channel,
    set: tokio::task::JoinSet<u64>, go: spawn,
    acquire: |semaphore, count| semaphore.acquire_many(count).await.expect("not closed")
);
