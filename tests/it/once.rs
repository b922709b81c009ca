//! `sync::Once` and `sync::OnceValue`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use futures_lite::future::block_on;
use gopark::chan;
use gopark::gosched;
use gopark::sync::{Once, OnceValue, WaitGroup};

use crate::hand::{Hand, on_procs};
use crate::util::{in_child, no_hang};

/// A place where a function waits until the sender is dropped.
fn gate() -> (chan::Sender<()>, chan::Receiver<()>) {
    chan::unbuffered()
}

#[test]
fn runs_once_on01() {
    let once = Once::new();
    let n = Cell::new(0);
    for _ in 0..3 {
        once.call_once(|| n.set(n.get() + 1));
        block_on(once.call_once_async(async || n.set(n.get() + 1)));
    }
    assert_eq!(n.get(), 1);
    assert!(once.is_done());
}

#[test]
fn concurrent_callers_return_after_it_finished_on01() {
    let once = Once::new();
    let (open, shut) = gate();
    let done = Cell::new(false);
    let mut first = Hand::parked(once.call_once_async(async || {
        shut.recv().await;
        done.set(true);
    }));
    let mut others: Vec<_> =
        (0..20).map(|_| Hand::parked(once.call_once_async(async || panic!("twice")))).collect();
    assert!(!once.is_done());
    drop(open);
    first.ready();
    assert!(done.get());
    for other in &mut others {
        assert_eq!(other.wakes(), 1);
        other.ready();
    }
}

#[test]
fn threads_and_goroutines_wait_for_each_other_on01() {
    for _ in 0..50 {
        let once = Arc::new(Once::new());
        let n = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (once, n) = (once.clone(), n.clone());
                std::thread::spawn(move || {
                    once.call_once(|| assert_eq!(n.fetch_add(1, Ordering::SeqCst), 0));
                    assert_eq!(n.load(Ordering::SeqCst), 1);
                })
            })
            .collect();
        on_procs(2, async move {
            let wg = WaitGroup::new();
            for i in 0..8 {
                let (once, n) = (once.clone(), n.clone());
                wg.go(async move {
                    if i % 2 == 0 {
                        once.call_once(|| assert_eq!(n.fetch_add(1, Ordering::SeqCst), 0));
                    } else {
                        once.call_once_async(async || {
                            gosched().await;
                            n.fetch_add(1, Ordering::SeqCst);
                        })
                        .await;
                    }
                    assert_eq!(n.load(Ordering::SeqCst), 1);
                });
            }
            wg.wait().await;
        });
        threads.into_iter().for_each(|t| t.join().unwrap());
    }
}

#[test]
fn blocking_call_waits_for_an_asynchronous_one_on_the_same_processor() {
    on_procs(1, async {
        let once = Arc::new(Once::new());
        let wg = WaitGroup::new();
        let other = once.clone();
        wg.go(async move {
            other
                .call_once_async(async || {
                    for _ in 0..10 {
                        gosched().await;
                    }
                })
                .await;
        });
        gosched().await;
        once.call_once(|| panic!("twice"));
        assert!(once.is_done());
        wg.wait().await;
    });
}

#[test]
fn panic_counts_as_done_on02() {
    let once = Once::new();
    let caught = catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("first"))));
    assert_eq!(*caught.unwrap_err().downcast_ref::<&str>().unwrap(), "first");
    once.call_once(|| panic!("second"));
    assert!(once.is_done());

    let once = Once::new();
    let mut first = Hand::new(once.call_once_async(async || panic!("first")));
    assert!(catch_unwind(AssertUnwindSafe(|| first.poll().is_ready())).is_err());
    block_on(once.call_once_async(async || panic!("second")));
    assert!(once.is_done());
}

#[test]
fn panic_lets_those_who_wait_go_on02() {
    let once = Once::new();
    let (open, shut) = gate();
    let mut first = Hand::parked(once.call_once_async(async || {
        shut.recv().await;
        panic!("first");
    }));
    let mut second = Hand::parked(once.call_once_async(async || panic!("second")));
    drop(open);
    assert!(catch_unwind(AssertUnwindSafe(|| first.poll().is_ready())).is_err());
    second.ready();
}

#[test]
fn asking_inside_waits_for_ever_on03() {
    let once = Once::new();
    let mut outer = Hand::parked(
        once.call_once_async(async || once.call_once_async(async || panic!("twice")).await),
    );
    assert!(outer.is_pending());
    assert_eq!(outer.wakes(), 0);
}

#[test]
fn asking_inside_a_blocking_call_panics_on03() {
    let once = Once::new();
    let caught = catch_unwind(AssertUnwindSafe(|| once.call_once(|| once.call_once(|| ()))));
    let text = *caught.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(text, "gopark: Once::call_once called by its own function");
}

/// A value that calls for itself while it is made, and what calls afterwards.
#[test]
fn value_that_asks_for_itself_panics_on03() {
    const TEXT: &str = "gopark: OnceValue::get called by its own function";
    static VALUE: LazyLock<OnceValue<i32>> =
        LazyLock::new(|| OnceValue::new(|| block_on(async { *VALUE.get().await })));
    if let Some(ended) = in_child(&[]) {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        // At the `await`.
        let (at, _) = ended.stderr.split_once(TEXT).expect("the panic's text");
        assert!(
            at.trim_end().lines().last().unwrap().contains("tests/it/once.rs"),
            "{}",
            ended.stderr
        );
        return;
    }
    let text = |asked: std::thread::Result<i32>| {
        (*asked.unwrap_err().downcast::<&str>().unwrap()).to_owned()
    };
    for _ in 0..2 {
        assert_eq!(text(catch_unwind(|| block_on(async { *VALUE.get().await }))), TEXT);
    }
}

/// The function's main runs on another thread.
#[test]
fn value_that_asks_for_itself_in_a_main_panics_on03() {
    static VALUE: LazyLock<OnceValue<i32>> =
        LazyLock::new(|| OnceValue::new(|| gopark::block_on(async { *VALUE.get().await })));
    let caught = no_hang(|| catch_unwind(|| block_on(async { *VALUE.get().await })));
    let text = *caught.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(text, "gopark: OnceValue::get called by its own function");
}

/// From a goroutine, whose thread blocks meanwhile.
#[test]
fn value_that_asks_for_itself_on_a_processor_panics_on03() {
    static VALUE: LazyLock<OnceValue<i32>> =
        LazyLock::new(|| OnceValue::new(|| block_on(async { *VALUE.get().await })));
    on_procs(1, async {
        let error = gopark::go(async { *VALUE.get().await }).await.unwrap_err();
        assert!(error.to_string().contains("OnceValue::get called by its own function"), "{error}");
    });
}

#[test]
fn dropped_midway_the_next_one_does_its_own_ca12() {
    let once = Once::new();
    let (_open, shut) = gate();
    let ran = Cell::new(0);
    let first = Hand::parked(once.call_once_async(async || assert!(shut.recv().await.is_none())));
    let mut second = Hand::parked(once.call_once_async(async || ran.set(2)));
    let mut third = Hand::parked(once.call_once_async(async || ran.set(3)));
    drop(first);
    assert!(!once.is_done());
    assert_eq!((second.wakes(), third.wakes()), (1, 0));
    second.ready();
    third.ready();
    assert_eq!(ran.get(), 2);
}

#[test]
fn dropped_while_waiting_nothing_happens_ca12() {
    let once = Once::new();
    let (open, shut) = gate();
    let mut first =
        Hand::parked(once.call_once_async(async || assert!(shut.recv().await.is_none())));
    drop(Hand::parked(once.call_once_async(async || panic!("twice"))));
    drop(open);
    first.ready();
    assert!(once.is_done());
}

#[test]
fn value_is_computed_once_on01() {
    on_procs(2, async {
        let n = Arc::new(AtomicUsize::new(0));
        let n2 = n.clone();
        let value = Arc::new(OnceValue::new(move || n2.fetch_add(1, Ordering::SeqCst) + 7));
        let wg = WaitGroup::new();
        for _ in 0..16 {
            let value = value.clone();
            wg.go(async move { assert_eq!(*value.get().await, 7) });
        }
        wg.wait().await;
        assert_eq!(n.load(Ordering::SeqCst), 1);
        let (first, second): (&usize, &usize) = (value.get().await, value.get().await);
        assert!(std::ptr::eq(first, second));
    });
}

#[test]
fn value_raises_the_same_panic_every_time_on04() {
    let text = |value: &OnceValue<()>| {
        let payload = catch_unwind(AssertUnwindSafe(|| block_on(value.get()))).unwrap_err();
        match payload.downcast::<&str>() {
            Ok(text) => text.to_string(),
            Err(payload) => *payload.downcast::<String>().unwrap(),
        }
    };
    let fixed = OnceValue::new(|| panic!("fixed"));
    let made = OnceValue::new(|| panic!("made of {}", 2));
    for _ in 0..3 {
        assert_eq!(text(&fixed), "fixed");
        assert_eq!(text(&made), "made of 2");
    }
    // The first caller gets the payload itself, the others at least a text.
    let odd = OnceValue::new(|| std::panic::panic_any(7));
    let first = catch_unwind(AssertUnwindSafe(|| block_on(odd.get()))).unwrap_err();
    assert_eq!(*first.downcast::<i32>().unwrap(), 7);
    assert!(text(&odd).contains("not a string"));
}

#[test]
fn function_is_dropped_after_the_first_call_on05() {
    let held = Arc::new(());
    let captured = held.clone();
    let value = OnceValue::new(move || drop(captured.clone()));
    assert_eq!(Arc::strong_count(&held), 2);
    block_on(value.get());
    assert_eq!(Arc::strong_count(&held), 1);

    let captured = held.clone();
    let value: OnceValue<()> = OnceValue::new(move || {
        let _captured = &captured;
        panic!("no")
    });
    assert!(catch_unwind(AssertUnwindSafe(|| block_on(value.get()))).is_err());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn function_never_called_is_dropped_with_the_value_on05() {
    let held = Arc::new(());
    let captured = held.clone();
    drop(OnceValue::new(move || captured));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn once_fits_everywhere() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| ());
    assert_eq!(
        format!("{ONCE:?} {:?}", Once::default()),
        "Once { done: true } Once { done: false }"
    );
    let value = OnceValue::new(|| 1);
    assert_eq!(format!("{value:?}"), "OnceValue { value: <not computed> }");
    block_on(value.get());
    assert_eq!(format!("{value:?}"), "OnceValue { value: 1 }");
    fn send<T: Send>(_: &T) {}
    fn sync<T: Sync>(_: &T) {}
    sync(&value);
    send(&value.get());
    send(&ONCE.call_once_async(async || ()));
}

#[test]
fn many_threads_block_on_one() {
    no_hang(|| {
        for _ in 0..100 {
            let once = Once::new();
            let n = AtomicUsize::new(0);
            std::thread::scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| {
                        once.call_once(|| {
                            std::thread::yield_now();
                            n.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(n.load(Ordering::Relaxed), 1);
                    });
                }
            });
        }
    });
}
