//! The budget: every await consumes from it, and yields when it is used up.

use std::future::{Ready, pending, poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context as Cx, Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::StreamExt;
use futures_lite::future::poll_once;
use gopark::context::Context;
use gopark::select::Select;
use gopark::sync::{
    Barrier, Cond, ErrGroup, Monitor, Mutex, Notify, Once, OnceCell, OnceValue, RwMutex, Semaphore,
    SingleFlight, WaitGroup, broadcast, oneshot, watch,
};
use gopark::{JoinSet, Runtime, chan, go, gosched, inspect, select, time, unblock, unconstrained};

use crate::hand::on_procs;

/// The number of operations that a goroutine can complete in one poll.
const BUDGET: usize = 128;

/// Sets a flag once another goroutine has run.
fn sibling() -> Arc<AtomicBool> {
    let ran = Arc::new(AtomicBool::new(false));
    let other = ran.clone();
    go(async move { other.store(true, Ordering::SeqCst) });
    ran
}

/// Returns when the sibling has run. Tests that nothing gave way before look at what one poll
/// completes, not at the sibling: it also runs if the poll takes so long that the monitor hands the
/// processor to another worker, as on a busy machine or under a sanitizer. Until then it waits for
/// the processor, so the poll's goroutine is not alone and gets no second budget.
async fn runs(sibling: &AtomicBool) {
    while !sibling.load(Ordering::SeqCst) {
        gosched().await;
    }
}

/// Polls `future` once, with a waker that wakes nothing.
fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Cx::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Awaits each operation until a sibling has run, which must happen within the budget in one of ten
/// attempts: on a busy machine the system may stop the thread that is about to poll the sibling.
/// There is one row for each await of the crate that can be ready at once: `tests/tidy.rs` checks
/// that.
macro_rules! each_lets_a_sibling_run {
    ($($name:literal => $await:expr;)*) => { $(
        let mut spends = false;
        for _ in 0..10 {
            gosched().await;
            let (ran, mut awaits) = (sibling(), 0);
            while !ran.load(Ordering::SeqCst) && awaits <= BUDGET {
                let _ = $await;
                awaits += 1;
            }
            spends = ran.load(Ordering::SeqCst);
            if spends {
                break;
            }
        }
        assert!(spends, "{} does not spend", $name);
    )* };
}

/// A bug: some ready awaits consumed no budget (`call_once_async`, `OnceValue::get`, `wait_while`,
/// `run` and `timeout` around foreign futures), so a loop over them delayed a sibling by 10 ms.
#[test]
fn every_await_spends_sch03() {
    on_procs(1, async {
        let (tx, rx) = chan::bounded(1);
        let mut stream = rx.clone();
        let mut in_line = rx.clone().into_stream();
        let closed = chan::bounded::<u8>(1).1;
        let mut over = closed.clone().into_stream();
        let (full, _open) = chan::unbuffered();
        let mut many = Vec::new();
        let shut = chan::bounded::<u8>(1).0;
        let (m, rw, cond) = (Mutex::new(()), RwMutex::new(()), Cond::new());
        let (once, value) = (Once::new(), OnceValue::new(|| 1));
        once.call_once(|| ());
        let (owned, owned_rw, permits) =
            (Arc::new(Mutex::new(())), Arc::new(RwMutex::new(())), Arc::new(Semaphore::new(1)));
        let (notify, barrier, cell, monitor) =
            (Notify::new(), Barrier::new(1), OnceCell::from(1), Monitor::new(()));
        let ((set, mut seen), (cast, mut heard)) = (watch::channel(0), broadcast::bounded(1));
        let unwatched = watch::channel(0).0;
        let mut set_of_none = JoinSet::<()>::new();
        let limiter = time::rate::Limiter::new(time::rate::Limit::INF, 1);
        let (semaphore, wg, flights) =
            (Semaphore::new(1), WaitGroup::new(), SingleFlight::<u8, u8>::new());
        let (group, limited) = (ErrGroup::<()>::new(), ErrGroup::<()>::new());
        limited.set_limit(1000);
        let ctx = Context::background();
        let (ended, cancel) = ctx.with_cancel();
        cancel.cancel();
        let (past, soon) = (Instant::now(), Duration::ZERO);
        let ticker = time::Ticker::new(Duration::from_nanos(1));
        let ready: fn() -> Ready<()> = || ready(());
        each_lets_a_sibling_run! {
            "send" => { tx.send(1).await.unwrap(); rx.try_recv().unwrap() };
            "send_timeout" => { tx.send_timeout(1, soon).await.unwrap(); rx.try_recv().unwrap() };
            "send_timeout" => { full.send_timeout(1, soon).await.unwrap_err() };
            "reserve" => { tx.reserve().await.unwrap() };
            "recv" => { tx.try_send(1).unwrap(); rx.recv().await };
            "recv" => { closed.recv().await };
            "recv_many" => { tx.try_send(1).unwrap(); rx.recv_many(&mut many, 9).await };
            "recv_many" => { rx.recv_many(&mut many, 0).await };
            "next" => { tx.try_send(1).unwrap(); stream.next().await };
            "next" => { tx.try_send(1).unwrap(); in_line.next().await };
            "next" => { over.next().await };
            "select!" => { select! { Some(_) = closed.recv() => {}, else => {} } };
            "select!" => { tx.try_send(1).unwrap(); select! { _ = rx.recv() => {} } };
            "fut" => { select! { _ = gopark::select::fut(ready()) => {} } };
            "wait" => { Select::new().recv(&closed, |_| ()).wait().await };
            "JoinHandle" => { go(async {}).await.unwrap() };
            "abort_on_drop" => { go(async {}).abort_on_drop().await.unwrap() };
            "join_next" => { set_of_none.join_next().await };
            "join_all" => { JoinSet::<()>::new().join_all().await };
            "go_named" => { gopark::go_named("ready", async {}).await.unwrap() };
            "gosched" => { gosched().await };
            "unblock" => { unblock(|| ()).await };
            "lock" => { m.lock().await };
            "rlock" => { rw.rlock().await };
            "lock" => { rw.lock().await };
            "lock_owned" => { owned.lock_owned().await };
            "rlock_owned" => { owned_rw.rlock_owned().await };
            "lock_owned" => { owned_rw.lock_owned().await };
            "acquire_owned" => { permits.acquire_owned(1).await };
            "wait" => { let wait = cond.wait(m.try_lock().unwrap()); cond.signal(); wait.await };
            "wait_while" => { cond.wait_while(m.try_lock().unwrap(), |()| false).await };
            "call_once_async" => { once.call_once_async(async || ()).await };
            "get" => { value.get().await };
            "acquire" => { semaphore.acquire(1).await };
            "acquire" => { ctx.acquire(&semaphore, 1).await.unwrap() };
            "acquire" => { ended.acquire(&semaphore, 1).await.unwrap_err() };
            "wait" => { wg.wait().await };
            "notified" => { notify.notify_one(); notify.notified().await };
            "wait" => { barrier.wait().await };
            "get_or_init" => { cell.get_or_init(async || 1).await };
            "get_or_try_init" => { cell.get_or_try_init(async || Err(())).await };
            "lock" => { monitor.lock().await };
            "wait" => { let wait = monitor.lock().await.wait(); monitor.signal(); wait.await };
            "wait_while" => { monitor.lock().await.wait_while(|()| false).await };
            "oneshot" => { let (tx, rx) = oneshot::channel(); tx.send(1).unwrap(); rx.await };
            "closed" => { shut.closed().await };
            "closed" => { let (mut tx, _) = oneshot::channel::<u8>(); tx.closed().await };
            "closed" => { unwatched.closed().await };
            "changed" => { set.send(1).unwrap(); seen.changed().await };
            "wait_for" => { seen.wait_for(|_| true).await.unwrap() };
            "recv" => { cast.send(1).unwrap(); heard.recv().await };
            "work" => { flights.work(1, async { 1 }).await };
            "go" => { group.go(async { Ok(()) }).await };
            "go" => { limited.go(async { Ok(()) }).await };
            "wait" => { ErrGroup::<()>::new().wait().await.unwrap() };
            "wait" => { limiter.wait(1).await.unwrap() };
            "done" => { ended.done().await };
            "run" => { ctx.run(ready()).await.unwrap() };
            "run" => { ended.run(ready()).await.unwrap_err() };
            "recv" => { ctx.recv(&closed).await };
            "send" => { ctx.send(&tx, 1).await.unwrap(); rx.try_recv().unwrap() };
            "send" => { ended.send(&tx, 1).await.unwrap_err() };
            "sleep" => { ctx.sleep(soon).await.unwrap() }; // asleep: the subject
            "sleep" => { ended.sleep(soon).await.unwrap_err() }; // asleep: the subject
            "sleep" => { time::sleep(soon).await };
            "sleep_until" => { time::sleep_until(past).await };
            "timeout" => { time::timeout(Duration::from_secs(60), ready()).await.unwrap() };
            "timeout" => { time::timeout(soon, pending::<()>()).await.unwrap_err() };
            "tick" => { ticker.tick().await };
            "named" => { inspect::named("ready", ready()).await };
            "finish" => { inspect::LeakCheck::new().ignore(|_| true).finish().await };
        }
        group.wait().await.unwrap();
        limited.wait().await.unwrap();
    });
}

/// A bug: every 128th time `now_or_never` in a goroutine found nothing, although the operation was
/// ready.
#[test]
fn a_poll_without_a_task_finds_whatever_is_there() {
    on_procs(1, async {
        let (tx, rx) = chan::bounded(1000);
        (0..1000).for_each(|i| tx.try_send(i).unwrap());
        let (m, semaphore) = (Mutex::new(()), Semaphore::new(1));
        gosched().await;
        let ran = sibling();
        for i in 0..1000 {
            assert_eq!(now_or_never(rx.recv()), Some(Some(i)));
            assert!(now_or_never(semaphore.acquire(1)).is_some());
        }
        assert_eq!(now_or_never(rx.recv()), None);
        assert!(now_or_never(m.lock()).is_some());
        // It has consumed from the budget all the same: nothing is left for a lock, which is free.
        assert!(poll_once(m.lock()).await.is_none());
        runs(&ran).await;
    });
}

#[test]
fn unconstrained_gives_way_when_it_waits_and_not_before() {
    on_procs(1, async {
        let (tx, rx) = chan::bounded(1000);
        (0..1000).for_each(|i| tx.try_send(i).unwrap());
        let (m, received) = (Mutex::new(()), AtomicUsize::new(0));
        gosched().await;
        let ran = sibling();
        let mut unbounded = pin!(unconstrained(async {
            for i in 0..1000 {
                assert_eq!(rx.recv().await, Some(i));
                drop(m.lock().await);
                received.fetch_add(1, Ordering::Relaxed);
            }
            gosched().await;
        }));
        assert!(poll_once(unbounded.as_mut()).await.is_none());
        assert_eq!(received.load(Ordering::Relaxed), 1000);
        unbounded.await;
        runs(&ran).await;
    });
}

#[test]
fn unconstrained_leaves_the_budget_as_it_was() {
    on_procs(1, async {
        let (m, mut inside) = (Mutex::new(()), 0);
        gosched().await;
        let ran = sibling();
        let all = poll_once(async {
            for _ in 0..BUDGET {
                drop(m.lock().await);
                unconstrained(async {
                    for _ in 0..10 {
                        drop(m.lock().await);
                        inside += 1;
                    }
                })
                .await;
            }
        });
        assert!(all.await.is_some(), "what is inside costs nothing");
        assert_eq!(inside, 10 * BUDGET);
        assert!(poll_once(m.lock()).await.is_none(), "what is outside has used up the budget");
        runs(&ran).await;
    });
}

#[test]
fn unconstrained_is_a_case_and_its_drop_loses_nothing() {
    on_procs(1, async {
        let (tx, rx) = chan::bounded(1);
        let (_open, never) = chan::unbuffered::<u8>();
        select! {
            v = unconstrained(never.recv()) => unreachable!("{v:?}"),
            sent = tx.send(7) => sent.unwrap(),
        }
        let mut dropped = Box::pin(unconstrained(rx.recv()));
        assert_eq!(
            poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await,
            Poll::Ready(Some(7))
        );
        let mut dropped = Box::pin(unconstrained(rx.recv()));
        assert!(poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await.is_pending());
        tx.send(8).await.unwrap();
        drop(dropped);
        assert_eq!(rx.try_recv(), Ok(8));
    });
}

#[test]
fn outside_of_goroutines_there_is_no_budget() {
    let runtime = Runtime::builder().gomaxprocs(1).build().unwrap();
    futures_lite::future::block_on(async {
        let (tx, rx) = chan::bounded(1000);
        (0..1000).for_each(|i| tx.try_send(i).unwrap());
        unconstrained(async {
            (0..500).for_each(|i| assert_eq!(now_or_never(rx.recv()), Some(Some(i))))
        })
        .await;
        (500..1000).for_each(|i| assert_eq!(now_or_never(rx.recv()), Some(Some(i))));
    });
    drop(runtime);
}

#[cfg(all(feature = "net", unix))]
#[test]
fn every_await_of_a_socket_spends_sch03() {
    use gopark::io::{Async, copy, copy_bidirectional};
    use gopark::net::{
        TcpListener, TcpSocket, TcpStream, UdpSocket, UnixListener, UnixStream, lookup_host,
    };

    on_procs(1, async {
        let (a, b) = UnixStream::pair().unwrap();
        let (ended, other) = UnixStream::pair().unwrap();
        for stream in [&ended, &other] {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let descriptor = Async::new(std::os::unix::net::UnixStream::pair().unwrap().0).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let path = std::env::temp_dir().join(format!("gopark-budget-{}", std::process::id()));
        let _listens = UnixListener::bind(&path).unwrap();
        let unix_address = std::os::unix::net::SocketAddr::from_pathname(&path).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.send_to(b"x", udp.local_addr().unwrap()).await.unwrap();
        each_lets_a_sibling_run! {
            "read" => { a.write_all(b"x").await.unwrap(); b.read(&mut [0]).await.unwrap() };
            "write" => { a.write(b"x").await.unwrap(); b.read(&mut [0]).await.unwrap() };
            "read_exact" => {
                a.write_all(b"xy").await.unwrap();
                b.read_exact(&mut [0; 2]).await.unwrap()
            };
            "write_all" => { a.write_all(b"x").await.unwrap(); b.try_read(&mut [0]).unwrap() };
            "write_vectored" => {
                a.write_vectored(&[std::io::IoSlice::new(b"x")]).await.unwrap();
                b.try_read(&mut [0]).unwrap()
            };
            "read_vectored" => {
                a.write_all(b"x").await.unwrap();
                b.read_vectored(&mut [std::io::IoSliceMut::new(&mut [0])]).await.unwrap()
            };
            "writable" => a.writable().await.unwrap();
            "peek_from" => udp.peek_from(&mut [0]).await.unwrap();
            "copy" => copy(&mut &ended, &mut &a).await.unwrap();
            "copy_bidirectional" => copy_bidirectional(&mut &ended, &mut &other).await.unwrap();
            "read_with" => descriptor.read_with(|_| Ok(())).await.unwrap();
            "write_with" => descriptor.write_with(|_| Ok(())).await.unwrap();
            "lookup_host" => lookup_host(address).await.unwrap();
            "bind" => UdpSocket::bind("127.0.0.1:0").await.unwrap();
            "bind" => TcpListener::bind("127.0.0.1:0").await.unwrap();
            "connect" => udp.connect(address).await.unwrap();
            "connect" => TcpStream::connect(address).await.unwrap();
            "connect" => TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
            "connect_addr" => UnixStream::connect_addr(&unix_address).await.unwrap();
        }
        std::fs::remove_file(path).unwrap();
    });
}
