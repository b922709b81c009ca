//! `WaitGroup`: the WG rows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use gopark::go;
use gopark::sync::WaitGroup;

use crate::util::{Wakes, no_hang, rt};

#[test]
fn a_wait_ends_at_zero_and_sees_what_was_done_wg01() {
    no_hang(|| {
        rt(2).block_on(async {
            let (first, second) = (WaitGroup::new(), WaitGroup::new());
            first.wait().await;
            for _ in 0..8 {
                let sum = Arc::new(AtomicUsize::new(0));
                first.add(16);
                second.add(16);
                for i in 0..16 {
                    let (first, second, sum) = (first.clone(), second.clone(), sum.clone());
                    go(async move {
                        sum.fetch_add(i, Ordering::Relaxed);
                        first.done();
                        second.wait().await;
                    });
                }
                first.wait().await;
                assert_eq!(sum.load(Ordering::Relaxed), 120);
                (0..16).for_each(|_| second.done());
                second.wait().await;
            }
        });
    });
}

#[test]
fn a_negative_counter_panics_wg02() {
    let wg = WaitGroup::new();
    let text = catch_unwind(AssertUnwindSafe(|| wg.done())).unwrap_err();
    assert_eq!(text.downcast_ref::<&str>(), Some(&"sync: negative WaitGroup counter"));
    assert_eq!(wg.count(), 0);
    wg.add(1);
    wg.done();
}

#[test]
fn a_wait_belongs_to_its_round_wg03_wg04() {
    let wg = WaitGroup::new();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    wg.add(1);
    let mut wait = pin!(wg.wait());
    assert!(wait.as_mut().poll(&mut cx).is_pending());
    wg.done();
    assert_eq!(wakes.count(), 1);
    // The next round has begun before the waiter is polled.
    wg.add(1);
    assert_eq!(wait.as_mut().poll(&mut cx), Poll::Ready(()));
    assert!(pin!(wg.wait()).poll(&mut cx).is_pending());
    wg.done();
}

#[test]
fn members_may_add_members_and_several_may_wait_wg06() {
    fn tree(wg: WaitGroup, depth: usize, leaves: Arc<AtomicUsize>) {
        if depth == 0 {
            leaves.fetch_add(1, Ordering::Relaxed);
            return;
        }
        for _ in 0..3 {
            let (inner, leaves) = (wg.clone(), leaves.clone());
            wg.go(async move { tree(inner, depth - 1, leaves) });
        }
    }
    no_hang(|| {
        rt(2).block_on(async {
            let (wg, leaves) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
            tree(wg.clone(), 5, leaves.clone());
            let other = {
                let wg = wg.clone();
                go(async move { wg.wait().await })
            };
            wg.wait().await;
            other.await.unwrap();
            assert_eq!(leaves.load(Ordering::Relaxed), 243);
        });
    });
}

#[test]
fn a_dropped_wait_changes_no_counter_ca12() {
    let wg = WaitGroup::new();
    wg.add(2);
    {
        let mut wait = pin!(wg.wait());
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(wg.count(), 2);
    wg.done();
    wg.done();
}

/// A bug: `add` checked for room and then added. Three concurrent adds of 2^31 - 2 all found room,
/// and the carry went into the round, which ended every wait.
#[test]
fn too_large_a_counter_panics_and_leaves_the_round_alone() {
    const MOST: usize = (1 << 31) - 1;
    no_hang(|| {
        for _ in 0..1_000 {
            let wg = WaitGroup::new();
            wg.add(1);
            let mut wait = pin!(wg.wait());
            assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let start = std::sync::Barrier::new(3);
            let added: usize = std::thread::scope(|s| {
                let adds = [(); 3].map(|()| {
                    s.spawn(|| {
                        start.wait();
                        let added = catch_unwind(AssertUnwindSafe(|| wg.add(MOST - 1)));
                        if let Err(text) = &added {
                            assert_eq!(
                                text.downcast_ref::<&str>(),
                                Some(&"sync: WaitGroup counter overflow")
                            );
                        }
                        usize::from(added.is_ok())
                    })
                });
                adds.into_iter().map(|add| add.join().unwrap()).sum()
            });
            // All three together would have overflowed into the round, and ended the wait.
            assert_eq!((added, wg.count()), (1, MOST));
            assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    });
}

/// A bug: the sum wrapped and was found to be within the limit, in a release build. The borrow ended
/// the round, and so every wait. (In a debug build the addition itself panicked, with another text.)
#[test]
fn an_addition_that_would_wrap_panics_and_leaves_the_round_alone() {
    let wg = WaitGroup::new();
    wg.add(1);
    let mut wait = pin!(wg.wait());
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    for n in [usize::MAX, usize::MAX - 1, usize::MAX / 2 + 1] {
        let text = catch_unwind(AssertUnwindSafe(|| wg.add(n))).unwrap_err();
        assert_eq!(text.downcast_ref(), Some(&"sync: WaitGroup counter overflow"));
        assert_eq!(wg.count(), 1);
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    wg.done();
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}
