//! Models of the timers: the insertion of an earlier timer races with falling asleep, and a cancel
//! races with the firing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::thread;

use super::explore;
use crate::clock::Time;
use crate::loom::atomic::{AtomicUsize, Ordering};
use crate::timer::shard::{Node, Shard, SleepState};

struct Count(Arc<AtomicUsize>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns a node, and the number of its wakes.
fn node() -> (Pin<Box<Node>>, Arc<AtomicUsize>) {
    (Box::pin(Node::new(Time::PAST)), Arc::new(AtomicUsize::new(0)))
}

fn queue(shard: &Shard, node: &mut Pin<Box<Node>>, due: u64, count: &Arc<AtomicUsize>) {
    let waker = Waker::from(Arc::new(Count(count.clone())));
    assert!(shard.insert(node.as_mut().withdraw().0, Time::from_nanos(due), waker.into()).is_ok());
}

#[test]
fn an_earlier_timer_is_seen_before_the_sleep_or_wakes_the_sleeper_tm11() {
    explore(3, || {
        let (shard, sleep) = (Arc::new(Shard::new()), Arc::new(SleepState::new()));
        let ((mut late, _), (mut early, count)) = (node(), node());
        queue(&shard, &mut late, 1_000_000, &count);
        let inserter = {
            let (shard, sleep) = (shard.clone(), sleep.clone());
            thread::spawn(move || {
                queue(&shard, &mut early, 1000, &count);
                (sleep.wants_wake(Time::from_nanos(1000)), early)
            })
        };
        let until = loop {
            if let Some(until) = sleep.fall_asleep(&shard) {
                break until;
            }
        };
        let (woken, early) = inserter.join().unwrap();
        assert!(woken || until <= Time::from_nanos(1000), "it sleeps too long, and is not woken");
        drop((early, late));
        assert_eq!(shard.next_due(), Time::NEVER);
    });
}

#[test]
fn a_node_is_fired_or_cancelled_ca14() {
    explore(3, || {
        let shard = Arc::new(Shard::new());
        let (mut node, count) = node();
        queue(&shard, &mut node, 5, &count);
        let firing = {
            let shard = shard.clone();
            thread::spawn(move || shard.fire(Time::from_nanos(5), usize::MAX))
        };
        let cancelled = node.cancel().is_some();
        // The owner is done with the node, and may free it or use it again, even if the other
        // thread is not done yet.
        queue(&shard, &mut node, 9, &count);
        assert!(node.cancel().is_some());
        drop(node);
        let fired = firing.join().unwrap();
        assert_eq!(fired, usize::from(!cancelled));
        assert_eq!(count.load(Ordering::Relaxed), fired);
        assert_eq!(shard.len(), 0);
    });
}

#[test]
fn a_node_that_moves_is_cancelled_where_it_is() {
    explore(3, || {
        let (shard, other) = (Arc::new(Shard::new()), Arc::new(Shard::new()));
        let (mut node, count) = node();
        queue(&shard, &mut node, 5, &count);
        let moving = {
            let (shard, other) = (shard.clone(), other.clone());
            thread::spawn(move || shard.close_into(&other))
        };
        assert!(node.cancel().is_some());
        drop(node);
        moving.join().unwrap();
        assert_eq!((shard.len(), other.len(), count.load(Ordering::Relaxed)), (0, 0, 0));
    });
}
