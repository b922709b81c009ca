//! Locks, semaphores and conditions as cases of a `select!`.

use std::sync::Arc;

use gopark::sync::{Cond, Mutex, RwMutex, Semaphore, WaitGroup};
use gopark::{chan, gosched, select};

use crate::hand::on_procs;

#[test]
fn losing_lock_in_a_select_leaves_nothing_behind_ca05() {
    on_procs(1, async {
        let m = Arc::new(Mutex::new(0));
        let rw = Arc::new(RwMutex::new(0));
        let s = Arc::new(Semaphore::new(1));
        let c = Arc::new(Cond::new());
        let (tx, rx) = chan::bounded::<()>(1);
        // Each of them loses.
        let held = (m.lock().await, rw.rlock().await, s.acquire(1).await);
        tx.send(()).await.unwrap();
        let other = Mutex::new(());
        select! {
            _ = m.lock() => unreachable!(),
            _ = rw.lock() => unreachable!(),
            _ = s.acquire(1) => unreachable!(),
            _ = c.wait(other.lock().await) => unreachable!(),
            v = rx.recv() => assert_eq!(v, Some(())),
        }
        // The writer that lost blocks no reader, and nothing is handed to a dropped waiter.
        assert!(rw.try_rlock().is_some());
        drop(held);
        assert!(m.try_lock().is_some() && rw.try_lock().is_some() && s.try_acquire(1).is_some());
        assert!(other.try_lock().is_some());
        // And each of them can win.
        for round in 0..40 {
            select! {
                mut g = m.lock(), if round % 4 == 0 => *g += 1,
                mut g = rw.lock(), if round % 4 == 1 => *g += 1,
                g = rw.rlock(), if round % 4 == 2 => assert!(*g > 0),
                p = s.acquire(1), if round % 4 == 3 => assert_eq!(p.count(), 1),
                _ = rx.recv() => unreachable!(),
            }
        }
        assert_eq!((*m.lock().await, *rw.rlock().await), (10, 10));
        let held = m.lock().await;
        select! {
            _ = m.lock() => unreachable!(),
            default => {}
        }
        drop(held);
        select! {
            g = m.lock() => assert_eq!(*g, 10),
            default => unreachable!(),
        }
    });
}

/// A parked select on a lock and a channel, either of which may come first; the loser keeps its
/// state.
#[test]
fn select_on_locks_and_channels_loses_no_lock_ca07() {
    on_procs(2, async {
        let m = Arc::new(Mutex::new(0usize));
        let (tx, rx) = chan::unbuffered::<usize>();
        let wg = WaitGroup::new();
        for _ in 0..4 {
            let (m, rx) = (m.clone(), rx.clone());
            wg.go(async move {
                loop {
                    select! {
                        mut n = m.lock() => {
                            *n += 1;
                            gosched().await;
                        }
                        v = rx.recv() => if v.is_none() { return },
                    }
                }
            });
        }
        for i in 0..5_000 {
            tx.send(i).await.unwrap();
            if i % 10 == 0 {
                *m.lock().await += 1;
            }
        }
        tx.close();
        wg.wait().await;
        assert!(m.try_lock().is_some());
    });
}
