//! What `inspect` finds about goroutines. Reports of a whole process are in `tests/stuck.rs`.

use std::collections::HashSet;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use gopark::inspect::{self, GoroutineInfo, GoroutineState, LeakCheck, WaitReason, named};
use gopark::sync::{Mutex, WaitGroup};
use gopark::{JoinHandle, Runtime, chan, go, gosched};

use crate::util::{isolated, no_hang};

fn runtime(procs: usize) -> Runtime {
    Runtime::builder().gomaxprocs(procs).build().unwrap()
}

/// What `inspect` finds about the goroutine of this handle.
fn find<T>(handle: &JoinHandle<T>) -> Option<GoroutineInfo> {
    let mut found: Vec<_> =
        inspect::goroutines().into_iter().filter(|goroutine| goroutine.id == handle.id()).collect();
    assert!(found.len() <= 1, "it is found twice: {found:?}");
    found.pop()
}

fn reason(goroutine: &GoroutineInfo) -> Option<WaitReason> {
    if let GoroutineState::Waiting { reason, .. } = goroutine.state { Some(reason) } else { None }
}

#[test]
fn a_goroutine_is_found_in_each_state() {
    for procs in [1, 2] {
        no_hang(move || {
            runtime(procs).block_on(async {
                let (tx, rx) = chan::unbuffered::<u8>();
                let line = line!() + 1;
                let waits = go(async move { rx.recv().await });
                while find(&waits).is_none_or(|found| !found.is_waiting()) {
                    gosched().await;
                }
                let found = find(&waits).unwrap();
                let GoroutineState::Waiting { reason, at: Some(at), since, also_elsewhere, .. } =
                    found.state
                else {
                    panic!("{found:?}")
                };
                assert_eq!((reason, also_elsewhere), (WaitReason::ChanReceive, false));
                assert_eq!((at.file(), at.line(), found.spawned_at.line()), (file!(), line, line));
                assert!(since <= Instant::now() && !found.is_main && found.name.is_none());

                let me = inspect::goroutines()
                    .into_iter()
                    .find(|one| one.is_main && one.runtime == found.runtime);
                assert_eq!(me.unwrap().state, GoroutineState::Running);

                // It is woken, and queued behind this goroutine. With two processors the other one
                // may run it. With one it has ended only if the kernel has kept this thread from
                // its core so long that the processor was given to another worker.
                tx.try_send(1).unwrap();
                let woken = find(&waits);
                assert!(
                    procs > 1 || woken.is_none_or(|woken| woken.state == GoroutineState::Runnable)
                );
                assert_eq!(waits.await.unwrap(), Some(1));
            });
        });
    }
}

#[test]
fn goroutines_that_have_never_parked_are_found_and_keep_their_order() {
    no_hang(|| {
        runtime(1).block_on(async {
            let order = Arc::new(std::sync::Mutex::new(Vec::new()));
            let handles: Vec<_> = (0..1000)
                .map(|i| {
                    let order = order.clone();
                    go(async move { order.lock().unwrap().push(i) })
                })
                .collect();
            for _ in 0..3 {
                let all = inspect::goroutines();
                let ids: HashSet<_> = all.iter().map(|goroutine| goroutine.id).collect();
                assert_eq!(ids.len(), all.len(), "one is found twice");
                for handle in &handles {
                    // A goroutine may have ended if the monitor has given it to another worker,
                    // because this poll takes long.
                    assert!(
                        ids.contains(&handle.id()) || handle.is_finished(),
                        "{} is missing",
                        handle.id()
                    );
                }
            }
            for handle in handles {
                handle.await.unwrap();
            }
            // The last one runs next (Go's order); the others are FIFO.
            let mut expected: Vec<_> = (0..999).collect();
            expected.insert(0, 999);
            let order = order.lock().unwrap().clone();
            assert_eq!(order.len(), 1000);
            assert!(order.iter().collect::<HashSet<_>>().len() == 1000);
        });
    });
}

#[test]
fn a_goroutine_in_its_first_poll_is_running_and_one_that_ended_is_gone() {
    no_hang(|| {
        let rt = runtime(2);
        let (began, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let handle = rt.go(async move {
            began.send(()).unwrap();
            let _ = ends.recv();
        });
        begins.recv().unwrap();
        assert_eq!(find(&handle).unwrap().state, GoroutineState::Running);
        drop(end);
        rt.block_on(async {
            let id = handle.id();
            handle.await.unwrap();
            assert!(inspect::goroutines().iter().all(|goroutine| goroutine.id != id));
        });
    });
}

/// Goroutines start, run, park, move and end on several threads, and `gomaxprocs` changes, while
/// other threads list them. Each list has each goroutine that lives all the time exactly once, and
/// nothing else goes wrong, such as a use of a freed goroutine.
#[test]
fn looks_beside_goroutines_that_come_and_go_find_each_that_stays() {
    no_hang(|| {
        let rt = Arc::new(runtime(4));
        let stop = Arc::new(AtomicBool::new(false));
        let (tx, rx) = chan::bounded::<u8>(4);
        // Until it has parked once, a goroutine that moves from queue to queue during each attempt
        // may be missed.
        let have_parked = WaitGroup::new();
        have_parked.add(40);
        let parks_first = |have_parked: WaitGroup| async move {
            gosched().await;
            have_parked.done();
        };
        let parked: Vec<_> = (0..20)
            .map(|_| {
                let first = parks_first(have_parked.clone());
                rt.go(async {
                    first.await;
                    pending::<()>().await;
                })
            })
            .collect();
        let busy: Vec<_> = (0..20)
            .map(|i| {
                let (tx, rx, stop) = (tx.clone(), rx.clone(), stop.clone());
                let first = parks_first(have_parked.clone());
                rt.go(async move {
                    first.await;
                    while !stop.load(Ordering::Relaxed) {
                        match i % 4 {
                            0 => drop(tx.try_send(1)),
                            1 => drop(rx.try_recv()),
                            2 => drop(go(async { gosched().await }).await),
                            _ => drop(go(async {})),
                        }
                        gosched().await;
                    }
                })
            })
            .collect();
        rt.block_on(have_parked.wait());
        let ids: HashSet<_> = parked.iter().chain(&busy).map(JoinHandle::id).collect();
        let looks: Vec<_> = (0..2)
            .map(|_| {
                let ids = ids.clone();
                thread::spawn(move || {
                    for _ in 0..150 {
                        let all = inspect::goroutines();
                        let found: HashSet<_> = all.iter().map(|goroutine| goroutine.id).collect();
                        assert_eq!(found.len(), all.len(), "one is found twice");
                        let missing: Vec<_> = ids.difference(&found).collect();
                        assert!(missing.is_empty(), "not found: {missing:?}");
                    }
                })
            })
            .collect();
        for look in 0..50 {
            rt.gomaxprocs(1 + look % 4);
            thread::yield_now();
        }
        for look in looks {
            look.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        rt.block_on(async {
            for handle in busy {
                handle.await.unwrap();
            }
        });
    });
}

/// If locks are recorded, channels are.
#[test]
fn a_wait_for_a_channel_says_what_is_known_of_it() {
    if !cfg!(debug_assertions) {
        return;
    }
    no_hang(|| {
        runtime(2).block_on(async {
            let channel = |handle: &JoinHandle<_>| find(handle).and_then(|found| found.channel);
            let facts = |found: inspect::ChannelInfo| {
                (found.senders, found.receivers, found.buffered, found.capacity)
            };
            let (tx, rx) = chan::bounded::<u8>(2);
            let other = rx.clone();
            let receives = go(async move { other.recv().await.is_some() });
            while channel(&receives).is_none() {
                gosched().await;
            }
            assert_eq!(channel(&receives).map(facts), Some((1, 2, 0, 2)));
            tx.send(1).await.unwrap();
            assert!(receives.await.unwrap());

            tx.send(1).await.unwrap();
            tx.send(2).await.unwrap();
            let full = tx.clone();
            let sends = go(async move { full.send(3).await.is_ok() });
            while channel(&sends).is_none() {
                gosched().await;
            }
            assert_eq!(channel(&sends).map(facts), Some((2, 1, 2, 2)));
            assert_eq!((rx.recv().await, sends.await.unwrap()), (Some(1), true));

            // Two at once: the report does not say which one it waits for.
            let (silent, (_kept, nothing)) = (rx.clone(), chan::unbuffered::<u8>());
            assert_eq!((rx.recv().await, rx.recv().await), (Some(2), Some(3)));
            let waits = go(async move {
                let mut first = Box::pin(silent.recv());
                assert!(futures_lite::future::poll_once(&mut first).await.is_none());
                nothing.recv().await.is_none()
            });
            while find(&waits).is_none_or(|found| !found.is_waiting()) {
                gosched().await;
            }
            assert_eq!(channel(&waits), None);
            waits.abort();
        });
    });
}

/// The channel's memory is freed while other threads list it.
#[test]
fn channels_that_come_and_go_are_looked_at() {
    no_hang(|| {
        runtime(4).block_on(async {
            let line = line!() + 6;
            let busy: Vec<_> = (0..4)
                .map(|_| {
                    go(async {
                        for value in 0..500 {
                            let (tx, rx) = chan::unbuffered();
                            let receives = go(async move { rx.recv().await });
                            gosched().await;
                            tx.send(value).await.unwrap();
                            assert_eq!(receives.await.unwrap(), Some(value));
                        }
                    })
                })
                .collect();
            while !busy.iter().all(JoinHandle::is_finished) {
                let one =
                    |channel: inspect::ChannelInfo| channel.senders <= 1 && channel.receivers <= 1;
                let all = inspect::goroutines();
                let receives = all.iter().filter(|found| found.spawned_at.line() == line);
                assert!(receives.filter_map(|found| found.channel).all(one));
                gosched().await;
            }
        });
    });
}

#[test]
fn a_dump_has_a_line_for_each_group_and_few_lines_for_many_groups() {
    isolated(|| {
        runtime(1).block_on(async {
            let mutex = Arc::new(Mutex::new(()));
            let held = mutex.lock().await;
            let line = line!() + 3;
            for _ in 0..500 {
                let mutex = mutex.clone();
                go(async move { drop(mutex.lock().await) });
            }
            go(named("one", pending::<()>()));
            while inspect::goroutines().iter().filter(|goroutine| goroutine.is_waiting()).count()
                < 501
            {
                gosched().await;
            }
            let mut text = Vec::new();
            inspect::dump(&mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let site = format!("{}:{line}", file!());
            assert!(
                text.starts_with(
                    "gopark: goroutines: 502, runtimes: 1\n500 goroutines [sync.Mutex.Lock, "
                ),
                "{text}"
            );
            assert!(text.contains(&format!("s] at {site}, spawned at {site}\n")), "{text}");
            assert!(text.contains("goroutine 1 (main) [running], spawned at "), "{text}");
            assert!(text.contains(" \"one\" [foreign future, "), "{text}");
            assert_eq!(text.lines().count(), 4, "{text}");
            drop(held);
        });
    });
}

#[test]
fn a_panic_hook_and_a_destructor_may_look() {
    isolated(|| {
        static FOUND: AtomicBool = AtomicBool::new(false);
        struct Looks;
        impl Drop for Looks {
            fn drop(&mut self) {
                assert!(
                    inspect::goroutines()
                        .iter()
                        .any(|goroutine| goroutine.state == GoroutineState::Running)
                );
            }
        }
        std::panic::set_hook(Box::new(|_| {
            let found = inspect::goroutines()
                .iter()
                .any(|one| reason(one) == Some(WaitReason::WaitGroupWait));
            FOUND.store(found, Ordering::Relaxed);
        }));
        runtime(2).block_on(async {
            let wg = WaitGroup::new();
            wg.add(1);
            let waits = wg.clone();
            let handle = go(async move { waits.wait().await });
            while find(&handle).is_none_or(|found| !found.is_waiting()) {
                gosched().await;
            }
            let panics = go(async {
                let _looks = Looks;
                panic!("looked at");
            });
            assert!(panics.await.unwrap_err().is_panic());
            wg.done();
            handle.await.unwrap();
        });
        assert!(FOUND.load(Ordering::Relaxed));
    });
}

#[test]
fn a_name_ends_with_its_future() {
    no_hang(|| {
        runtime(1).block_on(async {
            let (tx, rx) = chan::unbuffered::<()>();
            let handle = go(async move {
                named("first", async { rx.recv().await }).await;
                rx.recv().await
            });
            gosched().await;
            let found = find(&handle).unwrap();
            assert_eq!(found.name.as_deref(), Some("first"));
            assert!(
                found
                    .to_string()
                    .starts_with(&format!("{} \"first\" [chan receive, 0.", handle.id())),
                "{found}"
            );
            tx.send(()).await.unwrap();
            // On a busy machine this goroutine may lose its processor, and come before the other.
            while find(&handle).unwrap().name.is_some() {
                gosched().await;
            }
            tx.send(()).await.unwrap();
            handle.await.unwrap();
        });
    });
}

#[test]
fn the_name_of_a_future_holds_again_when_one_inside_has_ended() {
    no_hang(|| {
        runtime(1).block_on(async {
            let (tx, rx) = chan::unbuffered::<()>();
            let handle = go(named("outer", async move {
                named("inner", async { rx.recv().await }).await;
                rx.recv().await
            }));
            for name in ["inner", "outer"] {
                gosched().await;
                assert_eq!(find(&handle).unwrap().name.as_deref(), Some(name));
                tx.send(()).await.unwrap();
            }
            handle.await.unwrap();
        });
    });
}

#[test]
fn a_leak_check_names_what_is_left_and_nothing_else() {
    no_hang(|| {
        runtime(2).block_on(async {
            let _before = go(pending::<()>());
            gosched().await;
            let check = LeakCheck::new().grace(Duration::from_millis(20));
            let ends = go(async { gosched().await });
            let line = line!() + 1;
            let left = go(named("left", pending::<()>()));
            let failed = go(async move {
                let finish = check.finish();
                finish.await;
            });
            let text = *failed.await.unwrap_err().into_panic().downcast::<String>().unwrap();
            let at = format!(" still there at {}:{}\n", file!(), line + 2);
            assert!(text.starts_with("gopark: ") && text.contains(&at), "{text}");
            assert!(text.contains(&format!("{} \"left\" [foreign future, ", left.id())), "{text}");
            assert!(text.contains(&format!("spawned at {}:{line}", file!())), "{text}");
            ends.await.unwrap();

            LeakCheck::new().finish().await;
            let check = LeakCheck::new().ignore(|one| one.name.as_deref() == Some("pool"));
            go(named("pool", pending::<()>()));
            check.finish().await;
            let check = LeakCheck::new().ignore_spawned_at("it/inspect.rs");
            go(pending::<()>());
            check.finish().await;
        });
    });
}

#[test]
fn a_leak_check_that_is_dropped_looks_once_unless_its_thread_panics() {
    no_hang(|| {
        runtime(1).block_on(async {
            let line = line!() + 1;
            let check = LeakCheck::new();
            let left = go(pending::<()>());
            gosched().await;
            let caught = catch_unwind(AssertUnwindSafe(|| drop(check)));
            let text = caught.unwrap_err().downcast::<String>().unwrap();
            let head =
                format!("gopark: 1 goroutine started since {}:{line}, and parked\n", file!());
            assert!(text.starts_with(&head), "{text}");

            let check = LeakCheck::new();
            let more = go(pending::<()>());
            gosched().await;
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _check = check;
                panic!("the first panic");
            }));
            assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "the first panic");
            left.abort();
            more.abort();
        });
    });
}

#[test]
fn groups_that_grow_come_first() {
    isolated(|| {
        runtime(1).block_on(async {
            let steady = || go(pending::<()>());
            let grows = || go(async { pending::<()>().await });
            steady();
            steady();
            grows();
            gosched().await;
            assert_eq!(
                inspect::leaks(Duration::ZERO).iter().map(|group| group.count).sum::<usize>(),
                3
            );
            for _ in 0..3 {
                grows();
            }
            gosched().await;
            let groups = inspect::leaks(Duration::ZERO);
            let counts: Vec<_> = groups.iter().map(|group| (group.count, group.grown)).collect();
            assert_eq!(counts, [(4, 3), (2, 0)]);
            assert_eq!(groups[0].reason, WaitReason::Foreign);
            assert!(inspect::leaks(Duration::from_secs(3600)).is_empty());
        });
    });
}
