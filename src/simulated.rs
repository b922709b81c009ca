//! The differences on a thread that runs a simulation: the clock, where a goroutine gives way, and
//! the operations that leave the simulation.
//!
//! Each hook in the rest of the crate is a line that calls a function of this file, on a path that
//! is already slow. Without the feature `sim`, neither this file nor the hooks exist.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::header::{Header, Reason};

/// An operation that leaves a simulation, so that the seed alone no longer determines what happens.
///
/// # Examples
///
/// ```
/// use gopark::sim::{Config, Outside};
///
/// // The closure of `unblock` runs at once, on the thread of the simulation.
/// Config::new().runs(1).allow(Outside::Unblock).check(|| async {
///     assert_eq!(gopark::unblock(|| 6 * 7).await, 42);
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outside {
    /// A wake by another thread: of the program, of a reactor (a socket, a file, a timer of another
    /// crate), or of a runtime. If it is allowed, a simulation in which nothing else can continue
    /// waits for it.
    Wake,
    /// [`unblock`](crate::unblock). If it is allowed, its closure runs at once.
    Unblock,
    /// [`block_in_place`](crate::block_in_place). If it is allowed, its closure runs as it would
    /// outside a simulation.
    BlockInPlace,
    /// An operation that blocks its thread: `send_blocking`, `lock_blocking` and the like. If it is
    /// allowed, it may block the simulation without end.
    Blocking,
    /// The start of a [`Runtime`](crate::Runtime), or of a goroutine on a runtime that was started
    /// before, through the `Runtime` or its [`Handle`](crate::Handle). If it is allowed, the
    /// goroutines of that runtime run outside the simulation.
    Runtime,
    /// A socket, or another descriptor. If it is allowed, it belongs to the global runtime, and its
    /// readiness is a [`Wake`](Self::Wake).
    Socket,
    /// The use of a channel, a lock, a semaphore, a context, a `WaitGroup`, a `Pool` or the like
    /// that another run has used before: a static, or an object that was created outside the
    /// program's closure. Its state after the other run would influence what happens. A use is a
    /// wait, a channel in a `select!`, or an attempt without a wait (`try_recv`, `try_lock`) on a
    /// channel, a lock or a semaphore. A `Sleep`, a `Timer` and a `Ticker` belong to the run in
    /// which they are created.
    OtherRun,
}

impl Outside {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outside::Wake => "a wake by another thread",
            Outside::Unblock => "unblock",
            Outside::BlockInPlace => "block_in_place",
            Outside::Blocking => "a blocking form",
            Outside::Runtime => "the use of another runtime",
            Outside::Socket => "a socket",
            Outside::OtherRun => "the use of what another run has used",
        })
    }
}

/// An operation that is about to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) site: Option<&'static Location<'static>>,
    pub(crate) reason: Reason,
    /// The goroutine itself polls it, not an executor inside the goroutine.
    pub(crate) is_own: bool,
}

/// The number of CPUs of a simulation.
pub(crate) const CPUS: usize = 4;
/// The virtual time when a simulation begins: programs can refer to that much of the past.
const BEGIN: u64 = 3_600_000_000_000;
/// The value for no virtual time.
const OFF: u64 = u64::MAX;

struct Local {
    /// The virtual time in nanoseconds; [`OFF`] outside a simulation.
    now: Cell<u64>,
    /// Decides whether an operation continues, or its goroutine gives way first.
    goes_on: Cell<fn(Operation) -> bool>,
    /// The bits of each allowed [`Outside`].
    allowed: Cell<u32>,
    gomaxprocs: Cell<usize>,
    /// The number of the simulation; 0 outside a simulation.
    world: Cell<u64>,
    is_quiet: Cell<bool>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            now: Cell::new(OFF),
            goes_on: Cell::new(|_| true),
            allowed: Cell::new(0),
            gomaxprocs: Cell::new(CPUS),
            world: Cell::new(0),
            is_quiet: Cell::new(false),
        }
    };
}

/// A guard: the thread simulates until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered(());

/// Begins a simulation on this thread.
pub(crate) fn enter(goes_on: fn(Operation) -> bool, allowed: &[Outside]) -> Entered {
    LOCAL.with(|l| {
        l.now.set(BEGIN);
        l.goes_on.set(goes_on);
        l.allowed.set(allowed.iter().fold(0, |bits, outside| bits | outside.bit()));
        l.gomaxprocs.set(CPUS);
        l.world.set(WORLDS.fetch_add(1, Ordering::Relaxed));
    });
    Entered(())
}

impl Drop for Entered {
    fn drop(&mut self) {
        LOCAL.with(|l| {
            l.now.set(OFF);
            l.world.set(0);
        });
    }
}

/// Returns the id, in its run, of the goroutine that has this number in the process.
pub(crate) fn in_run(name: u64) -> u64 {
    name % Header::IDS
}

/// The number of the next simulation.
static WORLDS: AtomicU64 = AtomicU64::new(1);

/// Returns the number of this thread's simulation; 0 if it runs none.
pub(crate) fn world() -> u64 {
    LOCAL.with(|l| l.world.get())
}

/// Returns a number that identifies a goroutine of this thread in the whole process; its id is
/// unique only in its simulation.
pub(crate) fn in_process(id: u64) -> u64 {
    // The numbers of a world are reused only after so many others that nothing of it is left.
    world().wrapping_mul(Header::IDS).wrapping_add(id)
}

/// Returns true on a thread that runs a simulation.
pub(crate) fn is_on() -> bool {
    now().is_some()
}

/// Returns the virtual time in nanoseconds.
#[inline(always)]
pub(crate) fn now() -> Option<u64> {
    let now = LOCAL.with(|l| l.now.get());
    if now == OFF { None } else { Some(now) }
}

/// Sets the virtual time.
pub(crate) fn set_now(nanos: u64) {
    LOCAL.with(|l| l.now.set(nanos.min(OFF - 1)));
}

/// Returns whether an operation of a goroutine of the simulation continues, instead of giving way.
pub(crate) fn goes_on(operation: Operation) -> bool {
    LOCAL.with(|l| l.goes_on.get())(operation)
}

/// Returns true if that operation may leave the simulation.
pub(crate) fn allows(outside: Outside) -> bool {
    LOCAL.with(|l| l.allowed.get()) & outside.bit() != 0
}

/// Must be called by an operation before it leaves the simulation. Returns true in a simulation
/// that allows it, and false outside a simulation. Panics if the simulation does not allow it.
#[track_caller]
pub(crate) fn leaves(outside: Outside) -> bool {
    leaves_at(outside, Location::caller())
}

/// As [`leaves`], for an operation that was called at `site`.
pub(crate) fn leaves_at(outside: Outside, site: &Location<'_>) -> bool {
    is_on() && {
        assert!(allows(outside), "{}", Leaving(outside, Some(site)));
        true
    }
}

/// The number of the last simulation that used an object; 0 if there is none.
#[derive(Debug)]
pub(crate) struct User(AtomicU64);

impl User {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Forgets the simulation: the object is a new one.
    #[cfg(feature = "net")]
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Records that this simulation uses the object at `site`; if the use is a wait, it has a
    /// `reason`.
    pub(crate) fn set(&self, site: Option<&Location<'_>>, reason: Option<Reason>) {
        let user = self.0.swap(world(), Ordering::Relaxed);
        if user != 0 && user != world() && !allows(Outside::OtherRun) {
            let leaving = Leaving(Outside::OtherRun, site);
            match reason {
                Some(reason) => panic!("{leaving} ({reason})"),
                None => panic!("{leaving}"),
            }
        }
    }
}

/// The text of the panic of an operation that is not allowed.
pub(crate) struct Leaving<'a>(pub(crate) Outside, pub(crate) Option<&'a Location<'a>>);

impl fmt::Display for Leaving<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(outside, site) = self;
        write!(f, "gopark: {outside} leaves the simulation")?;
        site.map_or(Ok(()), |site| write!(f, ", at {site}"))?;
        write!(f, ": `Config::allow(Outside::{outside:?})` permits it")
    }
}

/// Returns the result of `gomaxprocs(n)` in a simulation, where it has no other effect.
pub(crate) fn gomaxprocs(n: usize) -> Option<usize> {
    now().map(|_| LOCAL.with(|l| if n == 0 { l.gomaxprocs.get() } else { l.gomaxprocs.replace(n) }))
}

/// Sets whether panics on this thread are not printed. Returns the previous setting.
pub(crate) fn set_quiet(is_quiet: bool) -> bool {
    LOCAL.with(|l| l.is_quiet.replace(is_quiet))
}

/// Returns true if panics on this thread must not be printed, because a failure is simulated again.
pub(crate) fn is_quiet() -> bool {
    LOCAL.with(|l| l.is_quiet.get())
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
