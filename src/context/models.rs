//! Loom models of the tree of cancellation nodes: every interleaving of two or three threads, up to
//! a bound on preemptions.
//!
//! A lost wake-up shows as a deadlock. Loom's cells report an unsynchronized access to a list or a
//! waiter. The models count nodes: none may be left at the end.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering};

use loom::thread;

use super::tree::{Expiry, Node, Start};
use super::{Context, ContextError};
use crate::clock::Time;
use crate::models::{self, poll_once};
use crate::wait::block_on::block_on;
use crate::waker::TaskWaker;

thread_local! {
    /// The nodes of the running model. A model's threads share it.
    static ALIVE: Cell<usize> = const { Cell::new(0) };
}

/// A member of each node, which counts it.
pub(super) struct Counted;

impl Counted {
    pub(super) fn new() -> Self {
        ALIVE.set(ALIVE.get() + 1);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
    }
}

/// Explores a model, and checks that no node is left.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    models::explore(3, move || {
        ALIVE.set(0);
        model();
        assert_eq!(ALIVE.get(), 0, "a node is left");
    });
}

/// Drops a reference. Loom does not see the counts of an `Arc`. Taking the locks that the other
/// threads take makes loom try this drop between any two of their steps.
fn drop_between(node: Arc<Node>) {
    node.children();
    if let Some(parent) = &node.parent {
        parent.children();
    }
    drop(node);
}

/// Returns a node with an alarm, and the alarm's waker.
fn timed() -> (Arc<Node>, TaskWaker) {
    let node = Node::new(None);
    let expiry = || Expiry { node: Arc::downgrade(&node), cause: None };
    node.arm(Time::NEVER, expiry());
    let fire = TaskWaker::from(Arc::new(expiry()));
    (node, fire)
}

/// The number of times that a function was started, and that it was dropped without being started.
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
        assert_eq!(
            (child.err(), ctx.err()),
            (Some(ContextError::Canceled), Some(ContextError::Canceled))
        );
        cancels.join().unwrap();
        assert_eq!(ctx.node().unwrap().children(), 0);
    });
}

#[test]
fn cancel_wakes_the_remaining_wait_while_another_leaves_ca12() {
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
                drop_between(parent.with_cancel().0.node.unwrap());
                parent.with_cancel().0
            })
        };
        cancel.cancel("why");
        let child = born.join().unwrap();
        assert_eq!(child.err(), Some(ContextError::Canceled));
        assert_eq!(child.cause().unwrap().to_string(), "why");
        assert_eq!(parent.node().unwrap().children(), 0);
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
        assert_eq!((top.node().unwrap().children(), middle.node().unwrap().children()), (0, 0));
    });
}

#[test]
fn of_stop_and_cancel_one_has_the_function_cx08() {
    explore(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let counts = Counts::default();
        let waits = Node::with_start(ctx.node.as_ref(), counts.start());
        let parent = ctx.node.clone();
        let stops = thread::spawn(move || waits.disarm(parent.as_deref()));
        cancel.cancel();
        let stopped = usize::from(stops.join().unwrap());
        assert_eq!(counts.get(), (1 - stopped, stopped));
        assert_eq!(ctx.node().unwrap().children(), 0);
    });
}

/// Two cancels at the top: the second finds the top ended, and perhaps the middle, while the first
/// is still on its way down.
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
        assert_eq!((top.node().unwrap().children(), middle.node().unwrap().children()), (0, 0));
    });
}

/// The last reference to a child that has a function is dropped while the child's parent is
/// cancelled.
#[test]
fn cancel_meets_a_function_that_moves_up_cx08() {
    explore(|| {
        let (root, cancel) = Context::background().with_cancel();
        let counts = Counts::default();
        let child = root.with_cancel().0;
        drop(Node::with_start(child.node.as_ref(), counts.start()));
        let goes = thread::spawn(move || drop_between(child.node.unwrap()));
        cancel.cancel();
        assert_eq!(counts.get(), (1, 0), "not started when cancel returned");
        goes.join().unwrap();
        assert_eq!(root.node().unwrap().children(), 0);
    });
}

/// All references to a tree are dropped at the same time, from both ends. The function is dropped,
/// or is started by the one cancel.
#[test]
fn tree_goes_from_both_ends_cx08() {
    for cancelled in [false, true] {
        explore(move || {
            let (root, cancel) = Context::background().with_cancel();
            let counts = Counts::default();
            let child = root.with_cancel().0;
            drop(Node::with_start(child.node.as_ref(), counts.start()));
            drop(root);
            let goes = thread::spawn(move || drop_between(child.node.unwrap()));
            if cancelled {
                cancel.cancel();
            }
            drop_between(cancel.node);
            goes.join().unwrap();
            assert_eq!(counts.get(), if cancelled { (1, 0) } else { (0, 1) });
        });
    }
}

/// The last two children of a parent are dropped at the same time.
#[test]
fn siblings_and_their_parent_go_at_once_cx04() {
    explore(|| {
        let (root, keep) = Context::background().with_cancel();
        let parent = root.with_cancel().0;
        let (a, b) = (parent.with_cancel().0, parent.with_cancel().0);
        drop(parent);
        let threads = [a, b].map(|child| thread::spawn(move || drop_between(child.node.unwrap())));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(root.node().unwrap().children(), 0);
        drop(keep);
    });
}

#[test]
fn alarm_meets_the_last_reference_and_a_cancel_cx07() {
    for waits in [false, true] {
        let new = move || {
            let counts = Counts::default();
            let (node, fire) = timed();
            if waits {
                drop(Node::with_start(Some(&node), counts.start()));
            }
            (counts, node, fire)
        };
        explore(move || {
            let (counts, node, fire) = new();
            let fires = thread::spawn(move || fire.wake());
            let drops = {
                let node = node.clone();
                thread::spawn(move || drop_between(node))
            };
            drop_between(node);
            drops.join().unwrap();
            fires.join().unwrap();
            assert_eq!(counts.get(), (usize::from(waits), 0), "the alarm should have started it");
        });
        explore(move || {
            let (counts, node, fire) = new();
            let fires = thread::spawn(move || fire.wake());
            node.cancel(ContextError::Canceled, None);
            assert!(node.err().is_some());
            drop_between(node);
            fires.join().unwrap();
            assert_eq!(counts.get(), (usize::from(waits), 0));
        });
    }
}

/// A node with an alarm holds itself while it has descendants, and no longer.
#[test]
fn alarm_meets_the_stop_of_the_function_it_would_start_cx08() {
    explore(|| {
        let counts = Counts::default();
        let (node, fire) = timed();
        let child = Node::new(Some(&node));
        let function = Node::with_start(Some(&child), counts.start());
        drop(node);
        let fires = thread::spawn(move || fire.wake());
        let stopped = usize::from(function.disarm(Some(&child)));
        drop(function);
        drop_between(child);
        fires.join().unwrap();
        assert_eq!(counts.get(), (1 - stopped, stopped));
    });
}

/// The function moves up to the node with the alarm, which keeps that node alive.
#[test]
fn alarm_meets_a_function_that_moves_up_cx08() {
    explore(|| {
        let counts = Counts::default();
        let (node, fire) = timed();
        let child = Node::new(Some(&node));
        drop(Node::with_start(Some(&child), counts.start()));
        drop(node);
        let fires = thread::spawn(move || fire.wake());
        drop_between(child);
        fires.join().unwrap();
        assert_eq!(counts.get(), (1, 0));
    });
}
