//! Tests of internals: how many nodes are left, and in which order they fire.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{Sleep, Ticker, Timer, after, sleep, timeout};
use crate::alarm::{Alarm, alarm};
use crate::clock::Time;
use crate::executor::Executor;
use crate::runtime::Runtime;
use crate::timer::driver;
use crate::timer::shard::{Node, Shard, state};

const HOUR: Duration = Duration::from_secs(3600);

/// Returns the number of nodes that are queued at the current runtime.
fn pending_here() -> usize {
    Executor::current().map_or(0, |executor| executor.all_timers().map(Shard::len).sum())
}

fn rt() -> Runtime {
    Runtime::builder().gomaxprocs(1).build().unwrap()
}

async fn polled<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    future
}

#[test]
fn dropped_timers_leave_no_nodes_ca14_tm09() {
    rt().block_on(async {
        let mut kept = Vec::new();
        for i in 0..100_000 {
            let limited = polled(timeout(
                Duration::from_nanos(HOUR.as_nanos() as u64 - i * i),
                pending::<()>(),
            ))
            .await;
            kept.push(limited);
            if kept.len() > 1000 {
                drop(kept.swap_remove(fastrand::usize(..kept.len())));
            }
        }
        assert_eq!(pending_here(), kept.len());
        kept.clear();
        assert_eq!(pending_here(), 0);

        // A timer without a waiting receive is not queued, nor is one whose channel was dropped.
        let (timer, ticker, channel) = (Timer::new(HOUR), Ticker::new(HOUR), after(HOUR));
        assert_eq!(pending_here(), 0);
        timer.reset(HOUR / 2);
        ticker.reset(HOUR / 2);
        assert!(channel.try_recv().is_err());
        assert_eq!(pending_here(), 0);
        let waits = (
            polled(timer.channel().recv()).await,
            polled(ticker.tick()).await,
            polled(channel.recv()).await,
        );
        assert_eq!(pending_here(), 3);
        drop(waits);
        drop((timer, ticker, channel));
        assert_eq!(pending_here(), 0);

        let timer = Timer::after_func(HOUR, async {});
        assert_eq!(pending_here(), 1);
        timer.reset(HOUR / 2);
        assert_eq!(pending_here(), 1);
        timer.stop();
        assert_eq!(pending_here(), 0);
        let never =
            (polled(sleep(Duration::MAX)).await, Timer::after_func(Duration::MAX, async {}));
        assert_eq!(pending_here(), 0);
        drop(never);
    });
}

/// A waker that notes the due time of its node.
struct Noted(u64, Arc<Mutex<Vec<u64>>>);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn a_shard_fires_in_the_order_of_time_and_never_early_tm06_tm01() {
    let (shard, fired) = (Shard::new(), Arc::new(Mutex::new(Vec::new())));
    let mut rng = fastrand::Rng::with_seed(7);
    let dues: Vec<u64> = (0..2000).map(|_| rng.u64(0..20_000_000)).collect();
    let nodes: Vec<_> = dues
        .iter()
        .map(|&due| {
            let mut node = Box::pin(Node::new(Time::PAST));
            let noted = Waker::from(Arc::new(Noted(due, fired.clone())));
            let inserted =
                shard.insert(node.as_mut().withdraw().0, Time::from_nanos(due), noted.into());
            assert!(inserted.is_ok());
            node
        })
        .collect();
    let mut now = 0;
    while shard.len() > 0 {
        now += rng.u64(0..400_000);
        let most = rng.usize(1..100);
        assert!(shard.fire(Time::from_nanos(now), most) <= most);
        assert!(fired.lock().unwrap().iter().all(|&due| due <= now));
    }
    let mut sorted = dues;
    sorted.sort_unstable();
    assert_eq!(*fired.lock().unwrap(), sorted);
    assert!(nodes.iter().all(|node| node.state() == state::FIRED));
    assert_eq!(shard.next_due(), Time::NEVER);
}

#[test]
fn an_alarm_is_fired_or_cancelled() {
    let fired = Arc::new(Mutex::new(Vec::new()));
    let noted = |n| Arc::new(Noted(n, fired.clone())).into();
    // The cancelled alarms are due in an hour, so they cannot fire first, however slow this thread
    // is.
    let (soon, later) =
        (Time::now().after(Duration::from_millis(2)), Time::now().after(Duration::from_secs(3600)));
    let (kept, cancelled) = (alarm(soon, noted(1)), alarm(later, noted(2)));
    let never = alarm(Time::NEVER, noted(3));
    drop(alarm(later, noted(4)));
    assert!(cancelled.cancel() && !cancelled.cancel());
    while fired.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert!(!kept.cancel() && !never.cancel());
    assert_eq!(*fired.lock().unwrap(), [1]);
    assert!(Time::now() >= soon);
}

#[test]
fn an_alarm_may_be_dropped_by_what_it_fires() {
    struct Own(Mutex<Option<Alarm>>, Mutex<Option<std::sync::mpsc::Sender<()>>>);
    impl Wake for Own {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap().take());
            drop(self.1.lock().unwrap().take());
        }
    }
    let (tx, rx) = std::sync::mpsc::channel();
    let own = Arc::new(Own(Mutex::new(None), Mutex::new(Some(tx))));
    let gone: Weak<Own> = Arc::downgrade(&own);
    let mut slot = own.0.lock().unwrap();
    *slot = Some(alarm(Time::now().after(Duration::from_millis(1)), own.clone().into()));
    drop(slot);
    drop(own);
    assert!(rx.recv().is_err(), "it ended");
    while gone.strong_count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn what_waits_in_a_runtime_that_ends_moves_to_the_driver() {
    let runtime = rt();
    let (fired, sleeps) =
        (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::<Pin<Box<Sleep>>>::new())));
    let (f, s) = (fired.clone(), sleeps.clone());
    let alarms = runtime.block_on(async move {
        for _ in 0..100 {
            let sleep = polled(sleep(HOUR)).await;
            s.lock().unwrap().push(sleep);
        }
        let soon = Time::now().after(Duration::from_millis(30));
        let alarms: Vec<_> =
            (0..100).map(|i| alarm(soon, Arc::new(Noted(i, f.clone())).into())).collect();
        assert!(pending_here() >= 100);
        alarms
    });
    let executor = runtime.block_on(async { Executor::current().unwrap() });
    drop(runtime);
    while executor.all_timers().map(Shard::len).sum::<usize>() != 0 {
        std::thread::yield_now();
    }
    assert!(driver::len() >= 100);
    while fired.lock().unwrap().len() < 100 {
        std::thread::yield_now();
    }
    assert!(alarms.iter().all(|alarm| !alarm.cancel()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        sleeps.lock().unwrap().iter_mut().all(|sleep| sleep.as_mut().poll(&mut cx).is_pending())
    );
}
