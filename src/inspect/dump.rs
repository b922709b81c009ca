//! [`goroutines`] and [`dump`]: all goroutines, one by one or in groups.

use std::collections::HashMap;
use std::io;
use std::panic::Location;
use std::time::Instant;

use super::info::{self, Age, GoroutineInfo, GoroutineState, Site};
use crate::executor::Executor;
use crate::header::WaitReason;

/// Returns all goroutines of all runtimes, in the order of their ids. Go: `runtime.Stack(buf,
/// true)`, as data.
///
/// A goroutine that is alive during the whole call is in the list once, whether it is running,
/// runnable or waiting. A goroutine that starts or ends during the call may be in it. Each is shown
/// as it was at some moment of the call. There is one exception: a goroutine that was woken just
/// before the call may still be shown as waiting, if it is moved between queues during the call. No
/// goroutine is stopped. The call may be made on any thread, inside and outside of goroutines, and
/// in a panic hook. A forked process has no goroutines.
///
/// It takes about a microsecond per goroutine. For a million goroutines use [`dump`], which stores
/// groups only.
///
/// # Examples
///
/// ```
/// use gopark::inspect::{self, GoroutineState, WaitReason};
///
/// gopark::block_on(async {
///     let (tx, rx) = gopark::chan::unbuffered::<u8>();
///     let receiver = gopark::go(async move { rx.recv().await });
///     let receives = |state| {
///         matches!(state, GoroutineState::Waiting { reason: WaitReason::ChanReceive, .. })
///     };
///     while !inspect::goroutines().iter().any(|goroutine| receives(goroutine.state)) {
///         gopark::gosched().await;
///     }
///     drop(tx);
///     receiver.await.unwrap();
/// });
/// ```
#[must_use]
pub fn goroutines() -> Vec<GoroutineInfo> {
    info::collect(Executor::all())
}

/// What the goroutines of a group have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) at: Option<&'static Location<'static>>,
    pub(super) does: Doing,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Runs,
    CanRun,
    Waits(WaitReason),
}

/// Goroutines that were spawned at one place, and wait for the same at one place.
pub(super) struct Group {
    pub(super) count: usize,
    pub(super) first: GoroutineInfo,
    /// The earliest and the latest time at which one of them began to wait.
    pub(super) since: Option<(Instant, Instant)>,
}

/// Groups of goroutines, the largest first.
#[derive(Default)]
pub(super) struct Groups(HashMap<Key, Group>);

impl Groups {
    pub(super) fn add(&mut self, goroutine: GoroutineInfo) {
        let (does, at, since) = match goroutine.state {
            GoroutineState::Running => (Doing::Runs, None, None),
            GoroutineState::Runnable => (Doing::CanRun, None, None),
            GoroutineState::Waiting { reason, at, since, .. } => {
                (Doing::Waits(reason), at, Some((since, since)))
            }
        };
        let key = Key { spawned_at: goroutine.spawned_at, at, does };
        let group =
            self.0.entry(key).or_insert_with(|| Group { count: 0, first: goroutine, since });
        group.count += 1;
        if let (Some((first, last)), Some((since, _))) = (&mut group.since, since) {
            (*first, *last) = (since.min(*first), since.max(*last));
        }
    }

    pub(super) fn into_sorted(self) -> Vec<(Key, Group)> {
        let mut groups: Vec<_> = self.0.into_iter().collect();
        groups.sort_by_key(|(_, group)| (std::cmp::Reverse(group.count), group.first.id));
        groups
    }
}

/// The maximum number of groups that a dump has lines for.
const LINES: usize = 96;

/// Writes all goroutines of all runtimes, in groups. Go: SIGQUIT, or the goroutine profile.
///
/// The goroutines of a group were spawned at one place, and wait for the same at one place. The
/// largest group comes first, and there are at most a hundred lines. The text is for people, and
/// may change.
///
/// # Errors
///
/// The errors of `out`.
///
/// # Examples
///
/// ```
/// gopark::block_on(async {
///     let (_tx, rx) = gopark::chan::unbuffered::<u8>();
///     for _ in 0..3 {
///         let rx = rx.clone();
///         gopark::go(async move { rx.recv().await });
///     }
///     let mut text = Vec::new();
///     while !String::from_utf8_lossy(&text).contains("3 goroutines [chan receive, ") {
///         gopark::gosched().await;
///         text.clear();
///         gopark::inspect::dump(&mut text).unwrap();
///     }
/// });
/// ```
pub fn dump(out: &mut dyn io::Write) -> io::Result<()> {
    let mut groups = Groups::default();
    let (mut goroutines, mut runtimes) = (0, 0);
    for executor in Executor::all() {
        let mains = info::mains(executor);
        runtimes += 1;
        executor.census(|seen| {
            goroutines += 1;
            groups.add(GoroutineInfo::new(&seen, &mains));
        });
    }
    writeln!(out, "gopark: goroutines: {goroutines}, runtimes: {runtimes}")?;
    let groups = groups.into_sorted();
    for (key, group) in groups.iter().take(LINES) {
        write_group(out, *key, group)?;
    }
    let rest = groups.iter().skip(LINES).map(|(_, group)| group.count);
    if rest.len() > 0 {
        writeln!(
            out,
            "and {} more goroutines in {} groups",
            rest.clone().sum::<usize>(),
            rest.len()
        )?;
    }
    out.flush()
}

fn write_group(out: &mut dyn io::Write, key: Key, group: &Group) -> io::Result<()> {
    if group.count == 1 {
        return writeln!(out, "{}", group.first);
    }
    write!(out, "{} goroutines [", group.count)?;
    match (key.does, group.since) {
        (Doing::Runs, _) => write!(out, "running")?,
        (Doing::CanRun, _) => write!(out, "runnable")?,
        (Doing::Waits(reason), None) => write!(out, "{reason}")?,
        (Doing::Waits(reason), Some((first, last))) => {
            write!(out, "{reason}, {} to {}", Age::of(last), Age::of(first))?;
        }
    }
    write!(out, "]")?;
    if let Some(at) = key.at {
        write!(out, " at {}", Site(at))?;
    }
    writeln!(out, ", spawned at {}", Site(key.spawned_at))
}
