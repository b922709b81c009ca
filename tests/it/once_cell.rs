//! `sync::OnceCell`.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopark::sync::{OnceCell, WaitGroup};
use gopark::{OnPanic, Runtime, go, gosched};

use crate::hand::{Hand, on_procs};

#[test]
fn one_of_many_makes_the_value_and_all_get_it() {
    on_procs(2, async {
        let (cell, made) = (Arc::new(OnceCell::new()), Arc::new(AtomicUsize::new(0)));
        let wg = WaitGroup::new();
        for i in 0..50 {
            let (cell, made) = (cell.clone(), made.clone());
            wg.go(async move {
                let init = async || {
                    gosched().await;
                    made.fetch_add(1, Ordering::SeqCst);
                    i
                };
                let value = *cell.get_or_init(init).await;
                assert_eq!(cell.get(), Some(&value));
            });
        }
        wg.wait().await;
        assert_eq!(made.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn one_that_fails_or_is_dropped_lets_the_next_try() {
    let cell = OnceCell::new();
    let mut first = Hand::parked(cell.get_or_init(pending::<i32>));
    let mut second = Hand::parked(cell.get_or_try_init(async || Err("no")));
    let mut third = Hand::parked(cell.get_or_init(async || 3));
    assert!(first.is_pending() && cell.set(9) == Err(9));
    drop(first);
    assert_eq!(second.ready(), Err("no"));
    assert_eq!(*third.ready(), 3);
    assert_eq!((cell.set(4), cell.get()), (Err(4), Some(&3)));
    assert_eq!(format!("{cell:?} {:?}", OnceCell::<u8>::default()), "OnceCell(3) OnceCell(<empty>)");
}

#[test]
fn a_panic_lets_the_next_try() {
    let runtime = Runtime::builder().gomaxprocs(1).on_panic(OnPanic::Isolate).build().unwrap();
    runtime.block_on(async {
        let cell = Arc::new(OnceCell::new());
        let other = cell.clone();
        let failed = go(async move { *other.get_or_init(async || panic!("the test's own")).await }).await;
        assert!(failed.unwrap_err().is_panic());
        assert_eq!(*cell.get_or_init(async || 7).await, 7);
    });
}

#[test]
fn a_value_that_is_set_needs_no_function() {
    let cell = OnceCell::new();
    cell.set("set").unwrap();
    assert_eq!(*Hand::new(cell.get_or_init(async || unreachable!())).ready(), "set");
}
