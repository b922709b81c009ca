use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{VecDeque, Wake, Watchers};
use crate::waker::TaskWaker;

#[derive(Default)]
struct Count(AtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_was_taken_to_be_woken_is_woken_once_however_it_ends() {
    let count = Arc::new(Count::default());
    let woken = || count.0.swap(0, Ordering::Relaxed);
    let one = || TaskWaker::from(count.clone());
    let wake = || Wake(Some(one()));
    let watchers = || Watchers::new(Some(Box::new(VecDeque::from([one(), one()]))));
    wake().wake();
    watchers().wake();
    assert_eq!(woken(), 3);
    drop((wake(), watchers()));
    assert_eq!(woken(), 3);
    drop(wake().into_waker());
    assert_eq!(woken(), 0, "a waker that was taken out");
}
