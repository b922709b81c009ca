//! `sync::RwMutex`.

use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::task::{Poll, Waker};

use futures_lite::future::{block_on, poll_once};
use gopark::sync::futures::RLock;
use gopark::sync::{Mutex, RwMutex, RwMutexReadGuard, RwMutexWriteGuard, WaitGroup};
use gopark::{go, gosched};

use crate::hand::{Acts, Dice, Hand, on_procs};
use crate::util::{Wakes, no_hang};

#[test]
fn many_readers_or_one_writer_rw01() {
    let m = RwMutex::new(1);
    let (a, b) = (m.try_rlock().unwrap(), m.try_rlock().unwrap());
    assert!(m.try_lock().is_none());
    drop((a, b));
    let w = m.try_lock().unwrap();
    assert!(m.try_rlock().is_none() && m.try_lock().is_none());
    drop(w);
    assert!(m.try_rlock().is_some());
}

#[test]
fn parked_writer_stops_new_readers_rw02() {
    let m = RwMutex::new(());
    let reader = m.try_rlock().unwrap();
    let mut writer = Hand::parked(m.lock());
    assert!(m.try_rlock().is_none());
    let mut late = Hand::parked(m.rlock());
    drop(reader);
    assert_eq!((writer.wakes(), late.wakes()), (1, 0));
    drop(writer.ready());
    assert_eq!(late.wakes(), 1);
    drop(late.ready());
}

#[test]
fn phases_alternate_rw03() {
    let m = RwMutex::new(());
    let reader = m.try_rlock().unwrap();
    let mut w1 = Hand::parked(m.lock());
    let mut w2 = Hand::parked(m.lock());
    let mut r1 = Hand::parked(m.rlock());
    let mut r2 = Hand::parked(m.rlock());
    drop(reader);
    let guard = w1.ready();
    assert!(w2.is_pending() && r1.is_pending() && r2.is_pending());
    drop(guard);
    assert_eq!((r1.wakes(), r2.wakes(), w2.wakes()), (1, 1, 0));
    let guards = (r1.ready(), r2.ready());
    // A reader that comes now is queued behind the second writer.
    let mut r3 = Hand::parked(m.rlock());
    assert!(w2.is_pending());
    drop(guards);
    let guard = w2.ready();
    assert!(r3.is_pending());
    drop(guard);
    drop(r3.ready());
}

#[test]
fn phases_alternate_among_goroutines_rw03() {
    on_procs(1, async {
        let m = Arc::new(RwMutex::new(()));
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = m.rlock().await;
        let wg = WaitGroup::new();
        for name in ["W1", "W2", "R1", "R2"] {
            let (m, log) = (m.clone(), log.clone());
            wg.go(async move {
                if name.starts_with('W') {
                    let _guard = m.lock().await;
                    log.lock().await.push(name);
                } else {
                    let _guard = m.rlock().await;
                    log.lock().await.push(name);
                }
            });
            gosched().await;
        }
        drop(reader);
        wg.wait().await;
        let mut log = log.lock().await.clone();
        log[1..3].sort();
        assert_eq!(log, ["W1", "R1", "R2", "W2"]);
    });
}

#[test]
fn batch_larger_than_a_handful_is_let_in_at_once_rw03() {
    let m = RwMutex::new(());
    let writer = m.try_lock().unwrap();
    let mut readers: Vec<_> = (0..100).map(|_| Hand::parked(m.rlock())).collect();
    let next = Hand::parked(m.lock());
    drop(writer);
    assert!(readers.iter().all(|reader| reader.wakes() == 1));
    let guards: Vec<_> = readers.iter_mut().map(Hand::ready).collect();
    assert_eq!(next.wakes(), 0);
    drop(guards);
    assert_eq!(next.wakes(), 1);
}

#[test]
fn reading_twice_waits_when_a_writer_came_between_rw04() {
    let m = RwMutex::new(());
    let _first = m.try_rlock().unwrap();
    let _writer = Hand::parked(m.lock());
    let mut second = Hand::parked(m.rlock());
    assert!(second.is_pending());
}

#[test]
fn another_goroutine_may_unlock_rw05() {
    on_procs(2, async {
        let m: &'static RwMutex<i32> = Box::leak(Box::new(RwMutex::new(1)));
        let (a, b) = (m.rlock().await, m.rlock().await);
        go(async move { drop(a) }).await.unwrap();
        go(async move { drop(b) }).await.unwrap();
        let w = m.try_lock().unwrap();
        go(async move { drop(w) }).await.unwrap();
        assert!(m.try_lock().is_some());
    });
}

#[test]
fn failed_try_leaves_no_trace_rw06() {
    let m = RwMutex::new(());
    let reader = m.try_rlock().unwrap();
    assert!(m.try_lock().is_none());
    // A writer that only tried keeps no reader out.
    drop(m.try_rlock().unwrap());
    drop(reader);
    let writer = m.try_lock().unwrap();
    assert!(m.try_rlock().is_none());
    drop(writer);
    assert!(m.try_lock().is_some());
}

#[test]
fn panic_leaves_it_usable() {
    let m = RwMutex::new(1);
    let caught = catch_unwind(|| {
        let mut guard = m.try_lock().unwrap();
        *guard = 2;
        panic!("while locked");
    });
    assert!(caught.is_err());
    assert_eq!(*m.try_rlock().unwrap(), 2);
}

#[test]
fn dropped_pending_writer_readmits_the_readers_it_blocked_ca10() {
    let m = RwMutex::new(());
    let reader = m.try_rlock().unwrap();
    let writer = Hand::parked(m.lock());
    let mut blocked = Hand::parked(m.rlock());
    drop(writer);
    assert_eq!(blocked.wakes(), 1);
    let guard = blocked.ready();
    drop(reader);
    assert!(m.try_lock().is_none());
    drop(guard);
    assert!(m.try_lock().is_some());
}

#[test]
fn dropped_pending_writer_leaves_the_next_one_announced_ca10() {
    let m = RwMutex::new(());
    let reader = m.try_rlock().unwrap();
    let w1 = Hand::parked(m.lock());
    let mut w2 = Hand::parked(m.lock());
    let mut r = Hand::parked(m.rlock());
    drop(w1);
    let guard = r.ready();
    assert!(m.try_rlock().is_none());
    drop(reader);
    assert_eq!(w2.wakes(), 0);
    drop(guard);
    drop(w2.ready());
    assert!(m.try_lock().is_some());
}

#[test]
fn dropped_writer_behind_another_changes_nothing_ca10() {
    let m = RwMutex::new(());
    let writer = m.try_lock().unwrap();
    let w1 = Hand::parked(m.lock());
    let mut w2 = Hand::parked(m.lock());
    let mut r = Hand::parked(m.rlock());
    drop(w1);
    assert!(r.is_pending() && w2.is_pending());
    drop(writer);
    drop(r.ready());
    drop(w2.ready());
    assert!(m.try_lock().is_some());
}

#[test]
fn dropped_owner_unlocks_ca02() {
    let m = RwMutex::new(());
    // A writer that was handed the lock.
    let reader = m.try_rlock().unwrap();
    let writer = Hand::parked(m.lock());
    let mut r = Hand::parked(m.rlock());
    drop(reader);
    assert_eq!((writer.wakes(), r.wakes()), (1, 0));
    drop(writer);
    drop(r.ready());
    // Readers that were granted the lock.
    let writer = m.try_lock().unwrap();
    let r1 = Hand::parked(m.rlock());
    let mut r2 = Hand::parked(m.rlock());
    let mut w = Hand::parked(m.lock());
    drop(writer);
    drop(r1);
    assert!(w.is_pending());
    drop(r2.ready());
    drop(w.ready());
    assert!(m.try_lock().is_some());
}

#[test]
fn dropped_pending_reader_is_not_counted_ca10() {
    let m = RwMutex::new(());
    let writer = m.try_lock().unwrap();
    let r1 = Hand::parked(m.rlock());
    let mut r2 = Hand::parked(m.rlock());
    drop(r1);
    drop(writer);
    let guard = r2.ready();
    assert!(m.try_lock().is_none());
    drop(guard);
    assert!(m.try_lock().is_some());
}

#[test]
fn polling_again_keeps_the_place_and_takes_the_new_waker_ca08() {
    let m = RwMutex::new(());
    let (other, waker) = Wakes::new();
    let reader = m.try_rlock().unwrap();
    let mut w = Hand::parked(m.lock());
    let mut r = Hand::parked(m.rlock());
    assert!(w.poll_with(&waker).is_pending());
    assert!(r.poll_with(&waker).is_pending());
    drop(reader);
    assert_eq!((w.wakes(), other.count()), (0, 1));
    drop(w.ready());
    assert_eq!((r.wakes(), other.count()), (0, 2));
    drop(r.ready());
}

#[test]
fn wakers_may_use_the_lock_ca06() {
    let m: &'static RwMutex<()> = Box::leak(Box::new(RwMutex::new(())));
    let acts = move || {
        let first = m.try_lock();
        let (mut w, mut r) = (Hand::new(m.lock()), Hand::new(m.rlock()));
        let _ = (w.poll(), r.poll());
        drop((w, r, first));
    };
    let waker = || Waker::from(Arc::new(Acts { on_wake: Box::new(acts), on_drop: Box::new(acts) }));
    let guard = m.try_lock().unwrap();
    let mut readers: Vec<_> = (0..40).map(|_| Hand::new(m.rlock())).collect();
    for r in &mut readers {
        assert!(r.poll_with(&waker()).is_pending());
        assert!(r.poll_with(&waker()).is_pending());
    }
    let mut w = Hand::new(m.lock());
    assert!(w.poll_with(&waker()).is_pending());
    drop(guard);
    let guards: Vec<_> = readers.iter_mut().map(Hand::ready).collect();
    drop(guards);
    drop(w.ready());
    assert!(m.try_lock().is_some());
}

#[test]
fn wakers_may_drop_readers_of_the_same_batch() {
    let m: &'static RwMutex<()> = Box::leak(Box::new(RwMutex::new(())));
    let rest = Arc::new(std::sync::Mutex::new(Vec::new()));
    let rest2 = rest.clone();
    let drops = move || {
        let gone = std::mem::take(&mut *rest2.lock().unwrap());
        drop::<Vec<Hand<_>>>(gone);
    };
    let waker = Waker::from(Arc::new(Acts { on_wake: Box::new(drops), on_drop: Box::new(|| ()) }));
    let guard = m.try_lock().unwrap();
    let mut first = Hand::new(m.rlock());
    assert!(first.poll_with(&waker).is_pending());
    // Some are woken in the same batch as the first, some only hold the lock.
    for _ in 0..40 {
        rest.lock().unwrap().push(Hand::parked(m.rlock()));
    }
    drop(guard);
    assert!(rest.lock().unwrap().is_empty());
    drop(first.ready());
    assert!(m.try_lock().is_some());
}

#[test]
#[should_panic(expected = "polled after completion")]
fn polling_a_reader_after_completion_panics() {
    let m = RwMutex::new(());
    let mut lock = Hand::new(m.rlock());
    drop(lock.ready());
    let _ = lock.poll();
}

#[test]
#[should_panic(expected = "polled after completion")]
fn polling_a_writer_after_completion_panics() {
    let m = RwMutex::new(());
    let mut lock = Hand::new(m.lock());
    drop(lock.ready());
    let _ = lock.poll();
}

#[test]
fn a_read_lock_of_what_lives_for_ever_is_one_of_what_lives_for_less() {
    // These compile only if the reading side is covariant, as a reference is.
    fn guard<'g, 'v>(guard: RwMutexReadGuard<'g, &'static str>) -> RwMutexReadGuard<'g, &'v str> {
        guard
    }
    fn future<'g, 'v>(future: RLock<'g, &'static str>) -> RLock<'g, &'v str> {
        future
    }
    fn longer<'v>(a: RwMutexReadGuard<'_, &'v str>, b: &'v str) -> &'v str {
        if a.len() < b.len() { b } else { *a }
    }
    let m = RwMutex::new("static");
    let local = String::from("a local");
    assert_eq!(longer(guard(m.try_rlock().unwrap()), &local), "a local");
    assert_eq!(longer(block_on(future(m.rlock())), &local), "a local");
    assert!(m.try_lock().is_some(), "a guard has not unlocked");
}

#[test]
fn rwmutex_fits_everywhere() {
    static COUNT: RwMutex<u32> = RwMutex::new(1);
    *COUNT.lock_blocking() += 1;
    assert_eq!(*COUNT.rlock_blocking(), 2);
    let unsized_: &RwMutex<[i32]> = &RwMutex::new([1, 2, 3]);
    assert_eq!(block_on(unsized_.rlock()).len(), 3);
    let mut m = RwMutex::<String>::default();
    m.get_mut().push('x');
    let reader = m.try_rlock().unwrap();
    assert_eq!(format!("{m:?} {reader:?} {reader}"), "RwMutex { value: \"x\" } \"x\" x");
    drop(reader);
    let writer = m.try_lock().unwrap();
    assert_eq!(format!("{m:?} {writer:?} {writer}"), "RwMutex { value: <locked> } \"x\" x");
    assert!(std::ptr::eq(RwMutexWriteGuard::rwmutex(&writer), &m));
    drop(writer);
    assert_eq!(m.into_inner(), "x");
    assert_eq!(RwMutex::from(3).into_inner(), 3);

    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<RwMutex<std::cell::Cell<i32>>>();
    sync::<RwMutex<i32>>();
    send::<RwMutexReadGuard<'_, i32>>();
    send::<RwMutexWriteGuard<'_, i32>>();
    send::<gopark::sync::futures::RLock<'_, i32>>();
    send::<gopark::sync::futures::WLock<'_, i32>>();
}

/// The rules of the lock, in a few lines: Go's, and what a drop means.
#[derive(Default)]
struct Model {
    readers: usize,
    writer: bool,
    waiting_readers: VecDeque<usize>,
    waiting_writers: VecDeque<usize>,
    /// Granted, and not polled since.
    granted: Vec<usize>,
}

impl Model {
    /// A writer has unlocked, or was dropped after it had announced itself.
    fn end_phase(&mut self) {
        self.readers += self.waiting_readers.len();
        self.granted.extend(self.waiting_readers.drain(..));
        self.let_in();
    }
    fn let_in(&mut self) {
        if self.readers == 0 && !self.writer {
            if let Some(next) = self.waiting_writers.pop_front() {
                self.writer = true;
                self.granted.push(next);
            }
        }
    }
    fn blocks_readers(&self) -> bool {
        self.writer || !self.waiting_writers.is_empty()
    }
}

enum Op<'a> {
    Read(Hand<gopark::sync::futures::RLock<'a, ()>>),
    Write(Hand<gopark::sync::futures::WLock<'a, ()>>),
}

enum Guard<'a> {
    Read(#[allow(dead_code)] RwMutexReadGuard<'a, ()>),
    Write(#[allow(dead_code)] RwMutexWriteGuard<'a, ()>),
}

impl<'a> Op<'a> {
    fn poll(&mut self) -> Poll<Guard<'a>> {
        match self {
            Op::Read(hand) => hand.poll().map(Guard::Read),
            Op::Write(hand) => hand.poll().map(Guard::Write),
        }
    }
    fn wakes(&self) -> usize {
        match self {
            Op::Read(hand) => hand.wakes(),
            Op::Write(hand) => hand.wakes(),
        }
    }
}

#[test]
fn random_cancellation_follows_the_model() {
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let m = RwMutex::new(());
        let mut model = Model::default();
        let mut ops: Vec<(usize, Op<'_>)> = Vec::new();
        let mut guards: Vec<Guard<'_>> = Vec::new();
        for id in 0..300 {
            match dice.roll(7) {
                0 | 1 => {
                    let mut op = Op::Read(Hand::new(m.rlock()));
                    match op.poll() {
                        Poll::Ready(guard) => {
                            assert!(!model.blocks_readers());
                            model.readers += 1;
                            guards.push(guard);
                        }
                        Poll::Pending => {
                            assert!(model.blocks_readers());
                            model.waiting_readers.push_back(id);
                            ops.push((id, op));
                        }
                    }
                }
                2 => {
                    let mut op = Op::Write(Hand::new(m.lock()));
                    match op.poll() {
                        Poll::Ready(guard) => {
                            assert!(!model.blocks_readers() && model.readers == 0);
                            model.writer = true;
                            guards.push(guard);
                        }
                        Poll::Pending => {
                            assert!(model.blocks_readers() || model.readers > 0);
                            model.waiting_writers.push_back(id);
                            ops.push((id, op));
                        }
                    }
                }
                3 | 4 if !guards.is_empty() => match guards.swap_remove(dice.roll(guards.len())) {
                    Guard::Read(guard) => {
                        drop(guard);
                        model.readers -= 1;
                        model.let_in();
                    }
                    Guard::Write(guard) => {
                        drop(guard);
                        model.writer = false;
                        model.end_phase();
                    }
                },
                5 if !ops.is_empty() => {
                    let (id, op) = ops.swap_remove(dice.roll(ops.len()));
                    let write = matches!(op, Op::Write(_));
                    drop(op);
                    if let Some(at) = model.granted.iter().position(|&granted| granted == id) {
                        model.granted.swap_remove(at);
                        if write {
                            model.writer = false;
                            model.end_phase();
                        } else {
                            model.readers -= 1;
                            model.let_in();
                        }
                    } else if write {
                        let announced = !model.writer && model.waiting_writers.front() == Some(&id);
                        model.waiting_writers.retain(|&waiting| waiting != id);
                        if announced {
                            model.end_phase();
                        }
                    } else {
                        model.waiting_readers.retain(|&waiting| waiting != id);
                    }
                }
                _ if !ops.is_empty() => {
                    let at = dice.roll(ops.len());
                    let (id, op) = &mut ops[at];
                    match op.poll() {
                        Poll::Ready(guard) => {
                            assert!(model.granted.contains(id));
                            model.granted.retain(|granted| granted != id);
                            guards.push(guard);
                            ops.swap_remove(at);
                        }
                        Poll::Pending => assert!(!model.granted.contains(id)),
                    }
                }
                _ => {}
            }
            for (id, op) in &ops {
                assert_eq!(op.wakes(), usize::from(model.granted.contains(id)), "seed {seed}");
            }
            assert_eq!(m.try_rlock().is_some(), !model.blocks_readers());
            assert_eq!(m.try_lock().is_some(), !model.blocks_readers() && model.readers == 0);
        }
    }
}

/// Go's hammer: a counter of the holders. Threads and goroutines, some of which give up.
#[test]
fn hammer_rw01() {
    fn inside<T>(guard: T, activity: &AtomicIsize, by: isize) {
        let n = activity.fetch_add(by, Ordering::SeqCst) + by;
        assert!(if by == 1 { (1..10_000).contains(&n) } else { n == by }, "activity {n} by {by}");
        activity.fetch_sub(by, Ordering::SeqCst);
        drop(guard);
    }
    let m = Arc::new(RwMutex::new(()));
    let activity = Arc::new(AtomicIsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|t| {
            let (m, activity, stop) = (m.clone(), activity.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut dice = Dice::new(t);
                while !stop.load(Ordering::Relaxed) {
                    match dice.roll(8) {
                        0 => inside(m.lock_blocking(), &activity, 10_000),
                        1 => drop(
                            block_on(poll_once(m.lock())).map(|g| inside(g, &activity, 10_000)),
                        ),
                        2 => drop(block_on(poll_once(m.rlock())).map(|g| inside(g, &activity, 1))),
                        3 => drop(m.try_lock().map(|g| inside(g, &activity, 10_000))),
                        4 => drop(m.try_rlock().map(|g| inside(g, &activity, 1))),
                        _ => inside(m.rlock_blocking(), &activity, 1),
                    }
                }
            })
        })
        .collect();
    let (m2, activity2) = (m.clone(), activity.clone());
    on_procs(2, async move {
        let wg = WaitGroup::new();
        for g in 0..8 {
            let (m, activity) = (m2.clone(), activity2.clone());
            wg.go(async move {
                let mut dice = Dice::new(100 + g);
                for i in 0..4_000 {
                    match dice.roll(6) {
                        0 => inside(m.lock().await, &activity, 10_000),
                        1 => drop(poll_once(m.lock()).await.map(|g| inside(g, &activity, 10_000))),
                        2 => drop(poll_once(m.rlock()).await.map(|g| inside(g, &activity, 1))),
                        _ => {
                            let guard = m.rlock().await;
                            if i % 64 == 0 {
                                gosched().await;
                            }
                            inside(guard, &activity, 1);
                        }
                    }
                }
            });
        }
        wg.wait().await;
    });
    stop.store(true, Ordering::Relaxed);
    no_hang(|| threads.into_iter().for_each(|t| t.join().unwrap()));
    assert_eq!(activity.load(Ordering::SeqCst), 0);
    assert!(m.try_lock().is_some());
}

#[test]
fn owned_guards_keep_their_lock_and_unlock_it_elsewhere() {
    on_procs(2, async {
        let m = Arc::new(RwMutex::new(1));
        let (a, b) = (m.rlock_owned().await, m.rlock_owned().await);
        let mut writer = Hand::parked(m.lock_owned());
        go(async move { assert_eq!(*a + *b, 2) }).await.unwrap();
        let mut writer = writer.ready();
        let mut reader = Hand::parked(m.rlock_owned());
        go(async move { *writer += 1 }).await.unwrap();
        assert_eq!(*reader.ready(), 2);
        // A waiter that gives up lets the others in.
        let held = m.rlock_owned().await;
        let gone = Hand::parked(m.lock_owned());
        let mut next = Hand::parked(m.rlock_owned());
        drop(gone);
        assert_eq!(*next.ready() + *held, 4);
    });
}
