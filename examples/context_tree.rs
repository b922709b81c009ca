//! A tree of contexts: a cancel ends a context and its descendants, but not its ancestors and
//! siblings.

use gopark::context::{Context, ContextError};
use gopark::sync::WaitGroup;
use gopark::{block_on, chan, gosched};

/// Works until its context ends, and then reports.
async fn work(name: &'static str, ctx: Context, log: chan::Sender<String>) {
    ctx.done().await;
    let why = ctx.cause().unwrap();
    log.send(format!("{name}: {why}")).await.unwrap();
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    // server ─┬─ request a ─┬─ query 1
    //         │             └─ query 2
    //         └─ request b ─── query 3
    let (server, shut_down) = Context::background().with_cancel_cause();
    let (a, hang_up) = server.with_cancel_cause();
    let (b, _) = server.with_cancel();

    let (log, reports) = chan::bounded(10);
    let workers = WaitGroup::new();
    for (name, parent) in [("query 1", &a), ("query 2", &a), ("query 3", &b)] {
        let (query, _) = parent.with_cancel();
        workers.go(work(name, query, log.clone()));
    }
    gosched().await;
    assert!(reports.is_empty());

    // One client disconnects: its queries end, with that cause.
    hang_up.cancel("the client hung up");
    assert!(a.err().is_some() && b.err().is_none() && server.err().is_none());
    let mut ended = [reports.recv().await.unwrap(), reports.recv().await.unwrap()];
    ended.sort();
    assert_eq!(ended, ["query 1: the client hung up", "query 2: the client hung up"]);
    println!("{ended:?}");

    // Then the whole server is cancelled. The request that has ended keeps its cause.
    shut_down.cancel("time for an update");
    workers.wait().await;
    let last = reports.recv().await.unwrap();
    assert_eq!(last, "query 3: time for an update");
    println!("{last}");
    assert_eq!(a.cause().unwrap().to_string(), "the client hung up");
    assert_eq!((a.err(), b.err()), (Some(ContextError::Canceled), Some(ContextError::Canceled)));

    // A context that is derived now has already ended: nothing runs.
    let late = server.run(async { unreachable!("not even polled") }).await;
    assert_eq!(late, Err::<(), _>(ContextError::Canceled));
}
