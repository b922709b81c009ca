//! The metadata of a goroutine, beside its future in the `async_task` allocation.

use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use async_task::Runnable;

/// What a parked goroutine waits for, in Go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(dead_code)] // Written at each park; no function reads it yet.
pub(crate) enum Reason {
    None,
    ChanReceive,
    ChanReceiveNil,
    ChanSend,
    ChanSendNil,
    Select,
    SelectNoCases,
    Join,
    WaitGroupWait,
    MutexLock,
    RwMutexRLock,
    RwMutexLock,
    CondWait,
    Semacquire,
    Once,
    Sleep,
    ContextDone,
}

/// A goroutine's metadata: 32 bytes, because they decide the size class of the allocation.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `id_and_shard` | the id, and in its low bits the shard whose registry may hold the goroutine | spawn |
/// | `executor` | index of the executor | spawn |
/// | `site`, `reason` | where the goroutine parked last, and what for | the operation that parks, in the goroutine's poll |
/// | `flags` | [`Flags`] | see there |
/// | `registry_key` | key of the registry entry | the goroutine, before it sets `REGISTERED` |
#[derive(Debug)]
pub(crate) struct Header {
    id_and_shard: u64,
    spawned_at: &'static Location<'static>,
    site: AtomicPtr<Location<'static>>,
    reason: AtomicU8,
    flags: AtomicU8,
    executor: u16,
    registry_key: AtomicU32,
}

const _: () = assert!(size_of::<Header>() == 32 || size_of::<usize>() != 8);

/// A goroutine that can run: it is in exactly one queue, or run-next slot, until it is polled.
pub(crate) type Task = Runnable<Header>;

/// The state of a goroutine as others see it.
///
/// | flag | set | cleared |
/// |---|---|---|
/// | `REGISTERED` | when the goroutine has entered its shard's registry, after its first poll that returned `Pending` | when it is removed, under the registry's lock |
/// | `ABORTED` | when the goroutine must end: at its next suspension, or without another poll | never |
///
/// The goroutine sets `REGISTERED`, any thread sets `ABORTED`. Both use one read-modify-write, and the later one sees
/// the other's flag: so either the goroutine sees that it is aborted, or the aborting thread finds it in the registry
/// and wakes it.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u8);

const REGISTERED: u8 = 1;
const ABORTED: u8 = 2;

impl Flags {
    #[inline(always)]
    pub(crate) fn is_registered(self) -> bool {
        self.0 & REGISTERED != 0
    }

    #[inline(always)]
    pub(crate) fn is_aborted(self) -> bool {
        self.0 & ABORTED != 0
    }
}

/// Bits of `id_and_shard` that hold the shard.
const SHARD_BITS: u32 = 11;

impl Header {
    /// Shards that can be told apart.
    pub(crate) const SHARDS: usize = 1 << SHARD_BITS;

    #[inline(always)]
    pub(crate) const fn new(id: u64, shard: usize, executor: u16, spawned_at: &'static Location<'static>) -> Self {
        Self {
            id_and_shard: id << SHARD_BITS | shard as u64,
            spawned_at,
            site: AtomicPtr::new(ptr::null_mut()),
            reason: AtomicU8::new(Reason::None as u8),
            flags: AtomicU8::new(0),
            executor,
            registry_key: AtomicU32::new(0),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id_and_shard >> SHARD_BITS
    }

    pub(crate) fn shard(&self) -> usize {
        self.id_and_shard as usize % Self::SHARDS
    }

    #[inline(always)]
    pub(crate) fn executor_index(&self) -> usize {
        usize::from(self.executor)
    }

    pub(crate) fn spawned_at(&self) -> &'static Location<'static> {
        self.spawned_at
    }

    /// Notes where the goroutine parks, and why; `None` if the call site is not known.
    #[inline(always)]
    pub(crate) fn note_park(&self, site: Option<&'static Location<'static>>, reason: Reason) {
        let site = site.map_or(ptr::null_mut(), |site| ptr::from_ref(site).cast_mut());
        self.site.store(site, Ordering::Relaxed);
        self.reason.store(reason as u8, Ordering::Relaxed);
    }

    /// Relaxed: the thread that aborts the goroutine also wakes it, or the goroutine sees the flag in
    /// [`set_registered`](Self::set_registered).
    #[inline(always)]
    pub(crate) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Relaxed))
    }

    /// The goroutine has entered its registry under `key`. Returns the flags that were set before.
    pub(crate) fn set_registered(&self, key: u32) -> Flags {
        self.registry_key.store(key, Ordering::Relaxed);
        // AcqRel: pairs with `set_aborted`, and publishes the key.
        Flags(self.flags.fetch_or(REGISTERED, Ordering::AcqRel))
    }

    /// Marks the goroutine as aborted. Returns the flags that were set before.
    pub(crate) fn set_aborted(&self) -> Flags {
        // AcqRel: pairs with `set_registered`.
        Flags(self.flags.fetch_or(ABORTED, Ordering::AcqRel))
    }

    /// The goroutine is being removed from its registry, whose lock is held.
    pub(crate) fn clear_registered(&self) {
        self.flags.fetch_and(!REGISTERED, Ordering::Relaxed);
    }

    /// The key that [`set_registered`](Self::set_registered) stored.
    pub(crate) fn registry_key(&self) -> u32 {
        self.registry_key.load(Ordering::Relaxed)
    }
}
