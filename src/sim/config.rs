//! [`run`] and [`Config`]: simulates a program, and reports and shrinks a failure.

use std::fmt::Write as _;
use std::panic::{self, Location};
use std::sync::Once;
use std::thread;

use super::run::{self, Failure, Plan, Run};
use super::strategy::{Choices, Chooser, Deviation, Lengths, Replay, Seed, Strategy};
use super::trace::{self, Step};
use crate::simulated::{self, Outside};

/// Runs a program once, on this thread and in virtual time, with the choices of `seed`.
///
/// The choices are those of [`Strategy::Random`], unless [`Config::check`] printed the seed for
/// another strategy. The future need not be [`Send`], and may borrow from the caller. When it
/// returns, all remaining goroutines are dropped.
///
/// # Panics
///
/// If the program panics or its goroutines are deadlocked. The text has the seed and the last
/// steps.
///
/// # Examples
///
/// ```
/// use gopark::{chan, sim};
///
/// let order = |seed| {
///     sim::run(seed, || async {
///         let (tx, rx) = chan::bounded(2);
///         for name in ["a", "b"] {
///             let tx = tx.clone();
///             gopark::go(async move { tx.send(name).await });
///         }
///         [rx.recv().await.unwrap(), rx.recv().await.unwrap()]
///     })
/// };
/// assert_eq!(order(7), order(7));
/// assert!((0..20).any(|seed| order(seed) == ["a", "b"]));
/// assert!((0..20).any(|seed| order(seed) == ["b", "a"]));
/// ```
#[track_caller]
pub fn run<F, Fut>(seed: u64, main: F) -> Fut::Output
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    let config = Config::new();
    let run = run::run(config.plan(Location::caller(), seed, Chooser::new(Seed(seed))), main);
    match run.result {
        Ok(output) => output,
        Err(failure) => panic!("{}", report(seed, &failure, &run.steps, None)),
    }
}

/// Settings of a check: how often a program is simulated, and how.
///
/// # Examples
///
/// ```
/// use gopark::sim::{Config, Strategy};
/// use gopark::sync::Mutex;
/// use std::sync::Arc;
///
/// Config::new().runs(100).strategy(Strategy::Pct { depth: 2 }).leaks(true).check(|| async {
///     let total = Arc::new(Mutex::new(0));
///     let adders = [1, 2].map(|n| {
///         let total = total.clone();
///         gopark::go(async move { *total.lock().await += n })
///     });
///     for adder in adders {
///         adder.await.unwrap();
///     }
///     assert_eq!(*total.lock().await, 3);
/// });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing unless a program is checked"]
pub struct Config {
    runs: u64,
    seed: u64,
    strategy: Strategy,
    step_limit: usize,
    cancel: u32,
    leaks: bool,
    allowed: Vec<Outside>,
}

/// The maximum numbers of runs and of steps that shrink a failure.
const SHRINKING_RUNS: usize = 500;
const SHRINKING_STEPS: usize = 5_000_000;

impl Config {
    /// Returns the default settings: 1000 runs of at most a million steps, with
    /// [`Strategy::Random`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sim::Config;
    ///
    /// Config::new().check(|| async { assert_eq!(gopark::go(async { 5 }).await.unwrap(), 5) });
    /// ```
    #[expect(clippy::new_without_default, reason = "what it does is said by its methods")]
    pub fn new() -> Self {
        Self {
            runs: 1000,
            seed: 0,
            strategy: Strategy::Random,
            step_limit: 1_000_000,
            cancel: 0,
            leaks: false,
            allowed: Vec::new(),
        }
    }

    /// Sets the number of runs, with consecutive seeds from [`seed`](Self::seed) on.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use gopark::sim::Config;
    ///
    /// let runs = Cell::new(0);
    /// Config::new().runs(5).check(|| async { runs.set(runs.get() + 1) });
    /// assert_eq!(runs.get(), 5);
    /// ```
    pub fn runs(mut self, runs: u64) -> Self {
        self.runs = runs;
        self
    }

    /// Sets the seed of the first run; 0 by default, so that a test does the same each time.
    ///
    /// Seeds are numbers below 2^48. A larger number is a seed that a failure has printed: it
    /// contains the strategy, and replays that run whatever the strategy of these settings is.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sim::Config;
    ///
    /// Config::new().seed(1_000_000).runs(10).check(|| async { gopark::gosched().await });
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets how the next goroutine is chosen.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sim::{Config, Strategy};
    ///
    /// let config = Config::new().strategy(Strategy::RoundRobin).runs(10);
    /// config.check(|| async { gopark::gosched().await });
    /// ```
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets the maximum number of steps of a run.
    ///
    /// A run that takes more fails as a livelock: goroutines run without end. A step is an
    /// operation of this crate, or a poll.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sim::Config;
    ///
    /// let endless = || async {
    ///     loop {
    ///         gopark::gosched().await;
    ///     }
    /// };
    /// let found = std::panic::catch_unwind(|| Config::new().step_limit(100).check(endless));
    /// assert!(found.unwrap_err().downcast::<String>().unwrap().contains("after 100 steps"));
    /// ```
    pub fn step_limit(mut self, steps: usize) -> Self {
        self.step_limit = steps;
        self
    }

    /// Sets the rate, between 0 and 1, at which pending operations are cancelled at unusual points.
    ///
    /// * Before each poll, at this rate, the time moves to the next timer although goroutines are
    ///   runnable, as on a slow machine. So a `timeout`, the deadline of a context or a timer in a
    ///   `select!` may expire at any point, and the futures inside it, or in the losing arms, are
    ///   dropped there. At a rate of 0 the time moves only when all goroutines are blocked. Timers
    ///   fire in order at any rate: a `timeout` of an hour expires after all earlier timers.
    /// * A goroutine may be aborted after it has yielded before an operation. Usually it is dropped
    ///   there. At this rate it runs on instead, as a goroutine on another thread may, and is
    ///   dropped where it next waits or yields. A goroutine that waits is dropped where it waits,
    ///   at any rate; the choice of which goroutine runs makes this any point.
    ///
    /// The end of a context, another goroutine or a channel interrupts a `select!` at any point
    /// even at a rate of 0, because that follows from the order in which goroutines run. The winner
    /// among several ready arms is random.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use gopark::{chan, go, sim::Config, time};
    ///
    /// // A value whose send timed out is never received, whatever the point of the timeout.
    /// Config::new().cancel(0.1).check(|| async {
    ///     let (tx, rx) = chan::unbuffered();
    ///     let receiver = go(async move { rx.recv().await });
    ///     let sent = time::timeout(Duration::from_secs(1), tx.send("once")).await;
    ///     drop(tx);
    ///     assert_eq!(receiver.await.unwrap().is_some(), sent.is_ok());
    /// });
    /// ```
    pub fn cancel(mut self, rate: f64) -> Self {
        self.cancel = (rate.clamp(0.0, 1.0) * 1e6) as u32;
        self
    }

    /// Sets whether a run fails if goroutines are left one second of virtual time after main has
    /// returned.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sim::Config;
    ///
    /// let leaking = || async {
    ///     gopark::go(std::future::pending::<()>());
    /// };
    /// let found = std::panic::catch_unwind(|| Config::new().leaks(true).check(leaking));
    /// assert!(found.unwrap_err().downcast::<String>().unwrap().contains("still there"));
    /// ```
    pub fn leaks(mut self, leaks: bool) -> Self {
        self.leaks = leaks;
        self
    }

    /// Allows an operation to leave the simulation.
    ///
    /// A run may then depend on more than its seed. With [`Outside::Wake`] a failure is neither
    /// repeated nor shrunk, because another run may wait forever for a wake that does not come.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::sim::{Config, Outside};
    ///
    /// Config::new().runs(10).allow(Outside::BlockInPlace).check(|| async {
    ///     assert_eq!(gopark::block_in_place(|| 5), 5);
    /// });
    /// ```
    pub fn allow(mut self, outside: Outside) -> Self {
        self.allowed.push(outside);
        self
    }

    /// Runs the program with one seed after another, and panics if a run fails.
    ///
    /// If the environment variable `GOPARK_SIM_SEED` is set, it runs the program with that seed
    /// only.
    ///
    /// A run that fails is repeated. If the second run differs, the program is not deterministic,
    /// and the panic says where. Otherwise the failure is shrunk: the program runs again with fewer
    /// and fewer deviations from the usual order, as long as it fails in the same way: a panic must
    /// have the same text, apart from numbers.
    ///
    /// # Panics
    ///
    /// If a run fails. The text has the seed, and the steps of the shrunk run.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::{chan, go, sim::Config};
    ///
    /// let both = || async {
    ///     let (tx, rx) = chan::bounded(2);
    ///     for n in [1, 2] {
    ///         let tx = tx.clone();
    ///         go(async move { tx.send(n).await });
    ///     }
    ///     assert_eq!(rx.recv().await, Some(1), "the first one comes first");
    /// };
    /// let found = std::panic::catch_unwind(|| Config::new().check(both));
    /// let report = *found.unwrap_err().downcast::<String>().unwrap();
    /// assert!(report.contains("the first one comes first"));
    /// assert!(report.contains("GOPARK_SIM_SEED="));
    /// ```
    #[track_caller]
    pub fn check<F, Fut>(&self, main: F)
    where
        F: Fn() -> Fut,
        Fut: Future,
    {
        if let Some(seed) = seed_of_environment() {
            self.check_seed(seed, &main);
            return;
        }
        let mut lengths = Lengths::default();
        for number in 0..self.runs {
            let seed = Seed::new(self.seed.wrapping_add(number), self.strategy, &lengths);
            lengths.add(self.check_seed(seed.0, &main));
        }
    }

    /// Runs the program with the given seed, and returns its choices.
    #[track_caller]
    fn check_seed<F, Fut>(&self, seed: u64, main: &F) -> Choices
    where
        F: Fn() -> Fut,
        Fut: Future,
    {
        let site = Location::caller();
        let run = |replay: Option<Replay>| {
            let chooser = replay.map_or_else(|| Chooser::new(Seed(seed)), Chooser::Replay);
            run::run(self.plan(site, seed, chooser), main)
        };
        let first = run(None);
        if let Err(failure) = &first.result {
            if self.allowed.contains(&Outside::Wake) {
                panic!("{}", report(seed, failure, &first.steps, None));
            }
            let quiet = Quiet::begin();
            let again = run(None);
            let text = if again.steps == first.steps {
                let shrunk = shrink(failure, &first, run);
                report(seed, failure, &first.steps, Some(&shrunk))
            } else {
                differs(seed, failure, &first.steps, &again.steps)
            };
            drop(quiet);
            panic!("{text}");
        }
        first.choices
    }

    fn plan(&self, site: &'static Location<'static>, seed: u64, chooser: Chooser) -> Plan<'_> {
        let Self { step_limit, cancel, leaks, .. } = *self;
        Plan { site, seed, chooser, step_limit, cancel, leaks, allowed: &self.allowed }
    }
}

/// Leaves out deviations, in halves, quarters and so on, and then one by one, as long as the run
/// fails in the same way and is not longer. Returns the steps of the smallest run.
fn shrink<T>(
    failure: &Failure,
    first: &Run<T>,
    run: impl Fn(Option<Replay>) -> Run<T>,
) -> Vec<Step> {
    let (mut kept, mut best) = (first.deviations.clone(), first.steps.clone());
    let (mut runs, mut steps) = (SHRINKING_RUNS, SHRINKING_STEPS);
    let mut fails = |kept: &[Deviation], most: usize| {
        if runs == 0 || steps == 0 {
            return None;
        }
        let run = run(Some(Replay::new(kept)));
        (runs, steps) = (runs - 1, steps.saturating_sub(run.steps.len()));
        let is_smaller =
            run.result.is_err_and(|other| other.is_like(failure)) && run.steps.len() <= most;
        is_smaller.then_some((run.deviations, run.steps))
    };
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < kept.len() {
            let (before, after) = (&kept[..at], &kept[kept.len().min(at + size)..]);
            match fails(&[before, after].concat(), best.len()) {
                // The deviations that the run did not reach are left out as well.
                Some(fewer) => (kept, best) = fewer,
                None => at += size,
            }
        }
        size /= 2;
    }
    best
}

/// Returns the report of a failure, with the shrunk run.
fn report(seed: u64, failure: &Failure, steps: &[Step], shrunk: Option<&[Step]>) -> String {
    let reason = failure.text.trim_end();
    let mut text = format!("gopark: the simulation of seed {seed} failed: {reason}\n");
    if let Some(shrunk) = shrunk {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "GOPARK_SIM_SEED={seed} replays it: {} steps, {} switches; \
             shrunk to {} steps, {} switches:",
            steps.len(),
            trace::switches(steps),
            shrunk.len(),
            trace::switches(shrunk)
        );
    }
    text.push_str(&trace::text(shrunk.unwrap_or(steps)));
    text
}

/// Returns the report of a program that is not deterministic.
fn differs(seed: u64, failure: &Failure, first: &[Step], again: &[Step]) -> String {
    let at = first.iter().zip(again).take_while(|(a, b)| a == b).count();
    let show = |steps: &[Step]| steps.get(at).map_or_else(|| "the end".into(), ToString::to_string);
    format!(
        "gopark: the program is not deterministic: \
         two runs of seed {seed} differ at step {at}: first {}, then {}\n\
         The usual causes: the random state of a `HashMap`, another clock than \
         `gopark::time::now`, statics and objects that outlive a run, addresses, other threads.\n\
         The first run failed: {}\n{}",
        show(first),
        show(again),
        failure.text,
        trace::text(&first[..at])
    )
}

fn seed_of_environment() -> Option<u64> {
    let text = std::env::var("GOPARK_SIM_SEED").ok().filter(|text| !text.is_empty())?;
    let seed = text.trim().parse();
    Some(seed.unwrap_or_else(|_| panic!("gopark: GOPARK_SIM_SEED={text:?} is no seed")))
}

/// Suppresses the output of panics on this thread until it is dropped, because the failure has been
/// printed.
struct Quiet(bool);

impl Quiet {
    fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            if thread::panicking() {
                // The hook cannot be replaced while a thread panics.
                return;
            }
            let print = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if !simulated::is_quiet() {
                    print(info);
                }
            }));
        });
        Self(simulated::set_quiet(true))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        simulated::set_quiet(self.0);
    }
}
