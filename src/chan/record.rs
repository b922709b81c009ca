//! The table of all channels, if recording is on, for reports about the channels that goroutines
//! wait for.
//!
//! A channel knows the tasks that wait for it, but a goroutine does not know which channel it waits
//! for. So a report goes through the channels, and finds the goroutines by the addresses of the
//! waiting tasks.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;

use super::core::{Core, Side};
use crate::fork;
use crate::holders;
use crate::loom::atomic::Ordering;
use crate::panics::lock;

/// The state of a channel, as reported by [`goroutines`](crate::inspect::goroutines).
///
/// # Examples
///
/// ```
/// use gopark::{chan, inspect};
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::bounded::<u8>(3);
///     gopark::go(async move { rx.recv().await });
///     while !inspect::goroutines().iter().any(|goroutine| goroutine.is_waiting()) {
///         gopark::gosched().await;
///     }
///     for channel in inspect::goroutines().iter().filter_map(|goroutine| goroutine.channel) {
///         assert_eq!((channel.senders, channel.receivers), (tx.sender_count(), 1));
///         assert_eq!((channel.buffered, channel.capacity), (0, 3));
///     }
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The number of its senders.
    pub senders: usize,
    /// The number of its receivers.
    pub receivers: usize,
    /// The number of values that it holds.
    pub buffered: usize,
    /// The number of values that it has room for.
    pub capacity: usize,
}

/// The maximum number of waiters reported for each side: those that have waited longest. It is
/// limited because the channel is locked meanwhile.
const MOST: usize = 64;

/// The tasks that wait for a channel in lone operations, by address.
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

/// A channel, and the function that reads its state.
struct Entry {
    core: NonNull<()>,
    look: unsafe fn(NonNull<()>) -> (ChannelInfo, Waiters),
}

// SAFETY: `look` takes the channel's lock, and accesses no value.
unsafe impl Send for Entry {}

/// The channels, by address.
static CHANNELS: Mutex<BTreeMap<usize, Entry>> = Mutex::new(BTreeMap::new());

/// Adds a new channel to the table. It must be [removed](leave) before it is freed.
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

/// Removes the channel at this address from the table, before it is freed.
pub(super) fn leave(address: usize) {
    if holders::is_on() && !fork::is_child() {
        lock(&CHANNELS).remove(&address);
    }
}

/// Reads the current state of a channel.
///
/// # Safety
///
/// `core` points to a `Core<T>`, which is not freed meanwhile.
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

/// Calls `f` with each channel that has waiters. No lock is held during the call.
pub(crate) fn each_waited_for(mut f: impl FnMut(ChannelInfo, &Waiters)) {
    let mut from = 0;
    loop {
        // The table is locked for one channel at a time.
        let channels = lock(&CHANNELS);
        let Some((address, entry)) = channels.range(from..).next() else { return };
        from = address + 1;
        // SAFETY: the lock of the table is held, and a channel leaves the table before it is freed.
        let (channel, waiters) = unsafe { (entry.look)(entry.core) };
        drop(channels);
        if waiters.counts != [0, 0] {
            f(channel, &waiters);
        }
    }
}
