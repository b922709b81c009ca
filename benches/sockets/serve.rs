//! `serve KIND CONTENDER PROCS`: prints its port, serves until its standard input ends, then
//! prints what it measured.

use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::contenders::{OnAsyncIo, OnGopark, OnTokio, Sockets, answer};
use crate::common::{AsyncChannel, Channel, Executor, Ours, Received, Sent, compute};

/// The work of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Sends back what it receives.
    Echo,
    /// The same, with a small buffer for each connection.
    Mem,
    /// The same, next to goroutines that compute, and wake themselves.
    Hogs,
    /// The same, next to goroutines that yield in the way that the contender recommends.
    Yields,
    /// The same, next to a ping-pong on channels.
    PingPong,
    /// Greets with a byte, and waits for the end.
    Accept,
    /// hyper's answer of a line.
    Http,
}

const KINDS: [(&str, Kind); 7] = [
    ("echo", Kind::Echo),
    ("mem", Kind::Mem),
    ("hogs", Kind::Hogs),
    ("yields", Kind::Yields),
    ("pingpong", Kind::PingPong),
    ("accept", Kind::Accept),
    ("http", Kind::Http),
];

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = KINDS.iter().find(|(name, _)| *name == word);
        found.map(|(_, kind)| *kind).ok_or_else(|| format!("{word} is no kind of server"))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = KINDS.iter().find(|(_, kind)| kind == self).expect("each has a name");
        f.write_str(name)
    }
}

/// Larger than any message, so that a read that does not fill it has found the end.
const ROOM: usize = 1024;
const LITTLE_ROOM: usize = 128;

const HOGS: usize = 4;
const HOG: Duration = Duration::from_micros(100);

pub(crate) fn serve(kind: Kind, contender: &str, procs: usize) -> Result<(), String> {
    match contender {
        "tokio" => serve_on::<OnTokio>(kind, procs),
        "gopark" => serve_on::<OnGopark>(kind, procs),
        "async-io" => serve_on::<OnAsyncIo<Ours>>(kind, procs),
        "async-executor" => serve_on::<OnAsyncIo<AsyncChannel>>(kind, procs),
        _ => return Err(format!("{contender} is no contender")),
    }
    .map_err(|error| error.to_string())
}

fn serve_on<S: Sockets>(kind: Kind, procs: usize) -> io::Result<()> {
    let on = S::start(procs);
    let spawner = on.clone();
    thread::spawn(|| {
        _ = io::stdin().read_to_end(&mut Vec::new());
        ROUND_TRIPS.print();
        // Tasks that still run need not be stopped and freed.
        std::process::exit(0);
    });
    on.block_on(async move {
        match kind {
            Kind::Hogs => hogs(&spawner, futures_lite::future::yield_now),
            Kind::Yields => hogs(&spawner, S::On::yield_now),
            Kind::PingPong => ping_pong::<S::Channel>(&spawner),
            _ => {}
        }
        let listener = S::listen().await?;
        println!("{}", S::port(&listener)?);
        loop {
            let stream = S::accept(&listener).await?;
            match kind {
                Kind::Http => spawner.go(answer::<S>(stream)),
                Kind::Accept => spawner.go(greet::<S>(stream)),
                Kind::Mem => spawner.go(echo::<S, LITTLE_ROOM>(stream)),
                Kind::Echo | Kind::Hogs | Kind::Yields | Kind::PingPong => {
                    spawner.go(echo::<S, ROOM>(stream))
                }
            }
        }
    })
}

async fn echo<S: Sockets, const ROOM: usize>(mut stream: S::Stream) {
    let mut buffer = [0; ROOM];
    while let Ok(read @ 1..) = S::read(&mut stream, &mut buffer).await {
        ROUND_TRIPS.begin();
        if S::write_all(&mut stream, &buffer[..read]).await.is_err() {
            break;
        }
    }
    ROUND_TRIPS.end();
}

async fn greet<S: Sockets>(mut stream: S::Stream) {
    if S::write_all(&mut stream, &[1]).await.is_ok() {
        _ = S::read(&mut stream, &mut [0]).await;
    }
}

fn hogs<E: Executor, F: Future<Output = ()> + Send>(
    on: &E,
    give_way: impl Fn() -> F + Copy + Send + 'static,
) {
    for _ in 0..HOGS {
        on.go(async move {
            loop {
                compute(HOG);
                give_way().await;
            }
        });
    }
}

fn ping_pong<C: Channel>(on: &C::On) {
    let (mut ping, mut pinged) = C::new(1);
    let (mut pong, mut ponged) = C::new(1);
    on.go(async move {
        while let Some(value) = C::recv(&mut pinged).await.value() {
            if !C::send(&mut pong, value).await.sent() {
                return;
            }
        }
    });
    on.go(async move {
        loop {
            let start = Instant::now();
            if !C::send(&mut ping, 1).await.sent() || C::recv(&mut ponged).await.value().is_none() {
                return;
            }
            ROUND_TRIPS.record(start.elapsed());
        }
    });
}

/// The duration of the round trips of the ping-pong while messages came.
static ROUND_TRIPS: Histogram = Histogram::new();

/// Sixteen buckets for each power of two, in nanoseconds. One goroutine records.
struct Histogram {
    counts: [AtomicU64; Self::LEN],
    open: AtomicBool,
    over: AtomicBool,
}

impl Histogram {
    const STEPS: u64 = 16;
    const LEN: usize = 1024;

    const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; Self::LEN],
            open: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    fn begin(&self) {
        if !self.open.load(Ordering::Relaxed) {
            self.open.store(true, Ordering::Relaxed);
        }
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn record(&self, took: Duration) {
        if !self.open.load(Ordering::Relaxed) || self.over.load(Ordering::Relaxed) {
            return;
        }
        let nanos = (took.as_nanos() as u64).max(Self::STEPS);
        let power = u64::from(nanos.ilog2());
        let step = (nanos >> (power - 4)) % Self::STEPS;
        let count = &self.counts[(power * Self::STEPS + step) as usize % Self::LEN];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The microseconds that this share of all samples did not exceed.
    fn quantile(&self, share: f64) -> Option<f64> {
        let counts: Vec<u64> =
            self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let mut left = (counts.iter().sum::<u64>() as f64 * share) as u64;
        let at = counts.iter().position(|count| {
            let found = left < *count;
            left = left.saturating_sub(*count);
            found
        })? as u64;
        let (power, step) = (at / Self::STEPS, at % Self::STEPS);
        Some(((Self::STEPS + step) << (power - 4)) as f64 / 1e3)
    }

    fn print(&self) {
        for (name, share) in [("pp50", 0.5), ("pp99", 0.99), ("pp99.9", 0.999)] {
            if let Some(micros) = self.quantile(share) {
                println!("{name} {micros}");
            }
        }
    }
}
