//! Tests of the notes of every wait of the crate.

#![allow(dropping_copy_types, reason = "results are dropped whatever they are")]

use std::future::{pending, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::{Context as Cx, Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::StreamExt;

use super::{Activity, Header, Keeper, Reason, WaitNote};
use crate::chan::{Receiver, Sender, bounded, unbuffered};
use crate::context::Context;
use crate::runtime::{Runtime, block_in_place, go, gosched, unblock};
use crate::select;
use crate::select::{Select, fut};
use crate::sync::join_set::JoinSet;
use crate::sync::{
    Barrier, Cond, ErrGroup, Mutex, Notify, Once, OnceValue, RwMutex, Semaphore, SingleFlight,
    WaitGroup, broadcast, oneshot, watch,
};
use crate::time::rate::{Limit, Limiter};
use crate::time::{Ticker, Timer, after, sleep, sleep_until, timeout};

impl Header {
    fn wait_note(&self) -> Option<WaitNote> {
        if let Activity::Waits(note) = self.activity() { Some(note) } else { None }
    }
}

const HOUR: Duration = Duration::from_secs(3600);

type Parked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `future` as a goroutine until `is_there` returns true for its header. Returns its note at
/// that time.
fn note_when(future: Parked, is_there: impl Fn(&Header) -> bool + Send) -> Option<WaitNote> {
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    rt.block_on(async move {
        let goroutine = go(future);
        let start = Instant::now();
        while !is_there(goroutine.header()) {
            assert!(start.elapsed() < Duration::from_secs(30), "the goroutine never parks");
            gosched().await;
        }
        goroutine.header().wait_note()
    })
}

/// Returns the note of a goroutine after its first park. There is one processor, so it is not
/// running.
fn note(future: Parked) -> Option<WaitNote> {
    note_when(future, |header| header.flags().is_registered())
}

/// Returns the text of the line at `site`.
fn line(site: &Location<'_>) -> &'static str {
    assert_eq!(site.file(), file!());
    include_str!("tests.rs").lines().nth(site.line() as usize - 1).unwrap()
}

fn parked(future: impl Future<Output = ()> + Send + 'static) -> Parked {
    Box::pin(future)
}

/// Polls two futures with the goroutine's own waker, as a user's `join!` does.
async fn both(a: impl Future, b: impl Future) {
    let (mut a, mut b, mut done) = (pin!(a), pin!(b), [false; 2]);
    poll_fn(|cx| {
        done[0] = done[0] || a.as_mut().poll(cx).is_ready();
        done[1] = done[1] || b.as_mut().poll(cx).is_ready();
        if done == [true; 2] { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

/// Creates a channel whose ends are shared.
fn chan() -> (Arc<Sender<u8>>, Arc<Receiver<u8>>) {
    let (tx, rx) = unbuffered();
    (Arc::new(tx), Arc::new(rx))
}

#[test]
fn every_wait_notes_its_reason_and_its_call_site() {
    // Each entry has a part of the call's line, or "" if the site is not known.
    let channels: Vec<(&str, Reason, Parked)> = vec![
        ("rx.recv()", Reason::ChanReceive, {
            let (tx, rx) = chan();
            parked(async move { drop((rx.recv().await, tx)) })
        }),
        ("tx.send(1)", Reason::ChanSend, {
            let (tx, rx) = chan();
            parked(async move { drop((tx.send(1).await, rx)) })
        }),
        ("nil_rx.recv()", Reason::ChanReceiveNil, {
            let nil_rx = Receiver::<u8>::nil();
            parked(async move { drop(nil_rx.recv().await) })
        }),
        ("nil_tx.send(1)", Reason::ChanSendNil, {
            let nil_tx = Sender::<u8>::nil();
            parked(async move { drop(nil_tx.send(1).await) })
        }),
        ("", Reason::ChanReceive, {
            let (tx, mut rx) = unbuffered::<u8>();
            parked(async move { drop((rx.next().await, tx)) })
        }),
        ("", Reason::ChanReceiveNil, {
            let mut nil = Receiver::<u8>::nil();
            parked(async move { drop(nil.next().await) })
        }),
    ];
    let selects: Vec<(&str, Reason, Parked)> = vec![
        ("select! { v = rx.recv()", Reason::Select, {
            let (tx, rx) = chan();
            parked(async move {
                select! { v = rx.recv() => drop(v), s = tx.send(1) => drop(s) }
            })
        }),
        ("select! { v = rx.recv() => drop(v), () = sleep", Reason::Select, {
            let (tx, rx) = chan();
            parked(async move {
                select! { v = rx.recv() => drop(v), () = sleep(HOUR) => drop(tx) }
            })
        }),
        ("select! { () = fut", Reason::Select, {
            parked(async move {
                select! { () = fut(pending()) => {} }
            })
        }),
        ("select! { v = nil", Reason::Select, {
            let nil = Receiver::<u8>::nil();
            parked(async move {
                select! { v = nil.recv() => drop(v) }
            })
        }),
        (
            "select! {}",
            Reason::SelectNoCases,
            parked(async {
                select! {}
            }),
        ),
        (".wait()", Reason::Select, {
            let (tx, rx) = chan();
            parked(async move {
                let select = Select::new().recv(&rx, drop);
                select.wait().await;
                drop(tx);
            })
        }),
        ("none.wait()", Reason::SelectNoCases, {
            parked(async {
                let none = Select::<()>::new();
                none.wait().await
            })
        }),
    ];
    let sync: Vec<(&str, Reason, Parked)> = vec![
        ("m.lock().await; // again", Reason::MutexLock, {
            let m = Mutex::new(());
            parked(async move {
                let _held = m.lock().await;
                let _never = m.lock().await; // again
            })
        }),
        ("rw.rlock()", Reason::RwMutexRLock, {
            let rw = RwMutex::new(());
            parked(async move {
                let _held = rw.lock().await;
                let _never = rw.rlock().await;
            })
        }),
        ("rw.lock()", Reason::RwMutexLock, {
            let rw = RwMutex::new(());
            parked(async move {
                let _held = rw.rlock().await;
                let _never = rw.lock().await;
            })
        }),
        ("c.wait(guard)", Reason::CondWait, {
            let (m, c) = (Mutex::new(()), Cond::new());
            parked(async move {
                let guard = m.lock().await;
                drop(c.wait(guard).await);
            })
        }),
        ("c.wait_while(guard", Reason::CondWait, {
            let (m, c) = (Mutex::new(()), Cond::new());
            parked(async move {
                let guard = m.lock().await;
                drop(c.wait_while(guard, |_| true).await);
            })
        }),
        // The waiter has been signalled, and waits for the lock.
        ("c.wait(guard); // relock", Reason::MutexLock, {
            let (m, c) = (Mutex::new(()), Cond::new());
            parked(async move {
                let guard = m.lock().await;
                let wait = c.wait(guard); // relock
                let _held = m.lock().await;
                c.signal();
                drop(wait.await);
            })
        }),
        ("group.wait()", Reason::WaitGroupWait, {
            let group = WaitGroup::new();
            group.add(1);
            parked(async move { group.wait().await })
        }),
        ("s.acquire(2)", Reason::Semaphore, {
            let s = Semaphore::new(1);
            parked(async move { drop(s.acquire(2).await) })
        }),
        ("once.call_once_async(async || {})", Reason::Once, {
            let once = Arc::new(Once::new());
            parked(async move {
                let first = once.clone();
                go(async move { first.call_once_async(pending::<()>).await });
                gosched().await;
                once.call_once_async(async || {}).await;
            })
        }),
        ("value.get().await; // second", Reason::Once, {
            let (release, released) = mpsc::channel::<()>();
            let value = Arc::new(OnceValue::new(move || block_in_place(|| drop(released.recv()))));
            parked(async move {
                let first = value.clone();
                let (begun, begin) = bounded(1);
                go(async move {
                    begun.send(()).await.unwrap();
                    first.get().await;
                });
                begin.recv().await;
                gosched().await;
                value.get().await; // second
                drop(release);
            })
        }),
        ("notify.notified()", Reason::Notify, {
            let notify = Notify::new();
            parked(async move { notify.notified().await })
        }),
        ("rx.await; // oneshot", Reason::Oneshot, {
            let (tx, rx) = oneshot::channel::<u8>();
            parked(async move {
                let _ = rx.await; // oneshot
                drop(tx);
            })
        }),
        ("tx.closed()", Reason::Oneshot, {
            let (mut tx, rx) = oneshot::channel::<u8>();
            parked(async move {
                tx.closed().await;
                drop(rx);
            })
        }),
        ("tx.closed().await, rx))", Reason::ChanClose, {
            let (tx, rx) = unbuffered::<u8>();
            parked(async move { drop((tx.closed().await, rx)) })
        }),
        ("rx.changed()", Reason::Watch, {
            let (tx, mut rx) = watch::channel(1);
            parked(async move { drop((rx.changed().await, tx)) })
        }),
        ("rx.wait_for(", Reason::Watch, {
            let (tx, mut rx) = watch::channel(1);
            parked(async move { drop((rx.wait_for(|_| false).await.is_ok(), tx)) })
        }),
        ("rx.recv().await, tx)) // broadcast", Reason::Broadcast, {
            let (tx, mut rx) = broadcast::bounded::<u8>(1);
            parked(async move {
                drop((rx.recv().await, tx)) // broadcast
            })
        }),
        ("barrier.wait()", Reason::Barrier, {
            let barrier = Barrier::new(2);
            parked(async move { drop(barrier.wait().await) })
        }),
        ("flights.work(1, async {})", Reason::SingleFlight, {
            let flights = Arc::new(SingleFlight::new());
            parked(async move {
                let first = flights.clone();
                go(async move { first.work(1, pending()).await });
                gosched().await;
                flights.work(1, async {}).await;
            })
        }),
        ("group.go(async { Ok(()) })", Reason::Semaphore, {
            let group = ErrGroup::<()>::new();
            group.set_limit(1);
            parked(async move {
                group.go(pending()).await;
                group.go(async { Ok(()) }).await;
            })
        }),
        ("group.wait().await.unwrap()", Reason::WaitGroupWait, {
            let group = ErrGroup::<()>::new();
            parked(async move {
                group.go(pending()).await;
                group.wait().await.unwrap();
            })
        }),
    ];
    let others: Vec<(&str, Reason, Parked)> = vec![
        ("handle.await", Reason::Join, {
            parked(async {
                let handle = go(pending::<()>());
                drop(handle.await);
            })
        }),
        ("set.join_next()", Reason::JoinSet, {
            parked(async {
                let mut set = JoinSet::new();
                set.go(pending::<()>());
                drop(set.join_next().await);
            })
        }),
        ("limiter.wait(1).await.unwrap(); // second", Reason::RateLimit, {
            let limiter = Limiter::new(Limit::every(HOUR), 1);
            parked(async move {
                limiter.wait(1).await.unwrap();
                limiter.wait(1).await.unwrap(); // second
            })
        }),
        ("sleep(HOUR)", Reason::Sleep, parked(async { sleep(HOUR).await })),
        ("sleep(Duration::MAX)", Reason::Sleep, parked(async { sleep(Duration::MAX).await })),
        ("sleep_until(later)", Reason::Sleep, {
            let later = Instant::now() + HOUR;
            parked(async move { sleep_until(later).await })
        }),
        (
            "after(HOUR).recv()",
            Reason::ChanReceive,
            parked(async { drop(after(HOUR).recv().await) }),
        ),
        ("channel().recv()", Reason::ChanReceive, {
            let timer = Timer::new(HOUR);
            parked(async move { drop(timer.channel().recv().await) })
        }),
        ("ticker.tick()", Reason::ChanReceive, {
            let ticker = Ticker::new(HOUR);
            parked(async move { drop(ticker.tick().await) })
        }),
        ("ctx.done()", Reason::ContextDone, {
            let (ctx, cancel) = Context::background().with_cancel();
            parked(async move {
                ctx.done().await;
                drop(cancel);
            })
        }),
        ("Context::background().done()", Reason::ContextDone, {
            parked(async { Context::background().done().await })
        }),
        ("unblock(move ||", Reason::Blocking, {
            let (release, released) = mpsc::channel::<()>();
            parked(async move {
                unblock(move || drop(released.recv())).await;
                drop(release);
            })
        }),
        // Waits that poll another one note the inner wait.
        ("let inside = rx.recv(); // timeout", Reason::ChanReceive, {
            let (tx, rx) = chan();
            parked(async move {
                let inside = rx.recv(); // timeout
                drop((timeout(HOUR, inside).await, tx));
            })
        }),
        ("timeout(HOUR, handle)", Reason::Join, {
            parked(async {
                let handle = go(pending::<()>());
                drop(timeout(HOUR, handle).await);
            })
        }),
        ("ctx.run(handle)", Reason::Join, {
            let (ctx, cancel) = Context::background().with_cancel();
            parked(async move {
                let handle = go(pending::<()>());
                drop((ctx.run(handle).await, cancel));
            })
        }),
        (
            "timeout(HOUR, pending",
            Reason::Foreign,
            parked(async { drop(timeout(HOUR, pending::<()>()).await) }),
        ),
        ("timeout(HOUR, rx.recv())", Reason::ChanReceive, {
            let (tx, rx) = chan();
            parked(async move { drop((timeout(2 * HOUR, timeout(HOUR, rx.recv())).await, tx)) })
        }),
        ("let inside = rx.recv(); // run", Reason::ChanReceive, {
            let (tx, rx) = chan();
            let (ctx, cancel) = Context::background().with_cancel();
            parked(async move {
                let inside = rx.recv(); // run
                drop((ctx.run(inside).await, tx, cancel));
            })
        }),
        ("ctx.run(pending", Reason::Foreign, {
            let (ctx, cancel) = Context::background().with_cancel();
            parked(async move { drop((ctx.run(pending::<()>()).await, cancel)) })
        }),
        ("ctx.recv(&rx)", Reason::ChanReceive, {
            let (tx, rx) = chan();
            let (ctx, cancel) = Context::background().with_cancel();
            parked(async move { drop((ctx.recv(&rx).await, tx, cancel)) })
        }),
    ];
    for (call, reason, future) in channels.into_iter().chain(selects).chain(sync).chain(others) {
        // Some of them park on other things before; the last wait is noted some turns later.
        let note = note_when(future, |header| {
            header.wait_note().is_some_and(|note| note.reason == reason)
        });
        let WaitNote { site, elsewhere, .. } = note.unwrap();
        assert!(!elsewhere, "{call}: one wait");
        match site {
            Some(site) if !call.is_empty() => assert!(line(site).contains(call), "{call}: {site}"),
            site => assert!(site.is_none() && call.is_empty(), "{call}: {site:?}"),
        }
    }
}

#[test]
fn a_goroutine_that_waits_for_a_foreign_future_has_no_note_of_an_earlier_wait() {
    let (tx, rx) = unbuffered();
    let future = parked(async move {
        go(async move { tx.send(1).await });
        rx.recv().await;
        pending().await
    });
    // The goroutine is woken after its first wait, and parks again.
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    rt.block_on(async move {
        let goroutine = go(future);
        gosched().await;
        assert!(goroutine.header().flags().is_registered());
        gosched().await;
        assert_eq!(goroutine.header().wait_note(), None);
    });
}

#[test]
fn the_last_of_several_waits_is_noted_and_that_there_are_others() {
    let ((a_tx, a), (b_tx, b)) = (chan(), chan());
    let note = note(parked(async move {
        let first = a.recv();
        let last = b.recv(); // the last
        both(first, last).await;
        drop((a_tx, b_tx));
    }));
    let note = note.unwrap();
    assert!(note.elsewhere && note.reason == Reason::ChanReceive);
    assert!(line(note.site.unwrap()).contains("// the last"));
}

#[test]
fn a_wait_that_goes_on_is_noted_again_with_its_call_site() {
    let ((a_tx, a), (_b_tx, b)) = (chan(), chan());
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    rt.block_on(async move {
        let goroutine = go(async move {
            let goes_on = b.recv(); // goes on
            both(goes_on, a.recv()).await
        });
        // If the machine is busy, its worker may lose the processor during the poll.
        while !goroutine.header().wait_note().is_some_and(|note| note.elsewhere) {
            gosched().await;
        }
        a_tx.send(1).await.unwrap();
        while goroutine.header().wait_note().is_none_or(|note| note.elsewhere) {
            gosched().await;
        }
        let note = goroutine.header().wait_note().unwrap();
        assert!(note.reason == Reason::ChanReceive);
        assert!(line(note.site.unwrap()).contains("// goes on"));
        goroutine.abort();
    });
}

#[test]
fn what_an_executor_inside_the_goroutine_polls_is_noted_as_not_the_only_wait() {
    type Wait = fn(Arc<Sender<u8>>, Arc<Receiver<u8>>) -> Parked;
    let waits: [Wait; 4] = [
        |tx, rx| parked(async move { drop((rx.recv().await, tx)) }),
        |tx, rx| parked(async move { drop((tx.send(1).await, rx)) }),
        |_, _| parked(async move { sleep(HOUR).await }),
        |tx, rx| {
            parked(async move {
                select! { v = rx.recv() => drop((v, tx)) }
            })
        },
    ];
    for wait in waits {
        let (tx, rx) = chan();
        let mut inside = wait(tx, rx);
        let note = note(parked(poll_fn(move |cx| {
            let waker = Waker::from(Arc::new(Wrapped(cx.waker().clone())));
            inside.as_mut().poll(&mut Cx::from_waker(&waker))
        })));
        assert!(note.unwrap().elsewhere);
    }
}

struct Wrapped(Waker);

impl std::task::Wake for Wrapped {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// Each of these futures polls operations that park, and is ready in the same poll. The wait after
/// it is then the only one.
#[test]
fn a_wait_that_is_over_leaves_no_note() {
    let over: Vec<(&str, Parked)> = vec![
        ("select", {
            let (tx, rx) = bounded(1);
            tx.try_send(1).unwrap();
            parked(async move {
                select! { biased; () = sleep(HOUR) => {} v = rx.recv() => drop((v, tx)) }
            })
        }),
        ("select with default", {
            let (tx, rx) = chan();
            parked(async move {
                select! { () = sleep(HOUR) => {} v = rx.recv() => drop((v, tx)), default => {} }
            })
        }),
        ("timeout", {
            let (tx, rx) = chan();
            parked(async move { drop((timeout(Duration::ZERO, rx.recv()).await, tx)) })
        }),
        ("run", {
            let (tx, rx) = chan();
            let (ctx, cancel) = Context::background().with_cancel();
            parked(async move {
                let inside = poll_fn(|cx| {
                    cancel.cancel();
                    pin!(rx.recv()).poll(cx)
                });
                drop((ctx.run(inside).await, &tx));
            })
        }),
        ("blocking form", {
            let (tx, rx) = chan();
            std::thread::spawn(move || tx.send_blocking(1));
            parked(async move { drop(block_in_place(|| rx.recv_blocking())) })
        }),
    ];
    for (what, over) in over {
        let m = Mutex::new(());
        let note = note_when(
            parked(async move {
                let _held = m.lock().await;
                over.await;
                let _never = m.lock().await;
            }),
            |header| header.wait_note().is_some_and(|note| note.reason == Reason::MutexLock),
        );
        assert!(!note.unwrap().elsewhere, "{what}");
    }
}

#[test]
fn a_blocking_form_is_noted_while_it_blocks() {
    let (tx, rx) = chan();
    let release = tx.clone();
    let _ = note_when(
        parked(async move { drop((block_in_place(|| rx.recv_blocking()), tx)) }),
        move |header| {
            let blocks = header.wait_note().is_some();
            if blocks {
                // Checked before the goroutine continues.
                assert_eq!(header.wait_note().unwrap().reason, Reason::ChanReceive);
                release.send_blocking(1).unwrap();
            }
            blocks
        },
    );
}

#[test]
fn a_header_keeps_its_parts_apart() {
    let site = Location::caller();
    let header = Header::new(Header::IDS - 1, 0, 0, site);
    assert_eq!((header.id(), header.shard(), header.executor_index()), (Header::IDS - 1, 0, 0));
    let header = Header::new(5, Header::SHARDS - 1, 4095, site);
    assert_eq!(
        (header.id(), header.shard(), header.executor_index()),
        (5, Header::SHARDS - 1, Header::EXECUTORS - 1)
    );

    assert!(!header.set_registered((1 << 26) - 1).is_registered());
    assert!(header.set_aborted().is_registered() && header.flags().is_aborted());
    assert_eq!(header.registry_key(), (1 << 26) - 1);
    assert!(
        header.ask_for_keeper()
            && !header.ask_for_keeper()
            && header.flags().keeper() == Keeper::Asked
    );
    for keeper in [Keeper::None, Keeper::Some] {
        header.set_keeper(keeper);
        assert!(!header.ask_for_keeper() && header.flags().keeper() == keeper);
    }
    assert_eq!(header.registry_key(), (1 << 26) - 1);
    header.clear_registered();
    assert!(
        !header.flags().is_registered()
            && header.flags().is_aborted()
            && !header.flags().is_unwinding()
    );
    assert!(
        !header.flags().has_remote()
            && !header.set_has_remote().has_remote()
            && header.flags().has_remote()
    );
    header.set_unwinding();
    assert!(header.flags().is_unwinding() && !header.is_detached());
    header.set_detached();
    assert!(header.is_detached() && std::ptr::eq(header.spawned_at(), site));

    assert_eq!(header.wait_note(), None);
    header.begin_poll(u32::MAX);
    assert_eq!(header.wait_note(), None);
    for reason in Reason::ALL.iter().copied() {
        header.begin_poll(u32::MAX - 3);
        header.note_park(Some(site), reason);
        let note = WaitNote { reason, site: Some(site), elsewhere: false, since: (1 << 26) - 4 };
        assert_eq!(header.wait_note(), Some(note));
        header.note_park(None, reason);
        assert_eq!(header.wait_note(), Some(WaitNote { site: None, elsewhere: true, ..note }));
    }
    assert!(!header.has_ended());
    header.set_ended();
    assert!(header.has_ended() && header.wait_note().is_none());
}

#[test]
fn every_reason_has_a_number_and_a_name_of_its_own() {
    for (i, reason) in Reason::ALL.iter().copied().enumerate() {
        assert_eq!(reason as usize, i);
        assert!(Reason::ALL[..i].iter().all(|other| other.name() != reason.name()));
    }
}
