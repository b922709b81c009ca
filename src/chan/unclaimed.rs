//! Unclaimed values: their receives were dropped after the hand-off.
//!
//! They are kept in a leftist heap, ordered by number. [`insert`](Unclaimed::insert) and
//! [`pop`](Unclaimed::pop) take O(log n) steps and allocate nothing, because both run under the
//! channel's lock. C. A. Crane, "Linear lists and priority queues as balanced binary trees", 1972.

use super::buffer::drop_each;

/// The maximum number of empty nodes kept until they can be freed outside the lock.
const MOST_EMPTY: usize = 64;

/// The unclaimed values, in the order in which they were handed out.
pub(super) struct Unclaimed<T> {
    root: Option<Box<Node<T>>>,
    len: usize,
    /// The nodes without a value, linked by `left`.
    empty: Option<Box<Node<T>>>,
    empty_len: usize,
}

/// A value, and its number in the order of hand-offs.
pub(super) struct Node<T> {
    value: Option<T>,
    number: usize,
    /// The number of nodes on the shortest path down to a node without two children.
    rank: usize,
    left: Option<Box<Self>>,
    right: Option<Box<Self>>,
}

impl<T> Node<T> {
    /// Allocates a node without a value. Called before the channel is locked.
    pub(super) fn new() -> Box<Self> {
        Box::new(Self { value: None, number: 0, rank: 1, left: None, right: None })
    }
}

/// Empty nodes. Must be dropped after the channel has been unlocked.
pub(super) struct Empty<T>(Option<Box<Node<T>>>);

impl<T> Drop for Empty<T> {
    fn drop(&mut self) {
        while let Some(node) = &mut self.0 {
            self.0 = node.left.take();
        }
    }
}

impl<T> Unclaimed<T> {
    pub(super) const EMPTY: Self = Self { root: None, len: 0, empty: None, empty_len: 0 };

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a value in the given node.
    pub(super) fn insert(&mut self, mut node: Box<Node<T>>, value: T, number: usize) {
        (node.value, node.number) = (Some(value), number);
        self.len += 1;
        self.root = merge(self.root.take(), Some(node));
    }

    /// Takes out the oldest value. Its node is kept until [`take_empty`](Self::take_empty).
    pub(super) fn pop(&mut self) -> Option<T> {
        let mut root = self.root.take()?;
        self.len -= 1;
        self.root = merge(root.left.take(), root.right.take());
        let value = root.value.take();
        root.left = self.empty.take();
        self.empty = Some(root);
        self.empty_len += 1;
        value
    }

    /// Takes out the oldest value, and adds another one in its node.
    pub(super) fn replace_oldest(&mut self, value: T, number: usize) -> Option<T> {
        let mut node = self.root.take()?;
        self.root = merge(node.left.take(), node.right.take());
        self.len -= 1;
        let oldest = node.value.take();
        node.rank = 1;
        self.insert(node, value, number);
        oldest
    }

    /// Returns true if the empty nodes must be taken out before another value is.
    pub(super) fn is_crowded(&self) -> bool {
        self.empty_len >= MOST_EMPTY
    }

    pub(super) fn take_empty(&mut self) -> Empty<T> {
        self.empty_len = 0;
        Empty(self.empty.take())
    }
}

/// Merges two heaps. The depth of the recursion is at most the sum of both ranks, which are at most
/// the logarithms of the sizes.
fn merge<T>(a: Option<Box<Node<T>>>, b: Option<Box<Node<T>>>) -> Option<Box<Node<T>>> {
    let (mut top, other) = match (a, b) {
        // Numbers may wrap.
        (Some(a), Some(b)) if (a.number.wrapping_sub(b.number) as isize) <= 0 => (a, b),
        (Some(a), Some(b)) => (b, a),
        (a, b) => return a.or(b),
    };
    top.right = merge(top.right.take(), Some(other));
    let rank = |node: &Option<Box<Node<T>>>| node.as_ref().map_or(0, |node| node.rank);
    if rank(&top.left) < rank(&top.right) {
        std::mem::swap(&mut top.left, &mut top.right);
    }
    top.rank = rank(&top.right) + 1;
    Some(top)
}

impl<T> Drop for Unclaimed<T> {
    fn drop(&mut self) {
        // One by one, without recursion, because the left side may be as deep as there are nodes.
        drop_each(|| {
            drop(self.take_empty());
            self.pop()
        });
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
