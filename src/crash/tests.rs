use std::future::{Pending, pending, ready};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{BlockOnCall, BlockOnCalls, CRASH_GRACE, OnDeadlock, OnPanic, UntilCrash};
use crate::panics::Caught;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn calls() -> &'static BlockOnCalls {
    let calls = Box::leak(Box::new(BlockOnCalls::default()));
    calls.set_policy(OnPanic::Crash, CRASH_GRACE, OnDeadlock::Default);
    calls
}

/// Returns a main of the call that never ends by itself.
fn main_of(call: &BlockOnCall) -> UntilCrash<Pending<()>> {
    call.until_crash(pending(), None)
}

/// Polls a main once. Returns whether a crash has ended it.
fn ends(main: &mut UntilCrash<Pending<()>>, waker: &Waker) -> bool {
    Pin::new(main).poll(&mut Context::from_waker(waker)) == Poll::Ready(None)
}

fn crash(calls: &BlockOnCalls, is_over: bool) {
    calls.unrecovered(7, Location::caller(), Caught::new(Box::new("oh")), || is_over);
}

/// A bug: a goroutine that main had spawned panicked at once. Main was not registered yet, so the
/// process aborted.
#[test]
fn a_crash_ends_every_call_whether_its_main_has_been_polled_or_not() {
    let calls = calls();
    let (polled, unpolled) = (calls.enter(None), calls.enter(None));
    let (mut main, mut late) = (main_of(&polled), main_of(&unpolled));
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    assert!(!ends(&mut main, &waker) && !ends(&mut main, &waker));
    crash(calls, false);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(ends(&mut main, &waker) && ends(&mut late, &waker));
    let (polled, unpolled) = (polled.end(), unpolled.end());
    assert!(!polled.is_last && unpolled.is_last);
    let payloads = [polled.crash.unwrap(), unpolled.crash.unwrap()];
    assert_eq!(
        payloads.iter().filter(|payload| payload.downcast_ref() == Some(&"oh")).count(),
        1,
        "the payload itself"
    );
    assert_eq!(
        payloads.iter().filter(|payload| payload.is::<String>()).count(),
        1,
        "a copy of its text"
    );
    drop((main, late, waker));
    assert!(calls.is_empty() && Arc::strong_count(&woken) == 1);
    // The next call begins without a crash.
    let call = calls.enter(None);
    assert!(!ends(&mut main_of(&call), Waker::noop()));
    assert!(call.end().crash.is_none());
}

#[test]
fn a_panic_ends_no_call_if_the_policy_isolates_or_the_runtime_is_over() {
    let calls = calls();
    let call = calls.enter(None);
    crash(calls, true);
    assert!(calls.crashes());
    calls.set_policy(OnPanic::Isolate, CRASH_GRACE, OnDeadlock::Default);
    crash(calls, false);
    assert!(!ends(&mut main_of(&call), Waker::noop()));
    drop(call);
    assert!(calls.is_empty() && !calls.crashes());
}

struct Bad;

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        panic!("a bad waker");
    }
}

#[test]
fn a_main_whose_waker_panics_costs_no_other_main_its_crash_ca19() {
    let calls = calls();
    let mains = [calls.enter(None), calls.enter(None), calls.enter(None)];
    let woken = Arc::new(Count::default());
    let wakers =
        [Waker::from(Arc::new(Bad)), Waker::from(woken.clone()), Waker::from(Arc::new(Bad))];
    for (main, waker) in mains.iter().zip(&wakers) {
        assert!(!ends(&mut main_of(main), waker));
    }
    crash(calls, false);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(mains.into_iter().all(|main| main.end().crash.is_some()));
}

#[test]
fn a_crash_that_waits_aborts_nothing_while_no_main_is_polled_or_when_one_took_it() {
    let calls = calls();
    let long = CRASH_GRACE * 100;
    assert!(!calls.check_grace(long), "no crash");
    let (mut parked, blocked) = (calls.enter(None), calls.enter(None));
    crash(calls, false);
    // Neither main is being polled: the next poll of each sees the crash.
    assert!(calls.check_grace(long));
    let cx = &mut Context::from_waker(Waker::noop());
    let polled = pin!(blocked.until_crash(ready(()), None)).poll(cx);
    assert_eq!(polled, Poll::Ready(None), "the crash came before");
    // One main is in a poll that never ends, under the policy that waits without limit.
    blocked.call.count_poll();
    calls.set_policy(OnPanic::Crash, Duration::MAX, OnDeadlock::Default);
    assert!(calls.check_grace(Duration::MAX) && calls.check_grace(Duration::MAX));
    // The other call raises the panic.
    assert!(parked.end().crash.is_some());
    calls.set_policy(OnPanic::Crash, CRASH_GRACE, OnDeadlock::Default);
    assert!(!calls.check_grace(long));
    // A second crash, while the first main is still in its poll and already has a crash.
    parked = calls.enter(None);
    crash(calls, false);
    assert!(
        calls.check_grace(Duration::ZERO)
            && parked.end().crash.is_some()
            && blocked.end().crash.is_some()
    );
    assert!(!calls.check_grace(long) && calls.is_empty());
}
