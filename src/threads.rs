//! The function that starts threads, and a check whether a thread may wait for a runtime's end.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Builder, JoinHandle, ThreadId};

use crate::fork;
use crate::panics::{contain, lock};

thread_local! {
    static SERVICE: Cell<bool> = const { Cell::new(false) };
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread. The system may refuse a thread temporarily, so every caller must be able to try
/// again.
pub(crate) fn start(
    name: String,
    main: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    start_as(name, Some(Counted::new()), main)
}

/// As [`start`], for a thread that wakes goroutines because of events outside the process. The
/// thread is not counted as one of this crate, so no deadlock is proved while it runs.
#[cfg(all(feature = "net", unix, not(any(miri, gopark_loom))))]
pub(crate) fn start_for_outside(
    name: String,
    main: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    start_as(name, None, main)
}

fn start_as(
    name: String,
    counted: Option<Counted>,
    main: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    #[cfg(all(test, not(gopark_loom)))]
    if refusal::applies_to(&name) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    fork::watch();
    Builder::new().name(name).spawn(move || {
        OWN.set(true);
        main();
        drop(counted);
    })
}

/// The functions that each worker of a runtime calls when it starts and before it ends. Their
/// panics are contained.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_start: Option<Hook>,
    pub(crate) on_stop: Option<Hook>,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

impl Hooks {
    pub(crate) fn started(&self) {
        self.on_start.iter().for_each(|hook| contain(|| hook()));
    }

    /// Calls the hook, and drops the hooks, because they may have a destructor that a service
    /// thread must not run.
    pub(crate) fn stopped(self) {
        self.on_stop.iter().for_each(|hook| contain(|| hook()));
        contain(|| drop(self));
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { on_start, on_stop } = self;
        f.debug_struct("Hooks")
            .field("on_start", &on_start.is_some())
            .field("on_stop", &on_stop.is_some())
            .finish()
    }
}

/// Returns true on a thread that this crate has started.
pub(crate) fn is_own() -> bool {
    OWN.get()
}

/// Returns the number of threads of this crate that have not ended.
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Counted;

impl Counted {
    fn new() -> Self {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks this thread as a service thread: a monitor, or the thread that fires timers. Other threads
/// depend on it, so it must not wait for a runtime, and must not drop a user's future.
pub(crate) fn serve() {
    SERVICE.set(true);
}

/// Returns true on a service thread.
pub(crate) fn is_service() -> bool {
    SERVICE.get()
}

/// A function that is called when the thread-local is dropped.
struct Leaving(Box<dyn Fn()>);

thread_local! {
    static LEAVING: OnceCell<Leaving> = const { OnceCell::new() };
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0();
    }
}

/// Calls `left` when every other thread-local of this thread has been dropped, so that a join does
/// not wait for destructors. The thread must not have used a thread-local with a destructor before,
/// because thread-locals are dropped in the reverse order of their first uses.
pub(crate) fn when_left(left: impl Fn(ThreadId) + 'static) {
    LEAVING.with(|leaving| {
        let thread = thread::current().id();
        leaving.get_or_init(|| Leaving(Box::new(move || left(thread))));
    });
}

/// Pairs of runtimes, by their indices: a thread of the first runtime waits in the `shutdown` of
/// the second one.
static WAITING: Mutex<Vec<(u16, u16)>> = Mutex::new(Vec::new());

/// A guard for a wait of this thread. `.0` is the runtime to which the thread belongs, if any; `.1`
/// is the runtime for whose end it waits.
pub(crate) struct Waiting(Option<u16>, u16);

impl Waiting {
    /// Begins a wait of this thread, which belongs to `home`, for the end of `target`. Returns
    /// `None` if that end may depend on this thread: because it is a service thread, or belongs to
    /// `target`, or to a runtime for which `target` waits, directly or through others.
    pub(crate) fn begin(home: Option<u16>, target: u16) -> Option<Self> {
        if is_service() {
            return None;
        }
        let mut waiting = lock(&WAITING);
        let mut reached = vec![target];
        let mut next = 0;
        while let Some(&from) = reached.get(next) {
            if home == Some(from) {
                return None;
            }
            next += 1;
            let more = waiting.iter().filter(|wait| wait.0 == from && !reached.contains(&wait.1));
            reached.extend(more.map(|wait| wait.1).collect::<Vec<_>>());
        }
        waiting.extend(home.map(|home| (home, target)));
        Some(Self(home, target))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = lock(&WAITING);
        if let Some(at) = waiting.iter().position(|wait| (Some(wait.0), wait.1) == (self.0, self.1))
        {
            waiting.swap_remove(at);
        }
    }
}

/// Refuses threads, like a system at its limit.
#[cfg(all(test, not(gopark_loom)))]
pub(crate) mod refusal {
    use std::sync::{Mutex, MutexGuard};

    struct Rule {
        prefix: &'static str,
        percent: usize,
        count: usize,
    }

    static RULES: Mutex<Vec<Rule>> = Mutex::new(Vec::new());

    fn rules() -> MutexGuard<'static, Vec<Rule>> {
        super::lock(&RULES)
    }

    /// A guard: until it is dropped, `percent` of the threads whose names begin with `prefix` are
    /// refused.
    pub(crate) struct Refusal(&'static str);

    pub(crate) fn refuse(prefix: &'static str, percent: usize) -> Refusal {
        rules().push(Rule { prefix, percent, count: 0 });
        Refusal(prefix)
    }

    impl Refusal {
        /// Returns how many were refused.
        pub(crate) fn count(&self) -> usize {
            rules().iter().find(|rule| rule.prefix == self.0).map_or(0, |rule| rule.count)
        }
    }

    impl Drop for Refusal {
        fn drop(&mut self) {
            rules().retain(|rule| rule.prefix != self.0);
        }
    }

    pub(super) fn applies_to(name: &str) -> bool {
        let mut rules = rules();
        let Some(rule) = rules.iter_mut().find(|rule| name.starts_with(rule.prefix)) else {
            return false;
        };
        let refused = crate::random::below(100) < rule.percent;
        rule.count += usize::from(refused);
        refused
    }
}
