//! Programs that are stuck, or only seem to be, each in a process without any thread of a test
//! harness. The tests check what the process prints.
//!
//! `cargo test --test stuck NAME` runs those whose name contains NAME.

use std::future::{pending, poll_fn};
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use gopark::context::Context;
use gopark::inspect::{self, GoroutineInfo, GoroutineState, named};
#[cfg(target_os = "linux")]
use gopark::net::UnixStream;
#[cfg(target_os = "linux")]
use gopark::signal::{self, Signal};
use gopark::sync::{Cond, Mutex, Once, RwMutex, Semaphore, WaitGroup};
use gopark::time::{Ticker, sleep, timeout};
use gopark::{
    OnDeadlock, Runtime, block_on, block_on_local, chan, go, go_local, gosched, select, unblock,
};

const SECOND: Duration = Duration::from_secs(1);
const ASLEEP: &str = "gopark: all goroutines are asleep\n";
const PERHAPS: &str =
    "gopark: all goroutines are asleep: nothing inside the runtime can wake them\n";

// -------------------------------------------------------------------------------------- deadlocks

fn philosophers() {
    block_on(async {
        // main: philosophers
        let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let (met, all) = (WaitGroup::new(), WaitGroup::new());
        met.add(2);
        for (first, second) in [(a.clone(), b.clone()), (b, a)] {
            let met = met.clone();
            let philosopher = async move {
                let _first = first.lock().await; // first lock: philosophers
                met.done();
                met.wait().await;
                let _second = second.lock().await; // lock: philosophers
            };
            all.go(named("philosopher", philosopher)); // go: philosophers
        }
        all.wait().await; // wait: philosophers
    });
}

fn philosophers_are_listed(ended: &Ended) {
    ended.has_once(ASLEEP);
    ended.has_line(
        "goroutine 1 (main) [sync.WaitGroup.Wait, ",
        "wait: philosophers",
        "main: philosophers",
    );
    let line =
        format!("at {}, spawned at {}\n", site("lock: philosophers"), site("go: philosophers"));
    assert_eq!(ended.stderr.matches(&line).count(), 2, "{}", ended.stderr);
    assert_eq!(
        ended.stderr.matches("\"philosopher\" [sync.Mutex.Lock, ").count(),
        2,
        "{}",
        ended.stderr
    );
}

fn reads_twice() {
    block_on(async {
        let m = Arc::new(RwMutex::new(()));
        let writer = m.clone();
        let _first = m.rlock().await; // first read
        go(async move { drop(writer.lock().await) });
        while m.try_rlock().is_some() {
            gosched().await;
        }
        let _second = m.rlock().await;
    });
}

fn all_words() {
    block_on(async {
        // main: words
        let rw = Arc::new(RwMutex::new(()));
        let held = rw.lock().await;
        let (tx, rx) = chan::bounded::<u8>(1);
        tx.try_send(1).unwrap();
        let (reader, writer, full) = (rw.clone(), rw.clone(), tx.clone());
        go(async move { drop(reader.rlock().await) }); // go: rlock
        go(async move { drop(writer.lock().await) }); // go: lock
        go(async move { drop(Semaphore::new(1).acquire(2).await) }); // go: semaphore
        go(async move { full.send(2).await }); // go: send
        go(async { chan::Receiver::<u8>::nil().recv().await }); // go: nil receive
        go(async { chan::Sender::<u8>::nil().send(1).await }); // go: nil send
        go(async {
            let mutex = Mutex::new(());
            drop(Cond::new().wait(mutex.lock().await).await); // cond: words
        });
        go(async { select!() }); // go: select
        let (_never, values) = chan::unbuffered::<u8>();
        let mut values = values.into_stream();
        go(async move { values.next().await }); // go: next
        let (_nothing, silent) = chan::unbuffered::<u8>();
        go(async move { gopark::context::Context::background().done().await }); // go: context
        let stuck = go(async move {
            select! { // select: words
                _ = silent.recv() => (),
                _ = chan::Receiver::<u8>::nil().recv() => (),
            }
        });
        stuck.await.unwrap(); // join: words
        drop((held, rx, tx));
    });
}

fn all_words_are_there(ended: &Ended) {
    ended.has_once(ASLEEP);
    for (reason, mark) in [
        ("sync.RWMutex.RLock", "go: rlock"),
        ("sync.RWMutex.Lock", "go: lock"),
        ("semaphore", "go: semaphore"),
        ("chan send", "go: send"),
        ("chan receive (nil chan)", "go: nil receive"),
        ("chan send (nil chan)", "go: nil send"),
        ("select (no cases)", "go: select"),
        ("chan receive", "go: next"),
        ("context.Done", "go: context"),
    ] {
        ended.has_line(&format!(" [{reason}, "), mark, mark);
    }
    ended.has_once(&format!("s] at {}, spawned at ", site("cond: words")));
    ended.has_once(&format!("s] at {}, spawned at ", site("select: words")));
    ended.has_line("goroutine 1 (main) [join, ", "join: words", "main: words");
    ended.has_once(" [sync.Cond.Wait, ");
    ended.has_once(" [select, ");
}

fn a_once_that_waits_for_itself() {
    block_on(async {
        let once = Arc::new(Once::new());
        let (tx, rx) = chan::unbuffered::<()>();
        let other = once.clone();
        let outer = async move || {
            go(async move {
                other.call_once_async(async || ()).await; // once: inner
                drop(tx);
            });
            rx.recv().await;
        };
        once.call_once_async(outer).await; // once: outer
    });
}

fn a_once_is_named(ended: &Ended) {
    ended.has_once(ASLEEP);
    ended.has_once(" [sync.Once, ");
    ended.has_once(&format!(" at {}, spawned at ", site("once: inner")));
}

fn two_runtimes() {
    let (tx, rx) = chan::unbuffered::<u8>();
    let other = Runtime::builder().gomaxprocs(1).build().unwrap();
    let kept = tx.clone();
    other.go(async move { kept.send(1).await.is_ok() && kept.send(2).await.is_ok() }); // go: other
    block_on_local(async move {
        // main: local
        rx.recv().await;
        tx.send(3).await // send: local
    })
    .unwrap();
}

fn two_runtimes_are_listed(ended: &Ended) {
    ended.has_once(ASLEEP);
    ended.has_line("goroutine 1 (main) [chan send, ", "send: local", "main: local");
    ended.has_line(" [chan send, ", "go: other", "go: other");
}

fn a_ticker_without_a_receiver() {
    block_on(async {
        let _ticker = Ticker::new(Duration::from_millis(1));
        drop(Semaphore::new(1).acquire(2).await);
    });
}

/// The thread of main polls it: no processor counts that, and nothing wakes the monitor.
fn a_local_main_that_slept() {
    block_on_local(async {
        sleep(SECOND * 3 / 2).await; // asleep: for longer than a rest
        drop(Semaphore::new(1).acquire(2).await); // local: slept
    });
}

/// Before the end of the sleep the rest of the runtime has been judged for so long that the next
/// judgement is a quarter of a minute away.
fn a_local_main_that_slept_for_long() {
    block_on_local(async {
        sleep(SECOND * 5 / 2).await; // asleep: for longer than a rest is judged often
        drop(Semaphore::new(1).acquire(2).await); // local: slept for long
    });
}

/// The same, but it keeps its thread in one poll meanwhile.
fn a_local_main_in_a_long_poll() {
    block_on_local(async {
        thread::sleep(SECOND * 5 / 2); // asleep: for longer than a rest is judged often
        drop(Semaphore::new(1).acquire(2).await);
    });
}

/// The same with a call whose future was dropped: its end wakes no goroutine.
fn a_blocking_call_that_is_given_up() {
    block_on(async {
        let call = unblock(|| thread::sleep(SECOND * 5 / 2)); // asleep: as above
        assert!(timeout(Duration::from_millis(10), call).await.is_err());
        drop(Semaphore::new(1).acquire(2).await);
    });
}

/// The same with a timer of the driver's thread that wakes no goroutine.
fn a_timer_of_a_local_main() {
    block_on_local(async {
        let _limit = Context::background().with_timeout(SECOND * 5 / 2);
        drop(Semaphore::new(1).acquire(2).await);
    });
}

/// While the thread exists, it may wake the goroutine. Its end is not announced.
fn a_thread_that_ends() {
    block_on(async {
        thread::spawn(|| thread::sleep(3 * SECOND)); // asleep: for longer than a rest
        drop(Semaphore::new(1).acquire(2).await);
    });
}

fn local_goroutines_that_wait() {
    block_on_local(async {
        let (_tx, rx) = chan::unbuffered::<u8>();
        let waits = go_local(async move { rx.recv().await }); // go: local
        drop(waits.await); // local: joins
    });
}

/// Only the local goroutine moves, for longer than a rest.
fn a_local_goroutine_computes() {
    block_on_local(async {
        let computes = go_local(async {
            for _ in 0..3 {
                let begin = Instant::now();
                while begin.elapsed() < SECOND {
                    std::hint::spin_loop();
                }
                gosched().await;
            }
        });
        computes.await.unwrap();
    });
}

/// It can run, but its thread is in the poll of main.
fn a_local_goroutine_waits_for_its_thread() {
    block_on_local(async {
        let runs = go_local(async {});
        thread::sleep(3 * SECOND); // asleep: for longer than a rest
        runs.await.unwrap();
    });
}

fn a_local_main_in_a_context() {
    block_on_local(async {
        let (_tx, rx) = chan::unbuffered::<u8>();
        let ctx = gopark::context::Context::background();
        ctx.run(rx.recv()).await // local: run
    })
    .unwrap();
}

/// Its thread waits for a main that never ends.
fn a_blocking_call_that_calls_block_on() {
    block_on(async {
        unblock(|| {
            // call: inner
            block_on(async {
                // main: inner
                drop(Semaphore::new(1).acquire(2).await); // semaphore: inner
            })
        })
        .await
    });
}

/// The same, on its own thread.
fn a_blocking_call_that_calls_block_on_local() {
    block_on(async {
        unblock(|| block_on_local(async { drop(Semaphore::new(1).acquire(2).await) })).await // all
    });
}

/// One waits in a blocking call, one on a thread of `std`. Both have run for longer than a rest is
/// judged often.
fn threads_that_block() {
    block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        let (kept, mutex) = (tx.clone(), Arc::new(Mutex::new(())));
        let locks = mutex.clone();
        let waits = unblock(move || {
            thread::sleep(SECOND * 5 / 2); // asleep: for longer than a rest is judged often
            let _held = locks.lock_blocking();
            rx.recv_blocking() // receive: blocks
        });
        thread::spawn(move || {
            thread::sleep(SECOND * 5 / 2); // asleep: as above
            let _held = mutex.lock_blocking();
            drop(kept);
        });
        waits.await;
        drop(tx);
    });
}

/// Their futures block the workers: main's, and one whose processor another worker has taken.
fn goroutines_that_block_their_threads() {
    block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        let mutex = Arc::new(Mutex::new(tx));
        let locks = mutex.clone();
        go(async move {
            thread::sleep(Duration::from_millis(100)); // asleep: until it has lost its processor
            drop(locks.lock_blocking()); // lock: blocks
        });
        let _held = mutex.lock().await;
        gosched().await;
        rx.recv_blocking(); // receive: blocks a worker
    });
}

/// When it blocks, a timer is armed, so it keeps its processor. The timer fires at the other one,
/// and from then on there is no work for which the monitor would take the first.
fn a_goroutine_that_blocks_its_thread_while_a_timer_is_armed() {
    let rt = Runtime::builder().gomaxprocs(2).build().unwrap();
    rt.block_on(async {
        let (_tx, rx) = chan::unbuffered::<u8>();
        let (started, starts) = mpsc::channel();
        go(async move {
            started.send(()).unwrap();
            sleep(Duration::from_millis(500)).await; // asleep: while the main is blocked
        });
        starts.recv().unwrap(); // The other worker runs it.
        thread::sleep(Duration::from_millis(50)); // asleep: until it has armed the timer
        rx.recv_blocking(); // receive: blocks next to a timer
    });
}

/// Nothing else runs on its thread.
fn a_local_main_that_blocks_its_thread() {
    block_on_local(async {
        // main: blocks its thread
        let (_tx, rx) = chan::unbuffered::<u8>();
        rx.recv_blocking(); // receive: blocks its thread
    });
}

fn a_crash_on_deadlock() {
    let rt = Runtime::builder().on_deadlock(OnDeadlock::Crash).build().unwrap();
    let caught = std::panic::catch_unwind(|| {
        rt.block_on(async { drop(Semaphore::new(1).acquire(2).await) })
    });
    let text = caught.unwrap_err().downcast::<String>().unwrap();
    assert!(text.starts_with(ASLEEP) && text.contains("goroutine 1 (main) [semaphore, "), "{text}");
}

fn ends_well_after_the_report(ended: &Ended) {
    ended.has_once(ASLEEP);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A thread that is not the crate's may wake a goroutine.
fn a_thread_outside() {
    block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        let thread = thread::spawn(move || {
            thread::sleep(2 * SECOND); // asleep: for longer than a rest
            tx.send_blocking(1).unwrap();
            thread::sleep(2 * SECOND); // asleep: for longer than a rest
            tx.send_blocking(2).unwrap();
        });
        assert_eq!((rx.recv().await, rx.recv().await), (Some(1), Some(2)));
        unblock(move || thread.join().unwrap()).await;
    });
}

/// Threads of both kinds are blocked, and one more thread wakes them after a rest.
fn a_thread_that_wakes_blocked_ones() {
    block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        let (last_tx, last_rx) = chan::unbuffered::<u8>();
        let passes = rx.clone();
        let passes = go(unblock(move || last_tx.send_blocking(passes.recv_blocking().unwrap())));
        let receives = thread::spawn(move || rx.recv_blocking());
        thread::spawn(move || {
            thread::sleep(2 * SECOND); // asleep: for longer than a rest
            tx.send_blocking(1).unwrap();
            tx.send_blocking(2).unwrap();
        });
        assert!(last_rx.recv().await.is_some());
        passes.await.unwrap().unwrap();
        assert!(unblock(move || receives.join().unwrap()).await.is_some());
    });
}

fn is_reported_twice(ended: &Ended) {
    assert_eq!(ended.stderr.matches(PERHAPS).count(), 2, "{}", ended.stderr);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

// ------------------------------------------------------------------------------------------- none

fn a_timer_will_wake_it() {
    block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        go(async move {
            sleep(3 * SECOND).await; // asleep: for longer than a rest
            tx.send(1).await
        });
        assert_eq!(rx.recv().await, Some(1));
    });
}

fn a_blocking_call_will_wake_it() {
    block_on(async {
        unblock(|| thread::sleep(3 * SECOND)).await; // asleep: for longer than a rest
    });
}

/// A time wakes each of them.
fn blocking_calls_with_a_limit() {
    block_on(async {
        let (_tx, rx) = chan::unbuffered::<u8>();
        let ticks = Ticker::new(2 * SECOND);
        let limited = go(unblock(move || rx.recv_timeout_blocking(2 * SECOND).is_err()));
        let ticked = go(unblock(move || ticks.channel().recv_blocking().is_some()));
        let slept = go(unblock(|| block_on_local(sleep(2 * SECOND)))); // asleep: longer than a rest
        assert!(limited.await.unwrap() && ticked.await.unwrap());
        slept.await.unwrap();
    });
}

/// The first blocks, the second does not.
fn blocking_calls_that_wait_for_each_other() {
    block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        let receives = go(unblock(move || rx.recv_blocking()));
        unblock(move || {
            thread::sleep(3 * SECOND); // asleep: for longer than a rest
            tx.send_blocking(1).unwrap();
        })
        .await;
        assert_eq!(receives.await.unwrap(), Some(1));
    });
}

fn a_goroutine_computes() {
    block_on(async {
        let handle = go(async {
            let begin = Instant::now();
            while begin.elapsed() < 3 * SECOND {
                std::hint::spin_loop();
            }
        });
        handle.await.unwrap();
    });
}

fn a_local_main_computes() {
    block_on_local(async {
        let begin = Instant::now();
        while begin.elapsed() < 3 * SECOND {
            std::hint::spin_loop();
        }
    });
}

static KEPT: std::sync::Mutex<Option<Waker>> = std::sync::Mutex::new(None);

/// Any owner of a clone of the waker may wake the goroutine.
fn a_foreign_future() {
    block_on(poll_fn::<(), _>(|cx| {
        *KEPT.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
}

/// No clone of their wakers exists, because each future forgets to keep one.
fn wakers_that_are_not_kept() {
    block_on(async {
        let forgets = go(named("forgets", pending::<()>())); // go: forgets
        let in_context = go(async {
            // Its own limit keeps the waker, but never comes.
            Context::background().with_cancel().0.run(pending::<()>()).await // run: forgets
        });
        // The first poll keeps the waker, the second drops it.
        let gives_back = go(poll_fn::<(), _>(|cx| {
            let mut kept = KEPT.lock().unwrap();
            *kept = kept.is_none().then(|| cx.waker().clone());
            Poll::Pending
        }));
        forgets.await.unwrap();
        in_context.await.unwrap().unwrap();
        gives_back.await.unwrap();
    });
}

/// A poll on the thread of main finds whether it can run.
fn a_local_goroutine_forgets() {
    block_on_local(async { go_local(pending::<()>()).await }).unwrap();
}

/// A limit around a limit: neither keeps the waker for the operation.
fn a_context_in_a_context() {
    block_on(async {
        let ctx = Context::background().with_cancel().0;
        ctx.run(ctx.run(pending::<()>())).await.unwrap().unwrap(); // run: twice
    });
}

/// It treats each waker as another task's, and wakes the waker that it replaces. It prints a
/// complaint if that does not end.
fn a_waker_that_is_replaced() {
    let (mut last, mut polls) = (None::<Waker>, 0);
    block_on(poll_fn::<(), _>(|cx| {
        polls += 1;
        if polls > 20 {
            eprintln!("it is polled without end");
        }
        if last.as_ref().is_none_or(|last| !last.will_wake(cx.waker())) {
            last.replace(cx.waker().clone()).into_iter().for_each(Waker::wake);
        }
        Poll::Pending
    }));
}

/// The answer of the first goroutine makes main wait for one that has not been asked yet.
fn answers_one_after_the_other() {
    block_on(async {
        let first = go(named("first", pending::<()>()));
        let mut polls = 0;
        let second = go(poll_fn(move |_| {
            polls += 1;
            if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        second.await.unwrap();
        pending::<()>().await;
        first.await.unwrap();
    });
}

/// It is ready once it is asked. Then main waits for a thread, for less than a rest.
fn an_answer_that_goes_on() {
    block_on(async {
        let mut polls = 0;
        poll_fn(|_| {
            polls += 1;
            if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let (tx, rx) = chan::unbuffered::<u8>();
        let thread = thread::spawn(move || {
            thread::sleep(SECOND * 6 / 10); // asleep: for less than a rest
            tx.send_blocking(1).unwrap();
        });
        assert_eq!(rx.recv().await, Some(1));
        unblock(move || thread.join().unwrap()).await;
    });
}

/// Another process has the other end, and closes it.
#[cfg(target_os = "linux")]
fn a_socket_beside_a_channel() {
    block_on(async {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let theirs = std::os::fd::OwnedFd::from(theirs);
        let mut child = Command::new("sleep").arg("3").stdout(theirs).spawn().unwrap();
        let stream = UnixStream::from_std(ours).unwrap();
        let (_tx, rx) = chan::unbuffered::<u8>();
        let joins = go({
            let (stream, rx) = (stream.clone(), rx.clone());
            async move {
                let mut byte = [0];
                let reads = std::pin::pin!(stream.read(&mut byte));
                futures_lite::future::or(async { reads.await.ok() }, async {
                    rx.recv().await;
                    None
                })
                .await
            }
        });
        select! {
            read = stream.read(&mut [0]) => assert_eq!(read.unwrap(), 0),
            _ = rx.recv() => unreachable!("nothing is sent"),
        }
        assert_eq!(joins.await.unwrap(), Some(0));
        child.wait().unwrap();
    });
}

fn nobody_waits() {
    let rt = Runtime::new();
    rt.go(async { drop(Semaphore::new(1).acquire(2).await) });
    thread::sleep(3 * SECOND); // asleep: for longer than a rest
}

// ------------------------------------------------------------------------------------------ leaks

async fn until_parked(goroutines: usize) {
    let is_parked =
        |goroutine: &&GoroutineInfo| matches!(goroutine.state, GoroutineState::Waiting { .. });
    while inspect::goroutines().iter().filter(is_parked).count() < goroutines {
        sleep(Duration::from_millis(1)).await; // asleep: between two looks
    }
}

fn three_are_left() {
    block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        for _ in 0..2 {
            let tx = tx.clone();
            go(named("sender", async move { tx.send(1).await })); // go: left
        }
        drop(tx);
        let (kept, waits) = chan::unbuffered::<u8>();
        go(async move { waits.recv().await }); // go: woken at the end
        until_parked(3).await;
        // This ends the last goroutine, but main does not wait for that.
        drop((kept, rx.clone()));
        std::mem::forget(rx);
    });
}

fn three_are_listed(ended: &Ended) {
    ended.has_once("gopark: 3 goroutines still parked when main returned\n");
    let line = format!("at {0}, spawned at {0}\n", site("go: left"));
    assert_eq!(ended.stderr.matches(&line).count(), 2, "{}", ended.stderr);
    ended.has_line(" [chan receive, ", "go: woken at the end", "go: woken at the end");
}

/// Both calls of `block_on` end at once.
fn two_mains_leave_one() {
    let rt = Runtime::builder().gomaxprocs(2).build().unwrap();
    rt.go(async { drop(Semaphore::new(1).acquire(2).await) });
    let both = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| rt.block_on(async { _ = both.wait() }));
        }
    });
}

/// The senders have parked. The end of main drops the receivers.
fn two_send_to_nobody() {
    block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        go(async move { tx.send(1).await }); // go: unbuffered
        let (full, kept) = chan::bounded::<u8>(1);
        full.send(1).await.unwrap();
        go(async move { full.send(2).await }); // go: full
        sleep(Duration::from_millis(200)).await; // asleep: until the others wait
        drop((rx, kept));
    });
}

fn two_senders_are_listed(ended: &Ended) {
    ended.has_once("gopark: 2 goroutines still parked when main returned\n");
    ended.has_line(" [chan send, ", "go: unbuffered", "go: unbuffered");
    ended.has_line(" [chan send, ", "go: full", "go: full");
}

/// The sender has parked. Main takes its value, and returns before the sender runs again.
fn a_value_is_received() {
    Runtime::builder().gomaxprocs(1).build().unwrap().block_on(async {
        let (tx, rx) = chan::unbuffered::<u8>();
        go(async move { tx.send(1).await });
        gopark::gosched().await;
        assert_eq!(rx.recv().await, Some(1));
    });
}

fn a_panic_leaves_one() {
    let caught = std::panic::catch_unwind(|| {
        block_on(async {
            go(async { drop(Semaphore::new(1).acquire(2).await) });
            gopark::gosched().await;
            assert!(gopark::inspect::goroutines().is_empty(), "main's own");
        });
    });
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"main's own"));
}

fn all_have_ended() {
    block_on(async {
        let wg = WaitGroup::new();
        for _ in 0..10 {
            wg.go(async { sleep(Duration::from_millis(1)).await }); // asleep: for a moment
        }
        wg.wait().await;
    });
}

// -------------------------------------------------------------------------------------- the table

struct Scenario {
    name: &'static str,
    /// The value of `GOPARK_DEBUG`.
    debug: &'static str,
    run: fn(),
    check: fn(&Ended),
}

const fn scenario(
    name: &'static str,
    debug: &'static str,
    run: fn(),
    check: fn(&Ended),
) -> Scenario {
    Scenario { name, debug, run, check }
}

const SCENARIOS: &[Scenario] = &[
    scenario(
        "a_deadlock_is_reported_with_each_goroutine_once",
        "",
        philosophers,
        philosophers_are_listed,
    ),
    scenario("holders_of_locks_and_cycles_are_named", "locks=on", philosophers, |ended| {
        philosophers_are_listed(ended);
        let held = format!(", locked at {}\n", site("first lock: philosophers"));
        assert_eq!(ended.stderr.matches(&held).count(), 2, "{}", ended.stderr);
        assert_eq!(ended.stderr.matches("  held by goroutine ").count(), 2, "{}", ended.stderr);
        ended.has_once("cycle: goroutine ");
    }),
    scenario("a_lock_that_its_own_goroutine_holds_is_named", "locks=on", reads_twice, |ended| {
        let held = format!("  held by goroutine 1, locked at {}\n", site("first read"));
        assert_eq!(ended.stderr.matches(&held).count(), 2, "{}", ended.stderr);
        ended.has_once("cycle: goroutine 1 waits for goroutine 1\n");
    }),
    scenario(
        "without_records_the_report_says_how_to_have_them",
        "locks=off",
        philosophers,
        |ended| {
            philosophers_are_listed(ended);
            ended.has_once("GOPARK_DEBUG=locks=on shows who holds the locks\n");
            assert!(!ended.stderr.contains("held by"), "{}", ended.stderr);
        },
    ),
    scenario("each_kind_of_wait_has_its_word_and_its_lines", "", all_words, all_words_are_there),
    scenario("a_wait_for_a_once_is_named", "", a_once_that_waits_for_itself, a_once_is_named),
    scenario(
        "goroutines_of_all_runtimes_and_local_mains_are_listed",
        "",
        two_runtimes,
        two_runtimes_are_listed,
    ),
    scenario(
        "a_ticker_that_nobody_receives_from_is_no_hope",
        "",
        a_ticker_without_a_receiver,
        |ended| {
            ended.has_once(ASLEEP);
        },
    ),
    scenario(
        "a_local_main_is_found_stuck_after_it_has_moved",
        "",
        a_local_main_that_slept,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_once("goroutine 1 (main) [semaphore, ");
            ended.has_once(&format!(" at {}, spawned at ", site("local: slept")));
        },
    ),
    scenario(
        "a_local_main_is_found_stuck_after_it_has_slept_for_long",
        "",
        a_local_main_that_slept_for_long,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_once(&format!(" at {}, spawned at ", site("local: slept for long")));
        },
    ),
    scenario(
        "a_local_main_is_found_stuck_after_a_long_poll",
        "",
        a_local_main_in_a_long_poll,
        |ended| ended.has_once(ASLEEP),
    ),
    scenario(
        "the_end_of_a_blocking_call_may_prove_a_deadlock",
        "",
        a_blocking_call_that_is_given_up,
        |ended| ended.has_once(ASLEEP),
    ),
    scenario("the_end_of_a_timer_may_prove_a_deadlock", "", a_timer_of_a_local_main, |ended| {
        ended.has_once(ASLEEP)
    }),
    scenario("the_end_of_a_thread_may_prove_a_deadlock", "", a_thread_that_ends, |ended| {
        ended.has_once(ASLEEP)
    }),
    scenario(
        "a_blocking_call_in_block_on_is_found_stuck",
        "",
        a_blocking_call_that_calls_block_on,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_once("goroutine 1 (main) [blocking, ");
            ended.has_line(" [join, ", "main: inner", "call: inner");
            ended.has_line(" (main) [semaphore, ", "semaphore: inner", "main: inner");
        },
    ),
    scenario(
        "a_blocking_call_in_block_on_local_is_found_stuck",
        "",
        a_blocking_call_that_calls_block_on_local,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_line(" [join, ", "all", "all");
            ended.has_line(" (main) [semaphore, ", "all", "all");
        },
    ),
    scenario("threads_that_block_are_found_stuck", "", threads_that_block, |ended| {
        ended.has_once(ASLEEP);
        ended.has_once(" [chan receive, ");
        ended.has_once(&format!("s] at {}, ", site("receive: blocks")));
    }),
    scenario(
        "goroutines_that_block_their_threads_are_found_stuck",
        "",
        goroutines_that_block_their_threads,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_once(" (main) [chan receive, ");
            ended.has_once(&format!("and more] at {}, ", site("receive: blocks a worker")));
            ended.has_once(" [sync.Mutex.Lock, ");
            ended.has_once(&format!("and more] at {}, ", site("lock: blocks")));
        },
    ),
    scenario(
        "a_goroutine_that_blocks_its_thread_while_a_timer_is_armed_is_found_stuck",
        "",
        a_goroutine_that_blocks_its_thread_while_a_timer_is_armed,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_once(" (main) [chan receive, ");
            ended.has_once(&format!(" at {}, ", site("receive: blocks next to a timer")));
        },
    ),
    scenario(
        "a_local_main_that_blocks_its_thread_is_found_stuck",
        "",
        a_local_main_that_blocks_its_thread,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_line(
                "goroutine 1 (main) [chan receive, ",
                "receive: blocks its thread",
                "main: blocks its thread",
            );
        },
    ),
    scenario(
        "a_thread_may_wake_blocked_ones",
        "",
        a_thread_that_wakes_blocked_ones,
        Ended::is_silent,
    ),
    scenario(
        "what_blocked_threads_wait_for_is_reported_on_demand",
        "deadlock=report",
        a_thread_that_wakes_blocked_ones,
        |ended| {
            ended.has_once(PERHAPS);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        },
    ),
    scenario(
        "a_limit_of_a_blocked_thread_is_no_deadlock",
        "deadlock=report",
        blocking_calls_with_a_limit,
        Ended::is_silent,
    ),
    scenario(
        "a_blocking_call_may_wake_a_blocked_one",
        "deadlock=report",
        blocking_calls_that_wait_for_each_other,
        Ended::is_silent,
    ),
    scenario(
        "a_local_main_notes_what_the_operation_inside_waits_for",
        "",
        a_local_main_in_a_context,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_once("goroutine 1 (main) [chan receive, ");
            ended.has_once(&format!("s] at {}, spawned at ", site("local: run")));
        },
    ),
    scenario("a_local_goroutine_is_found_stuck", "", local_goroutines_that_wait, |ended| {
        ended.has_once(ASLEEP);
        ended.has_line(" [chan receive, ", "go: local", "go: local");
        ended.has_once(&format!("s] at {}, spawned at ", site("local: joins")));
    }),
    scenario(
        "a_local_goroutine_that_computes_is_no_deadlock",
        "deadlock=report",
        a_local_goroutine_computes,
        Ended::is_silent,
    ),
    scenario(
        "a_local_goroutine_that_can_run_is_no_deadlock",
        "deadlock=report",
        a_local_goroutine_waits_for_its_thread,
        Ended::is_silent,
    ),
    scenario(
        "a_deadlock_crashes_if_the_builder_says_so",
        "",
        a_crash_on_deadlock,
        ends_well_after_the_report,
    ),
    scenario(
        "a_deadlock_crashes_if_the_environment_says_so",
        "deadlock=crash",
        philosophers,
        |ended| {
            philosophers_are_listed(ended);
            let main = site("main: philosophers");
            ended
                .has_once(&format!("gopark: unrecovered panic in goroutine 1, spawned at {main}:"));
            assert_eq!(ended.code, Some(101), "{}", ended.stderr);
        },
    ),
    scenario(
        "the_environment_wins_over_the_builder",
        "deadlock=off",
        a_crash_on_deadlock,
        Ended::is_silent,
    ),
    scenario("a_thread_outside_may_wake_it", "", a_thread_outside, Ended::is_silent),
    scenario(
        "what_is_not_proved_is_reported_on_demand_at_each_rest",
        "deadlock=report",
        a_thread_outside,
        is_reported_twice,
    ),
    scenario("a_timer_is_no_deadlock", "deadlock=report", a_timer_will_wake_it, Ended::is_silent),
    scenario(
        "a_blocking_call_is_no_deadlock",
        "deadlock=report",
        a_blocking_call_will_wake_it,
        Ended::is_silent,
    ),
    scenario(
        "a_goroutine_that_computes_is_no_deadlock",
        "deadlock=report",
        a_goroutine_computes,
        Ended::is_silent,
    ),
    scenario(
        "a_local_main_that_computes_is_no_deadlock",
        "deadlock=report",
        a_local_main_computes,
        Ended::is_silent,
    ),
    scenario(
        "a_foreign_future_that_keeps_the_waker_is_not_proved",
        "",
        a_foreign_future,
        Ended::is_silent,
    ),
    scenario(
        "a_goroutine_whose_waker_is_not_kept_is_stuck",
        "",
        wakers_that_are_not_kept,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_once("[join, 1.");
            ended.has_once(" \"forgets\" [foreign future, 1.");
            ended.has_once(&format!("s], spawned at {}", site("go: forgets")));
            ended.has_once(&format!("s] at {}, spawned at ", site("run: forgets")));
        },
    ),
    scenario(
        "the_answer_of_a_local_goroutine_does_not_end_the_rest",
        "",
        a_local_goroutine_forgets,
        |ended| {
            ended.has_once(ASLEEP);
            ended.has_once("goroutine 1 (main) [join, 1.");
        },
    ),
    scenario("a_limit_inside_a_limit_keeps_no_waker", "", a_context_in_a_context, |ended| {
        ended.has_once(ASLEEP);
        ended.has_once("[foreign future, 1.");
        ended.has_once(&format!("s] at {}, spawned at ", site("run: twice")));
    }),
    scenario(
        "a_goroutine_that_does_not_answer_is_not_asked_without_end",
        "",
        a_waker_that_is_replaced,
        Ended::is_silent,
    ),
    scenario(
        "one_that_does_not_answer_is_reported",
        "deadlock=report",
        a_waker_that_is_replaced,
        |ended| {
            ended.has_once(PERHAPS);
            assert!(!ended.stderr.contains("without end"), "{}", ended.stderr);
        },
    ),
    scenario("what_has_answered_before_keeps_its_age", "", answers_one_after_the_other, |ended| {
        ended.has_once(ASLEEP);
        ended.has_once(" \"first\" [foreign future, 1.");
    }),
    scenario(
        "a_rest_begins_anew_if_an_answer_goes_on",
        "deadlock=report",
        an_answer_that_goes_on,
        Ended::is_silent,
    ),
    #[cfg(target_os = "linux")]
    scenario(
        "a_socket_that_is_one_of_several_waits_is_no_deadlock",
        "",
        a_socket_beside_a_channel,
        Ended::is_silent,
    ),
    scenario(
        "without_block_on_there_is_no_deadlock",
        "deadlock=report",
        nobody_waits,
        Ended::is_silent,
    ),
    scenario(
        "goroutines_that_main_leaves_are_listed",
        "leaks=report",
        three_are_left,
        three_are_listed,
    ),
    scenario("goroutines_that_main_leaves_are_a_panic", "leaks=crash", three_are_left, |ended| {
        three_are_listed(ended);
        assert_eq!(ended.code, Some(101), "{}", ended.stderr);
    }),
    scenario("a_leak_does_not_hide_a_panic_of_main", "leaks=crash", a_panic_leaves_one, |ended| {
        ended.has_once("gopark: 1 goroutine still parked when main returned\n");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }),
    scenario(
        "a_program_without_leaks_prints_nothing",
        "leaks=report",
        all_have_ended,
        Ended::is_silent,
    ),
    scenario(
        "a_local_main_is_no_leak",
        "leaks=report",
        || block_on_local(async {}),
        Ended::is_silent,
    ),
    scenario(
        "a_sender_whose_value_main_has_received_is_no_leak",
        "leaks=report",
        a_value_is_received,
        Ended::is_silent,
    ),
    scenario(
        "senders_that_only_the_end_of_main_wakes_are_listed",
        "leaks=report",
        two_send_to_nobody,
        two_senders_are_listed,
    ),
    scenario(
        "a_leak_of_several_mains_is_listed_once",
        "leaks=report",
        two_mains_leave_one,
        |ended| {
            ended.has_once("gopark: 1 goroutine still parked when main returned\n");
            ended.has_once(" [semaphore, ");
        },
    ),
    scenario("a_wrong_setting_gets_a_line", "leeks=report", all_have_ended, |ended| {
        ended
            .has_once("gopark: GOPARK_DEBUG: \"leeks=report\" ignored: the settings are deadlock=");
    }),
    #[cfg(target_os = "linux")]
    scenario(
        "a_signal_writes_a_dump_and_the_process_goes_on",
        "dump=on",
        dump_on_signal,
        |ended| {
            ended.has_once("gopark: goroutines: 2, runtimes: 1\n");
            ended.has_line(" [chan receive, ", "go: dumped", "go: dumped");
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        },
    ),
    #[cfg(target_os = "linux")]
    scenario(
        "the_dump_and_a_receiver_have_the_same_signal",
        "dump=on",
        dump_and_receive,
        |ended| {
            ended.has_once("gopark: goroutines: 1, runtimes: 1\n");
            // After the receiver is dropped, the signal must still cause a dump.
            ended.has_once("gopark: goroutines: 2, runtimes: 1\n");
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        },
    ),
    #[cfg(target_os = "linux")]
    scenario("a_wait_for_a_signal_is_no_deadlock", "", wait_for_alarm, |ended| {
        ended.is_silent();
        assert_eq!(ended.code, Some(0));
    }),
    scenario(
        "the_trace_has_lines",
        "sched=50",
        || block_on(sleep(2 * SECOND)), // asleep: for some lines
        |ended| {
            assert!(ended.stderr.matches("ms: runtime=").count() > 2, "{}", ended.stderr);
            ended.has("SCHED ");
        },
    ),
];

#[cfg(target_os = "linux")]
fn dump_on_signal() {
    block_on(async {
        let (_tx, rx) = chan::unbuffered::<u8>();
        go(async move { rx.recv().await }); // go: dumped
        until_parked(1).await;
        // SAFETY: it sends a signal to this process, which handles it.
        unsafe { libc::kill(libc::getpid(), libc::SIGQUIT) };
        sleep(2 * SECOND).await; // asleep: until the dump is written
    });
}

#[cfg(target_os = "linux")]
fn dump_and_receive() {
    block_on(async {
        let quits = signal::notify(&[Signal::QUIT]);
        // SAFETY: it sends a signal to this process, which handles it.
        unsafe { libc::kill(libc::getpid(), libc::SIGQUIT) };
        assert_eq!(quits.recv().await, Some(Signal::QUIT));
        sleep(SECOND).await; // asleep: until the dump is written
        drop(quits);
        let (_tx, rx) = chan::unbuffered::<u8>();
        go(async move { rx.recv().await });
        until_parked(1).await;
        // SAFETY: as above.
        unsafe { libc::kill(libc::getpid(), libc::SIGQUIT) };
        sleep(2 * SECOND).await; // asleep: until the dump is written
    });
}

/// During this the process has only gopark's threads.
#[cfg(target_os = "linux")]
fn wait_for_alarm() {
    block_on(async {
        let alarms = signal::notify(&[Signal::ALRM]);
        // SAFETY: the system sends the signal, which is caught.
        unsafe { libc::alarm(3) };
        assert_eq!(alarms.recv().await, Some(Signal::ALRM));
    });
}

// ------------------------------------------------------------------------------------ the harness

const SCENARIO: &str = "GOPARK_TEST_SCENARIO";
/// A program that is stuck shows it within this time.
const LIMIT: Duration = Duration::from_secs(6);

/// The output of a scenario's process, and how it ended. A process that is stuck was killed.
struct Ended {
    stderr: String,
    code: Option<i32>,
}

impl Ended {
    fn has(&self, text: &str) {
        assert!(self.stderr.contains(text), "no {text:?} in:\n{}", self.stderr);
    }

    fn has_once(&self, text: &str) {
        assert_eq!(self.stderr.matches(text).count(), 1, "{text:?} in:\n{}", self.stderr);
    }

    /// A line has that text, and the sites of the marks in this file.
    fn has_line(&self, text: &str, at: &str, spawned_at: &str) {
        let end = format!(" at {}, spawned at {}", site(at), site(spawned_at));
        let found =
            self.stderr.lines().filter(|line| line.contains(text) && line.ends_with(&end)).count();
        assert_eq!(found, 1, "a line with {text:?} that ends with {end:?} in:\n{}", self.stderr);
    }

    fn is_silent(&self) {
        assert!(self.stderr.is_empty(), "it printed:\n{}", self.stderr);
    }
}

/// The line of this file with `mark` as its comment, at its end or below it.
fn site(mark: &str) -> String {
    let comment = format!("// {mark}");
    let mut lines = include_str!("stuck.rs").lines().zip(1..);
    let (line, number) = lines
        .find(|(line, _)| line.ends_with(&comment))
        .unwrap_or_else(|| panic!("no mark {mark:?}"));
    let number = if line.trim() == comment { number - 1 } else { number };
    format!("{}:{number}", file!())
}

fn run_in_process(scenario: &Scenario) -> Ended {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .env(SCENARIO, scenario.name)
        .env("GOPARK_DEBUG", scenario.debug)
        .env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let begin = Instant::now();
    let code = loop {
        match child.try_wait().expect("its status") {
            Some(status) => break status.code(),
            None if begin.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => thread::sleep(Duration::from_millis(10)), // asleep: it polls a process
        }
    };
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("text");
    Ended { stderr, code }
}

/// A scenario in which a main that returns wakes a goroutine has three attempts: if the kernel
/// keeps its thread from its core for longer than the monitor waits, another worker runs that
/// goroutine.
fn try_scenario(scenario: &'static Scenario) {
    let attempts = if scenario.debug.starts_with("leaks") { 3 } else { 1 };
    let attempt = || (scenario.check)(&run_in_process(scenario));
    if !(1..attempts).any(|_| std::panic::catch_unwind(attempt).is_ok()) {
        attempt();
    }
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(SCENARIO) {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario");
        (scenario.run)();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |scenario: &&Scenario| {
        filters.is_empty() || filters.iter().any(|f| scenario.name.contains(f.as_str()))
    };
    let wanted: Vec<&Scenario> = SCENARIOS.iter().filter(is_wanted).collect();
    let threads: Vec<_> = wanted
        .iter()
        .map(|scenario| {
            let scenario: &'static Scenario = scenario;
            thread::Builder::new().name(scenario.name.into()).spawn(move || try_scenario(scenario))
        })
        .collect();
    let failed = threads
        .into_iter()
        .map(|thread| thread.expect("a thread").join())
        .filter(Result::is_err)
        .count();
    println!("{} of {} scenarios passed", wanted.len() - failed, wanted.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
