//! Consequences of panics: SCH-18, WG-05, the policies.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once};
use gopark::sync::WaitGroup;
use gopark::{OnPanic, Runtime, chan, go, gosched};

use crate::util::{Ended, OnDrop, in_child, in_time, isolated, no_hang, rt, spin_until};

fn isolating(procs: usize) -> Runtime {
    Runtime::builder().gomaxprocs(procs).on_panic(OnPanic::Isolate).build().unwrap()
}

/// The text of the panic that `f` raises.
fn raised<T>(f: impl FnOnce() -> T) -> String {
    let payload = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("nothing was raised"),
        Err(payload) => payload,
    };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => {
            payload.downcast::<&str>().map_or("no text".into(), |text| text.to_string())
        }
    }
}

/// A main that reports that it has started, and then never ends.
async fn main_without_end(ready: &WaitGroup) {
    ready.done();
    pending::<()>().await;
}

#[test]
fn a_joined_panic_is_the_handles_result() {
    no_hang(|| {
        rt(1).block_on(async {
            let handle = go(async { panic!("oh {}", std::hint::black_box(7)) });
            let id = handle.id();
            let error = handle.await.unwrap_err();
            assert!(error.is_panic() && !error.is_aborted());
            assert_eq!(error.to_string(), format!("{id} panicked: oh 7"));
            assert_eq!(*error.into_panic().downcast::<String>().unwrap(), "oh 7");
        });
        let aborted = rt(1).block_on(async {
            let handle = go(pending::<()>());
            handle.abort();
            handle.await.unwrap_err()
        });
        assert!(raised(|| aborted.into_panic()).contains("was aborted"));
    });
}

#[test]
fn an_unrecovered_panic_is_raised_on_every_block_on_sch18() {
    no_hang(|| {
        let rt = rt(2);
        let ready = WaitGroup::new();
        ready.add(3);
        let payload: &'static str = "the payload itself";
        let texts: Vec<String> = thread::scope(|scope| {
            let mains: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| raised(|| rt.block_on(main_without_end(&ready)))))
                .collect();
            let local = scope.spawn(|| raised(|| rt.block_on_local(main_without_end(&ready))));
            spin_until(|| ready.count() == 0);
            rt.go(async move { std::panic::panic_any(payload) });
            mains.into_iter().chain([local]).map(|main| main.join().unwrap()).collect()
        });
        assert_eq!(texts, [payload; 3]);
        // The runtime still works.
        assert_eq!(rt.block_on(async { 7 }), 7);
    });
}

#[test]
fn a_crash_ends_the_only_main_that_is_left_sch18() {
    no_hang(|| {
        let rt = rt(2);
        let local = raised(|| {
            rt.block_on_local(async {
                drop(go(async { panic!("crash") }));
                pending::<()>().await;
            })
        });
        assert_eq!(local, "crash");
        // The older of two, after the younger one has returned.
        let ready = WaitGroup::new();
        ready.add(1);
        let older = thread::scope(|scope| {
            let older = scope.spawn(|| raised(|| rt.block_on(main_without_end(&ready))));
            spin_until(|| ready.count() == 0);
            assert_eq!(rt.block_on(async { 7 }), 7);
            rt.go(async { panic!("later") });
            older.join().unwrap()
        });
        assert_eq!(older, "later");
    });
}

/// A bug: a goroutine that unwound counted a `WaitGroup` down before main checked it, so main
/// needed no wake, and returned although the crash was under way.
#[test]
fn a_crash_wins_against_main_returning_sch18() {
    no_hang(|| {
        let rt = rt(2);
        for _ in 0..200 {
            let text = raised(|| {
                rt.block_on(async {
                    let (tx, rx) = chan::unbuffered::<()>();
                    go(async move {
                        let _tx = tx;
                        panic!("crash");
                    });
                    // It ends because the unwinding goroutine drops its sender.
                    assert_eq!(rx.recv().await, None);
                })
            });
            assert_eq!(text, "crash");
        }
    });
}

#[test]
fn a_panic_of_main_is_raised_on_its_caller_under_both_policies() {
    no_hang(|| {
        for rt in [rt(1), isolating(1)] {
            assert_eq!(raised(|| rt.block_on(async { panic!("main") })), "main");
            assert_eq!(raised(|| rt.block_on_local(async { panic!("local main") })), "local main");
            assert_eq!(rt.block_on(async { 7 }), 7);
        }
    });
}

#[test]
fn a_crash_without_a_main_aborts_the_process_and_names_the_goroutine() {
    let Some(Ended { code, signal, stderr }) = in_child(&[]) else {
        let rt = rt(1);
        rt.go(async { panic!("nothing joins it") });
        spin_until(|| false);
        return;
    };
    assert!(code.is_none() && signal.is_some(), "{code:?}\n{stderr}");
    assert!(stderr.contains("nothing joins it"), "{stderr}");
    let line = stderr.lines().find(|line| line.starts_with("gopark: ")).expect("a line of ours");
    assert!(line.starts_with("gopark: unrecovered panic in goroutine "), "{line}");
    assert!(line.contains(", spawned at tests/it/panics.rs:"), "{line}");
}

/// A child process that ends because a crash did not reach a main.
fn assert_aborted(ended: &Ended, grace: &str) {
    let line =
        format!("gopark: no `block_on` took the panic within {grace}: its main blocks its thread");
    assert!(ended.code.is_none() && ended.signal.is_some(), "{ended:#?}");
    assert!(ended.stderr.contains("gopark: unrecovered panic in goroutine "), "{ended:#?}");
    assert!(ended.stderr.lines().any(|text| text == line), "{ended:#?}");
}

/// A bug: main blocks its thread, so its `block_on` cannot raise the panic. The crash was never
/// seen.
#[test]
fn a_crash_aborts_the_process_if_main_blocks_its_thread() {
    let Some(ended) = in_child(&[]) else {
        let rt = Runtime::builder()
            .gomaxprocs(2)
            .crash_grace(Duration::from_millis(20))
            .build()
            .unwrap();
        rt.block_on(async {
            go(async { panic!("main does not look") });
            thread::park();
        });
        return;
    };
    assert_aborted(&ended, "20ms");
}

#[test]
fn a_crash_aborts_the_process_if_a_local_main_blocks_its_thread_and_the_runtime_is_idle() {
    let Some(ended) = in_child(&[]) else {
        rt(1).block_on_local(async {
            let handle = go(async { panic!("unobserved") });
            spin_until(|| handle.is_finished());
            // By then the runtime's monitor sleeps.
            thread::sleep(Duration::from_millis(150)); // asleep: an idle runtime is the subject
            drop(handle);
            thread::park();
        });
        return;
    };
    assert_aborted(&ended, "1s");
}

#[test]
fn under_isolate_the_rest_goes_on_and_no_worker_is_lost() {
    no_hang(|| {
        let rt = isolating(2);
        rt.block_on(async {
            for _ in 0..100 {
                go(async { panic!("isolated") });
            }
            for _ in 0..100 {
                gosched().await;
            }
            let (tx, rx) = chan::unbuffered();
            go(async move { tx.send(1).await });
            assert_eq!(rx.recv().await, Some(1));
        });
    });
}

#[test]
fn dropping_a_handle_with_an_unobserved_panic_counts_as_unrecovered() {
    no_hang(|| {
        let rt = rt(1);
        let text = raised(|| {
            rt.block_on(async {
                let handle = go(async { panic!("unobserved") });
                while !handle.is_finished() {
                    gosched().await;
                }
                drop(handle);
                pending::<()>().await;
            })
        });
        assert_eq!(text, "unobserved");
    });
}

#[test]
fn a_panic_in_a_futures_destructor_is_unrecovered_too_ca15() {
    no_hang(|| {
        let rt = rt(1);
        let text = raised(|| {
            rt.block_on(async {
                let bad = OnDrop(|| panic!("destructor"));
                let handle = go(async move {
                    let _bad = bad;
                    pending::<()>().await;
                });
                gosched().await;
                handle.abort();
                drop(handle);
                pending::<()>().await;
            })
        });
        assert_eq!(text, "destructor");
        let rt = isolating(1);
        rt.block_on(async {
            // The destructor of a value that is never taken.
            go(async { OnDrop(|| panic!("value")) });
            gosched().await;
            gosched().await;
            assert_eq!(go(async { 7 }).await.unwrap(), 7);
        });
    });
}

#[test]
fn a_group_member_that_panics_is_done_only_under_isolate_wg05() {
    no_hang(|| {
        let (rt, wg, went_on) = (rt(1), WaitGroup::new(), Arc::new(AtomicBool::new(false)));
        let w = went_on.clone();
        let text = raised(|| {
            rt.block_on(async {
                wg.go(async { panic!("member") });
                wg.wait().await;
                w.store(true, Ordering::SeqCst);
            })
        });
        assert_eq!(
            (text.as_str(), went_on.load(Ordering::SeqCst), wg.count()),
            ("member", false, 1)
        );
        isolating(1).block_on(async {
            let wg = WaitGroup::new();
            wg.go(async { panic!("member") });
            wg.wait().await;
            assert_eq!(wg.count(), 0);
        });
    });
}

#[test]
fn an_unobserved_panic_at_a_shutdown_is_told_and_no_more() {
    let Some(Ended { code, stderr, .. }) = in_child(&[]) else {
        let rt = rt(1);
        let handle = rt.go(async { panic!("late") });
        spin_until(|| handle.is_finished());
        rt.go(async move {
            let _handle = handle;
            pending::<()>().await;
        });
        rt.block_on(gosched());
        drop(rt);
        return;
    };
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("gopark: unrecovered panic in goroutine "), "{stderr}");
}

/// A hand-written future that is ready at once, and panics when it is dropped.
struct PanicsInDrop;

impl Future for PanicsInDrop {
    type Output = u8;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u8> {
        Poll::Ready(9)
    }
}

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("dropped after Ready");
    }
}

/// A bug: a destructor that panicked at a goroutine's end was unrecovered although the goroutine
/// was awaited.
#[test]
fn a_panic_in_a_futures_destructor_is_the_result_of_its_join_ca15() {
    no_hang(|| {
        let rt = rt(1);
        let texts = rt.block_on(async {
            let parked = go(async {
                let _bad = OnDrop(|| panic!("aborted"));
                pending::<()>().await;
            });
            gosched().await;
            parked.abort();
            let parked = parked.await.unwrap_err();
            let complete = go(PanicsInDrop).await.unwrap_err();
            assert!(parked.is_panic() && complete.is_panic());
            [parked.to_string(), complete.to_string()]
        });
        assert!(texts[0].ends_with("panicked: aborted"), "{texts:?}");
        assert!(texts[1].ends_with("panicked: dropped after Ready"), "{texts:?}");
        // No `block_on` is in progress: a panic that is never joined would abort the process.
        let parked = rt.go(async {
            let _bad = OnDrop(|| panic!("no main"));
            pending::<()>().await;
        });
        rt.block_on(gosched());
        parked.abort();
        spin_until(|| parked.is_finished());
        assert!(rt.block_on(parked).unwrap_err().is_panic());
        assert_eq!(raised(|| rt.block_on(PanicsInDrop)), "dropped after Ready");
    });
}

/// A bug: such a panic was swallowed.
#[test]
fn a_panic_in_the_destructor_of_a_detached_result_is_unrecovered() {
    no_hang(|| {
        let rt = rt(1);
        let text = raised(|| {
            rt.block_on(async {
                drop(go(async { OnDrop(|| panic!("detached result")) }));
                pending::<()>().await;
            })
        });
        assert_eq!(text, "detached result");
        // A result that exists when its handle is dropped is dropped by the same thread.
        let text = raised(|| {
            rt.block_on(async {
                let handle = go(async { OnDrop(|| panic!("result of a dropped handle")) });
                spin_async(|| handle.is_finished()).await;
                drop(handle);
            })
        });
        assert_eq!(text, "result of a dropped handle");
        assert_eq!(rt.block_on(async { 7 }), 7);
    });
}

async fn spin_async(ready: impl Fn() -> bool) {
    while !ready() {
        gosched().await;
    }
}

#[test]
fn a_destructor_of_a_detached_result_that_waited_before_it_panicked_is_unrecovered() {
    // The wait is recorded in the goroutine's header, which already says that the goroutine has
    // ended.
    isolated(|| {
        let rt = rt(2);
        let text = raised(|| {
            rt.block_on(async {
                drop(go(async {
                    OnDrop(|| {
                        let (_tx, rx) = chan::unbuffered::<()>();
                        assert_eq!(block_on(poll_once(rx.recv())), None);
                        panic!("after a wait");
                    })
                }));
                pending::<()>().await;
            })
        });
        assert_eq!(text, "after a wait");
    });
}

/// The condition that `spin_until(flag)` waits for.
fn flag() -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    (flag.clone(), flag)
}

#[test]
fn a_block_on_in_the_destructor_of_a_goroutine_that_unwinds_returns() {
    // The unwinding wakes main. Its next destructor waits for a `block_on` of another thread, which
    // must not wait for that destructor.
    no_hang(|| {
        let rt = Arc::new(rt(2));
        for detached in [false, true] {
            let clean_up = rt.clone();
            let text = raised(|| {
                rt.block_on(async {
                    let (tx, rx) = chan::bounded::<()>(1);
                    let handle = go(async move {
                        let _clean_up = OnDrop(|| {
                            let rt = clean_up.clone();
                            thread::spawn(move || rt.block_on(async {})).join().unwrap();
                        });
                        let _tx = tx;
                        panic!("unwinds");
                    });
                    if detached {
                        drop(handle);
                        rx.recv().await;
                    } else {
                        rx.recv().await;
                        panic!("joined: {}", handle.await.unwrap_err().is_panic());
                    }
                })
            });
            assert_eq!(text, if detached { "unwinds" } else { "joined: true" });
        }
    });
}

#[test]
fn a_panic_that_is_caught_keeps_no_main() {
    // The unwinding wakes main. Then its goroutine catches the panic and stays in the same poll
    // until main has returned.
    no_hang(|| {
        let wait_of_main = |in_place| {
            let rt = rt(2);
            let (returned, has_returned) = flag();
            let start = Instant::now();
            rt.block_on(async move {
                let (tx, rx) = chan::bounded(1);
                go(async move {
                    let _ = catch_unwind(AssertUnwindSafe(|| {
                        let _notify = OnDrop(|| tx.try_send(()).unwrap());
                        panic!("caught");
                    }));
                    let wait = || spin_until(|| has_returned.load(Ordering::SeqCst));
                    if in_place { gopark::block_in_place(wait) } else { wait() }
                });
                rx.recv().await
            });
            let waited = start.elapsed();
            returned.store(true, Ordering::SeqCst);
            waited
        };
        wait_of_main(false);
        in_time(Duration::from_millis(450), || wait_of_main(true));
    });
}

#[test]
fn a_panic_that_a_handle_returns_keeps_no_main() {
    // The unwinding wakes main, and continues until main has returned. The handle outlives main.
    no_hang(|| {
        in_time(Duration::from_millis(450), || {
            let rt = rt(2);
            let (returned, has_returned) = flag();
            let mut handle = None;
            let start = Instant::now();
            rt.block_on(async {
                let (tx, rx) = chan::bounded(1);
                handle = Some(go(async move {
                    let _slow = OnDrop(|| spin_until(|| has_returned.load(Ordering::SeqCst)));
                    let _notify = OnDrop(|| tx.try_send(()).unwrap());
                    panic!("joined later");
                }));
                rx.recv().await
            });
            let waited = start.elapsed();
            returned.store(true, Ordering::SeqCst);
            assert!(rt.block_on(handle.unwrap()).unwrap_err().is_panic());
            waited
        })
    });
}

#[test]
fn a_crash_wins_against_a_main_that_drops_the_handle_sch18() {
    // The handle is alive when the unwinding wakes main, which then drops it and returns.
    no_hang(|| {
        let rt = rt(2);
        for _ in 0..5 {
            let text = raised(|| {
                rt.block_on(async {
                    let (tx, rx) = chan::bounded(1);
                    let handle = go(async move {
                        let slow = Duration::from_millis(1);
                        let _slow = OnDrop(move || thread::sleep(slow)); // asleep: the subject
                        let _notify = OnDrop(|| tx.try_send(()).unwrap());
                        panic!("its handle is dropped");
                    });
                    rx.recv().await;
                    drop(handle);
                })
            });
            assert_eq!(text, "its handle is dropped");
        }
    });
}

/// A bug: the crash grace did not elapse while other goroutines ran.
#[test]
fn a_crash_aborts_the_process_if_main_blocks_its_thread_while_others_run() {
    in_time(Duration::from_secs(3), || {
        let start = Instant::now();
        let Some(ended) = in_child(&[]) else {
            let rt = Runtime::builder()
                .gomaxprocs(8)
                .crash_grace(Duration::from_millis(100))
                .build()
                .unwrap();
            rt.block_on(async {
                for _ in 0..7 {
                    go(async {
                        loop {
                            gosched().await;
                        }
                    });
                }
                go(async { panic!("main does not look") });
                thread::park();
            });
            unreachable!("main is parked");
        };
        assert_aborted(&ended, "100ms");
        start.elapsed()
    });
}

/// The payload of a panic; its own destructor panics, with another one.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Bomb);
    }
}

/// Its poll panics, and then its destructor, with a payload whose destructor panics.
struct Twice(&'static str);

impl Future for Twice {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        std::panic::panic_any(self.0)
    }
}

impl Drop for Twice {
    fn drop(&mut self) {
        std::panic::panic_any(Bomb);
    }
}

/// A bug: the poll panicked, then the future's destructor, and the second payload was dropped where
/// nothing caught the panic of its own destructor. That panic unwound out of the worker, whose
/// processor was lost.
#[test]
fn a_second_panic_of_a_goroutine_has_a_payload_that_cannot_end_its_worker() {
    isolated(|| {
        let rt = isolating(1);
        rt.block_on(async {
            assert!(go(Twice("first")).await.unwrap_err().to_string().ends_with("first"));
            drop(go(Twice("detached")));
            assert_eq!(go(async { 7 }).await.unwrap(), 7);
        });
        spin_until(|| rt.num_goroutine() == 0);
        assert_eq!(rt.shutdown_timeout(Duration::from_secs(60)), 0);
    });
}

/// As in a goroutine, the first panic is the main's result.
#[test]
fn a_second_panic_of_a_main_is_dropped_harmlessly() {
    isolated(|| {
        let rt = isolating(1);
        assert_eq!(raised(|| rt.block_on(Twice("first"))), "first");
        assert_eq!(raised(|| rt.block_on_local(Twice("second"))), "second");
        rt.block_on_local(async {
            let local = gopark::go_local(Twice("third"));
            assert!(local.await.unwrap_err().to_string().ends_with("third"));
            drop(gopark::go_local(Twice("detached")));
            assert_eq!(gopark::go_local(async { 7 }).await.unwrap(), 7);
        });
        assert_eq!(rt.block_on(async { 7 }), 7);
    });
}

/// A closure whose result is not awaited, and one that a dropped `unblock` leaves behind.
#[test]
fn a_job_has_a_payload_that_cannot_end_its_worker() {
    isolated(|| {
        let rt = isolating(1);
        let (started, release) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (start, go_on) = (started.clone(), release.clone());
        rt.block_on(async move {
            let job = gopark::unblock(move || {
                start.store(true, Ordering::SeqCst);
                spin_until(|| go_on.load(Ordering::SeqCst));
                std::panic::panic_any(Bomb);
            });
            let mut job = Box::pin(job);
            while !started.load(Ordering::SeqCst) {
                assert!(poll_once(job.as_mut()).await.is_none());
                gosched().await;
            }
            drop(job);
            release.store(true, Ordering::SeqCst);
            assert_eq!(gopark::unblock(|| 7).await, 7);
        });
        assert_eq!(rt.shutdown_timeout(Duration::from_secs(60)), 0);
    });
}
