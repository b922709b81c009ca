//! Records which goroutines hold locks, and which wait for one, with `GOPARK_DEBUG=locks=on` or in
//! a build with debug assertions. Then channels are recorded as well, see
//! [`chan::record`](crate::chan::record).
//!
//! Recording costs more than a lock. If it is off, it costs nothing: the fast paths of the locks
//! compare with words of this file instead of constants. While it is on, these words have values
//! that no lock has, so that each operation takes its slow path, which records it.

use std::panic::Location;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::coop;
use crate::debug::settings;
use crate::panics::lock;
#[cfg(feature = "sim")]
use crate::simulated;

/// | word | recording is off | recording is on, or not decided yet |
/// |---|---|---|
/// | `MODE` | `OFF` | `ON`; `UNKNOWN` |
/// | `FREE_MUTEX` | the state of a free `Mutex` | none |
/// | `FREE` | the state of a free `RwMutex` | none |
/// | `WRITTEN` | the state of a `RwMutex` with a writer and nothing else | none |
/// | `READABLE` | less than this, rotated by one bit, if a reader may enter | 0 |
/// | `WATCHED` | the bit of a writer | all bits |
///
/// All are written once, by [`is_on`]. Both values of each word are correct for each lock at any
/// time.
static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);
static FREE_MUTEX: AtomicU8 = AtomicU8::new(2);
static FREE: AtomicUsize = AtomicUsize::new(usize::MAX);
static WRITTEN: AtomicUsize = AtomicUsize::new(usize::MAX);
static READABLE: AtomicUsize = AtomicUsize::new(0);
static WATCHED: AtomicUsize = AtomicUsize::new(usize::MAX);

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

/// The bit of a `RwMutex` that a writer sets.
pub(crate) const WRITER: usize = 1;
/// Set once there are too many readers of a `RwMutex`.
pub(crate) const FULL: usize = 1 << (usize::BITS - 1);

/// Returns the word that the fast path compares with the state of a free `Mutex`.
#[inline(always)]
pub(crate) fn free_mutex() -> u8 {
    if cfg!(gopark_loom) { 0 } else { FREE_MUTEX.load(Ordering::Relaxed) }
}

/// Returns the word that the fast path compares with the state of a free `RwMutex`.
#[inline(always)]
pub(crate) fn free() -> usize {
    if cfg!(gopark_loom) { 0 } else { FREE.load(Ordering::Relaxed) }
}

/// Returns the word that the fast path compares with the state of a `RwMutex` with a writer and
/// nothing else.
#[inline(always)]
pub(crate) fn written() -> usize {
    if cfg!(gopark_loom) { WRITER } else { WRITTEN.load(Ordering::Relaxed) }
}

/// Returns true if a reader may acquire a `RwMutex` in that state, and recording is off.
#[inline(always)]
pub(crate) fn is_readable(state: usize) -> bool {
    let bound = if cfg!(gopark_loom) { FULL >> 1 } else { READABLE.load(Ordering::Relaxed) };
    state.rotate_right(1) < bound
}

/// Returns true if a reader that releases a `RwMutex` in that state must take the slow path.
#[inline(always)]
pub(crate) fn is_watched(state: usize) -> bool {
    let watched = if cfg!(gopark_loom) { WRITER } else { WATCHED.load(Ordering::Relaxed) };
    state & watched != 0
}

/// Returns true if locks and channels are recorded. For slow paths.
#[inline]
pub(crate) fn is_on() -> bool {
    match MODE.load(Ordering::Relaxed) {
        _ if cfg!(gopark_loom) => false,
        UNKNOWN => decide(),
        mode => mode == ON,
    }
}

#[cold]
fn decide() -> bool {
    let is_on = settings().locks.unwrap_or(cfg!(debug_assertions));
    if !is_on {
        FREE_MUTEX.store(0, Ordering::Relaxed);
        FREE.store(0, Ordering::Relaxed);
        WRITTEN.store(WRITER, Ordering::Relaxed);
        READABLE.store(FULL >> 1, Ordering::Relaxed);
        WATCHED.store(WRITER, Ordering::Relaxed);
    }
    MODE.store(if is_on { ON } else { OFF }, Ordering::Relaxed);
    is_on
}

/// A goroutine that holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its id; 0 for a thread.
    pub(crate) goroutine: u64,
    /// Where it acquired the lock.
    pub(crate) locked_at: &'static Location<'static>,
}

const SHARDS: usize = 64;

/// The held locks with their holders, by the addresses of the locks.
static HELD: [Mutex<Vec<(usize, Holder)>>; SHARDS] = [const { Mutex::new(Vec::new()) }; SHARDS];
/// The goroutines that wait for a lock, with its address, by their ids.
static WAITING: [Mutex<Vec<(u64, usize)>>; SHARDS] = [const { Mutex::new(Vec::new()) }; SHARDS];

fn shard<T>(of: &[T; SHARDS], key: usize) -> &T {
    &of[(key ^ key >> 6 ^ key >> 12) % SHARDS]
}

fn me() -> u64 {
    let id = coop::goroutine().unwrap_or(0);
    #[cfg(feature = "sim")]
    let id = simulated::in_process(id);
    id
}

/// Records that the running goroutine has acquired the lock at that address.
#[cold]
pub(crate) fn acquired(address: usize, locked_at: &'static Location<'static>) {
    let goroutine = me();
    waits_no_more();
    lock(shard(&HELD, address)).push((address, Holder { goroutine, locked_at }));
}

/// Must be called when the running goroutine releases a lock. If locks are recorded, removes the
/// holder: this goroutine, or another one that has passed its guard on. For slow paths.
#[inline]
pub(crate) fn released<L>(lock: &L) {
    if is_on() {
        remove(ptr::from_ref(lock).addr());
    }
}

#[cold]
fn remove(address: usize) {
    let goroutine = me();
    let mut held = lock(shard(&HELD, address));
    let own =
        held.iter().rposition(|(other, holder)| *other == address && holder.goroutine == goroutine);
    if let Some(at) = own.or_else(|| held.iter().rposition(|(other, _)| *other == address)) {
        held.swap_remove(at);
    }
}

/// Records that the running goroutine begins to wait for the lock at that address.
#[cold]
pub(crate) fn waits(address: usize) {
    let goroutine = me();
    let mut waiting = lock(shard(&WAITING, goroutine as usize));
    match waiting.iter_mut().find(|(other, _)| *other == goroutine) {
        Some((_, at)) => *at = address,
        None => waiting.push((goroutine, address)),
    }
}

/// Records that the running goroutine no longer waits for a lock.
#[cold]
pub(crate) fn waits_no_more() {
    let goroutine = me();
    lock(shard(&WAITING, goroutine as usize)).retain(|(other, _)| *other != goroutine);
}

/// Returns the holders of the lock for which the goroutine waits.
pub(crate) fn before(goroutine: u64) -> Vec<Holder> {
    #[cfg(feature = "sim")]
    let goroutine = simulated::in_process(goroutine);
    let waiting = lock(shard(&WAITING, goroutine as usize))
        .iter()
        .find(|(other, _)| *other == goroutine)
        .copied();
    let Some((_, address)) = waiting else { return Vec::new() };
    let held = lock(shard(&HELD, address));
    let held = held.iter().filter(|(other, _)| *other == address).map(|(_, holder)| *holder);
    #[cfg(feature = "sim")]
    let held =
        held.map(|holder| Holder { goroutine: simulated::in_run(holder.goroutine), ..holder });
    held.collect()
}
