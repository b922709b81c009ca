//! Goroutines that were forgotten.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::panic::Location;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use super::dump::{Doing, Groups, Key};
use super::info::{self, GoroutineInfo, GoroutineState};
use crate::alarm::alarm;
use crate::chan::FailedSends;
use crate::clock::{self, Time};
use crate::coop;
use crate::crash::Observer;
use crate::debug::{Action, settings};
use crate::executor::Executor;
use crate::header::WaitReason;
use crate::ids::GoroutineId;
use crate::panics::lock;
use crate::waker::TaskWaker;

/// How long goroutines that can run may take to park or to end when main has returned.
const SETTLE: Duration = Duration::from_millis(100);
/// How long [`LeakCheck::finish`] waits by default, and how long between two looks.
const GRACE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);
/// Most goroutines of which a report has a line.
const LINES: usize = 100;

fn report(goroutines: &[GoroutineInfo], what: &str) -> String {
    let (count, noun) =
        (goroutines.len(), if goroutines.len() == 1 { "goroutine" } else { "goroutines" });
    let mut text = format!("gopark: {count} {noun} {what}\n");
    super::lines(&mut text, goroutines, LINES);
    text
}

/// The report of the goroutines that a runtime has left.
#[cfg(feature = "sim")]
pub(crate) fn left_in(executor: &'static Executor, what: &str) -> String {
    report(&info::collect(std::iter::once(executor)), what)
}

/// The goroutines that were parked at the end of the last poll of a runtime's last main; or before,
/// if they were woken by it: then main has not waited for them. By the runtimes' numbers.
static AT_RETURN: Mutex<Vec<AtReturn>> = Mutex::new(Vec::new());

struct AtReturn {
    /// The runtime's number.
    runtime: u64,
    parked: Vec<GoroutineInfo>,
    failed_sends: FailedSends,
}

impl AtReturn {
    /// The goroutines, without those that have ended because main had received what they sent.
    fn without_served(self, now: &[GoroutineInfo]) -> Vec<GoroutineInfo> {
        let Self { mut parked, failed_sends, .. } = self;
        parked.retain(|one| {
            !matches!(one.state, GoroutineState::Waiting { reason: WaitReason::ChanSend, .. })
                || now.iter().any(|other| other.id == one.id)
                || failed_sends.contains(one.id.0)
        });
        parked
    }
}

/// What `GOPARK_DEBUG=leaks` wants to know of mains: goroutines that one wakes stay at its
/// processor for the rest of its poll.
pub(crate) fn of_mains() -> Option<&'static Observer> {
    const OBSERVER: &Observer = &Observer {
        begins: || Executor::keep_queue(true),
        returns: main_returns,
        ends: || Executor::keep_queue(false),
    };
    (settings().leaks != Action::Off).then_some(OBSERVER)
}

/// A main returns, in the poll of its goroutine. The ends of channels that it owned are gone
/// already, and have woken others.
fn main_returns() {
    let Some(executor) = Executor::current() else { return };
    // Of a main that was not the last one to end.
    drop(take_at_return(executor));
    let (mains, mut parked) = (info::mains(executor), Vec::new());
    if mains.len() == 1 {
        let (runtime, failed_sends) = (executor.number(), FailedSends::record());
        executor.census(|seen| parked.push(GoroutineInfo::before_wake(seen, &mains)));
        parked.retain(GoroutineInfo::is_waiting);
        lock(&AT_RETURN).push(AtReturn { runtime, parked, failed_sends });
    }
}

/// What was noted when the last main of the runtime returned.
fn take_at_return(executor: &Executor) -> Option<AtReturn> {
    let number = executor.number();
    let mut all = lock(&AT_RETURN);
    let at = all.iter().position(|at_return| at_return.runtime == number)?;
    Some(all.swap_remove(at))
}

/// The last `block_on` of the runtime has returned: with `GOPARK_DEBUG=leaks`, reports goroutines
/// that are still parked. If main has no value, because it panicked, that panic goes on.
#[track_caller]
pub(crate) fn main_has_returned(executor: &'static Executor, has_value: bool) {
    let leaks = settings().leaks;
    if leaks == Action::Off {
        return;
    }
    let at_return = take_at_return(executor);
    if executor.block_on_calls().on_deadlock().is_some() {
        // It may be waited for still.
        return;
    }
    let until = Time::now().after(SETTLE);
    let mut now = info::collect_of(executor.number());
    while !now.iter().all(GoroutineInfo::is_waiting) && Time::now() < until {
        thread::sleep(Duration::from_millis(1));
        now = info::collect_of(executor.number());
    }
    let mut parked = at_return.map_or_else(Vec::new, |at_return| at_return.without_served(&now));
    let known: HashSet<_> = parked.iter().map(|goroutine| goroutine.id).collect();
    parked.extend(
        now.into_iter()
            .filter(|goroutine| goroutine.is_waiting() && !known.contains(&goroutine.id)),
    );
    if parked.is_empty() {
        return;
    }
    let text = report(&parked, "still parked when main returned");
    assert!(leaks != Action::Crash || !has_value || thread::panicking(), "{text}");
    // A closed stderr is no reason to panic.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Finds goroutines that a test leaves behind. Go: uber-go/goleak.
///
/// It knows the goroutines that the current runtime had when it was made: inside a goroutine that
/// goroutine's runtime. [`finish`](Self::finish) panics if others are still there.
///
/// Dropped without `finish` it looks once, waits for nothing, and panics if goroutines are parked
/// that were not there before; while the thread panics already, it does nothing.
///
/// # Examples
///
/// ```
/// use gopark::inspect::LeakCheck;
///
/// gopark::block_on(async {
///     let check = LeakCheck::new();
///     let handle = gopark::go(async { 5 });
///     assert_eq!(handle.await.unwrap(), 5);
///     check.finish().await;
/// });
/// ```
#[must_use = "a check that is dropped at once sees nothing"]
pub struct LeakCheck {
    /// The number of the runtime. `None` once the check has been finished.
    runtime: Option<u64>,
    made_at: &'static Location<'static>,
    before: HashSet<GoroutineId>,
    grace: Duration,
    ignored: Vec<Filter>,
}

type Filter = Box<dyn Fn(&GoroutineInfo) -> bool + Send + Sync>;

impl LeakCheck {
    /// Begins a check.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async { gopark::inspect::LeakCheck::new().finish().await });
    /// ```
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it depends on where it is called")]
    pub fn new() -> Self {
        let executor =
            Executor::current().expect("gopark: LeakCheck::new called outside of a runtime");
        let runtime = executor.number();
        let before = info::collect_of(runtime).iter().map(|goroutine| goroutine.id).collect();
        Self {
            runtime: Some(runtime),
            made_at: Location::caller(),
            before,
            grace: GRACE,
            ignored: Vec::new(),
        }
    }

    /// How long [`finish`](Self::finish) waits for goroutines to end; a second by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// gopark::block_on(async { gopark::inspect::LeakCheck::new().grace(Duration::ZERO).finish().await });
    /// ```
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Goroutines for which `filter` is true are no leaks.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::inspect::LeakCheck;
    ///
    /// gopark::block_on(async {
    ///     let check = LeakCheck::new().ignore(|goroutine| goroutine.name.as_deref() == Some("pool"));
    ///     gopark::go(gopark::inspect::named("pool", std::future::pending::<()>()));
    ///     check.finish().await;
    /// });
    /// ```
    pub fn ignore(
        mut self,
        filter: impl Fn(&GoroutineInfo) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.ignored.push(Box::new(filter));
        self
    }

    /// Goroutines that were started at a place that contains `site` are no leaks. A place is
    /// `FILE:LINE`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::inspect::LeakCheck;
    ///
    /// gopark::block_on(async {
    ///     let check = LeakCheck::new().ignore_spawned_at(file!());
    ///     gopark::go(std::future::pending::<()>());
    ///     check.finish().await;
    /// });
    /// ```
    pub fn ignore_spawned_at(self, site: impl Into<String>) -> Self {
        let site = site.into();
        self.ignore(move |goroutine| info::Site(goroutine.spawned_at).to_string().contains(&site))
    }

    /// Waits until the goroutines that were started since have ended.
    ///
    /// # Panics
    ///
    /// If some are still there after the [grace](Self::grace): with the place of this call, and a
    /// line for each.
    ///
    /// # Cancellation
    ///
    /// Dropped before it is ready, it looks once more, as the check does that is dropped.
    #[track_caller]
    pub fn finish(self) -> impl Future<Output = ()> {
        let site = Location::caller();
        let until = Time::now().after(self.grace);
        async move {
            let (mut check, mut next_look) = (self, None);
            coop::spent(site, WaitReason::Sleep).await;
            let left = poll_fn(|cx| {
                let left = check.left();
                if left.is_empty() || Time::now() >= until {
                    return Poll::Ready(left);
                }
                next_look = Some(alarm(Time::now().after(LOOK), TaskWaker::new(cx.waker())));
                coop::park_at(cx, site, WaitReason::Sleep);
                Poll::Pending
            });
            let left = pin!(left).await;
            check.runtime = None;
            // The panic itself has no place in the caller's code.
            let what = format!("started since, and still there at {}", info::Site(site));
            assert!(left.is_empty(), "{}", report(&left, &what));
        }
    }

    /// The goroutines that were started since and are still there, but for the one that asks.
    fn left(&self) -> Vec<GoroutineInfo> {
        let Some(runtime) = self.runtime else { return Vec::new() };
        let me = coop::goroutine().map(GoroutineId);
        let mut left = info::collect_of(runtime);
        left.retain(|goroutine| {
            Some(goroutine.id) != me
                && !self.before.contains(&goroutine.id)
                && !self.ignored.iter().any(|is_ignored| is_ignored(goroutine))
        });
        left
    }
}

impl Drop for LeakCheck {
    fn drop(&mut self) {
        if !thread::panicking() {
            let mut left = self.left();
            left.retain(GoroutineInfo::is_waiting);
            let what = format!("started since {}, and parked", info::Site(self.made_at));
            assert!(left.is_empty(), "{}", report(&left, &what));
        }
    }
}

impl fmt::Debug for LeakCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeakCheck").field("before", &self.before.len()).finish_non_exhaustive()
    }
}

/// Goroutines that were started at one place and wait at one place, as [`leaks`] has found them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeakGroup {
    /// The call that started them.
    pub spawned_at: &'static Location<'static>,
    /// What they wait for.
    pub reason: WaitReason,
    /// The call of the operation in which they wait, if it is known.
    pub at: Option<&'static Location<'static>>,
    /// How many there are.
    pub count: usize,
    /// How many more than at the last call of [`leaks`].
    pub grown: usize,
    /// Since when the first of them waits.
    pub since: Instant,
}

/// Groups of goroutines, of all runtimes, that have waited for longer than `older_than`, the one
/// that has grown most since the last call first. A group that grows from call to call is a leak.
/// Go: the goroutine leak profile.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use gopark::inspect;
///
/// gopark::block_on(async {
///     for _ in 0..3 {
///         gopark::go(std::future::pending::<()>());
///     }
///     while inspect::goroutines().iter().filter(|goroutine| goroutine.is_waiting()).count() < 3 {
///         gopark::gosched().await;
///     }
///     let groups = inspect::leaks(Duration::ZERO);
///     assert!(groups.iter().any(|group| group.count == 3 && group.grown == 3));
///     assert!(inspect::leaks(Duration::ZERO).iter().all(|group| group.grown == 0));
/// });
/// ```
#[must_use]
pub fn leaks(older_than: Duration) -> Vec<LeakGroup> {
    static LAST: Mutex<Option<HashMap<Key, usize>>> = Mutex::new(None);

    let mut groups = Groups::default();
    for executor in Executor::all() {
        executor.census(|seen| {
            let goroutine = GoroutineInfo::new(&seen, &HashSet::new());
            let waits = |since| clock::now().saturating_duration_since(since) >= older_than;
            if matches!(goroutine.state, GoroutineState::Waiting { since, .. } if waits(since)) {
                groups.add(goroutine);
            }
        });
    }
    let mut last = lock(&LAST);
    let before = last.replace(HashMap::new()).unwrap_or_default();
    let now = last.insert(HashMap::new());
    let mut leaks: Vec<_> = groups
        .into_sorted()
        .into_iter()
        .filter_map(|(key, group)| {
            now.insert(key, group.count);
            let (Doing::Waits(reason), Some((since, _))) = (key.does, group.since) else {
                return None;
            };
            let grown = group.count.saturating_sub(before.get(&key).copied().unwrap_or(0));
            Some(LeakGroup {
                spawned_at: key.spawned_at,
                reason,
                at: key.at,
                count: group.count,
                grown,
                since,
            })
        })
        .collect();
    leaks.sort_by_key(|group| std::cmp::Reverse(group.grown));
    leaks
}
