//! The panics of a forked process. `fork` copies only one thread: the child has no worker.

use std::future::pending;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_lite::future::block_on as block_thread_on;
use gopark::context::Context;
use gopark::sync::WaitGroup;
use gopark::time::{self, Ticker, Timer};
use gopark::{
    JoinSet, Runtime, block_on, block_on_local, chan, go, gomaxprocs, gosched, num_goroutine,
    select, sync,
};

use crate::util::{in_child, isolated, rt};

const REFUSAL: &str = "gopark: this process was forked from one in which gopark had threads, \
                       and has none of them: fork before the first runtime, or `exec` in the child";
const HOUR: Duration = Duration::from_secs(3600);

/// The file in which the last panic happened.
static FILE: Mutex<String> = Mutex::new(String::new());

fn note_panics() {
    std::panic::set_hook(Box::new(|info| {
        let file = info.location().map(|location| location.file().to_owned());
        *FILE.lock().unwrap() = file.unwrap_or_default();
    }));
}

/// Runs `body` in a forked process, which is killed if it hangs. Returns its status, as `waitpid`
/// gives it.
fn forked(body: impl FnOnce()) -> libc::c_int {
    // SAFETY: the child does only what a single thread may do after a fork, and ends itself.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: as above.
            unsafe { libc::alarm(20) };
            let result = catch_unwind(AssertUnwindSafe(body));
            if let Err(payload) = &result {
                let _ = writeln!(std::io::stderr(), "in the forked process: {}", text(&**payload));
            }
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is valid for the result.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status
        }
    }
}

fn text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

/// `f` panics with the text.
fn is_refused<R>(what: &str, f: impl FnOnce() -> R) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { panic!("{what} was not refused") };
    assert_eq!(text(&*payload), REFUSAL, "{what}");
}

/// The same, and the location is the caller's.
fn is_refused_here<R>(what: &str, f: impl FnOnce() -> R) {
    is_refused(what, f);
    let file = FILE.lock().unwrap().clone();
    assert!(file.ends_with("tests/it/fork.rs"), "{what} panicked in {file}");
}

fn everything_is_refused(rt: &Runtime) {
    is_refused_here("go", || go(async {}));
    is_refused_here("block_on", || block_on(async {}));
    is_refused_here("block_on_local", || block_on_local(async {}));
    is_refused_here("gomaxprocs", || gomaxprocs(0));
    is_refused_here("num_goroutine", || assert_eq!(num_goroutine(), 0));
    is_refused_here("WaitGroup::go", || WaitGroup::new().go(async {}));
    is_refused_here("Runtime::go", || rt.go(async {}));
    is_refused_here("Runtime::block_on", || rt.block_on(async {}));
    is_refused_here("Runtime::block_on_local", || rt.block_on_local(async {}));
    is_refused_here("Runtime::gomaxprocs", || rt.gomaxprocs(1));
    is_refused_here("Runtime::num_goroutine", || rt.num_goroutine());
    is_refused_here("Runtime::new", || drop(Runtime::new()));
    assert_eq!(Runtime::builder().build().unwrap_err().to_string(), REFUSAL);
    is_refused("unblock", || block_thread_on(gopark::unblock(|| ())));
    // A panic hook may call this.
    assert!(gopark::inspect::goroutines().is_empty(), "goroutines are found");
    timers_are_refused();
}

fn timers_are_refused() {
    is_refused("sleep", || block_thread_on(time::sleep(HOUR)));
    is_refused("timeout", || block_thread_on(time::timeout(HOUR, pending::<()>())));
    is_refused("after", || time::after(HOUR));
    is_refused("Timer::new", || Timer::new(HOUR));
    is_refused("Ticker::new", || Ticker::new(HOUR));
    is_refused("Timer::after_func", || Timer::after_func(HOUR, async {}));
    is_refused("with_timeout", || Context::background().with_timeout(HOUR));
}

fn what_needs_no_thread_works() {
    let (tx, rx) = chan::bounded(1);
    tx.try_send(1).unwrap();
    assert_eq!(rx.recv_blocking(), Some(1));
    block_thread_on(async {
        tx.send(2).await.unwrap();
        assert_eq!(select! { v = rx.recv() => v, default => None }, Some(2));
        let mutex = sync::Mutex::new(());
        let _held = mutex.lock().await;
        gosched().await;
        time::sleep(Duration::ZERO).await;
    });
}

/// A bug: the child has none of the runtime's threads, so `go`, `block_on` and timers hung there.
#[test]
fn the_child_of_a_process_with_runtimes_is_refused_another_life() {
    isolated(|| {
        note_panics();
        let rt = rt(2);
        rt.block_on(async { go(async { gosched().await }).await.unwrap() });
        block_on(async { time::sleep(Duration::from_millis(1)).await });
        let status = forked(|| {
            what_needs_no_thread_works();
            everything_is_refused(&rt);
        });
        assert_eq!(status, 0);
        // On a thread that has a current runtime.
        let status = rt.block_on_local(async {
            forked(|| {
                everything_is_refused(&rt);
            })
        });
        assert_eq!(status, 0);
        // The parent continues.
        assert_eq!(rt.block_on(async { go(async { 7 }).await.unwrap() }), 7);
    });
}

#[test]
fn a_set_that_was_refused_a_goroutine_does_not_count_it() {
    isolated(|| {
        note_panics();
        block_thread_on(time::sleep(Duration::from_millis(1)));
        let status = forked(|| {
            let mut set = JoinSet::new();
            is_refused_here("JoinSet::go", || set.go(async {}));
            assert!(set.is_empty(), "{set:?}");
            assert!(block_thread_on(set.join_next()).is_none());
        });
        assert_eq!(status, 0);
    });
}

/// A bug: the drop waited for threads that the child does not have.
#[test]
fn a_runtime_is_dropped_in_a_forked_process_at_once() {
    isolated(|| {
        let mut rt = Some(rt(1));
        rt.as_ref().unwrap().go(pending::<()>());
        let start = Instant::now();
        let status = forked(|| drop(rt.take()));
        assert_eq!(status, 0);
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(rt.unwrap().shutdown_timeout(HOUR), 0);
    });
}

#[test]
fn the_child_of_a_process_with_timers_alone_is_told() {
    isolated(|| {
        block_thread_on(time::sleep(Duration::from_millis(1)));
        let status = forked(|| {
            timers_are_refused();
            is_refused("go", || go(async {}));
        });
        assert_eq!(status, 0);
    });
}

#[test]
fn the_child_of_a_process_without_threads_of_ours_has_runtimes_of_its_own() {
    isolated(|| {
        let (tx, rx) = chan::bounded(1);
        tx.try_send(1).unwrap();
        let status = forked(|| {
            assert_eq!(
                block_on(async { go(async move { rx.recv().await }).await.unwrap() }),
                Some(1)
            );
            assert_eq!(
                rt(2).block_on(async { time::timeout(HOUR, async { 5 }).await.unwrap() }),
                5
            );
            block_thread_on(time::sleep(Duration::from_millis(1)));
        });
        assert_eq!(status, 0);
        assert_eq!(block_on(async { 3 }), 3);
    });
}

#[test]
fn a_goroutine_that_forked_may_not_give_way_in_the_child() {
    let Some(ended) = in_child(&[]) else {
        let rt = rt(1);
        let status = rt.block_on(async {
            // SAFETY: the child ends itself.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: as above.
                unsafe { libc::alarm(20) };
                is_refused("go", || go(async {}));
                is_refused("block_on", || block_on(async {}));
                timers_are_refused();
                gosched().await;
                // SAFETY: as above.
                unsafe { libc::_exit(3) };
            }
            let mut status = 0;
            // SAFETY: `status` is valid for the result.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            status
        });
        assert!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT,
            "{status:#x}"
        );
        return;
    };
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stderr.contains(REFUSAL), "{ended:#?}");
}
