//! Decides whether the goroutines of the process are deadlocked, and reports it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use super::info::{self, GoroutineInfo, GoroutineState};
use crate::blocked::Blocked;
use crate::clock::Time;
use crate::crash::OnDeadlock;
use crate::debug::{Action, settings};
use crate::executor::Executor;
use crate::header::{Keeper, WaitReason};
use crate::holders;
use crate::ids::GoroutineId;
use crate::panics::lock;
use crate::platform;
use crate::threads;
use crate::timer::driver;

/// The first line of the report. Go: "fatal error: all goroutines are asleep - deadlock!".
const HEAD: &str = "gopark: all goroutines are asleep";
/// The maximum number of goroutines that a report has lines for.
const LINES: usize = 1000;

/// Called when a runtime has been at rest for a second. If all goroutines of the process wait for
/// each other, reports it, once.
pub(crate) fn judge() {
    // Only one monitor judges at a time: it asks goroutines, and another one would not see the
    // answers.
    static IS_JUDGING: AtomicBool = AtomicBool::new(false);
    if !IS_JUDGING.swap(true, Ordering::Acquire) {
        judge_alone();
        IS_JUDGING.store(false, Ordering::Release);
    }
}

fn judge_alone() {
    let Some(rest) = Rest::of_all() else { return };
    let policies: Vec<_> =
        rest.calling.iter().map(|(_, policy)| from_environment().unwrap_or(*policy)).collect();
    let asks = policies.contains(&OnDeadlock::Report);
    let closed = is_closed(&rest);
    let is_known = LAST.load(Ordering::Relaxed) >= rest.since.as_nanos();
    if is_known
        || !closed && (!asks || rest.is_polled)
        || policies.iter().all(|policy| *policy == OnDeadlock::Ignore)
    {
        return;
    }
    let mut goroutines = info::collect_blocked(Executor::all());
    {
        let answers = lock(&ANSWERS);
        for goroutine in goroutines.iter_mut().filter(|goroutine| has_answered(goroutine)) {
            goroutine.state = before_answer(goroutine.state, answers.get(&goroutine.id));
        }
    }
    // A main that is missing is about to enter its runtime, or its thread is about to return from
    // `block_on`.
    let mains = goroutines.iter().filter(|goroutine| goroutine.is_main).count();
    if closed && goroutines.iter().all(|goroutine| waits_for_us(goroutine) || is_asked(goroutine)) {
        let asked =
            goroutines.iter().filter(|goroutine| is_asked(goroutine) || has_answered(goroutine));
        let before = asked.map(|goroutine| (goroutine.id, goroutine.state)).collect();
        if Executor::all().filter(|executor| executor.ask_for_keepers()).count() != 0 {
            *lock(&ANSWERS) = before;
            // They are judged again when everything is at rest again.
            return;
        }
    }
    let is_proved = closed && goroutines.iter().all(waits_for_us);
    // When the goroutines were asked, nothing outside could wake them. So an answer has started a
    // thread, or waits for a descriptor.
    if !closed && Executor::all().filter(|executor| executor.rest_begins_anew()).count() != 0 {
        return;
    }
    if mains < rest.mains
        || !is_proved && !asks
        || Rest::of_all()
            .is_none_or(|now| (now.since, now.blocked) != (rest.since, rest.blocked))
        // A thread of this crate counts before it is started. So one that was being started could
        // take the place of another one that runs: the second count is of the same threads.
        || is_proved && !is_closed(&rest)
        // The monitor of another runtime has reported this rest already.
        || LAST.fetch_max(rest.since.as_nanos(), Ordering::Relaxed) >= rest.since.as_nanos()
    {
        return;
    }
    let text = report(&goroutines, is_proved);
    // Ignored because stderr may be closed.
    let _ = io::stderr().write_all(text.as_bytes());
    if is_proved {
        for ((executor, _), _) in
            rest.calling.iter().zip(&policies).filter(|(_, policy)| **policy == OnDeadlock::Crash)
        {
            let mains = info::mains(executor);
            if let Some(main) = goroutines.iter().find(|goroutine| mains.contains(&goroutine.id.0))
            {
                executor.deadlocked(main.id.0, main.spawned_at, text.clone());
            }
        }
    }
}

/// Returns true if nothing outside of this crate can wake a task: every other thread is blocked,
/// and no task waits for a descriptor. The note of a goroutine that waits for several things may
/// not show the descriptor.
fn is_closed(rest: &Rest) -> bool {
    platform::count_threads() == Some(threads::count() + rest.blocked.others)
        && !Executor::all().any(Executor::waits_for_events)
}

/// Returns the policy of `GOPARK_DEBUG`, if it sets one.
fn from_environment() -> Option<OnDeadlock> {
    Some(match settings().deadlock? {
        Action::Off => OnDeadlock::Ignore,
        Action::Report => OnDeadlock::Report,
        Action::Crash => OnDeadlock::Crash,
    })
}

/// The time at which the last reported rest began.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The state in which all runtimes are at rest.
struct Rest {
    /// The time at which the last runtime came to rest.
    since: Time,
    /// The runtimes with calls of `block_on`, and their policies.
    calling: Vec<(&'static Executor, OnDeadlock)>,
    /// The number of calls of `block_on`.
    mains: usize,
    blocked: Blocked,
    /// The thread of a `block_on_local` is in a poll. It is blocked if all threads are.
    is_polled: bool,
}

impl Rest {
    /// Returns `None` if anything runs, or is about to, or if no call of `block_on` waits.
    fn of_all() -> Option<Self> {
        let blocked = Blocked::count();
        let mut since = Time::PAST;
        let (mut calling, mut mains, mut unparked) = (Vec::new(), 0, 0);
        let mut is_polled = false;
        if !driver::is_at_rest() {
            return None;
        }
        for executor in Executor::all() {
            let at_rest = executor.at_rest()?;
            since = since.max(at_rest.since);
            unparked += at_rest.unparked;
            is_polled |= at_rest.is_polled;
            calling
                .extend(executor.block_on_calls().on_deadlock().map(|policy| (executor, policy)));
            executor.block_on_calls().each(|_| mains += 1);
        }
        // Otherwise a job runs.
        let is_quiet = unparked == blocked.workers && !calling.is_empty();
        is_quiet.then_some(Self { since, calling, mains, blocked, is_polled })
    }
}

/// The goroutines that have been asked whether their wakers were cloned, with their states before
/// that: the answer is a poll, which changes the state.
static ANSWERS: LazyLock<Mutex<HashMap<GoroutineId, GoroutineState>>> =
    LazyLock::new(Mutex::default);

/// True if the goroutine must be asked whether its waker was cloned.
fn is_asked(goroutine: &GoroutineInfo) -> bool {
    let is_foreign = |reason| reason == WaitReason::Foreign && goroutine.keeper == Keeper::Unknown;
    matches!(goroutine.state, GoroutineState::Waiting { reason, .. } if is_foreign(reason))
}

/// True if the last poll of the goroutine was its answer.
fn has_answered(goroutine: &GoroutineInfo) -> bool {
    matches!(goroutine.keeper, Keeper::None | Keeper::Some)
}

/// Returns the state of a goroutine that has answered: it waits since the time before the poll, if
/// it waits for the same.
fn before_answer(now: GoroutineState, before: Option<&GoroutineState>) -> GoroutineState {
    match (now, before) {
        (
            GoroutineState::Waiting { reason, at, also_elsewhere, .. },
            Some(GoroutineState::Waiting { reason: reason_before, at: at_before, since, .. }),
        ) if (reason, at) == (*reason_before, *at_before) => {
            GoroutineState::Waiting { reason, at, since: *since, also_elsewhere }
        }
        _ => now,
    }
}

/// True if the goroutine waits in an operation of this crate, or for a future of another crate that
/// has not cloned its waker.
fn waits_for_us(goroutine: &GoroutineInfo) -> bool {
    let is_ours = |reason| match reason {
        WaitReason::Foreign => goroutine.keeper == Keeper::None,
        WaitReason::Io => false,
        _ => true,
    };
    matches!(goroutine.state, GoroutineState::Waiting { reason, .. } if is_ours(reason))
}

/// Returns the report of a runtime whose goroutines are all asleep.
#[cfg(feature = "sim")]
pub(crate) fn report_of(executor: &'static Executor) -> String {
    let goroutines = info::collect(std::iter::once(executor));
    report(&goroutines, goroutines.iter().all(waits_for_us))
}

fn report(goroutines: &[GoroutineInfo], is_proved: bool) -> String {
    let mut text = String::from(HEAD);
    if !is_proved {
        text.push_str(": nothing inside the runtime can wake them");
    }
    text.push('\n');
    super::lines(&mut text, goroutines, LINES);
    // Writing to a string does not fail.
    for cycle in cycles(goroutines) {
        let names: Vec<_> = cycle.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "cycle: {}", names.join(" waits for "));
    }
    if !holders::is_on() && goroutines.iter().any(waits_for_lock) {
        text.push_str("GOPARK_DEBUG=locks=on shows who holds the locks\n");
    }
    text
}

fn waits_for_lock(goroutine: &GoroutineInfo) -> bool {
    matches!(goroutine.state, GoroutineState::Waiting { reason, .. } if reason.is_lock())
}

/// Returns the cycles of goroutines in which each waits for a lock that the next one holds. The
/// last goroutine of a cycle is the first again. A goroutine is in at most one cycle.
fn cycles(goroutines: &[GoroutineInfo]) -> Vec<Vec<GoroutineId>> {
    let holders: HashMap<_, _> =
        goroutines.iter().map(|goroutine| (goroutine.id, &goroutine.held_by)).collect();
    let (mut done, mut cycles) = (HashSet::new(), Vec::new());
    for goroutine in goroutines {
        // Follows the first holder only: if there are several readers, each of them blocks the
        // writer.
        let mut path = vec![goroutine.id];
        while let Some(next) =
            holders.get(&path[path.len() - 1]).and_then(|by| by.first()?.goroutine)
        {
            if let Some(at) = path.iter().position(|id| *id == next) {
                path.push(next);
                if path[at..].iter().all(|id| !done.contains(id)) {
                    cycles.push(path[at..].to_vec());
                }
                break;
            }
            path.push(next);
        }
        done.extend(path);
    }
    cycles
}
