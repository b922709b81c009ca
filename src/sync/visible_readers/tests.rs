use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::coop;
use crate::sync::RwMutex;
use crate::sync::{RwMutexReadGuard, RwMutexWriteGuard};

/// The tests look at the table of all.
static TURN: Mutex<()> = Mutex::new(());

/// A plain thread that passes for a processor, a different one at each roll.
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

fn signatures() -> usize {
    TABLE.rows.iter().flat_map(|row| &row.0).filter(|seat| seat.load(Ordering::SeqCst) != 0).count()
}

enum Guard<'a> {
    Read(#[allow(dead_code)] RwMutexReadGuard<'a, ()>),
    Write(#[allow(dead_code)] RwMutexWriteGuard<'a, ()>),
}

/// Whatever comes, leaves and gives up on whichever processor: a writer is alone, and a free lock lets somebody in.
#[test]
fn locks_are_right_whoever_has_signed() {
    fastrand::seed(7);
    let hops = Hops::new();
    let mut signed = 0;
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
            signed += signatures();
            if guards.is_empty() && !waiting.is_empty() {
                // Any of them, but one.
                let first = waiting.iter_mut().enumerate().find_map(|(at, lock)| match poll(lock) {
                    Poll::Ready(guard) => Some((at, guard)),
                    Poll::Pending => None,
                });
                let (at, guard) = first.expect("the lock is free, and nobody is let in");
                guards.push(guard);
                drop(waiting.swap_remove(at));
            }
        }
        drop(waiting);
        drop(guards);
        assert_eq!(signatures(), 0, "somebody has left without a trace");
        assert!(m.try_lock().is_some());
    }
    assert!(signed > 10_000, "hardly anybody has signed: {signed}");
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
    // They are in the way of nobody but the count of signatures, and of locks that would have sat there.
    for seat in TABLE.rows.iter().flat_map(|row| &row.0) {
        seat.store(0, Ordering::SeqCst);
    }
}
