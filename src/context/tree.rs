//! The tree of cancellations under the contexts.
//!
//! A [`Node`] is what ends as one: a context with a cancel function or a deadline of its own, or a
//! function that waits for the end of one (`after_func`). A cancel finds everything below a node
//! through the lists of children.
//!
//! | | invariant |
//! |---|---|
//! | C1 | A node's place in its parent's list (`links`, `linked`) is written only under the *parent's* lock |
//! | C2 | A listed node's memory is valid: its drop takes it out of the list, under the parent's lock |
//! | C3 | A node stays in its parent's list until its whole subtree has ended |
//! | C4 | `end` is set under the node's lock, once. An ended node gets no more children, waiters, task |
//! | C5 | Two locks at once: only a node's and then its child's. Under a lock there are pointer moves and nothing else |
//!
//! # Ownership
//!
//! A node is an `Arc`. Contexts, cancel functions and child contexts own it; its parent's list does
//! not. So a subtree that nothing refers to is freed at once, without the end of its parent, and a
//! node whose last reference is gone has no child contexts. Two kinds of nodes own themselves for a
//! while, by [`Inner::hold`]:
//!
//! * a function, from its registration until it is started or stopped, because it must run although
//!   nothing refers to it. It has no parent that it would own. When the context is dropped that it
//!   waits for, it moves up to that context's parent, which is the next that can end it; if there
//!   is none, it is dropped.
//! * a node with an alarm, as long as it has children: the alarm, which has only a `Weak`, must end
//!   them.
//!
//! # Cancelling
//!
//! [`Node::cancel`] ends the node, then again and again takes the first child of an ended node and
//! ends that: goes down if it has children, takes it out of the list if not, and goes up by the
//! parent pointer. No stack is needed, whatever the depth, and no lock is held from one step to the
//! next. Because of C3 a second cancel that finds a node ended, with children left, helps: when it
//! sees the list empty, the subtree has ended. So *every* cancel returns with its whole subtree
//! ended, also the one that came too late.
//!
//! Rejected: one lock for a whole tree (every request of a server would meet there); a lock held
//! down the recursion, as in Go (it overflows a thread's stack, and blocks everything that looks at
//! the top); lists of children as `Vec`s (they grow under the lock).

use std::cell::Cell;
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
use crate::lock::Lock;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicBool, Ordering};
use crate::panics::contain;
use crate::wait::acquire::Resource;
use crate::wait::list::{self, Links, List};
use crate::wait::queue::{self, GRANTED, Queue, Waiter};
use crate::waker::{TaskWaker, WakeList};

pub(super) type Cause = Arc<dyn Error + Send + Sync>;

/// Starts the goroutine of an `after_func`.
pub(super) type Start = Box<dyn FnOnce() + Send>;

/// Why a node has ended.
#[derive(Clone)]
struct End {
    err: ContextError,
    cause: Option<Cause>,
}

pub(super) struct Node {
    end: OnceLock<End>,
    /// Whether it is in its parent's list. Cleared once, Release: what sees that needs the parent's
    /// lock no more.
    linked: AtomicBool,
    /// Whether it ever had children. Set under its lock.
    had_children: AtomicBool,
    /// `None` at the top, and of a function.
    pub(super) parent: Option<Arc<Node>>,
    /// Its own or an earlier one of its parent's.
    pub(super) deadline: Option<Instant>,
    links: UnsafeCell<Links<Node>>,
    inner: Lock<Inner>,
    object: Object,
    #[cfg(all(test, gopark_loom))]
    _counted: super::models::Counted,
    /// Lists and queues point here.
    _pin: PhantomPinned,
}

struct Inner {
    waiters: Queue<()>,
    children: List<Node>,
    /// How many there are.
    count: usize,
    /// `None` when the node has ended.
    task: Option<Task>,
    /// The node itself, as long as it must not be dropped. Never its last reference: who takes it
    /// out has one.
    hold: Option<Arc<Node>>,
}

/// What a node is there for besides its waiters and children, until it ends.
enum Task {
    /// A function: at the end, start it.
    Start(Start),
    /// A deadline of its own: at the end, cancel the alarm.
    Cancel(Alarm),
}

// Nothing unwinds while a node's parts disagree: user code runs without its lock.
impl RefUnwindSafe for Node {}

// SAFETY: `links` and the lists are reached under the locks that C1 names, from whatever thread;
// causes, functions, alarms and wakers may go to any.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

// SAFETY: the links are the node's own, and touched under the lock of the list only (C1).
unsafe impl list::Node for Node {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).links.with_mut(|links| f(&mut *links)) }
    }
}

impl Inner {
    /// Takes a child out, unless that is done. It is being dropped, or has ended: the functions
    /// that wait for its end wait for this one's.
    fn remove(&mut self, child: &Node) {
        if !child.linked.load(Ordering::Relaxed) {
            return;
        }
        // Exact, because it gets no more: saves a lock.
        if child.had_children.load(Ordering::Relaxed) {
            let mut below = child.inner.lock();
            // SAFETY: both locks are held. The nodes below are functions, for which no list is
            // looked up by a parent pointer.
            unsafe { self.children.append(&below.children) };
            self.count += std::mem::take(&mut below.count);
        }
        // SAFETY: the lock is held, and the child is linked in this list, its parent's.
        unsafe { self.children.remove(ptr::from_ref(child).cast_mut()) };
        self.count -= 1;
        // Last of all, because a child that is being dropped may be freed after this. Release:
        // pairs with the load in `leave`.
        child.linked.store(false, Ordering::Release);
    }

    /// The first child that is not being dropped.
    fn first_child(&mut self) -> Option<Arc<Node>> {
        loop {
            let first = self.children.front()?.as_ptr();
            // SAFETY: listed, so its memory is valid (C2); made of an `Arc`. The `Weak` that it
            // owns together with the other references is not given away.
            let weak = unsafe { ManuallyDrop::new(Weak::from_raw(first.cast_const())) };
            if let Some(child) = weak.upgrade() {
                return Some(child);
            }
            // SAFETY: as above; its drop waits for this lock.
            self.remove(unsafe { &*first });
        }
    }
}

impl Node {
    /// A node below `parent`, ended if that has.
    pub(super) fn new(parent: Option<&Arc<Node>>) -> Arc<Self> {
        let node = Self::unlinked(parent, parent.and_then(|parent| parent.deadline));
        node.link_below(parent);
        node
    }

    /// A function that is started when `parent` ends: at once if it has.
    pub(super) fn with_start(parent: Option<&Arc<Node>>, start: Start) -> Arc<Self> {
        let node = Self::unlinked(None, None);
        node.inner.lock().task = Some(Task::Start(start));
        node.inner.lock().hold = parent.map(|_| node.clone());
        node.link_below(parent);
        node
    }

    /// A node below `parent` that ends at `deadline`, with `cause`; `parent` ends later, if it
    /// does.
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

    /// Arranges for `expiry` to be woken when `due` has come.
    pub(super) fn arm(&self, due: Time, expiry: Expiry) {
        let task = Some(Task::Cancel(alarm(due, TaskWaker::from(Arc::new(expiry)))));
        // Ended meanwhile, the task is dropped after the lock: locals are dropped in reverse order.
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
            inner: Lock::new(Inner {
                waiters: Queue::new(),
                children: List::new(),
                count: 0,
                task: None,
                hold: None,
            }),
            object: Object::new(),
            #[cfg(all(test, gopark_loom))]
            _counted: super::models::Counted::new(),
            _pin: PhantomPinned,
        })
    }

    /// Puts a new node into the list of `parent`; ends it if that has ended.
    fn link_below(self: &Arc<Self>, parent: Option<&Arc<Node>>) {
        let Some(parent) = parent else { return };
        let mut above = parent.inner.lock();
        if let Some(end) = parent.end.get().cloned() {
            drop(above);
            self.end(end, &mut WakeList::new());
            return;
        }
        // SAFETY: the lock is held. The node is in no list, and leaves this one before it is freed
        // (C2).
        unsafe { above.children.push_back(Arc::as_ptr(self).cast_mut()) };
        above.count += 1;
        parent.had_children.store(true, Ordering::Relaxed);
        self.linked.store(true, Ordering::Relaxed);
        if above.task.is_some() {
            above.hold.get_or_insert_with(|| parent.clone());
        }
    }

    /// Why it has ended, if it has.
    #[inline]
    pub(super) fn err(&self) -> Option<ContextError> {
        // What led to the end is seen by what sees the end.
        self.end.get().map(|end| end.err)
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        let End { err, cause } = self.end.get()?.clone();
        Some(cause.unwrap_or_else(|| Arc::new(err)))
    }

    /// How many nodes are in its list.
    pub(super) fn children(&self) -> usize {
        self.inner.lock().count
    }

    /// Ends the node and everything below it, before it returns.
    pub(super) fn cancel(&self, err: ContextError, cause: Option<Cause>) {
        coop::note_unwinding();
        let mut wakes = WakeList::new();
        self.end(End { err, cause }, &mut wakes);
        self.end_below(&mut wakes);
        wakes.wake_all();
        self.leave(self.parent.as_deref());
    }

    /// Ends this one node, unless it has ended; says whether it has children. Never unwinds: a
    /// cancel goes on to the other nodes.
    fn end(&self, end: End, wakes: &mut WakeList) -> bool {
        let mut inner = self.inner.lock();
        let late = self.end.set(end).err();
        inner.hold = None;
        let task = inner.task.take();
        if late.is_some() || task.is_some() {
            drop(inner);
            // A cause that comes too late, or that of an alarm that is cancelled, has the user's
            // destructor.
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
                if !inner.waiters.grant_front_into(wakes) {
                    return inner.count > 0;
                }
            }
            drop(inner);
            wakes.wake_all();
            inner = self.inner.lock();
        }
    }

    /// Ends everything below this node, which has ended.
    fn end_below(&self, wakes: &mut WakeList) {
        // Where the walk is, if not at the top: ended, with children.
        let mut below: Option<Arc<Node>> = None;
        // A child of that, whose subtree has ended.
        let mut finished: Option<Arc<Node>> = None;
        loop {
            let at = below.as_deref().unwrap_or(self);
            let next = {
                let mut inner = at.inner.lock();
                if let Some(child) = &finished {
                    inner.remove(child);
                }
                inner.first_child().zip(at.end.get().cloned())
            };
            // Perhaps the last reference, whose drop runs the user's destructors: after the lock.
            contain(|| drop(finished.take()));
            // A child ends as `at` has ended, which may be by another cancel.
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

    /// Takes a node that has ended or is being dropped out of the list of `parent`.
    fn leave(&self, parent: Option<&Node>) {
        if let (true, Some(parent)) = (self.linked.load(Ordering::Acquire), parent) {
            let mut above = parent.inner.lock();
            above.remove(self);
            if above.count == 0 {
                above.hold = None;
            }
        }
    }

    /// Stops a function that waits for the end of `parent`, unless it was started or stopped; says
    /// whether it did.
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
        inner.remove(&function);
        Some(function)
    }
}

/// The end of a node, which all its waiters acquire.
impl Resource<()> for Node {
    fn try_acquire(&self) -> bool {
        self.err().is_some()
    }

    fn extra(&self) {}

    fn object(&self) -> &Object {
        &self.object
    }

    // Safety, of this and the next two: as the trait says.
    unsafe fn enqueue(&self, waiter: &Waiter<()>) -> bool {
        let mut inner = self.inner.lock();
        if self.end.get().is_some() {
            return true;
        }
        // SAFETY: passed on to the caller.
        unsafe { inner.waiters.push_back(waiter) };
        false
    }

    unsafe fn look(&self, waiter: &Waiter<()>, cx: &mut TaskContext<'_>) -> bool {
        let settle = |inner: &mut Inner, _| {
            let has_ended = self.end.get().is_some();
            if has_ended && waiter.state() != GRANTED {
                // Its turn to be woken has not come.
                // SAFETY: not granted, seen under the lock, so linked.
                unsafe { inner.waiters.remove(waiter) };
            }
            has_ended
        };
        // SAFETY: linked unless `settle` said true.
        unsafe { queue::look(&self.inner, waiter, cx, settle) }
    }

    unsafe fn cancel(&self, waiter: &Waiter<()>) {
        let mut inner = self.inner.lock();
        if waiter.state() != GRANTED {
            // SAFETY: not granted, seen under the lock, so linked.
            unsafe { inner.waiters.remove(waiter) };
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Until it has left the list, another thread may refer to it.
        self.leave(self.parent.as_deref());
        if let Some(parent) = self.parent.take() {
            release(parent);
        } else {
            while let Some(function) = self.take_function() {
                // Nothing is left that could start it.
                function.inner.lock().hold = None;
                release(function);
            }
        }
    }
}

/// Drops a reference during the drop of a node. A drop within that only queues what it releases, so
/// the stack stays flat: for a chain of parents, and for a chain of functions of which each owns
/// the context that the next one waits for.
fn release(node: Arc<Node>) {
    thread_local! {
        /// The queue, during a drop. Without a destructor, so it is there for those of other
        /// thread-locals.
        static RELEASED: Cell<Option<ManuallyDrop<Vec<Arc<Node>>>>> = const { Cell::new(None) };
    }
    if cfg!(gopark_loom) {
        // The threads of a model share what is local to a thread.
        return drop(node);
    }
    if let Some(mut released) = RELEASED.take() {
        released.push(node);
        return RELEASED.set(Some(released));
    }
    let (mut next, mut released) = (Some(node), ManuallyDrop::new(Vec::new()));
    while let Some(node) = next {
        RELEASED.set(Some(released));
        contain(|| drop(node));
        released = RELEASED.take().unwrap_or_default();
        next = released.pop();
    }
    drop(ManuallyDrop::into_inner(released));
}

/// What an alarm does.
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
