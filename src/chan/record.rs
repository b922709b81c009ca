//! All channels, where they are recorded: what is known of the channel that a goroutine waits for.
//!
//! A channel knows the tasks that wait for it, and a goroutine does not know for which channel it
//! waits. So a look goes through the channels, and compares their waiters with the goroutines by
//! address.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;

use super::core::{Core, Side};
use crate::fork;
use crate::holders;
use crate::loom::atomic::Ordering;
use crate::panics::lock;

/// A channel, as [`goroutines`](crate::inspect::goroutines) has found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Its senders.
    pub senders: usize,
    /// Its receivers.
    pub receivers: usize,
    /// The values that it holds.
    pub buffered: usize,
    /// The values for which it has room.
    pub capacity: usize,
}

/// Waiters of each side that a look finds: those that have waited longest. The channel is locked
/// meanwhile.
const MOST: usize = 64;

/// What waits for a channel: the addresses of the tasks of lone operations.
pub(crate) struct Waiters {
    tasks: [[usize; MOST]; 2],
    counts: [usize; 2],
}

impl Waiters {
    fn of(&self, side: Side) -> &[usize] {
        &self.tasks[side as usize][..self.counts[side as usize]]
    }

    pub(crate) fn senders(&self) -> &[usize] {
        self.of(Side::Send)
    }

    pub(crate) fn receivers(&self) -> &[usize] {
        self.of(Side::Receive)
    }

    fn add(&mut self, side: Side, task: usize) {
        let count = &mut self.counts[side as usize];
        self.tasks[side as usize][*count] = task;
        *count += 1;
    }
}

/// A channel, and how to look at it.
struct Entry {
    core: NonNull<()>,
    look: unsafe fn(NonNull<()>) -> (ChannelInfo, Waiters),
}

// SAFETY: `look` takes the channel's lock, and touches no value.
unsafe impl Send for Entry {}

/// The channels, by their addresses.
static CHANNELS: Mutex<BTreeMap<usize, Entry>> = Mutex::new(BTreeMap::new());

/// A channel has been made. It [leaves](leave) before it is freed.
#[inline]
pub(super) fn enter<T>(core: NonNull<Core<T>>) {
    if holders::is_on() {
        insert(core.addr().get(), Entry { core: core.cast(), look: look::<T> });
    }
}

#[cold]
fn insert(address: usize, entry: Entry) {
    if !fork::is_child() {
        lock(&CHANNELS).insert(address, entry);
    }
}

/// The channel at this address is about to be freed.
pub(super) fn leave(address: usize) {
    if holders::is_on() && !fork::is_child() {
        lock(&CHANNELS).remove(&address);
    }
}

/// The channel at this moment.
///
/// # Safety
///
/// It is a `Core<T>`, which is not freed meanwhile.
unsafe fn look<T>(core: NonNull<()>) -> (ChannelInfo, Waiters) {
    let mut waiters = Waiters { tasks: [[0; MOST]; 2], counts: [0; 2] };
    // SAFETY: the caller's promise.
    let core = unsafe { core.cast::<Core<T>>().as_ref() };
    let _held = core.lock.guard();
    for side in [Side::Send, Side::Receive] {
        // SAFETY: the lock is held.
        unsafe { core.queue(side).each_task(MOST, |task| waiters.add(side, task)) };
    }
    let channel = ChannelInfo {
        senders: core.count(Side::Send).load(Ordering::Relaxed),
        receivers: core.count(Side::Receive).load(Ordering::Relaxed),
        buffered: core.len.load(Ordering::Relaxed),
        capacity: core.capacity,
    };
    (channel, waiters)
}

/// Calls `f` with each channel that something waits for, without any lock.
pub(crate) fn each_waited_for(mut f: impl FnMut(ChannelInfo, &Waiters)) {
    let mut from = 0;
    loop {
        // Locked for one channel at a time.
        let channels = lock(&CHANNELS);
        let Some((address, entry)) = channels.range(from..).next() else { return };
        from = address + 1;
        // SAFETY: a channel that is freed has left the table, whose lock is held.
        let (channel, waiters) = unsafe { (entry.look)(entry.core) };
        drop(channels);
        if waiters.counts != [0, 0] {
            f(channel, &waiters);
        }
    }
}
