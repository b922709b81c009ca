//! User code that a channel must survive: wakers and values that call back, destructors that panic,
//! operations that are leaked.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use futures_lite::future::block_on;
use futures_lite::{Stream, StreamExt};
use gopark::chan::{self, Receiver, Sender, TryRecvError, TrySendError};
use gopark::select::Select;
use gopark::{OnPanic, Runtime, go, gosched, select};

use crate::hand::Hand;
use crate::util::{Counted, Drops, no_hang};

// --------------------------------------------------------------------------- code that calls back

/// The moment at which a waker calls back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    Clone,
    Wake,
    Drop,
}

pub(crate) type Act = Arc<dyn Fn() + Send + Sync>;

struct Hooks {
    moment: Moment,
    act: Act,
}

impl Hooks {
    fn at(&self, moment: Moment) {
        thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
        // The callback may use wakers too; those do nothing.
        if moment == self.moment && !INSIDE.replace(true) {
            (self.act)();
            INSIDE.set(false);
        }
    }
}

/// A waker that calls back when it is cloned, woken or dropped.
pub(crate) fn hooked(moment: Moment, act: Act) -> Waker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_it);
    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: `data` came from `Arc::into_raw`, and its count is held while this runs.
        unsafe {
            (*data.cast::<Hooks>()).at(Moment::Clone);
            Arc::increment_strong_count(data.cast::<Hooks>());
        }
        RawWaker::new(data, &TABLE)
    }
    unsafe fn wake(data: *const ()) {
        // SAFETY: as above; this gives the count up.
        let hooks = unsafe { Arc::from_raw(data.cast::<Hooks>()) };
        hooks.at(Moment::Wake);
        hooks.at(Moment::Drop);
    }
    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: as above.
        unsafe { (*data.cast::<Hooks>()).at(Moment::Wake) };
    }
    unsafe fn drop_it(data: *const ()) {
        // SAFETY: as above; this gives the count up.
        let hooks = unsafe { Arc::from_raw(data.cast::<Hooks>()) };
        hooks.at(Moment::Drop);
    }
    let data = Arc::into_raw(Arc::new(Hooks { moment, act })).cast();
    // SAFETY: the functions above maintain the count.
    unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

#[test]
fn a_select_that_the_same_task_polls_again_clones_no_waker() {
    let clones = Arc::new(AtomicUsize::new(0));
    let counter = clones.clone();
    let waker = hooked(
        Moment::Clone,
        Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }),
    );
    let ((_a_tx, a), (_b_tx, b)) = (chan::unbuffered::<()>(), chan::unbuffered::<()>());
    let mut selecting = std::pin::pin!(async {
        gopark::select! { _ = a.recv() => {}, _ = b.recv() => {} }
    });
    for _ in 0..3 {
        assert!(poll_once(selecting.as_mut(), &waker).is_pending());
        assert_eq!(clones.load(Ordering::SeqCst), 1);
    }
}

/// A boxed operation of a channel; its output does not matter.
type Parked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The action of a callback on the channel.
#[derive(Clone, Copy, Debug)]
enum Deed {
    TrySend,
    TryRecv,
    Close,
    Look,
    RecvAndDrop,
    SendAndDrop,
    SelectAndDrop,
    Stream,
    IntoStream,
    /// Drops an operation that is parked on the channel.
    DropParked,
    CloneAndDropHandles,
}

const DEEDS: [Deed; 11] = [
    Deed::TrySend,
    Deed::TryRecv,
    Deed::Close,
    Deed::Look,
    Deed::RecvAndDrop,
    Deed::SendAndDrop,
    Deed::SelectAndDrop,
    Deed::Stream,
    Deed::IntoStream,
    Deed::DropParked,
    Deed::CloneAndDropHandles,
];

/// A channel and what is needed to interfere with it.
#[derive(Clone)]
struct Scene {
    tx: Sender<Counted>,
    rx: Receiver<Counted>,
    drops: Drops,
    made: Arc<AtomicUsize>,
    parked: Arc<Mutex<Vec<Parked>>>,
    called: Arc<AtomicUsize>,
}

impl Scene {
    fn new(cap: usize) -> Self {
        let (tx, rx) = chan::bounded(cap);
        let (drops, made) = (Drops::new(), Arc::default());
        Self { tx, rx, drops, made, parked: Arc::default(), called: Arc::default() }
    }

    fn one(&self) -> Counted {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.drops.one()
    }

    fn recv(&self) -> Parked {
        let rx = self.rx.clone();
        Box::pin(async move { drop(rx.recv().await) })
    }

    fn send(&self) -> Parked {
        let (tx, value) = (self.tx.clone(), self.one());
        Box::pin(async move { drop(tx.send(value).await) })
    }

    fn select(&self) -> Parked {
        let (tx, rx, value) = (self.tx.clone(), self.rx.clone(), self.one());
        let (_quiet_tx, quiet) = chan::unbuffered::<()>();
        Box::pin(async move {
            select! {
                r = tx.send(value) => drop(r),
                v = rx.recv() => drop(v),
                _ = quiet.recv() => {}
            }
            drop(_quiet_tx);
        })
    }

    fn stream(&self) -> Parked {
        let mut rx = self.rx.clone();
        Box::pin(async move { drop(rx.next().await) })
    }

    fn line(&self) -> Parked {
        let mut stream = self.rx.clone().into_stream();
        Box::pin(async move { drop(stream.next().await) })
    }

    fn call_back(&self, deed: Deed) {
        self.called.fetch_add(1, Ordering::Relaxed);
        let noop = Waker::noop();
        match deed {
            Deed::TrySend => drop(self.tx.try_send(self.one())),
            Deed::TryRecv => drop(self.rx.try_recv()),
            Deed::Close => _ = self.tx.close(),
            Deed::Look => {
                assert!(self.rx.len() < 100 && self.rx.is_closed() == self.tx.is_closed())
            }
            Deed::RecvAndDrop => _ = poll_once(self.recv().as_mut(), noop),
            Deed::SendAndDrop => _ = poll_once(self.send().as_mut(), noop),
            Deed::SelectAndDrop => _ = poll_once(self.select().as_mut(), noop),
            Deed::Stream => _ = poll_once(self.stream().as_mut(), noop),
            Deed::IntoStream => _ = poll_once(self.line().as_mut(), noop),
            Deed::DropParked => {
                let parked = self.parked.lock().unwrap().pop();
                drop(parked);
            }
            Deed::CloneAndDropHandles => drop((self.tx.clone(), self.rx.clone())),
        }
    }

    /// One of everything, with wakers that all come from `waker`.
    fn play(&self, waker: &dyn Fn() -> Waker) {
        let park = |mut op: Parked| {
            if poll_once(op.as_mut(), &waker()).is_pending() {
                self.parked.lock().unwrap().push(op);
            }
        };
        for round in 0..4 {
            let mut ops = [self.recv(), self.stream(), self.select(), self.line()];
            for op in &mut ops {
                if poll_once(op.as_mut(), &waker()).is_pending() && round % 2 == 1 {
                    let _ = poll_once(op.as_mut(), &waker()); // another task
                }
            }
            park(self.recv());
            (0..3).for_each(|_| drop(self.tx.try_send(self.one())));
            let [a, b, c, d] = ops;
            drop(b); // idle, or woken
            drop(a); // served
            park(self.send());
            park(self.send());
            drop((c, d));
            (0..3).for_each(|_| drop(self.rx.try_recv()));
            park(self.select());
            self.rx.try_recv().map(drop).unwrap_or(());
            if round == 2 {
                self.tx.close();
            }
            if round % 2 == 1 {
                let parked = std::mem::take(&mut *self.parked.lock().unwrap());
                drop(parked);
            }
        }
        let parked = std::mem::take(&mut *self.parked.lock().unwrap());
        parked.into_iter().for_each(|mut op| _ = poll_once(op.as_mut(), &waker()));
    }
}

#[test]
fn wakers_may_use_the_channel_when_cloned_woken_or_dropped_ca06() {
    no_hang(|| {
        for cap in [0, 1, 3] {
            for moment in [Moment::Clone, Moment::Wake, Moment::Drop] {
                for deed in DEEDS {
                    let scene = Scene::new(cap);
                    let (drops, made, called) =
                        (scene.drops.clone(), scene.made.clone(), scene.called.clone());
                    let for_callbacks = Arc::new(Mutex::new(Some(scene.clone())));
                    let act: Act = Arc::new({
                        let scene = for_callbacks.clone();
                        move || {
                            let scene = scene.lock().unwrap().clone();
                            if let Some(scene) = scene {
                                scene.call_back(deed);
                            }
                        }
                    });
                    scene.play(&|| hooked(moment, act.clone()));
                    drop(for_callbacks.lock().unwrap().take());
                    drop(scene);
                    let context = format!("capacity {cap}, {moment:?}, {deed:?}");
                    assert!(called.load(Ordering::Relaxed) > 0, "{context}: never called back");
                    assert_eq!(drops.count(), made.load(Ordering::Relaxed), "{context}");
                }
            }
        }
    });
}

/// Polls with a waker that has the data of the task's own waker, but its own functions: the clone
/// calls back.
struct Wrapped<F> {
    future: Pin<Box<F>>,
    act: Act,
}

impl<F: Future> Future for Wrapped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        thread_local! {
            /// The functions of the task's own waker, and the callback, during the poll.
            static INNER: RefCell<Option<(&'static RawWakerVTable, Act)>> =
                const { RefCell::new(None) };
        }
        static TABLE: RawWakerVTable =
            RawWakerVTable::new(clone, |_| unreachable!("never owned"), wake_by_ref, |_| ());
        fn inner(data: *const ()) -> (ManuallyDrop<Waker>, Act) {
            let (functions, act) =
                INNER.with_borrow(|inner| inner.clone()).expect("within the poll");
            // SAFETY: both parts are those of the task's waker, which outlives the poll; it is not
            // dropped.
            (ManuallyDrop::new(unsafe { Waker::new(data, functions) }), act)
        }
        unsafe fn clone(data: *const ()) -> RawWaker {
            let (inner, act) = inner(data);
            act();
            let cloned = ManuallyDrop::new(Waker::clone(&inner));
            RawWaker::new(cloned.data(), cloned.vtable())
        }
        unsafe fn wake_by_ref(data: *const ()) {
            inner(data).0.wake_by_ref();
        }

        INNER.set(Some((cx.waker().vtable(), self.act.clone())));
        // SAFETY: the functions forward everything to those of the waker that owns the data.
        let waker = unsafe { Waker::new(cx.waker().data(), &TABLE) };
        let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        INNER.set(None);
        polled
    }
}

/// The channel's lock was held while the wrapper's `clone` ran: the channel took it for the
/// goroutine's own waker, because its data was the same.
#[test]
fn a_waker_with_the_data_of_the_goroutines_own_may_use_the_channel_when_cloned_ca06() {
    no_hang(|| {
        for send in [true, false] {
            let (tx, rx) = chan::bounded(1);
            let cloned = Arc::new(AtomicUsize::new(0));
            let act: Act = Arc::new({
                let (rx, cloned) = (rx.clone(), cloned.clone());
                move || {
                    assert!(rx.len() <= 1);
                    cloned.fetch_add(1, Ordering::SeqCst);
                }
            });
            Runtime::builder().gomaxprocs(1).build().unwrap().block_on(async {
                let parked = if send {
                    tx.try_send(1).unwrap();
                    let tx = tx.clone();
                    go(async move { Wrapped { future: Box::pin(tx.send(2)), act }.await.unwrap() })
                } else {
                    let rx = rx.clone();
                    go(async move {
                        assert_eq!(Wrapped { future: Box::pin(rx.recv()), act }.await, Some(1))
                    })
                };
                // It runs, and waits.
                gosched().await;
                if send {
                    assert_eq!((rx.recv().await, rx.recv().await), (Some(1), Some(2)));
                } else {
                    tx.send(1).await.unwrap();
                }
                parked.await.unwrap();
            });
            assert_eq!(cloned.load(Ordering::SeqCst), 1, "send: {send}");
        }
    });
}

/// A value whose destructor uses the channel that the value goes through.
struct Noisy {
    act: Act,
    drops: Drops,
}

impl Drop for Noisy {
    fn drop(&mut self) {
        thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
        drop(self.drops.one());
        if !INSIDE.replace(true) {
            (self.act)();
            INSIDE.set(false);
        }
    }
}

#[test]
fn a_waker_that_spends_the_rest_of_the_budget_gives_the_goroutine_no_endless_one() {
    // A send notifies a stream, whose waker completes operations of its own, in the goroutine's
    // poll, until the budget is used up. If the send consumed budget after that, the budget would
    // wrap around, and the goroutine would not yield to the other one. A goroutine that is alone
    // has several budgets in a row, even next to one whose thread has lost its core.
    const MANY: usize = 50_000;
    let sends = no_hang(|| {
        Runtime::builder().gomaxprocs(1).build().unwrap().block_on(async {
            let (tx, mut watched) = chan::bounded(1);
            let (own_tx, own_rx) = chan::bounded(1);
            let act = move || {
                for _ in 0..64 {
                    block_on(async {
                        (own_tx.send(()).await.unwrap(), own_rx.recv().await.unwrap())
                    });
                }
            };
            let waker = hooked(Moment::Wake, Arc::new(act));
            assert!(
                Pin::new(&mut watched).poll_next(&mut Context::from_waker(&waker)).is_pending()
            );
            let sender = go(async move {
                let other = go(async {});
                let mut sends = 0;
                while !other.is_finished() && sends < MANY {
                    tx.send(()).await.unwrap();
                    watched.try_recv().unwrap();
                    sends += 1;
                }
                sends
            });
            sender.await.unwrap()
        })
    });
    assert!(sends < MANY);
}

#[test]
fn values_may_use_the_channel_when_dropped_ca06() {
    no_hang(|| {
        type Deed = fn(&Sender<Noisy>, &Receiver<Noisy>, Noisy);
        let deeds: [Deed; 6] = [
            |tx, _, value| drop(tx.try_send(value)),
            |_, rx, _| drop(rx.try_recv()),
            |tx, _, _| _ = tx.close(),
            |tx, rx, _| assert_eq!(tx.len(), rx.len()),
            |_, rx, _| drop(Hand::new(rx.recv()).poll()),
            |tx, _, value| drop(Hand::new(tx.send(value)).poll()),
        ];
        for cap in [0, 1, 3] {
            for deed in deeds {
                let (drops, made) = (Drops::new(), Arc::new(AtomicUsize::new(0)));
                type Ends = Option<(Sender<Noisy>, Receiver<Noisy>)>;
                let ends = Arc::new(Mutex::new(Ends::None));
                let new = {
                    let (drops, made, ends) = (drops.clone(), made.clone(), ends.clone());
                    move || {
                        made.fetch_add(1, Ordering::Relaxed);
                        let (ends, inner, made) = (ends.clone(), drops.clone(), made.clone());
                        let act = move || {
                            let Some((tx, rx)) = ends.lock().unwrap().clone() else { return };
                            made.fetch_add(1, Ordering::Relaxed);
                            deed(&tx, &rx, Noisy { act: Arc::new(|| ()), drops: inner.clone() });
                        };
                        Noisy { act: Arc::new(act), drops: drops.clone() }
                    }
                };
                let (tx, rx) = chan::bounded(cap);
                *ends.lock().unwrap() = Some((tx.clone(), rx.clone()));
                drop(tx.send(new())); // never polled
                (0..cap).for_each(|_| drop(tx.try_send(new())));
                drop(
                    [Hand::new(tx.send(new())), Hand::new(tx.send(new()))]
                        .map(|mut op| (op.poll(), op)),
                );
                drop(rx.try_recv());
                // The losers of a select.
                let (quiet, _quiet_rx) = chan::unbuffered();
                let mut selecting = Hand::new(async {
                    select! {
                        _ = quiet.send(new()) => {}
                        _ = quiet.send(new()) => {}
                        v = rx.recv() => drop(v),
                    }
                });
                let _ = selecting.poll();
                drop(tx.try_send(new()));
                if !selecting.is_done() {
                    let _ = selecting.poll();
                }
                drop(selecting);
                // A receive that was served, then dropped.
                let mut served = Hand::new(rx.recv());
                let _ = served.poll();
                drop(tx.try_send(new()));
                drop(served);
                // Failed sends.
                let mut failing = Hand::new(tx.send(new()));
                let _ = failing.poll();
                tx.close();
                if !failing.is_done() {
                    drop(failing.poll());
                }
                drop(failing);
                drop(ends.lock().unwrap().take());
                // The last receiver drops the remaining values; a waiting sender has a waker that
                // calls back.
                drop((rx, tx));
                assert_eq!(drops.count(), made.load(Ordering::Relaxed), "capacity {cap}");
            }
        }
    });
}

#[test]
fn the_values_that_the_last_receiver_drops_see_the_channel_closed_ca06() {
    no_hang(|| {
        let (tx, rx) = chan::bounded(3);
        let (drops, seen) = (Drops::new(), Arc::new(AtomicUsize::new(0)));
        let holder = Arc::new(Mutex::new(Some(tx.clone())));
        for _ in 0..3 {
            let (holder, seen) = (holder.clone(), seen.clone());
            let act = move || {
                let tx: Sender<Noisy> = holder.lock().unwrap().clone().unwrap();
                assert_eq!((tx.is_closed(), tx.len()), (true, 0));
                seen.fetch_add(1, Ordering::Relaxed);
            };
            assert!(tx.try_send(Noisy { act: Arc::new(act), drops: drops.clone() }).is_ok());
        }
        drop(rx);
        assert_eq!((drops.count(), seen.load(Ordering::Relaxed)), (3, 3));
        // A channel that holds its own last sender.
        struct Own {
            _tx: Sender<Own>,
        }
        let (tx, rx) = chan::bounded(1);
        assert!(tx.try_send(Own { _tx: tx.clone() }).is_ok());
        drop((tx, rx));
    });
}

// ------------------------------------------------------------------------- destructors that panic

/// A value that is counted when it is dropped, and then panics if it is armed.
#[derive(Debug)]
struct Bomb {
    id: usize,
    live: bool,
    drops: Drops,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        drop(self.drops.one());
        if self.live && !std::thread::panicking() {
            panic!("bomb {}", self.id);
        }
    }
}

/// Makes them, and counts.
struct Arsenal(Drops, Cell<usize>);

impl Arsenal {
    fn new() -> Self {
        Self(Drops::new(), Cell::new(0))
    }

    /// The number of values that are left.
    fn left(&self) -> usize {
        self.1.get() - self.0.count()
    }

    fn live(&self, id: usize) -> Bomb {
        self.1.set(self.1.get() + 1);
        Bomb { id, live: true, drops: self.0.clone() }
    }

    fn dud(&self, id: usize) -> Bomb {
        self.1.set(self.1.get() + 1);
        Bomb { id, live: false, drops: self.0.clone() }
    }
}

/// Runs `f`, in which that value must panic.
#[track_caller]
fn blast<T>(id: usize, f: impl FnOnce() -> T) {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(f()))).expect_err("nothing went off");
    assert_eq!(payload.downcast_ref::<String>(), Some(&format!("bomb {id}")));
}

/// The channel works, and no operation waits on it.
#[track_caller]
fn still_works(tx: &Sender<Bomb>, rx: &Receiver<Bomb>, arsenal: &Arsenal) {
    while rx.try_recv().is_ok() {}
    for id in 0..tx.capacity() {
        assert!(tx.try_send(arsenal.dud(id)).is_ok());
    }
    assert!(
        matches!(tx.try_send(arsenal.dud(9)), Err(TrySendError::Full(_))),
        "a receiver is left in the queue"
    );
    for id in 0..tx.capacity() {
        assert_eq!(rx.try_recv().unwrap().id, id);
    }
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)), "a sender is left in the queue");
    let mut recv = Hand::parked(rx.recv());
    tx.try_send(arsenal.dud(7)).unwrap();
    assert_eq!(recv.ready().unwrap().id, 7);
}

#[test]
fn a_pending_send_whose_value_panics_when_dropped_leaves_the_queue_first() {
    for cap in [0, 1, 3] {
        let arsenal = Arsenal::new();
        let (tx, rx) = chan::bounded(cap);
        (0..cap).for_each(|id| tx.try_send(arsenal.dud(id)).unwrap());
        let mut before = Hand::parked(tx.send(arsenal.dud(10)));
        let bomb = Hand::parked(tx.send(arsenal.live(11)));
        let mut after = Hand::parked(tx.send(arsenal.dud(12)));
        blast(11, || drop(bomb));
        blast(13, || drop(tx.send(arsenal.live(13)))); // never polled
        (0..cap).for_each(|id| assert_eq!(rx.try_recv().unwrap().id, id));
        assert_eq!(rx.try_recv().unwrap().id, 10);
        assert_eq!(rx.try_recv().unwrap().id, 12);
        assert!(before.ready().is_ok() && after.ready().is_ok());
        assert_eq!(arsenal.0.count(), cap + 4);
        still_works(&tx, &rx, &arsenal);
    }
}

#[test]
fn ends_may_cross_a_catch_unwind() {
    let arsenal = Arsenal::new();
    let (tx, rx) = chan::bounded(1);
    tx.try_send(arsenal.live(0)).unwrap();
    // Without `AssertUnwindSafe`.
    catch_unwind(|| drop(rx.try_recv())).unwrap_err();
    assert!(catch_unwind(|| tx.is_empty()).unwrap());
    still_works(&tx, &rx, &arsenal);
}

#[test]
fn what_is_shared_is_unwind_safe() {
    use std::cell::Cell;
    use std::panic::{RefUnwindSafe, UnwindSafe};

    use gopark::{context, sync, time};

    fn safe<T: UnwindSafe + RefUnwindSafe>() {}
    safe::<(
        chan::Sender<Cell<u8>>,
        chan::Receiver<Cell<u8>>,
        gopark::JoinHandle<Cell<u8>>,
        gopark::Runtime,
    )>();
    safe::<(
        sync::Mutex<Cell<u8>>,
        sync::RwMutex<Cell<u8>>,
        sync::Cond,
        sync::Once,
        sync::Semaphore,
        sync::WaitGroup,
    )>();
    type Flight = sync::SingleFlight<Cell<u8>, Cell<u8>>;
    safe::<(sync::Pool<Cell<u8>>, sync::ErrGroup<Cell<u8>>, Flight)>();
    safe::<(
        sync::OnceValue<u8>,
        context::Context,
        context::CancelFunc,
        context::CancelCauseFunc,
        context::Stop,
    )>();
    safe::<(time::Timer, time::Ticker)>();
    type Weak = (chan::WeakSender<Cell<u8>>, chan::WeakReceiver<Cell<u8>>);
    safe::<(Weak, chan::IntoStream<Cell<u8>>, chan::Reserved<'_, Cell<u8>>)>();
    safe::<(sync::oneshot::Sender<Cell<u8>>, sync::oneshot::Receiver<Cell<u8>>)>();
    safe::<(sync::broadcast::Sender<Cell<u8>>, sync::broadcast::Receiver<Cell<u8>>)>();
    safe::<(sync::watch::Sender<Cell<u8>>, sync::watch::Receiver<Cell<u8>>)>();
    safe::<(sync::Barrier, sync::Notify, sync::OnceCell<u8>, sync::Monitor<Cell<u8>>)>();
    safe::<gopark::JoinSet<Cell<u8>>>();
}

#[test]
fn the_last_receiver_drops_all_values_though_one_panics() {
    let arsenal = Arsenal::new();
    let (tx, rx) = chan::bounded(5);
    // Two that came back, then the buffer.
    let served = [(); 2].map(|()| Hand::parked(rx.recv()));
    tx.try_send(arsenal.dud(0)).unwrap();
    tx.try_send(arsenal.dud(1)).unwrap();
    drop(served);
    tx.try_send(arsenal.dud(2)).unwrap();
    tx.try_send(arsenal.live(3)).unwrap();
    tx.try_send(arsenal.dud(4)).unwrap();
    let mut waiting = Hand::parked(tx.send(arsenal.dud(5)));
    blast(3, || drop(rx));
    assert_eq!(arsenal.0.count(), 5);
    assert_eq!(waiting.ready().unwrap_err().into_inner().id, 5);
    assert!(tx.is_closed());
    assert!(matches!(tx.try_send(arsenal.dud(6)), Err(TrySendError::Closed(_))));
    assert_eq!(arsenal.0.count(), 7);
}

#[test]
fn a_returned_value_that_panics_takes_no_other_with_it() {
    let arsenal = Arsenal::new();
    let (tx, rx) = chan::bounded(1);
    let served = Hand::parked(rx.recv());
    tx.try_send(arsenal.live(0)).unwrap();
    tx.try_send(arsenal.dud(1)).unwrap();
    drop(served); // returned, so it does not panic
    drop(tx);
    blast(0, || drop(rx));
    assert_eq!(arsenal.0.count(), 2);
}

#[test]
fn a_closed_channel_gives_bombs_back_and_does_not_set_them_off() {
    let arsenal = Arsenal::new();
    let (tx, rx) = chan::unbuffered();
    let mut waiting = Hand::parked(tx.send(arsenal.live(0)));
    let left = Hand::parked(tx.send(arsenal.live(1)));
    tx.close();
    let error = waiting.ready().unwrap_err();
    assert_eq!(arsenal.0.count(), 0);
    blast(0, || drop(error));
    blast(1, || drop(left)); // failed, and never reported
    blast(2, || drop(tx.send_blocking(arsenal.live(2))));
    blast(3, || drop(tx.try_send(arsenal.live(3))));
    assert_eq!(arsenal.0.count(), 4);
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));
}

/// A bug: a select received a value, and the value of a losing send panicked when it was dropped.
/// The received value was leaked.
#[test]
fn a_losing_send_that_panics_leaves_no_registration() {
    for cap in [0, 1] {
        let arsenal = Arsenal::new();
        let (quiet_tx, quiet) = chan::unbuffered();
        let (tx, rx) = chan::bounded(cap);
        // At the first poll, after parking, and dropped while it waits.
        for moment in 0..3 {
            let mut selecting = Box::pin(async {
                select! {
                    r = quiet_tx.send(arsenal.dud(1)) => drop(r),
                    r = quiet_tx.send(arsenal.live(2)) => drop(r),
                    v = rx.recv() => drop(v),
                    r = quiet_tx.send(arsenal.dud(3)) => drop(r),
                }
            });
            let sender = (moment == 0 && cap == 0).then(|| Hand::parked(tx.send(arsenal.dud(0))));
            if moment == 0 && cap == 1 {
                tx.try_send(arsenal.dud(0)).unwrap();
            }
            if moment > 0 {
                assert!(poll_once(selecting.as_mut(), Waker::noop()).is_pending());
            }
            if moment == 1 {
                tx.try_send(arsenal.dud(0)).unwrap();
            }
            if moment < 2 {
                blast(2, || poll_once(selecting.as_mut(), Waker::noop()));
            }
            if moment == 2 {
                blast(2, || drop(selecting));
            } else {
                drop(selecting);
            }
            drop(sender);
            assert_eq!(arsenal.left(), 0, "capacity {cap}, moment {moment}");
            assert!(
                matches!(quiet.try_recv(), Err(TryRecvError::Empty)),
                "a sender is left in the queue"
            );
            still_works(&tx, &rx, &arsenal);
        }
        // The same for a list made at run time, and with a default.
        tx.try_send(arsenal.dud(0)).map_or_else(drop, drop);
        let list = || {
            Select::new().recv(&rx, |v| v.map(|v| v.id)).send(&quiet_tx, arsenal.live(2), |_| None)
        };
        if cap == 1 {
            blast(2, || list().try_now());
            assert_eq!(arsenal.left(), 0, "capacity {cap}, a list with a default");
            tx.try_send(arsenal.dud(0)).unwrap();
            blast(2, || {
                select! {
                    r = quiet_tx.send(arsenal.live(2)) => drop(r),
                    v = rx.recv() => drop(v),
                    default => {}
                }
            });
            assert_eq!(arsenal.left(), 0, "capacity {cap}, with a default");
        }
        let mut waiting = Box::pin(list().wait());
        assert!(poll_once(waiting.as_mut(), Waker::noop()).is_pending());
        tx.try_send(arsenal.dud(0)).unwrap();
        blast(2, || poll_once(waiting.as_mut(), Waker::noop()));
        drop(waiting);
        // A list drops its losers before it looks at the winner: the value may still be there.
        while rx.try_recv().is_ok() {}
        assert_eq!(arsenal.left(), 0, "capacity {cap}, a list");
        blast(2, || {
            select! { r = quiet_tx.send(arsenal.live(2)) => drop(r), default => {} }
        });
        assert!(
            matches!(quiet.try_recv(), Err(TryRecvError::Empty)),
            "a sender is left in the queue"
        );
        still_works(&tx, &rx, &arsenal);
        assert_eq!(arsenal.left(), 0, "capacity {cap}");
    }
}

#[test]
fn an_aborted_goroutine_whose_value_panics_leaves_the_channel_whole_ca15() {
    no_hang(|| {
        let runtime = Runtime::builder().gomaxprocs(1).on_panic(OnPanic::Isolate).build().unwrap();
        runtime.block_on(async {
            let arsenal = Arsenal::new();
            let (tx, rx) = chan::unbuffered();
            let sender = tx.clone();
            let bomb = arsenal.live(0);
            let sending = go(async move { drop(sender.send(bomb).await) });
            gosched().await; // on the only processor it parks meanwhile
            sending.abort();
            assert!(sending.await.is_err());
            assert_eq!(arsenal.0.count(), 1);
            still_works(&tx, &rx, &arsenal);
        });
    });
}

// --------------------------------------------------------------------------------- what is leaked

#[test]
fn a_leaked_receive_holds_one_value_and_delays_nobody_ca09() {
    let drops = Drops::new();
    let (tx, rx) = chan::unbuffered();
    Hand::parked(rx.recv()).leak();
    let mut behind = Hand::parked(rx.recv());
    tx.try_send(drops.one()).unwrap(); // to no waiter
    assert!(behind.is_pending());
    tx.try_send(drops.one()).unwrap();
    assert!(behind.ready().is_some());
    assert_eq!(drops.count(), 1);
    drop(behind);
    // Leaked while it waits, after the channel is dropped.
    Hand::parked(rx.recv()).leak();
    drop(tx);
    assert!(rx.try_recv().is_err());
    drop(rx);
}

#[test]
fn a_leaked_send_is_received_like_any_other_ca09() {
    let drops = Drops::new();
    let (tx, rx) = chan::bounded(1);
    tx.try_send(drops.one()).unwrap();
    Hand::parked(tx.send(drops.one())).leak();
    Hand::parked(tx.send(drops.one())).leak();
    let mut last = Hand::parked(tx.send(drops.one()));
    (0..4).for_each(|_| drop(rx.try_recv().unwrap()));
    assert!(last.ready().is_ok());
    assert_eq!(drops.count(), 4);
    Hand::parked(rx.recv()).leak();
    (0..2).for_each(|_| tx.try_send(drops.one()).unwrap());
    Hand::parked(tx.send(drops.one())).leak();
    tx.close();
    drop(last);
    drop((tx, rx));
    assert_eq!(drops.count(), 5, "one in each leaked operation, one was in the buffer");
}

#[test]
fn a_leaked_select_wins_once_and_delays_nobody_ca09() {
    let (a_tx, a) = chan::unbuffered();
    let (b_tx, b) = chan::unbuffered();
    let (c_tx, c) = chan::unbuffered();
    Hand::parked(async {
        select! { v = a.recv() => v, v = b.recv() => v, r = c_tx.send(5) => r.err().map(|e| e.0) }
    })
    .leak();
    let (mut on_a, mut on_b) = (Hand::parked(a.recv()), Hand::parked(b.recv()));
    a_tx.try_send(1).unwrap(); // to no waiter
    a_tx.try_send(2).unwrap();
    b_tx.try_send(3).unwrap();
    assert_eq!((on_a.ready(), on_b.ready()), (Some(2), Some(3)));
    assert_eq!(c.try_recv(), Err(TryRecvError::Empty), "it has won elsewhere");
    drop((on_a, on_b));
    drop((a_tx, a, b_tx, b, c_tx, c));
}

/// A bug: the operation kept the place in the queue that the select had given it, and lost it when
/// the leaked select won elsewhere.
#[test]
fn an_operation_lent_to_a_leaked_select_goes_on_by_itself_ca09() {
    for other_wins in [false, true] {
        let (tx, rx) = chan::unbuffered();
        let (other_tx, other) = chan::unbuffered();
        let mut op = Box::pin(rx.recv());
        Hand::parked(Box::pin(async {
            select! { v = &mut op => v, v = other.recv() => v }
        }))
        .leak();
        if other_wins {
            other_tx.try_send(0).unwrap();
            assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)), "the operation lost");
        }
        let mut op = Hand::new(op);
        assert!(op.is_pending());
        tx.try_send(2).unwrap();
        assert_eq!(op.wakes(), 1);
        assert_eq!(op.ready(), Some(2));
        // The same for a send.
        let mut op = Box::pin(tx.send(3));
        Hand::parked(Box::pin(async {
            select! { r = &mut op => r.is_ok(), v = other.recv() => v.is_some() }
        }))
        .leak();
        if other_wins {
            other_tx.try_send(0).unwrap();
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "the operation lost");
        }
        let mut op = Hand::new(op);
        assert!(op.is_pending());
        assert_eq!(rx.try_recv(), Ok(3));
        assert_eq!((op.wakes(), op.ready()), (1, Ok(())));
    }
}

#[test]
fn a_leaked_stream_is_woken_and_strands_nothing_ca09() {
    let (tx, rx) = chan::bounded(1);
    let mut stream = Box::new(rx.clone());
    assert!(Pin::new(&mut *stream).poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
    std::mem::forget(stream);
    tx.try_send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    let mut recv = Hand::parked(rx.recv());
    tx.try_send(2).unwrap();
    assert_eq!(recv.ready(), Some(2));
}
