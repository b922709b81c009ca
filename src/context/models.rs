//! Loom's models of the tree of cancellations: every interleaving of two or three threads, up to a bound of preemptions.
//!
//! A lost wake-up shows as a deadlock; an access to a list, a cause or a waiter that nothing orders is reported by loom's
//! cells. A scope that is gone keeps its memory here, and notices who touches it; none may be left at the end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering};

use loom::thread;

use super::scope::{Ref, Start, take_alive};
use super::{Context, ContextError};
use crate::models::{self, poll_once};
use crate::wait::block_on::block_on;

/// Explores a model that must leave no scope behind.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    models::explore(3, move || {
        take_alive();
        model();
        assert_eq!(take_alive(), 0, "a scope is left");
    });
}

/// What is to be started, counted: how often it was, and how often it was dropped without.
#[derive(Clone, Default)]
struct Counts {
    started: Arc<Count>,
    dropped: Arc<Count>,
}

struct Token(Counts, bool);

impl Drop for Token {
    fn drop(&mut self) {
        let Counts { started, dropped } = &self.0;
        (if self.1 { started } else { dropped }).fetch_add(1, Ordering::SeqCst);
    }
}

impl Counts {
    fn start(&self) -> Start {
        let token = Token(self.clone(), false);
        Box::new(move || {
            let mut token = token;
            token.1 = true;
        })
    }

    fn get(&self) -> (usize, usize) {
        (self.started.load(Ordering::SeqCst), self.dropped.load(Ordering::SeqCst))
    }
}

#[test]
fn cancel_meets_a_wait_that_is_being_registered_cx05() {
    explore(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let child = ctx.with_cancel().0;
        let cancels = thread::spawn(move || cancel.cancel());
        block_on(child.done());
        assert_eq!((child.err(), ctx.err()), (Some(ContextError::Canceled), Some(ContextError::Canceled)));
        cancels.join().unwrap();
        assert_eq!(ctx.scope().unwrap().children(), 0);
    });
}

#[test]
fn cancel_wakes_those_who_stay_while_one_leaves_ca12() {
    explore(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let leaves = {
            let ctx = ctx.clone();
            thread::spawn(move || {
                let mut done = pin!(ctx.done());
                if poll_once(done.as_mut()).is_pending() && ctx.err().is_some() {
                    assert!(poll_once(done.as_mut()).is_ready(), "ended, and not done");
                }
            })
        };
        let cancels = thread::spawn(move || cancel.cancel());
        block_on(ctx.done());
        leaves.join().unwrap();
        cancels.join().unwrap();
    });
}

#[test]
fn cancel_of_a_parent_meets_a_child_that_is_born_and_goes_cx04() {
    explore(|| {
        let (parent, cancel) = Context::background().with_cancel_cause();
        let born = {
            let parent = parent.clone();
            thread::spawn(move || {
                drop(parent.with_cancel());
                parent.with_cancel().0
            })
        };
        cancel.cancel("why");
        let child = born.join().unwrap();
        assert_eq!(child.err(), Some(ContextError::Canceled));
        assert_eq!(child.cause().unwrap().to_string(), "why");
        assert_eq!(parent.scope().unwrap().children(), 0);
    });
}

#[test]
fn each_of_two_cancels_returns_with_the_subtree_ended_cx02() {
    explore(|| {
        let (top, cancel_top) = Context::background().with_cancel_cause();
        let (middle, cancel_middle) = top.with_cancel_cause();
        let bottom = middle.with_cancel().0;
        let other = {
            let bottom = bottom.clone();
            thread::spawn(move || {
                cancel_middle.cancel("middle");
                assert!(bottom.err().is_some());
            })
        };
        cancel_top.cancel("top");
        assert!(middle.err().is_some() && bottom.err().is_some());
        other.join().unwrap();
        let cause = |ctx: &Context| ctx.cause().unwrap().to_string();
        assert_eq!((cause(&top).as_str(), cause(&middle)), ("top", cause(&bottom)));
        assert_eq!((top.scope().unwrap().children(), middle.scope().unwrap().children()), (0, 0));
    });
}

#[test]
fn of_stop_and_cancel_one_has_the_function_cx08() {
    explore(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let counts = Counts::default();
        let waits = Ref::with_start(ctx.scope.as_ref(), counts.start());
        let stops = thread::spawn(move || waits.disarm());
        cancel.cancel();
        let stopped = usize::from(stops.join().unwrap());
        assert_eq!(counts.get(), (1 - stopped, stopped));
        assert_eq!(ctx.scope().unwrap().children(), 0);
    });
}

/// Two at the top: the second finds it marked, and perhaps the middle, while the first is on its way down.
#[test]
fn second_cancel_of_a_tree_helps_the_first_cx02() {
    explore(|| {
        let (top, cancel) = Context::background().with_cancel();
        let middle = top.with_cancel().0;
        let bottom = middle.with_cancel().0;
        let other = {
            let (cancel, bottom) = (cancel.clone(), bottom.clone());
            thread::spawn(move || {
                cancel.cancel();
                assert!(bottom.err().is_some());
            })
        };
        cancel.cancel();
        assert!(bottom.err().is_some());
        other.join().unwrap();
        assert_eq!((top.scope().unwrap().children(), middle.scope().unwrap().children()), (0, 0));
    });
}

/// The last reference of a child with a function goes while its parent is cancelled.
#[test]
fn cancel_meets_a_scope_that_turns_dormant_cx08() {
    explore(|| {
        let (root, cancel) = Context::background().with_cancel();
        let counts = Counts::default();
        let child = root.with_cancel().0;
        drop(Ref::with_start(child.scope.as_ref(), counts.start()));
        let goes = thread::spawn(move || drop(child));
        cancel.cancel();
        assert_eq!(counts.get(), (1, 0), "not started when cancel returned");
        goes.join().unwrap();
        assert_eq!(root.scope().unwrap().children(), 0);
    });
}

/// All references of a tree go at once, from both ends: what waits is dropped, or started by the one cancel.
#[test]
fn tree_goes_from_both_ends_cx08() {
    for cancelled in [false, true] {
        explore(move || {
            let (root, cancel) = Context::background().with_cancel();
            let counts = Counts::default();
            let child = root.with_cancel().0;
            drop(Ref::with_start(child.scope.as_ref(), counts.start()));
            drop(root);
            let goes = thread::spawn(move || drop(child));
            if cancelled {
                cancel.cancel();
            }
            drop(cancel);
            goes.join().unwrap();
            assert_eq!(counts.get(), if cancelled { (1, 0) } else { (0, 1) });
        });
    }
}

/// Two go at once, which are a parent's last children.
#[test]
fn siblings_and_their_parent_go_at_once_cx04() {
    explore(|| {
        let (root, keep) = Context::background().with_cancel();
        let parent = root.with_cancel().0;
        let (a, b) = (parent.with_cancel().0, parent.with_cancel().0);
        drop(parent);
        let threads = [thread::spawn(move || drop(a)), thread::spawn(move || drop(b))];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(root.scope().unwrap().children(), 0);
        drop(keep);
    });
}

#[test]
fn alarm_meets_the_last_reference_and_a_cancel_cx07() {
    for waits in [false, true] {
        explore(move || {
            let counts = Counts::default();
            let (scope, fire) = Ref::timed(waits.then(|| counts.start()));
            let fires = thread::spawn(move || fire.wake());
            let cancels = {
                let scope = scope.clone();
                thread::spawn(move || drop(scope))
            };
            drop(scope);
            cancels.join().unwrap();
            fires.join().unwrap();
            assert_eq!(counts.get(), (usize::from(waits), 0), "the alarm was to start it");
        });
        explore(move || {
            let counts = Counts::default();
            let (scope, fire) = Ref::timed(waits.then(|| counts.start()));
            let fires = thread::spawn(move || fire.wake());
            scope.cancel_with(None);
            assert!(scope.err().is_some());
            drop(scope);
            fires.join().unwrap();
            assert_eq!(counts.get(), (usize::from(waits), 0));
        });
    }
}
