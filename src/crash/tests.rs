use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{BlockOnCalls, CRASH_GRACE, OnPanic};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn calls() -> &'static BlockOnCalls {
    Box::leak(Box::new(BlockOnCalls::new()))
}

fn crash(calls: &BlockOnCalls, is_over: bool) {
    calls.unrecovered(7, Location::caller(), Box::new("oh"), || is_over);
}

#[test]
fn a_crash_ends_every_call_whether_its_main_has_been_polled_or_not() {
    let calls = calls();
    let (polled, unpolled) = (calls.enter(), calls.enter());
    let (mut signal, mut late) = (polled.signal(), unpolled.signal());
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let cx = &Context::from_waker(&waker);
    assert!(signal.poll(cx).is_pending() && signal.poll(cx).is_pending());
    crash(calls, false);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(signal.poll(cx).is_ready() && late.poll(cx).is_ready());
    let payloads = [polled.end().unwrap(), unpolled.end().unwrap()];
    assert_eq!(
        payloads.iter().filter(|payload| payload.downcast_ref() == Some(&"oh")).count(),
        1,
        "the payload itself"
    );
    assert_eq!(payloads.iter().filter(|payload| payload.is::<String>()).count(), 1, "a copy of its text");
    drop((signal, late, waker));
    assert!(calls.is_empty() && Arc::strong_count(&woken) == 1);
    // The next call begins without a crash.
    let call = calls.enter();
    assert!(call.signal().poll(&Context::from_waker(Waker::noop())).is_pending());
    assert!(call.end().is_none());
}

#[test]
fn a_panic_ends_no_call_if_the_policy_isolates_or_the_runtime_is_over() {
    let calls = calls();
    let call = calls.enter();
    crash(calls, true);
    assert!(calls.crashes());
    calls.set_policy(OnPanic::Isolate, CRASH_GRACE);
    crash(calls, false);
    assert!(call.signal().poll(&Context::from_waker(Waker::noop())).is_pending());
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
    let mains = [calls.enter(), calls.enter(), calls.enter()];
    let woken = Arc::new(Count::default());
    let wakers = [Waker::from(Arc::new(Bad)), Waker::from(woken.clone()), Waker::from(Arc::new(Bad))];
    for (main, waker) in mains.iter().zip(&wakers) {
        assert!(main.signal().poll(&Context::from_waker(waker)).is_pending());
    }
    crash(calls, false);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(mains.into_iter().all(|main| main.end().is_some()));
}

#[test]
fn a_crash_that_waits_aborts_nothing_while_no_main_is_polled_or_when_one_took_it() {
    let calls = calls();
    let long = CRASH_GRACE * 100;
    assert!(!calls.check_grace(long), "no crash");
    let (mut parked, blocked) = (calls.enter(), calls.enter());
    crash(calls, false);
    // Neither main is being polled: the next poll of each sees the crash.
    assert!(calls.check_grace(long));
    let cx = &mut Context::from_waker(Waker::noop());
    let polled = blocked.signal().until_crash(cx, |_| Poll::Ready(()));
    assert_eq!(polled, Poll::Ready(None), "the crash came before");
    // One that is polled for ever, under the policy that waits for ever.
    blocked.polling.store(true, Ordering::Relaxed);
    calls.set_policy(OnPanic::Crash, Duration::MAX);
    assert!(calls.check_grace(Duration::MAX) && calls.check_grace(Duration::MAX));
    // The other call raises the panic.
    assert!(parked.end().is_some());
    calls.set_policy(OnPanic::Crash, CRASH_GRACE);
    assert!(!calls.check_grace(long));
    // A second crash, while the first main is still in its poll: it was told already.
    parked = calls.enter();
    crash(calls, false);
    assert!(calls.check_grace(Duration::ZERO) && parked.end().is_some() && blocked.end().is_some());
    assert!(!calls.check_grace(long) && calls.is_empty());
}
