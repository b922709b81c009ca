//! Platform-dependent functions: fences, a thread's CPU clock, a CPU's cycle counter, handlers of
//! forks, of signals and of the console, prefetching, the allocator's reserve.
//!
//! Miri, which supports neither `membarrier(2)` nor a thread's clock, uses the fallbacks for other
//! systems.

use std::ffi::c_long;
#[cfg(all(feature = "net", unix))]
use std::net::SocketAddr;
use std::sync::Once;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::loom::atomic::{Ordering, fence};

/// A full fence. On x86 this is a locked instruction on the stack, which takes half the time of
/// `mfence`.
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
/// Returns false if the kernel no longer offers it, for example after the process has entered a
/// sandbox.
#[must_use = "without the fence nothing is ordered"]
pub(crate) fn heavy_fence() -> bool {
    if is_light() {
        return process_fence();
    }
    fence(Ordering::SeqCst);
    true
}

/// As [`heavy_fence`]. If the kernel refuses the fence, this sleeps until every store has left its
/// core.
pub(crate) fn heavy_fence_or_sleep() {
    if !heavy_fence() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Issues a full fence on every running thread of the process, at a [point](process_fence_point) of
/// each. Returns false if the kernel does not offer that, or the process is not registered for it.
#[must_use = "without the fence nothing is ordered"]
pub(crate) fn process_fence() -> bool {
    is_light() && membarrier(PRIVATE_EXPEDITED)
}

/// Prevents the compiler from moving this thread's accesses across this point. The CPU may move
/// them unless another thread issues a [`process_fence`].
#[inline(always)]
pub(crate) fn process_fence_point() {
    #[cfg(not(gopark_loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(gopark_loom)]
    fence(Ordering::SeqCst);
}

/// Prepares the asymmetric fence. Returns true if its light half costs less than a full fence.
pub(crate) fn has_light_fence() -> bool {
    register_fences();
    is_light()
}

/// Prepares the asymmetric fence. Must be called before the first worker starts.
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

/// Calls `membarrier(2)`. Returns false if the system has none.
fn membarrier(command: c_long) -> bool {
    #[cfg(all(target_os = "linux", not(any(gopark_loom, miri))))]
    // SAFETY: membarrier takes three integers and does not access the process's memory.
    return unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 };
    #[cfg(not(all(target_os = "linux", not(any(gopark_loom, miri)))))]
    {
        let _ = command;
        fence(Ordering::SeqCst);
        cfg!(gopark_loom)
    }
}

/// Waits until the descriptor is readable, for at most `limit`. The limit is exact, unlike that of
/// `epoll_wait`, which counts milliseconds.
#[cfg(all(feature = "net", any(target_os = "linux", target_os = "android")))]
#[cfg_attr(gopark_loom, allow(dead_code))]
pub(crate) fn wait_readable(fd: libc::c_int, limit: Duration) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: one descriptor, and a time on this stack frame.
    unsafe { libc::ppoll(&raw mut poll, 1, &raw const limit, std::ptr::null()) };
}

/// Returns true if the descriptor can be read, or written, now, or if the system cannot tell.
#[cfg(all(feature = "net", unix))]
pub(crate) fn is_ready(fd: libc::c_int, writes: bool) -> bool {
    let events = if writes { libc::POLLOUT } else { libc::POLLIN };
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one descriptor, and no wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) != 0 }
}

/// Returns the local and the peer address of an internet socket.
#[cfg(all(feature = "net", unix))]
pub(crate) fn socket_addrs(fd: libc::c_int) -> (Option<SocketAddr>, Option<SocketAddr>) {
    // SAFETY: the caller says that it is open. If other code has closed it, the calls fail.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let socket = socket2::SockRef::from(&fd);
    let address = |address: std::io::Result<socket2::SockAddr>| address.ok()?.as_socket();
    (address(socket.local_addr()), address(socket.peer_addr()))
}

/// Returns the number of threads of the process, if the system shows it.
pub(crate) fn count_threads() -> Option<usize> {
    if cfg!(target_os = "linux") {
        Some(std::fs::read_dir("/proc/self/task").ok()?.count())
    } else {
        None
    }
}

/// Distinguishes whether a thread sleeps, or runs or waits for a core. One other thread may use it
/// while the observed thread lives.
///
/// A thread's CPU clock stops both while the thread sleeps and while it waits for a core. On Linux
/// its state in `/proc` distinguishes the two. (`schedstat` does not: the time that a thread has
/// waited for a core is counted only when it gets one.)
#[derive(Debug)]
pub(crate) struct ThreadClock {
    #[cfg(all(target_os = "linux", not(miri)))]
    thread: (libc::c_long, Option<libc::clockid_t>),
    /// Opened at the first read, which most short-lived threads never need.
    #[cfg(all(target_os = "linux", not(miri)))]
    stat: std::cell::OnceCell<Option<std::fs::File>>,
}

impl ThreadClock {
    pub(crate) fn of_this_thread() -> Self {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let mut id = 0;
            // SAFETY: the calling thread's handle is valid, and `id` has room for the answer.
            let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id) };
            // SAFETY: it has no arguments, and always succeeds. glibc has a function for it only
            // since 2.30.
            let tid = unsafe { libc::syscall(libc::SYS_gettid) };
            Self { thread: (tid, (error == 0).then_some(id)), stat: std::cell::OnceCell::new() }
        }
        #[cfg(not(all(target_os = "linux", not(miri))))]
        Self {}
    }

    /// Returns the CPU time used so far; always zero if there is no such clock, as if the thread
    /// slept.
    pub(crate) fn cpu_time(&self) -> Duration {
        #[cfg(all(target_os = "linux", not(miri)))]
        if let Some(id) = self.thread.1 {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `time` has room for the answer; the clock of a thread that has ended causes
            // an error.
            if unsafe { libc::clock_gettime(id, &raw mut time) } == 0 {
                let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
                return Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0));
            }
        }
        Duration::ZERO
    }

    /// Returns whether the thread sleeps, if the system shows it.
    pub(crate) fn is_asleep(&self) -> Option<bool> {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            use std::os::unix::fs::FileExt;

            let open =
                || std::fs::File::open(format!("/proc/self/task/{}/stat", self.thread.0)).ok();
            let mut text = [0; 64];
            let length = self.stat.get_or_init(open).as_ref()?.read_at(&mut text, 0).ok()?;
            // The state is a letter after the name, which is in parentheses and may contain some.
            let name_end = text[..length].iter().rposition(|byte| *byte == b')')?;
            text.get(name_end + 2).map(|state| *state != b'R')
        }
        #[cfg(not(all(target_os = "linux", not(miri))))]
        None
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
pub(crate) use counter::{Count, CycleCounter, OfCounter};

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod counter {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A CPU, and a value of its cycle counter.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Count {
        pub(crate) cpu: u64,
        pub(crate) cycles: u64,
    }

    impl Count {
        /// Returns the cycles since an earlier count of the same CPU; a huge number if the counter
        /// has restarted since.
        #[inline(always)]
        pub(crate) fn since(self, earlier: Self) -> Option<u64> {
            (self.cpu == earlier.cpu).then(|| self.cycles.wrapping_sub(earlier.cycles))
        }
    }

    /// The proof that the CPUs have a cycle counter that counts at a constant pace, and the
    /// instruction `rdpid`.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct CycleCounter(());

    impl CycleCounter {
        pub(crate) fn find() -> Option<Self> {
            #[allow(unused_unsafe, reason = "safe in later versions of the language")]
            // SAFETY: every x86-64 has the instruction.
            let cpuid = |leaf| unsafe { __cpuid(leaf) };
            let is_found = cpuid(0).eax >= 7
                && cpuid(7).ecx & (1 << 22) != 0
                && cpuid(0x8000_0000).eax >= 0x8000_0007
                && cpuid(0x8000_0007).edx & (1 << 8) != 0;
            is_found.then_some(Self(()))
        }

        /// Reads the counter. Returns `None` if the thread was moved to another CPU meanwhile.
        #[inline(always)]
        pub(crate) fn read(self) -> Option<Count> {
            let (before, low, high, after): (u64, u64, u64, u64);
            // SAFETY: the instructions exist, as `self` proves, and only write registers. The
            // compiler does not move them, because it must assume that they access memory.
            unsafe {
                asm!(
                    "rdpid {}", "rdtsc", "rdpid {}",
                    out(reg) before, out(reg) after, out("rax") low, out("rdx") high,
                    options(nostack, preserves_flags)
                );
            }
            (before == after).then_some(Count { cpu: before, cycles: (high << 32) | low })
        }
    }

    /// A number that was derived from the counter, zero at first. To read another one proves that
    /// there is a counter.
    #[derive(Debug)]
    pub(crate) struct OfCounter(AtomicU64);

    impl OfCounter {
        pub(crate) const fn new() -> Self {
            Self(AtomicU64::new(0))
        }

        pub(crate) fn set(&self, _: CycleCounter, number: u64) {
            self.0.store(number, Ordering::Relaxed);
        }

        #[inline(always)]
        pub(crate) fn get(&self) -> Option<(CycleCounter, u64)> {
            match self.0.load(Ordering::Relaxed) {
                0 => None,
                number => Some((CycleCounter(()), number)),
            }
        }
    }
}

/// Registers `handler` to run in each child that is forked from now on, before `fork` returns. It
/// must be async-signal-safe: it may use atomics, and thread-locals without a destructor. If there
/// is no memory to register it, it does not run.
pub(crate) fn in_forked_child(handler: extern "C" fn()) {
    #[cfg(all(
        any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
        not(any(gopark_loom, miri))
    ))]
    {
        use std::ffi::c_int;
        type Handler = Option<extern "C" fn()>;
        // SAFETY: this is the declaration of POSIX.
        unsafe extern "C" {
            fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
        }
        // SAFETY: the handler can be called at any time.
        unsafe { pthread_atfork(None, None, Some(handler)) };
    }
    let _ = handler;
}

#[cfg(all(unix, not(any(miri, gopark_loom))))]
pub(crate) mod signals {
    //! The handler of all signals. It notes a signal at each [`Post`] that wants it, and then
    //! performs the previous action.

    use std::ffi::{c_int, c_void};
    use std::io::{self, Write as _};
    use std::os::unix::net::UnixStream;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
    use std::{mem, ptr};

    /// The largest number of a signal.
    pub(crate) const MAX: c_int = 64;

    /// Returns the bit of a signal in the words of a [`Post`].
    pub(crate) fn bit(signal: c_int) -> u64 {
        debug_assert!((1..=MAX).contains(&signal));
        1 << (signal - 1)
    }

    /// The signals that a thread waits for, and those that have arrived.
    #[derive(Debug)]
    pub(crate) struct Post {
        wanted: AtomicU64,
        /// The signals that have arrived and were not yet read. The handler that raises this from
        /// zero writes a byte to the bell.
        noted: AtomicU64,
        bell: OnceLock<UnixStream>,
    }

    /// The post of the thread that writes dumps.
    pub(crate) static DUMP: Post = Post::new();
    /// The post of the thread that serves `signal`.
    #[cfg(feature = "net")]
    pub(crate) static SERVICE: Post = Post::new();

    pub(crate) fn posts() -> impl Iterator<Item = &'static Post> {
        [
            &DUMP,
            #[cfg(feature = "net")]
            &SERVICE,
        ]
        .into_iter()
    }

    impl Post {
        const fn new() -> Self {
            Self { wanted: AtomicU64::new(0), noted: AtomicU64::new(0), bell: OnceLock::new() }
        }

        /// Returns the stream in which a byte arrives when a signal was noted. A post is opened
        /// once in the lifetime of the process.
        pub(crate) fn open(&self) -> io::Result<UnixStream> {
            let (ear, bell) = UnixStream::pair()?;
            // A handler must not block.
            bell.set_nonblocking(true)?;
            self.bell.set(bell).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
            Ok(ear)
        }

        pub(crate) fn want(&self, signals: u64) {
            // Release: pairs with the Acquire in `note`, and publishes the bell.
            self.wanted.fetch_or(signals, Ordering::Release);
        }

        pub(crate) fn want_no_more(&self, signals: u64) {
            self.wanted.fetch_and(!signals, Ordering::Relaxed);
        }

        pub(crate) fn wanted(&self) -> u64 {
            self.wanted.load(Ordering::Relaxed)
        }

        /// Returns the signals that have arrived since the last call.
        pub(crate) fn take(&self) -> u64 {
            self.noted.swap(0, Ordering::Relaxed)
        }

        /// Notes a signal, if the post wants it. Async-signal-safe. The write does not fail, so it
        /// does not change the `errno` of the interrupted thread: the stream has room, because
        /// there are no more bytes in it than signals.
        fn note(&self, signal: c_int) {
            if self.wanted.load(Ordering::Acquire) & bit(signal) != 0
                && self.noted.fetch_or(bit(signal), Ordering::Relaxed) == 0
            {
                self.bell.get().into_iter().for_each(|mut bell| drop(bell.write(&[0])));
            }
        }
    }

    /// The previous action of each signal. Never freed, because a handler may be about to perform
    /// it.
    static BEFORE: [AtomicPtr<libc::sigaction>; MAX as usize + 1] =
        [const { AtomicPtr::new(ptr::null_mut()) }; MAX as usize + 1];

    fn before(signal: c_int) -> Option<&'static libc::sigaction> {
        // SAFETY: it is null or an action that is never freed. Acquire: pairs with the Release in
        // `install`.
        unsafe { BEFORE[signal as usize].load(Ordering::Acquire).as_ref() }
    }

    /// # Safety
    ///
    /// Only the system calls it, for a signal.
    // SAFETY: the condition is documented under "Safety" above.
    unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        posts().for_each(|post| post.note(signal));
        let Some(before) = before(signal) else { return };
        match before.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {}
            function if before.sa_flags & libc::SA_SIGINFO != 0 => {
                type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                // SAFETY: this is the type of a handler with `SA_SIGINFO`, which was installed for
                // this signal.
                let function = unsafe { mem::transmute::<usize, Handler>(function) };
                // SAFETY: the arguments are the system's.
                unsafe { function(signal, info, context) };
            }
            function => {
                // SAFETY: this is the type of a handler without `SA_SIGINFO`, as above.
                let function: extern "C" fn(c_int) = unsafe { mem::transmute(function) };
                function(signal);
            }
        }
    }

    fn our_action() -> libc::sigaction {
        let handler: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handler;
        // SAFETY: all zeros is a valid action: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_SIGINFO;
        action
    }

    fn is_ours(action: &libc::sigaction) -> bool {
        action.sa_sigaction == our_action().sa_sigaction
    }

    fn check(result: c_int) -> io::Result<()> {
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn action_of(signal: c_int) -> io::Result<libc::sigaction> {
        // SAFETY: all zeros is a valid action.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: this only queries the action, and there is room for the answer.
        check(unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) })?;
        Ok(action)
    }

    fn set_action(signal: c_int, action: &libc::sigaction) -> io::Result<()> {
        // SAFETY: the action is this file's, which is async-signal-safe, or the signal's previous
        // one.
        check(unsafe { libc::sigaction(signal, action, ptr::null_mut()) })
    }

    /// Installs the handler for a signal, unless it is the current one. The caller must know that
    /// no handler on top of it calls it already.
    pub(crate) fn install(signal: c_int) -> io::Result<()> {
        let now = action_of(signal)?;
        if is_ours(&now) {
            return Ok(());
        }
        let same = |known: &libc::sigaction| {
            known.sa_sigaction == now.sa_sigaction && known.sa_flags == now.sa_flags
        };
        if !before(signal).is_some_and(same) {
            BEFORE[signal as usize].store(Box::into_raw(Box::new(now)), Ordering::Release);
        }
        set_action(signal, &our_action())
    }

    /// Restores the previous action of a signal. Returns false if the handler is not the current
    /// one.
    pub(crate) fn restore(signal: c_int) -> bool {
        action_of(signal).is_ok_and(|now| is_ours(&now))
            && before(signal).is_some_and(|before| set_action(signal, before).is_ok())
    }

    /// Raises the signal if its current action is the default one, which it then performs.
    #[cfg(feature = "net")]
    pub(crate) fn raise_default(signal: c_int) {
        if action_of(signal).is_ok_and(|action| action.sa_sigaction == libc::SIG_DFL) {
            // SAFETY: a signal to this process.
            unsafe { libc::kill(libc::getpid(), signal) };
        }
    }
}

/// Installs or removes the handler of the console's events, which Windows calls on a thread of its
/// own.
#[cfg(all(feature = "net", windows))]
pub(crate) fn handle_console(
    handler: extern "system" fn(u32) -> i32,
    install: bool,
) -> std::io::Result<()> {
    type Handler = extern "system" fn(u32) -> i32;
    #[link(name = "kernel32")]
    // SAFETY: this is the declaration of the Windows API.
    unsafe extern "system" {
        fn SetConsoleCtrlHandler(handler: Option<Handler>, add: i32) -> i32;
    }
    // SAFETY: a safe function can be called at any time, on any thread.
    if unsafe { SetConsoleCtrlHandler(Some(handler), i32::from(install)) } != 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error())
}

/// Prefetches the cache line at `address` for a write, without waiting. Any address is allowed.
#[inline(always)]
pub(crate) fn prefetch_write(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(any(gopark_loom, miri))))]
    // SAFETY: this is a hint; CPUs without the instruction treat it as a no-op.
    unsafe {
        std::arch::asm!(
            "prefetchw [{}]",
            in(reg) address,
            options(readonly, nostack, preserves_flags)
        );
    }
    #[cfg(all(target_arch = "aarch64", not(any(gopark_loom, miri))))]
    // SAFETY: this is a hint.
    unsafe {
        std::arch::asm!(
            "prfm pstl1keep, [{}]",
            in(reg) address,
            options(readonly, nostack, preserves_flags)
        );
    }
    let _ = address;
}

/// A reserve in this thread's heap, for a thread that allocates many small objects.
///
/// Except for the first thread, glibc makes a thread's heap usable page by page, with a system call
/// for each: a fifth of the cost of spawning a goroutine. Allocating many pages from time to time,
/// and freeing them untouched, saves most of these calls. This calls glibc directly, so a program
/// with another allocator is not affected, and pays a few nanoseconds per page.
#[derive(Debug)]
pub(crate) struct Room {
    /// The address up to which the heap is usable.
    end: std::cell::Cell<usize>,
}

impl Room {
    /// Less than the size at which a free makes glibc trim the heap (64 KiB).
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const STEP: usize = 60 << 10;

    pub(crate) const fn new() -> Self {
        Self { end: std::cell::Cell::new(0) }
    }

    /// Must be called after a small allocation at `address`. Extends the reserve if that is beyond
    /// it.
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
        // SAFETY: the allocation is freed at once, and a null pointer may be freed. `black_box`
        // keeps the compiler from removing the unused pair.
        unsafe { libc::free(std::hint::black_box(libc::malloc(Self::STEP))) };
    }
}
