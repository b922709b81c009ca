//! `sync::ErrGroup`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_lite::FutureExt;
use gopark::context::{Context, ContextError};
use gopark::sync::ErrGroup;
use gopark::{OnPanic, Runtime, chan, gosched};

use crate::hand::{Hand, on_procs};
use crate::util::no_hang;

#[test]
fn wait_returns_the_first_error_after_all_have_ended_xs01() {
    on_procs(1, async {
        let group = ErrGroup::new();
        let ended = Arc::new(AtomicUsize::new(0));
        let (open, shut) = chan::unbuffered::<()>();
        for (i, outcome) in [Ok(()), Err("first"), Err("second")].into_iter().enumerate() {
            let (ended, shut) = (ended.clone(), shut.clone());
            group
                .go(async move {
                    if i != 1 {
                        shut.recv().await;
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                    outcome
                })
                .await;
        }
        let mut wait = Hand::parked(group.wait());
        gosched().await;
        assert!(wait.is_pending());
        drop(open);
        assert_eq!(wait_for(wait).await, Err("first"));
        assert_eq!(ended.load(Ordering::SeqCst), 3);
        // Taken.
        assert_eq!(group.wait().await, Ok(()));
    });
}

/// Continues where the call by hand stopped.
async fn wait_for<F: Future>(mut hand: Hand<F>) -> F::Output {
    loop {
        if let std::task::Poll::Ready(output) = hand.poll() {
            return output;
        }
        gosched().await;
    }
}

#[test]
fn group_of_nobody_is_done_xs01() {
    let group = ErrGroup::<String>::new();
    assert_eq!(Hand::new(group.wait()).ready(), Ok(()));
    assert_eq!(format!("{:?}", ErrGroup::<i32>::default()), "ErrGroup { running: 0, .. }");
}

#[test]
fn limit_bounds_how_many_run_xs02() {
    on_procs(2, async {
        let group = ErrGroup::<()>::new();
        group.set_limit(3);
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        for _ in 0..200 {
            let (running, most) = (running.clone(), most.clone());
            group
                .go(async move {
                    let n = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(n, Ordering::SeqCst);
                    gosched().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                })
                .await;
        }
        group.wait().await.unwrap();
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    });
}

#[test]
fn try_go_says_no_when_it_is_full_xs02() {
    on_procs(1, async {
        let group = ErrGroup::<()>::new();
        group.set_limit(1);
        let (open, shut) = chan::unbuffered::<()>();
        assert!(group.try_go(async move {
            shut.recv().await;
            Ok(())
        }));
        assert!(!group.try_go(async { Ok(()) }));
        let mut waits = Hand::parked(group.go(async { Ok(()) }));
        assert!(waits.is_pending());
        drop(open);
        gosched().await;
        gosched().await;
        waits.ready();
        group.wait().await.unwrap();
        assert!(group.try_go(async { Ok(()) }));
        group.wait().await.unwrap();
    });
}

#[test]
fn limit_of_none_admits_none_and_no_limit_all_xs02() {
    on_procs(1, async {
        let group = ErrGroup::<()>::new();
        group.set_limit(0);
        assert!(!group.try_go(async { Ok(()) }));
        assert!(Hand::new(group.go(async { Ok(()) })).is_pending());
        group.set_limit(usize::MAX);
        for _ in 0..100 {
            assert!(group.try_go(async { Ok(()) }));
        }
        group.wait().await.unwrap();
    });
}

#[test]
fn changing_the_limit_while_some_run_panics_xs02() {
    on_procs(1, async {
        let group = ErrGroup::<()>::new();
        group.set_limit(3);
        let (open, shut) = chan::unbuffered::<()>();
        for _ in 0..2 {
            let shut = shut.clone();
            group
                .go(async move {
                    shut.recv().await;
                    Ok(())
                })
                .await;
        }
        let caught = catch_unwind(AssertUnwindSafe(|| group.set_limit(4)));
        let text = caught.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(
            *text,
            "errgroup: modify limit while 2 goroutines in the group are still active"
        );
        drop(open);
        group.wait().await.unwrap();
        group.set_limit(4);
    });
}

#[test]
fn dropped_go_starts_nothing_and_keeps_no_permit() {
    on_procs(1, async {
        let group = ErrGroup::<()>::new();
        group.set_limit(1);
        let (open, shut) = chan::unbuffered::<()>();
        group
            .go(async move {
                shut.recv().await;
                Ok(())
            })
            .await;
        drop(Hand::parked(group.go(async { panic!("started") })));
        drop(open);
        group.wait().await.unwrap();
        assert!(group.try_go(async { Ok(()) }));
        group.wait().await.unwrap();
    });
}

/// A `go` that has its place starts at its next poll.
/// A bug: a `go` had its place and was not polled yet when the limit was set: two ran at a limit of
/// one.
#[test]
fn changing_the_limit_beside_one_that_has_its_place_panics_xs02() {
    on_procs(1, async {
        let group = ErrGroup::<()>::new();
        group.set_limit(1);
        group.go(async { Ok(()) }).await;
        let mut second = Hand::parked(group.go(async { Ok(()) }));
        group.wait().await.unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| group.set_limit(1)));
        let text = caught.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(
            *text,
            "errgroup: modify limit while 1 goroutines in the group are still active"
        );
        assert!(!group.try_go(async { Ok(()) }), "the limit is the old one");
        second.ready();
        group.wait().await.unwrap();
        group.set_limit(1);
        assert!(group.try_go(async { Ok(()) }));
        group.wait().await.unwrap();
    });
}

/// A bug: a limit above `usize::MAX / 4` panicked.
#[test]
fn large_limit_is_none_xs02() {
    on_procs(1, async {
        let group = ErrGroup::<()>::new();
        for limit in
            [usize::MAX, usize::MAX - 1, usize::MAX / 2, usize::MAX / 4 + 1, usize::MAX / 4, 1]
        {
            group.set_limit(limit);
            assert!(group.try_go(async { Ok(()) }));
            group.wait().await.unwrap();
        }
    });
}

/// At most as many as the limit run at once, while the limit is changed again and again.
#[test]
fn no_more_run_than_the_limit_says_while_it_changes_xs02() {
    on_procs(2, async {
        let group = Arc::new(ErrGroup::<()>::new());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        group.set_limit(1);
        let starters = [(); 3].map(|()| {
            let (group, now, most) = (group.clone(), now.clone(), most.clone());
            gopark::go(async move {
                for _ in 0..200 {
                    let (now, most) = (now.clone(), most.clone());
                    let work = async move {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        gosched().await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        Ok(())
                    };
                    group.go(work).await;
                    // It fails while one is active.
                    let _ = catch_unwind(AssertUnwindSafe(|| group.set_limit(1)));
                }
            })
        });
        for starter in starters {
            starter.await.unwrap();
        }
        group.wait().await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 1);
    });
}

/// In a runtime that isolates panics.
fn isolated<T: Send + 'static>(main: impl Future<Output = T> + Send + 'static) -> T {
    no_hang(|| {
        Runtime::builder().gomaxprocs(1).on_panic(OnPanic::Isolate).build().unwrap().block_on(main)
    })
}

/// A bug: under `OnPanic::Isolate` the wait returned `Ok(())` after a goroutine of the group had
/// panicked.
#[test]
fn isolated_panic_frees_its_place_and_is_raised_by_the_wait_xs03() {
    isolated(async {
        let group = ErrGroup::new();
        group.set_limit(1);
        group.go(async { std::panic::panic_any(7_u8) }).await;
        group.go(async { Err("later") }).await;
        group.go(async { panic!("the second") }).await;
        let caught = AssertUnwindSafe(group.wait()).catch_unwind().await;
        assert_eq!(caught.unwrap_err().downcast_ref::<u8>(), Some(&7));
        // The error was taken as well.
        assert_eq!(group.wait().await, Ok(()));
        group.go(async { Err("after that") }).await;
        assert_eq!(group.wait().await, Err("after that"));
    });
}

#[test]
fn isolated_panic_ends_the_context_xs03() {
    isolated(async {
        let (group, ctx) = ErrGroup::<()>::with_context(&Context::background());
        group.go(async { panic!("isolated") }).await;
        group
            .go(async move {
                ctx.done().await;
                Ok(())
            })
            .await;
        let caught = AssertUnwindSafe(group.wait()).catch_unwind().await;
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"isolated"));
    });
}

/// Also a panic of the future's destructor.
#[test]
fn isolated_panic_of_a_destructor_is_raised_by_the_wait_xs03() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    isolated(async {
        let group = ErrGroup::<()>::new();
        let bomb = Bomb;
        group
            .go(async move {
                let _bomb = bomb;
                Ok(())
            })
            .await;
        let caught = AssertUnwindSafe(group.wait()).catch_unwind().await;
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"dropped"));
    });
}

#[test]
fn panic_is_not_carried_to_the_wait_but_crashes_xs03() {
    no_hang(|| {
        let runtime = Runtime::builder().gomaxprocs(1).build().unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let group = ErrGroup::<()>::new();
                group.go(async { panic!("unrecovered") }).await;
                let _ = group.wait().await;
                unreachable!("the wait has ended before the crash");
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"unrecovered"));
    });
}

#[test]
fn errgroup_fits_everywhere() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Send + Sync>(_: &T) {}
    let group = ErrGroup::<std::cell::Cell<i32>>::new();
    sync(&group);
    send(&group.go(async { Ok(()) }));
    send(&group.wait());
}

// --------------------------------------------------------------------------------- with a context

#[test]
fn context_of_a_group_ends_with_the_first_error_xs01() {
    on_procs(1, async {
        let (root, cancel) = Context::background().with_value(5).with_cancel();
        let (group, ctx) = ErrGroup::with_context(&root);
        assert_eq!((ctx.err(), ctx.value().as_deref()), (None, Some(&5)));
        let (open, shut) = chan::unbuffered::<()>();
        let of_it = ctx.clone();
        group
            .go(async move {
                // Only the context ends this one.
                of_it.done().await;
                Err("second")
            })
            .await;
        group.go(async { Ok(()) }).await;
        gosched().await;
        assert_eq!(ctx.err(), None, "a success ends nothing");
        group
            .go(async move {
                shut.recv().await;
                Err("first")
            })
            .await;
        drop(open);
        ctx.done().await;
        assert_eq!(group.wait().await, Err("first"));
        assert_eq!((ctx.err(), root.err()), (Some(ContextError::Canceled), None));
        assert_eq!(ctx.cause().unwrap().to_string(), "context canceled");
        cancel.cancel();
    });
}

#[test]
fn context_of_a_group_ends_when_wait_returns_xs01() {
    on_procs(1, async {
        let (group, ctx) = ErrGroup::<()>::with_context(&Context::background());
        let (open, shut) = chan::unbuffered::<()>();
        group
            .go(async move {
                shut.recv().await;
                Ok(())
            })
            .await;
        // Dropping one has no effect.
        drop(Hand::parked(group.wait()));
        assert_eq!(ctx.err(), None);
        drop(open);
        assert_eq!(group.wait().await, Ok(()));
        assert_eq!(ctx.err(), Some(ContextError::Canceled));
    });
}

#[test]
fn context_of_a_group_ends_with_its_parent_xs01() {
    on_procs(1, async {
        let (parent, cancel) = Context::background().with_cancel_cause();
        let (group, ctx) = ErrGroup::with_context(&parent);
        let of_it = ctx.clone();
        group.go(async move { of_it.run(std::future::pending::<()>()).await }).await;
        cancel.cancel("from above");
        assert_eq!(group.wait().await, Err(ContextError::Canceled));
        assert_eq!(ctx.cause().unwrap().to_string(), "from above");
    });
}

/// A goroutine that waits for its place gives up when the group is cancelled.
#[test]
fn go_with_a_limit_gives_up_with_the_context_xs05() {
    on_procs(1, async {
        let (parent, cancel) = Context::background().with_cancel();
        let (group, ctx) = ErrGroup::<()>::with_context(&parent);
        group.set_limit(1);
        let of_it = ctx.clone();
        group
            .go(async move {
                of_it.done().await;
                Ok(())
            })
            .await;
        let mut waits = Hand::parked(ctx.run(group.go(async { unreachable!("started") })));
        assert!(waits.is_pending());
        cancel.cancel();
        assert_eq!(waits.ready(), Err(ContextError::Canceled));
        drop(waits);
        assert_eq!(group.wait().await, Ok(()));
        assert!(group.try_go(async { Ok(()) }), "no place was lost");
        group.wait().await.unwrap();
    });
}

/// The destructor of the second error, and the tasks that the cancel wakes, run without a lock
/// held.
#[test]
fn errors_and_wakers_may_use_the_group_xs01() {
    no_hang(|| {
        let runtime = Runtime::builder().gomaxprocs(2).build().unwrap();
        runtime.block_on(async {
            for _ in 0..100 {
                let (group, ctx) = ErrGroup::with_context(&Context::background());
                let group = Arc::new(group);
                for i in 0..4 {
                    let of_it = ctx.clone();
                    group
                        .go(async move {
                            if i > 0 {
                                of_it.done().await;
                            }
                            Err(i)
                        })
                        .await;
                }
                assert_eq!(group.wait().await, Err(0));
                assert!(ctx.err().is_some());
            }
        });
    });
}

#[test]
fn a_clone_is_a_handle_of_the_same_group() {
    on_procs(2, async {
        let group = ErrGroup::new();
        group.set_limit(2);
        let other = group.clone();
        let started = gopark::go(async move {
            for i in 0..10 {
                other.go(async move { if i == 3 { Err(i) } else { Ok(()) } }).await;
            }
        });
        started.await.unwrap();
        assert_eq!(group.wait().await, Err(3));
    });
}

#[test]
fn a_second_wait_in_one_round_panics_and_one_of_the_next_round_does_not() {
    let group = ErrGroup::<&str>::new();
    let mut waits = [Hand::new(group.wait()), Hand::new(group.wait())];
    assert_eq!(waits[1].ready(), Ok(()));
    let second = catch_unwind(AssertUnwindSafe(|| waits[0].ready()));
    let text = *second.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(text, "errgroup: a second wait in one round");
    assert_eq!(Hand::new(group.clone().wait()).ready(), Ok(()));
}
