//! A model of the blocking forms.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use loom::thread;

use super::explore;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::wait::block_on::block_on;

#[test]
fn a_blocked_thread_misses_no_wake() {
    explore(3, || {
        let (done, mut threads) = (Arc::new(AtomicUsize::new(0)), Vec::new());
        block_on(poll_fn(|cx| {
            if threads.is_empty() {
                threads.extend((0..2).map(|_| {
                    let (done, waker) = (done.clone(), cx.waker().clone());
                    thread::spawn(move || {
                        // Relaxed: it happens before the next poll because of the wake.
                        done.fetch_add(1, Ordering::Relaxed);
                        waker.wake();
                    })
                }));
            }
            if done.load(Ordering::Relaxed) == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
