//! Support for forked processes: a child of a process in which the crate has threads has none of
//! them, and reports that.
//!
//! `fork(2)` copies only the calling thread. In the child no worker runs goroutines, no thread
//! fires timers, and a lock that another thread held is never released: no runtime can continue or
//! start there. So the child is marked. An operation that needs a runtime finds that the thread has
//! no current one, and then checks the mark.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::platform;

/// The panic message of `go`, `block_on` and timers in such a child.
pub(crate) const REFUSAL: &str = "gopark: this process was forked from one in which gopark had \
    threads, and has none of them: fork before the first runtime, or `exec` in the child";

/// Set in the child, by the thread that forked, before `fork` returns; never reset.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Returns true in a process that was forked from one in which the crate had threads.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Panics in such a process, with the caller's location.
#[track_caller]
pub(crate) fn refuse() {
    assert!(!is_child(), "{REFUSAL}");
}

/// Returns an error in such a process.
#[cfg(feature = "net")]
pub(crate) fn check() -> std::io::Result<()> {
    use std::io::{Error, ErrorKind};
    if is_child() { Err(Error::new(ErrorKind::Unsupported, REFUSAL)) } else { Ok(()) }
}

/// Aborts such a process. Called when its thread is a worker whose goroutine has forked and now
/// gives way: the worker can do nothing more.
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

/// Marks all children that are forked from now on. Called before each start of a thread.
pub(crate) fn watch() {
    extern "C" fn mark() {
        IS_CHILD.store(true, Ordering::Relaxed);
    }
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| platform::in_forked_child(mark));
}
