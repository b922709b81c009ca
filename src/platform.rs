//! What depends on the platform: fences, a thread's CPU clock, prefetching, the allocator's
//! reserve.
//!
//! Miri, which knows neither `membarrier(2)` nor a thread's clock, gets what other systems get.

use std::ffi::c_long;
#[cfg(all(feature = "net", unix))]
use std::net::SocketAddr;
use std::sync::Once;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::loom::atomic::{Ordering, fence};

/// A full fence. On x86 a locked instruction on the stack does the same as `mfence` in half the
/// time.
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
    fence(Ordering::SeqCst);
}

/// The light half of an asymmetric fence: orders this thread's store before its next load, if the
/// other side calls [`heavy_fence`].
///
/// Where the kernel offers `membarrier(2)` this only stops the compiler; elsewhere it is a full
/// fence.
#[inline(always)]
pub(crate) fn light_fence() {
    if is_light() {
        return process_fence_point();
    }
    fence(Ordering::SeqCst);
}

/// The heavy half of an asymmetric fence: a full fence on every running thread of the process.
/// False if the kernel stopped offering it, for example after the process entered a sandbox.
#[must_use = "without the fence nothing is ordered"]
pub(crate) fn heavy_fence() -> bool {
    if is_light() {
        return process_fence();
    }
    fence(Ordering::SeqCst);
    true
}

/// As [`heavy_fence`]. Where the kernel refuses it, this sleeps until every store has left its
/// core.
pub(crate) fn heavy_fence_or_sleep() {
    if !heavy_fence() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Issues a full fence on every running thread of the process, at a [point](process_fence_point) of
/// each. False if the kernel does not offer that, or the process is not registered for it.
#[must_use = "without the fence nothing is ordered"]
pub(crate) fn process_fence() -> bool {
    is_light() && membarrier(PRIVATE_EXPEDITED)
}

/// Keeps the compiler from moving this thread's accesses across; the processor may do so unless
/// another thread issues a [`process_fence`].
#[inline(always)]
pub(crate) fn process_fence_point() {
    #[cfg(not(gopark_loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(gopark_loom)]
    fence(Ordering::SeqCst);
}

/// Makes the asymmetric fence ready, and says whether its light half is lighter than a full fence.
pub(crate) fn has_light_fence() -> bool {
    register_fences();
    is_light()
}

/// Makes the asymmetric fence ready; called before the first worker starts.
pub(crate) fn register_fences() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| IS_LIGHT.store(membarrier(REGISTER_PRIVATE_EXPEDITED), Ordering::Relaxed));
}

/// Set once, before any worker runs; false means both halves are full fences.
static IS_LIGHT: AtomicBool = AtomicBool::new(false);

#[inline(always)]
fn is_light() -> bool {
    cfg!(gopark_loom) || IS_LIGHT.load(Ordering::Relaxed)
}

// The commands of linux/membarrier.h.
const PRIVATE_EXPEDITED: c_long = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: c_long = 1 << 4;

/// `membarrier(2)`. False where there is none.
fn membarrier(command: c_long) -> bool {
    #[cfg(all(target_os = "linux", not(any(gopark_loom, miri))))]
    // SAFETY: membarrier takes three integers and touches no memory of ours.
    return unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 };
    #[cfg(not(all(target_os = "linux", not(any(gopark_loom, miri)))))]
    {
        let _ = command;
        fence(Ordering::SeqCst);
        cfg!(gopark_loom)
    }
}

/// Waits until the descriptor is readable, no longer than that. It is exact where `epoll_wait`
/// counts milliseconds.
#[cfg(all(feature = "net", any(target_os = "linux", target_os = "android")))]
pub(crate) fn wait_readable(fd: libc::c_int, limit: Duration) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: one descriptor, and a time of this frame.
    unsafe { libc::ppoll(&raw mut poll, 1, &raw const limit, std::ptr::null()) };
}

/// True if the descriptor can be read, or written, now.
#[cfg(all(feature = "net", unix))]
pub(crate) fn is_ready(fd: libc::c_int, writes: bool) -> bool {
    let events = if writes { libc::POLLOUT } else { libc::POLLIN };
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one descriptor, and no wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

/// The addresses of a socket of the internet: of this end, and of the other one.
#[cfg(all(feature = "net", unix))]
pub(crate) fn socket_addrs(fd: libc::c_int) -> (Option<SocketAddr>, Option<SocketAddr>) {
    // SAFETY: the caller says that it is open. A number that others have closed makes an error.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let socket = socket2::SockRef::from(&fd);
    let address = |address: std::io::Result<socket2::SockAddr>| address.ok()?.as_socket();
    (address(socket.local_addr()), address(socket.peer_addr()))
}

/// How many threads the process has, if the system says so.
pub(crate) fn count_threads() -> Option<usize> {
    if cfg!(target_os = "linux") {
        Some(std::fs::read_dir("/proc/self/task").ok()?.count())
    } else {
        None
    }
}

/// Tells a thread that sleeps from one that runs, or would run if a core were free; for one other
/// thread, while its own lives.
///
/// A thread's CPU clock stands still both while it sleeps and while it waits for a core. On Linux
/// its state in `/proc` tells the two apart. (`schedstat` does not: the time that a thread has
/// waited for a core is booked when it gets one.)
#[derive(Debug)]
pub(crate) struct ThreadClock {
    #[cfg(all(target_os = "linux", not(miri)))]
    thread: (libc::c_long, Option<libc::clockid_t>),
    /// Opened when it is first read, which most threads that end soon never come to.
    #[cfg(all(target_os = "linux", not(miri)))]
    stat: std::cell::OnceCell<Option<std::fs::File>>,
}

impl ThreadClock {
    pub(crate) fn of_this_thread() -> Self {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let mut id = 0;
            // SAFETY: the calling thread's handle is valid, and `id` is a place for the answer.
            let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id) };
            // SAFETY: it has no arguments, and always succeeds. glibc has a function for it since
            // 2.30 only.
            let tid = unsafe { libc::syscall(libc::SYS_gettid) };
            Self { thread: (tid, (error == 0).then_some(id)), stat: std::cell::OnceCell::new() }
        }
        #[cfg(not(all(target_os = "linux", not(miri))))]
        Self {}
    }

    /// The CPU time used so far; always zero where there is no such clock, as if the thread slept.
    pub(crate) fn cpu_time(&self) -> Duration {
        #[cfg(all(target_os = "linux", not(miri)))]
        if let Some(id) = self.thread.1 {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `time` is a place for the answer; a clock that is gone is an error.
            if unsafe { libc::clock_gettime(id, &raw mut time) } == 0 {
                let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
                return Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0));
            }
        }
        Duration::ZERO
    }

    /// Whether the thread sleeps, if the system shows that.
    pub(crate) fn is_asleep(&self) -> Option<bool> {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            use std::os::unix::fs::FileExt;

            let open =
                || std::fs::File::open(format!("/proc/self/task/{}/stat", self.thread.0)).ok();
            let mut text = [0; 64];
            let length = self.stat.get_or_init(open).as_ref()?.read_at(&mut text, 0).ok()?;
            // The state is a letter behind the name, which is in parentheses and may have some
            // itself.
            let name_end = text[..length].iter().rposition(|byte| *byte == b')')?;
            text.get(name_end + 2).map(|state| *state != b'R')
        }
        #[cfg(not(all(target_os = "linux", not(miri))))]
        None
    }
}

/// Asks the core to fetch the cache line at `address` to write to it, and goes on meanwhile. Any
/// address will do.
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
/// glibc makes the heap of any thread but the first usable page by page, with a system call each: a
/// fifth of what it costs to spawn a goroutine. To ask it for many pages now and then, and give
/// them back untouched, saves most of these calls. It asks glibc itself, so a program with another
/// allocator sees nothing of it, and pays a few nanoseconds a page.
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
        // SAFETY: what is allocated, if it is, is freed; the compiler must not know that it is not
        // used.
        unsafe { libc::free(std::hint::black_box(libc::malloc(Self::STEP))) };
    }
}
