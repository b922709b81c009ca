use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::task::Wake;

use super::*;

/// Counts its wakes, and runs a closure at each wake and when the last handle is dropped.
struct Probe {
    wakes: AtomicUsize,
    wake: Box<dyn Fn() + Send + Sync>,
    drop: Box<dyn Fn() + Send + Sync>,
}

impl Probe {
    fn new() -> Arc<Self> {
        Self::with(|| (), || ())
    }
    fn with(
        wake: impl Fn() + Send + Sync + 'static,
        drop: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Probe { wakes: AtomicUsize::new(0), wake: Box::new(wake), drop: Box::new(drop) })
    }
    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }
}

impl Wake for Probe {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        (self.wake)();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        (self.drop)();
    }
}

fn poll(listener: &mut Pin<Box<Listener<'_>>>, probe: &Arc<Probe>) -> Poll<Notified> {
    listener.as_mut().poll(&mut Context::from_waker(&Waker::from(probe.clone())))
}

#[test]
fn one_goes_to_the_longest_waiter_and_is_not_stored() {
    let event = Event::new();
    assert!(!event.notify_one());
    let (mut a, mut b) = (Box::pin(event.listen()), Box::pin(event.listen()));
    let (pa, pb) = (Probe::new(), Probe::new());
    // Polled in reverse order: only the order of `listen` matters.
    assert!(poll(&mut b, &pb).is_pending() && poll(&mut a, &pa).is_pending());
    assert!(event.notify_one());
    assert_eq!((pa.wakes(), pb.wakes()), (1, 0));
    assert!(poll(&mut b, &pb).is_pending());
    assert_eq!(poll(&mut a, &pa), Poll::Ready(Notified::One));
    assert_eq!(event.listeners(), 1);
    assert!(event.notify_one());
    assert!(!event.notify_one());
    assert_eq!(poll(&mut b, &pb), Poll::Ready(Notified::One));
    assert_eq!(event.listeners(), 0);
}

#[test]
fn two_notifications_wake_two_though_the_first_was_not_looked_at() {
    let event = Event::new();
    let (mut a, mut b) = (Box::pin(event.listen()), Box::pin(event.listen()));
    let p = Probe::new();
    assert!(poll(&mut a, &p).is_pending() && poll(&mut b, &p).is_pending());
    assert!(event.notify_one() && event.notify_one());
    assert_eq!(p.wakes(), 2);
    assert!(poll(&mut a, &p).is_ready() && poll(&mut b, &p).is_ready());
}

#[test]
fn all_reaches_each_current_listener_once() {
    let event = Event::new();
    let p = Probe::new();
    let mut now: Vec<_> = (0..100).map(|_| Box::pin(event.listen())).collect();
    // Some are armed, some were never polled.
    for listener in &mut now[..50] {
        assert!(poll(listener, &p).is_pending());
    }
    assert_eq!(event.notify_all(), 100);
    assert_eq!(p.wakes(), 50);
    let mut late = Box::pin(event.listen());
    for listener in &mut now {
        assert_eq!(poll(listener, &p), Poll::Ready(Notified::All));
    }
    assert!(poll(&mut late, &p).is_pending());
    assert_eq!(p.wakes(), 50);
}

#[test]
fn a_dropped_listener_passes_a_single_notification_on() {
    let event = Event::new();
    let p = Probe::new();
    for armed in [false, true] {
        let (mut a, mut b) = (Box::pin(event.listen()), Box::pin(event.listen()));
        if armed {
            assert!(poll(&mut a, &p).is_pending());
        }
        assert!(event.notify_one());
        drop(a);
        assert_eq!(poll(&mut b, &p), Poll::Ready(Notified::One));
    }
    assert_eq!(event.listeners(), 0);
}

#[test]
fn a_dropped_listener_keeps_a_broadcast_to_itself() {
    let event = Event::new();
    let p = Probe::new();
    for armed in [false, true] {
        let mut a = Box::pin(event.listen());
        if armed {
            assert!(poll(&mut a, &p).is_pending());
        }
        event.notify_all();
        let mut late = Box::pin(event.listen());
        drop(a);
        assert!(poll(&mut late, &p).is_pending());
    }
    assert_eq!(event.listeners(), 0);
}

#[test]
fn a_new_waker_replaces_the_old_one_and_only_it_is_woken() {
    let event = Event::new();
    let mut a = Box::pin(event.listen());
    let (old, new) = (Probe::new(), Probe::new());
    assert!(poll(&mut a, &old).is_pending());
    assert!(poll(&mut a, &new).is_pending());
    assert_eq!(Arc::strong_count(&old), 1);
    event.notify_one();
    assert_eq!((old.wakes(), new.wakes()), (0, 1));
    assert_eq!(Arc::strong_count(&new), 1);
    assert!(poll(&mut a, &new).is_ready());
    assert_eq!(Arc::strong_count(&new), 1);
}

#[test]
#[should_panic(expected = "polled after completion")]
fn polling_after_completion_panics() {
    let event = Event::new();
    let mut a = Box::pin(event.listen());
    let p = Probe::new();
    event.notify_one();
    assert!(poll(&mut a, &p).is_ready());
    let _ = poll(&mut a, &p);
}

#[test]
fn a_waker_may_come_back_to_the_event_when_woken_and_when_dropped() {
    let event: &'static Event = Box::leak(Box::new(Event::new()));
    let uses = |event: &'static Event| {
        let mut l = Box::pin(event.listen());
        let p = Probe::new();
        assert!(poll(&mut l, &p).is_pending());
        event.notify_all();
        drop(event.listen());
    };
    let dropped = Arc::new(AtomicBool::new(false));
    let d = dropped.clone();
    let p = Probe::with(
        move || uses(event),
        move || {
            uses(event);
            d.store(true, Ordering::SeqCst);
        },
    );
    let mut a = Box::pin(event.listen());
    assert!(poll(&mut a, &p).is_pending());
    let weak: Weak<Probe> = Arc::downgrade(&p);
    drop(p);
    // Drops the last handle of the first probe, which notifies this very listener.
    assert!(poll(&mut a, &Probe::new()).is_ready());
    assert!(weak.upgrade().is_none() && dropped.load(Ordering::SeqCst));

    let p = Probe::with(move || uses(event), || ());
    let mut a = Box::pin(event.listen());
    assert!(poll(&mut a, &p).is_pending());
    event.notify_one();
    assert_eq!(p.wakes(), 1);
    drop(a);
}

#[test]
fn a_waker_may_drop_the_listeners_that_were_notified_with_it() {
    let event: &'static Event = Box::leak(Box::new(Event::new()));
    let others = Arc::new(Mutex::new(Vec::new()));
    let o = others.clone();
    let first = Probe::with(
        move || {
            let gone = std::mem::take(&mut *o.lock().unwrap());
            drop(gone);
        },
        || (),
    );
    let mut a = Box::pin(event.listen());
    assert!(poll(&mut a, &first).is_pending());
    let p = Probe::new();
    for _ in 0..10 {
        let mut l = Box::pin(event.listen());
        assert!(poll(&mut l, &p).is_pending());
        others.lock().unwrap().push(l);
    }
    event.notify_all();
    // They had been notified, so their tasks are woken although the listeners were dropped.
    assert_eq!((first.wakes(), p.wakes()), (1, 10));
    assert!(poll(&mut a, &first).is_ready());
    assert_eq!(event.listeners(), 0);
}

#[test]
fn a_waker_that_panics_prevents_no_other_wake() {
    let event = Event::new();
    let bad = Probe::with(|| panic!("bad waker"), || ());
    let good = Probe::new();
    let mut a = Box::pin(event.listen());
    assert!(poll(&mut a, &bad).is_pending());
    let mut rest: Vec<_> = (0..3).map(|_| Box::pin(event.listen())).collect();
    for l in &mut rest {
        assert!(poll(l, &good).is_pending());
    }
    assert_eq!(event.notify_all(), 4);
    assert_eq!(good.wakes(), 3);
    // No pointer to the batch is left.
    assert!(BATCH.get().is_null());
}

/// Several threads listen, poll with changing wakers and drop the listener at any moment, while one
/// thread notifies. Each single notification is received at most once.
#[test]
fn no_notification_is_lost_or_doubled_when_listeners_leave_at_random() {
    const THREADS: usize = 3;
    let event = Event::new();
    let received = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|s| {
        for t in 0..THREADS {
            let (event, received, stop) = (&event, &received, &stop);
            s.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(t as u64);
                while !stop.load(Ordering::SeqCst) {
                    let mut l = Box::pin(event.listen());
                    let mut got = false;
                    for _ in 0..rng.usize(0..4) {
                        let p = Probe::new();
                        if poll(&mut l, &p).is_ready() {
                            got = true;
                            break;
                        }
                    }
                    if got {
                        received.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        let mut sent = 0;
        for _ in 0..30_000 {
            sent += usize::from(event.notify_one());
        }
        stop.store(true, Ordering::SeqCst);
        sent
    });
    // A notification that is passed on may find no listener, so fewer may be received than were
    // sent, but never more.
    assert!(received.load(Ordering::SeqCst) <= sent);
    assert_eq!(event.listeners(), 0);
}

/// Like the test above, but one listener stays: it must get the notification that the other one
/// passed on.
#[test]
fn a_listener_that_stays_gets_a_notification_passed_on() {
    for round in 0..300 {
        let event = Event::new();
        let mut leaver = Box::pin(event.listen());
        let mut stayer = Box::pin(event.listen());
        let (pl, ps) = (Probe::new(), Probe::new());
        if round % 3 != 0 {
            assert!(poll(&mut leaver, &pl).is_pending());
        }
        assert!(poll(&mut stayer, &ps).is_pending());
        std::thread::scope(|s| {
            s.spawn(|| assert!(event.notify_one()));
            s.spawn(|| drop(leaver));
        });
        assert_eq!(poll(&mut stayer, &ps), Poll::Ready(Notified::One), "round {round}");
        assert_eq!(ps.wakes(), 1);
    }
}
