//! The metadata of a goroutine, next to its future in the `async_task` allocation.

use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

use async_task::Runnable;

use crate::loom::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::loom::const_fn;

/// Declares [`Reason`]: each wait once, with its name in a dump.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// The reason why a goroutine waits. Go: the wait reason in a stack dump.
        ///
        /// It is displayed as its [name](Self::name).
        ///
        /// # Examples
        ///
        /// ```
        /// use gopark::inspect::{self, GoroutineState, WaitReason};
        ///
        /// let is_locked_out = |state| {
        ///     matches!(state, GoroutineState::Waiting { reason: WaitReason::MutexLock, .. })
        /// };
        /// assert!(!inspect::goroutines().iter().any(|goroutine| is_locked_out(goroutine.state)));
        /// assert_eq!(WaitReason::MutexLock.to_string(), "sync.Mutex.Lock");
        /// ```
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
            /// All reasons, in the order of their numbers.
            const ALL: &[WaitReason] = &[$(WaitReason::$reason),*];

            /// Returns true for a wait for a lock, which has holders.
            pub(crate) fn is_lock(self) -> bool {
                matches!(
                    self,
                    WaitReason::MutexLock | WaitReason::RwMutexLock | WaitReason::RwMutexRLock
                )
            }

            /// Returns true for a wait for one channel.
            pub(crate) fn is_channel(self) -> bool {
                matches!(self, WaitReason::ChanReceive | WaitReason::ChanSend)
            }

            /// Returns the name in reports: Go's, if Go has such a wait.
            ///
            /// # Examples
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
    /// A receive from a nil channel, which never ends.
    ChanReceiveNil = "chan receive (nil chan)",
    /// A send to a channel.
    ChanSend = "chan send",
    /// A send to a nil channel, which never ends.
    ChanSendNil = "chan send (nil chan)",
    /// [`Sender::closed`](crate::chan::Sender::closed).
    ChanClose = "chan close",
    /// A `select!`, or a [`Select`](crate::select::Select).
    Select = "select",
    /// A select without a case that can become ready, which never ends.
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

/// Where a goroutine parked in its last poll, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitNote {
    pub(crate) reason: Reason,
    /// The call site of the operation, if it is known.
    pub(crate) site: Option<&'static Location<'static>>,
    /// The goroutine may wait elsewhere as well, because several operations parked in that poll, or
    /// an executor within the goroutine polled the operation.
    pub(crate) elsewhere: bool,
    /// The [epoch](crate::clock::coarse_epoch) in which its last poll began, modulo 2^26: 52 days.
    pub(crate) since: u32,
}

/// The activity of a goroutine.
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

/// A [`WaitNote`] as the header stores it: the site, and a word with the rest. The thread that
/// polls the goroutine writes it.
///
/// | bits | field | meaning | written |
/// |---|---|---|---|
/// | 0-4 | reason | the number of a [`Reason`] plus 1, or 0 for none | see below |
/// | 5 | `ELSEWHERE` | see [`WaitNote::elsewhere`] | see below |
/// | 6-31 | since | when the last poll began, see [`WaitNote::since`] | when a poll begins |
///
/// Without a reason the goroutine runs, or can run, or waits for a future of another crate.
///
/// | event | reason | `ELSEWHERE` |
/// |---|---|---|
/// | a poll begins | none | 0 |
/// | the first operation of the poll parks, polled with the goroutine's waker | its own | 0 |
/// | the first operation of the poll parks, polled with another waker | its own | 1 |
/// | another operation parks in the same poll | its own, replacing the previous one | 1 |
/// | a combined wait has polled its parts | as before that | as before that |
///
/// A combined wait polls other waits, its parts. It restores the note from before their polls (see
/// [`without_note`](crate::coop::without_note)), and then parks like any other operation, or ends.
///
/// What each combined wait notes:
///
/// * `select!`: select, at its own site, whatever its cases are.
/// * `timeout`, `Context::run`, `Context::recv`: the note of the operation inside; if there is
///   none, foreign future at their own site.
/// * `Cond::wait`: sync.Cond.Wait; when it locks again, the note of the lock, at the site of the
///   wait.
/// * `Once`, `SingleFlight`, while their own function runs: the note of the function.
/// * `ErrGroup::go`, `ErrGroup::wait`: semaphore and sync.WaitGroup.Wait, at their own sites.
/// * `Ticker::tick` and the channels of all timers: chan receive.
/// * A blocking form: the note of the operation, until it returns.
///
/// A poll that returns because its budget is spent notes nothing. A wake does not change the note;
/// the next poll does. Once the goroutine has ended, all bits are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Null, or from a `'static` reference.
    site: *mut Location<'static>,
    word: u32,
}

const REASON: u32 = 31;
const ELSEWHERE: u32 = 32;
/// The value of the word once the goroutine has ended.
const ENDED: u32 = u32::MAX;
const SINCE_SHIFT: u32 = 6;
/// The number of bits of an epoch that a note keeps.
pub(crate) const SINCE_BITS: u32 = u32::BITS - SINCE_SHIFT;

const _: () = assert!((Reason::Foreign as u32) + 1 < REASON);

impl Note {
    #[inline(always)]
    fn new(site: Option<&'static Location<'static>>, word: u32) -> Self {
        Self { site: site.map_or(ptr::null_mut(), |site| ptr::from_ref(site).cast_mut()), word }
    }
}

/// A goroutine's metadata. It has 32 bytes, because its size decides the size class of the
/// allocation.
///
/// * `ids`: in bits 0-10 the shard whose registry may have the goroutine, in 11-51 its id, in 52-63
///   the executor. Written by the spawn.
/// * `spawned_at`: the call of `go`, and in the lowest bit whether the handle was dropped. Written
///   by the spawn, then by the handle.
/// * `site`, `note`: where the goroutine parked last, why, and since when, see [`Note`]. Written by
///   its polls.
/// * `flags`: [`Flags`], and above them the key of the registry entry. For the writers, see there.
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

/// A runnable goroutine. It is in exactly one queue or run-next slot until it is polled.
pub(crate) type Task = Runnable<Header>;

/// The state of a goroutine that other threads see.
///
/// * `REGISTERED`: set when the goroutine has entered its shard's registry, after its first poll
///   that returned `Pending`. Cleared when it is removed, under the registry's lock.
/// * `ABORTED`: set when the goroutine must end, at its next suspension or without another poll.
///   Never cleared, except in a simulation.
/// * `UNWINDING`: set when the goroutine wakes others while it unwinds. Never cleared.
/// * `HAS_REMOTE`: set when a late [`Remote`](crate::goroutine::Remote) of it is created. Cleared
///   when it has parked.
/// * `KEEPER`, two bits: set when a deadlock report asks, and by the poll that answers, see
///   [`Keeper`]. Cleared when the poll after that begins.
///
/// The goroutine sets `REGISTERED`; any thread sets `ABORTED` or `HAS_REMOTE`. Each uses one
/// read-modify-write, and the later one sees the flag of the earlier one. So either the goroutine
/// sees that it is aborted, or the aborting thread finds it in the registry and wakes it. And
/// either the goroutine sees that it has a remote, or the remote finds the waker in the registry.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u32);

/// Whether a future of another crate keeps a waker of the goroutine, so that something outside may
/// wake it.
///
/// Recording this in each poll would cost each poll. So a deadlock report asks first: it wakes the
/// goroutine, and the next poll answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Keeper {
    /// It was not asked.
    Unknown = 0,
    /// The next poll answers.
    Asked = 1,
    /// In the last poll no future of another crate cloned the waker: nothing can wake the
    /// goroutine.
    None = 2,
    /// In the last poll a future of another crate cloned the waker.
    Some = 3,
}

const REGISTERED: u32 = 1;
const ABORTED: u32 = 2;
const UNWINDING: u32 = 4;
const HAS_REMOTE: u32 = 8;
const KEEPER: u32 = 0x30;
const KEEPER_SHIFT: u32 = KEEPER.trailing_zeros();
/// The number of bits below the key of the registry entry. The key is stored together with
/// `REGISTERED`.
const KEY_SHIFT: u32 = 6;
/// The lowest bit of `spawned_at`, which is free because the pointer is aligned.
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

    /// Returns true if a poll of the goroutine must do more than poll its future.
    #[inline(always)]
    pub(crate) fn is_special(self) -> bool {
        self.0 & (ABORTED | KEEPER | HAS_REMOTE) != 0
    }

    pub(crate) fn keeper(self) -> Keeper {
        match (self.0 & KEEPER) >> KEEPER_SHIFT {
            0 => Keeper::Unknown,
            1 => Keeper::Asked,
            2 => Keeper::None,
            _ => Keeper::Some,
        }
    }

    /// Returns true if a drop of the handle must do more than record it.
    #[inline(always)]
    pub(crate) fn is_special_to_handle(self) -> bool {
        self.0 & (UNWINDING | HAS_REMOTE) != 0
    }

    #[inline(always)]
    pub(crate) fn is_unwinding(self) -> bool {
        self.0 & UNWINDING != 0
    }
}

/// The offset from the data pointer of a goroutine's waker to its header.
static OFFSET: AtomicUsize = AtomicUsize::new(UNKNOWN);
const UNKNOWN: usize = usize::MAX;

const SHARD_BITS: u32 = 11;
const ID_BITS: u32 = 41;

/// A goroutine's own waker, from which its header is found. To clone, wake or drop it runs no
/// foreign code.
#[derive(Clone, Debug)]
pub(crate) struct OwnWaker(Waker);

impl OwnWaker {
    pub(crate) fn of_task(task: &Task) -> Self {
        let waker = task.waker();
        // SAFETY: it is the task's waker.
        unsafe { Self::new(task.metadata(), &waker) }
    }

    /// Clones `waker`.
    ///
    /// # Safety
    ///
    /// It is a waker of the goroutine with this header, made by its task.
    pub(crate) unsafe fn new(header: &Header, waker: &Waker) -> Self {
        let offset = ptr::from_ref(header).addr().wrapping_sub(waker.data().addr());
        let known = OFFSET.load(Ordering::Relaxed);
        // A store by each goroutine would move the line from core to core.
        if known != offset {
            assert!(known == UNKNOWN, "async-task has one layout for all tasks");
            OFFSET.store(offset, Ordering::Relaxed);
        }
        Self(waker.clone())
    }

    /// Returns the header of the goroutine.
    pub(crate) fn header(&self) -> &Header {
        let header = self.0.data().wrapping_byte_add(OFFSET.load(Ordering::Relaxed));
        // SAFETY: `new` has found a header at this offset in the allocation of a task, and has
        // checked that it is the same for this one. The waker keeps the allocation alive.
        unsafe { &*header.cast() }
    }

    pub(crate) fn wake(self) {
        self.0.wake();
    }

    /// The address that all wakers of the goroutine have.
    pub(crate) fn address(&self) -> usize {
        self.0.data().addr()
    }
}

impl Header {
    /// The number of shards that can be distinguished.
    pub(crate) const SHARDS: usize = 1 << SHARD_BITS;
    /// The number of ids that can be distinguished: at a million goroutines a second they last for
    /// 25 days.
    pub(crate) const IDS: u64 = 1 << ID_BITS;
    /// The number of executors that can be distinguished.
    pub(crate) const EXECUTORS: usize = 1 << (u64::BITS - ID_BITS - SHARD_BITS);

    const_fn! {
        #[inline(always)]
        pub(crate) const fn new(
            id: u64,
            shard: usize,
            executor: u16,
            spawned_at: &'static Location<'static>,
        ) -> Self {
            debug_assert!(id < Self::IDS && shard < Self::SHARDS);
            debug_assert!((executor as usize) < Self::EXECUTORS);
            Self {
                ids: (executor as u64) << (ID_BITS + SHARD_BITS) | id << SHARD_BITS | shard as u64,
                spawned_at: AtomicPtr::new(ptr::from_ref(spawned_at).cast_mut()),
                site: AtomicPtr::new(ptr::null_mut()),
                note: AtomicU32::new(0),
                flags: AtomicU32::new(0),
            }
        }
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
        // SAFETY: apart from the bit, it was stored from a `'static` reference.
        unsafe { &*site }
    }

    /// Records that the goroutine no longer has a handle. Only the handle calls this, so a plain
    /// store suffices.
    #[inline(always)]
    pub(crate) fn set_detached(&self) {
        let site = self.spawned_at.load(Ordering::Relaxed).map_addr(|address| address | DETACHED);
        self.spawned_at.store(site, Ordering::Relaxed);
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.spawned_at.load(Ordering::Relaxed).addr() & DETACHED != 0
    }

    /// Records that the goroutine wakes others while it unwinds.
    pub(crate) fn set_unwinding(&self) {
        self.flags.fetch_or(UNWINDING, Ordering::Relaxed);
    }

    /// Begins a poll in that epoch: clears the note.
    ///
    /// One thread at a time writes the note. The location to which it points never changes.
    #[inline(always)]
    pub(crate) fn begin_poll(&self, epoch: u32) {
        self.note.store(epoch << SINCE_SHIFT, Ordering::Relaxed);
    }

    /// Notes that an operation parks. It was polled with the goroutine's own waker.
    #[inline(always)]
    pub(crate) fn note_park(&self, site: Option<&'static Location<'static>>, reason: Reason) {
        let word = self.note.load(Ordering::Relaxed);
        if word & (REASON | ELSEWHERE) != 0 {
            return self.note_park_elsewhere(site, reason);
        }
        self.set_note(Note::new(site, word | (reason as u32 + 1)));
    }

    /// Notes that an operation parks that may not be the only one in this poll.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_park_elsewhere(
        &self,
        site: Option<&'static Location<'static>>,
        reason: Reason,
    ) {
        let word = self.note.load(Ordering::Relaxed);
        // After the end, a destructor of the result waits.
        if word != ENDED {
            self.set_note(Note::new(site, word & !REASON | (reason as u32 + 1) | ELSEWHERE));
        }
    }

    /// Returns the current note.
    pub(crate) fn note(&self) -> Note {
        Note { site: self.site.load(Ordering::Relaxed), word: self.note.load(Ordering::Relaxed) }
    }

    #[inline(always)]
    pub(crate) fn set_note(&self, Note { site, word }: Note) {
        // Release: if a thread reads this site and then the word again, it finds that the last poll
        // has begun.
        self.site.store(site, Ordering::Release);
        // Release: a thread that reads this word and then the site reads this site or a later one.
        self.note.store(word, Ordering::Release);
    }

    /// Returns the activity of the goroutine. Any thread may call this.
    pub(crate) fn activity(&self) -> Activity {
        // Acquire: the site is read after the word, and belongs to this word or to a later one. In
        // the second case the word has changed when it is read again.
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
                // SAFETY: it is null, or from a `'static` reference.
                site: unsafe { site.as_ref() },
                elsewhere: word & ELSEWHERE != 0,
                since,
            }),
        }
    }

    /// Records that the goroutine has ended: its future has been dropped.
    #[inline(always)]
    pub(crate) fn set_ended(&self) {
        self.note.store(ENDED, Ordering::Relaxed);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.note.load(Ordering::Relaxed) == ENDED
    }

    /// Returns the flags. Relaxed: the thread that aborts the goroutine also wakes it, or the
    /// goroutine sees the flag in [`set_registered`](Self::set_registered).
    #[inline(always)]
    pub(crate) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Relaxed))
    }

    /// Records that the goroutine has entered its registry under `key`. Returns the previous flags.
    pub(crate) fn set_registered(&self, key: u32) -> Flags {
        assert!(key < 1 << (u32::BITS - KEY_SHIFT), "gopark: 2^26 parked goroutines");
        // AcqRel: pairs with `set_aborted`, and publishes the key.
        Flags(self.flags.fetch_or(key << KEY_SHIFT | REGISTERED, Ordering::AcqRel))
    }

    /// Marks the goroutine as aborted. Returns the previous flags.
    pub(crate) fn set_aborted(&self) -> Flags {
        // AcqRel: pairs with `set_registered`.
        Flags(self.flags.fetch_or(ABORTED, Ordering::AcqRel))
    }

    /// Records that a remote of the goroutine is created. Returns the previous flags.
    pub(crate) fn set_has_remote(&self) -> Flags {
        // AcqRel: pairs with `set_registered`.
        Flags(self.flags.fetch_or(HAS_REMOTE, Ordering::AcqRel))
    }

    /// Records that all remotes of the goroutine find its waker.
    pub(crate) fn clear_has_remote(&self) {
        self.flags.fetch_and(!HAS_REMOTE, Ordering::Relaxed);
    }

    /// Asks whether something keeps a waker of the goroutine. Returns true if this is not known and
    /// has not been asked yet: then the caller must wake the goroutine.
    pub(crate) fn ask_for_keeper(&self) -> bool {
        self.replace_keeper(Keeper::Asked, |before| before == Keeper::Unknown)
    }

    /// Sets the answer. Only for the goroutine's own poll.
    pub(crate) fn set_keeper(&self, keeper: Keeper) {
        self.replace_keeper(keeper, |_| true);
    }

    /// Relaxed: the goroutine reads it in the poll that the asking wake caused, and a report reads
    /// it while the runtime is at rest.
    fn replace_keeper(&self, keeper: Keeper, replaces: impl Fn(Keeper) -> bool) -> bool {
        let replaced = |flags| flags & !KEEPER | (keeper as u32) << KEEPER_SHIFT;
        let update = |flags| replaces(Flags(flags).keeper()).then(|| replaced(flags));
        self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }

    /// Clears the abort of the goroutine.
    #[cfg(feature = "sim")]
    pub(crate) fn clear_aborted(&self) {
        self.flags.fetch_and(!ABORTED, Ordering::Relaxed);
    }

    /// Records that the goroutine is removed from its registry, whose lock is held.
    pub(crate) fn clear_registered(&self) {
        self.flags.fetch_and(!REGISTERED, Ordering::Relaxed);
    }

    /// Returns the key that [`set_registered`](Self::set_registered) stored.
    pub(crate) fn registry_key(&self) -> u32 {
        self.flags.load(Ordering::Relaxed) >> KEY_SHIFT
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
