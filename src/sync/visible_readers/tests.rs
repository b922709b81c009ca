use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::coop;
use crate::sync::RwMutex;
use crate::sync::{RwMutexReadGuard, RwMutexWriteGuard};

/// Held by a test that reads the table, because it is global.
static TURN: Mutex<()> = Mutex::new(());

/// Makes a plain thread pass for a processor, another one at each roll.
struct Hops(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Hops {
    fn new() -> Self {
        Hops(TURN.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn roll(&self) {
        coop::set_worker(Some(fastrand::usize(..5)).filter(|&processor| processor < 4));
    }
}

impl Drop for Hops {
    fn drop(&mut self) {
        coop::set_worker(None);
    }
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn entries() -> usize {
    TABLE.rows.iter().flat_map(|row| &row.0).filter(|slot| slot.load(Ordering::SeqCst) != 0).count()
}

enum Guard<'a> {
    Read(#[allow(dead_code)] RwMutexReadGuard<'a, ()>),
    Write(#[allow(dead_code)] RwMutexWriteGuard<'a, ()>),
}

/// Operations come, leave and give up on different processors: a writer is always alone, and a free lock admits a waiter.
#[test]
fn locks_are_right_whatever_is_published() {
    fastrand::seed(7);
    let hops = Hops::new();
    let mut published = 0;
    for _ in 0..300 {
        let m = RwMutex::new(());
        let mut guards = Vec::new();
        let mut waiting: Vec<Pin<Box<dyn Future<Output = Guard<'_>>>>> = Vec::new();
        for _ in 0..400 {
            hops.roll();
            match fastrand::usize(..16) {
                0..6 => {
                    let mut lock: Pin<Box<dyn Future<Output = _>>> = Box::pin(async { Guard::Read(m.rlock().await) });
                    match poll(&mut lock) {
                        Poll::Ready(guard) => guards.push(guard),
                        Poll::Pending => waiting.push(lock),
                    }
                }
                6 => {
                    let mut lock: Pin<Box<dyn Future<Output = _>>> = Box::pin(async { Guard::Write(m.lock().await) });
                    match poll(&mut lock) {
                        Poll::Ready(guard) => guards.push(guard),
                        Poll::Pending => waiting.push(lock),
                    }
                }
                7 => guards.extend(m.try_lock().map(Guard::Write)),
                8 => guards.extend(m.try_rlock().map(Guard::Read)),
                9 if !waiting.is_empty() => drop(waiting.swap_remove(fastrand::usize(..waiting.len()))),
                10 | 11 if !waiting.is_empty() => {
                    let at = fastrand::usize(..waiting.len());
                    if let Poll::Ready(guard) = poll(&mut waiting[at]) {
                        guards.push(guard);
                        drop(waiting.swap_remove(at));
                    }
                }
                _ if !guards.is_empty() => drop(guards.swap_remove(fastrand::usize(..guards.len()))),
                _ => {}
            }
            let writers = guards.iter().filter(|guard| matches!(guard, Guard::Write(_))).count();
            assert!(writers == 0 || guards.len() == 1, "{writers} writers among {}", guards.len());
            published += entries();
            if guards.is_empty() && !waiting.is_empty() {
                // Any of them, but one.
                let first = waiting.iter_mut().enumerate().find_map(|(at, lock)| match poll(lock) {
                    Poll::Ready(guard) => Some((at, guard)),
                    Poll::Pending => None,
                });
                let (at, guard) = first.expect("the lock is free, and admits no waiter");
                guards.push(guard);
                drop(waiting.swap_remove(at));
            }
        }
        drop(waiting);
        drop(guards);
        assert_eq!(entries(), 0, "an entry is left");
        assert!(m.try_lock().is_some());
    }
    assert!(published > 10_000, "hardly any reader was published: {published}");
}

#[test]
fn leaked_guard_of_one_lock_is_not_in_the_way_of_another() {
    let _hops = Hops::new();
    let shared = |m: &RwMutex<()>| {
        for processor in [0, 1, 2, 3, 0, 1] {
            coop::set_worker(Some(processor));
            drop(m.try_rlock());
            drop(poll(&mut Box::pin(m.rlock())));
        }
    };
    let mut m = Box::new(RwMutex::new(()));
    for _ in 0..50 {
        shared(&m);
        std::mem::forget(m.try_rlock().unwrap());
        assert!(m.try_lock().is_none());
        // Another lock in the same place.
        *m = RwMutex::new(());
        shared(&m);
        assert!(m.try_lock().is_some());
    }
    // The leaked entries disturb nothing but the count of entries, and locks that use the same slots.
    for slot in TABLE.rows.iter().flat_map(|row| &row.0) {
        slot.store(0, Ordering::SeqCst);
    }
}
