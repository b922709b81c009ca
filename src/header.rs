//! The metadata of a goroutine, beside its future in the `async_task` allocation.

use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

use async_task::Runnable;

use crate::loom::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::loom::const_fn;

/// Declares [`Reason`]: each wait once, with its word in a dump.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// What a goroutine waits for. Go: the wait reason in a stack dump.
        ///
        /// It prints as its [name](Self::name).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum WaitReason {
            $(
                #[doc = concat!("`", $name, "`")]
                ///
                $(#[$doc])*
                $reason,
            )*
        }

        impl WaitReason {
            /// In the order of their numbers.
            const ALL: &[WaitReason] = &[$(WaitReason::$reason),*];

            /// True of a wait for a lock, which has holders.
            pub(crate) fn is_lock(self) -> bool {
                matches!(self, WaitReason::MutexLock | WaitReason::RwMutexLock | WaitReason::RwMutexRLock)
            }

            /// True of a wait for one channel.
            pub(crate) fn is_channel(self) -> bool {
                matches!(self, WaitReason::ChanReceive | WaitReason::ChanSend)
            }

            /// The word for it in reports: Go's, where Go has such a wait.
            ///
            /// ```
            /// use gopark::inspect::WaitReason;
            ///
            /// assert_eq!(WaitReason::MutexLock.name(), "sync.Mutex.Lock");
            /// ```
            #[must_use]
            pub fn name(self) -> &'static str {
                [$($name),*][self as usize]
            }
        }
    };
}

pub(crate) use WaitReason as Reason;

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

reasons! {
    /// A receive from a channel, a ticker or a timer.
    ChanReceive = "chan receive",
    /// A receive from no channel: it never ends.
    ChanReceiveNil = "chan receive (nil chan)",
    /// A send to a channel.
    ChanSend = "chan send",
    /// A send to no channel: it never ends.
    ChanSendNil = "chan send (nil chan)",
    /// [`Sender::closed`](crate::chan::Sender::closed).
    ChanClose = "chan close",
    /// A `select!`, or a [`Select`](crate::select::Select).
    Select = "select",
    /// A select of which no case can be ready: it never ends.
    SelectNoCases = "select (no cases)",
    /// [`Mutex::lock`](crate::sync::Mutex::lock).
    MutexLock = "sync.Mutex.Lock",
    /// [`RwMutex::rlock`](crate::sync::RwMutex::rlock).
    RwMutexRLock = "sync.RWMutex.RLock",
    /// [`RwMutex::lock`](crate::sync::RwMutex::lock).
    RwMutexLock = "sync.RWMutex.Lock",
    /// [`Cond::wait`](crate::sync::Cond::wait).
    CondWait = "sync.Cond.Wait",
    /// [`WaitGroup::wait`](crate::sync::WaitGroup::wait).
    WaitGroupWait = "sync.WaitGroup.Wait",
    /// The end of the function of a [`Once`](crate::sync::Once) that runs elsewhere.
    Once = "sync.Once",
    /// Permits of a [`Semaphore`](crate::sync::Semaphore).
    Semaphore = "semaphore",
    /// A call of a [`SingleFlight`](crate::sync::SingleFlight) that runs elsewhere.
    SingleFlight = "singleflight",
    /// [`Notify::notified`](crate::sync::Notify::notified).
    Notify = "notify",
    /// The value of a [`oneshot`](crate::sync::oneshot), or the end of its receiver.
    Oneshot = "oneshot",
    /// The change of a [`watch`](crate::sync::watch).
    Watch = "watch",
    /// A value of a [`broadcast`](crate::sync::broadcast).
    Broadcast = "broadcast",
    /// [`Barrier::wait`](crate::sync::Barrier::wait).
    Barrier = "barrier",
    /// [`JoinSet::join_next`](crate::JoinSet::join_next).
    JoinSet = "join set",
    /// Tokens of a [`Limiter`](crate::time::rate::Limiter).
    RateLimit = "rate limit",
    /// The end of a goroutine.
    Join = "join",
    /// A time.
    Sleep = "sleep",
    /// The end of a [`Context`](crate::context::Context).
    ContextDone = "context.Done",
    /// A socket, or another descriptor.
    Io = "IO wait",
    /// The end of a closure in [`unblock`](crate::unblock).
    Blocking = "blocking",
    /// A future of another crate, inside a wait of this one whose call site is known.
    Foreign = "foreign future",
}

/// Where a goroutine parked in its last poll, and what it waits for there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitNote {
    pub(crate) reason: Reason,
    /// The call of the operation, if that is known.
    pub(crate) site: Option<&'static Location<'static>>,
    /// It may wait elsewhere as well: several operations parked in that poll, or one that another
    /// executor polled within it.
    pub(crate) elsewhere: bool,
    /// The [epoch](crate::clock::coarse_epoch) in which its last poll began, modulo 2^26: 52 days.
    pub(crate) since: u32,
}

/// What a goroutine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It waits, or has been woken since.
    Waits(WaitNote),
    /// It is in a poll, or will be, or waits for a future of another crate.
    Unnoted {
        since: u32,
    },
    Ended,
}

/// A [`WaitNote`] as the header has it: the site, and a word with the rest. The thread that polls
/// the goroutine writes it.
///
/// | bits | field | meaning | written |
/// |---|---|---|---|
/// | 0-4 | reason | the number of a [`Reason`] and 1, 0 for none: the goroutine runs or can run, or waits for a future of another crate | see below |
/// | 5 | `ELSEWHERE` | see [`WaitNote::elsewhere`] | see below |
/// | 6-31 | since | the coarse time at which the last poll began, see [`WaitNote::since`] | when a poll begins |
///
/// | event | reason | `ELSEWHERE` |
/// |---|---|---|
/// | a poll begins | none | 0 |
/// | an operation parks, the first in the poll | its own | 0, or 1 if it was not polled with the goroutine's own waker |
/// | another one parks in the same poll | its own, the last one wins | 1 |
/// | a wait that is made of several is over, or notes itself as one ([`without_note`](crate::coop::without_note)) | as before its parts were polled | as before |
///
/// What a wait that polls others notes:
///
/// | wait | note |
/// |---|---|
/// | `select!` | select, at its own site, whatever its cases are |
/// | `timeout`, `Context::run`, `Context::recv` | that of the operation inside; if there is none, foreign future at their own site |
/// | `Cond::wait` | sync.Cond.Wait; when it locks again, that of the lock, at the site of the wait |
/// | `Once`, `SingleFlight`, while its own function runs | that of the function |
/// | `ErrGroup::go`, `ErrGroup::wait` | semaphore; sync.WaitGroup.Wait; at their own sites |
/// | `Ticker::tick` and all timers' channels | chan receive |
/// | a blocking form | that of the operation, until it returns |
///
/// A poll that returns because its budget is spent parks nowhere. A wake leaves the note as it is,
/// until the next poll. Once the goroutine has ended, all bits are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Null, or of a `'static` reference.
    site: *mut Location<'static>,
    word: u32,
}

const REASON: u32 = 31;
const ELSEWHERE: u32 = 32;
/// The whole word, once the goroutine has ended.
const ENDED: u32 = u32::MAX;
const SINCE_SHIFT: u32 = 6;
/// How many bits of an epoch a note keeps.
pub(crate) const SINCE_BITS: u32 = u32::BITS - SINCE_SHIFT;

const _: () = assert!((Reason::Foreign as u32) + 1 < REASON);

impl Note {
    #[inline(always)]
    fn new(site: Option<&'static Location<'static>>, word: u32) -> Self {
        Self { site: site.map_or(ptr::null_mut(), |site| ptr::from_ref(site).cast_mut()), word }
    }
}

/// A goroutine's metadata: 32 bytes, because they decide the size class of the allocation.
///
/// | word | meaning | written by |
/// |---|---|---|
/// | `ids` | bits 0-10 the shard whose registry may hold the goroutine, 11-51 its id, 52-63 the executor | spawn |
/// | `spawned_at` | the call of `go`, and in its lowest bit whether the handle is gone | spawn, then the handle |
/// | `site`, `note` | where the goroutine parked last, and what for, since when: see [`Note`] | its poll |
/// | `flags` | [`Flags`], and above them the key of the registry entry | see there |
#[derive(Debug)]
pub(crate) struct Header {
    ids: u64,
    spawned_at: AtomicPtr<Location<'static>>,
    site: AtomicPtr<Location<'static>>,
    note: AtomicU32,
    flags: AtomicU32,
}

#[cfg(not(gopark_loom))]
const _: () = assert!(size_of::<Header>() == 32 || size_of::<usize>() != 8);

/// A goroutine that can run: it is in exactly one queue, or run-next slot, until it is polled.
pub(crate) type Task = Runnable<Header>;

/// The state of a goroutine as others see it.
///
/// | flag | set | cleared |
/// |---|---|---|
/// | `REGISTERED` | when the goroutine has entered its shard's registry, after its first poll that returned `Pending` | when it is removed, under the registry's lock |
/// | `ABORTED` | when the goroutine must end: at its next suspension, or without another poll | never |
/// | `UNWINDING` | when the goroutine, whose panic nothing may recover, has woken others while it unwinds | never |
/// | `HAS_REMOTE` | when a [`Remote`](crate::goroutine::Remote) of it is made | never |
/// | `KEEPER`, two bits | when a deadlock report asks, and by the poll that answers: see [`Keeper`] | when the poll after that begins |
///
/// The goroutine sets `REGISTERED`, any thread sets `ABORTED` or `HAS_REMOTE`. All use one
/// read-modify-write, and the later one sees the other's flag: so either the goroutine sees that it
/// is aborted, or the aborting thread finds it in the registry and wakes it; and either the
/// goroutine sees that it has a remote, or that finds its waker there.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u32);

/// Whether a future of another crate keeps a waker of the goroutine, so that something outside may
/// wake it.
///
/// To know it of each poll would cost each poll. So the deadlock report asks, before it reports a
/// deadlock: it wakes the goroutine, and the poll that follows answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Keeper {
    /// Not asked for.
    Unknown = 0,
    /// The next poll answers.
    Asked = 1,
    /// In the last poll no future of another crate has cloned the waker: nothing can wake the
    /// goroutine.
    None = 2,
    /// In the last poll one has.
    Some = 3,
}

const REGISTERED: u32 = 1;
const ABORTED: u32 = 2;
const UNWINDING: u32 = 4;
const HAS_REMOTE: u32 = 8;
const KEEPER: u32 = 0x30;
const KEEPER_SHIFT: u32 = KEEPER.trailing_zeros();
/// Bits below the key of the registry entry, which is there from when `REGISTERED` is set.
const KEY_SHIFT: u32 = 6;
/// In `spawned_at`, which points to something aligned.
const DETACHED: usize = 1;
const _: () = assert!(align_of::<Location<'_>>() > DETACHED);

impl Flags {
    #[inline(always)]
    pub(crate) fn is_registered(self) -> bool {
        self.0 & REGISTERED != 0
    }

    #[inline(always)]
    pub(crate) fn is_aborted(self) -> bool {
        self.0 & ABORTED != 0
    }

    #[inline(always)]
    pub(crate) fn has_remote(self) -> bool {
        self.0 & HAS_REMOTE != 0
    }

    /// Whether a goroutine that is polled has more to do than that.
    #[inline(always)]
    pub(crate) fn is_special(self) -> bool {
        self.0 & (ABORTED | KEEPER) != 0
    }

    pub(crate) fn keeper(self) -> Keeper {
        match (self.0 & KEEPER) >> KEEPER_SHIFT {
            0 => Keeper::Unknown,
            1 => Keeper::Asked,
            2 => Keeper::None,
            _ => Keeper::Some,
        }
    }

    /// Whether a handle that is dropped has more to do than that.
    #[inline(always)]
    pub(crate) fn is_special_to_handle(self) -> bool {
        self.0 & (UNWINDING | HAS_REMOTE) != 0
    }

    #[inline(always)]
    pub(crate) fn is_unwinding(self) -> bool {
        self.0 & UNWINDING != 0
    }
}

/// From what a goroutine's waker points to, to its header.
static OFFSET: AtomicUsize = AtomicUsize::new(UNKNOWN);
const UNKNOWN: usize = usize::MAX;

const SHARD_BITS: u32 = 11;
const ID_BITS: u32 = 41;

impl Header {
    /// Shards that can be told apart.
    pub(crate) const SHARDS: usize = 1 << SHARD_BITS;
    /// Ids that can be told apart: at a million goroutines a second they last for 25 days.
    pub(crate) const IDS: u64 = 1 << ID_BITS;
    /// Executors that can be told apart.
    pub(crate) const EXECUTORS: usize = 1 << (u64::BITS - ID_BITS - SHARD_BITS);

    const_fn! {
        #[inline(always)]
        pub(crate) const fn new(id: u64, shard: usize, executor: u16, spawned_at: &'static Location<'static>) -> Self {
            debug_assert!(id < Self::IDS && shard < Self::SHARDS && (executor as usize) < Self::EXECUTORS);
            Self {
                ids: (executor as u64) << (ID_BITS + SHARD_BITS) | id << SHARD_BITS | shard as u64,
                spawned_at: AtomicPtr::new(ptr::from_ref(spawned_at).cast_mut()),
                site: AtomicPtr::new(ptr::null_mut()),
                note: AtomicU32::new(0),
                flags: AtomicU32::new(0),
            }
        }
    }

    /// Learns where a goroutine's waker has the header. The waker is that of a poll.
    pub(crate) fn locate(&self, waker: &Waker) {
        let offset = ptr::from_ref(self).addr().wrapping_sub(waker.data().addr());
        let known = OFFSET.load(Ordering::Relaxed);
        // A store by each goroutine would move the line from core to core.
        if known != offset {
            assert!(known == UNKNOWN, "async-task has one layout for all tasks");
            OFFSET.store(offset, Ordering::Relaxed);
        }
    }

    /// The header of the goroutine that this wakes.
    ///
    /// # Safety
    ///
    /// It is, or is a clone of, a waker that [`locate`](Self::locate) was given.
    pub(crate) unsafe fn of_waker(waker: &Waker) -> &Self {
        // SAFETY: `locate` has found the header at this place in the waker's allocation, which the
        // waker keeps.
        unsafe { &*waker.data().wrapping_byte_add(OFFSET.load(Ordering::Relaxed)).cast() }
    }

    pub(crate) fn id(&self) -> u64 {
        self.ids >> SHARD_BITS & (Self::IDS - 1)
    }

    pub(crate) fn shard(&self) -> usize {
        self.ids as usize % Self::SHARDS
    }

    #[inline(always)]
    pub(crate) fn executor_index(&self) -> usize {
        (self.ids >> (ID_BITS + SHARD_BITS)) as usize
    }

    pub(crate) fn spawned_at(&self) -> &'static Location<'static> {
        let site = self.spawned_at.load(Ordering::Relaxed).map_addr(|address| address & !DETACHED);
        // SAFETY: but for the bit it was stored from a `'static` reference.
        unsafe { &*site }
    }

    /// The goroutine has no handle any more. For its handle alone, so a plain store will do.
    #[inline(always)]
    pub(crate) fn set_detached(&self) {
        let site = self.spawned_at.load(Ordering::Relaxed).map_addr(|address| address | DETACHED);
        self.spawned_at.store(site, Ordering::Relaxed);
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.spawned_at.load(Ordering::Relaxed).addr() & DETACHED != 0
    }

    /// The goroutine wakes others while it unwinds.
    pub(crate) fn set_unwinding(&self) {
        self.flags.fetch_or(UNWINDING, Ordering::Relaxed);
    }

    /// A poll begins, in the epoch of that number: the goroutine is parked nowhere.
    ///
    /// One thread at a time writes the note; what it points to never changes.
    #[inline(always)]
    pub(crate) fn begin_poll(&self, epoch: u32) {
        self.note.store(epoch << SINCE_SHIFT, Ordering::Relaxed);
    }

    /// Notes that an operation parks that was polled with the goroutine's own waker.
    #[inline(always)]
    pub(crate) fn note_park(&self, site: Option<&'static Location<'static>>, reason: Reason) {
        let word = self.note.load(Ordering::Relaxed);
        if word & (REASON | ELSEWHERE) != 0 {
            return self.note_park_elsewhere(site, reason);
        }
        self.set_note(Note::new(site, word | (reason as u32 + 1)));
    }

    /// Notes that an operation parks that is not the only one in this poll, or may be not the only
    /// one.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_park_elsewhere(
        &self,
        site: Option<&'static Location<'static>>,
        reason: Reason,
    ) {
        let word = self.note.load(Ordering::Relaxed);
        // Else a destructor of the result waits.
        if word != ENDED {
            self.set_note(Note::new(site, word & !REASON | (reason as u32 + 1) | ELSEWHERE));
        }
    }

    /// The note as it is now.
    pub(crate) fn note(&self) -> Note {
        Note { site: self.site.load(Ordering::Relaxed), word: self.note.load(Ordering::Relaxed) }
    }

    #[inline(always)]
    pub(crate) fn set_note(&self, Note { site, word }: Note) {
        // Release: a thread that finds this site finds that the last poll has begun, if it looks at
        // the word again.
        self.site.store(site, Ordering::Release);
        // Release: a thread that reads this word finds the site.
        self.note.store(word, Ordering::Release);
    }

    /// What the goroutine does, for any thread.
    pub(crate) fn activity(&self) -> Activity {
        // Acquire: the site is read after the word, and is that of this word or a later one. Then
        // the word has changed.
        let mut word = self.note.load(Ordering::Acquire);
        let site = loop {
            let site = self.site.load(Ordering::Acquire);
            let again = self.note.load(Ordering::Acquire);
            if again == word {
                break site;
            }
            word = again;
        };
        let since = word >> SINCE_SHIFT;
        match (word, ((word & REASON) as usize).checked_sub(1)) {
            (ENDED, _) => Activity::Ended,
            (_, None) => Activity::Unnoted { since },
            (_, Some(reason)) => Activity::Waits(WaitNote {
                reason: Reason::ALL[reason],
                // SAFETY: null, or of a `'static` reference.
                site: unsafe { site.as_ref() },
                elsewhere: word & ELSEWHERE != 0,
                since,
            }),
        }
    }

    /// The goroutine has ended: its future is dropped.
    #[inline(always)]
    pub(crate) fn set_ended(&self) {
        self.note.store(ENDED, Ordering::Relaxed);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.note.load(Ordering::Relaxed) == ENDED
    }

    /// Relaxed: the thread that aborts the goroutine also wakes it, or the goroutine sees the flag
    /// in [`set_registered`](Self::set_registered).
    #[inline(always)]
    pub(crate) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Relaxed))
    }

    /// The goroutine has entered its registry under `key`. Returns the flags that were set before.
    pub(crate) fn set_registered(&self, key: u32) -> Flags {
        assert!(key < 1 << (u32::BITS - KEY_SHIFT), "gopark: 2^26 parked goroutines");
        // AcqRel: pairs with `set_aborted`, and publishes the key.
        Flags(self.flags.fetch_or(key << KEY_SHIFT | REGISTERED, Ordering::AcqRel))
    }

    /// Marks the goroutine as aborted. Returns the flags that were set before.
    pub(crate) fn set_aborted(&self) -> Flags {
        // AcqRel: pairs with `set_registered`.
        Flags(self.flags.fetch_or(ABORTED, Ordering::AcqRel))
    }

    /// A remote of the goroutine is made. Returns the flags that were set before.
    pub(crate) fn set_has_remote(&self) -> Flags {
        // AcqRel: pairs with `set_registered`.
        Flags(self.flags.fetch_or(HAS_REMOTE, Ordering::AcqRel))
    }

    /// Asks whether something keeps a waker of the goroutine. True if that is not known and has not
    /// been asked yet: then the caller wakes the goroutine.
    pub(crate) fn ask_for_keeper(&self) -> bool {
        self.replace_keeper(Keeper::Asked, |before| before == Keeper::Unknown)
    }

    /// For the goroutine's own poll.
    pub(crate) fn set_keeper(&self, keeper: Keeper) {
        self.replace_keeper(keeper, |_| true);
    }

    /// Relaxed: the goroutine reads it in the poll that a wake has asked for, a report while the
    /// runtime is at rest.
    fn replace_keeper(&self, keeper: Keeper, replaces: impl Fn(Keeper) -> bool) -> bool {
        let replaced = |flags| flags & !KEEPER | (keeper as u32) << KEEPER_SHIFT;
        let update = |flags| replaces(Flags(flags).keeper()).then(|| replaced(flags));
        self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }

    /// The goroutine is as if it was not aborted.
    #[cfg(feature = "sim")]
    pub(crate) fn clear_aborted(&self) {
        self.flags.fetch_and(!ABORTED, Ordering::Relaxed);
    }

    /// The goroutine is being removed from its registry, whose lock is held.
    pub(crate) fn clear_registered(&self) {
        self.flags.fetch_and(!REGISTERED, Ordering::Relaxed);
    }

    /// The key that [`set_registered`](Self::set_registered) stored.
    pub(crate) fn registry_key(&self) -> u32 {
        self.flags.load(Ordering::Relaxed) >> KEY_SHIFT
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
