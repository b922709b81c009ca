//! The blocking forms on a thread that is about to end, or inside another call: in destructors of
//! thread-locals, in `atexit` handlers, inside each other.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use gopark::sync::{Mutex, Once, RwMutex};
use gopark::{block_on, block_on_local, chan, go, time};

use crate::util::{OnDrop, in_child, isolated, no_hang, spin_until};

/// Each is a blocking form that must wait for another thread.
const WAITS: [fn(); 9] = [
    receives,
    sends,
    iterates,
    locks_a_mutex,
    locks_a_rwmutex_for_reading,
    locks_a_rwmutex_for_writing,
    waits_for_a_once,
    receives_from_a_timer,
    runs_a_main,
];
/// Those that also work inside a `block_on`.
const INNER_WAITS: &[fn()] = WAITS.split_at(8).0;

fn receives() {
    let (tx, rx) = chan::unbuffered();
    // The send fails until a receiver waits.
    let sender = thread::spawn(move || spin_until(|| tx.try_send(7).is_ok()));
    assert_eq!(rx.recv_blocking(), Some(7));
    sender.join().unwrap();
}

fn sends() {
    let (tx, rx) = chan::unbuffered();
    // The receive fails until a sender waits.
    let receiver = thread::spawn(move || spin_until(|| rx.try_recv() == Ok(7)));
    tx.send_blocking(7).unwrap();
    receiver.join().unwrap();
}

fn iterates() {
    let (tx, rx) = chan::bounded(1);
    let sender = thread::spawn(move || (0..3).for_each(|value| tx.send_blocking(value).unwrap()));
    assert_eq!(rx.iter_blocking().collect::<Vec<_>>(), [0, 1, 2]);
    sender.join().unwrap();
}

fn locks_a_mutex() {
    let mutex = Mutex::new(0);
    thread::scope(|scope| {
        hold(scope, || mutex.lock_blocking());
        *mutex.lock_blocking() += 1;
    });
    assert_eq!(mutex.into_inner(), 1);
}

fn locks_a_rwmutex_for_reading() {
    let mutex = RwMutex::new(7);
    thread::scope(|scope| {
        hold(scope, || mutex.lock_blocking());
        assert_eq!(*mutex.rlock_blocking(), 7);
    });
}

fn locks_a_rwmutex_for_writing() {
    let mutex = RwMutex::new(0);
    thread::scope(|scope| {
        hold(scope, || mutex.rlock_blocking());
        *mutex.lock_blocking() += 1;
    });
    assert_eq!(mutex.into_inner(), 1);
}

fn waits_for_a_once() {
    let once = Once::new();
    thread::scope(|scope| {
        let (inside, is_inside) = mpsc::channel();
        let once = &once;
        scope.spawn(move || {
            once.call_once(|| {
                inside.send(()).unwrap();
                give_way();
            });
        });
        is_inside.recv().unwrap();
        once.call_once(|| unreachable!("another thread does it"));
    });
    assert!(once.is_done());
}

fn receives_from_a_timer() {
    assert!(time::after(Duration::from_millis(1)).recv_blocking().is_some());
}

fn runs_a_main() {
    assert_eq!(block_on(async { go(async { 42 }).await.unwrap() }), 42);
    assert_eq!(block_on_local(async { go(async { 42 }).await.unwrap() }), 42);
}

/// Gives another thread time to begin its wait. In most cases it does, and the result must be the
/// same if it does not. On a busy machine each yield takes a turn of all other threads, so one is
/// enough.
fn give_way() {
    let start = Instant::now();
    (0..100)
        .take_while(|_| start.elapsed() < Duration::from_millis(1))
        .for_each(|_| thread::yield_now());
}

/// Another thread acquires a lock, and releases it a little after this function has returned.
fn hold<'scope, G>(scope: &'scope Scope<'scope, '_>, acquire: impl FnOnce() -> G + Send + 'scope) {
    let (holds, is_held) = mpsc::channel();
    scope.spawn(move || {
        let guard = acquire();
        holds.send(()).unwrap();
        give_way();
        drop(guard);
    });
    is_held.recv().unwrap();
}

type Act = OnDrop<fn()>;

thread_local! {
    /// The action of a thread in the destructor of this local.
    static LAST_ACT: RefCell<Option<Act>> = const { RefCell::new(None) };
    /// As `LAST_ACT`. The two are destroyed in the opposite order of their first use.
    static OTHER_ACT: RefCell<Option<Act>> = const { RefCell::new(None) };
}

/// A bug: they kept their parker in a thread-local. If the thread had waited before, they panicked
/// in such a destructor, which aborts the process.
#[test]
fn blocking_forms_wait_in_destructors_of_thread_locals() {
    isolated(|| {
        for wait in WAITS {
            // The thread waits before it uses the local, after that, or never.
            for (before, after) in [(true, false), (false, true), (false, false)] {
                let thread = thread::spawn(move || {
                    if before {
                        wait();
                    }
                    LAST_ACT.set(Some(OnDrop(wait)));
                    OTHER_ACT.set(Some(OnDrop(wait)));
                    if after {
                        wait();
                    }
                });
                thread.join().unwrap();
            }
        }
    });
}

#[cfg(unix)]
#[test]
fn blocking_forms_wait_in_atexit_handlers() {
    extern "C" fn handler() {
        WAITS.iter().for_each(|wait| wait());
        eprintln!("the handler has waited");
    }
    match in_child(&[]) {
        None => {
            // The thread-locals that this thread has used are destroyed before the handlers run.
            // The timer thread is started here, because some versions of `std` start no thread that
            // late.
            WAITS.iter().for_each(|wait| wait());
            // SAFETY: the handler is a function that takes and returns nothing, and does not unwind
            // into C.
            assert_eq!(unsafe { libc::atexit(handler) }, 0);
            std::process::exit(0);
        }
        Some(ended) => {
            assert!(
                ended.code == Some(0) && ended.stderr.contains("the handler has waited"),
                "{ended:#?}"
            );
        }
    }
}

#[test]
fn a_blocking_form_waits_inside_another_ones_poll() {
    no_hang(|| {
        block_on_local(async { INNER_WAITS.iter().for_each(|wait| wait()) });
        let (tx, rx) = chan::unbuffered();
        let sender = thread::spawn(move || tx.send_blocking(1));
        let outer = block_on_local(async {
            let inner = poll_fn(|_| Poll::Ready(rx.recv_blocking()));
            inner.await
        });
        assert_eq!(outer, Some(1));
        sender.join().unwrap().unwrap();
    });
}

#[test]
fn a_blocking_form_waits_in_a_waker_and_in_a_destructor() {
    /// Waits when it is woken, and when it is dropped.
    struct Waits(AtomicUsize);
    impl Waits {
        fn wait(&self) {
            INNER_WAITS.iter().for_each(|wait| wait());
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    impl Wake for Waits {
        fn wake(self: Arc<Self>) {
            self.wait();
        }
    }

    no_hang(|| {
        let waits = Arc::new(Waits(AtomicUsize::new(0)));
        let waker = Waker::from(waits.clone());
        let (tx, rx) = chan::unbuffered();
        let mut receiving = Box::pin(rx.recv());
        assert!(receiving.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let drops = waits.clone();
        tx.send_blocking(OnDrop(move || drops.wait())).unwrap();
        assert_eq!(waits.0.load(Ordering::SeqCst), 1);
        // The value that was handed over is dropped.
        drop(receiving);
        drop(rx);
        assert_eq!(waits.0.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_waker_may_outlive_the_call_that_it_was_made_for() {
    no_hang(|| {
        let kept = StdMutex::new(Vec::new());
        let polls = Cell::new(0);
        // It is woken at each poll, through all wakers that exist, and is ready at the tenth poll.
        block_on_local(poll_fn(|cx| {
            kept.lock().unwrap().push(cx.waker().clone());
            polls.set(polls.get() + 1);
            if polls.get() == 10 {
                return Poll::Ready(());
            }
            kept.lock().unwrap().iter().for_each(Waker::wake_by_ref);
            Poll::Pending
        }));
        assert_eq!(polls.get(), 10, "a poll for each wake, and for nothing else");

        // Other calls on the same thread ignore those wakes.
        let stop = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                let wakers = kept.lock().unwrap().clone();
                let stop = &stop;
                scope.spawn(move || {
                    while stop.load(Ordering::SeqCst) == 0 {
                        wakers.iter().for_each(Waker::wake_by_ref);
                    }
                    wakers.into_iter().for_each(Waker::wake);
                });
            }
            INNER_WAITS.iter().for_each(|wait| wait());
            stop.store(1, Ordering::SeqCst);
        });
    });
}

#[test]
fn wakes_of_many_threads_are_all_seen() {
    const WAKES: usize = 1000;
    no_hang(|| {
        let (tickets, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            let (made, wakers) = mpsc::channel::<Waker>();
            let (tickets, turns) = (&tickets, &turns);
            scope.spawn(move || {
                for waker in wakers {
                    // Each wake follows the change that it announces; two threads wake at the same
                    // time.
                    tickets.fetch_add(1, Ordering::SeqCst);
                    let twin = waker.clone();
                    let other = thread::spawn(move || twin.wake());
                    waker.wake();
                    other.join().unwrap();
                }
            });
            block_on_local(poll_fn(|cx| {
                let turn = turns.load(Ordering::SeqCst);
                if tickets.load(Ordering::SeqCst) < turn {
                    return Poll::Pending;
                }
                if turn == WAKES {
                    return Poll::Ready(());
                }
                turns.store(turn + 1, Ordering::SeqCst);
                made.send(cx.waker().clone()).unwrap();
                Poll::Pending
            }));
            drop(made);
        });
        assert_eq!(tickets.load(Ordering::SeqCst), WAKES);
    });
}
