//! One case of one contender, in this process. The cases themselves are in `../common`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::answer::{Answer, cpu_time, per};
use crate::common::bystander::{Beside, By, lateness};
use crate::common::channels::{
    close_wakes, crowd, fan_in, ping_pong, ring, sieve, skynet, streams,
};
use crate::common::everyday::Everyday;
use crate::common::executor::{spawn_join, yields};
use crate::common::memory::pending;
use crate::common::select::{Choosing, select_among};
use crate::common::sync::{Locks, cond_broadcast, mutex, notify_waiters, pool, rwmutex};
use crate::common::time::{Timers, sleepers};
use crate::common::{
    AsyncChannel, Channel, CrossfireMpmc, CrossfireMpsc, CrossfireSpsc, Executor, FlumeOnTokio,
    Gopark, KanalOnTokio, Ours, Received, Shared, Smol, Tokio, TokioMpsc,
};
use crate::coroutines;

/// The same, before it is known whether a later table of cases has it.
type Found = Option<Answer>;

pub(crate) fn measure(contender: &str, case: &str, procs: usize, n: u64) -> Answer {
    let found = match contender {
        "gopark" => (goroutines::<Gopark>(case, procs, n))
            .or_else(|| channels::<Ours, Ours>(case, procs, n))
            .or_else(|| crowds::<Ours>(case, procs, n))
            .or_else(|| selects::<Ours>(case, procs, n, 0))
            .or_else(|| match case {
                "cond" => Some(each(&Gopark::at_best(procs), n, |on, n| {
                    cond_broadcast(on, n, n.div_ceil(5))
                })),
                "pool_8" => Some(each(&Gopark::at_best(procs), n, pool)),
                _ => everyday::<Gopark>(case, procs, n),
            }),
        "tokio" => (goroutines::<Tokio>(case, procs, n))
            .or_else(|| channels::<TokioMpsc, TokioMpsc>(case, procs, n))
            .or_else(|| selects::<TokioMpsc>(case, procs, n, 0))
            .or_else(|| match case {
                "cond" => Some(each(&Tokio::at_best(procs), n, |on, n| {
                    notify_waiters(on, n, n.div_ceil(5))
                })),
                "close" => {
                    Some(Err("its channel has one receiver; `Notify` is in the row of cond"))
                }
                _ if case.starts_with("mpmc") => Some(Err("its channel has one receiver")),
                _ => everyday::<Tokio>(case, procs, n),
            }),
        "async-executor" => (goroutines::<Smol>(case, procs, n))
            .or_else(|| channels::<AsyncChannel, AsyncChannel>(case, procs, n))
            .or_else(|| crowds::<AsyncChannel>(case, procs, n))
            .or_else(|| selects::<AsyncChannel>(case, procs, n, 0)),
        "flume" => (channels::<FlumeOnTokio, FlumeOnTokio>(case, procs, n))
            .or_else(|| crowds::<FlumeOnTokio>(case, procs, n))
            // Dropped receives break its rendezvous.
            .or_else(|| selects::<FlumeOnTokio>(case, procs, n, 1)),
        "kanal" => (channels::<KanalOnTokio, KanalOnTokio>(case, procs, n))
            .or_else(|| crowds::<KanalOnTokio>(case, procs, n))
            .or_else(|| {
                (case.starts_with("select"))
                    .then_some(Err("a receive that is dropped loses the value it was given"))
            }),
        "crossfire" => {
            crossfire::detect_backoff_cfg();
            (channels::<CrossfireSpsc, CrossfireMpsc>(case, procs, n))
                .or_else(|| crowds::<CrossfireMpmc>(case, procs, n))
                .or_else(|| selects::<CrossfireSpsc>(case, procs, n, 0))
        }
        "may" => Some(coroutines::measure(case, procs, n)),
        _ => None,
    };
    found.unwrap_or(Err(match (contender, case) {
        ("flume" | "kanal" | "crossfire", _) => "a channel only: what it runs on is tokio's",
        (_, "cond") => "has no condition variable",
        (_, "pool_8") => "has no pool",
        _ => "has no such thing",
    }))
}

/// The smallest program of a contender.
pub(crate) fn start(contender: &str, procs: usize) -> bool {
    match contender {
        "gopark" => Gopark::at_best(procs).block_on(async {}),
        "tokio" => Tokio::at_best(procs).block_on(async {}),
        "async-executor" => Smol::at_best(procs).block_on(async {}),
        "may" => coroutines::start(procs),
        _ => return false,
    }
    true
}

/// Runs a case on an executor, and returns the nanoseconds of one operation.
fn each<E: Executor, F>(on: &E, n: u64, case: impl FnOnce(E, u64) -> F) -> Answer
where
    F: Future<Output = (u64, Duration)> + Send + 'static,
{
    let (done, took) = on.block_on(case(on.clone(), n));
    per(took, done)
}

fn goroutines<E: Locks + Timers>(case: &str, procs: usize, n: u64) -> Found {
    let on = &E::at_best(procs);
    Some(match case {
        "spawn_join" => each(on, n, spawn_join::<E>),
        "yield" => each(on, n, yields::<E>),
        "mutex_8" => each(on, n, |on, n| mutex(on, n, 8)),
        "rwmutex_8" => each(on, n, rwmutex::<E>),
        "sleepers" => each(on, n, |on, n| sleepers(on, n, n)),
        _ if case.starts_with("parked_") => {
            Ok(vec![pending::<E, 0>(on.clone(), n as usize) as f64])
        }
        _ => return None,
    })
}

fn everyday<E: Everyday>(case: &str, procs: usize, n: u64) -> Found {
    let on = &E::at_best(procs);
    Some(match case {
        "watch" => each(on, n, E::watch),
        "broadcast" => each(on, n, E::broadcast),
        "oneshot" => each(on, n, E::oneshot),
        "notify" => each(on, n, E::notify),
        "join_set" => each(on, n, E::join_set),
        "once_cell" => each(on, n, E::once_cell),
        "recv_many" => each(on, n, E::recv_many),
        _ => return None,
    })
}

/// With channels for one sender, and with channels for several.
fn channels<C: Channel, Many: Channel<On = C::On, Sender: Clone>>(
    case: &str,
    procs: usize,
    n: u64,
) -> Found {
    let on = &C::On::at_best(procs);
    let late = |beside| {
        let late = lateness::<C>(on.clone(), beside, By::Thread, n as usize);
        let at = |share: f64| late[((n - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        Ok([0.5, 0.99, 0.999].map(at).to_vec())
    };
    Some(match case {
        "ctx_switch" => each(on, n, |on, n| streams::<C>(on, n, 0, 1)),
        "ping_pong" => each(on, n, ping_pong::<C>),
        "ring" => each(on, n, ring::<C>),
        "fan_in" => each(on, n, |on, n| fan_in::<Many>(on, n, 16)),
        "skynet" => {
            let leaves = 10_usize.pow(n.ilog10());
            let (_, took) = on.block_on(skynet::<Many>(on.clone(), 1, leaves));
            per(took, leaves as u64)
        }
        "sieve" => each(on, n, sieve::<C>).map(|nanoseconds| vec![nanoseconds[0] / 1e3]),
        "wake_outside" => per(wake_outside::<C>(on, n), n),
        "beside_hogs" => late(Beside::Hogs),
        "beside_blocker" => late(Beside::Blocked),
        "beside_ping_pong" => late(Beside::PingPong),
        "idle" => Ok(vec![idle::<C>(on, n)]),
        _ => {
            let capacity = case.strip_prefix("spsc_")?.parse().expect("a capacity");
            each(on, n, |on, n| streams::<C>(on, n, capacity, 1))
        }
    })
}

fn crowds<C: Shared>(case: &str, procs: usize, n: u64) -> Found {
    let on = &C::On::at_best(procs);
    if case == "close" {
        return Some(each(on, n, |on, n| close_wakes::<C>(on, n, n)));
    }
    let capacity = case.strip_prefix("mpmc_")?.parse().expect("a capacity");
    Some(each(on, n, |on, n| crowd::<C>(on, n, capacity, 4, 4)))
}

/// `least` is the smallest capacity with which its select does not fail.
fn selects<C: Choosing>(case: &str, procs: usize, n: u64, least: usize) -> Found {
    let on = &C::On::at_best(procs);
    let (channels, rest) =
        case.strip_prefix("select_").map(|name| name.split_once('_').unwrap_or((name, "")))?;
    let stoppable = rest == "stop";
    if stoppable && !C::SENDS_IN_SELECT {
        return Some(Err("not written: its senders just send, as in the rows above"));
    }
    let capacity = rest.parse().unwrap_or(least);
    Some(match channels {
        "2" => each(on, n, |on, n| select_among::<C, 2>(on, n, capacity, stoppable)),
        "4" => each(on, n, |on, n| select_among::<C, 4>(on, n, capacity, stoppable)),
        _ => each(on, n, |on, n| select_among::<C, 16>(on, n, capacity, stoppable)),
    })
}

/// A thread sends, a goroutine receives and unparks the thread. Both sleep while they wait.
fn wake_outside<C: Channel>(on: &C::On, n: u64) -> Duration {
    let (sender, mut receiver) = C::new(1);
    let received = Arc::new(AtomicUsize::new(0));
    let (seen, (tell, told)) = (received.clone(), std::sync::mpsc::channel());
    let outside = thread::spawn(move || {
        tell.send(thread::current()).expect("a receiver waits");
        let start = Instant::now();
        for i in 1..=n as usize {
            assert!(C::send_blocking(&sender, i));
            while seen.load(Ordering::Acquire) != i {
                thread::park();
            }
        }
        start.elapsed()
    });
    let outside_handle = told.recv().expect("it says who it is");
    let receiving = on.clone();
    on.block_on(async move {
        let goroutine = async move {
            while let Some(i) = C::recv(&mut receiver).await.value() {
                received.store(i, Ordering::Release);
                outside_handle.unpark();
            }
        };
        receiving.join(goroutine).await;
    });
    outside.join().expect("does not panic")
}

/// The milliseconds of CPU time in a second in which nothing happens, sampled for this many
/// milliseconds.
fn idle<C: Channel>(on: &C::On, milliseconds: u64) -> f64 {
    let (sender, mut receiver) = C::new(1);
    let watch = thread::spawn(move || {
        // By now everything has started.
        thread::sleep(Duration::from_millis(100));
        let (start, before) = (Instant::now(), cpu_time());
        thread::sleep(Duration::from_millis(milliseconds));
        let busy = (cpu_time() - before).as_secs_f64() * 1e3 / start.elapsed().as_secs_f64();
        C::send_blocking(&sender, 0);
        busy
    });
    on.block_on(async move { C::recv(&mut receiver).await.value() });
    watch.join().expect("does not panic")
}
