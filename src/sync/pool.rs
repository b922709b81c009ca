//! A set of spare objects, sharded by processor.

// How it works.
//
// Each processor has a shard, and foreign threads share one more. A shard is a small ring under a
// lock that is almost never fought over, with one *private* place before it, as in Go: an object
// that is put and got again is in nobody's way. `get` looks at the private place, then takes the
// newest of the own shard, then the oldest of another's, then what has aged, then makes a new one.
// No shard grows: what finds no room is dropped.
//
// Go drops spare objects at its garbage collections: what lies there at one becomes the *victim
// cache*, what is still there at the next goes. We have none, so the pool counts its uses and looks
// at the clock every now and then; ageing comes with use, and `Pool::age` is there for a pool that
// is not used.
//
// Objects are made and dropped outside of every lock. A shard is found by the number of the
// processor, taken modulo the number of shards: `gomaxprocs` may change at any time, and what a
// processor that is gone has left is found by the others.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Mutex, OnceLock};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::clock::Time;
use crate::coop::{self, Object};
use crate::lock::Lock;
use crate::loom::atomic::{AtomicUsize, Ordering};

/// How much a shard may hold, at most: in objects, and in bytes of the objects themselves.
const ROOM: usize = 128;
const ROOM_BYTES: usize = 1 << 16;

/// How often a shard's uses make it look at the clock, and how long a generation lasts.
const USES: u32 = 1024;
const GENERATION: Duration = Duration::from_secs(10);

/// A set of objects that are spared from being made again and again.
///
/// Go: `sync.Pool`. [`get`](Self::get) takes an object, spare or new; [`put`](Self::put) makes it
/// spare. Nobody may count on an object staying there: there is little room, and what is not used
/// for a while goes. An object is given to one at a time.
///
/// # When to use something else
///
/// A `Vec` that its owner keeps where one goroutine needs it. `std` has no pool; a `thread_local!`
/// is one for code that does not await between taking and putting back. A channel filled with the
/// objects where their number is to be bounded, so that who comes too late waits.
///
/// # Memory ordering
///
/// A `put` synchronizes before the return of the `get` that takes the object.
///
/// # Examples
///
/// ```
/// use gopark::sync::Pool;
///
/// let buffers = Pool::new(|| Vec::<u8>::with_capacity(1 << 16));
/// let mut buffer = buffers.get();
/// buffer.extend(b"hello");
/// buffer.clear();
/// buffers.put(buffer);
/// ```
pub struct Pool<T> {
    new: Box<dyn Fn() -> T + Send + Sync>,
    /// One each processor, and the last for foreign threads. Made when first used.
    shards: Box<[OnceLock<Shard<T>>]>,
    /// When this generation began.
    since: Mutex<Time>,
    #[cfg_attr(not(feature = "sim"), expect(dead_code, reason = "a simulation asks it"))]
    object: Object,
}

// Nothing unwinds under its locks; an object that is in it was given back.
impl<T> UnwindSafe for Pool<T> {}
impl<T> RefUnwindSafe for Pool<T> {}

impl<T> Pool<T> {
    /// A pool without spare objects; `new` makes them.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gopark::sync::Pool::new(String::new);
    /// assert_eq!(pool.get(), "");
    /// ```
    pub fn new(new: impl Fn() -> T + Send + Sync + 'static) -> Self {
        // With more processors than cores some share a shard; that is slower, no more.
        let shards = available_parallelism().map_or(1, usize::from) + 1;
        let shards = (0..shards).map(|_| OnceLock::new()).collect();
        Pool { new: Box::new(new), shards, since: Mutex::new(Time::now()), object: Object::new() }
    }

    /// A spare object, or a new one. Go: `Get`.
    ///
    /// It is as whoever put it has left it.
    ///
    /// # Panics
    ///
    /// If the function that makes new ones does.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gopark::sync::Pool::new(|| 0);
    /// pool.put(7);
    /// assert_eq!(pool.get(), 7);
    /// assert_eq!(pool.get(), 0);
    /// ```
    #[inline]
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn get(&self) -> T {
        #[cfg(feature = "sim")]
        self.object.tried(std::panic::Location::caller());
        self.shard().take().unwrap_or_else(|| self.get_elsewhere())
    }

    #[cold]
    fn get_elsewhere(&self) -> T {
        let own = self.index();
        let all = || {
            (0..self.shards.len())
                .filter_map(|i| self.shards[(own + 1 + i) % self.shards.len()].get())
        };
        // The own one comes last: it has no spare objects left, but maybe aged ones.
        let spare = all().find_map(Shard::steal).or_else(|| all().find_map(Shard::take_aged));
        spare.unwrap_or_else(|| (self.new)())
    }

    /// Makes an object spare, or drops it if there is no room. Go: `Put`.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gopark::sync::Pool::new(Vec::<u8>::new);
    /// pool.put(Vec::with_capacity(100));
    /// assert_eq!(pool.get().capacity(), 100);
    /// ```
    #[inline]
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn put(&self, object: T) {
        #[cfg(feature = "sim")]
        self.object.tried(std::panic::Location::caller());
        self.put_back(object);
    }

    /// As [`put`](Self::put), also by a destructor, which must not panic.
    #[inline]
    fn put_back(&self, object: T) {
        let shard = self.shard();
        let (no_room, uses) = shard.put(object);
        if uses % USES == 0 {
            self.age_if_due();
        }
        // Here, outside of the lock.
        drop(no_room);
    }

    /// As [`get`](Self::get), with a guard that puts the object back when it is dropped.
    ///
    /// # Panics
    ///
    /// If the function that makes new ones does.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gopark::sync::Pool::new(Vec::<u8>::new);
    /// pool.get_guard().push(1);
    /// assert_eq!(pool.get(), [1]);
    /// ```
    #[cfg_attr(feature = "sim", track_caller)]
    pub fn get_guard(&self) -> PoolGuard<'_, T> {
        PoolGuard { pool: self, object: Some(self.get()) }
    }

    /// Drops the objects that have been spare since the last time, and lets the others age.
    ///
    /// It happens by itself, every ten seconds or so that the pool is used. A spare object survives
    /// one such turn, not two.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gopark::sync::Pool::new(|| 0);
    /// pool.put(7);
    /// pool.age();
    /// pool.age();
    /// assert_eq!(pool.get(), 0);
    /// ```
    pub fn age(&self) {
        self.shards.iter().filter_map(OnceLock::get).for_each(Shard::age);
    }

    #[cold]
    fn age_if_due(&self) {
        // If somebody else is just looking, that will do.
        let Ok(mut since) = self.since.try_lock() else { return };
        let now = Time::now();
        if now.since(*since) >= GENERATION {
            *since = now;
            drop(since);
            self.age();
        }
    }

    #[inline]
    fn index(&self) -> usize {
        let foreign = self.shards.len() - 1;
        match coop::worker_index() {
            Some(worker) if worker < foreign => worker,
            Some(worker) => worker % foreign,
            None => foreign,
        }
    }

    #[inline]
    fn shard(&self) -> &Shard<T> {
        self.shards[self.index()].get_or_init(Shard::new)
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spare = |shard: &Shard<T>| shard.spare.load(Ordering::Relaxed);
        let spare: usize = self.shards.iter().filter_map(OnceLock::get).map(spare).sum();
        f.debug_struct("Pool").field("spare", &spare).finish_non_exhaustive()
    }
}

/// An object of a [`Pool`], which goes back when this is dropped.
///
/// It goes back as it is, also if that happens because of a panic.
#[must_use = "dropping the guard puts the object back at once"]
pub struct PoolGuard<'a, T> {
    pool: &'a Pool<T>,
    /// `None` only while being dropped.
    object: Option<T>,
}

impl<T> PoolGuard<'_, T> {
    /// Keeps the object.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sync::{Pool, PoolGuard};
    ///
    /// let pool = Pool::new(|| 7);
    /// let object: i32 = PoolGuard::into_inner(pool.get_guard());
    /// assert_eq!(object, 7);
    /// ```
    pub fn into_inner(mut guard: Self) -> T {
        let Some(object) = guard.object.take() else { unreachable!("a guard has its object") };
        object
    }
}

impl<T> Drop for PoolGuard<'_, T> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            self.pool.put_back(object);
        }
    }
}

impl<T> Deref for PoolGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.object.as_ref().expect("a guard has its object")
    }
}

impl<T> DerefMut for PoolGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.object.as_mut().expect("a guard has its object")
    }
}

impl<T: fmt::Debug> fmt::Debug for PoolGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The spare objects of one processor. On cache lines of its own: two, since they are fetched in
/// pairs.
#[repr(align(128))]
struct Shard<T> {
    /// How many it has that have not aged; a hint that spares those who look elsewhere the lock.
    spare: AtomicUsize,
    state: Lock<Spare<T>>,
}

struct Spare<T> {
    private: Option<T>,
    /// Oldest first. Its room is allocated beforehand.
    ring: VecDeque<T>,
    /// What was spare when this generation began.
    aged: VecDeque<T>,
    uses: u32,
}

impl<T> Spare<T> {
    fn len(&self) -> usize {
        usize::from(self.private.is_some()) + self.ring.len()
    }
}

impl<T> Shard<T> {
    /// How many objects the ring holds.
    const ROOM: usize = {
        let fit = if size_of::<T>() == 0 { ROOM } else { ROOM_BYTES / size_of::<T>() };
        if fit < ROOM { fit } else { ROOM }
    };

    /// Room for the private object as well, which ages with the others.
    fn ring() -> VecDeque<T> {
        VecDeque::with_capacity(Self::ROOM + 1)
    }

    fn new() -> Self {
        let spare = Spare { private: None, ring: Self::ring(), aged: VecDeque::new(), uses: 0 };
        Shard { spare: AtomicUsize::new(0), state: Lock::new(spare) }
    }

    /// Changes what is stored, and says how much that is.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Spare<T>) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        self.spare.store(state.len(), Ordering::Relaxed);
        result
    }

    /// The private one, or the newest.
    #[inline]
    fn take(&self) -> Option<T> {
        self.with(|state| state.private.take().or_else(|| state.ring.pop_back()))
    }

    /// Gives the object back if there is no room; and says how often this has been called.
    #[inline]
    fn put(&self, object: T) -> (Option<T>, u32) {
        self.with(|state| {
            state.uses = state.uses.wrapping_add(1);
            let mut object = Some(object);
            if state.private.is_none() {
                state.private = object.take();
            } else if state.ring.len() < Self::ROOM {
                state.ring.extend(object.take());
            }
            (object, state.uses)
        })
    }

    /// The oldest one, for another processor.
    fn steal(&self) -> Option<T> {
        if self.spare.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.with(|state| state.ring.pop_front().or_else(|| state.private.take()))
    }

    fn take_aged(&self) -> Option<T> {
        self.state.lock().aged.pop_back()
    }

    fn age(&self) {
        // Allocated before, freed after: under the lock there are moves only.
        let ring = Self::ring();
        drop(self.with(|state| {
            if let Some(private) = state.private.take() {
                state.ring.push_front(private);
            }
            let aged = mem::replace(&mut state.ring, ring);
            mem::replace(&mut state.aged, aged)
        }));
    }
}
