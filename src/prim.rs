//! Floor 0: what the protocols stand on, from `std` or, under `--cfg gopark_loom`, from loom.
//!
//! Nothing above this file names `loom`, so that a model runs the very code that ships. Miri, which knows neither
//! `membarrier(2)` nor a thread's clock, gets what the other systems get.

pub(crate) mod atomic {
    #[cfg(gopark_loom)]
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(not(gopark_loom))]
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

#[cfg(not(gopark_loom))]
use atomic::AtomicBool;
use atomic::Ordering;

/// A `const fn`, but under loom, whose types have no constant constructors.
#[cfg(not(gopark_loom))]
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis const fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
}
#[cfg(gopark_loom)]
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis const fn $($rest:tt)*) => { $(#[$meta])* $vis fn $($rest)* };
}
pub(crate) use const_fn;

/// Under loom, which takes a look without the lock for a race: a hint that is only a hint says yes.
pub(crate) const MODELLED: bool = cfg!(gopark_loom);

/// `std`'s cell with loom's accessor, so that a model sees every access.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T: ?Sized>(
    #[cfg(not(gopark_loom))] std::cell::UnsafeCell<T>,
    #[cfg(gopark_loom)] loom::cell::UnsafeCell<T>,
);

impl<T> UnsafeCell<T> {
    #[cfg(not(gopark_loom))]
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[cfg(gopark_loom)]
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }
}

impl<T: ?Sized> UnsafeCell<T> {
    /// Passes the pointer on; the caller answers for what it does with it.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(not(gopark_loom))]
        return f(self.0.get());
        #[cfg(gopark_loom)]
        return self.0.with_mut(f);
    }

    /// As [`with_mut`](Self::with_mut), to read.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        #[cfg(not(gopark_loom))]
        return f(self.0.get().cast_const());
        #[cfg(gopark_loom)]
        return self.0.with(f);
    }
}

/// Pauses before a contended [`Lock`] is looked at again, at first and at most: about a microsecond.
///
/// What it guards takes ten nanoseconds, and to move its cache line to another core takes a hundred. So who finds it held
/// keeps away from the line for a while, and the other core does many operations at the price of a few.
#[cfg(not(gopark_loom))]
const PAUSE: (u32, u32) = (32, 256);
/// Pauses before the thread is given away.
#[cfg(not(gopark_loom))]
const PAUSES_A_YIELD: u32 = 2000;

/// A lock for a few pointer moves: taken with one swap, given back with a plain store.
///
/// `std`'s lock pays a second locked instruction to unlock (about 15 ns the pair instead of 10), which is a
/// fifth of a whole context switch. The price: a waiter cannot sleep, it pauses and then yields its
/// thread. So nothing that runs user code, allocates or wakes may happen while it is held.
///
/// | value | meaning | left by |
/// |---|---|---|
/// | false | free | `lock`: swap, Acquire |
/// | true | held | `unlock` by the holder: store, Release |
#[derive(Debug)]
pub struct Lock(#[cfg(not(gopark_loom))] AtomicBool, #[cfg(gopark_loom)] model::Lock);

impl Lock {
    #[cfg(not(gopark_loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[cfg(gopark_loom)]
    pub(crate) fn new() -> Self {
        Self(model::Lock::default())
    }

    #[inline(always)]
    pub(crate) fn lock(&self) {
        #[cfg(not(gopark_loom))]
        if self.0.swap(true, Ordering::Acquire) {
            self.lock_slow();
        }
        #[cfg(gopark_loom)]
        self.0.lock();
    }

    #[cfg(not(gopark_loom))]
    #[cold]
    #[inline(never)]
    fn lock_slow(&self) {
        let (mut pause, mut paused) = (PAUSE.0, 0);
        loop {
            for _ in 0..pause {
                std::hint::spin_loop();
            }
            paused += pause;
            pause = (2 * pause).min(PAUSE.1);
            if paused > PAUSES_A_YIELD {
                // The holder may have lost its core.
                paused = 0;
                std::thread::yield_now();
            }
            if !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }

    /// # Safety
    ///
    /// The caller holds the lock.
    #[inline(always)]
    pub(crate) unsafe fn unlock(&self) {
        #[cfg(not(gopark_loom))]
        self.0.store(false, Ordering::Release);
        #[cfg(gopark_loom)]
        self.0.unlock();
    }

    /// Holds the lock until the guard goes.
    #[inline(always)]
    pub(crate) fn guard(&self) -> LockGuard<'_> {
        self.lock();
        LockGuard(self)
    }
}

/// Unlocks on drop.
#[derive(Debug)]
pub(crate) struct LockGuard<'a>(&'a Lock);

impl Drop for LockGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the guard was made by `Lock::guard`, which took the lock.
        unsafe { self.0.unlock() }
    }
}

/// Runs what must not unwind here: somebody's destructor, waker or the like. Its panic has been printed by the hook.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // A payload whose own destructor panics is not worth a process.
        std::mem::forget(payload);
    }
}

/// A random number below `below`.
#[inline]
pub(crate) fn random(below: usize) -> usize {
    // A model must do the same each time.
    if MODELLED { 0 } else { fastrand::usize(..below) }
}

/// One round of waiting for another thread to leave a few instructions: every hundredth gives the thread away,
/// for the other one may have lost its core.
#[inline]
pub(crate) fn relax(round: u32) {
    #[cfg(gopark_loom)]
    {
        let _ = round;
        loom::thread::yield_now();
    }
    #[cfg(not(gopark_loom))]
    if round % 100 == 0 {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// Asks the core to fetch the cache line at `address` to write to it, and goes on meanwhile. Any address will do.
#[inline(always)]
pub(crate) fn prefetch_write(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(any(gopark_loom, miri))))]
    // SAFETY: a hint; processors without it take it for a no-op.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(any(gopark_loom, miri))))]
    // SAFETY: a hint.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    let _ = address;
}

/// Room in this thread's heap, for a thread that allocates many small things.
///
/// glibc makes the heap of any thread but the first usable page by page, with a system call each: a fifth of what it costs to
/// spawn a goroutine. To ask it for many pages now and then, and give them back untouched, saves most of these calls. It asks
/// glibc itself, so a program with another allocator sees nothing of it, and pays a few nanoseconds a page.
#[derive(Debug)]
pub(crate) struct Room {
    /// Up to which address there is room.
    end: std::cell::Cell<usize>,
}

impl Room {
    /// Less than what glibc takes for a reason to tidy up (64 KiB).
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const STEP: usize = 60 << 10;

    pub(crate) const fn new() -> Self {
        Self { end: std::cell::Cell::new(0) }
    }

    /// Something small was allocated at `address`.
    #[inline(always)]
    pub(crate) fn keep_ahead(&self, address: usize) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        if address > self.end.get() {
            self.make(address);
        }
        let _ = (address, &self.end);
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[cold]
    #[inline(never)]
    fn make(&self, address: usize) {
        self.end.set(address + Self::STEP / 8 * 7);
        // SAFETY: what is allocated, if it is, is freed; the compiler must not know that it is not used.
        unsafe { libc::free(std::hint::black_box(libc::malloc(Self::STEP))) };
    }
}

/// A full fence. On x86 a locked instruction on the stack does the same as `mfence` in half the time.
#[inline(always)]
pub(crate) fn full_fence() {
    #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), not(gopark_loom)))]
    {
        use std::sync::atomic::{AtomicUsize, compiler_fence};
        compiler_fence(Ordering::SeqCst);
        let word = AtomicUsize::new(0);
        let _ = word.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
        compiler_fence(Ordering::SeqCst);
    }
    #[cfg(not(all(any(target_arch = "x86", target_arch = "x86_64"), not(gopark_loom))))]
    atomic::fence(Ordering::SeqCst);
}

/// The cheap half of an asymmetric fence: orders this thread's store before its next load, given that the other
/// side calls [`heavy_fence`].
///
/// Where the kernel offers `membarrier(2)` this only stops the compiler; elsewhere it is a full fence.
#[inline(always)]
pub(crate) fn light_fence() {
    #[cfg(all(target_os = "linux", not(any(gopark_loom, miri))))]
    if membarrier::available() {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        return;
    }
    atomic::fence(Ordering::SeqCst);
}

/// The dear half of an asymmetric fence: a full fence on every running thread of the process. False if the kernel does
/// not give it any more, as after entering a sandbox.
#[must_use = "without the fence nothing is ordered"]
pub(crate) fn heavy_fence() -> bool {
    #[cfg(all(target_os = "linux", not(any(gopark_loom, miri))))]
    if membarrier::available() {
        return membarrier::everywhere();
    }
    atomic::fence(Ordering::SeqCst);
    true
}

/// Makes the asymmetric fence ready, and says whether its light half is lighter than a full fence.
pub(crate) fn has_light_fence() -> bool {
    register_fences();
    #[cfg(all(target_os = "linux", not(any(gopark_loom, miri))))]
    return membarrier::available();
    #[cfg(not(all(target_os = "linux", not(any(gopark_loom, miri)))))]
    MODELLED
}

/// Makes the asymmetric fence ready; called before the first worker starts.
pub(crate) fn register_fences() {
    #[cfg(all(target_os = "linux", not(any(gopark_loom, miri))))]
    membarrier::register();
}

/// Reads the CPU time of the thread that made it, from any thread, while that thread lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuClock {
    #[cfg(all(target_os = "linux", not(miri)))]
    id: Option<libc::clockid_t>,
}

impl CpuClock {
    pub(crate) fn of_this_thread() -> Self {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let mut id = 0;
            // SAFETY: the calling thread's handle is valid, and `id` is a place for the answer.
            let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id) };
            Self { id: (error == 0).then_some(id) }
        }
        #[cfg(not(all(target_os = "linux", not(miri))))]
        Self {}
    }

    /// The CPU time used so far; always zero where there is no such clock, as if the thread slept.
    pub(crate) fn now(self) -> Duration {
        #[cfg(all(target_os = "linux", not(miri)))]
        if let Some(id) = self.id {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `time` is a place for the answer; a clock that is gone is an error.
            if unsafe { libc::clock_gettime(id, &raw mut time) } == 0 {
                let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
                return Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0));
            }
        }
        Duration::ZERO
    }
}

#[cfg(all(target_os = "linux", not(any(gopark_loom, miri))))]
mod membarrier {
    use std::sync::Once;
    use std::sync::atomic::{AtomicBool, Ordering};

    // membarrier(2): the commands of linux/membarrier.h.
    const PRIVATE_EXPEDITED: libc::c_long = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_long = 1 << 4;

    /// Set once, before any worker runs; false means both halves are full fences.
    static AVAILABLE: AtomicBool = AtomicBool::new(false);

    #[inline(always)]
    pub(super) fn available() -> bool {
        AVAILABLE.load(Ordering::Relaxed)
    }

    pub(super) fn register() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| AVAILABLE.store(call(REGISTER_PRIVATE_EXPEDITED), Ordering::Relaxed));
    }

    pub(super) fn everywhere() -> bool {
        call(PRIVATE_EXPEDITED)
    }

    fn call(command: libc::c_long) -> bool {
        // SAFETY: membarrier takes three integers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

/// A lock that loom can block on. It would explore the spinning one for ever: an unlock that is a plain store may, as far
/// as the memory model goes, come after any number of another thread's swaps.
#[cfg(gopark_loom)]
mod model {
    use loom::sync::{Mutex, MutexGuard};

    #[derive(Debug, Default)]
    pub(super) struct Lock {
        mutex: Mutex<()>,
        held: std::cell::UnsafeCell<Option<MutexGuard<'static, ()>>>,
    }

    // SAFETY: `held` is touched by the holder of `mutex` only.
    unsafe impl Sync for Lock {}
    // SAFETY: as above; loom's threads are one thread.
    unsafe impl Send for Lock {}

    impl Lock {
        pub(super) fn lock(&self) {
            let guard = self.mutex.lock().expect("no model unwinds with the lock held");
            // SAFETY: this thread holds the mutex, and the guard is dropped before it, by `unlock`.
            unsafe {
                *self.held.get() = Some(std::mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard))
            };
        }

        pub(super) fn unlock(&self) {
            // SAFETY: the caller holds the lock. The guard is moved out first: dropping it lets others in.
            let guard = unsafe { (*self.held.get()).take() };
            drop(guard);
        }
    }
}
