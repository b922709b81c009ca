//! One run of a program: the loop that polls goroutines one at a time, as the strategy chooses.

use std::cell::RefCell;
use std::mem::{replace, take};
use std::panic::Location;
use std::time::Duration;

use super::strategy::{Choice, Choices, Chooser, Deviation, Key, Question, Target};
use super::trace::{Does, Step};
use crate::executor::simulation::{Polled, Ready, Simulation};
use crate::fork;
use crate::goroutine;
use crate::header::WaitReason;
use crate::inspect;
use crate::panics::{Caught, contain};
use crate::random::Seeded;
use crate::runtime::assert_may_block;
use crate::simulated::{self, Operation, Outside};
use crate::waker::TaskWaker;

/// The settings of a run.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// The spawn site of main.
    pub(super) site: &'static Location<'static>,
    pub(super) seed: u64,
    pub(super) chooser: Chooser,
    pub(super) step_limit: usize,
    /// The rate, per million, at which the time moves although goroutines are runnable, or a
    /// goroutine runs on despite its abort.
    pub(super) cancel: u32,
    pub(super) leaks: bool,
    pub(super) allowed: &'a [Outside],
}

/// The result of a run.
pub(super) struct Run<T> {
    pub(super) result: Result<T, Failure>,
    pub(super) steps: Vec<Step>,
    pub(super) deviations: Vec<Deviation>,
    pub(super) choices: Choices,
}

/// The reason why a run failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl Failure {
    /// Returns true if this is the same failure as `other`, in another run. A panic is the same if
    /// its text is, apart from numbers, because these may depend on the order.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        self.kind == other.kind
            && (self.kind != Kind::Panic || words(&self.text) == words(&other.text))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Panic,
    Deadlock,
    /// The run exceeded the step limit.
    NoEnd,
    Leak,
    /// A goroutine was woken by another thread.
    Woken,
}

impl Kind {
    fn with(self, text: impl Into<String>) -> Failure {
        Failure { kind: self, text: text.into() }
    }
}

thread_local! {
    /// The run of this thread.
    static CURRENT: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// A run in progress.
struct State {
    simulation: Simulation,
    chooser: Chooser,
    cancel: u32,
    /// True during the cleanup, in which no goroutine yields.
    is_ending: bool,
    steps: Vec<Step>,
    deviations: Vec<Deviation>,
    choices: Choices,
    /// The number of operations and polls.
    taken: usize,
    step_limit: usize,
    /// The goroutine that runs, or ran last; and whether it must yield in this poll.
    current: u64,
    gives_way: bool,
    /// Lets the running goroutine reach the operation before which it yielded, without a choice.
    pass: Option<Pass>,
    /// The number of steps when its poll began.
    polled_at: usize,
    /// How often in this poll an executor inside the goroutine was refused an operation.
    refused: u32,
    /// The place of the goroutine that runs next, if it is chosen already.
    next: Option<usize>,
    goroutines: Vec<Goroutine>,
    waits: Vec<(u64, TaskWaker)>,
    last_wait: u64,
}

/// The state of a goroutine in the run. Its id is the index.
#[derive(Clone, Copy, Debug, Default)]
struct Goroutine {
    has_started: bool,
    gave_way: Option<Pass>,
    choices: u32,
}

/// Allows a goroutine that yielded to begin operations without a choice when it is polled again. A
/// join may begin other operations before the one at which it yielded. If each of these had a
/// choice again, the join might never get beyond them.
#[derive(Clone, Copy, Debug)]
struct Pass {
    /// The operation before which it yielded.
    reason: WaitReason,
    site: Option<&'static Location<'static>>,
    /// The maximum number of operations without a choice: as many as the poll had begun, in case
    /// the goroutine does not begin that operation again.
    most: usize,
}

/// The number of operations that an executor inside a goroutine may be refused in one poll. If it
/// polls more, it will never yield, so its operations begin after all.
const MOST_REFUSALS: u32 = 16;
/// The virtual time that goroutines have to end after main has returned.
const GRACE: Duration = Duration::from_secs(1);

/// Calls `f` with the run of this thread, if there is one.
fn with_state<R>(f: impl FnOnce(&mut State) -> R) -> Option<R> {
    CURRENT.with_borrow_mut(|state| state.as_mut().map(f))
}

/// Calls `f` with the run of this thread, which must exist.
fn in_run<R>(f: impl FnOnce(&mut State) -> R) -> R {
    with_state(f).expect("the run of this thread")
}

impl State {
    fn goroutine(&mut self, id: u64) -> &mut Goroutine {
        let at = id as usize;
        if self.goroutines.len() <= at {
            self.goroutines.resize(at + 1, Goroutine::default());
        }
        &mut self.goroutines[at]
    }

    fn key(&mut self) -> Key {
        let goroutine = self.current;
        let choices = &mut self.goroutine(goroutine).choices;
        *choices += 1;
        Key { goroutine, number: *choices }
    }

    fn step(&mut self, id: u64, does: Does, site: Option<&'static Location<'static>>) {
        self.steps.push(Step::Goroutine { id, does, site });
    }

    /// Chooses between the running goroutine, if it can go on with the operation that it is
    /// `before`, and the `ready` other ones.
    fn choose(&mut self, before: Option<WaitReason>, ready: usize) -> Choice {
        let key = self.key();
        let can_go_on = before.is_some();
        if usize::from(can_go_on) + ready == 1 {
            return if can_go_on { Choice::GoesOn } else { Choice::Place(0) };
        }
        let Self { current, simulation, .. } = *self;
        let question = Question { current, before, ready, simulation };
        self.choices.add(&question);
        let choice = self.chooser.choose(question, key);
        match choice {
            Choice::Place(place) if can_go_on || place > 0 => {
                let target = Target::Goroutine(self.simulation.peek(place).0);
                self.deviations.push(Deviation { key, target });
            }
            _ => {}
        }
        choice
    }

    /// Called before an operation. Returns true if it begins, false if its goroutine yields first.
    fn goes_on(&mut self, operation: Operation) -> bool {
        if self.is_ending {
            return true;
        }
        if self.gives_way {
            if operation.is_own {
                return false;
            }
            self.refused += 1;
            return self.refused > MOST_REFUSALS;
        }
        self.taken += 1;
        if self.taken > self.step_limit {
            self.gives_way = true;
            return false;
        }
        if !self.is_passed(operation) {
            let ready = self.simulation.gather();
            if ready > 0 {
                if let Choice::Place(place) = self.choose(Some(operation.reason), ready) {
                    let pass = self.pass_to(operation);
                    self.goroutine(self.current).gave_way = Some(pass);
                    self.step(self.current, Does::GivesWayBefore(operation.reason), operation.site);
                    (self.next, self.gives_way, self.refused) = (Some(place), true, 0);
                    return false;
                }
            }
        }
        self.step(self.current, Does::Begins(operation.reason), operation.site);
        true
    }

    /// True if the choice that made the goroutine yield covers this operation.
    fn is_passed(&mut self, operation: Operation) -> bool {
        let Some(pass) = &mut self.pass else { return false };
        pass.most -= 1;
        if pass.most == 0 || (pass.reason, pass.site) == (operation.reason, operation.site) {
            self.pass = None;
        }
        true
    }

    /// Returns the pass that lets the goroutine reach the operation, in a poll that begins the same
    /// operations as this one.
    fn pass_to(&self, Operation { reason, site, .. }: Operation) -> Pass {
        let mut pass = Pass { reason, site, most: 1 };
        for step in &self.steps[self.polled_at..] {
            if let Step::Goroutine { does: Does::Begins(_), .. } = *step {
                pass.most += 1;
            }
        }
        pass
    }

    /// True if the run deviates here to `target`, at the rate of
    /// [`Config::cancel`](super::Config::cancel).
    fn deviates(&mut self, target: Target) -> bool {
        if self.cancel == 0 {
            return false;
        }
        let key = self.key();
        let deviates = self.chooser.deviates(self.cancel, key, target);
        if deviates {
            self.deviations.push(Deviation { key, target });
        }
        deviates
    }

    /// Called before the goroutine at that place is polled. Returns true if an aborted goroutine
    /// runs on in this poll, because outside of a simulation it need not have been suspended where
    /// it yielded.
    fn begin_poll(&mut self, place: usize) -> bool {
        let (id, spawned_at) = self.simulation.peek(place);
        (self.current, self.gives_way) = (id, false);
        self.taken += 1;
        let known = self.goroutine(id);
        let is_new = !replace(&mut known.has_started, true);
        self.pass = known.gave_way.take();
        self.polled_at = self.steps.len();
        if is_new {
            self.step(id, Does::Starts, Some(spawned_at));
        }
        let may_outrun = self.pass.is_some() && self.simulation.is_aborted(place);
        let outruns = may_outrun && self.deviates(Target::Outrun);
        if outruns {
            self.step(id, Does::Outruns, None);
        }
        outruns
    }

    fn end_poll(&mut self, polled: Polled) {
        let id = self.current;
        match polled {
            Polled::Ended => self.step(id, Does::Ends, None),
            // The future that polls the refused operation may have noted a wait.
            _ if self.gives_way => {}
            Polled::Parked(note) => self.step(id, Does::Parks(note.reason), note.site),
            Polled::Unnoted => {
                self.step(id, Does::Yields, None);
                self.chooser.yielded(id);
            }
        }
    }
}

/// Moves the time to the next timer. Returns false if there is none.
fn advance(simulation: Simulation) -> bool {
    let before = simulated::now();
    let has_fired = simulation.advance();
    let now = simulated::now();
    if now != before {
        in_run(|state| state.steps.push(Step::Time(now.unwrap_or_default())));
    }
    has_fired
}

/// Polls goroutines until `is_over` returns true or no goroutine can go on.
fn drive(simulation: Simulation, is_over: impl Fn() -> bool) -> Result<(), Failure> {
    while !is_over() {
        let place = match in_run(|state| state.next.take()) {
            Some(place) => place,
            None => {
                let ready = simulation.gather();
                if simulation.was_woken_outside() && !simulated::allows(Outside::Wake) {
                    return Err(Kind::Woken.with(woken_outside(simulation.last_ready())));
                }
                if ready == 0 {
                    if wake_waits() || advance(simulation) {
                        continue;
                    }
                    if simulated::allows(Outside::Wake) {
                        simulation.wait_for_outside();
                        continue;
                    }
                    return Err(Kind::Deadlock.with(inspect::report_of(simulation.executor)));
                }
                if in_run(|state| state.deviates(Target::Time)) && advance(simulation) {
                    continue;
                }
                match in_run(|state| state.choose(None, ready)) {
                    Choice::Place(place) => place,
                    Choice::GoesOn => 0,
                }
            }
        };
        let outruns_abort = in_run(|state| state.begin_poll(place));
        let polled = simulation.poll(place, outruns_abort.then_some(goroutine::abort));
        in_run(|state| state.end_poll(polled));
        if in_run(|state| state.taken > state.step_limit) {
            let limit = in_run(|state| state.step_limit);
            let head = format!("still there after {limit} steps: no end is in sight");
            return Err(Kind::NoEnd.with(inspect::left_in(simulation.executor, &head)));
        }
    }
    Ok(())
}

fn woken_outside(woken: Option<Ready>) -> String {
    // The goroutine may have run already.
    let Some(ready) = woken else { return format!("gopark: {}", Outside::Wake) };
    let Ready { id, waits_at, spawned_at } = ready;
    let leaving = simulated::Leaving(Outside::Wake, Some(waits_at.unwrap_or(spawned_at)));
    format!("{leaving}: it has woken goroutine {id}, spawned at {spawned_at}")
}

/// After main has returned: lets the other goroutines end, and fails if some do not.
fn find_leaks(simulation: Simulation) -> Result<(), Failure> {
    let until = simulated::now().unwrap_or_default().saturating_add(GRACE.as_nanos() as u64);
    let is_over = || {
        let is_idle = simulation.gather() == 0 && in_run(|state| state.waits.is_empty());
        simulation.executor.live() == 0 || is_idle && simulation.next_due() > until
    };
    let head = "still there when main had returned";
    match drive(simulation, is_over) {
        Ok(()) if simulation.executor.live() == 0 => Ok(()),
        Err(failure) if failure.kind != Kind::Deadlock => Err(failure),
        _ => Err(Kind::Leak.with(inspect::left_in(simulation.executor, head))),
    }
}

/// Wakes the waits for everything else to be blocked, which is the case now. Returns false if there
/// are none.
fn wake_waits() -> bool {
    let waits = in_run(|state| take(&mut state.waits));
    let has_some = !waits.is_empty();
    waits.into_iter().for_each(|(_, waker)| waker.wake());
    has_some
}

/// Adds a wait until everything else is blocked. Returns `None` outside of a simulation.
pub(super) fn add_wait(waker: TaskWaker) -> Option<u64> {
    with_state(|state| {
        state.last_wait += 1;
        state.waits.push((state.last_wait, waker));
        state.last_wait
    })
}

/// Removes a wait, and returns its waker, for the caller to drop. Returns `None` if the wait is
/// over.
pub(super) fn remove_wait(number: u64) -> Option<TaskWaker> {
    with_state(|state| {
        let at = state.waits.iter().position(|(other, _)| *other == number)?;
        Some(state.waits.remove(at).1)
    })
    .flatten()
}

/// True until the wait is over.
pub(super) fn is_waiting(number: u64) -> bool {
    with_state(|state| state.waits.iter().any(|(other, _)| *other == number)).unwrap_or(false)
}

/// Returns the failure of a run that a panic ended.
fn panicked(caught: &Caught) -> Failure {
    Kind::Panic.with(caught.text())
}

/// Runs a program once.
#[track_caller]
pub(super) fn run<F: Future>(plan: Plan<'_>, main: impl FnOnce() -> F) -> Run<F::Output> {
    fork::refuse();
    assert!(!simulated::is_on(), "gopark: a simulation called inside a simulation");
    assert_may_block();
    let Plan { site, seed, chooser, step_limit, cancel, leaks, allowed } = plan;
    let goes_on = |operation| with_state(|state| state.goes_on(operation)).unwrap_or(true);
    let (simulation, outer) = Simulation::begin(goes_on, allowed);
    let mut draws = Seeded::new(seed);
    draws.exchange();
    CURRENT.set(Some(State {
        simulation,
        chooser,
        cancel,
        is_ending: false,
        steps: Vec::new(),
        deviations: Vec::new(),
        choices: Choices::default(),
        taken: 0,
        step_limit,
        current: 0,
        gives_way: false,
        pass: None,
        polled_at: 0,
        refused: 0,
        next: None,
        goroutines: Vec::new(),
        waits: Vec::new(),
        // Makes the numbers of waits unique, so that a wait left from another run matches none.
        last_wait: simulated::in_process(0),
    }));
    let call = simulation.executor.block_on_calls().enter(None);
    let main = call.until_crash(async move { main().await }, None);
    let header = simulation.executor.start_outside(site, false);
    call.set_main(&header);
    let (outcome, (state, crash, ended)) =
        goroutine::run_simulated(simulation, header, main, |handle| {
            let mut ended = drive(simulation, || handle.is_finished() || call.has_crashed());
            if leaks && ended.is_ok() && !call.has_crashed() {
                ended = find_leaks(simulation);
            }
            in_run(|state| state.is_ending = true);
            simulation.drop_goroutines();
            let mut state = CURRENT.take().expect("the run of this thread");
            let crash = call.end().crash;
            drop(take(&mut state.waits));
            draws.exchange();
            simulation.end(outer);
            (state, crash, ended)
        });
    let result = match (outcome.into_inner(), crash, ended) {
        (outcome, Some(caught), _) => {
            contain(|| drop(outcome));
            Err(panicked(&caught))
        }
        (Err(exit), None, ended) => match exit.observe() {
            Some(caught) => Err(panicked(&caught)),
            None => {
                let aborted = || Kind::Panic.with("the main goroutine was aborted");
                Err(ended.err().unwrap_or_else(aborted))
            }
        },
        (Ok(output), None, Ok(())) => Ok(output.expect("only a crash ends a main early")),
        (Ok(output), None, Err(failure)) => {
            contain(|| drop(output));
            Err(failure)
        }
    };
    Run { result, steps: state.steps, deviations: state.deviations, choices: state.choices }
}
