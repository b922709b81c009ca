//! `sync::SingleFlight`.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use futures_lite::future::block_on;
use gopark::sync::{SingleFlight, WaitGroup};
use gopark::{chan, gosched};

use crate::hand::{Acts, Dice, Hand, on_procs};

#[test]
fn overlapping_calls_run_once_and_share_xs07() {
    let flights = SingleFlight::new();
    let (open, shut) = chan::unbuffered::<()>();
    let work = || async {
        shut.recv().await;
        String::from("result")
    };
    let mut leader = Hand::parked(flights.work(1, work()));
    let mut others: Vec<_> =
        (0..20).map(|_| Hand::parked(flights.work(1, async { panic!("twice") }))).collect();
    let mut elsewhere = Hand::new(flights.work(2, async { String::from("other key") }));
    assert_eq!(elsewhere.ready(), (String::from("other key"), false));
    assert_eq!(format!("{flights:?}"), "SingleFlight { in_flight: 1, .. }");
    drop(open);
    assert_eq!(leader.ready(), (String::from("result"), true));
    for other in &mut others {
        assert_eq!(other.wakes(), 1);
        assert_eq!(other.ready(), (String::from("result"), true));
    }
    assert_eq!(format!("{flights:?}"), "SingleFlight { in_flight: 0, .. }");
}

#[test]
fn later_call_works_again_xs07() {
    let flights = SingleFlight::new();
    for i in 0..3 {
        assert_eq!(block_on(flights.work("key", async { i })), (i, false));
    }
}

#[test]
fn nothing_is_joined_before_the_first_poll() {
    let flights = SingleFlight::new();
    let idle = flights.work("key", async { 1 });
    assert_eq!(block_on(flights.work("key", async { 2 })), (2, false));
    assert_eq!(block_on(idle), (1, false));
}

#[test]
fn forgotten_key_starts_afresh_xs08() {
    let flights = SingleFlight::new();
    let (open, shut) = chan::unbuffered::<()>();
    let mut old = Hand::parked(flights.work("key", async {
        shut.recv().await;
        "old"
    }));
    let mut waits = Hand::parked(flights.work("key", async { "unused" }));
    flights.forget(&"key");
    flights.forget(&"key");
    assert_eq!(block_on(flights.work("key", async { "new" })), ("new", false));
    // The end of the old call does not disturb a new one for the same key.
    let (open2, shut2) = chan::unbuffered::<()>();
    let mut fresh = Hand::parked(flights.work("key", async {
        shut2.recv().await;
        "fresh"
    }));
    drop(open);
    assert_eq!(old.ready(), ("old", true));
    assert_eq!(waits.ready(), ("old", true));
    let mut joins = Hand::parked(flights.work("key", async { "unused" }));
    drop(open2);
    assert_eq!(fresh.ready(), ("fresh", true));
    assert_eq!(joins.ready(), ("fresh", true));
}

#[test]
fn panic_is_raised_in_every_waiter_xs09() {
    let flights = SingleFlight::<_, ()>::new();
    let (open, shut) = chan::unbuffered::<()>();
    let mut leader = Hand::parked(flights.work("key", async {
        shut.recv().await;
        panic!("the work failed")
    }));
    let mut others: Vec<_> =
        (0..3).map(|_| Hand::parked(flights.work("key", async { panic!("twice") }))).collect();
    drop(open);
    let payload = catch_unwind(AssertUnwindSafe(|| leader.poll().is_ready())).unwrap_err();
    assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "the work failed");
    for hand in &mut others {
        let payload = catch_unwind(AssertUnwindSafe(|| hand.poll().is_ready())).unwrap_err();
        assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "the work failed");
    }
    // And the call has ended.
    assert_eq!(block_on(flights.work("key", async {})), ((), false));
}

#[test]
fn dropped_leader_leaves_the_work_to_the_next_xs09() {
    let flights = SingleFlight::new();
    let (_open, shut) = chan::unbuffered::<()>();
    let leader = Hand::parked(flights.work("key", async {
        shut.recv().await;
        0
    }));
    let mut second = Hand::parked(flights.work("key", async { 2 }));
    let mut third = Hand::parked(flights.work("key", async { 3 }));
    drop(leader);
    assert_eq!((second.wakes(), third.wakes()), (1, 0));
    assert_eq!(second.ready(), (2, true));
    assert_eq!(third.ready(), (2, true));
}

/// The next caller may be polled while the one before it is still being dropped.
/// A bug: a dropped call passed its turn on before it had left. The next call ended in between,
/// counted it, and reported its own result as shared.
#[test]
fn one_who_has_left_does_not_count_as_shared() {
    let flights: &'static SingleFlight<&str, i32> = Box::leak(Box::default());
    for waits in [false, true] {
        let (_open, shut) = chan::unbuffered::<()>();
        let leader = Hand::parked(flights.work("key", async move {
            shut.recv().await;
            0
        }));
        let middle = waits.then(|| Hand::parked(flights.work("key", async { 1 })));
        let next = Arc::new(std::sync::Mutex::new(None));
        let (next2, result) = (next.clone(), Arc::new(std::sync::Mutex::new(None)));
        let result2 = result.clone();
        let on_wake = move || {
            let mut hand: Hand<_> = next2.lock().unwrap().take().unwrap();
            *result2.lock().unwrap() = Some(hand.ready());
        };
        let waker =
            Waker::from(Arc::new(Acts { on_wake: Box::new(on_wake), on_drop: Box::new(|| ()) }));
        let mut hand = Hand::new(boxed(flights.work("key", async { 2 })));
        assert!(hand.poll_with(&waker).is_pending());
        *next.lock().unwrap() = Some(hand);
        drop(leader);
        // It was given the turn, and has not been polled since.
        drop(middle);
        assert_eq!(*result.lock().unwrap(), Some((2, false)), "{waits}");
    }
}

fn boxed<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

#[test]
fn leader_dropped_alone_leaves_nothing_behind_xs09() {
    let flights = SingleFlight::<_, i32>::new();
    let (_open, shut) = chan::unbuffered::<()>();
    let leader = Hand::parked(flights.work("key", async {
        shut.recv().await;
        0
    }));
    drop(leader);
    assert_eq!(format!("{flights:?}"), "SingleFlight { in_flight: 0, .. }");
}

#[test]
fn dropped_waiter_does_not_count_as_shared() {
    let flights = SingleFlight::new();
    let (open, shut) = chan::unbuffered::<()>();
    let mut leader = Hand::parked(flights.work("key", async {
        shut.recv().await;
        1
    }));
    drop(Hand::parked(flights.work("key", async { 2 })));
    drop(open);
    assert_eq!(leader.ready(), (1, false));
}

#[test]
fn a_clone_that_panics_reaches_everyone() {
    #[derive(Debug)]
    struct Bad;
    impl Clone for Bad {
        fn clone(&self) -> Self {
            panic!("no copies")
        }
    }
    let flights = SingleFlight::new();
    assert!(!block_on(flights.work("alone", async { Bad })).1);
    let (open, shut) = chan::unbuffered::<()>();
    let mut leader = Hand::parked(flights.work("key", async {
        shut.recv().await;
        Bad
    }));
    let mut other = Hand::parked(flights.work("key", async { Bad }));
    drop(open);
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll().is_ready())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| other.poll().is_ready())).is_err());
}

/// A key that uses the map that contains it, whenever it is compared or hashed.
#[test]
fn keys_may_use_the_flights() {
    #[derive(Clone)]
    struct Key(u8, &'static std::sync::OnceLock<SingleFlight<Key, u8>>, bool);
    impl Key {
        fn reenter(&self) {
            thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
            if self.2 && !INSIDE.replace(true) {
                let flights = self.1.get().unwrap();
                flights.forget(&Key(9, self.1, false));
                let _ = format!("{flights:?}");
                INSIDE.set(false);
            }
        }
    }
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.reenter();
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.reenter();
            // All in one bucket.
            0.hash(state);
        }
    }
    static FLIGHTS: std::sync::OnceLock<SingleFlight<Key, u8>> = std::sync::OnceLock::new();
    let flights = FLIGHTS.get_or_init(SingleFlight::new);
    let key = |n| Key(n, &FLIGHTS, true);
    let (open, shut) = chan::unbuffered::<()>();
    let mut hands: Vec<_> = (0..6)
        .map(|i| {
            let shut = shut.clone();
            Hand::parked(flights.work(key(i % 3), async move {
                shut.recv().await;
                i
            }))
        })
        .collect();
    drop(open);
    let results: Vec<_> = hands.iter_mut().map(Hand::ready).collect();
    assert_eq!(results, [(0, true), (1, true), (2, true), (0, true), (1, true), (2, true)]);
}

#[test]
fn goroutines_that_give_up_leave_no_call_behind() {
    on_procs(2, async {
        let flights = Arc::new(SingleFlight::new());
        let running = Arc::new([const { AtomicUsize::new(0) }; 4]);
        let wg = WaitGroup::new();
        for g in 0..12 {
            let (flights, running) = (flights.clone(), running.clone());
            wg.go(async move {
                let mut dice = Dice::new(g);
                for _ in 0..1_000 {
                    let key = dice.roll(4);
                    let running2 = running.clone();
                    let work = flights.work(key, async move {
                        struct Leave(Arc<[AtomicUsize; 4]>, usize);
                        impl Drop for Leave {
                            fn drop(&mut self) {
                                self.0[self.1].fetch_sub(1, Ordering::SeqCst);
                            }
                        }
                        let _leave = Leave(running2, key);
                        assert_eq!(_leave.0[key].fetch_add(1, Ordering::SeqCst), 0, "two leaders");
                        gosched().await;
                        key
                    });
                    if dice.roll(3) == 0 {
                        let mut hand = Hand::new(work);
                        let _ = hand.poll();
                        gosched().await;
                        let _ = hand.is_done() || hand.poll().is_ready();
                    } else {
                        assert_eq!(work.await.0, key);
                    }
                }
            });
        }
        wg.wait().await;
        assert_eq!(format!("{flights:?}"), "SingleFlight { in_flight: 0, .. }");
    });
}

#[test]
fn singleflight_fits_everywhere() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Send + Sync>(_: &T) {}
    let flights = SingleFlight::<i32, std::cell::Cell<i32>>::default();
    sync(&flights);
    send(&flights.work(1, async { std::cell::Cell::new(1) }));
}
