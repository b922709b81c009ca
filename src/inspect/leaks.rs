//! [`LeakCheck`] and [`leaks`]: finds leaked goroutines.

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

/// The time that runnable goroutines have to park or to end after main has returned.
const SETTLE: Duration = Duration::from_millis(100);
/// The default of [`LeakCheck::grace`].
const GRACE: Duration = Duration::from_secs(1);
/// The interval at which [`LeakCheck::finish`] checks.
const LOOK: Duration = Duration::from_millis(5);
/// The maximum number of goroutines that a report has lines for.
const LINES: usize = 100;

fn report(goroutines: &[GoroutineInfo], what: &str) -> String {
    let (count, noun) =
        (goroutines.len(), if goroutines.len() == 1 { "goroutine" } else { "goroutines" });
    let mut text = format!("gopark: {count} {noun} {what}\n");
    super::lines(&mut text, goroutines, LINES);
    text
}

/// Returns the report of the goroutines that are left in a runtime.
#[cfg(feature = "sim")]
pub(crate) fn left_in(executor: &'static Executor, what: &str) -> String {
    report(&info::collect(std::iter::once(executor)), what)
}

/// For each runtime, the goroutines that were parked when its last main returned. A goroutine that
/// main woke in its last poll counts as parked, because main has not waited for it.
static AT_RETURN: Mutex<Vec<AtReturn>> = Mutex::new(Vec::new());

struct AtReturn {
    /// The runtime's number.
    runtime: u64,
    parked: Vec<GoroutineInfo>,
    failed_sends: FailedSends,
}

impl AtReturn {
    /// Returns the goroutines, without those that have ended because main received what they sent.
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

/// Returns the observer of mains that `GOPARK_DEBUG=leaks` needs. Goroutines that an observed main
/// wakes stay in its processor's queue until its poll ends.
pub(crate) fn of_mains() -> Option<&'static Observer> {
    const OBSERVER: &Observer = &Observer {
        begins: || Executor::keep_queue(true),
        returns: main_returns,
        ends: || Executor::keep_queue(false),
    };
    (settings().leaks != Action::Off).then_some(OBSERVER)
}

/// Called when a main returns, in the poll of its goroutine. The channel handles that main owned
/// have been dropped already, and have woken goroutines.
fn main_returns() {
    let Some(executor) = Executor::current() else { return };
    // The record of an earlier main, which was not the last one to end.
    drop(take_at_return(executor));
    let (mains, mut parked) = (info::mains(executor), Vec::new());
    if mains.len() == 1 {
        let (runtime, failed_sends) = (executor.number(), FailedSends::record());
        executor.census(|seen| parked.push(GoroutineInfo::before_wake(seen, &mains)));
        parked.retain(GoroutineInfo::is_waiting);
        lock(&AT_RETURN).push(AtReturn { runtime, parked, failed_sends });
    }
}

/// Takes the record of the last main of the runtime that returned.
fn take_at_return(executor: &Executor) -> Option<AtReturn> {
    let number = executor.number();
    let mut all = lock(&AT_RETURN);
    let at = all.iter().position(|at_return| at_return.runtime == number)?;
    Some(all.swap_remove(at))
}

/// Called when a `block_on` of the runtime returns. With `GOPARK_DEBUG=leaks`, the last one reports
/// the goroutines that are still parked. If main panicked, it has no value, and its panic is not
/// replaced.
#[track_caller]
pub(crate) fn main_has_returned(executor: &'static Executor, has_value: bool) {
    let leaks = settings().leaks;
    if leaks == Action::Off {
        return;
    }
    let at_return = take_at_return(executor);
    if executor.block_on_calls().on_deadlock().is_some() {
        // Another call is in progress, whose main may still wait for the goroutines.
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
    // Ignored because stderr may be closed.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Finds goroutines that a test leaves behind. Go: uber-go/goleak.
///
/// A check records the goroutines of the current runtime when it is made. [`finish`](Self::finish)
/// panics if others are left.
///
/// A check that is dropped without `finish` looks once, without waiting, and panics if other
/// goroutines are parked. If the thread is panicking already, it does nothing.
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
    /// Starts a check.
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

    /// Sets how long [`finish`](Self::finish) waits for goroutines to end; a second by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gopark::inspect::LeakCheck;
    ///
    /// gopark::block_on(async { LeakCheck::new().grace(Duration::ZERO).finish().await });
    /// ```
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Ignores the goroutines for which `filter` returns true.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::inspect::LeakCheck;
    ///
    /// gopark::block_on(async {
    ///     let check =
    ///         LeakCheck::new().ignore(|goroutine| goroutine.name.as_deref() == Some("pool"));
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

    /// Ignores the goroutines that were spawned at a place whose `FILE:LINE` contains `site`.
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

    /// Waits until the goroutines that were started after the check have ended.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped before it is ready, the check looks once more, as a check
    /// does that is dropped.
    ///
    /// # Panics
    ///
    /// If goroutines are left after the [grace](Self::grace). The text has the place of this call,
    /// and a line for each goroutine.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async { gopark::inspect::LeakCheck::new().finish().await });
    /// ```
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
            // The text needs the site, because the panic happens outside of the caller's code.
            let what = format!("started since, and still there at {}", info::Site(site));
            assert!(left.is_empty(), "{}", report(&left, &what));
        }
    }

    /// Returns the goroutines that were started after the check and are left, without the current
    /// one.
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

/// Goroutines that were spawned at one place and wait at one place, returned by [`leaks`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use gopark::inspect::{self, LeakGroup};
///
/// fn alarm(groups: &[LeakGroup]) -> Option<String> {
///     let worst = groups.iter().find(|group| group.grown > 100)?;
///     Some(format!("{} wait for {}, from {}", worst.count, worst.reason, worst.spawned_at))
/// }
///
/// assert_eq!(alarm(&inspect::leaks(Duration::from_secs(60))), None);
/// ```
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
    /// How many more there are than at the last call of [`leaks`].
    pub grown: usize,
    /// When the one that has waited longest began to wait.
    pub since: Instant,
}

/// Returns the groups of goroutines that have waited for longer than `older_than`. Go: the
/// goroutine leak profile.
///
/// It covers all runtimes. The group that has grown most since the last call comes first. A group
/// that grows from call to call is a leak.
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
///     let waiting = || inspect::goroutines().iter().filter(|one| one.is_waiting()).count();
///     while waiting() < 3 {
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
