//! Foreign wakers that panic when they are woken, cloned or dropped. Such a panic must not affect
//! other operations: no wake, value, lock or permit is lost, and the call that woke, cloned or
//! dropped the waker returns (CA-19).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context as Cx, Poll, Waker};
use std::time::Duration;

use futures_lite::{Stream, future};
use gopark::chan::{self, Receiver, Sender};
use gopark::context::Context;
use gopark::select::Select;
use gopark::sync::{
    Cond, ErrGroup, Mutex, Once, OnceValue, RwMutex, Semaphore, SingleFlight, WaitGroup,
};
use gopark::time::{self, Ticker, after, timeout};
use gopark::{JoinHandle, Runtime, select};

use crate::task::{FAULTS, Fault, Task, USE};
use crate::util::{OnDrop, isolated, no_hang, rt, spin_until};

// ----------------------------------------------------------------------------------------- scenes

type Op = Pin<Box<dyn Future<Output = ()>>>;

/// Operations to park in this order, and what completes them.
struct Scene {
    ops: Vec<Op>,
    /// Completes all operations; or the first one, and the end of each completes the next.
    fire: Box<dyn FnMut()>,
    /// Whether the object is as it was at the beginning.
    end: Box<dyn FnOnce()>,
    /// A use of the object that changes nothing, for [`USE`].
    r#use: Option<Box<dyn Fn()>>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `fire` completes all operations.
    Broadcast,
    /// `fire` completes the first operation, and the end of each completes the next.
    Chain,
    /// As `Broadcast`, but from other threads.
    Background,
}

/// Wakers are woken in batches of 16: this number makes three batches.
const CROWD: usize = 39;

impl Scene {
    fn new<F: Future<Output = ()> + 'static>(
        op: impl FnMut(usize) -> F,
        fire: impl FnMut() + 'static,
    ) -> Self {
        let ops = (0..CROWD).map(op).map(|op| Box::pin(op) as Op).collect();
        Scene {
            ops,
            fire: Box::new(fire),
            end: Box::new(|| ()),
            r#use: None,
            kind: Kind::Broadcast,
        }
    }

    fn end(self, end: impl FnOnce() + 'static) -> Self {
        Scene { end: Box::new(end), ..self }
    }

    /// More operations like this one are registered and dropped.
    fn used_by<F: Future>(self, op: impl Fn() -> F + 'static) -> Self {
        let come_and_go =
            move || _ = Box::pin(op()).as_mut().poll(&mut Cx::from_waker(Waker::noop()));
        Scene { r#use: Some(Box::new(come_and_go)), ..self }
    }

    fn of(self, kind: Kind) -> Self {
        Scene { kind, ..self }
    }
}

/// The place from which the library is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Thread,
    /// In a destructor while the thread unwinds: there a panic that escapes aborts the process.
    Unwinding,
    /// In a goroutine, where a mutex is not handed over at each unlock.
    Goroutine,
}

impl Mode {
    fn call<T>(self, f: impl FnOnce() -> T) -> T {
        let (mut f, mut result) = (Some(f), None);
        let call = || result = f.take().map(|f| f());
        let end = match self {
            Mode::Thread | Mode::Goroutine => catch_unwind(AssertUnwindSafe(call)),
            Mode::Unwinding => {
                let unwinding = catch_unwind(AssertUnwindSafe(|| {
                    let _call = OnDrop(call);
                    resume_unwind(Box::new(()));
                }));
                unwinding.or(Ok(()))
            }
        };
        if let Err(payload) = end {
            std::mem::forget(payload);
            panic!("a waker's panic got out");
        }
        result.expect("called")
    }
}

/// What happens to the parked operations before they are completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twist {
    /// No further polls or drops.
    None,
    /// Good tasks poll all of them.
    Replaced,
    /// Good tasks polled them first, then the bad tasks poll their own.
    Spoiled,
    /// The operations of bad tasks are dropped.
    Dropped,
}

struct Play {
    name: &'static str,
    mode: Mode,
    twist: Twist,
    faults: Vec<Option<Fault>>,
}

impl fmt::Display for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bad: Vec<_> =
            self.faults.iter().enumerate().filter_map(|(i, fault)| Some((i, (*fault)?))).collect();
        write!(f, "{}, {:?}, {:?}, bad: {bad:?}", self.name, self.mode, self.twist)
    }
}

impl Play {
    fn run(&self, scene: Scene) {
        let Scene { ops, mut fire, end, r#use, kind } = scene;
        USE.set(r#use);
        let background = kind == Kind::Background;
        let faults = &self.faults[..ops.len()];
        let (mut tasks, mut past) = (Vec::new(), Vec::new());
        let mut ops: Vec<Option<Op>> = ops.into_iter().map(Some).collect();
        for (op, fault) in ops.iter_mut().zip(faults) {
            let task = Task::new(fault.filter(|_| self.twist != Twist::Spoiled));
            self.park(op, &task, background);
            tasks.push(task);
        }
        for (i, op) in ops.iter_mut().enumerate() {
            match self.twist {
                Twist::Dropped if faults[i].is_some() => self.mode.call(|| *op = None),
                Twist::Replaced => past.push(std::mem::replace(&mut tasks[i], Task::new(None))),
                Twist::Spoiled if faults[i].is_some() => {
                    past.push(std::mem::replace(&mut tasks[i], Task::new(faults[i])));
                }
                Twist::None | Twist::Dropped | Twist::Spoiled => continue,
            }
            self.park(op, &tasks[i], background);
        }
        self.mode.call(&mut fire);
        if kind != Kind::Chain {
            for (i, op) in ops.iter().enumerate().filter(|(_, op)| op.is_some()) {
                self.woken(i, &tasks[i], op, background);
            }
        }
        for (i, op) in ops.iter_mut().enumerate() {
            self.woken(i, &tasks[i], op, background);
            while let Some(parked) = op {
                match self.mode.call(|| tasks[i].poll(parked)) {
                    Poll::Ready(()) => self.mode.call(|| *op = None),
                    Poll::Pending => assert!(background, "{self}: {i} is not complete"),
                }
            }
        }
        for task in past {
            assert_eq!(task.wakes(), 0, "{self}: woken for another task");
            self.freed(&task);
        }
        USE.take();
        end();
        drop(fire);
        tasks.iter().for_each(|task| self.freed(task));
    }

    fn park(&self, op: &mut Option<Op>, task: &Task, background: bool) {
        if let Some(parked) = op {
            PARKING.set(true);
            let polled = self.mode.call(|| task.poll(parked));
            PARKING.set(false);
            assert!(polled.is_pending() || background, "{self}: complete too early");
            if polled.is_ready() {
                *op = None;
            }
        }
    }

    /// The task was woken once, unless its operation has been dropped.
    fn woken(&self, i: usize, task: &Task, op: &Option<Op>, background: bool) {
        if op.is_some() {
            if background {
                spin_until(|| task.wakes() >= task.expected());
            }
            assert_eq!(task.wakes(), task.expected(), "{self}: wakes of {i}");
        }
    }

    fn freed(&self, task: &Task) {
        spin_until(|| task.wakers() == 0);
    }
}

type Scenes = &'static [(&'static str, fn() -> Scene)];

/// Runs each scene with bad wakers of every kind, in several positions, from every place.
fn play(scenes: Scenes) {
    isolated(|| {
        no_hang(move || {
            for fault in FAULTS {
                for bad in [&[0][..], &[20], &[0, 1], &[3, 17], &[37, 38]] {
                    play_with(scenes, |i| bad.contains(&i).then_some(fault));
                }
                play_with(scenes, |_| Some(fault));
            }
            play_with(scenes, |i| FAULTS.get(i % 5).copied());
        });
    });
}

fn play_with(scenes: Scenes, fault: impl Fn(usize) -> Option<Fault>) {
    for &(name, scene) in scenes {
        for mode in [Mode::Thread, Mode::Unwinding, Mode::Goroutine] {
            for twist in [Twist::None, Twist::Replaced, Twist::Spoiled, Twist::Dropped] {
                let faults = (0..CROWD).map(&fault).collect();
                let play = Play { name, mode, twist, faults };
                let perform = move || {
                    let scene = scene();
                    let suitable = match scene.kind {
                        Kind::Broadcast | Kind::Chain => true,
                        Kind::Background => {
                            mode != Mode::Goroutine && matches!(twist, Twist::None | Twist::Dropped)
                        }
                    };
                    if suitable {
                        play.run(scene);
                    }
                };
                match mode {
                    Mode::Thread | Mode::Unwinding => perform(),
                    Mode::Goroutine => gopark::block_on(async move { perform() }),
                }
            }
        }
    }
}

thread_local! {
    /// Parks the operations, on this thread.
    static PARKING: Cell<bool> = const { Cell::new(false) };
}

/// An operation that is dropped after it has completed, instead of being polled again.
async fn given_up<F: Future>(op: F) {
    let mut op = Box::pin(op);
    poll_fn(|cx| if PARKING.get() { op.as_mut().poll(cx).map(drop) } else { Poll::Ready(()) })
        .await;
}

fn once<T: 'static>(value: T, mut f: impl FnMut(T) + 'static) -> impl FnMut() + 'static {
    let mut value = Some(value);
    move || value.take().into_iter().for_each(&mut f)
}

/// Polls by hand, with a waker that does nothing.
fn poll_unwoken(op: &mut Op) -> Poll<()> {
    op.as_mut().poll(&mut Cx::from_waker(Waker::noop()))
}

fn parked(op: impl Future<Output = ()> + 'static) -> Op {
    let mut op: Op = Box::pin(op);
    assert!(poll_unwoken(&mut op).is_pending());
    op
}

// --------------------------------------------------------------------------------------- channels

/// Values all of which must arrive, in the order of sending.
#[derive(Clone, Default)]
struct Values(Rc<Cell<(usize, usize)>>);

impl Values {
    fn next(&self) -> usize {
        let (sent, received) = self.0.get();
        self.0.set((sent + 1, received));
        sent
    }

    fn arrived(&self, value: usize) {
        let (sent, received) = self.0.get();
        assert_eq!(value, received, "out of order, or lost");
        self.0.set((sent, received + 1));
    }

    fn all_arrived(&self) {
        let (sent, received) = self.0.get();
        assert_eq!(sent, received);
    }
}

/// Locks the channel.
fn look_at<T>(rx: Receiver<T>) -> impl Fn() -> std::future::Ready<usize> {
    move || std::future::ready(rx.len())
}

fn send_all(tx: Sender<usize>, values: Values) -> impl FnMut() {
    move || {
        while tx.try_send(values.0.get().0).is_ok() {
            values.next();
        }
    }
}

/// Parks receivers; the channel has room for `buffer` more values.
fn received(buffer: usize, op: fn(usize, Receiver<usize>, Values) -> Op) -> Scene {
    let (tx, rx) = chan::bounded(buffer);
    let values = Values::default();
    let (all, rest, used) = (values.clone(), rx.clone(), rx.clone());
    Scene::new(|i| op(i, rx.clone(), values.clone()), send_all(tx, values.clone()))
        .end(move || {
            while let Ok(value) = rest.try_recv() {
                all.arrived(value);
            }
            all.all_arrived();
        })
        .used_by(look_at(used))
}

/// Parks senders; the channel holds `buffer` values.
fn sent(buffer: usize, op: fn(Sender<usize>) -> Op) -> Scene {
    let (tx, rx) = chan::bounded(buffer);
    (0..buffer).for_each(|_| tx.try_send(0).unwrap());
    let completed = Rc::new(Cell::new(0));
    let (taken, usable, used) = (Rc::new(Cell::new(0)), tx.clone(), rx.clone());
    let (all, count) = (taken.clone(), completed.clone());
    let op = move |_| {
        let (op, completed) = (op(tx.clone()), completed.clone());
        async move {
            op.await;
            completed.set(completed.get() + 1);
        }
    };
    let fire = move || {
        while rx.try_recv().is_ok() {
            taken.set(taken.get() + 1);
        }
    };
    Scene::new(op, fire)
        .end(move || {
            assert_eq!(all.get(), count.get() + buffer);
            assert!(!usable.is_closed() && usable.is_empty());
        })
        .used_by(look_at(used))
}

fn closed(op: fn(Sender<usize>, Receiver<usize>) -> Op) -> Scene {
    let (tx, rx) = chan::unbuffered();
    let (op_tx, end, used) = (tx.clone(), rx.clone(), rx.clone());
    Scene::new(move |_| op(op_tx.clone(), rx.clone()), move || assert!(tx.close()))
        .end(move || {
            assert!(end.try_recv().is_err_and(|error| error == chan::TryRecvError::Closed))
        })
        .used_by(look_at(used))
}

fn value_handed_back() -> Scene {
    let (tx, rx) = chan::unbuffered();
    let sent = Rc::new(Cell::new(false));
    let (all, end) = (sent.clone(), rx.clone());
    let op = move |_| {
        let rx = rx.clone();
        async move { given_up(rx.recv()).await }
    };
    let fire = move || sent.set(tx.try_send(7).is_ok());
    Scene::new(op, fire)
        .of(Kind::Chain)
        .end(move || assert_eq!(end.try_recv().ok(), all.get().then_some(7)))
}

/// A bug: a waker that panicked in its wake, clone or drop could cost other waiters their wake,
/// leave the lock held, or abort the process. A close woke no waiter behind such a waker.
#[test]
fn channels_hand_over_and_close_whatever_wakers_do_ca19() {
    play(&[
        ("receives, no buffer", || {
            received(0, |_, rx, values| {
                Box::pin(async move { values.arrived(rx.recv().await.unwrap()) })
            })
        }),
        ("receives, a buffer", || {
            received(5, |_, rx, values| {
                Box::pin(async move { values.arrived(rx.recv().await.unwrap()) })
            })
        }),
        ("selects that receive", || {
            received(0, |_, rx, values| {
                let (_tx, never) = chan::unbuffered::<()>();
                Box::pin(async move {
                    select! {
                        v = rx.recv() => values.arrived(v.unwrap()),
                        _ = never.recv() => unreachable!(),
                    }
                    drop(_tx);
                })
            })
        }),
        ("receives and selects", || {
            received(0, |i, rx, values| match i % 2 {
                0 => Box::pin(async move { values.arrived(rx.recv().await.unwrap()) }),
                _ => Box::pin(async move {
                    select! { v = rx.recv() => values.arrived(v.unwrap()) }
                }),
            })
        }),
        ("sends, no buffer", || sent(0, |tx| Box::pin(async move { tx.send(1).await.unwrap() }))),
        ("sends, a buffer", || sent(5, |tx| Box::pin(async move { tx.send(1).await.unwrap() }))),
        ("selects that send", || {
            sent(2, |tx| {
                Box::pin(async move {
                    select! { sent = tx.send(1) => sent.unwrap() }
                })
            })
        }),
        ("a value handed back", value_handed_back),
        ("closed receives", || {
            closed(|_, rx| Box::pin(async move { assert_eq!(rx.recv().await, None) }))
        }),
        ("closed sends", || {
            closed(|tx, _| Box::pin(async move { assert_eq!(tx.send(5).await.unwrap_err().0, 5) }))
        }),
        ("closed selects", || {
            closed(|tx, rx| {
                let (_tx, never) = chan::unbuffered::<()>();
                Box::pin(async move {
                    select! {
                        v = rx.recv() => assert_eq!(v, None),
                        _ = never.recv() => unreachable!(),
                    }
                    drop((tx, _tx));
                })
            })
        }),
        ("closed selects that send", || {
            closed(|tx, _| {
                Box::pin(async move {
                    select! { sent = tx.send(6) => assert_eq!(sent.unwrap_err().0, 6) }
                })
            })
        }),
        ("sends without a receiver", || {
            let (tx, rx) = chan::unbuffered();
            let op = move |_| {
                let tx = tx.clone();
                async move { assert!(tx.send(8).await.is_err()) }
            };
            Scene::new(op, once(rx, drop))
        }),
        ("receives without a sender", || {
            let (tx, rx) = chan::unbuffered::<()>();
            let op = move |_| {
                let rx = rx.clone();
                async move { assert_eq!(rx.recv().await, None) }
            };
            Scene::new(op, once(tx, drop))
        }),
    ]);
}

async fn next<T>(mut rx: Receiver<T>) -> Option<T> {
    poll_fn(|cx| Pin::new(&mut rx).poll_next(cx)).await
}

async fn next_in_line<T>(rx: Receiver<T>) -> Option<T> {
    let mut stream = rx.into_stream();
    poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await
}

#[test]
fn streams_are_notified_whatever_wakers_do_ca19() {
    play(&[
        ("closed streams", || {
            closed(|_, rx| Box::pin(async move { assert_eq!(next(rx).await, None) }))
        }),
        ("streams and receives, closed", || {
            let (tx, rx) = chan::unbuffered::<usize>();
            let used = rx.clone();
            let op = move |i| {
                let rx = rx.clone();
                async move {
                    let end = match i % 3 {
                        0 => next(rx).await,
                        1 => next_in_line(rx).await,
                        _ => rx.recv().await,
                    };
                    assert_eq!(end, None);
                }
            };
            Scene::new(op, move || assert!(tx.close())).used_by(look_at(used))
        }),
        ("a buffer is filled", || {
            let (tx, rx) = chan::bounded(CROWD);
            let op = move |_| {
                let rx = rx.clone();
                async move { assert_eq!(next(rx).await, Some(1)) }
            };
            Scene::new(op, move || while tx.try_send(1).is_ok() {})
        }),
        ("streams in line are served", || {
            let (tx, rx) = chan::unbuffered();
            let op = move |_| {
                let rx = rx.clone();
                async move { assert_eq!(next_in_line(rx).await, Some(1)) }
            };
            Scene::new(op, move || while tx.try_send(1).is_ok() {})
        }),
        ("one select on many channels", || {
            let (senders, streams): (Vec<_>, Vec<_>) =
                (0..CROWD).map(|_| chan::unbuffered()).unzip();
            let open = streams.clone();
            let op = move |i: usize| given_up(next(streams[i].clone()));
            let fire = move || {
                assert_eq!(open.len(), CROWD);
                let sends =
                    senders.iter().fold(Select::new(), |select, tx| select.send(tx, 1, |_| ()));
                let mut sends = Box::pin(sends.wait());
                assert!(sends.as_mut().poll(&mut Cx::from_waker(Waker::noop())).is_pending());
            };
            Scene::new(op, fire)
        }),
    ]);
}

// --------------------------------------------------------------------------------------- contexts

fn cancelled(op: fn(Context) -> Op) -> Scene {
    let (ctx, cancel) = Context::background().with_cancel();
    let (end, used) = (ctx.clone(), ctx.clone());
    Scene::new(|_| op(ctx.clone()), move || cancel.cancel())
        .end(move || assert!(end.err().is_some()))
        .used_by(move || {
            let ctx = used.clone();
            async move { ctx.done().await }
        })
}

#[test]
fn contexts_end_whatever_wakers_do_ca19() {
    play(&[
        ("done", || cancelled(|ctx| Box::pin(async move { ctx.done().await }))),
        ("done, given up", || cancelled(|ctx| Box::pin(async move { given_up(ctx.done()).await }))),
        ("run", || {
            cancelled(|ctx| {
                Box::pin(async move { assert!(ctx.run(pending::<()>()).await.is_err()) })
            })
        }),
        ("recv", || {
            cancelled(|ctx| {
                let (_tx, rx) = chan::unbuffered::<()>();
                Box::pin(async move {
                    assert_eq!(ctx.recv(&rx).await, None);
                    drop(_tx);
                })
            })
        }),
        ("children", || {
            cancelled(|ctx| {
                let (child, cancel) = ctx.with_cancel();
                Box::pin(async move {
                    child.done().await;
                    drop(cancel);
                })
            })
        }),
        ("functions", || {
            let started = Arc::new(AtomicUsize::new(0));
            let (ctx, cancel) = Context::background().with_cancel();
            for _ in 0..CROWD {
                let started = started.clone();
                drop(ctx.after_func(async move {
                    started.fetch_add(1, Ordering::SeqCst);
                }));
            }
            let op = move |_| {
                let ctx = ctx.clone();
                async move { ctx.done().await }
            };
            Scene::new(op, move || cancel.cancel()).end(move || {
                gopark::block_in_place(|| spin_until(|| started.load(Ordering::SeqCst) == CROWD));
            })
        }),
        ("deadline", || {
            let (ctx, cancel) = Context::background().with_timeout(Duration::from_millis(3));
            let op = move |_| {
                let ctx = ctx.clone();
                async move { ctx.done().await }
            };
            Scene::new(op, || ()).of(Kind::Background).end(move || cancel.cancel())
        }),
    ]);
}

// ------------------------------------------------------------------------------------------ locks

/// The state that the operations of a scene share; their futures borrow from it.
fn with<T: 'static, F: Future<Output = ()>>(
    shared: T,
    op: impl Fn(Rc<T>) -> F,
) -> (Rc<T>, impl Fn(usize) -> F) {
    let shared = Rc::new(shared);
    (shared.clone(), move |_| op(shared.clone()))
}

/// A value that is kept from `scene` until `fire`; it may borrow from what the scene shares.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn mutex(op: fn(&'static Mutex<()>) -> Op) -> Scene {
    let m: &'static Mutex<()> = leak(Mutex::new(()));
    let guard = m.try_lock().unwrap();
    Scene::new(move |_| op(m), once(guard, drop))
        .of(Kind::Chain)
        .end(move || assert!(m.try_lock().is_some()))
        .used_by(|| m.lock())
}

fn rwmutex(writer: bool, kind: Kind, op: fn(&'static RwMutex<()>, usize) -> Op) -> Scene {
    let m: &'static RwMutex<()> = leak(RwMutex::new(()));
    let (write, read) = if writer { (m.try_lock(), None) } else { (None, m.try_rlock()) };
    let free = move || assert!(m.try_lock().is_some());
    Scene::new(move |i| op(m, i), once((write, read), drop))
        .of(kind)
        .end(free)
        .used_by(|| m.rlock())
}

fn semaphore(op: fn(&'static Semaphore) -> Op) -> Scene {
    let s: &'static Semaphore = leak(Semaphore::new(CROWD));
    let permits = s.try_acquire(CROWD).unwrap();
    Scene::new(move |_| op(s), once(permits, drop))
        .end(move || assert_eq!(s.available(), CROWD))
        .used_by(|| s.acquire(1))
}

fn cond(kind: Kind, fire: fn(&Cond), op: fn(&'static (Mutex<()>, Cond)) -> Op) -> Scene {
    let c = leak((Mutex::new(()), Cond::new()));
    Scene::new(move |_| op(c), move || fire(&c.1))
        .of(kind)
        .end(|| assert!(c.0.try_lock().is_some()))
        .used_by(|| async {
            if let Some(guard) = c.0.try_lock() {
                drop(c.1.wait(guard).await);
            }
        })
}

#[test]
fn locks_are_handed_over_whatever_wakers_do_ca19() {
    play(&[
        ("mutex", || mutex(|m| Box::pin(async { drop(m.lock().await) }))),
        ("mutex, given up", || mutex(|m| Box::pin(given_up(m.lock())))),
        ("readers", || {
            rwmutex(true, Kind::Broadcast, |m, _| Box::pin(async { drop(m.rlock().await) }))
        }),
        ("readers, given up", || {
            rwmutex(true, Kind::Broadcast, |m, _| Box::pin(given_up(m.rlock())))
        }),
        ("writers", || rwmutex(true, Kind::Chain, |m, _| Box::pin(async { drop(m.lock().await) }))),
        ("writers, given up", || rwmutex(false, Kind::Chain, |m, _| Box::pin(given_up(m.lock())))),
        ("a writer, then readers", || {
            rwmutex(false, Kind::Chain, |m, i| match i {
                0 => Box::pin(async { drop(m.lock().await) }),
                _ => Box::pin(async { drop(m.rlock().await) }),
            })
        }),
        ("permits", || semaphore(|s| Box::pin(async { drop(s.acquire(1).await) }))),
        ("permits, given up", || semaphore(|s| Box::pin(given_up(s.acquire(1))))),
        ("the front of a semaphore is cancelled", || {
            let s: &'static Semaphore = leak(Semaphore::new(CROWD + 1));
            let one = s.try_acquire(1).unwrap();
            let front = parked(async move { drop(s.acquire(CROWD + 1).await) });
            Scene::new(move |_| async { drop(s.acquire(1).await) }, once(front, drop)).end(
                move || {
                    drop(one);
                    assert_eq!(s.available(), CROWD + 1);
                },
            )
        }),
        ("broadcast", || {
            cond(Kind::Broadcast, Cond::broadcast, |c| {
                Box::pin(async { drop(c.1.wait(c.0.lock().await).await) })
            })
        }),
        ("signals", || {
            let signals = |c: &Cond| (0..CROWD).for_each(|_| c.signal());
            cond(Kind::Broadcast, signals, |c| {
                Box::pin(async { drop(c.1.wait(c.0.lock().await).await) })
            })
        }),
        ("a signal, given up", || {
            cond(Kind::Chain, Cond::signal, |c| {
                Box::pin(async { given_up(c.1.wait(c.0.lock().await)).await })
            })
        }),
    ]);
}

#[test]
fn groups_and_single_runs_end_whatever_wakers_do_ca19() {
    play(&[
        ("wait group", || {
            let (group, op) = with(WaitGroup::new(), |group| async move { group.wait().await });
            group.add(1);
            let (end, used) = (group.clone(), group.clone());
            Scene::new(op, move || group.done()).end(move || assert_eq!(end.count(), 0)).used_by(
                move || {
                    let group = used.clone();
                    async move { group.wait().await }
                },
            )
        }),
        ("once", || {
            let once: &'static Once = leak(Once::new());
            let (tx, rx) = chan::bounded::<()>(1);
            let mut first = parked(once.call_once_async(async move || {
                rx.recv().await;
            }));
            let fire = move || {
                let _ = tx.try_send(());
                assert!(poll_unwoken(&mut first).is_ready());
            };
            Scene::new(move |_| once.call_once_async(async || unreachable!()), fire)
                .end(|| assert!(once.is_done()))
        }),
        ("once, left undone", || {
            let once_: &'static Once = leak(Once::new());
            let first = parked(once_.call_once_async(async || pending().await));
            Scene::new(move |_| once_.call_once_async(async || ()), once(first, drop))
                .of(Kind::Chain)
                .end(|| {
                    assert!(
                        poll_unwoken(&mut (Box::pin(once_.call_once_async(async || ())) as Op))
                            .is_ready()
                    )
                })
        }),
        ("once value", || {
            let (go, gate) = mpsc::channel::<()>();
            let (inside, entered) = mpsc::channel();
            let value: &'static OnceValue<i32> = leak(OnceValue::new(move || {
                inside.send(()).unwrap();
                let _ = gate.recv();
                7
            }));
            let computes =
                std::thread::spawn(|| assert_eq!(futures_lite::future::block_on(value.get()), &7));
            entered.recv().unwrap();
            Scene::new(move |_| async { assert_eq!(value.get().await, &7) }, once(go, drop))
                .of(Kind::Background)
                .end(move || computes.join().unwrap())
        }),
        ("single flight", || {
            let flights: &'static SingleFlight<i32, i32> = leak(SingleFlight::new());
            let (tx, rx) = chan::bounded::<()>(1);
            let mut leader = parked(async move {
                assert_eq!(flights.work(1, async { rx.recv().await.map_or(0, |()| 7) }).await.0, 7);
            });
            let op = move |_| async {
                assert_eq!(flights.work(1, async { unreachable!() }).await, (7, true))
            };
            let fire = move || {
                let _ = tx.try_send(());
                assert!(poll_unwoken(&mut leader).is_ready());
            };
            Scene::new(op, fire)
        }),
        ("single flight, its leader gone", || {
            let flights: &'static SingleFlight<i32, i32> = leak(SingleFlight::new());
            let leader = parked(async { _ = flights.work(1, pending()).await });
            let op = move |_| async { assert_eq!(flights.work(1, async { 8 }).await.0, 8) };
            Scene::new(op, once(leader, drop)).of(Kind::Chain)
        }),
        ("error group", || {
            // One group for each, because a second wait in the same round is an error.
            let (tx, rx) = chan::unbuffered::<()>();
            let op = move |_| {
                let (group, rx) = (ErrGroup::<()>::new(), rx.clone());
                assert!(group.try_go(async move { rx.recv().await.map_or(Ok(()), Err) }));
                async move { assert!(group.wait().await.is_ok()) }
            };
            Scene::new(op, move || assert!(tx.close())).of(Kind::Background)
        }),
    ]);
}

// ------------------------------------------------------------------------------- time, goroutines

const SHORT: Duration = Duration::from_millis(2);

#[test]
fn timers_fire_whatever_wakers_do_ca19() {
    play(&[
        ("sleep", || Scene::new(|_| time::sleep(SHORT), || ()).of(Kind::Background)),
        ("timeout", || {
            Scene::new(|_| async { assert!(timeout(SHORT, pending::<()>()).await.is_err()) }, || ())
                .of(Kind::Background)
        }),
        ("after", || {
            Scene::new(|_| async { assert!(after(SHORT).recv().await.is_some()) }, || ())
                .of(Kind::Background)
        }),
        ("ticker", || {
            let op = |_| async {
                let ticker = Ticker::new(SHORT);
                ticker.tick().await;
            };
            Scene::new(op, || ()).of(Kind::Background)
        }),
    ]);
}

fn joined(rt: Runtime, fire: fn(&[JoinHandle<()>], Runtime) -> Option<Runtime>) -> Scene {
    let handles: Vec<_> = (0..CROWD).map(|_| rt.go(pending::<()>())).collect();
    let handles = Rc::new(RefCell::new(handles));
    let aborts = handles.clone();
    let op = move |i| {
        let handles = handles.clone();
        async move {
            let end = poll_fn(|cx| {
                Pin::<&mut JoinHandle<()>>::new(&mut handles.borrow_mut()[i]).poll(cx)
            })
            .await;
            assert!(end.unwrap_err().is_aborted());
        }
    };
    let left = Rc::new(RefCell::new(Some(rt)));
    let end = left.clone();
    let fire = move || {
        let rt = left.borrow_mut().take().expect("fired once");
        *left.borrow_mut() = fire(&aborts.borrow(), rt);
    };
    Scene::new(op, fire).of(Kind::Background).end(move || {
        if let Some(rt) = &*end.borrow() {
            assert_eq!(rt.block_on(async { gopark::go(async { 7 }).await.unwrap() }), 7);
        }
    })
}

/// A bug: a task of another executor had polled the handle. Its waker stayed with the goroutine,
/// which woke it at its end.
#[test]
fn a_dropped_join_handle_leaves_no_waker_behind() {
    let task = Task::new(None);
    let (tx, rx) = chan::unbuffered::<()>();
    let running = gopark::go(async move { rx.recv().await });
    let mut op: Op = Box::pin(async { drop(running.await) });
    assert!(task.poll(&mut op).is_pending() && task.wakers() > 0);
    drop(op);
    assert_eq!(task.wakers(), 0);
    drop(tx);
    assert_eq!(task.wakes(), 0);
}

#[test]
fn a_join_handle_that_changed_its_task_can_be_dropped_after_it_completed() {
    // Another executor polls first, so the goroutine has a proxy of that executor's waker. The next
    // poll is by the joiner's own task: it replaces the proxy and completes the join. The drop then
    // has nothing to deregister.
    let joined = no_hang(|| {
        gopark::block_on(async {
            let (tx, rx) = chan::unbuffered::<()>();
            let mut running = gopark::go(async move { rx.recv().await });
            let task = Task::new(None);
            assert!(Pin::new(&mut running).poll(&mut Cx::from_waker(task.waker())).is_pending());
            assert!(future::poll_once(&mut running).await.is_none());
            drop(tx);
            assert_eq!((&mut running).await.unwrap(), None);
            drop(running);
            (task.wakes(), task.wakers())
        })
    });
    assert_eq!(joined, (0, 0));
}

#[test]
fn goroutines_are_joined_whatever_wakers_do_ca19() {
    play(&[
        ("aborted", || {
            joined(rt(1), |handles, rt| {
                handles.iter().for_each(JoinHandle::abort);
                Some(rt)
            })
        }),
        ("shut down", || {
            joined(rt(1), |_, rt| {
                assert_eq!(rt.shutdown_timeout(Duration::from_secs(30)), 0);
                None
            })
        }),
        ("unblock", || {
            let (tx, rx) = chan::unbuffered::<()>();
            let op = move |_| {
                let rx = rx.clone();
                async move { assert_eq!(gopark::unblock(move || rx.recv_blocking()).await, None) }
            };
            // The channel is closed already if all closures were dropped before they started.
            let mut scene = Scene::new(op, move || _ = tx.close()).of(Kind::Background);
            scene.ops.truncate(4);
            scene
        }),
    ]);
}
