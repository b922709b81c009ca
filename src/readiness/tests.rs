//! Wakers that poll at once.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use super::{Acquisition, Next, READY, Readiness};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task that is polled by the thread that wakes it.
struct Inline {
    task: Mutex<Option<Task>>,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let Ok(mut slot) = self.task.try_lock() else { return };
        let Some(task) = &mut *slot else { return };
        let waker = Waker::from(self.clone());
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            *slot = None;
        }
    }
}

/// A bug: a thread that delivers an event woke the waiters in batches. The tasks of a batch found
/// nothing and were in the queue again before the next batch was taken, so the thread never came
/// to the end of the queue.
#[test]
fn an_event_wakes_only_those_who_wait_when_it_comes() {
    const TASKS: usize = 100;
    let readiness = Arc::new(Readiness::new());
    let polls = Arc::new(AtomicUsize::new(0));
    for _ in 0..TASKS {
        let (readiness, polls) = (readiness.clone(), polls.clone());
        let task: Task = Box::pin(async move {
            // Without the limit a failure would be a hang.
            while polls.fetch_add(1, SeqCst) < 100 * TASKS {
                let _ = readiness.read.next();
                let wait = Acquisition::new(readiness.read.wait(), Location::caller());
                let mut wait = std::pin::pin!(wait);
                std::future::poll_fn(|cx| wait.as_mut().poll(cx)).await;
            }
        });
        Arc::new(Inline { task: Mutex::new(Some(task)) }).wake();
    }
    assert_eq!(polls.load(SeqCst), TASKS);
    for round in 2..5 {
        readiness.read.event(READY);
        assert_eq!(polls.load(SeqCst), round * TASKS);
    }
}

/// A bug: the task that waited for one direction was woken before the other one failed. So its next
/// write succeeded, after its read had failed because the runtime had ended.
#[test]
fn a_task_woken_by_the_end_finds_that_both_directions_have_ended() {
    let readiness = Arc::new(Readiness::new());
    let found = Arc::new(Mutex::new(None));
    for reads in [true, false] {
        let (readiness, found) = (readiness.clone(), found.clone());
        let task: Task = Box::pin(async move {
            let (own, other) = match reads {
                true => (&readiness.read, &readiness.write),
                false => (&readiness.write, &readiness.read),
            };
            let _ = own.next();
            let mut wait = std::pin::pin!(Acquisition::new(own.wait(), Location::caller()));
            std::future::poll_fn(|cx| wait.as_mut().poll(cx)).await;
            found.lock().unwrap().get_or_insert((own.peek(), other.peek()));
        });
        Arc::new(Inline { task: Mutex::new(Some(task)) }).wake();
    }
    readiness.end();
    assert_eq!(*found.lock().unwrap(), None);
    readiness.wake_all();
    assert_eq!(*found.lock().unwrap(), Some((Next::Over, Next::Over)));
}
