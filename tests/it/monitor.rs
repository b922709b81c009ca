//! `sync::Monitor`.

use std::sync::Arc;

use gopark::sync::{Monitor, WaitGroup};
use gopark::{go, select};

use crate::hand::{Hand, on_procs};

#[test]
fn a_wait_gives_up_the_lock_and_returns_with_it() {
    let m = Monitor::new(0);
    let mut waiting = Hand::parked(Hand::new(m.lock()).ready().wait());
    *Hand::new(m.lock()).ready() += 1;
    assert!(waiting.is_pending());
    m.signal();
    let guard = waiting.ready();
    assert_eq!(*guard, 1);
    assert!(Hand::new(m.lock()).is_pending());
}

#[test]
fn a_broadcast_wakes_all_and_a_dropped_signal_goes_on() {
    let m = Monitor::new(());
    let wait = || Hand::parked(Hand::new(m.lock()).ready().wait());
    let (mut a, mut b) = (wait(), wait());
    m.broadcast();
    drop((a.ready(), ()));
    drop((b.ready(), ()));
    let (a, mut b) = (wait(), wait());
    m.signal();
    drop(a);
    drop(b.ready());
}

#[test]
fn a_bounded_queue_of_monitors_loses_nothing() {
    on_procs(2, async {
        let (queue, wg) = (Arc::new(Monitor::new(Vec::new())), WaitGroup::new());
        for producer in 0..4 {
            let queue = queue.clone();
            wg.go(async move {
                for i in 0..500 {
                    queue
                        .lock()
                        .await
                        .wait_while(|queue| queue.len() >= 3)
                        .await
                        .push(producer * 500 + i);
                    queue.broadcast();
                }
            });
        }
        let all = go(async move {
            let mut all = Vec::new();
            while all.len() < 2000 {
                all.append(&mut *queue.lock().await.wait_while(|queue| queue.is_empty()).await);
                queue.broadcast();
            }
            all
        });
        wg.wait().await;
        let mut all = all.await.unwrap();
        all.sort_unstable();
        assert_eq!(all, (0..2000).collect::<Vec<_>>());
    });
}

#[test]
fn lock_and_wait_stand_in_a_select() {
    on_procs(1, async {
        let m = Monitor::new(1);
        let wait = select! {
            guard = m.lock() => guard.wait(),
        };
        m.signal();
        select! {
            guard = wait => assert_eq!(*guard, 1),
        }
        assert_eq!(m.into_inner(), 1);
    });
}
