use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use super::{Watchers, Woken};
use crate::lock::RawLock;
use crate::wait::watch::Watch;
use crate::waker::TaskWaker;

#[derive(Default)]
struct Count(AtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn each_task_is_woken_exactly_once() {
    let count = Arc::new(Count::default());
    let woken = || count.0.swap(0, Ordering::Relaxed);
    let one = || TaskWaker::from(count.clone());
    let task = || Woken::task(Some(one()));
    let (all, waker) = (Arc::new(Watchers::new()), Waker::from(count.clone()));
    let mut places = [Watch::NONE, Watch::NONE];
    let mut watchers = || {
        places
            .iter_mut()
            .for_each(|place| place.register(|| all.clone(), &Context::from_waker(&waker)));
        Woken::watchers(&all)
    };
    task().wake();
    watchers().wake();
    assert_eq!(woken(), 3);
    let lock = RawLock::new();
    lock.lock();
    // SAFETY: acquired above.
    let rest = unsafe { watchers().unlock(&lock) };
    assert_eq!((woken(), rest.is_empty()), (2, true));
    lock.lock();
    // SAFETY: acquired above.
    let rest = unsafe { task().unlock(&lock) };
    assert_eq!((woken(), rest.is_empty()), (0, false), "the task is left");
    rest.wake();
    assert_eq!(woken(), 1);
    drop(task().into_task());
    assert_eq!(woken(), 0, "a waker that was taken out is not woken");
}
