//! The handler of all signals, and how it is installed.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use super::set::Signals;
use crate::panics::lock;

/// The signals that a thread waits for, and those that have arrived.
#[derive(Debug)]
pub(crate) struct Post {
    wanted: AtomicU64,
    /// The signals that have arrived and were not yet read. The handler that raises this from zero
    /// writes a byte to the pipe.
    noted: AtomicU64,
    /// The write end of the pipe. It stays open.
    bell: AtomicI32,
}

impl Post {
    const fn new() -> Self {
        Self { wanted: AtomicU64::new(0), noted: AtomicU64::new(0), bell: AtomicI32::new(-1) }
    }

    /// Notes a signal, if the post wants it. Async-signal-safe. The write does not fail, so it does
    /// not change the `errno` of the interrupted thread: the pipe has room, because there are no
    /// more bytes in it than signals.
    fn note(&self, signal: c_int) {
        let bit = Signals::of(signal).0;
        // Acquire: pairs with the Release in `catch`, so the bell is set.
        if self.wanted.load(Ordering::Acquire) & bit != 0
            && self.noted.fetch_or(bit, Ordering::Relaxed) == 0
        {
            // SAFETY: `write` is async-signal-safe; the byte is on the stack.
            unsafe { libc::write(self.bell.load(Ordering::Relaxed), [0u8].as_ptr().cast(), 1) };
        }
    }
}

/// The post of the thread that writes dumps.
pub(crate) static DUMP: Post = Post::new();
/// The post of the thread that serves `signal`.
#[cfg(feature = "net")]
pub(crate) static SERVICE: Post = Post::new();

fn posts() -> impl Iterator<Item = &'static Post> {
    [
        &DUMP,
        #[cfg(feature = "net")]
        &SERVICE,
    ]
    .into_iter()
}

const NUMBERS: usize = Signals::MAX as usize + 1;

/// The previous action of each signal. Never freed, because a handler may be about to perform it.
static BEFORE: [AtomicPtr<libc::sigaction>; NUMBERS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; NUMBERS];

/// The signals for which the handler is installed. It is installed and removed under this lock.
static INSTALLED: Mutex<Signals> = Mutex::new(Signals::NONE);

extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    posts().for_each(|post| post.note(signal));
    // SAFETY: it is null or an action that is never freed. Acquire: pairs with the Release in
    // `install`.
    let Some(before) = (unsafe { BEFORE[signal as usize].load(Ordering::Acquire).as_ref() }) else {
        return;
    };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {}
        function if before.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            // SAFETY: this is the type of a handler with `SA_SIGINFO`, which was installed for this
            // signal.
            let function: Handler = unsafe { mem::transmute(function) };
            function(signal, info, context);
        }
        function => {
            // SAFETY: this is the type of a handler without `SA_SIGINFO`, as above.
            let function: extern "C" fn(c_int) = unsafe { mem::transmute(function) };
            function(signal);
        }
    }
}

fn our_action() -> libc::sigaction {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handler;
    // SAFETY: all zeros is a valid action: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_SIGINFO;
    action
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
    // SAFETY: the action is this file's, which is async-signal-safe, or the previous one.
    check(unsafe { libc::sigaction(signal, action, ptr::null_mut()) })
}

fn before(signal: c_int) -> Option<&'static libc::sigaction> {
    // SAFETY: it is null or an action that is never freed.
    unsafe { BEFORE[signal as usize].load(Ordering::Acquire).as_ref() }
}

fn install(signal: c_int, installed: &mut Signals) -> io::Result<()> {
    // If it is installed, but other code has installed a handler on top, that one calls it. If it
    // were installed again, the two would call each other.
    if !installed.has(signal) {
        let now = action_of(signal)?;
        let same = |known: &libc::sigaction| {
            known.sa_sigaction == now.sa_sigaction && known.sa_flags == now.sa_flags
        };
        if !before(signal).is_some_and(same) {
            BEFORE[signal as usize].store(Box::into_raw(Box::new(now)), Ordering::Release);
        }
        set_action(signal, &our_action())?;
        *installed = installed.with(Signals::of(signal));
    }
    Ok(())
}

fn remove(signal: c_int, installed: &mut Signals) {
    let is_ours = action_of(signal).is_ok_and(|now| now.sa_sigaction == our_action().sa_sigaction);
    let removed =
        is_ours && before(signal).is_some_and(|before| set_action(signal, before).is_ok());
    if removed {
        *installed = installed.without(Signals::of(signal));
    }
}

/// Catches signals until it is dropped.
#[derive(Debug)]
pub(crate) struct Catcher {
    post: &'static Post,
    bell: OwnedFd,
}

impl Catcher {
    /// Opens the catcher of a post. A post has one catcher in the lifetime of the process.
    pub(crate) fn open(post: &'static Post) -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: there is room for both ends.
        check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
        // SAFETY: from now on the catcher alone owns the read end; the handler uses the write end,
        // which stays open.
        let bell = unsafe { OwnedFd::from_raw_fd(ends[0]) };
        for end in ends {
            // SAFETY: they were just opened.
            unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        // SAFETY: as above. A handler must not block.
        unsafe { libc::fcntl(ends[1], libc::F_SETFL, libc::O_NONBLOCK) };
        post.bell.store(ends[1], Ordering::Relaxed);
        Ok(Self { post, bell })
    }

    /// Begins to catch the signal, instead of its default action.
    pub(crate) fn catch(&self, signal: i32) -> io::Result<()> {
        let mut installed = lock(&INSTALLED);
        // Before the handler may run. Release: pairs with the Acquire in `note`, and publishes the
        // bell.
        self.post.wanted.fetch_or(Signals::of(signal).0, Ordering::Release);
        let result = install(signal, &mut installed);
        if result.is_err() {
            self.post.wanted.fetch_and(!Signals::of(signal).0, Ordering::Relaxed);
        }
        result
    }

    /// Stops catching the signal. If no post wants it, its previous action is restored.
    pub(crate) fn release(&self, signal: i32) {
        let mut installed = lock(&INSTALLED);
        self.post.wanted.fetch_and(!Signals::of(signal).0, Ordering::Relaxed);
        let is_wanted =
            posts().any(|post| Signals(post.wanted.load(Ordering::Relaxed)).has(signal));
        if !is_wanted {
            remove(signal, &mut installed);
        }
    }

    /// Waits for signals, for at most `limit` if there is one.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Signals {
        let millis = |limit: Duration| limit.as_nanos().div_ceil(1_000_000);
        let limit = limit.map_or(-1, |limit| c_int::try_from(millis(limit)).unwrap_or(c_int::MAX));
        let fd = self.bell.as_raw_fd();
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut bytes = [0u8; 64];
        // SAFETY: one descriptor, which is open.
        let rang = unsafe { libc::poll(&raw mut poll, 1, limit) } > 0;
        // SAFETY: the descriptor is open, and there is room for so many bytes.
        if !rang || unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) } <= 0 {
            return Signals::NONE;
        }
        // After the read, so that a signal that arrives from now on writes another byte.
        Signals(self.post.noted.swap(0, Ordering::Relaxed))
    }
}

/// Releases all signals.
impl Drop for Catcher {
    fn drop(&mut self) {
        Signals(self.post.wanted.load(Ordering::Relaxed))
            .each()
            .for_each(|signal| self.release(signal));
    }
}

/// Raises the signal if its current action is the default one, which it then performs.
#[cfg(feature = "net")]
pub(crate) fn raise_default(signal: i32) {
    if action_of(signal).is_ok_and(|action| action.sa_sigaction == libc::SIG_DFL) {
        // SAFETY: a signal to this process.
        unsafe { libc::kill(libc::getpid(), signal) };
    }
}
