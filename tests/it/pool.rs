//! `sync::Pool`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gopark::sync::{Pool, PoolGuard, WaitGroup};
use gopark::{gomaxprocs, gosched};

use crate::hand::{Dice, Hand, on_procs};

#[test]
fn get_returns_what_was_put_or_a_new_one_po01() {
    let made = Arc::new(AtomicUsize::new(0));
    let made2 = made.clone();
    let pool = Pool::new(move || made2.fetch_add(1, Ordering::SeqCst));
    assert_eq!(pool.get(), 0);
    pool.put(100);
    assert_eq!(pool.get(), 100);
    assert_eq!(pool.get(), 1);
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[test]
fn private_place_first_then_newest_first_po02() {
    let pool = Pool::new(|| 'n');
    for object in ['a', 'b', 'c'] {
        pool.put(object);
    }
    // Go's order: a is the private one; b and c are in the ring.
    assert_eq!([pool.get(), pool.get(), pool.get(), pool.get()], ['a', 'c', 'b', 'n']);
}

#[test]
fn other_processors_objects_are_found_po02() {
    let pool = Arc::new(Pool::new(|| 0));
    pool.put(1);
    pool.put(2);
    let pool2 = pool.clone();
    let got = on_procs(1, async move {
        let mut got = [pool2.get(), pool2.get()];
        got.sort();
        pool2.put(3);
        got
    });
    assert_eq!(got, [1, 2]);
    // And the other way round.
    assert_eq!(pool.get(), 3);
    assert_eq!(pool.get(), 0);
}

#[test]
fn another_processors_oldest_comes_first_then_what_has_aged_po02() {
    let pool = Arc::new(Pool::new(|| 'n'));
    pool.put('x');
    pool.age();
    for object in ['a', 'b', 'c'] {
        pool.put(object);
    }
    let pool2 = pool.clone();
    // The private one, a, comes last.
    let got = on_procs(1, async move { [(); 5].map(|()| pool2.get()) });
    assert_eq!(got, ['b', 'c', 'a', 'x', 'n']);
}

/// Counts the objects that exist.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::SeqCst);
        Counted(live.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn spare_object_survives_one_generation_not_two_po03() {
    let live = Arc::new(AtomicUsize::new(0));
    let live2 = live.clone();
    let pool = Pool::new(move || Counted::new(&live2));
    for _ in 0..10 {
        pool.put(Counted::new(&live));
    }
    pool.age();
    assert_eq!(live.load(Ordering::SeqCst), 10);
    // An aged object can still be taken.
    drop(pool.get());
    assert_eq!(live.load(Ordering::SeqCst), 9);
    pool.put(Counted::new(&live));
    pool.age();
    assert_eq!(live.load(Ordering::SeqCst), 1);
    pool.age();
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

#[test]
fn pool_does_not_grow_without_bound_po03() {
    let live = Arc::new(AtomicUsize::new(0));
    let live2 = live.clone();
    let pool = Pool::new(move || Counted::new(&live2));
    for _ in 0..10_000 {
        pool.put(Counted::new(&live));
    }
    let kept = live.load(Ordering::SeqCst);
    assert!((100..1_000).contains(&kept), "{kept} objects kept");
    drop(pool);
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

#[test]
fn large_objects_are_kept_in_ones_and_twos() {
    let pool = Pool::new(|| [0u8; 40_000]);
    for i in 1..=5 {
        pool.put([i; 40_000]);
    }
    assert_eq!([pool.get()[0], pool.get()[0], pool.get()[0]], [1, 2, 0]);
    // No larger than a pointer, or of size zero.
    let pool = Pool::new(|| ());
    pool.put(());
    pool.get();
}

#[test]
fn guard_puts_the_object_back() {
    let pool = Pool::new(String::new);
    {
        let mut guard = pool.get_guard();
        guard.push('x');
        assert_eq!(format!("{guard:?} {}", guard.len()), "\"x\" 1");
    }
    assert_eq!(pool.get(), "x");
    assert_eq!(PoolGuard::into_inner(pool.get_guard()), "");
    assert_eq!(pool.get(), "");
}

#[test]
fn objects_may_use_their_pool_when_they_are_made_and_dropped() {
    struct Uses(&'static std::sync::OnceLock<Pool<Uses>>);
    impl Drop for Uses {
        fn drop(&mut self) {
            if let Some(pool) = self.0.get() {
                std::mem::forget(pool.get());
            }
        }
    }
    static POOL: std::sync::OnceLock<Pool<Uses>> = std::sync::OnceLock::new();
    let pool = POOL.get_or_init(|| Pool::new(|| Uses(&POOL)));
    // More than the pool can hold.
    for _ in 0..1_000 {
        pool.put(Uses(&POOL));
    }
    pool.age();
    pool.age();
    drop(pool.get());
}

#[test]
fn pool_fits_everywhere() {
    fn sync<T: Send + Sync>(_: &T) {}
    let pool = Pool::new(|| std::cell::Cell::new(1));
    sync(&pool);
    pool.put(std::cell::Cell::new(2));
    assert_eq!(format!("{pool:?}"), "Pool { spare: 1, .. }");
}

/// If two goroutines had the same object, one of them would find its flag set.
#[test]
fn nobody_gets_an_object_that_another_has_po01_po04() {
    struct Object(AtomicBool, #[allow(dead_code)] Counted);
    let live = Arc::new(AtomicUsize::new(0));
    let live2 = live.clone();
    let pool = Arc::new(Pool::new(move || Object(AtomicBool::new(false), Counted::new(&live2))));
    let uses = |pool: &Pool<Object>, dice: &mut Dice| {
        let objects: Vec<_> = (0..1 + dice.roll(4)).map(|_| pool.get()).collect();
        for object in &objects {
            assert!(!object.0.swap(true, Ordering::SeqCst), "in two hands");
        }
        for object in objects {
            object.0.store(false, Ordering::SeqCst);
            if dice.roll(10) != 0 {
                pool.put(object);
            }
        }
        if dice.roll(50) == 0 {
            pool.age();
        }
    };
    let threads: Vec<_> = (0..2)
        .map(|t| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                let mut dice = Dice::new(t);
                (0..10_000).for_each(|_| uses(&pool, &mut dice));
            })
        })
        .collect();
    let pool2 = pool.clone();
    on_procs(2, async move {
        let wg = WaitGroup::new();
        for g in 0..6 {
            let pool = pool2.clone();
            wg.go(async move {
                let mut dice = Dice::new(100 + g);
                for i in 0..5_000 {
                    uses(&pool, &mut dice);
                    if i % 50 == 0 {
                        gosched().await;
                    }
                }
            });
        }
        // The number of processors changes all the time, also beyond the number of cores.
        let mut dice = Dice::new(7);
        let mut settled = Hand::new(wg.wait());
        while settled.is_pending() {
            gomaxprocs(1 + dice.roll(8));
            gosched().await;
        }
    });
    threads.into_iter().for_each(|t| t.join().unwrap());
    drop(pool);
    assert_eq!(live.load(Ordering::SeqCst), 0);
}
