//! A pool of reusable objects, sharded by processor.

// How it works.
//
// Each processor has a shard, and foreign threads share one more. A shard is a small ring under a
// lock that is almost never contended, with one *private* place in front of it, as in Go: an object
// that is put and soon got again never reaches the ring. `get` tries the private place, then the
// newest object of its own shard, then the oldest of another shard, then the aged objects, and
// finally makes a new one. No shard grows: `put` drops an object that finds no room.
//
// Go drops spare objects at its garbage collections: the objects that are in the pool at one become
// the *victim cache*, and those still there at the next are dropped. Here there is no collector.
// Instead the pool counts its uses and reads the clock now and then: it ages with use, and
// `Pool::age` is for a pool that is not used.
//
// Objects are made and dropped outside of every lock. A shard is found by the number of the
// processor modulo the number of shards: `gomaxprocs` may change at any time, and objects left by a
// removed processor are found by the others.

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

/// The capacity of a shard: in objects, and in bytes of the objects themselves.
const ROOM: usize = 128;
const ROOM_BYTES: usize = 1 << 16;

/// The number of uses of a shard after which it checks the clock, and how long a generation lasts.
const USES: u32 = 1024;
const GENERATION: Duration = Duration::from_secs(10);

/// A pool of reusable objects.
///
/// Go: `sync.Pool`. [`get`](Self::get) takes a spare object, or makes one; [`put`](Self::put)
/// returns an object to the pool. Do not rely on an object staying in the pool: room is limited,
/// and objects that are not used for a while are dropped. An object is given to one caller at a
/// time.
///
/// # When to use something else
///
/// If only one goroutine needs the objects, let it keep them in a `Vec`. `std` has no pool; a
/// `thread_local!` is one for code that does not await between taking and returning an object. To
/// bound the number of objects, fill a channel with them: a task that finds it empty waits.
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
    /// One shard for each processor, and the last for foreign threads. Created on first use.
    shards: Box<[OnceLock<Shard<T>>]>,
    /// When this generation began.
    since: Mutex<Time>,
    #[cfg_attr(not(feature = "sim"), expect(dead_code, reason = "only a simulation uses it"))]
    object: Object,
}

// Nothing unwinds under its locks, and an object in the pool is in use by no task.
impl<T> UnwindSafe for Pool<T> {}
impl<T> RefUnwindSafe for Pool<T> {}

impl<T> Pool<T> {
    /// Creates an empty pool. `new` makes its objects.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gopark::sync::Pool::new(String::new);
    /// assert_eq!(pool.get(), "");
    /// ```
    pub fn new(new: impl Fn() -> T + Send + Sync + 'static) -> Self {
        // With more processors than cores, some share a shard: that is only slower.
        let shards = available_parallelism().map_or(1, usize::from) + 1;
        let shards = (0..shards).map(|_| OnceLock::new()).collect();
        Pool { new: Box::new(new), shards, since: Mutex::new(Time::now()), object: Object::new() }
    }

    /// Takes a spare object, or makes a new one. Go: `Get`.
    ///
    /// A spare object is in the state in which it was put.
    ///
    /// # Panics
    ///
    /// If the function that makes a new object panics.
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
        // Its own shard comes last: it has no spare objects left, but maybe aged ones.
        let spare = all().find_map(Shard::steal).or_else(|| all().find_map(Shard::take_aged));
        spare.unwrap_or_else(|| (self.new)())
    }

    /// Returns an object to the pool, or drops it if there is no room. Go: `Put`.
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

    /// As [`put`](Self::put), also for destructors, which must not panic.
    #[inline]
    fn put_back(&self, object: T) {
        let shard = self.shard();
        let (no_room, uses) = shard.put(object);
        if uses % USES == 0 {
            self.age_if_due();
        }
        // Dropped here, outside of the lock.
        drop(no_room);
    }

    /// Takes an object as [`get`](Self::get) does, in a guard that returns it to the pool when
    /// dropped.
    ///
    /// # Panics
    ///
    /// If the function that makes a new object panics.
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

    /// Drops the objects that have been spare since the last call, and marks the other spare
    /// objects as aged.
    ///
    /// A pool in use does this by itself about every ten seconds. A spare object survives one such
    /// round, but not two.
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
        // If another thread is checking already, that suffices.
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

/// An object of a [`Pool`]. Dropping the guard returns the object to the pool.
///
/// The object returns in its current state, even if the guard is dropped by a panic.
///
/// # Examples
///
/// ```
/// let pool = gopark::sync::Pool::new(|| 0);
/// let mut n = pool.get_guard();
/// *n += 1;
/// drop(n);
/// assert_eq!(pool.get(), 1);
/// ```
#[must_use = "dropping the guard puts the object back at once"]
pub struct PoolGuard<'a, T> {
    pool: &'a Pool<T>,
    /// `None` only while being dropped.
    object: Option<T>,
}

impl<T> PoolGuard<'_, T> {
    /// Takes the object out of the guard and keeps it.
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

/// The spare objects of one processor. Aligned to two cache lines, because they are fetched in
/// pairs.
#[repr(align(128))]
struct Shard<T> {
    /// The number of objects that have not aged: a hint that spares other shards the lock.
    spare: AtomicUsize,
    state: Lock<Spare<T>>,
}

struct Spare<T> {
    private: Option<T>,
    /// Oldest first. Its capacity is allocated in advance.
    ring: VecDeque<T>,
    /// The objects that were spare when this generation began.
    aged: VecDeque<T>,
    uses: u32,
}

impl<T> Spare<T> {
    fn len(&self) -> usize {
        usize::from(self.private.is_some()) + self.ring.len()
    }
}

impl<T> Shard<T> {
    /// The capacity of the ring, in objects.
    const ROOM: usize = {
        let fit = if size_of::<T>() == 0 { ROOM } else { ROOM_BYTES / size_of::<T>() };
        if fit < ROOM { fit } else { ROOM }
    };

    /// With room for the private object as well, which ages with the others.
    fn ring() -> VecDeque<T> {
        VecDeque::with_capacity(Self::ROOM + 1)
    }

    fn new() -> Self {
        let spare = Spare { private: None, ring: Self::ring(), aged: VecDeque::new(), uses: 0 };
        Shard { spare: AtomicUsize::new(0), state: Lock::new(spare) }
    }

    /// Changes the stored objects, and updates their number.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Spare<T>) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        self.spare.store(state.len(), Ordering::Relaxed);
        result
    }

    /// Takes the private object, or the newest.
    #[inline]
    fn take(&self) -> Option<T> {
        self.with(|state| state.private.take().or_else(|| state.ring.pop_back()))
    }

    /// Returns the object if there is no room, and the number of calls so far.
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

    /// Takes the oldest object, for another processor.
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
        // Allocated before and freed after the lock is held: under it there are only moves.
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
