//! The tree of cancellation nodes under the contexts.
//!
//! A [`Node`] is a unit that ends as a whole: a context with a cancel function or a deadline of its
//! own, or a function that runs when a context ends (`after_func`). A cancel finds the descendants
//! of a node through the lists of children.
//!
//! | | invariant |
//! |---|---|
//! | C1 | `links` and `linked` of a node are written only under its *parent's* lock |
//! | C2 | A listed node is valid memory: its drop unlinks it, under the parent's lock |
//! | C3 | A node stays in its parent's list until its whole subtree has ended |
//! | C4 | `end` is set once, under the node's lock; then no child, waiter or task is added |
//! | C5 | At most two locks at once: a node's, then its child's. Only pointers move under a lock |
//!
//! # Ownership
//!
//! A node is in an `Arc`. Contexts, cancel functions and child contexts own it; its parent's list
//! does not. So a subtree without references is freed at once, before its parent ends, and a node
//! that is being dropped has no child contexts. Two kinds of nodes own themselves for a while, by
//! [`Inner::hold`]:
//!
//! * a function, from its registration until it is started or stopped, because it must run even if
//!   there is no other reference. It does not own a parent. When the context that it waits for is
//!   dropped, the function moves up to that context's parent, the next node that can end it; if
//!   there is none, the function is dropped.
//! * a node with an alarm, while it has children: the alarm, which holds only a `Weak`, must end
//!   them.
//!
//! # Cancelling
//!
//! [`Node::cancel`] ends the node, and then walks the subtree. In each step it takes the first
//! child of a node that has ended and ends the child. If the child has children, the walk goes
//! down; if not, the child is unlinked, and the walk goes up by the parent pointer. The walk needs
//! no stack, whatever the depth, and holds no lock between two steps. By C3, a second cancel that
//! finds a node ended, with children left, takes part in the walk; when the list is empty, the
//! subtree has ended. So *every* cancel, the first or a later one, returns with its whole subtree
//! ended.
//!
//! Rejected: one lock for a whole tree (every request of a server would contend for it); a lock
//! held down the recursion, as in Go (it overflows a thread's stack, and blocks every access to the
//! top); lists of children as `Vec`s (they grow under the lock).

use std::error::Error;
use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::panic::RefUnwindSafe;
use std::ptr;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context as TaskContext, Wake};
use std::time::Instant;

use super::error::ContextError;
use crate::alarm::{Alarm, alarm};
use crate::clock::Time;
use crate::coop::{self, Object};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicBool, Ordering};
use crate::panics::{contain, drop_flat};
use crate::wait::acquire::Resource;
use crate::wait::list::{self, Links, List};
use crate::wait::queue::{GRANTED, Held, OwnWaiter, Queues};
use crate::waker::{TaskWaker, WakeList};

pub(super) type Cause = Arc<dyn Error + Send + Sync>;

/// Starts the goroutine of an `after_func`.
pub(super) type Start = Box<dyn FnOnce() + Send>;

/// The error and the cause of a node that has ended.
#[derive(Clone)]
struct End {
    err: ContextError,
    cause: Option<Cause>,
}

pub(super) struct Node {
    end: OnceLock<End>,
    /// True while the node is in its parent's list. Cleared once, with Release: a thread that reads
    /// false need not take the parent's lock.
    linked: AtomicBool,
    /// True once the node has had a child. Set under its lock.
    had_children: AtomicBool,
    /// `None` for a root, and for a function.
    pub(super) parent: Option<Arc<Node>>,
    /// The node's own deadline, or its parent's if that is earlier.
    pub(super) deadline: Option<Instant>,
    links: UnsafeCell<Links<Node>>,
    /// The waiters for the end, and the rest that the lock guards.
    inner: Queues<(), Inner>,
    object: Object,
    #[cfg(all(test, gopark_loom))]
    _counted: super::models::Counted,
    /// Lists and queues hold pointers to the node.
    _pin: PhantomPinned,
}

/// The only queue of waiters.
const Q: usize = 0;

struct Inner {
    children: List<Node>,
    /// The length of `children`.
    count: usize,
    /// `None` when the node has ended.
    task: Option<Task>,
    /// A reference to the node itself, while the node must not be dropped. Clearing this never
    /// drops the last reference, because the caller that clears it holds another one.
    hold: Option<Arc<Node>>,
}

/// What the end of a node does, other than waking waiters and ending children.
enum Task {
    /// The node is a function: start it.
    Start(Start),
    /// The node has a deadline: cancel its alarm.
    Cancel(Alarm),
}

// A panic cannot leave a node inconsistent: user code runs without the node's lock.
impl RefUnwindSafe for Node {}

// SAFETY: `links` and the lists are accessed only under the locks that C1 names, from any thread;
// causes, functions, alarms and wakers are `Send`.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

// SAFETY: the links are the node's own, and are accessed only under the lock of the list (C1).
unsafe impl list::Node for Node {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).links.with_mut(|links| f(&mut *links)) }
    }
}

impl Inner {
    /// Unlinks `child`, which has ended or is being dropped, if it is still linked. The functions
    /// that wait for the end of `child` then wait for the end of this node.
    fn remove_child(&mut self, child: &Node) {
        if !child.linked.load(Ordering::Relaxed) {
            return;
        }
        // The value is final, because `child` gets no more children. The check saves a lock.
        if child.had_children.load(Ordering::Relaxed) {
            let mut below = child.inner.lock();
            // SAFETY: both locks are held. The nodes below are functions; these have no parent
            // pointer, so none leads to the list that they leave.
            unsafe { self.children.append(&below.children) };
            self.count += std::mem::take(&mut below.count);
        }
        // SAFETY: the lock is held, and the child is linked in this list, which is its parent's.
        unsafe { self.children.remove(ptr::from_ref(child).cast_mut()) };
        self.count -= 1;
        // This must come last, because a child that is being dropped may be freed after it.
        // Release: pairs with the load in `leave`.
        child.linked.store(false, Ordering::Release);
    }

    /// Returns the first child that is not being dropped.
    fn first_child(&mut self) -> Option<Arc<Node>> {
        loop {
            let first = self.children.front()?.as_ptr();
            // SAFETY: a listed node is valid memory (C2), and was made by an `Arc`. `ManuallyDrop`
            // leaves the weak count as it was, because the strong references own it.
            let weak = unsafe { ManuallyDrop::new(Weak::from_raw(first.cast_const())) };
            if let Some(child) = weak.upgrade() {
                return Some(child);
            }
            // SAFETY: valid as above; the drop of the node waits for this lock.
            self.remove_child(unsafe { &*first });
        }
    }
}

impl Node {
    /// Returns a node below `parent`. If `parent` has ended, so has the node.
    pub(super) fn new(parent: Option<&Arc<Node>>) -> Arc<Self> {
        let node = Self::unlinked(parent, parent.and_then(|parent| parent.deadline));
        node.link_below(parent);
        node
    }

    /// Returns a function that is started when `parent` ends, or at once if it has ended.
    pub(super) fn with_start(parent: Option<&Arc<Node>>, start: Start) -> Arc<Self> {
        let node = Self::unlinked(None, None);
        node.inner.lock().task = Some(Task::Start(start));
        node.inner.lock().hold = parent.map(|_| node.clone());
        node.link_below(parent);
        node
    }

    /// Returns a node below `parent` that ends at `deadline`, with `cause`. The deadline of
    /// `parent`, if there is one, is later.
    pub(super) fn with_deadline(
        parent: Option<&Arc<Node>>,
        deadline: Instant,
        cause: Option<Cause>,
    ) -> Arc<Self> {
        let node = Self::unlinked(parent, Some(deadline));
        node.link_below(parent);
        let due = Time::at(deadline);
        if due <= Time::now() {
            node.cancel(ContextError::DeadlineExceeded, cause);
        } else if node.err().is_none() {
            node.arm(due, Expiry { node: Arc::downgrade(&node), cause });
        }
        node
    }

    /// Sets an alarm that wakes `expiry` at `due`.
    pub(super) fn arm(&self, due: Time, expiry: Expiry) {
        let task = Some(Task::Cancel(alarm(due, TaskWaker::from(Arc::new(expiry)))));
        // If the node has ended meanwhile, `task` is dropped after the lock is released, because
        // locals are dropped in reverse order.
        let mut inner = self.inner.lock();
        if self.end.get().is_none() {
            inner.task = task;
        }
    }

    fn unlinked(parent: Option<&Arc<Node>>, deadline: Option<Instant>) -> Arc<Self> {
        Arc::new(Node {
            end: OnceLock::new(),
            linked: AtomicBool::new(false),
            had_children: AtomicBool::new(false),
            parent: parent.cloned(),
            deadline,
            links: UnsafeCell::new(Links::UNLINKED),
            inner: Queues::new(Inner { children: List::new(), count: 0, task: None, hold: None }),
            object: Object::new(),
            #[cfg(all(test, gopark_loom))]
            _counted: super::models::Counted::new(),
            _pin: PhantomPinned,
        })
    }

    /// Links a new node into the list of `parent`. If `parent` has ended, ends the node instead.
    fn link_below(self: &Arc<Self>, parent: Option<&Arc<Node>>) {
        let Some(parent) = parent else { return };
        let mut above = parent.inner.lock();
        if let Some(end) = parent.end.get().cloned() {
            drop(above);
            self.end(end, &mut WakeList::new());
            return;
        }
        // SAFETY: the lock is held. The node is in no list, and is unlinked before it is freed
        // (C2).
        unsafe { above.children.push_back(Arc::as_ptr(self).cast_mut()) };
        above.count += 1;
        parent.had_children.store(true, Ordering::Relaxed);
        self.linked.store(true, Ordering::Relaxed);
        if above.task.is_some() {
            above.hold.get_or_insert_with(|| parent.clone());
        }
    }

    /// Returns why the node has ended, if it has.
    #[inline]
    pub(super) fn err(&self) -> Option<ContextError> {
        // The load of `end` acquires: what happened before the end is visible.
        self.end.get().map(|end| end.err)
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        let End { err, cause } = self.end.get()?.clone();
        Some(cause.unwrap_or_else(|| Arc::new(err)))
    }

    /// Returns the number of children.
    pub(super) fn children(&self) -> usize {
        self.inner.lock().count
    }

    /// Ends the node and its whole subtree before it returns.
    pub(super) fn cancel(&self, err: ContextError, cause: Option<Cause>) {
        coop::note_unwinding();
        let mut wakes = WakeList::new();
        self.end(End { err, cause }, &mut wakes);
        self.end_below(&mut wakes);
        wakes.wake_all();
        self.leave(self.parent.as_deref());
    }

    /// Ends only this node, unless it has ended. Returns true if it has children. Never unwinds,
    /// because a cancel must go on to the other nodes.
    fn end(&self, end: End, wakes: &mut WakeList) -> bool {
        let mut inner = self.inner.lock();
        let late = self.end.set(end).err();
        inner.hold = None;
        let task = inner.task.take();
        if late.is_some() || task.is_some() {
            drop(inner);
            // The user's destructor runs here: of a cause that came too late, or of the cause of a
            // cancelled alarm.
            contain(|| drop(late));
            contain(|| match task {
                Some(Task::Start(start)) => start(),
                Some(Task::Cancel(alarm)) => drop(alarm),
                None => {}
            });
            inner = self.inner.lock();
        }
        loop {
            while !wakes.is_full() {
                if !inner.grant_front_into(Q, wakes) {
                    return inner.count > 0;
                }
            }
            drop(inner);
            wakes.wake_all();
            inner = self.inner.lock();
        }
    }

    /// Ends the subtree below this node, which has ended.
    fn end_below(&self, wakes: &mut WakeList) {
        // The current node of the walk, which has ended and has children; `None` for `self`.
        let mut below: Option<Arc<Node>> = None;
        // A child of the current node, whose subtree has ended.
        let mut finished: Option<Arc<Node>> = None;
        loop {
            let at = below.as_deref().unwrap_or(self);
            let next = {
                let mut inner = at.inner.lock();
                if let Some(child) = &finished {
                    inner.remove_child(child);
                }
                inner.first_child().zip(at.end.get().cloned())
            };
            // May be the last reference, whose drop runs the user's destructors: so not under the
            // lock.
            contain(|| drop(finished.take()));
            // The child gets the end of `at`, which another cancel may have set.
            if let Some((child, end)) = next {
                if child.end(end, wakes) {
                    below = Some(child);
                } else {
                    finished = Some(child);
                }
            } else {
                let Some(up) = below.take() else { return };
                below = up.parent.clone().filter(|parent| !ptr::eq(&raw const **parent, self));
                finished = Some(up);
            }
        }
    }

    /// Unlinks a node that has ended or is being dropped from `parent`.
    fn leave(&self, parent: Option<&Node>) {
        if let (true, Some(parent)) = (self.linked.load(Ordering::Acquire), parent) {
            let mut above = parent.inner.lock();
            above.remove_child(self);
            if above.count == 0 {
                above.hold = None;
            }
        }
    }

    /// Stops a function that waits for the end of `parent`. Returns false if it was started or
    /// stopped before.
    pub(super) fn disarm(&self, parent: Option<&Node>) -> bool {
        let task = self.inner.lock().task.take();
        if task.is_some() {
            self.end(End { err: ContextError::Canceled, cause: None }, &mut WakeList::new());
            self.leave(parent);
        }
        task.is_some()
    }

    /// Takes the first function that waits for the end of this node, which is being dropped and has
    /// no parent.
    fn take_function(&self) -> Option<Arc<Node>> {
        let mut inner = self.inner.lock();
        let function = inner.first_child()?;
        inner.remove_child(&function);
        Some(function)
    }
}

/// The resource is the end of the node, which all waiters acquire. A background context has no
/// node, and never ends.
impl<'a> Resource<'a, ()> for Option<&'a Node> {
    fn exists(self) -> bool {
        self.is_some()
    }

    fn try_acquire(self) -> bool {
        self.is_some_and(|node| node.err().is_some())
    }

    fn extra(self) {}

    fn object(self) -> Option<&'a Object> {
        self.map(|node| &node.object)
    }

    fn enqueue(self, waiter: OwnWaiter<'_, 'a, ()>) -> bool {
        let Some(node) = self else { return false };
        let mut inner = node.inner.lock();
        let has_ended = node.end.get().is_some();
        if !has_ended {
            inner.push_back(Q, waiter);
        }
        has_ended
    }

    fn look(self, waiter: OwnWaiter<'_, 'a, ()>, cx: &mut TaskContext<'_>) -> bool {
        let Some(node) = self else { return false };
        let settle = |inner: &mut Held<'a, (), Inner>, _| {
            let has_ended = node.end.get().is_some();
            if has_ended && waiter.state() != GRANTED {
                // The cancel has not reached this waiter yet.
                inner.remove(waiter);
            }
            has_ended
        };
        node.inner.look(waiter, cx, settle)
    }

    fn cancel(self, waiter: OwnWaiter<'_, 'a, ()>) {
        let Some(node) = self else { return };
        let mut inner = node.inner.lock();
        if waiter.state() != GRANTED {
            inner.remove(waiter);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Until the node is unlinked, another thread may refer to it.
        self.leave(self.parent.as_deref());
        // Flat: for a chain of parents, and for a chain of functions each of which owns the context
        // that the next one waits for.
        if let Some(parent) = self.parent.take() {
            drop_flat(parent);
        } else {
            while let Some(function) = self.take_function() {
                // No node is left that could start it.
                function.inner.lock().hold = None;
                drop_flat(function);
            }
        }
    }
}

/// The waker of an alarm: ends the node.
pub(super) struct Expiry {
    pub(super) node: Weak<Node>,
    pub(super) cause: Option<Cause>,
}

impl Wake for Expiry {
    fn wake(self: Arc<Self>) {
        if let Some(node) = self.node.upgrade() {
            node.cancel(ContextError::DeadlineExceeded, self.cause.clone());
        }
    }
}
