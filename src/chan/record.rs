//! The table of all channels, if recording is on, for reports about the channels that goroutines
//! wait for.
//!
//! A channel knows the tasks that wait for it, but a goroutine does not know which channel it waits
//! for. So a report goes through the channels, and finds the goroutines by the addresses of the
//! waiting tasks.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::core::Side;
use crate::fork;
use crate::holders;
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

/// A reference to a channel that keeps its memory, but gives no access to its values.
pub(super) trait Look: Send {
    /// Returns the current state of the channel. Calls `f` under its lock with the side and the
    /// address of each task that waits in a lone operation, for the first `most` waiters of a side.
    fn look(&self, most: usize, f: &mut EachTask<'_>) -> ChannelInfo;
}

/// A function that is called with a side of a channel, and the address of a task that waits there.
pub(super) type EachTask<'f> = dyn FnMut(Side, usize) + 'f;

/// The channels, by address.
static CHANNELS: Mutex<BTreeMap<usize, Box<dyn Look>>> = Mutex::new(BTreeMap::new());

/// Adds a new channel to the table. It must be [removed](leave) with its last handle, or else its
/// memory is never freed.
#[inline]
pub(super) fn enter<L: Look + 'static>(address: usize, channel: impl FnOnce() -> L) {
    if holders::is_on() {
        insert(address, Box::new(channel()));
    }
}

#[cold]
fn insert(address: usize, channel: Box<dyn Look>) {
    if !fork::is_child() {
        lock(&CHANNELS).insert(address, channel);
    }
}

/// Removes the channel at this address from the table.
pub(super) fn leave(address: usize) {
    if holders::is_on() && !fork::is_child() {
        lock(&CHANNELS).remove(&address);
    }
}

/// Calls `f` with each channel that has waiters. No lock is held during the call.
pub(crate) fn each_waited_for(mut f: impl FnMut(ChannelInfo, &Waiters)) {
    let mut from = 0;
    loop {
        // The table is locked for one channel at a time.
        let channels = lock(&CHANNELS);
        let Some((address, channel)) = channels.range(from..).next() else { return };
        from = address + 1;
        let mut waiters = Waiters { tasks: [[0; MOST]; 2], counts: [0; 2] };
        let channel = channel.look(MOST, &mut |side, task| waiters.add(side, task));
        drop(channels);
        if waiters.counts != [0, 0] {
            f(channel, &waiters);
        }
    }
}
