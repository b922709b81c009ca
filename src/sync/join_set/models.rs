//! Loom models of the keys of a set: goroutines that end against the wait for the next one.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;

use loom::thread;

use super::{End, Ended};
use crate::coop::Reason;
use crate::models::{explore, poll_once};
use crate::sync::raw_notify::Until;
use crate::wait::block_on::block_on;

/// Waits for the next goroutine to end and returns its key.
async fn next(ended: &Ended) -> Option<usize> {
    let mut until = pin!(Until::new(&ended.notify, Location::caller(), Reason::JoinSet));
    poll_fn(|cx| ended.poll_next(until.as_mut(), cx, false)).await
}

/// Spawns a thread that ends like a goroutine with `key`.
fn ends(ended: &Arc<Ended>, key: usize) -> thread::JoinHandle<()> {
    let end = End { ended: ended.clone(), key };
    thread::spawn(move || drop(end))
}

#[test]
fn each_goroutine_that_ends_is_found_once() {
    explore(3, || {
        let ended = Arc::new(Ended::new());
        let threads = [0, 1].map(|key| ends(&ended, key));
        let mut keys = [block_on(next(&ended)), block_on(next(&ended))];
        keys.sort_unstable();
        assert_eq!(keys, [Some(0), Some(1)]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(poll_once(pin!(next(&ended))).is_pending());
    });
}

#[test]
fn a_wait_that_is_dropped_leaves_the_key_to_the_next_one() {
    explore(3, || {
        let ended = Arc::new(Ended::new());
        let thread = ends(&ended, 7);
        let dropped = poll_once(pin!(next(&ended)));
        if dropped.is_pending() {
            assert_eq!(block_on(next(&ended)), Some(7));
        }
        thread.join().unwrap();
    });
}
