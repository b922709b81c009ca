//! The intrusive doubly linked list for the waiters of channels, locks and contexts.
//!
//! | | invariant |
//! |---|---|
//! | L1 | A linked node is alive and does not move. Its owner unlinks it before it frees it |
//! | L2 | The links of a node, and the list's tail, are accessed only under the lock of the list |
//! | L3 | A node is in at most one list |
//!
//! Nodes are accessed only through raw pointers: no reference to a node exists while another thread
//! may write its links.
//!
//! An [`EntryList`] can be used by safe code. Its lock is held by the code that has it exclusively,
//! and the proof of L1 is the [`Lent`] with which an entry is linked.

use std::ops::Deref;
use std::process;
use std::ptr::{self, NonNull};

use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicPtr, Ordering};
use crate::loom::const_fn;

/// A node's place in a list.
#[derive(Debug)]
pub(crate) struct Links<N> {
    prev: *mut N,
    next: *mut N,
}

impl<N> Links<N> {
    /// The links of a node that was never in a list.
    pub(crate) const UNLINKED: Self = Self { prev: ptr::null_mut(), next: ptr::null_mut() };

    /// Returns the node before this one.
    pub(crate) fn prev(&self) -> Option<NonNull<N>> {
        NonNull::new(self.prev)
    }
}

impl<N> Clone for Links<N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for Links<N> {}

/// A type that can be linked into a [`List`].
///
/// # Safety
///
/// `with_links` must run `f` on the links of this node, and no other code may access these while
/// the node is linked.
// SAFETY: the promise of an implementation is documented under "Safety" above.
pub(crate) unsafe trait Node: Sized {
    /// Runs `f` on the links.
    ///
    /// # Safety
    ///
    /// The node is alive, and the caller has exclusive access to its links (L2).
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R;
}

/// A list of nodes, which it does not own.
///
/// No function takes `&mut self`, because [`seems_empty`](Self::seems_empty) reads `head` without
/// the lock. All other functions require that the caller holds the lock of the list.
#[derive(Debug)]
pub(crate) struct List<N> {
    head: AtomicPtr<N>,
    tail: UnsafeCell<*mut N>,
}

impl<N> List<N> {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Self { head: AtomicPtr::new(ptr::null_mut()), tail: UnsafeCell::new(ptr::null_mut()) }
        }
    }

    /// Returns true if the list is empty. Exact under the lock, otherwise a hint.
    #[inline(always)]
    pub(crate) fn seems_empty(&self) -> bool {
        // Acquire: later reads of the caller are not moved before this one.
        self.head.load(Ordering::Acquire).is_null()
    }

    /// Returns the first node.
    #[inline(always)]
    pub(crate) fn front(&self) -> Option<NonNull<N>> {
        NonNull::new(self.head.load(Ordering::Relaxed))
    }

    /// Returns true if `node` is the first one.
    #[inline(always)]
    pub(crate) fn is_front(&self, node: *const N) -> bool {
        ptr::eq(self.head.load(Ordering::Relaxed), node)
    }
}

impl<N: Node> List<N> {
    /// Returns the node after `node`.
    ///
    /// # Safety
    ///
    /// The lock is held, and `node` is in this list.
    #[inline(always)]
    pub(crate) unsafe fn next(&self, node: NonNull<N>) -> Option<NonNull<N>> {
        // SAFETY: L1, L2.
        NonNull::new(unsafe { N::with_links(node.as_ptr(), |links| links.next) })
    }

    /// Returns the last node.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(crate) unsafe fn back(&self) -> Option<NonNull<N>> {
        // SAFETY: L2.
        NonNull::new(self.tail.with_mut(|tail| unsafe { *tail }))
    }

    /// Returns true if `node` is the only one.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(crate) unsafe fn is_only(&self, node: *const N) -> bool {
        // SAFETY: passed on to the caller.
        self.is_front(node) && unsafe { self.is_back(node) }
    }

    /// Returns true if `node` is the last one.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(crate) unsafe fn is_back(&self, node: *const N) -> bool {
        // SAFETY: L2.
        self.tail.with_mut(|tail| ptr::eq(unsafe { *tail }, node))
    }

    /// Links a node at the end. Returns true if it is the first one.
    ///
    /// # Safety
    ///
    /// The lock is held. The node is pinned, in no list, and is unlinked before it is freed (L1).
    #[inline(always)]
    pub(crate) unsafe fn push_back(&self, node: *mut N) -> bool {
        // SAFETY: L2.
        let last = unsafe { self.replace_tail(node) };
        // SAFETY: L2; the new node is in no list.
        unsafe { Self::set_links(node, Links { prev: last, next: ptr::null_mut() }) };
        if last.is_null() {
            self.head.store(node, Ordering::Release);
        } else {
            // SAFETY: L1, L2.
            unsafe { Self::set_next(last, node) };
        }
        last.is_null()
    }

    /// Links a node at the beginning.
    ///
    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    pub(crate) unsafe fn push_front(&self, node: *mut N) {
        let first = self.head.load(Ordering::Relaxed);
        // SAFETY: L2; the new node is in no list.
        unsafe { Self::set_links(node, Links { prev: ptr::null_mut(), next: first }) };
        if first.is_null() {
            // SAFETY: L2.
            unsafe { self.replace_tail(node) };
        } else {
            // SAFETY: L1, L2.
            unsafe { Self::set_prev(first, node) };
        }
        self.head.store(node, Ordering::Release);
    }

    /// Unlinks a node, from any position.
    ///
    /// # Safety
    ///
    /// The lock is held, and `node` is in this list, or in the middle of one under the same lock.
    #[inline(always)]
    pub(crate) unsafe fn remove(&self, node: *mut N) {
        // SAFETY: L1, L2.
        let Links { prev, next } = unsafe { N::with_links(node, |links| *links) };
        if prev.is_null() {
            self.head.store(next, Ordering::Release);
        } else {
            // SAFETY: L1, L2: a neighbour is in the list, too.
            unsafe { Self::set_next(prev, next) };
        }
        if next.is_null() {
            // SAFETY: L2.
            unsafe { self.replace_tail(prev) };
        } else {
            // SAFETY: L1, L2, as above.
            unsafe { Self::set_prev(next, prev) };
        }
    }

    /// Unlinks and returns the first node.
    ///
    /// # Safety
    ///
    /// The lock is held.
    pub(crate) unsafe fn pop_front(&self) -> Option<NonNull<N>> {
        let front = self.front()?;
        // SAFETY: passed on to the caller; the front is in the list.
        unsafe { self.remove(front.as_ptr()) };
        Some(front)
    }

    /// Moves all nodes of `other` to the end of this list.
    ///
    /// # Safety
    ///
    /// Both lists are under one lock, which is held.
    pub(crate) unsafe fn append(&self, other: &Self) {
        let head = other.head.load(Ordering::Relaxed);
        if head.is_null() {
            return;
        }
        // SAFETY: L2.
        let other_tail = unsafe { other.replace_tail(ptr::null_mut()) };
        // SAFETY: L2.
        let tail = unsafe { self.replace_tail(other_tail) };
        if tail.is_null() {
            self.head.store(head, Ordering::Release);
        } else {
            // SAFETY: L1, L2, for the last node of this list.
            unsafe { Self::set_next(tail, head) };
            // SAFETY: L1, L2, for the first node of `other`.
            unsafe { Self::set_prev(head, tail) };
        }
        other.head.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Sets the tail, and returns the old one.
    ///
    /// # Safety
    ///
    /// The lock is held.
    #[inline(always)]
    unsafe fn replace_tail(&self, node: *mut N) -> *mut N {
        // SAFETY: the lock protects the tail (L2).
        self.tail.with_mut(|tail| unsafe { tail.replace(node) })
    }

    /// Sets both links of a node.
    ///
    /// # Safety
    ///
    /// The node is alive, and the caller has exclusive access to its links (L2).
    #[inline(always)]
    unsafe fn set_links(node: *mut N, to: Links<N>) {
        // SAFETY: passed on to the caller.
        unsafe { N::with_links(node, |links| *links = to) };
    }

    /// # Safety
    ///
    /// As [`set_links`](Self::set_links).
    #[inline(always)]
    unsafe fn set_next(node: *mut N, next: *mut N) {
        // SAFETY: passed on to the caller.
        unsafe { N::with_links(node, |links| links.next = next) };
    }

    /// # Safety
    ///
    /// As [`set_links`](Self::set_links).
    #[inline(always)]
    unsafe fn set_prev(node: *mut N, prev: *mut N) {
        // SAFETY: passed on to the caller.
        unsafe { N::with_links(node, |links| links.prev = prev) };
    }
}

/// A node of an [`EntryList`], with a value.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    links: UnsafeCell<Links<Self>>,
    pub(crate) value: T,
}

impl<T> Entry<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { links: UnsafeCell::new(Links::UNLINKED), value }
    }
}

// SAFETY: the links are the entry's own, and only this file accesses them.
unsafe impl<T> Node for Entry<T> {
    #[inline(always)]
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).links.with_mut(|links| f(&mut *links)) }
    }
}

/// An entry that its owner has lent, to be linked.
#[derive(Debug)]
pub(crate) struct Lent<T>(NonNull<Entry<T>>);

impl<T> Lent<T> {
    /// # Safety
    ///
    /// As long as the result or a list has it, the entry is alive and does not move, and its owner
    /// shares its value. There is no other `Lent` of the entry.
    #[inline(always)]
    pub(crate) unsafe fn new(entry: NonNull<Entry<T>>) -> Self {
        Self(entry)
    }

    /// Returns the pointer that [`new`](Self::new) got.
    #[inline(always)]
    pub(crate) fn as_raw(&self) -> NonNull<Entry<T>> {
        self.0
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the entry is alive, as `new` was promised.
        unsafe { &(*self.0.as_ptr()).value }
    }
}

/// An entry in a list that the user has exclusively.
#[derive(Debug)]
pub(crate) struct Member<'a, T>(&'a Entry<T>);

impl<'a, T> Member<'a, T> {
    /// # Safety
    ///
    /// The entry is in an [`EntryList`], which only the user accesses during `'a`. There is no
    /// other `Member` of the entry.
    #[inline(always)]
    pub(crate) unsafe fn new(entry: &'a Entry<T>) -> Self {
        Self(entry)
    }
}

impl<T> Deref for Member<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// A list of lent entries.
#[derive(Debug)]
pub(crate) struct EntryList<T>(List<Entry<T>>);

impl<T> EntryList<T> {
    pub(crate) fn new() -> Self {
        Self(List::new())
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.front().is_none()
    }

    /// Returns true if there is one entry.
    #[inline(always)]
    pub(crate) fn is_single(&self) -> bool {
        // SAFETY: the borrow of the list excludes changes.
        self.0.front().is_some_and(|front| unsafe { self.0.is_back(front.as_ptr()) })
    }

    /// Returns the values, in their order.
    #[inline(always)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut next = self.0.front();
        std::iter::from_fn(move || {
            let entry = next?;
            // SAFETY: the borrow of the list excludes changes, and the entry is in it.
            next = unsafe { self.0.next(entry) };
            // SAFETY: an entry of the list is alive (L1).
            Some(unsafe { &(*entry.as_ptr()).value })
        })
    }

    /// Links an entry at the end.
    #[inline(always)]
    pub(crate) fn push_back(&mut self, entry: Lent<T>) {
        // SAFETY: the list is borrowed exclusively. The entry is in no list, because it has only
        // this `Lent`, which the list keeps now.
        unsafe { self.0.push_back(entry.0.as_ptr()) };
    }

    /// Unlinks and returns the first entry.
    #[inline(always)]
    pub(crate) fn pop_front(&mut self) -> Option<Lent<T>> {
        // SAFETY: the list is borrowed exclusively. Its entries are lent.
        unsafe { self.0.pop_front() }.map(Lent)
    }

    /// Unlinks an entry. Aborts if it is the first or the last one of another list.
    #[inline(always)]
    pub(crate) fn remove(&mut self, entry: Member<'_, T>) {
        let entry = ptr::from_ref(entry.0).cast_mut();
        // SAFETY: the user has exclusive access to the list of the entry.
        let Links { prev, next } = unsafe { Entry::with_links(entry, |links| *links) };
        // SAFETY: this list is borrowed exclusively.
        let is_back = || unsafe { self.0.is_back(entry) };
        if prev.is_null() && !self.0.is_front(entry) || next.is_null() && !is_back() {
            process::abort();
        }
        // SAFETY: as above. The entry is in this list, or in the middle of another one.
        unsafe { self.0.remove(entry) };
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
