//! An operation that may take too long: `timeout`, or a sleep as a case of a `select!`, Go's
//! `case <-time.After(d)`.

use std::time::Duration;

use gopark::{block_on, chan, go, select, time};

const SLOW: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_millis(20);

async fn fetch(takes: Duration) -> &'static str {
    time::sleep(takes).await;
    "a page"
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let start = time::now();
    let quick = time::timeout(SLOW, fetch(Duration::from_millis(1))).await;
    println!("the quick one: {quick:?}");
    assert_eq!(quick, Ok("a page"));

    let slow = time::timeout(PATIENCE, fetch(SLOW)).await;
    println!("the slow one: {}", slow.unwrap_err());

    // The same as cases of a `select!`, which may have more.
    let (tx, rx) = chan::unbuffered();
    let fetcher = go(async move { tx.send(fetch(SLOW).await).await });
    let outcome = select! {
        page = rx.recv() => page.expect("sent"),
        _ = time::sleep(PATIENCE) => "too late",
    };
    println!("the slow one, by a channel: {outcome}");
    assert_eq!(outcome, "too late");
    assert!((2 * PATIENCE..SLOW).contains(&(time::now() - start)));

    // A future that `timeout` has dropped leaves nothing behind; a goroutine must be aborted.
    fetcher.abort();
    assert!(fetcher.await.unwrap_err().is_aborted());
}
