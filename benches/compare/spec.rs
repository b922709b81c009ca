//! The contenders and the cases. Other files refer to them by name.

use std::fmt;

/// The columns, gopark first, then its peers. For what `kanal`, `flume` and `crossfire` lack, tokio
/// is used.
pub(crate) const CONTENDERS: [&str; 8] =
    ["gopark", "tokio", "async-executor", "flume", "kanal", "crossfire", "may", "go"];

/// The unit of a figure. Less is always better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    MillisecondsPerSecond,
    Seconds,
    Bytes,
    Crates,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::MillisecondsPerSecond => "ms/s",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::Crates => "crates",
        })
    }
}

/// The way in which a figure is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum How {
    /// By a process that runs the case and prints its figures, at each number of processors.
    Run,
    /// By a server and a client of `../sockets`, at each number of processors. `n` is the duration
    /// in milliseconds.
    Sockets,
    /// By timing a process that starts, does nothing, and ends; at each number of processors.
    Start,
    /// By a build of the smallest program, once.
    Build,
}

#[derive(Debug)]
pub(crate) struct Case {
    /// Also the name of the chart that contains it.
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    /// One operation of the case, for readers of the table.
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    /// The figures that one measurement returns; one without a name is the main one.
    pub(crate) parts: &'static [&'static str],
    pub(crate) how: How,
    pub(crate) n: u64,
    pub(crate) quick: u64,
}

const ONE: &[&str] = &[""];
const LATENESS: &[&str] = &["p50", "p99", "p99.9"];

const fn case(
    group: &'static str,
    name: &'static str,
    title: &'static str,
    n: u64,
    quick: u64,
) -> Case {
    Case { group, name, title, unit: Unit::Nanoseconds, parts: ONE, how: How::Run, n, quick }
}

impl Case {
    const fn of(mut self, unit: Unit, parts: &'static [&'static str], how: How) -> Self {
        (self.unit, self.parts, self.how) = (unit, parts, how);
        self
    }

    const fn bytes(self) -> Self {
        self.of(Unit::Bytes, ONE, How::Run)
    }

    const fn sockets(self) -> Self {
        self.of(Unit::Microseconds, ONE, How::Sockets)
    }

    const fn late(self) -> Self {
        self.of(Unit::Microseconds, LATENESS, How::Run)
    }
}

/// In the order of the table. The names are part of the command line, of `run` in `contenders.rs`
/// and `coroutines.rs`, and of the program in `../go/compare`; those of `net` are in
/// `../sockets/cases.rs`. `ctx_switch` is what would be
/// `spsc_0`.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    case("goroutines", "ctx_switch", "context switch: a message, 1 to 1, unbuffered",
        1_000_000, 2_000),
    case("goroutines", "ping_pong", "ping-pong: a round trip", 250_000, 2_000),
    case("goroutines", "ring", "ring of 1 000: a hop", 500_000, 5_000),
    case("goroutines", "yield", "yield among 100", 3_000_000, 5_000),
    case("goroutines", "spawn_join", "spawn and join", 100_000, 2_000),
    case("goroutines", "skynet", "skynet, 100 000 leaves: a leaf", 100_000, 1_000),
    case("goroutines", "sieve", "prime sieve: a prime of the first 1 000", 1_000, 50)
        .of(Unit::Microseconds, ONE, How::Run),
    case("goroutines", "wake_outside", "a thread sends, a goroutine receives and unparks it",
        20_000, 100),
    case("channels", "spsc_1", "1 to 1, capacity 1: a message", 500_000, 2_000),
    case("channels", "spsc_10", "1 to 1, capacity 10", 2_000_000, 2_000),
    case("channels", "spsc_128", "1 to 1, capacity 128", 4_000_000, 4_000),
    case("channels", "mpmc_0", "4 to 4, unbuffered: a message", 250_000, 2_000),
    case("channels", "mpmc_1", "4 to 4, capacity 1", 250_000, 2_000),
    case("channels", "mpmc_10", "4 to 4, capacity 10", 1_000_000, 2_000),
    case("channels", "mpmc_128", "4 to 4, capacity 128", 2_000_000, 4_000),
    case("channels", "fan_in", "100 to 1, capacity 16", 1_000_000, 2_000),
    case("channels", "close", "close wakes 50 000: one of them", 50_000, 500),
    case("select", "select_2", "select over 2, unbuffered: a message", 125_000, 1_000),
    case("select", "select_4", "select over 4", 125_000, 1_000),
    case("select", "select_16", "select over 16", 62_500, 1_000),
    case("select", "select_4_stop", "select over 4 of what selects against a stop as it sends",
        125_000, 1_000),
    case("select", "select_2_64", "select over 2, capacity 64: a message", 1_000_000, 1_000),
    case("select", "select_4_64", "select over 4, capacity 64", 1_000_000, 1_000),
    case("select", "select_16_64", "select over 16, capacity 64", 500_000, 1_000),
    case("sync", "mutex_8", "mutex, 8 goroutines: lock and unlock", 5_000_000, 4_000),
    case("sync", "rwmutex_8", "rwmutex, 8 goroutines, 1 % writes", 3_000_000, 4_000),
    case("sync", "cond", "cond broadcast to 10 000: one of them", 50_000, 500),
    case("sync", "pool_8", "pool, 8 goroutines: get and put", 5_000_000, 4_000),
    case("sync", "sleepers", "100 000 sleeps of 0–99 ms: a sleep", 100_000, 500),
    case("everyday", "watch", "two watches: a round trip", 250_000, 2_000),
    case("everyday", "broadcast", "broadcast to 4: a value received", 2_000_000, 4_000),
    case("everyday", "oneshot", "a request by a channel, its answer by a oneshot", 250_000, 2_000),
    case("everyday", "notify", "two `Notify`: a round trip", 250_000, 2_000),
    case("everyday", "join_set", "join set of 1 000: start and join", 200_000, 2_000),
    case("everyday", "once_cell", "a look at a once cell that is set", 10_000_000, 2_000),
    case("everyday", "recv_many", "1 to 1, capacity 128, as many as there are: a message",
        2_000_000, 4_000),
    case("memory", "parked_10", "a parked goroutine, of 10", 10, 10).bytes(),
    case("memory", "parked_100", "of 100", 100, 100).bytes(),
    case("memory", "parked_1000", "of 1 000", 1_000, 1_000).bytes(),
    case("memory", "parked_10000", "of 10 000", 10_000, 2_000).bytes(),
    case("memory", "parked_100000", "of 100 000", 100_000, 4_000).bytes(),
    case("lateness", "beside_hogs", "beside four that compute 3 ms", 1_000, 20).late(),
    case("lateness", "beside_blocker", "beside one that blocks 50 ms", 1_000, 20).late(),
    case("lateness", "beside_ping_pong", "beside a ping-pong pair", 1_000, 20).late(),
    case("net", "http_64", "HTTP, 64 connections: a request", 600, 20).sockets(),
    case("net", "echo_1", "echo of 64 bytes, one connection: a request", 600, 20).sockets(),
    case("net", "echo_100", "echo, 100 connections", 600, 20).sockets(),
    case("net", "echo_1000", "echo, 1 000 connections", 600, 20).sockets(),
    case("net", "accept_16", "accept and greet, 16 connections at a time: one of them", 600, 20)
        .sockets(),
    case("net", "parked_8000", "a parked connection, of 8 000", 600, 20)
        .of(Unit::Bytes, ONE, How::Sockets),
    case("program", "idle", "CPU of an idle runtime", 1_000, 50)
        .of(Unit::MillisecondsPerSecond, ONE, How::Run),
    case("program", "start", "a program that does nothing, start to exit", 20, 2)
        .of(Unit::Milliseconds, ONE, How::Start),
    case("program", "size", "its size", 1, 1).of(Unit::Bytes, ONE, How::Build),
    case("program", "crates", "its dependencies, with theirs", 1, 1)
        .of(Unit::Crates, ONE, How::Build),
    case("program", "compile", "its build from nothing", 1, 1).of(Unit::Seconds, ONE, How::Build),
];

/// Those with one of the words in their name or group; all, if there are no words.
pub(crate) fn wanted(words: &[String]) -> Vec<&'static Case> {
    let fits = |case: &&Case| {
        words.is_empty() || words.iter().any(|word| case.name.contains(word) || case.group == *word)
    };
    CASES.iter().filter(fits).collect()
}
