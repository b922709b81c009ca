//! gopark inside a tokio runtime: timers and contexts, for which tokio provides nothing but a
//! `Waker`.

use std::future::pending;
use std::time::{Duration, Instant};

use gopark::chan;
use gopark::context::{Context, ContextError};
use gopark::select;
use gopark::time::{self, Ticker, after, timeout};

#[allow(dead_code)]
#[path = "../it/util.rs"]
mod util;
use util::no_hang;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn timers_work_in_tokio() {
    no_hang(|| {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        tokio.block_on(async {
            let start = Instant::now();
            let tasks: Vec<_> =
                (0..200u32).map(|i| tokio::spawn(time::sleep(MS * (i % 10)))).collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert!(start.elapsed() >= 9 * MS);
            assert!(timeout(MS, pending::<()>()).await.is_err());
            assert!(after(MS).recv().await.is_some());
            let ticker = Ticker::new(MS);
            let (first, second) = (ticker.tick().await, ticker.tick().await);
            assert!(second >= first + MS);
            select! {
                _ = time::sleep(MS) => {}
                _ = time::sleep(HOUR) => unreachable!("an hour"),
            }
        });
    });
}

#[test]
fn contexts_work_in_tokio() {
    no_hang(|| {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio.block_on(async {
            let (ctx, cancel) = Context::background().with_cancel();
            let waits = tokio::spawn({
                let ctx = ctx.clone();
                async move { ctx.done().await }
            });
            let (tx, rx) = chan::unbuffered::<()>();
            tokio::spawn(async move { cancel.cancel() });
            select! {
                _ = ctx.done() => {}
                _ = rx.recv() => unreachable!(),
            }
            waits.await.unwrap();
            drop(tx);
            let (ctx, _) = Context::background().with_timeout(Duration::from_millis(5));
            ctx.done().await;
            assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
        });
    });
}
