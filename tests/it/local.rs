//! `go_local`: goroutines that stay on the thread of a `block_on_local`.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use gopark::inspect::{self, GoroutineState, WaitReason};
use gopark::sync::Semaphore;
use gopark::{
    JoinHandle, OnPanic, Runtime, block_on, block_on_local, chan, go, go_local, gosched,
    num_goroutine, select, time, unblock,
};

use crate::util::no_hang;

const SECOND: Duration = Duration::from_secs(1);
const OUTSIDE: &str =
    "gopark: go_local called outside of a block_on_local, on whose thread it starts its goroutine";

fn runtime(on_panic: OnPanic) -> Runtime {
    Runtime::builder().gomaxprocs(1).on_panic(on_panic).build().unwrap()
}

/// The text with which `f` panics.
fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).err().expect("no panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
    }
}

/// Records its drop, and on which thread that happened.
struct Dropped(Rc<RefCell<Vec<&'static str>>>, &'static str, thread::ThreadId);

impl Dropped {
    fn new(notes: &Rc<RefCell<Vec<&'static str>>>, name: &'static str) -> Self {
        Self(notes.clone(), name, thread::current().id())
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        assert_eq!(self.2, thread::current().id());
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn a_local_goroutine_shares_with_its_main_what_is_not_send() {
    no_hang(|| {
        let here = thread::current().id();
        let main = async move {
            let list = Rc::new(RefCell::new(Vec::new()));
            let (tx, rx) = chan::unbuffered();
            let sends = go(async move {
                for n in 0..100 {
                    tx.send(n).await.unwrap();
                }
            });
            let receivers = [(); 2].map(|()| {
                let (list, rx) = (list.clone(), rx.clone());
                go_local(async move {
                    while let Some(n) = rx.recv().await {
                        assert_eq!(thread::current().id(), here);
                        list.borrow_mut().push(n);
                    }
                    list
                })
            });
            sends.await.unwrap();
            for receiver in receivers {
                assert!(Rc::ptr_eq(&receiver.await.unwrap(), &list));
            }
            list.take()
        };
        let mut found = block_on_local(main);
        found.sort_unstable();
        assert_eq!(found, Vec::from_iter(0..100));
        assert_eq!(
            Runtime::new()
                .block_on_local(async { go_local(async { Rc::new(5) }).await })
                .map(|n| *n)
                .unwrap(),
            5
        );
    });
}

#[test]
fn go_local_outside_of_a_block_on_local_panics_at_its_caller() {
    no_hang(|| {
        let attempt = || panic_of(|| go_local(async {}));
        assert_eq!(attempt(), OUTSIDE);
        assert_eq!(block_on(async { panic_of(|| go_local(async {})) }), OUTSIDE);
        block_on_local(async move {
            assert_eq!(go(async { panic_of(|| go_local(async {})) }).await.unwrap(), OUTSIDE);
            assert_eq!(unblock(|| panic_of(|| go_local(async {}))).await, OUTSIDE);
            go_local(async { go_local(async {}).await }).await.unwrap().unwrap();
        });
        assert_eq!(attempt(), OUTSIDE);
    });
}

#[test]
fn main_and_local_goroutines_take_turns_first_come_first_served() {
    no_hang(|| {
        let order = block_on_local(async {
            let order = Rc::new(RefCell::new(Vec::new()));
            for n in 1..=3 {
                let order = order.clone();
                drop(go_local(async move {
                    for _ in 0..2 {
                        order.borrow_mut().push(n);
                        gosched().await;
                    }
                }));
            }
            for _ in 0..3 {
                order.borrow_mut().push(0);
                gosched().await;
            }
            order.take()
        });
        assert_eq!(order, [0, 1, 2, 3, 0, 1, 2, 3, 0]);
    });
}

#[test]
fn neither_main_nor_a_local_goroutine_that_never_waits_keeps_the_thread() {
    no_hang(|| {
        block_on_local(async {
            let (semaphore, ran) = (Rc::new(Semaphore::new(1)), Rc::new(Cell::new(false)));
            let other = ran.clone();
            drop(go_local(async move { other.set(true) }));
            while !ran.take() {
                drop(semaphore.acquire(1).await);
            }
            let other = ran.clone();
            drop(go_local(async move {
                while !other.get() {
                    drop(semaphore.acquire(1).await);
                }
                other.set(false);
            }));
            gosched().await;
            ran.set(true);
            while ran.get() {
                gosched().await;
            }
        });
    });
}

#[test]
fn main_is_polled_for_its_own_wakes_only() {
    no_hang(|| {
        let (mut polls, mut goes) = (0, None);
        let (tx, rx) = chan::unbuffered();
        block_on_local(async {
            let sends = go_local(async move {
                for _ in 0..1000 {
                    gosched().await;
                }
                tx.send(1).await.unwrap();
            });
            let mut receives = std::pin::pin!(rx.recv());
            poll_fn(|cx| {
                polls += 1;
                receives.as_mut().poll(cx)
            })
            .await;
            goes = Some(sends.await);
        });
        assert!(goes.unwrap().is_ok());
        assert_eq!(polls, 2);
    });
}

#[test]
fn what_is_left_is_dropped_on_the_thread_before_block_on_local_returns() {
    no_hang(|| {
        let rt = Runtime::new();
        let notes = Rc::new(RefCell::new(Vec::new()));
        let (main, parked, queued) = (
            Dropped::new(&notes, "main"),
            Dropped::new(&notes, "parked"),
            Dropped::new(&notes, "queued"),
        );
        let [held]: [JoinHandle<()>; 1] = rt.block_on_local(async move {
            let _main = main;
            let held = go_local(async move {
                let _parked = parked;
                pending().await
            });
            gosched().await;
            drop(go_local(async move {
                let _queued = queued;
                unreachable!("it does not begin")
            }));
            [held]
        });
        assert_eq!(notes.borrow()[0], "main");
        notes.borrow_mut()[1..].sort_unstable();
        assert_eq!(*notes.borrow(), ["main", "parked", "queued"]);
        assert_eq!(rt.num_goroutine(), 0);
        assert!(rt.block_on(held).unwrap_err().is_aborted());
    });
}

#[test]
fn a_local_goroutine_that_starts_in_a_destructor_at_the_end_is_dropped_at_once() {
    struct Last(Rc<Cell<u32>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if self.0.replace(self.0.get() + 1) == 0 {
                let next = Last(self.0.clone());
                let next = go_local(async move {
                    let _next = next;
                    unreachable!("it does not begin");
                });
                assert!(next.is_finished());
            }
        }
    }
    no_hang(|| {
        let ends = Rc::new(Cell::new(0));
        block_on_local(async {
            let last = Last(ends.clone());
            drop(go_local(async move {
                let _last = last;
                pending::<()>().await
            }));
            gosched().await;
        });
        assert_eq!(ends.get(), 2);
    });
}

#[test]
fn any_goroutine_joins_or_aborts_a_local_one() {
    no_hang(|| {
        block_on_local(async {
            let notes = Rc::new(RefCell::new(Vec::new()));
            let dropped = Dropped::new(&notes, "aborted");
            let returns = go_local(async {
                gosched().await;
                *Rc::new(6) * 7
            });
            let waits = go_local(async move {
                let _dropped = dropped;
                pending::<()>().await
            });
            let remote = waits.abort_handle();
            let others = go(async move {
                remote.abort();
                (returns.await.unwrap(), waits.await.unwrap_err().is_aborted())
            });
            assert_eq!(others.await.unwrap(), (42, true));
            assert_eq!(*notes.borrow(), ["aborted"]);
        });
    });
}

#[test]
fn a_panic_of_a_local_goroutine_is_that_of_its_handle_or_unrecovered() {
    no_hang(|| {
        let joined = block_on_local(async { go_local(async { panic!("joined") }).await });
        assert_eq!(joined.map_err(|error: gopark::JoinError| error.is_panic()), Err::<(), _>(true));

        let crash = || {
            runtime(OnPanic::Crash).block_on_local(async {
                drop(go_local(async { panic!("unrecovered") }));
                pending::<()>().await
            })
        };
        assert_eq!(panic_of(crash), "unrecovered");

        let rt = runtime(OnPanic::Isolate);
        rt.block_on_local(async {
            drop(go_local(async { panic!("isolated") }));
            gosched().await;
            assert_eq!(num_goroutine(), 1);
        });

        // At the end as well, and on the other call of the runtime.
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("bad destructor");
            }
        }
        let rt = runtime(OnPanic::Crash);
        let texts = thread::scope(|scope| {
            let (ready, is_ready) = mpsc::channel();
            let rt = &rt;
            let other = scope.spawn(move || {
                panic_of(|| {
                    rt.block_on(async move {
                        ready.send(()).unwrap();
                        pending::<()>().await
                    })
                })
            });
            is_ready.recv().unwrap();
            let local = panic_of(|| {
                rt.block_on_local(async {
                    drop(go_local(async {
                        let _bad = Bad;
                        pending::<()>().await
                    }));
                    gosched().await;
                })
            });
            [local, other.join().unwrap()]
        });
        assert_eq!(texts, ["bad destructor"; 2]);
    });
}

#[test]
fn an_unrecovered_panic_elsewhere_ends_a_call_with_local_goroutines() {
    no_hang(|| {
        let notes = Rc::new(RefCell::new(Vec::new()));
        let dropped = Dropped::new(&notes, "dropped");
        let text = panic_of(|| {
            runtime(OnPanic::Crash).block_on_local(async move {
                let held = go_local(async move {
                    let _dropped = dropped;
                    pending::<()>().await
                });
                gosched().await;
                drop(go(async { panic!("elsewhere") }));
                held.await
            })
        });
        assert_eq!(text, "elsewhere");
        assert_eq!(*notes.borrow(), ["dropped"]);
    });
}

#[test]
fn local_goroutines_wait_for_timers_selects_and_blocking_code() {
    no_hang(|| {
        block_on_local(async {
            let (tx, rx) = chan::bounded(1);
            let waits = go_local(async move {
                let kept = Rc::new(1);
                time::sleep(Duration::from_millis(1)).await;
                let got = select! {
                    got = rx.recv() => got,
                    _ = time::sleep(Duration::from_secs(3600)) => None,
                };
                (*kept, got, unblock(|| 3).await)
            });
            thread::spawn(move || tx.send_blocking(2).unwrap());
            assert_eq!(waits.await.unwrap(), (1, Some(2), 3));
        });
    });
}

#[test]
fn a_waker_that_outlives_the_call_wakes_nothing() {
    static KEPT: Mutex<Option<Waker>> = Mutex::new(None);
    no_hang(|| {
        for by_ref in [true, false] {
            block_on_local(async {
                let _waits = go_local(poll_fn::<(), _>(|cx| {
                    *KEPT.lock().unwrap() = Some(cx.waker().clone());
                    Poll::Pending
                }));
                gosched().await;
            });
            let kept = KEPT.lock().unwrap().take().unwrap();
            if by_ref { kept.wake_by_ref() } else { thread::spawn(|| kept.wake()).join().unwrap() }
        }
    });
}

#[test]
fn many_threads_wake_many_local_goroutines() {
    const GOROUTINES: usize = 100;
    const EACH: usize = 20;
    static WOKEN: AtomicUsize = AtomicUsize::new(0);
    no_hang(|| {
        let total = block_on_local(async {
            let total = Rc::new(Cell::new(0));
            let (tx, rx) = chan::unbuffered();
            let receivers: Vec<_> = (0..GOROUTINES)
                .map(|_| {
                    let (rx, total) = (rx.clone(), total.clone());
                    go_local(async move {
                        for _ in 0..EACH {
                            let one = rx.recv().await.unwrap();
                            total.set(total.get() + one);
                            WOKEN.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let threads = [(); 4].map(|()| {
                let tx = tx.clone();
                thread::spawn(move || {
                    (0..GOROUTINES * EACH / 4).for_each(|_| tx.send_blocking(1).unwrap())
                })
            });
            for receiver in receivers {
                receiver.await.unwrap();
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            total.get()
        });
        assert_eq!((total, WOKEN.load(Ordering::Relaxed)), (GOROUTINES * EACH, GOROUTINES * EACH));
    });
}

#[test]
fn inspect_lists_local_goroutines_in_each_state() {
    no_hang(|| {
        let rt = Runtime::new();
        rt.block_on_local(async {
            let find = |id| inspect::goroutines().into_iter().find(|found| found.id == id).unwrap();
            let line = line!() + 1;
            let queued = go_local(async {});
            let found = find(queued.id());
            assert_eq!((found.state, found.spawned_at.line()), (GoroutineState::Runnable, line));
            queued.await.unwrap();
            let (_tx, rx) = chan::unbuffered::<u8>();
            let waits = go_local(async move { rx.recv().await });
            gosched().await;
            let GoroutineState::Waiting { reason: WaitReason::ChanReceive, at: Some(at), .. } =
                find(waits.id()).state
            else {
                panic!("{:?}", find(waits.id()));
            };
            assert_eq!(at.file(), file!());
            let id = Rc::new(Cell::new(None));
            let (me, other) = (id.clone(), waits.id());
            let runs = go_local(async move {
                gosched().await;
                assert_eq!(find(me.get().unwrap()).state, GoroutineState::Running);
                assert!(find(other).is_waiting());
            });
            id.set(Some(runs.id()));
            runs.await.unwrap();
            assert_eq!(num_goroutine(), 2);
        });
        assert_eq!(rt.num_goroutine(), 0);
    });
}

/// The thread that runs the closure parks with nothing to poll. Nothing but the shutdown wakes it.
#[test]
fn a_shutdown_drops_a_local_main_and_its_goroutines_ca16() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
        let (dropped, drops) = mpsc::channel();
        let (tells, told) = mpsc::channel();
        let closure = move || {
            let text = panic_of(|| {
                block_on_local(async {
                    let owned = Rc::new(dropped);
                    let other = owned.clone();
                    go_local(async move {
                        let _owned = other;
                        pending::<()>().await;
                    });
                    gosched().await;
                    owned.send(()).unwrap();
                    pending::<()>().await;
                });
            });
            tells.send(text).unwrap();
        };
        rt.go(unblock(closure));
        drops.recv().unwrap();
        assert_eq!(rt.shutdown_timeout(20 * SECOND), 0);
        assert_eq!(drops.recv(), Err(mpsc::RecvError), "both were dropped");
        assert_eq!(told.recv().unwrap(), "gopark: the runtime was shut down while its main ran");
    });
}

#[test]
fn a_destructor_of_main_may_call_block_on_local_again() {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            assert_eq!(
                block_on_local(async { go_local(async { Rc::new(7) }).await }).map(|n| *n).unwrap(),
                7
            );
        }
    }
    no_hang(|| {
        let again = Again;
        // It owns what the closure captured until it is dropped, which is after it has returned.
        let main = poll_fn(move |_| {
            let _again = &again;
            Poll::Ready(go_local(async { 5 }))
        });
        let rt = Runtime::new();
        assert!(rt.block_on_local(main).is_finished());
    });
}
