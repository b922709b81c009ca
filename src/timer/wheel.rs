//! What is to happen when, in a hierarchical wheel of intrusive nodes.
//!
//! A tick is 2^16 ns, about 65 µs. Each level has 64 slots; a slot of level 0 is one tick, one of level n is 64^n. A node
//! stands at the level of the highest group of six bits in which its tick differs from the wheel's; it moves down when
//! the wheel comes to its slot, at most once a level, and most nodes are gone before. Insertion and removal take a few
//! steps, whatever the number of nodes.
//!
//! Slots say roughly when; each node keeps its exact time. A slot whose tick has begun is sorted into `ready`, from which
//! nodes come in the order of their times, and none before its time.
//!
//! Nothing here is atomic or locked: the owner of the wheel sees to that.

use std::cell::Cell;
use std::ptr;

use crate::clock::Time;

/// Nanoseconds of a tick, as a power of two.
const TICK: u32 = 16;
/// Slots of a level, as a power of two.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// Together they cover every [`Time`].
const LEVELS: usize = (64 - TICK).div_ceil(BITS) as usize;
/// A slot with more nodes is not searched for the first of them: to look at its beginning costs less.
const SEARCH: usize = 32;

/// A node's place in a wheel.
#[derive(Debug)]
pub(crate) struct Links {
    prev: Cell<*const Links>,
    next: Cell<*const Links>,
    /// While it is not in a wheel, its owner's to set.
    pub(crate) due: Cell<Time>,
}

impl Links {
    pub(crate) const fn new(due: Time) -> Self {
        Self { prev: Cell::new(ptr::null()), next: Cell::new(ptr::null()), due: Cell::new(due) }
    }
}

/// A ring of nodes; the first one's predecessor is the last.
#[derive(Clone, Copy, Debug)]
struct List {
    first: *const Links,
}

/// Every `unsafe fn` of this file wants the nodes of the wheel alive, and the wheel its caller's alone.
impl List {
    const EMPTY: Self = Self { first: ptr::null() };

    fn is_empty(self) -> bool {
        self.first.is_null()
    }

    /// # Safety
    ///
    /// As said above; `node` is in no list.
    unsafe fn push_back(&mut self, node: *const Links) {
        // SAFETY: passed on to the caller.
        unsafe {
            if self.first.is_null() {
                (*node).prev.set(node);
                (*node).next.set(node);
                self.first = node;
            } else {
                insert_before(self.first, node);
            }
        }
    }

    /// # Safety
    ///
    /// As said above; `node` is in this list.
    unsafe fn remove(&mut self, node: *const Links) {
        // SAFETY: passed on to the caller; neighbours in a list are alive.
        unsafe {
            let (prev, next) = ((*node).prev.get(), (*node).next.get());
            if ptr::eq(next, node) {
                self.first = ptr::null();
                return;
            }
            (*prev).next.set(next);
            (*next).prev.set(prev);
            if ptr::eq(self.first, node) {
                self.first = next;
            }
        }
    }

    /// Puts a node where it belongs in the order of time, behind its equals. Searches from the end: what comes is mostly
    /// later than what is there.
    ///
    /// # Safety
    ///
    /// As of `push_back`; the list is sorted.
    unsafe fn insert_sorted(&mut self, node: *const Links) {
        // SAFETY: passed on to the caller.
        unsafe {
            if self.first.is_null() {
                return self.push_back(node);
            }
            let due = (*node).due.get();
            let mut before = (*self.first).prev.get();
            while (*before).due.get() > due {
                if ptr::eq(before, self.first) {
                    insert_before(self.first, node);
                    self.first = node;
                    return;
                }
                before = (*before).prev.get();
            }
            insert_before((*before).next.get(), node);
        }
    }

    /// Appends a list.
    ///
    /// # Safety
    ///
    /// As said above.
    unsafe fn append(&mut self, other: List) {
        if self.is_empty() {
            *self = other;
        } else if !other.is_empty() {
            // SAFETY: passed on to the caller.
            unsafe {
                let (last, other_last) = ((*self.first).prev.get(), (*other.first).prev.get());
                (*last).next.set(other.first);
                (*other.first).prev.set(last);
                (*other_last).next.set(self.first);
                (*self.first).prev.set(other_last);
            }
        }
    }

    /// Sorts by time; equals keep their order. A merge sort of the runs that are there, so a list in order costs one pass.
    ///
    /// # Safety
    ///
    /// As said above.
    unsafe fn sort(&mut self) {
        if self.is_empty() {
            return;
        }
        // SAFETY: passed on to the caller. From here to the end the list is linked by `next` alone and ends with a null.
        unsafe {
            (*(*self.first).prev.get()).next.set(ptr::null());
            // The place at n, if taken, holds 2^n merged runs, which are older than those of the places below.
            let mut places = [ptr::null::<Links>(); usize::BITS as usize];
            let mut rest = self.first;
            while !rest.is_null() {
                let mut run = rest;
                let mut last = rest;
                rest = (*last).next.get();
                while !rest.is_null() && (*rest).due.get() >= (*last).due.get() {
                    last = rest;
                    rest = (*last).next.get();
                }
                (*last).next.set(ptr::null());
                let mut place = 0;
                while !places[place].is_null() {
                    run = merge(std::mem::replace(&mut places[place], ptr::null()), run);
                    place += 1;
                }
                places[place] = run;
            }
            let mut sorted = ptr::null::<Links>();
            for older in places.into_iter().filter(|place| !place.is_null()) {
                sorted = merge(older, sorted);
            }
            // A ring again.
            self.first = sorted;
            let mut last = sorted;
            loop {
                let next = (*last).next.get();
                if next.is_null() {
                    break;
                }
                (*next).prev.set(last);
                last = next;
            }
            (*last).next.set(sorted);
            (*sorted).prev.set(last);
        }
    }
}

/// # Safety
///
/// As said at [`List`]; `node` is in no list, `place` is in one.
unsafe fn insert_before(place: *const Links, node: *const Links) {
    // SAFETY: passed on to the caller; neighbours in a list are alive.
    unsafe {
        let prev = (*place).prev.get();
        (*node).prev.set(prev);
        (*node).next.set(place);
        (*prev).next.set(node);
        (*place).prev.set(node);
    }
}

/// Merges two sorted lists that are linked by `next` alone; of equals those of the older one come first.
///
/// # Safety
///
/// As said at [`List`].
unsafe fn merge(mut older: *const Links, mut newer: *const Links) -> *const Links {
    let head = Links::new(Time::PAST);
    let mut last: *const Links = &raw const head;
    // SAFETY: passed on to the caller.
    unsafe {
        while !older.is_null() && !newer.is_null() {
            let first = if (*newer).due.get() < (*older).due.get() { &mut newer } else { &mut older };
            (*last).next.set(*first);
            last = *first;
            *first = (*last).next.get();
        }
        (*last).next.set(if older.is_null() { newer } else { older });
    }
    head.next.get()
}

/// The nodes of one shard.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The last tick that was begun: its nodes, and those of earlier ones, are in `ready`.
    tick: u64,
    len: usize,
    /// In the order of time.
    ready: List,
    /// A bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    slots: [[List; SLOTS]; LEVELS],
}

impl Wheel {
    pub(crate) const fn new() -> Self {
        Self { tick: 0, len: 0, ready: List::EMPTY, occupied: [0; LEVELS], slots: [[List::EMPTY; SLOTS]; LEVELS] }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Level and slot of a tick to come.
    fn place(&self, tick: u64) -> (usize, usize) {
        let level = (63 - (tick ^ self.tick).leading_zeros()) / BITS;
        (level as usize, (tick >> (BITS * level)) as usize % SLOTS)
    }

    /// # Safety
    ///
    /// As said at [`List`]; the node stays alive and in its place until it is removed or popped, and is in no wheel.
    pub(crate) unsafe fn insert(&mut self, node: *const Links) {
        self.len += 1;
        // SAFETY: passed on to the caller.
        unsafe { self.put(node) }
    }

    unsafe fn put(&mut self, node: *const Links) {
        // SAFETY: passed on to the caller.
        unsafe {
            let tick = (*node).due.get().as_nanos() >> TICK;
            if tick <= self.tick {
                return self.ready.insert_sorted(node);
            }
            let (level, slot) = self.place(tick);
            self.occupied[level] |= 1 << slot;
            self.slots[level][slot].push_back(node);
        }
    }

    /// # Safety
    ///
    /// As said at [`List`]; the node is in this wheel.
    pub(crate) unsafe fn remove(&mut self, node: *const Links) {
        self.len -= 1;
        // SAFETY: passed on to the caller. As the wheel turns, a node's place stays the one that `place` gives: the wheel's
        // tick comes into the node's slot only when that is emptied.
        unsafe {
            let tick = (*node).due.get().as_nanos() >> TICK;
            if tick <= self.tick {
                return self.ready.remove(node);
            }
            let (level, slot) = self.place(tick);
            let list = &mut self.slots[level][slot];
            list.remove(node);
            if list.is_empty() {
                self.occupied[level] &= !(1 << slot);
            }
        }
    }

    /// The first slot that is not empty, and the tick of its beginning. Lower levels come first, and so do lower slots:
    /// all that are occupied are ahead of the wheel's own.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&occupied| occupied != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = BITS * level as u32;
        let around = (self.tick >> shift >> BITS) << BITS;
        Some((level, slot, (around | slot as u64) << shift))
    }

    /// Turns the wheel to `now`.
    ///
    /// # Safety
    ///
    /// As said at [`List`].
    pub(crate) unsafe fn advance(&mut self, now: Time) {
        let now = now.as_nanos() >> TICK;
        if now <= self.tick {
            return;
        }
        while let Some((level, slot, begin)) = self.first_slot() {
            if begin > now {
                break;
            }
            self.tick = begin;
            self.occupied[level] &= !(1 << slot);
            let mut due = std::mem::replace(&mut self.slots[level][slot], List::EMPTY);
            // SAFETY: passed on to the caller.
            unsafe {
                if level > 0 {
                    due = self.move_down(due);
                }
                due.sort();
                self.ready.append(due);
            }
        }
        self.tick = now;
    }

    /// Distributes a slot's nodes over the levels below; returns those of the tick that has begun.
    unsafe fn move_down(&mut self, list: List) -> List {
        let mut begun = List::EMPTY;
        // SAFETY: passed on to the caller.
        unsafe {
            let last = (*list.first).prev.get();
            let mut node = list.first;
            loop {
                let next = (*node).next.get();
                if (*node).due.get().as_nanos() >> TICK == self.tick {
                    begun.push_back(node);
                } else {
                    self.put(node);
                }
                if ptr::eq(node, last) {
                    return begun;
                }
                node = next;
            }
        }
    }

    /// Takes out the next node whose time has come, if the wheel has been advanced to `now`.
    ///
    /// # Safety
    ///
    /// As said at [`List`].
    pub(crate) unsafe fn pop(&mut self, now: Time) -> Option<*const Links> {
        let first = self.ready.first;
        // SAFETY: passed on to the caller.
        unsafe {
            if first.is_null() || (*first).due.get() > now {
                return None;
            }
            self.ready.remove(first);
        }
        self.len -= 1;
        Some(first)
    }

    /// Takes out any node.
    ///
    /// # Safety
    ///
    /// As said at [`List`].
    pub(crate) unsafe fn pop_any(&mut self) -> Option<*const Links> {
        let slot = self.first_slot().map(|(level, slot, _)| self.slots[level][slot].first);
        let node = if self.ready.is_empty() { slot? } else { self.ready.first };
        // SAFETY: passed on to the caller.
        unsafe { self.remove(node) };
        Some(node)
    }

    /// No node is due before this; mostly one is due just then. To be asked after `advance`.
    ///
    /// # Safety
    ///
    /// As said at [`List`].
    pub(crate) unsafe fn next_due(&self) -> Time {
        // SAFETY: passed on to the caller.
        unsafe {
            if !self.ready.is_empty() {
                return (*self.ready.first).due.get();
            }
            let Some((level, slot, begin)) = self.first_slot() else { return Time::NEVER };
            let first = self.slots[level][slot].first;
            let (mut node, mut earliest) = (first, Time::NEVER);
            for _ in 0..SEARCH {
                earliest = earliest.min((*node).due.get());
                node = (*node).next.get();
                if ptr::eq(node, first) {
                    return earliest;
                }
            }
            Time::from_nanos(begin << TICK)
        }
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
