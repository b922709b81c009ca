//! What becomes of a process that is forked from one in which the crate has threads: it has none of
//! them, and says so.
//!
//! `fork(2)` copies the calling thread alone. In the child no worker runs goroutines and no thread
//! fires timers, and a lock that another thread held is held for ever: a runtime can neither go on
//! nor begin there. So the child is marked. What needs a runtime finds that the thread has no
//! current one, and looks at the mark in the places that it comes by then.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// The panic message of `go`, `block_on` and timers in such a child.
pub(crate) const REFUSAL: &str = "gopark: this process was forked from one in which gopark had threads, and has none of them: \
                                  fork before the first runtime, or `exec` in the child";

/// Set in the child, by the thread that forked, before `fork` returns; never reset.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// True in a process that was forked from one in which the crate had threads.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Panics at the caller in such a process.
#[track_caller]
pub(crate) fn refuse() {
    assert!(!is_child(), "{REFUSAL}");
}

/// The thread of such a process is a worker, whose goroutine forked and now gives way. There is
/// nothing for it to do.
#[cold]
pub(crate) fn abort_worker() {
    if is_child() {
        use std::io::Write;
        let _ = writeln!(
            std::io::stderr(),
            "{REFUSAL}; the goroutine that forked gave way in the child"
        );
        std::process::abort();
    }
}

/// Marks the children from here on. Called before each start of a thread.
pub(crate) fn watch() {
    extern "C" fn mark() {
        IS_CHILD.store(true, Ordering::Relaxed);
    }
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| in_child(mark));
}

/// Lets `handler` run in each child from here on, before `fork` returns. It must be
/// async-signal-safe: atomics, and thread-locals without a destructor. If there is no memory for
/// it, the child is not told.
pub(crate) fn in_child(handler: extern "C" fn()) {
    #[cfg(all(
        any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
        not(any(gopark_loom, miri))
    ))]
    {
        use std::ffi::c_int;
        type Handler = Option<extern "C" fn()>;
        // SAFETY: POSIX declares it so.
        unsafe extern "C" {
            fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
        }
        // SAFETY: the handler can be called at any time.
        unsafe { pthread_atfork(None, None, Some(handler)) };
    }
    let _ = handler;
}
