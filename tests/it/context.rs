//! `context`, row by row.

use std::error::Error;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context as Cx, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use gopark::context::{
    CancelCauseFunc, CancelFunc, Context, ContextError, ContextSendError, DeferredCancel, Done,
    Recv, Run, Stop,
};
use gopark::sync::{Semaphore, WaitGroup};
use gopark::{chan, go, gosched, num_goroutine, select};

use crate::hand::{Acts, After, Hand, on_procs};
use crate::util::{Drops, OnDrop, Wakes, isolated, no_hang, rt, spin_until};

const CANCELED: Option<ContextError> = Some(ContextError::Canceled);
const EXPIRED: Option<ContextError> = Some(ContextError::DeadlineExceeded);

/// The number of entries in the context's list of what ends with it.
fn children(ctx: &Context) -> usize {
    let text = format!("{ctx:?}");
    let (_, count) =
        text.split_once("children: ").unwrap_or_else(|| panic!("no children in {text}"));
    count.trim_end_matches(" }").parse().unwrap()
}

fn long() -> Duration {
    Duration::from_secs(1000)
}

// --------------------------------------------------------------------------------------- the root

#[test]
fn background_never_ends_and_carries_nothing_cx01() {
    for ctx in [Context::background(), Context::todo()] {
        assert_eq!((ctx.err(), ctx.deadline()), (None, None));
        assert!(ctx.cause().is_none() && ctx.value::<i32>().is_none());
        let mut done = Hand::parked(ctx.done());
        assert!(done.is_pending() && done.wakes() == 0);
        assert_eq!(format!("{ctx:?}"), "Context::background");
        select! {
            _ = ctx.done() => unreachable!(),
            default => {}
        }
        assert_eq!(Hand::new(ctx.run(ready(3))).ready(), Ok(3));
    }
}

// ----------------------------------------------------------------------------------------- cancel

#[test]
fn cancel_ends_the_whole_subtree_before_it_returns_cx02() {
    let (root, cancel) = Context::background().with_cancel();
    let mut all = vec![root.clone()];
    for i in 0..300 {
        let parent = &all[i / 3];
        let child = match i % 3 {
            0 => parent.with_cancel().0,
            1 => parent.with_value(i).with_cancel_cause().0,
            _ => parent.with_timeout(long()).0.with_value("v"),
        };
        all.push(child);
    }
    let mut waits: Vec<_> = all.iter().map(|ctx| Hand::parked(ctx.done())).collect();
    cancel.cancel();
    for (ctx, wait) in all.iter().zip(&mut waits) {
        assert_eq!(ctx.err(), CANCELED);
        assert_eq!(wait.wakes(), 1);
        wait.ready();
    }
}

/// A cancel that comes second also returns only when everything has ended: it helps the first one,
/// which a waker blocks here.
#[test]
fn second_cancel_returns_no_earlier_than_the_first_is_through_cx02() {
    no_hang(|| {
        let (root, cancel) = Context::background().with_cancel();
        let leaves: Vec<_> = (0..40).map(|_| root.with_cancel().0.with_cancel().0).collect();
        let (held, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let waker = Waker::from(Arc::new(Acts {
            on_wake: Box::new({
                let (held, go_on) = (held.clone(), go_on.clone());
                move || {
                    if !held.swap(true, Ordering::SeqCst) {
                        spin_until(|| go_on.load(Ordering::SeqCst));
                    }
                }
            }),
            on_drop: Box::new(|| ()),
        }));
        let mut waits: Vec<_> = (0..20).map(|_| Hand::new(root.done())).collect();
        waits.iter_mut().for_each(|wait| assert!(wait.poll_with(&waker).is_pending()));
        let first = {
            let cancel = cancel.clone();
            thread::spawn(move || cancel.cancel())
        };
        spin_until(|| held.load(Ordering::SeqCst));
        assert!(leaves.iter().any(|leaf| leaf.err().is_none()), "the first has not come that far");
        cancel.cancel();
        assert!(leaves.iter().all(|leaf| leaf.err() == CANCELED));
        go_on.store(true, Ordering::SeqCst);
        first.join().unwrap();
        assert_eq!(children(&root), 0);
    });
}

#[test]
fn child_that_ends_first_does_not_touch_its_parent_cx03() {
    let (parent, cancel_parent) = Context::background().with_cancel();
    let (child, cancel_child) = parent.with_cancel();
    let (sibling, _) = parent.with_cancel();
    cancel_child.cancel();
    assert_eq!((child.err(), parent.err(), sibling.err()), (CANCELED, None, None));
    let mut done = Hand::parked(parent.done());
    assert!(done.is_pending());
    cancel_parent.cancel();
    done.ready();
    assert_eq!((parent.err(), sibling.err()), (CANCELED, CANCELED));
    // A second cancel has no effect.
    cancel_parent.cancel();
    cancel_child.clone().cancel();
    assert_eq!(done.wakes(), 1);
}

#[test]
fn of_simultaneous_cancels_one_wins_cx03() {
    no_hang(|| {
        for round in 0..300 {
            let (ctx, cancel) = Context::background().with_cancel_cause();
            let child = ctx.with_cancel().0;
            let start = Arc::new(Barrier::new(3));
            let threads: Vec<_> = (0..3)
                .map(|i| {
                    let (cancel, start, ctx) = (cancel.clone(), start.clone(), ctx.clone());
                    thread::spawn(move || {
                        start.wait();
                        cancel.cancel(format!("{round}.{i}"));
                        ctx.cause().unwrap().to_string()
                    })
                })
                .collect();
            let causes: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(causes.iter().all(|cause| *cause == causes[0]), "{causes:?}");
            assert_eq!(child.cause().unwrap().to_string(), causes[0]);
        }
    });
}

#[test]
fn wakers_run_outside_every_lock_and_may_cancel_again_cx11() {
    no_hang(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (child, cancel_child) = ctx.with_cancel();
        let woken = Arc::new(AtomicUsize::new(0));
        let waker = Waker::from(Arc::new(Acts {
            on_wake: Box::new({
                let (ctx, child, cancel, woken) =
                    (ctx.clone(), child.clone(), cancel.clone(), woken.clone());
                move || {
                    // All of these take locks of the same contexts.
                    cancel.cancel();
                    cancel_child.cancel();
                    assert!(ctx.err().is_some() && Hand::new(ctx.done()).poll().is_ready());
                    assert!(
                        ctx.with_cancel().0.err().is_some()
                            && child.with_timeout(long()).0.err().is_some()
                    );
                    let _ = format!("{ctx:?} {child:?}");
                    woken.fetch_add(1, Ordering::SeqCst);
                }
            }),
            on_drop: Box::new({
                let ctx = ctx.clone();
                move || drop(format!("{ctx:?}"))
            }),
        }));
        let mut waits = [Hand::new(ctx.done()), Hand::new(child.done())];
        waits.iter_mut().for_each(|wait| assert!(wait.poll_with(&waker).is_pending()));
        drop(waker);
        cancel.cancel();
        assert_eq!(woken.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn waker_that_panics_costs_nobody_the_end_cx11() {
    let (root, cancel) = Context::background().with_cancel();
    let all: Vec<_> = (0..100).map(|_| root.with_cancel().0).collect();
    let bad = Waker::from(Arc::new(Acts {
        on_wake: Box::new(|| panic!("bad waker")),
        on_drop: Box::new(|| ()),
    }));
    let mut first = Hand::new(all[99].done());
    assert!(first.poll_with(&bad).is_pending());
    let mut waits: Vec<_> = all.iter().map(|ctx| Hand::parked(ctx.done())).collect();
    cancel.cancel();
    assert!(all.iter().all(|ctx| ctx.err() == CANCELED));
    assert!(waits.iter_mut().all(|wait| wait.wakes() == 1 && wait.poll().is_ready()));
    assert_eq!(children(&root), 0);
}

/// Cancels at every depth of several trees at once, from several threads, with callbacks that
/// cancel elsewhere.
#[test]
fn interlocked_cancels_end_cx11() {
    no_hang(|| {
        for _ in 0..60 {
            let mut layers: Vec<Vec<(Context, CancelFunc)>> =
                vec![vec![Context::background().with_cancel()]];
            for depth in 1..6 {
                let above = &layers[depth - 1];
                layers.push((0..6).map(|i| above[i % above.len()].0.with_cancel()).collect());
            }
            let layers = Arc::new(layers);
            for layer in layers.iter() {
                for (i, (ctx, _)) in layer.iter().enumerate() {
                    let layers = layers.clone();
                    ctx.after_func(async move {
                        let other = &layers[i % layers.len()];
                        other[i % other.len()].1.cancel();
                    });
                }
            }
            let start = Arc::new(Barrier::new(4));
            let threads: Vec<_> = (0..4)
                .map(|t| {
                    let (layers, start) = (layers.clone(), start.clone());
                    thread::spawn(move || {
                        start.wait();
                        for depth in (0..6).rev() {
                            let layer = &layers[(depth + t) % 6];
                            layer[t % layer.len()].1.cancel();
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert!(layers.iter().flatten().all(|(ctx, _)| ctx.err() == CANCELED));
        }
    });
}

// --------------------------------------------------------------------------------------- the tree

#[test]
fn cancelled_child_leaves_its_parent_at_once_cx04() {
    let (parent, _keep) = Context::background().with_cancel();
    let all: Vec<_> = (0..100).map(|_| parent.with_cancel()).collect();
    assert_eq!(children(&parent), 100);
    for (i, (_, cancel)) in all.iter().enumerate() {
        cancel.cancel();
        assert_eq!(children(&parent), 99 - i);
    }
}

#[test]
fn child_that_nobody_refers_to_is_gone_at_once_cx04() {
    let (parent, cancel) = Context::background().with_cancel();
    let (child, cancel_child) = parent.with_cancel();
    let grandchild = child.with_timeout(long()).0.with_value(1);
    drop(child);
    assert_eq!(children(&parent), 1);
    drop(cancel_child);
    assert_eq!(children(&parent), 1, "the grandchild must hear of its end");
    drop(grandchild);
    assert_eq!(children(&parent), 0);
    // The end passes through a part of the path that has no handle.
    let bottom = parent.with_cancel().0.with_cancel().0.with_cancel().0;
    cancel.cancel();
    assert_eq!(bottom.err(), CANCELED);
    // And the bottom does not need its parents.
    drop((parent, cancel));
    assert_eq!(
        (bottom.err(), bottom.cause().unwrap().to_string().as_str()),
        (CANCELED, "context canceled")
    );
}

#[test]
fn contexts_cost_no_goroutine_cx04() {
    on_procs(1, async {
        let before = num_goroutine();
        let (root, cancel) = Context::background().with_cancel();
        let all: Vec<_> = (0..1000).map(|_| root.with_cancel().0.with_timeout(long()).0).collect();
        let waits: Vec<_> = all.iter().map(|ctx| Hand::parked(ctx.done())).collect();
        let stops: Vec<_> = all.iter().map(|ctx| ctx.after_func(async {})).collect();
        assert_eq!(num_goroutine(), before);
        assert!(stops.iter().all(Stop::stop));
        cancel.cancel();
        assert_eq!(num_goroutine(), before);
        drop(waits);
    });
}

#[test]
fn child_of_an_ended_parent_is_born_ended_cx04() {
    let (parent, cancel) = Context::background().with_cancel_cause();
    cancel.cancel("why");
    let (child, _) = parent.with_cancel();
    let (timed, _) = parent.with_timeout_cause(long(), "unused");
    let (late, _) = parent.with_deadline(Instant::now());
    for ctx in [&child, &timed, &late, &child.with_value(3)] {
        assert_eq!((ctx.err(), ctx.cause().unwrap().to_string().as_str()), (CANCELED, "why"));
    }
    assert_eq!(children(&parent), 0);
    assert!(timed.deadline().is_some() && late.deadline().is_some());
}

#[test]
fn child_of_a_parent_that_is_just_ending_ends_cx04() {
    no_hang(|| {
        for _ in 0..500 {
            let (parent, cancel) = Context::background().with_cancel();
            let born = {
                let parent = parent.clone();
                thread::spawn(move || {
                    (0..20).map(|_| parent.with_cancel().0.with_value(()).with_cancel().0).collect()
                })
            };
            cancel.cancel();
            let born: Vec<_> = born.join().unwrap();
            assert!(born.iter().all(|ctx| ctx.err() == CANCELED));
            assert_eq!(children(&parent), 0);
        }
    });
}

/// In a process of its own, which ends if the stack overflows.
#[test]
fn long_chains_end_and_go_without_deep_recursion_cx11() {
    // Even with the smallest frame, recursion would need six times the stack.
    const DEPTH: usize = 50_000;
    isolated(|| {
        let small = thread::Builder::new().stack_size(128 << 10);
        let thread = small.spawn(|| {
            // Cancelled from the top.
            let (top, cancel) = Context::background().with_cancel();
            let bottom = (0..DEPTH).fold(top.clone(), |ctx, _| ctx.with_cancel().0);
            let mut done = Hand::parked(bottom.done());
            cancel.cancel();
            done.ready();
            assert_eq!((bottom.err(), children(&top)), (CANCELED, 0));
            drop(done);
            drop(bottom);
            // Dropped from the bottom, cancelled nowhere.
            let bottom = (0..DEPTH).fold(Context::background(), |ctx, _| ctx.with_cancel().0);
            drop(bottom);
            // A function waits at the bottom, and only the top has a handle.
            let drops = Drops::new();
            for cancelled in [false, true] {
                let (top, cancel) = Context::background().with_cancel();
                let bottom = (0..DEPTH).fold(top.clone(), |ctx, _| ctx.with_cancel().0);
                let counted = drops.one();
                bottom.after_func(async move { drop(counted) });
                drop(bottom);
                assert_eq!(children(&top), 1);
                if cancelled {
                    cancel.cancel();
                    assert_eq!(children(&top), 0);
                }
            }
            spin_until(|| drops.count() == 2);
            // Contexts with values.
            let rich =
                (0..DEPTH).fold(Context::background().with_value('x'), |ctx, i| ctx.with_value(i));
            assert_eq!(rich.value::<char>().as_deref(), Some(&'x'));
            drop(rich);
        });
        small_thread_result(thread.unwrap().join());
    });
}

/// A chain of functions, each of which owns the context that the next one waits for. Dropping the
/// last context frees all, recursively unless that is prevented. In a process of its own with a
/// small stack, as above.
#[test]
fn long_chain_of_functions_that_own_contexts_is_dropped_without_recursion_cx11() {
    isolated(|| {
        let small = thread::Builder::new().stack_size(128 << 10);
        let thread = small.spawn(|| {
            let drops = Drops::new();
            let counted = drops.one();
            let first = Context::background().with_cancel().0;
            first.after_func(async move { drop(counted) });
            let last = (0..50_000).fold(first, |owned, _| {
                let ctx = Context::background().with_cancel().0;
                ctx.after_func(async move { drop(owned) });
                ctx
            });
            assert_eq!(drops.count(), 0);
            drop(last);
            assert_eq!(drops.count(), 1);
        });
        small_thread_result(thread.unwrap().join());
    });
}

/// A chain of contexts, each of which carries the one before it as a value. Dropping the last one
/// frees all; that was recursive. In a process of its own with a small stack, as above.
#[test]
fn long_chain_of_contexts_in_values_is_dropped_without_recursion_cx10() {
    isolated(|| {
        let small = thread::Builder::new().stack_size(128 << 10);
        let thread = small.spawn(|| {
            let drops = Drops::new();
            let first = Context::background().with_value(drops.one());
            let last = (0..50_000).fold(first, |owned, _| Context::background().with_value(owned));
            assert_eq!(drops.count(), 0);
            drop(last);
            assert_eq!(drops.count(), 1);
        });
        small_thread_result(thread.unwrap().join());
    });
}

/// A chain of functions, each of which cancels the context that the next one waits for when it is
/// dropped. Their runtime has ended, so each is dropped unstarted by the cancel before it; that was
/// recursive. In a process of its own with a small stack, as above.
#[test]
fn long_chain_of_functions_that_cancel_is_dropped_without_recursion_after_its_runtime_cx11() {
    isolated(|| {
        let (mut contexts, cancel) = rt(1).block_on(async {
            let (first, cancel) = Context::background().with_cancel();
            let mut contexts = vec![first];
            for _ in 0..50_000 {
                let (ctx, next) = Context::background().with_cancel();
                let next = next.defer();
                contexts.last().unwrap().after_func(async move { drop(next) });
                contexts.push(ctx);
            }
            (contexts, cancel)
        });
        let small = thread::Builder::new().stack_size(128 << 10);
        let thread = small.spawn(move || {
            let last = contexts.pop().unwrap();
            assert_eq!(last.err(), None);
            cancel.cancel();
            assert_eq!(last.err(), CANCELED);
        });
        small_thread_result(thread.unwrap().join());
    });
}

/// A bug: the futures of functions whose runtime has ended were dropped one after the other, so a
/// destructor in one that waited for the drop of another waited forever.
#[test]
fn destructor_may_wait_for_the_drop_of_another_function_after_the_runtime_cx11() {
    struct WaitsForTheEnd(Option<Context>, chan::Receiver<u8>);
    impl Drop for WaitsForTheEnd {
        fn drop(&mut self) {
            self.0 = None;
            assert_eq!(self.1.recv_blocking(), None);
        }
    }
    no_hang(|| {
        let cancel = rt(1).block_on(async {
            let (tx, rx) = chan::unbuffered();
            let (ctx, cancel) = Context::background().with_cancel();
            let inner = Context::background().with_cancel().0;
            inner.after_func(async move { drop(tx) });
            let waits = WaitsForTheEnd(Some(inner), rx);
            ctx.after_func(async move { drop(waits) });
            cancel
        });
        cancel.cancel();
    });
}

/// Dropping a function's future panics, in the middle of a chain: those behind it are dropped all
/// the same.
#[test]
fn destructor_that_panics_keeps_nothing_alive_cx08() {
    let drops = Drops::new();
    let (root, cancel) = Context::background().with_cancel();
    for i in 0..3 {
        let counted = drops.one();
        let panics = OnDrop(move || assert_ne!(i, 1, "a destructor that panics"));
        root.with_cancel().0.after_func(async move { drop((counted, panics)) });
    }
    drop((root, cancel));
    assert_eq!(drops.count(), 3);
}

fn small_thread_result(result: thread::Result<()>) {
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

// ----------------------------------------------------------------------------------- err and done

#[test]
fn error_is_there_no_later_than_done_and_done_no_later_than_the_error_cx05() {
    no_hang(|| {
        for round in 0..400 {
            let (root, cancel) = Context::background().with_cancel();
            // Not the first in the list, so that it may see the error before it is woken.
            let crowd: Vec<_> = (0..40).map(|_| Hand::parked(root.done())).collect();
            let ctx = if round % 2 == 0 { root.clone() } else { root.with_cancel().0 };
            let looks = {
                let ctx = ctx.clone();
                thread::spawn(move || {
                    let mut wait = Hand::new(ctx.done());
                    if wait.poll().is_pending() {
                        spin_until(|| ctx.err().is_some());
                        assert!(wait.poll().is_ready(), "ended, and not done");
                    }
                    Hand::new(ctx.done()).ready();
                    assert!(ctx.cause().is_some());
                })
            };
            let waits = {
                let ctx = ctx.clone();
                thread::spawn(move || {
                    futures_lite_block_on(ctx.done());
                    assert_eq!(ctx.err(), CANCELED);
                })
            };
            cancel.cancel();
            looks.join().unwrap();
            waits.join().unwrap();
            drop(crowd);
        }
    });
}

/// Without any runtime.
fn futures_lite_block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Cx::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn end_is_stable_cx05() {
    let (ctx, cancel) = Context::background().with_timeout(long());
    cancel.cancel();
    for _ in 0..3 {
        assert_eq!(ctx.err(), CANCELED);
        Hand::new(ctx.done()).ready();
        cancel.cancel();
    }
}

#[test]
fn done_keeps_its_place_and_wakes_whom_it_was_polled_by_last_ca08() {
    let (ctx, cancel) = Context::background().with_cancel();
    let mut done = Hand::parked(ctx.done());
    let (other, waker) = Wakes::new();
    assert!(done.poll_with(&waker).is_pending());
    // Polled again by the same task: nothing to replace.
    assert!(done.poll_with(&waker).is_pending());
    cancel.cancel();
    assert_eq!((done.wakes(), other.count()), (0, 1));
    done.ready();
    let again = catch_unwind(AssertUnwindSafe(|| done.poll()));
    let text = again.unwrap_err();
    assert_eq!(*text.downcast_ref::<&str>().unwrap(), "gopark: future polled after completion");
}

#[test]
fn dropped_and_leaked_waits_leave_no_trace_ca12() {
    let (ctx, cancel) = Context::background().with_cancel();
    let mut waits: Vec<_> = (0..9).map(|_| Some(Hand::parked(ctx.done()))).collect();
    // The first, one in the middle, the last; and one that is leaked.
    for i in [0, 4, 8] {
        waits[i] = None;
    }
    waits[2].take().unwrap().leak();
    cancel.cancel();
    for wait in waits.iter().flatten() {
        assert_eq!(wait.wakes(), 1);
    }
    // Dropped when it was woken, without a poll.
    drop(waits);
}

// ----------------------------------------------------------------------------------------- causes

/// The result of a case of the table: the context to check, and what must live until then.
type Built = (Context, Box<dyn std::any::Any>);

fn keep(ctx: Context, rest: impl std::any::Any) -> Built {
    (ctx, Box::new(rest))
}

type Row = (&'static str, fn() -> Built, Option<ContextError>, Option<&'static str>);

/// The parent's cause, the child's cause, a deadline's cause.
const P: &str = "parent's";
const C: &str = "child's";
const T: &str = "too slow";
const PLAIN: &str = "context canceled";
const TIME: &str = "context deadline exceeded";

fn root() -> Context {
    Context::background()
}

fn past() -> Instant {
    Instant::now()
}

const CAUSES: &[Row] = &[
    ("background", || keep(root(), ()), None, None),
    ("todo", || keep(Context::todo(), ()), None, None),
    (
        "with_cancel, not cancelled",
        || {
            let (ctx, f) = root().with_cancel();
            keep(ctx, f)
        },
        None,
        None,
    ),
    (
        "with_cancel",
        || {
            let (ctx, f) = root().with_cancel();
            f.cancel();
            keep(ctx, ())
        },
        CANCELED,
        Some(PLAIN),
    ),
    (
        "with_cancel_cause, not cancelled",
        || {
            let (ctx, f) = root().with_cancel_cause();
            keep(ctx, f)
        },
        None,
        None,
    ),
    (
        "with_cancel_cause",
        || {
            let (ctx, f) = root().with_cancel_cause();
            f.cancel(P);
            keep(ctx, ())
        },
        CANCELED,
        Some(P),
    ),
    (
        "with_cancel_cause, of no cause",
        || {
            let (ctx, f) = root().with_cancel_cause();
            f.cancel(ContextError::Canceled);
            keep(ctx, ())
        },
        CANCELED,
        Some(PLAIN),
    ),
    (
        "the second cause is too late",
        || {
            let (ctx, f) = root().with_cancel_cause();
            f.cancel(P);
            f.cancel(C);
            keep(ctx, ())
        },
        CANCELED,
        Some(P),
    ),
    (
        "no cause, and then one: too late as well",
        || {
            let (ctx, f) = root().with_cancel_cause();
            f.cancel(ContextError::Canceled);
            f.cancel(C);
            keep(ctx, ())
        },
        CANCELED,
        Some(PLAIN),
    ),
    (
        "a child without a cause has its parent's",
        || {
            let (p, f) = root().with_cancel_cause();
            let (c, g) = p.with_cancel();
            f.cancel(P);
            g.cancel();
            keep(c, ())
        },
        CANCELED,
        Some(P),
    ),
    (
        "a plain cancel of the child comes first: its own",
        || {
            let (p, f) = root().with_cancel_cause();
            let (c, g) = p.with_cancel();
            g.cancel();
            f.cancel(P);
            keep(c, ())
        },
        CANCELED,
        Some(PLAIN),
    ),
    (
        "the parent's comes first",
        || {
            let (p, f) = root().with_cancel_cause();
            let (c, g) = p.with_cancel_cause();
            f.cancel(P);
            g.cancel(C);
            keep(c, ())
        },
        CANCELED,
        Some(P),
    ),
    (
        "the child's comes first and survives",
        || {
            let (p, f) = root().with_cancel_cause();
            let (c, g) = p.with_cancel_cause();
            g.cancel(C);
            f.cancel(P);
            keep(c, ())
        },
        CANCELED,
        Some(C),
    ),
    (
        "the child's cause is not its parent's",
        || {
            let (p, f) = root().with_cancel_cause();
            let (c, g) = p.with_cancel_cause();
            g.cancel(C);
            f.cancel(P);
            keep(p, c)
        },
        CANCELED,
        Some(P),
    ),
    (
        "a parent without a cause, first",
        || {
            let (p, f) = root().with_cancel();
            let (c, g) = p.with_cancel_cause();
            f.cancel();
            g.cancel(C);
            keep(c, ())
        },
        CANCELED,
        Some(PLAIN),
    ),
    (
        "through values and a grandparent",
        || {
            let (p, f) = root().with_value(1).with_cancel_cause();
            let c = p.with_value(2).with_cancel().0.with_value(3);
            f.cancel(P);
            keep(c, ())
        },
        CANCELED,
        Some(P),
    ),
    (
        "with_timeout",
        || {
            let (ctx, _) = root().with_timeout(Duration::ZERO);
            keep(ctx, ())
        },
        EXPIRED,
        Some(TIME),
    ),
    (
        "with_timeout, cancelled before",
        || {
            let (ctx, f) = root().with_timeout(long());
            f.cancel();
            keep(ctx, ())
        },
        CANCELED,
        Some(PLAIN),
    ),
    (
        "with_timeout_cause",
        || {
            let (ctx, _) = root().with_timeout_cause(Duration::ZERO, T);
            keep(ctx, ())
        },
        EXPIRED,
        Some(T),
    ),
    (
        "with_timeout_cause, cancelled before: its function has no cause",
        || {
            let (ctx, f) = root().with_timeout_cause(long(), T);
            f.cancel();
            keep(ctx, ())
        },
        CANCELED,
        Some(PLAIN),
    ),
    (
        "with_deadline_cause in a parent that expired",
        || {
            let (p, _) = root().with_timeout(Duration::ZERO);
            let (ctx, _) = p.with_deadline_cause(past(), T);
            keep(ctx, ())
        },
        EXPIRED,
        Some(TIME),
    ),
    (
        "two causes of time: the parent's is earlier",
        || {
            let (p, _) = root().with_timeout_cause(Duration::ZERO, P);
            let (ctx, _) = p.with_timeout_cause(long(), C);
            keep(ctx, ())
        },
        EXPIRED,
        Some(P),
    ),
    (
        "two causes of time: the child's is earlier",
        || {
            let (p, f) = root().with_timeout_cause(long(), P);
            let (ctx, _) = p.with_timeout_cause(Duration::ZERO, C);
            f.cancel();
            keep(ctx, ())
        },
        EXPIRED,
        Some(C),
    ),
    (
        "a timed child of a parent with a cause",
        || {
            let (p, f) = root().with_cancel_cause();
            let (ctx, _) = p.with_timeout_cause(long(), T);
            f.cancel(P);
            keep(ctx, ())
        },
        CANCELED,
        Some(P),
    ),
    (
        "a child of a timed parent that was cancelled",
        || {
            let (p, f) = root().with_timeout_cause(long(), T);
            let (ctx, g) = p.with_cancel_cause();
            f.cancel();
            g.cancel(C);
            keep(ctx, ())
        },
        CANCELED,
        Some(PLAIN),
    ),
    (
        "born below an ended parent",
        || {
            let (p, f) = root().with_cancel_cause();
            f.cancel(P);
            let (ctx, g) = p.with_cancel_cause();
            g.cancel(C);
            keep(ctx, ())
        },
        CANCELED,
        Some(P),
    ),
    (
        "without_cancel",
        || {
            let (p, f) = root().with_cancel_cause();
            f.cancel(P);
            keep(p.without_cancel(), ())
        },
        None,
        None,
    ),
    (
        "a cause below without_cancel",
        || {
            let (p, f) = root().with_cancel_cause();
            let (ctx, g) = p.without_cancel().with_cancel_cause();
            f.cancel(P);
            g.cancel(C);
            keep(ctx, ())
        },
        CANCELED,
        Some(C),
    ),
    (
        "a timeout below without_cancel",
        || {
            let (p, f) = root().with_cancel_cause();
            let (ctx, _) = p.without_cancel().with_timeout(Duration::ZERO);
            f.cancel(P);
            keep(ctx, ())
        },
        EXPIRED,
        Some(TIME),
    ),
];

#[test]
fn causes_are_those_of_the_first_to_end_the_path_cx06() {
    assert!(CAUSES.len() >= 25);
    for (name, build, err, cause) in CAUSES {
        let (ctx, rest) = build();
        assert_eq!(ctx.err(), *err, "{name}");
        assert_eq!(ctx.cause().map(|cause| cause.to_string()).as_deref(), *cause, "{name}");
        drop(rest);
        assert_eq!(ctx.err(), *err, "{name}: dropping a function does nothing");
    }
}

#[test]
fn cause_keeps_its_type_cx06() {
    #[derive(Debug)]
    struct DiskFull(u32);
    impl std::fmt::Display for DiskFull {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "disk {} full", self.0)
        }
    }
    impl Error for DiskFull {}
    let (ctx, cancel) = Context::background().with_cancel_cause();
    let child = ctx.with_cancel().0;
    cancel.cancel(DiskFull(3));
    let (own, childs) = (ctx.cause().unwrap(), child.cause().unwrap());
    assert_eq!(childs.downcast_ref::<DiskFull>().unwrap().0, 3);
    assert!(Arc::ptr_eq(&own, &childs), "one cause for all");
    let (plain, cancel) = Context::background().with_cancel();
    cancel.cancel();
    assert_eq!(
        plain.cause().unwrap().downcast_ref::<ContextError>(),
        Some(&ContextError::Canceled)
    );
}

/// Whatever the order of a parent's and a child's cancel, the child's cause is one of the two, and
/// never changes.
#[test]
fn racing_causes_agree_cx06() {
    no_hang(|| {
        for _ in 0..300 {
            let (p, f) = Context::background().with_cancel_cause();
            let (c, g) = p.with_cancel_cause();
            let grandchild = c.with_cancel().0;
            let other = thread::spawn(move || f.cancel(P));
            g.cancel(C);
            let seen = c.cause().unwrap().to_string();
            assert!(seen == P || seen == C);
            assert_eq!(grandchild.cause().unwrap().to_string(), seen);
            other.join().unwrap();
            assert_eq!(p.cause().unwrap().to_string(), P);
            assert_eq!(c.cause().unwrap().to_string(), seen);
        }
    });
}

/// The destructor of a cause is user code: it must run without our locks, also if the cause came
/// too late.
#[test]
fn causes_are_dropped_outside_every_lock_cx11() {
    struct Nosy(Context, Drops);
    impl std::fmt::Debug for Nosy {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("nosy")
        }
    }
    impl std::fmt::Display for Nosy {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("nosy")
        }
    }
    impl Error for Nosy {}
    impl Drop for Nosy {
        fn drop(&mut self) {
            drop(format!("{:?}", self.0.with_cancel().0));
            drop(self.1.one());
        }
    }
    no_hang(|| {
        let drops = Drops::new();
        let (p, f) = Context::background().with_cancel_cause();
        let (c, g) = p.with_cancel_cause();
        g.cancel(Nosy(p.clone(), drops.clone()));
        g.cancel(Nosy(c.clone(), drops.clone()));
        assert_eq!(drops.count(), 1, "too late");
        drop((c, g));
        assert_eq!(drops.count(), 2);
        drop(p.with_timeout_cause(long(), Nosy(p.clone(), drops.clone())));
        assert_eq!(drops.count(), 3);
        f.cancel("end");
    });
}

// -------------------------------------------------------------------------------------- deadlines

#[test]
fn deadline_is_the_earlier_one_of_both_cx07() {
    let now = Instant::now();
    let (near, far) = (now + long(), now + 2 * long());
    let (a, _) = Context::background().with_deadline(far);
    let (b, _) = a.with_deadline(near);
    let (c, _) = b.with_deadline(far);
    let (d, cancel) = c.with_cancel();
    assert_eq!(
        [&a, &b, &c, &d].map(Context::deadline),
        [Some(far), Some(near), Some(near), Some(near)]
    );
    cancel.cancel();
    assert_eq!(d.deadline(), Some(near), "also after the end");
    assert_eq!(d.with_value(1).deadline(), Some(near));
    assert_eq!(d.without_cancel().deadline(), None);
}

#[test]
fn past_deadline_is_done_at_once_cx07() {
    let passed = Instant::now();
    let contexts = [
        Context::background().with_deadline(passed).0,
        Context::background().with_timeout(Duration::ZERO).0,
    ];
    for ctx in contexts {
        assert_eq!(ctx.err(), EXPIRED);
        assert!(ctx.err().unwrap().is_timeout());
        Hand::new(ctx.done()).ready();
        assert_eq!(ctx.with_cancel().0.err(), EXPIRED);
        assert_eq!(
            Hand::new(ctx.run(pending::<()>())).ready(),
            Err(ContextError::DeadlineExceeded)
        );
    }
    // Not below a context that ended for another reason.
    let (parent, cancel) = Context::background().with_cancel();
    cancel.cancel();
    assert_eq!(parent.with_deadline(passed).0.err(), CANCELED);
}

#[test]
fn deadline_ends_the_context_and_what_is_below_cx07() {
    on_procs(2, async {
        let begun = Instant::now();
        let (ctx, _keep) = Context::background().with_timeout_cause(Duration::from_millis(10), T);
        let child = ctx.with_value(5).with_cancel().0;
        child.done().await;
        assert!(begun.elapsed() >= Duration::from_millis(10));
        for ctx in [&ctx, &child] {
            assert_eq!((ctx.err(), ctx.cause().unwrap().to_string().as_str()), (EXPIRED, T));
        }
        assert!(Instant::now() >= ctx.deadline().unwrap());
    });
}

/// Of many contexts that would end at the same time, those that were cancelled or dropped keep
/// their state.
#[test]
fn cancelled_timeout_stays_cancelled_cx07() {
    on_procs(2, async {
        let due = Instant::now() + Duration::from_millis(20);
        let all: Vec<_> = (0..100).map(|_| Context::background().with_deadline(due)).collect();
        for (_, cancel) in &all[..50] {
            cancel.cancel();
        }
        let ended: Vec<_> = all.iter().take(50).map(|(ctx, _)| ctx.err()).collect();
        for (ctx, _) in &all {
            ctx.done().await;
        }
        for ((ctx, _), before) in all.iter().zip(ended) {
            // Unless the machine stood still for the whole time.
            assert_eq!(ctx.err(), before);
        }
        assert!(all[50..].iter().all(|(ctx, _)| ctx.err() == EXPIRED));
    });
}

#[test]
fn too_long_a_timeout_is_for_ever_cx07() {
    let (ctx, cancel) = Context::background().with_timeout(Duration::MAX);
    assert_eq!((ctx.err(), ctx.deadline()), (None, None));
    cancel.cancel();
    assert_eq!(ctx.err(), CANCELED);
}

#[test]
fn unreferenced_deadlines_go_at_once_cx07() {
    let (parent, _keep) = Context::background().with_cancel();
    let drops = Drops::new();
    for _ in 0..1000 {
        let (ctx, _) = parent.with_timeout(long());
        drop(ctx.with_value(drops.one()));
        // The timer alone does not keep the context alive.
        drop(ctx);
    }
    assert_eq!((children(&parent), drops.count()), (0, 1000));
}

#[test]
fn deadline_against_cancel_and_drop_of_all_cx07() {
    no_hang(|| {
        for i in 0..200_u64 {
            let (ctx, cancel) = Context::background().with_timeout(Duration::from_micros(i));
            let child = ctx.with_cancel().0;
            let mut done = Hand::new(child.done());
            let _ = done.poll();
            match i % 3 {
                0 => cancel.cancel(),
                1 => spin_until(|| child.err().is_some()),
                _ => drop((ctx, cancel)),
            }
            if i % 3 != 2 && !done.is_done() {
                done.ready();
            }
        }
    });
}

// ------------------------------------------------------------------------------------- after_func

#[test]
fn after_func_runs_in_a_goroutine_of_its_own_once_it_is_over_cx08() {
    on_procs(1, async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (log, read) = chan::bounded(10);
        let early = log.clone();
        let stop = ctx.after_func(async move { early.send("func").await });
        assert_eq!(num_goroutine(), 1);
        cancel.cancel();
        log.send("cancel returned").await.unwrap();
        assert_eq!(num_goroutine(), 2);
        assert_eq!(read.recv().await, Some("cancel returned"));
        assert_eq!(read.recv().await, Some("func"));
        assert!(!stop.stop());
        // Returns at once if the context has ended already.
        let stop = ctx.after_func(async move { log.send("late").await });
        assert!(!stop.stop());
        assert_eq!(read.recv().await, Some("late"));
        assert_eq!(read.recv().await, None);
    });
}

/// A bug: a runtime was dropped, and its executor became that of the next one. Then a context
/// ended, and its function, registered in the first runtime, ran in the second.
#[test]
fn after_func_of_a_runtime_that_is_gone_does_not_run_in_the_next_one() {
    no_hang(|| {
        // Runtimes reuse the same parts one after the other; runtimes of other tests may come in
        // between.
        for _ in 0..20 {
            let (ctx, cancel) = Context::background().with_cancel();
            let (ran, drops) = (Arc::new(AtomicUsize::new(0)), Drops::new());
            let first = rt(1);
            first.block_on(async {
                let (ran, counted) = (ran.clone(), drops.one());
                ctx.after_func(async move {
                    ran.fetch_add(1, Ordering::SeqCst);
                    drop(counted);
                });
            });
            drop(first);
            let next = rt(1);
            cancel.cancel();
            next.block_on(gosched());
            drop(next);
            assert_eq!((ran.load(Ordering::SeqCst), drops.count()), (0, 1));
        }
    });
}

#[test]
fn stopped_after_func_does_not_run_and_is_dropped_cx08() {
    let drops = Drops::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let counted = drops.one();
    let stop = ctx.after_func(async move {
        let _counted = counted;
        unreachable!("stopped");
    });
    assert_eq!((children(&ctx), format!("{stop:?}").as_str()), (1, "Stop { waits: true }"));
    assert!(stop.stop());
    assert_eq!((children(&ctx), drops.count()), (0, 1));
    assert!(!stop.stop());
    cancel.cancel();
    assert_eq!(ctx.err(), CANCELED);
}

#[test]
fn registrations_are_independent_cx08() {
    on_procs(1, async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::bounded(10);
        let stops: Vec<_> = (0..4)
            .map(|i| {
                let tx = tx.clone();
                ctx.after_func(async move { tx.send(i).await })
            })
            .collect();
        drop(tx);
        assert!(stops[1].stop());
        cancel.cancel();
        assert!(!stops[0].stop());
        let mut ran = Vec::new();
        while let Some(i) = rx.recv().await {
            ran.push(i);
        }
        ran.sort_unstable();
        assert_eq!(ran, [0, 2, 3]);
    });
}

#[test]
fn cancel_does_not_wait_for_the_function_cx08() {
    on_procs(2, async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (open, gate) = chan::unbuffered::<()>();
        let (tx, ended) = chan::bounded(1);
        ctx.after_func(async move {
            gate.recv().await;
            tx.send(()).await
        });
        cancel.cancel();
        assert!(ended.is_empty());
        drop(open);
        assert_eq!(ended.recv().await, Some(()));
    });
}

/// The registration alone keeps alive whatever leads to it, as long as something can end the
/// context.
#[test]
fn function_runs_though_nobody_refers_to_its_context_cx08() {
    on_procs(1, async {
        let (tx, rx) = chan::bounded(10);
        let send = |what: &'static str| {
            let tx = tx.clone();
            async move { tx.send(what).await }
        };
        // Below a context whose function was detached.
        let (root, cancel) = Context::background().with_cancel();
        let (middle, _) = root.with_cancel();
        middle.with_cancel().0.after_func(send("below"));
        drop(middle);
        assert_eq!(children(&root), 1);
        drop(root);
        cancel.cancel();
        assert_eq!(rx.recv().await, Some("below"));
        // By the function of its own context.
        let (ctx, cancel) = Context::background().with_cancel();
        ctx.after_func(send("own"));
        drop(ctx);
        cancel.cancel();
        assert_eq!(rx.recv().await, Some("own"));
        // By a deadline in the future.
        let (ctx, _) = Context::background().with_timeout(Duration::from_millis(5));
        ctx.after_func(send("deadline"));
        drop(ctx);
        assert_eq!(rx.recv().await, Some("deadline"));
        // Below one, in a context that is ended from elsewhere first.
        let (root, cancel) = Context::background().with_cancel();
        root.with_timeout(long()).0.with_cancel().0.after_func(send("before its time"));
        assert_eq!(children(&root), 1);
        cancel.cancel();
        assert_eq!(children(&root), 0);
        assert_eq!(rx.recv().await, Some("before its time"));
    });
}

#[test]
fn function_that_nothing_can_start_any_more_is_dropped_cx08() {
    let drops = Drops::new();
    let wait = |ctx: &Context| {
        let counted = drops.one();
        drop(ctx.after_func(async move { drop(counted) }));
    };
    // A whole tree of them.
    let (root, cancel) = Context::background().with_cancel();
    let (a, _) = root.with_cancel();
    let (b, _) = a.with_cancel();
    for ctx in [&root, &a, &a, &b] {
        wait(ctx);
    }
    drop((a, b));
    drop(root);
    assert_eq!(drops.count(), 0);
    drop(cancel);
    assert_eq!(drops.count(), 4);
    // Of a context that never ends, once its function cannot be stopped either.
    wait(&Context::background());
    assert_eq!(drops.count(), 5);
    let kept = Context::background().after_func(ready(()));
    assert!(kept.stop() && !kept.stop());
}

#[test]
fn stop_keeps_the_way_to_its_function_cx08() {
    let (root, cancel) = Context::background().with_cancel();
    let stop = root.with_cancel().0.after_func(async { unreachable!("stopped") });
    assert_eq!(children(&root), 1);
    assert!(stop.stop());
    drop(stop);
    assert_eq!(children(&root), 0);
    cancel.cancel();
}

#[test]
fn of_stop_and_cancel_exactly_one_has_the_function_cx08() {
    on_procs(2, async {
        for _ in 0..500 {
            let (ctx, cancel) = Context::background().with_cancel();
            let drops = Drops::new();
            let counted = drops.one();
            let (tx, rx) = chan::bounded(1);
            let stop = ctx.after_func(async move {
                drop(counted);
                tx.send(()).await
            });
            let stops = go(async move { stop.stop() });
            cancel.cancel();
            let stopped = stops.await.unwrap();
            // Either it ran, or it was dropped together with its end of the channel.
            assert_eq!(rx.recv().await.is_none(), stopped);
            assert_eq!(drops.count(), 1);
        }
    });
}

#[test]
fn function_started_by_a_thread_runs_where_it_was_registered_cx08() {
    no_hang(|| {
        let runtime =
            gopark::Runtime::builder().gomaxprocs(1).thread_name("registered").build().unwrap();
        runtime.block_on(async {
            let (ctx, cancel) = Context::background().with_cancel();
            let (tx, rx) = chan::bounded(1);
            ctx.after_func(async move {
                tx.send(thread::current().name().unwrap_or("").to_owned()).await
            });
            thread::spawn(move || cancel.cancel()).join().unwrap();
            assert!(rx.recv().await.unwrap().starts_with("registered"));
        });
    });
}

// ------------------------------------------------------------------------- without_cancel, values

#[test]
fn without_cancel_keeps_values_and_nothing_else_cx09() {
    let (ctx, cancel) = Context::background().with_value(7).with_timeout(long());
    let ctx = ctx.with_value("s");
    let rest = ctx.without_cancel();
    for cancelled in [false, true] {
        if cancelled {
            cancel.cancel();
        }
        assert_eq!((rest.err(), rest.deadline()), (None, None));
        assert!(rest.cause().is_none() && Hand::new(rest.done()).is_pending());
        assert_eq!((rest.value().as_deref(), rest.value().as_deref()), (Some(&7), Some(&"s")));
    }
    assert!(ctx.without_cancel().err().is_none(), "also of one that has ended");
    // The child has an end of its own.
    let (below, cancel) = rest.with_cancel();
    cancel.cancel();
    assert_eq!((below.err(), rest.err()), (CANCELED, None));
}

#[test]
fn nearest_value_of_a_type_counts_cx10() {
    #[derive(Debug, PartialEq)]
    struct Id(u32);
    #[derive(Debug, PartialEq)]
    struct Other(u32);
    let outer = Context::background().with_value(Id(1));
    let (ctx, _cancel) = outer.with_value(Other(2)).with_cancel();
    let inner = ctx.with_value(Id(3));
    assert_eq!(outer.value().as_deref(), Some(&Id(1)));
    assert!(outer.value::<Other>().is_none());
    assert_eq!((ctx.value().as_deref(), ctx.value().as_deref()), (Some(&Id(1)), Some(&Other(2))));
    assert_eq!(
        (inner.value().as_deref(), inner.value().as_deref()),
        (Some(&Id(3)), Some(&Other(2)))
    );
    // Types of equal shape with equal values are not the same type.
    assert!(inner.value::<u32>().is_none());
    // The unit value is a value too, and hides the one behind it.
    let hidden = inner.with_value(None::<&str>).with_value(Some("x")).with_value(None::<&str>);
    assert_eq!(hidden.value::<Option<&str>>().as_deref(), Some(&None));
}

#[test]
fn values_are_shared_and_dropped_once_cx10() {
    let drops = Drops::new();
    let ctx = Context::background().with_value(drops.one());
    let child = ctx.with_cancel().0.with_value(1);
    let held = child.value::<crate::util::Counted>().unwrap();
    assert!(Arc::ptr_eq(&held, &ctx.value().unwrap()));
    drop((ctx, child));
    assert_eq!(drops.count(), 0);
    drop(held);
    assert_eq!(drops.count(), 1);
}

// ------------------------------------------------------------------------------ run, recv, select

#[test]
fn run_does_not_begin_what_is_over_xs05() {
    let (ctx, cancel) = Context::background().with_cancel();
    let permits = Semaphore::new(1);
    assert!(Hand::new(ctx.run(permits.acquire(1))).ready().is_ok());
    cancel.cancel();
    // Although a permit is free.
    assert_eq!(Hand::new(ctx.run(permits.acquire(1))).ready().err(), CANCELED);
    assert_eq!(permits.available(), 1);
    let polled = Hand::new(ctx.run(async { unreachable!("polled") })).ready();
    assert_eq!(polled, Err::<(), _>(ContextError::Canceled));
}

#[test]
fn run_prefers_the_result_when_both_are_there_ca17() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, rx) = chan::unbuffered();
    let mut run = Hand::parked(ctx.run(rx.recv()));
    tx.try_send(5).unwrap();
    cancel.cancel();
    assert_eq!(run.ready(), Ok(Some(5)));
    let again = catch_unwind(AssertUnwindSafe(|| run.poll()));
    assert!(again.is_err(), "polled after completion");
}

#[test]
fn run_leaves_nothing_behind_when_it_is_over_xs05() {
    let (ctx, cancel) = Context::background().with_cancel();
    let permits = Semaphore::new(2);
    let held = permits.try_acquire(1).unwrap();
    let mut big = Hand::parked(ctx.run(permits.acquire(2)));
    let mut small = Hand::parked(permits.acquire(1));
    cancel.cancel();
    assert_eq!(big.ready().err(), CANCELED);
    // The first waiter leaves, and the one behind it, which fits, continues at once.
    drop(big);
    assert_eq!(small.wakes(), 1);
    assert_eq!(small.ready().count(), 1);
    drop(held);
    let drops = Drops::new();
    let (ctx, _cancel) = Context::background().with_cancel();
    let counted = drops.one();
    drop(Hand::parked(ctx.run(async move {
        let _counted = counted;
        pending::<()>().await
    })));
    assert_eq!(drops.count(), 1);
}

#[test]
fn recv_loop_ends_with_the_context_or_the_channel() {
    on_procs(1, async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::bounded(100);
        for i in 0..100 {
            tx.send(i).await.unwrap();
        }
        // It is never empty, and yet ends at once.
        let mut seen = 0;
        while let Some(i) = ctx.recv(&rx).await {
            assert_eq!(i, seen);
            seen += 1;
            if i == 41 {
                cancel.cancel();
            }
        }
        assert_eq!((seen, rx.len(), ctx.err()), (42, 58, CANCELED));
        // The end of the channel.
        let (ctx, _cancel) = Context::background().with_cancel();
        drop(tx);
        while ctx.recv(&rx).await.is_some() {
            seen += 1;
        }
        assert_eq!((seen, ctx.err()), (100, None));
        // The context ends while it waits.
        let (ctx, cancel) = Context::background().with_cancel();
        let (_tx, rx) = chan::unbuffered::<()>();
        let waits = go({
            let ctx = ctx.clone();
            async move { ctx.recv(&rx).await }
        });
        gosched().await;
        cancel.cancel();
        assert_eq!(waits.await.unwrap(), None);
    });
}

#[test]
fn recv_loses_no_value_to_the_end_ca07() {
    on_procs(2, async {
        for _ in 0..300 {
            let (ctx, cancel) = Context::background().with_cancel();
            let (tx, rx) = chan::unbuffered();
            let receives = go({
                let (ctx, rx) = (ctx.clone(), rx.clone());
                async move {
                    let mut got = 0;
                    while ctx.recv(&rx).await.is_some() {
                        got += 1;
                    }
                    got
                }
            });
            let sends = go(async move {
                let mut sent = 0;
                while tx.try_send(()).is_ok() || sent == 0 {
                    sent += 1;
                    gosched().await;
                    if sent > 3 {
                        break;
                    }
                }
            });
            gosched().await;
            cancel.cancel();
            let got = receives.await.unwrap();
            sends.await.unwrap();
            let left = std::iter::from_fn(|| rx.try_recv().ok()).count();
            assert!(got + left <= 4);
        }
    });
}

/// Each value that was sent is received once, either by a receive that the end of the context can
/// stop or by another one.
#[test]
fn values_are_conserved_when_receivers_end_ca07() {
    on_procs(2, async {
        const VALUES: usize = 2000;
        let (tx, rx) = chan::bounded(3);
        let seen = Arc::new(AtomicUsize::new(0));
        let all = WaitGroup::new();
        let (root, _keep) = Context::background().with_cancel();
        for i in 0..100 {
            let (ctx, cancel) = root.with_cancel();
            let (rx, seen) = (rx.clone(), seen.clone());
            all.go(async move {
                while ctx.recv(&rx).await.is_some() {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            });
            all.go(async move {
                for _ in 0..i {
                    gosched().await;
                }
                cancel.cancel();
            });
        }
        let rest = go({
            let seen = seen.clone();
            async move {
                while rx.recv().await.is_some() {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        for _ in 0..VALUES {
            tx.send(()).await.unwrap();
        }
        drop(tx);
        all.wait().await;
        rest.await.unwrap();
        assert_eq!((seen.load(Ordering::SeqCst), children(&root)), (VALUES, 0));
    });
}

#[test]
fn done_is_a_case_that_loses_without_a_trace_ca05() {
    on_procs(1, async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::bounded(1);
        for i in 0..100 {
            tx.send(i).await.unwrap();
            select! {
                _ = ctx.done() => unreachable!(),
                v = rx.recv() => assert_eq!(v, Some(i)),
            }
        }
        let wins = go({
            let (ctx, rx) = (ctx.clone(), rx.clone());
            async move {
                select! {
                    _ = ctx.done() => true,
                    _ = rx.recv() => false,
                }
            }
        });
        gosched().await;
        cancel.cancel();
        assert!(wins.await.unwrap());
        tx.send(1).await.unwrap();
        let mut counts = [0; 2];
        for _ in 0..400 {
            select! {
                _ = ctx.done() => counts[0] += 1,
                v = rx.recv() => {
                    counts[1] += 1;
                    tx.send(v.unwrap()).await.unwrap();
                }
            }
        }
        assert!(counts[0] > 100 && counts[1] > 100, "not uniform: {counts:?}");
        select! {
            biased;
            _ = ctx.done() => {}
            _ = rx.recv() => unreachable!(),
        }
        select! {
            v = ctx.run(async { pending::<()>().await }) => assert_eq!(v.err(), CANCELED),
            _ = pending_case() => unreachable!(),
        }
        select! {
            v = ctx.recv(&rx) => assert_eq!(v, None),
            default => unreachable!(),
        }
    });
}

#[test]
fn send_under_an_ended_context_gives_the_value_back_though_there_is_room() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, rx) = chan::bounded(2);
    assert_eq!(Hand::new(ctx.send(&tx, 1)).ready(), Ok(()));
    cancel.cancel();
    let sent = Hand::new(ctx.send(&tx, 2)).ready();
    assert_eq!(sent, Err(ContextSendError::Context(ContextError::Canceled, 2)));
    assert_eq!(rx.len(), 1);
}

#[test]
fn send_that_waits_gives_the_value_back_when_the_context_ends() {
    for (tx, _rx) in [chan::unbuffered::<String>(), (chan::Sender::nil(), chan::Receiver::nil())] {
        let (ctx, cancel) = Context::background().with_cancel();
        let mut send = Hand::parked(ctx.send(&tx, "kept".to_owned()));
        let background = Context::background();
        let mut behind = Hand::parked(background.send(&tx, "behind".to_owned()));
        cancel.cancel();
        assert_eq!(send.wakes(), 1);
        let err = send.ready().unwrap_err();
        assert!(
            matches!(&err, ContextSendError::Context(ContextError::Canceled, v) if v == "kept")
        );
        assert_eq!(
            (format!("{err:?}"), err.to_string()),
            ("Context(Canceled, ..)".into(), "context canceled".into())
        );
        assert!(behind.is_pending());
    }
}

#[test]
fn send_that_was_taken_before_the_context_ended_is_sent() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, rx) = chan::unbuffered();
    let mut send = Hand::parked(ctx.send(&tx, 1));
    cancel.cancel();
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(send.ready(), Ok(()));
    // And a value whose send failed was not received.
    let (ctx, cancel) = Context::background().with_cancel();
    let mut send = Hand::parked(ctx.send(&tx, 2));
    cancel.cancel();
    assert!(send.ready().is_err() && rx.try_recv().is_err());
}

#[test]
fn send_on_a_closed_channel_says_closed() {
    let ctx = Context::background();
    let (tx, rx) = chan::unbuffered();
    let mut send = Hand::parked(ctx.send(&tx, 1));
    drop(rx);
    assert_eq!(send.ready(), Err(ContextSendError::Closed(1)));
    let err = Hand::new(ctx.send(&tx, 2)).ready().unwrap_err();
    assert_eq!((err.to_string(), err.into_inner()), ("send on closed channel".into(), 2));
}

#[test]
fn send_drops_its_value_once_however_it_ends() {
    let drops = Drops::new();
    let (tx, _rx) = chan::unbuffered();
    let (ctx, cancel) = Context::background().with_cancel();
    drop(ctx.send(&tx, drops.one()));
    drop(Hand::parked(ctx.send(&tx, drops.one())));
    assert_eq!(drops.count(), 2);
    let mut send = Hand::parked(ctx.send(&tx, drops.one()));
    cancel.cancel();
    let given_back = send.ready();
    drop(send);
    assert_eq!(drops.count(), 2);
    drop(given_back);
    assert_eq!(drops.count(), 3);
}

#[test]
fn send_and_sleep_are_cases_of_a_select() {
    on_procs(1, async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::bounded(1);
        select! {
            sent = ctx.send(&tx, 1) => sent.unwrap(),
            _ = ctx.sleep(long()) => unreachable!(), // asleep: the subject
        }
        assert_eq!(rx.try_recv(), Ok(1));
        go(async move { cancel.cancel() });
        select! {
            slept = ctx.sleep(long()) => assert_eq!(slept.err(), CANCELED), // asleep: the subject
            _ = rx.recv() => unreachable!(),
        }
        select! {
            sent = ctx.send(&tx, 2) => assert_eq!(sent.unwrap_err().into_inner(), 2),
            default => unreachable!(),
        }
    });
}

#[test]
fn sleep_ends_with_its_time_or_with_the_context() {
    on_procs(1, async {
        let (ctx, _cancel) = Context::background().with_cancel();
        let start = gopark::time::now();
        assert_eq!(ctx.sleep(Duration::from_millis(2)).await, Ok(())); // asleep: the subject
        assert!(gopark::time::now() >= start + Duration::from_millis(2));
        let (short, _) = ctx.with_timeout(Duration::from_millis(1));
        assert_eq!(short.sleep(long()).await.err(), EXPIRED); // asleep: the subject
        assert_eq!(short.sleep(Duration::ZERO).await.err(), EXPIRED); // asleep: the subject
    });
}

fn pending_case() -> select::Fut<std::future::Pending<()>> {
    select::fut(pending())
}

/// A loop over operations that never have to wait lets other goroutines run.
#[test]
fn ready_operations_of_a_context_give_way_ca18() {
    on_procs(1, async {
        let (ctx, cancel) = Context::background().with_cancel();
        cancel.cancel();
        let (_tx, rx) = chan::unbuffered::<()>();
        let ran = Arc::new(AtomicBool::new(false));
        let other = go({
            let ran = ran.clone();
            async move { ran.store(true, Ordering::SeqCst) }
        });
        while !ran.load(Ordering::SeqCst) {
            ctx.done().await;
            assert!(ctx.run(rx.recv()).await.is_err());
            assert_eq!(ctx.recv(&rx).await, None);
        }
        other.await.unwrap();
    });
}

// ------------------------------------------------------------------------------- the small things

#[test]
fn deferred_cancel_cancels_when_it_goes() {
    let (ctx, cancel) = Context::background().with_cancel();
    let panics = catch_unwind(AssertUnwindSafe(|| {
        let _cancel = cancel.clone().defer();
        let _after = OnDrop(|| assert!(ctx.err().is_none()));
        panic!("out of here");
    }));
    assert!(panics.is_err());
    assert_eq!(ctx.err(), CANCELED);
}

#[test]
fn dropped_functions_do_nothing() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (other, cause) = ctx.with_cancel_cause();
    drop((cancel, cause));
    assert_eq!((ctx.err(), other.err()), (None, None));
}

#[test]
fn errors_speak_go() {
    assert_eq!(ContextError::Canceled.to_string(), "context canceled");
    assert_eq!(ContextError::DeadlineExceeded.to_string(), "context deadline exceeded");
    let boxed: Box<dyn Error + Send + Sync> = ContextError::Canceled.into();
    assert!(boxed.source().is_none());
}

#[test]
fn contexts_fit_everywhere() {
    fn all<
        T: Send + Sync + Clone + std::panic::UnwindSafe + std::panic::RefUnwindSafe + 'static,
    >() {
    }
    fn send_sync<T: Send + Sync>() {}
    all::<Context>();
    all::<CancelFunc>();
    all::<CancelCauseFunc>();
    send_sync::<Stop>();
    send_sync::<DeferredCancel>();
    send_sync::<Done<'_>>();
    send_sync::<Run<'_, std::future::Ready<()>>>();
    send_sync::<Recv<'_, i32>>();
    static NEVER: Context = Context::background();
    assert!(NEVER.err().is_none());
    let (ctx, cancel) = NEVER.with_cancel();
    assert_eq!(format!("{ctx:?}"), "Context { err: None, deadline: None, children: 0 }");
    assert_eq!(format!("{cancel:?}"), "CancelFunc { err: None, .. }");
    assert_eq!(format!("{:?}", ctx.done()), "Done { stage: new, .. }");
    assert_eq!(format!("{:?}", ctx.run(ready(()))), "Run { progress: New, .. }");
}

/// A send in each of its forms, on a channel where it must wait.
async fn send_somehow(form: usize, tx: chan::Sender<u8>) {
    match form {
        0 => tx.send(1).await.unwrap(),
        1 => select! { sent = tx.send(1) => sent.unwrap() },
        _ => {
            let (_other, never) = chan::unbuffered::<()>();
            select! { sent = tx.send(1) => sent.unwrap(), _ = never.recv() => unreachable!() }
        }
    }
}

/// A bug: the send was pending when it was polled, and was taken before the context was checked.
/// `run` reported it as not sent.
#[test]
fn run_tells_a_send_as_sent_that_was_taken_while_it_looked_at_the_end_ca04() {
    for form in 0..3 {
        let run = move || async move {
            let (ctx, cancel) = Context::background().with_cancel();
            let (tx, rx) = chan::unbuffered();
            let operation = After::new(send_somehow(form, tx), || {
                assert_eq!(rx.try_recv(), Ok(1));
                cancel.cancel();
            });
            ctx.run(operation).await
        };
        assert_eq!(futures_lite_block_on(run()), Ok(()));
        assert_eq!(rt(1).block_on(run()), Ok(()));
    }
}

/// A bug: the send was taken between the last poll and its drop, and `run` reported it as not sent.
#[test]
fn what_run_gives_up_is_out_of_reach_before_it_is_dropped_ca04() {
    for form in 0..3 {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::unbuffered();
        let (ended, polls) = (ctx.clone(), AtomicUsize::new(0));
        let operation = After::new(send_somehow(form, tx), || {
            if ended.err().is_some() && polls.fetch_add(1, Ordering::Relaxed) == 1 {
                assert!(rx.try_recv().is_err(), "a send that is being given up was taken");
            }
        });
        let mut run = Hand::parked(ctx.run(operation));
        cancel.cancel();
        assert_eq!(run.ready(), Err(ContextError::Canceled));
        drop(run);
        assert_eq!(polls.into_inner(), 2, "a poll, and a last one");
    }
}

#[test]
fn a_send_that_run_gave_up_may_begin_anew_ca04() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, rx) = chan::unbuffered();
    let mut send = pin!(tx.send(7));
    {
        let mut run = Hand::parked(ctx.run(send.as_mut()));
        cancel.cancel();
        assert_eq!(run.ready(), Err(ContextError::Canceled));
    }
    assert_eq!(rx.try_recv(), Err(chan::TryRecvError::Empty));
    let mut send = Hand::parked(send);
    assert_eq!(rx.try_recv(), Ok(7));
    assert_eq!(send.ready(), Ok(()));
}

#[test]
fn run_and_a_receiver_agree_on_a_send_ca04() {
    no_hang(|| {
        rt(2).block_on(async {
            for _ in 0..3000 {
                let (ctx, cancel) = Context::background().with_cancel();
                let (tx, rx) = chan::unbuffered();
                let sent = go(async move { matches!(ctx.run(tx.send(1)).await, Ok(Ok(()))) });
                let received = go(async move {
                    let received = loop {
                        match rx.try_recv() {
                            Ok(_) => break true,
                            Err(chan::TryRecvError::Closed) => break false,
                            Err(chan::TryRecvError::Empty) => gosched().await,
                        }
                    };
                    cancel.cancel();
                    received
                });
                assert_eq!(sent.await.unwrap(), received.await.unwrap());
            }
        });
    });
}

/// A bug: a cause that was passed to another context as its cause could no longer be downcast.
#[test]
fn cause_that_is_passed_on_is_the_same_error_cx06() {
    let background = Context::background();
    let (first, cancel) = background.with_cancel_cause();
    cancel.cancel(std::io::Error::other("no disk"));
    let is_it = |ctx: &Context| ctx.cause().unwrap().downcast_ref::<std::io::Error>().is_some();
    let (second, cancel) = background.with_cancel_cause();
    cancel.cancel(first.cause().unwrap());
    let (third, cancel) = background.with_cancel_cause();
    cancel.cancel(Box::<dyn Error + Send + Sync>::from(second.cause().unwrap()));
    assert!(is_it(&first) && is_it(&second) && is_it(&third));
    assert!(Arc::ptr_eq(&first.cause().unwrap(), &third.cause().unwrap()));
    assert!(is_it(&background.with_timeout_cause(Duration::ZERO, third.cause().unwrap()).0));
    assert!(is_it(&background.with_deadline_cause(Instant::now(), third.cause().unwrap()).0));
}
