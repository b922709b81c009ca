//! [`GoroutineInfo`]: what is known of a goroutine, and its line in a report.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::named;
use crate::chan::record::{self, ChannelInfo};
use crate::clock;
use crate::executor::Executor;
use crate::executor::census::{Does, Kept, Seen};
use crate::header::{Keeper, SINCE_BITS, WaitReason};
use crate::holders::{self, Holder};
use crate::ids::GoroutineId;
#[cfg(feature = "net")]
use crate::sources::SocketInfo;

/// A goroutine, as [`goroutines`](super::goroutines) found it. It prints as its line in a report.
///
/// # Examples
///
/// ```
/// use gopark::inspect;
///
/// gopark::block_on(async {
///     gopark::go(inspect::named("worker", std::future::pending::<()>()));
///     let worker = loop {
///         let all = inspect::goroutines();
///         let mut waiting = all.into_iter().filter(|goroutine| goroutine.is_waiting());
///         match waiting.next() {
///             Some(worker) => break worker,
///             None => gopark::gosched().await,
///         }
///     };
///     assert_eq!(worker.name.as_deref(), Some("worker"));
///     // goroutine 2 "worker" [foreign future, 0.0 s], spawned at src/main.rs:4
///     println!("{worker}");
/// });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GoroutineInfo {
    /// The goroutine's id.
    pub id: GoroutineId,
    /// The name that [`named`](super::named) gave it.
    pub name: Option<Arc<str>>,
    /// True for the main of a [`block_on`](crate::block_on).
    pub is_main: bool,
    /// The call that started it.
    pub spawned_at: &'static Location<'static>,
    /// Its runtime.
    pub runtime: RuntimeId,
    /// Whether it is running, runnable or waiting.
    pub state: GoroutineState,
    /// The holders of the lock that it waits for, if locks are [recorded](super#gopark_debug).
    pub held_by: Vec<LockHolder>,
    /// The channel that it waits for, as it was at one moment.
    ///
    /// `None` unless channels are [recorded](super#gopark_debug). Also `None` in a `select!`, for a
    /// main of [`block_on_local`](crate::block_on_local), and if 64 others wait in front of it.
    pub channel: Option<ChannelInfo>,
    /// The internet socket that it waits for.
    ///
    /// `None` in a `select!` with other waiting cases, and if 64 others wait in front of it.
    #[cfg(feature = "net")]
    pub socket: Option<SocketInfo>,
    pub(super) keeper: Keeper,
}

/// A holder of a lock.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use gopark::inspect;
/// use gopark::sync::Mutex;
///
/// gopark::block_on(async {
///     let mutex = Arc::new(Mutex::new(0));
///     let guard = mutex.lock().await;
///     gopark::go!([mutex] async { *mutex.lock().await += 1 });
///     while !inspect::goroutines().iter().any(|goroutine| goroutine.is_waiting()) {
///         gopark::gosched().await;
///     }
///     for holder in inspect::goroutines().iter().flat_map(|goroutine| &goroutine.held_by) {
///         assert!(holder.goroutine.is_some());
///         // held by goroutine 1, locked at src/main.rs:8
///         println!("held by {holder}");
///     }
///     drop(guard);
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockHolder {
    /// The goroutine that acquired it; `None` for a thread.
    pub goroutine: Option<GoroutineId>,
    /// The call that acquired it.
    pub locked_at: &'static Location<'static>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.goroutine {
            Some(goroutine) => goroutine.fmt(f)?,
            None => f.write_str("a thread")?,
        }
        write!(f, ", locked at {}", Site(self.locked_at))
    }
}

/// Whether a goroutine is running, runnable or waiting.
///
/// # Examples
///
/// ```
/// use gopark::inspect::{self, GoroutineState};
///
/// gopark::block_on(async {
///     let all = inspect::goroutines();
///     // This one.
///     assert!(all.iter().any(|goroutine| goroutine.state == GoroutineState::Running));
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GoroutineState {
    /// A worker polls it, or it runs as a blocking call.
    Running,
    /// It waits for a worker.
    Runnable,
    /// It is parked.
    #[non_exhaustive]
    Waiting {
        /// What it waits for.
        reason: WaitReason,
        /// The call of the operation. `None` for a future of another crate.
        at: Option<&'static Location<'static>>,
        /// When it began to wait, rounded to 67 ms.
        since: Instant,
        /// True if several operations have parked in its last poll, so it may wait for another one
        /// too.
        also_elsewhere: bool,
    },
}

/// Identifies a runtime within the process.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
///
/// use gopark::inspect::{self, RuntimeId};
///
/// gopark::block_on(async {
///     let mut goroutines: BTreeMap<RuntimeId, usize> = BTreeMap::new();
///     for goroutine in inspect::goroutines() {
///         *goroutines.entry(goroutine.runtime).or_default() += 1;
///     }
///     assert_eq!(goroutines.len(), 1);
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuntimeId(u64);

impl fmt::Display for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runtime {}", self.0)
    }
}

impl GoroutineInfo {
    pub(super) fn new(seen: &Seen, mains: &HashSet<u64>) -> Self {
        Self {
            id: GoroutineId(seen.id),
            name: named::name_of(seen.id),
            is_main: mains.contains(&seen.id),
            spawned_at: seen.spawned_at,
            runtime: RuntimeId(seen.executor.number()),
            state: state_of(seen),
            held_by: if holders::is_on() { held_by(seen) } else { Vec::new() },
            channel: None,
            #[cfg(feature = "net")]
            socket: None,
            keeper: seen.keeper,
        }
    }

    /// As [`new`](Self::new), but shows a goroutine that has been woken as still waiting.
    pub(super) fn before_wake(mut seen: Seen, mains: &HashSet<u64>) -> Self {
        if seen.does == Does::CanRun && seen.note.is_some() {
            seen.does = Does::Waits;
        }
        Self::new(&seen, mains)
    }

    /// Returns true if the goroutine is parked.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     assert!(gopark::inspect::goroutines().iter().any(|goroutine| !goroutine.is_waiting()));
    /// });
    /// ```
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, GoroutineState::Waiting { .. })
    }
}

fn held_by(seen: &Seen) -> Vec<LockHolder> {
    if seen.does != Does::Waits || !seen.note.is_some_and(|note| note.reason.is_lock()) {
        return Vec::new();
    }
    let holder = |holder: Holder| LockHolder {
        goroutine: (holder.goroutine != 0).then_some(GoroutineId(holder.goroutine)),
        locked_at: holder.locked_at,
    };
    holders::before(seen.id).into_iter().map(holder).collect()
}

fn state_of(seen: &Seen) -> GoroutineState {
    let since = |epoch| {
        let now = clock::now();
        now.checked_sub(clock::age_of(epoch, SINCE_BITS)).unwrap_or(now)
    };
    let (reason, at, epoch, also_elsewhere) = match (seen.does, seen.note) {
        (Does::Runs, _) => return GoroutineState::Running,
        (Does::Waits, Some(note)) => (note.reason, note.site, note.since, note.elsewhere),
        (Does::WaitsElsewhere { since }, _) => (WaitReason::Foreign, None, since, false),
        (Does::CanRun | Does::Waits, _) => return GoroutineState::Runnable,
    };
    GoroutineState::Waiting { reason, at, since: since(epoch), also_elsewhere }
}

/// A call site, as reports print it.
pub(super) struct Site(pub(super) &'static Location<'static>);

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.file(), self.0.line())
    }
}

/// An age, as reports print it.
pub(super) struct Age(Duration);

impl Age {
    pub(super) fn of(since: Instant) -> Self {
        Self(clock::now().saturating_duration_since(since))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

impl fmt::Display for GoroutineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)?;
        if self.is_main {
            f.write_str(" (main)")?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        match self.state {
            GoroutineState::Running => f.write_str(" [running]")?,
            GoroutineState::Runnable => f.write_str(" [runnable]")?,
            GoroutineState::Waiting { reason, at, since, also_elsewhere } => {
                let elsewhere = if also_elsewhere { ", and more" } else { "" };
                write!(f, " [{reason}, {}{elsewhere}]", Age::of(since))?;
                if let Some(at) = at {
                    write!(f, " at {}", Site(at))?;
                }
            }
        }
        #[cfg(feature = "net")]
        match self.socket {
            Some(SocketInfo { peer: Some(peer), .. }) => write!(f, ", peer {peer}")?,
            Some(SocketInfo { local: Some(local), .. }) => write!(f, ", local {local}")?,
            _ => {}
        }
        write!(f, ", spawned at {}", Site(self.spawned_at))
    }
}

/// Returns the goroutines of the given runtimes, in the order of their ids.
pub(super) fn collect(executors: impl Iterator<Item = &'static Executor>) -> Vec<GoroutineInfo> {
    collect_seen(executors, |_| ())
}

/// As [`collect`], in a process whose threads are all parked or blocked: a goroutine that is being
/// polled waits for what blocks its thread.
pub(super) fn collect_blocked(
    executors: impl Iterator<Item = &'static Executor>,
) -> Vec<GoroutineInfo> {
    collect_seen(executors, |seen| {
        if seen.does == Does::Runs && seen.note.is_some() {
            seen.does = Does::Waits;
        }
    })
}

fn collect_seen(
    executors: impl Iterator<Item = &'static Executor>,
    correct: impl Fn(&mut Seen),
) -> Vec<GoroutineInfo> {
    let (mut all, mut tasks) = (Vec::new(), HashMap::new());
    #[cfg(feature = "net")]
    let mut sockets = Vec::new();
    for executor in executors {
        #[cfg(feature = "net")]
        executor
            .each_socket(|socket, tasks| sockets.extend(tasks.iter().map(|task| (*task, socket))));
        let mains = mains(executor);
        executor.census(|mut seen| {
            correct(&mut seen);
            all.push(GoroutineInfo::new(&seen, &mains));
            if let Some(task) = seen.task {
                tasks.insert(task.address(), (all.len() - 1, task));
            }
        });
    }
    if !tasks.is_empty() {
        add_channels(&mut all, &tasks);
        #[cfg(feature = "net")]
        add_sockets(&mut all, &tasks, sockets);
    }
    all.sort_unstable_by_key(|goroutine| goroutine.id);
    all
}

/// Adds the channel that each goroutine waits for. `tasks` maps the address of a task to the
/// goroutine's index.
fn add_channels(all: &mut [GoroutineInfo], tasks: &HashMap<usize, (usize, Kept)>) {
    // The goroutines with operations on several channels, of which the last poll polled only one.
    let mut in_several = Vec::new();
    record::each_waited_for(|channel, waiters| {
        let receivers = waiters.receivers().iter().map(|task| (task, WaitReason::ChanReceive));
        let senders = waiters.senders().iter().map(|task| (task, WaitReason::ChanSend));
        for (task, its) in receivers.chain(senders) {
            let Some((at, _)) = tasks.get(task) else { continue };
            let waits = |state| {
                matches!(
                    state,
                    GoroutineState::Waiting { reason, also_elsewhere: false, .. } if reason == its
                )
            };
            if waits(all[*at].state) && all[*at].channel.replace(channel).is_some() {
                in_several.push(*at);
            }
        }
    });
    in_several.into_iter().for_each(|at| all[at].channel = None);
}

/// Adds the socket that each goroutine waits for.
#[cfg(feature = "net")]
fn add_sockets(
    all: &mut [GoroutineInfo],
    tasks: &HashMap<usize, (usize, Kept)>,
    sockets: Vec<(usize, SocketInfo)>,
) {
    for (task, socket) in sockets {
        let Some((at, _)) = tasks.get(&task) else { continue };
        if matches!(
            all[*at].state,
            GoroutineState::Waiting { reason: WaitReason::Io, also_elsewhere: false, .. }
        ) {
            all[*at].socket = Some(socket);
        }
    }
}

/// Returns the goroutines of the runtime with this number, if it is still alive.
pub(super) fn collect_of(number: u64) -> Vec<GoroutineInfo> {
    let mut all = collect(Executor::all().filter(|executor| executor.number() == number));
    // The executor may run another runtime by now.
    all.retain(|goroutine| goroutine.runtime.0 == number);
    all
}

/// Returns the ids of the goroutines that are mains.
pub(super) fn mains(executor: &Executor) -> HashSet<u64> {
    let mut mains = HashSet::new();
    executor.block_on_calls().each(|main| _ = mains.insert(main));
    mains
}
