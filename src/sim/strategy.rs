//! [`Strategy`] and [`Chooser`]: which goroutine runs next in a simulation, and how a run is
//! replayed.

use std::collections::HashMap;
use std::mem::take;

use crate::executor::simulation::Simulation;
use crate::header::WaitReason;
use crate::random::Seeded;

/// Selects how a simulation chooses among the runnable goroutines.
///
/// # Examples
///
/// ```
/// use gopark::sim::{Config, Strategy};
///
/// Config::new().runs(10).strategy(Strategy::Pct { depth: 3 }).check(|| async {
///     gopark::go(async {}).await.unwrap();
/// });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Before every operation, any runnable goroutine may be chosen. The odds differ from run to
    /// run: in some runs goroutines take turns, in some a goroutine may stay behind while another
    /// one takes many steps, in some all goroutines are equally likely.
    #[default]
    Random,
    /// The goroutine with the highest priority runs until it waits. Priorities are random; at
    /// `depth - 1` random points of a run the running goroutine gets the lowest priority. Half of
    /// the runs have twice as many points. For a bug that needs only a few events in a certain
    /// order, in a run of many steps, this is quicker than [`Random`](Self::Random). (Burckhardt,
    /// Kothari, Musuvathi and Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of
    /// Finding Bugs", 2010.)
    Pct {
        /// The number of events whose order makes the bug: 2 or 3 find most bugs.
        depth: usize,
    },
    /// Goroutines take turns, one operation each, in the order in which they were woken. The choice
    /// of a `select!` is still random, from the seed.
    RoundRobin,
}

/// A choice: which goroutine runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The running goroutine.
    GoesOn,
    /// The runnable goroutine at this place.
    Place(usize),
}

/// The situation in which a choice is made.
#[derive(Clone, Copy)]
pub(super) struct Question {
    /// The running goroutine, or the one that ran last.
    pub(super) current: u64,
    /// The operation that it is about to begin. `None` if it cannot go on.
    pub(super) before: Option<WaitReason>,
    /// The number of other runnable goroutines.
    pub(super) ready: usize,
    /// The simulation, which holds them.
    pub(super) simulation: Simulation,
}

impl Question {
    fn can_go_on(&self) -> bool {
        self.before.is_some()
    }

    /// True before an operation, except one that only waits for goroutines to end: for a goroutine,
    /// yielding before such an operation is the same as waiting in it.
    fn is_before_operation(&self) -> bool {
        !matches!(self.before, None | Some(WaitReason::Join | WaitReason::WaitGroupWait))
    }
}

/// The number of choices in a run at which more than one goroutine could be chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices {
    all: usize,
    /// The number of those choices that were made before an operation.
    operations: usize,
}

impl Choices {
    /// Counts a choice.
    pub(super) fn add(&mut self, question: &Question) {
        self.all += 1;
        self.operations += usize::from(question.is_before_operation());
    }

    fn max(self, other: Self) -> Self {
        Self { all: self.all.max(other.all), operations: self.operations.max(other.operations) }
    }
}

/// The largest numbers of choices in the runs of a check so far: in all runs, and in the last few.
/// If the lengths of runs differ, a point drawn from the usual length is reached more often, and
/// only a point drawn from the greatest length may lie near the end of the longest run.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    runs: usize,
    longest: Choices,
    /// In the runs since the last multiple of [`RECENT`](Self::RECENT), and in as many before them.
    recent: [Choices; 2],
}

impl Lengths {
    const RECENT: usize = 16;

    pub(super) fn add(&mut self, run: Choices) {
        if self.runs % Self::RECENT == 0 {
            self.recent = [Choices::default(), self.recent[0]];
        }
        self.runs += 1;
        self.recent[0] = run.max(self.recent[0]);
        self.longest = run.max(self.longest);
    }

    fn recent(&self) -> Choices {
        self.recent[0].max(self.recent[1])
    }
}

/// The kind of choices among which the points of a run are drawn. Most bugs need a point before an
/// operation; but some need a goroutine to be late that continues after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Points {
    All,
    Operations,
}

/// A seed as the strategies read it. It determines a run without any other input.
///
/// | bits | field |
/// |---|---|
/// | 0-47 | the number of the run, which gives the draws and [`points`](Self::points) |
/// | 48-55 | for `Pct`: the expected number of choices, by [`scale`](Self::scale); 0 if unknown |
/// | 56-61 | for `Pct`: its depth |
/// | 62-63 | the strategy: 1 for `Pct`, 2 for `RoundRobin`, else `Random` |
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) u64);

const LENGTH: u32 = 48;
const DEPTH: u32 = 56;
const STRATEGY: u32 = 62;
/// The expected number of choices if it is unknown.
const USUAL_LENGTH: u64 = 64;

impl Seed {
    /// Returns the seed of a run with this strategy, in a check whose runs have had these lengths.
    /// A number that contains a strategy is returned unchanged.
    pub(super) fn new(number: u64, strategy: Strategy, lengths: &Lengths) -> Self {
        if number >> LENGTH != 0 {
            return Self(number);
        }
        let points = Self(number).points();
        let choices = if number / 8 % 2 == 0 { lengths.longest } else { lengths.recent() };
        let choices = if points == Points::All { choices.all } else { choices.operations };
        let mut codes = 0..=u64::from(u8::MAX);
        let length = codes.find(|code| Self::scale(*code) >= choices as u64).unwrap_or(0);
        Self(match strategy {
            Strategy::Random => number,
            Strategy::Pct { depth } => {
                let depth = depth.min(63) as u64;
                number | length << LENGTH | depth << DEPTH | 1 << STRATEGY
            }
            Strategy::RoundRobin => number | 2 << STRATEGY,
        })
    }

    /// Returns the kind of choices among which a run with [`Strategy::Pct`] draws its points.
    fn points(self) -> Points {
        if self.0 % 8 == 7 { Points::All } else { Points::Operations }
    }

    /// Decodes a number of choices: a scale with eight steps per doubling.
    fn scale(code: u64) -> u64 {
        let (doublings, eighths) = (code / 8, code % 8);
        ((8 + eighths) << doublings) / 8 - u64::from(code == 0)
    }

    fn bits(self, from: u32, to: u32) -> u64 {
        self.0 >> from & ((1 << (to - from)) - 1)
    }
}

/// The number of priorities that can be drawn.
const DRAWN: usize = 1 << 31;
/// At each yield whose number in the run is a multiple of this, the yielding goroutine gets the
/// lowest priority.
const YIELDS: u32 = 4;
/// The number of choices after which all priorities are drawn anew, so that the goroutine with the
/// lowest one makes progress even if the others wait only for each other.
const REDRAWN: u64 = 2_000;

/// The state of a strategy in a run.
#[derive(Debug)]
pub(super) enum Chooser {
    Random(Chance),
    Pct(Pct),
    RoundRobin(Seeded),
    Replay(Replay),
}

/// The odds of a run with [`Strategy::Random`]. The seed draws one of [`WAYS`], because no odds
/// find every bug: some bugs need goroutines that take turns, others need a goroutine that stays
/// behind while another one takes many steps.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// The chance, in sixteenths, that the running goroutine goes on. If `None`, all runnable
    /// goroutines have the same chance.
    goes_on: Option<usize>,
    /// The chance, in sixteenths, that a goroutine that yields stays behind: in the next choices it
    /// runs only if no other can.
    stays: usize,
    /// The maximum exponent in the number of those choices: an exponent up to this is drawn, and
    /// then a number up to that power of two.
    doublings: usize,
    /// The chance, in sixteenths, that the goroutine that has been runnable for longest is chosen;
    /// otherwise any runnable goroutine may be.
    turns: usize,
    /// The chance, in sixteenths, that a woken goroutine, if it is drawn, does not run before the
    /// running one.
    later: usize,
}

/// The odds, one for each eighth of the runs. `benches/README.md` compares with shuttle what they
/// find.
const WAYS: [Way; 8] = [TURNS, TURNS, TURNS, LONG, LONG, LONG, EVEN, EVEN];
const TURNS: Way = Way { goes_on: Some(0), stays: 12, doublings: 1, turns: 12, later: 8 };
const LONG: Way = Way { goes_on: Some(1), stays: 8, doublings: 3, turns: 14, later: 4 };
const EVEN: Way = Way { goes_on: None, stays: 16, doublings: 4, turns: 0, later: 0 };

#[derive(Debug)]
pub(super) struct Chance {
    rng: Seeded,
    way: Way,
    asked: u64,
    /// By id: the choice up to which the goroutine stays behind.
    behind_until: Vec<u64>,
}

impl Chance {
    fn new(mut rng: Seeded) -> Self {
        let way = WAYS[rng.below(WAYS.len())];
        Self { rng, way, asked: 0, behind_until: Vec::new() }
    }

    fn choose(&mut self, question: Question) -> Choice {
        let Question { current, ready, simulation, .. } = question;
        let can_go_on = question.can_go_on();
        let Way { goes_on, stays, doublings, turns, later } = self.way;
        self.asked += 1;
        let goes_on = can_go_on
            && match goes_on {
                Some(goes_on) => self.happens(goes_on),
                None => self.rng.below(ready + 1) == 0,
            };
        if goes_on {
            return Choice::GoesOn;
        }
        let is_later = can_go_on && self.happens(later);
        let first = if self.happens(turns) { 0 } else { self.rng.below_or_only(ready) };
        let is_behind = |place: &usize| {
            let until = self.behind_until.get(simulation.peek(*place).0 as usize);
            until.is_some_and(|until| *until > self.asked)
        };
        match (first..ready).chain(0..first).find(|place| !is_behind(place)) {
            // A woken goroutine must sometimes come later, as some bugs need; otherwise it would
            // always come at once.
            Some(place) if is_later && simulation.was_woken(place) => Choice::GoesOn,
            Some(place) => {
                if can_go_on && self.happens(stays) {
                    let most = 1 << (1 + self.rng.below(doublings));
                    let choices = 1 + self.rng.below(most);
                    self.stay_behind(current, choices);
                }
                Choice::Place(place)
            }
            None if can_go_on => Choice::GoesOn,
            None => Choice::Place(first),
        }
    }

    fn happens(&mut self, of_16: usize) -> bool {
        self.rng.below(16) < of_16
    }

    fn stay_behind(&mut self, id: u64, choices: usize) {
        let at = id as usize;
        if self.behind_until.len() <= at {
            self.behind_until.resize(at + 1, 0);
        }
        self.behind_until[at] = self.asked + choices as u64;
    }
}

#[derive(Debug)]
pub(super) struct Pct {
    rng: Seeded,
    /// By id; 0 for a goroutine without one.
    priorities: Vec<i64>,
    /// The numbers of the choices of this `kind` at which the priority of the running goroutine is
    /// lowered, in descending order.
    points: Vec<u64>,
    kind: Points,
    counted: u64,
    /// If true, each point gives its goroutine a priority below all others, so another goroutine
    /// runs there. If false, the priorities that the points give are in random order, so any of the
    /// goroutines that were at a point may run.
    descends: bool,
    lowered: i64,
    asked: u64,
    yields: u32,
    /// The runnable goroutines.
    ids: Vec<u64>,
}

impl Pct {
    fn new(mut rng: Seeded, depth: u64, length: u64, kind: Points) -> Self {
        let usual = depth.saturating_sub(1);
        // Twice as many points find more bugs, but fewer of those that need a stretch without a
        // point.
        let count = if rng.below(2) == 0 { usual } else { 2 * usual };
        // One place lies after the end, so that not every choice of a short run is a point.
        let places = length + 1;
        let mut points = Vec::new();
        while (points.len() as u64) < count.min(places) {
            let point = 1 + rng.below(places as usize) as u64;
            if !points.contains(&point) {
                points.push(point);
            }
        }
        points.sort_unstable_by(|a, b| b.cmp(a));
        let descends = rng.below(4) > 0;
        Self {
            rng,
            priorities: Vec::new(),
            points,
            kind,
            counted: 0,
            descends,
            lowered: 0,
            asked: 0,
            yields: 0,
            ids: Vec::new(),
        }
    }

    /// Returns the priority of a goroutine, which is drawn when it is first seen.
    fn priority(&mut self, id: u64) -> i64 {
        let at = id as usize;
        if self.priorities.len() <= at {
            self.priorities.resize(at + 1, 0);
        }
        if self.priorities[at] == 0 {
            self.priorities[at] = self.draw();
        }
        self.priorities[at]
    }

    fn draw(&mut self) -> i64 {
        1 + self.rng.below(DRAWN) as i64
    }

    /// Draws the priorities of goroutines that were started together. The ones with a higher
    /// priority than their starter get theirs in descending order, because each of them would have
    /// run at once, before the next was started, if there had been a choice.
    fn admit(&mut self, starter: u64, ids: &[u64]) {
        let known = &self.priorities;
        let is_new = |id: &u64| known.get(*id as usize).is_none_or(|priority| *priority == 0);
        if ids.iter().filter(|id| is_new(id)).count() < 2 {
            return;
        }
        let mut new: Vec<_> = ids.iter().copied().filter(is_new).collect();
        new.sort_unstable();
        let least = self.priority(starter);
        new.retain(|id| self.priority(*id) > least);
        let mut drawn: Vec<_> = new.iter().map(|id| self.priority(*id)).collect();
        drawn.sort_unstable_by(|a, b| b.cmp(a));
        for (id, priority) in new.into_iter().zip(drawn) {
            self.priorities[id as usize] = priority;
        }
    }

    /// Lowers the priority of a goroutine at a point, below that of all that were at no point.
    fn lower(&mut self, id: u64) {
        self.lowered += 1;
        self.priorities[id as usize] = if self.descends { -self.lowered } else { -self.draw() };
    }

    /// Lowers the priority of a goroutine that has yielded: draws a new one and sets it if it is
    /// lower. Every [`YIELDS`]th yield of the run sets the lowest one. So a goroutine that waits
    /// for others in a loop finally lets them run.
    fn yielded(&mut self, id: u64) {
        self.yields += 1;
        let drawn = self.draw();
        let lowest = -i64::from(self.yields) - DRAWN as i64;
        let next = if self.yields % YIELDS == 0 { lowest } else { drawn };
        self.priorities[id as usize] = self.priority(id).min(next);
    }

    fn choose(&mut self, question: Question) -> Choice {
        let Question { current, simulation, .. } = question;
        let mut ids = take(&mut self.ids);
        simulation.ready(&mut ids);
        self.admit(current, &ids);
        let places = ids.iter().copied().enumerate().map(|(place, id)| (Choice::Place(place), id));
        let running = question.can_go_on().then_some((Choice::GoesOn, current));
        let candidates = running.into_iter().chain(places);
        if self.asked % REDRAWN == REDRAWN - 1 {
            for at in 0..self.priorities.len() {
                self.priorities[at] = self.draw();
            }
        }
        // If two have the same priority, the first one.
        let highest = |pct: &mut Self| {
            let highest = candidates.clone().rev().max_by_key(|(_, id)| pct.priority(*id));
            highest.expect("one can run")
        };
        let (mut choice, mut chosen) = highest(self);
        self.asked += 1;
        let counts = self.kind == Points::All || question.is_before_operation();
        self.counted += u64::from(counts);
        while counts && self.points.last().is_some_and(|point| *point <= self.counted) {
            self.points.pop();
            self.lower(chosen);
            (choice, chosen) = highest(self);
        }
        self.ids = ids;
        choice
    }
}

impl Chooser {
    pub(super) fn new(seed: Seed) -> Self {
        // A different sequence than the draws of `select!`.
        let rng = Seeded::new(!seed.0);
        match seed.bits(STRATEGY, u64::BITS) {
            1 => {
                let length = Seed::scale(seed.bits(LENGTH, DEPTH));
                let length = if length == 0 { USUAL_LENGTH } else { length };
                Chooser::Pct(Pct::new(rng, seed.bits(DEPTH, STRATEGY), length, seed.points()))
            }
            2 => Chooser::RoundRobin(rng),
            _ => Chooser::Random(Chance::new(rng)),
        }
    }

    /// Chooses among the runnable goroutines, of which there must be one.
    #[inline]
    pub(super) fn choose(&mut self, question: Question, key: Key) -> Choice {
        let Question { ready, simulation, .. } = question;
        match self {
            Chooser::Random(chance) => chance.choose(question),
            Chooser::Pct(pct) => pct.choose(question),
            Chooser::RoundRobin(_) if ready == 0 => Choice::GoesOn,
            Chooser::RoundRobin(_) => Choice::Place(0),
            Chooser::Replay(replay) => {
                let usual = if question.can_go_on() { Choice::GoesOn } else { Choice::Place(0) };
                let Some(Target::Goroutine(wanted)) = replay.get(key) else { return usual };
                let mut places = 0..ready;
                let place = places.find(|place| simulation.peek(*place).0 == wanted);
                place.map_or(usual, Choice::Place)
            }
        }
    }

    /// True if the run deviates here from the usual choice to `target`, at the given rate.
    pub(super) fn deviates(&mut self, per_million: u32, key: Key, target: Target) -> bool {
        match self {
            Chooser::Replay(replay) => replay.get(key) == Some(target),
            Chooser::Random(chance) => chance.rng.happens(per_million),
            Chooser::Pct(pct) => pct.rng.happens(per_million),
            Chooser::RoundRobin(rng) => rng.happens(per_million),
        }
    }

    /// Notes that the goroutine has yielded by itself: it may wait for another one in a loop.
    pub(super) fn yielded(&mut self, id: u64) {
        if let Chooser::Pct(pct) = self {
            pct.yielded(id);
        }
    }
}

/// Identifies a choice independently of the course of the run, as the nth choice that followed a
/// step of this goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) goroutine: u64,
    pub(super) number: u32,
}

/// The result of a deviating choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Goroutine(u64),
    /// The time moves although goroutines are runnable.
    Time,
    /// The goroutine runs on although it was aborted.
    Outrun,
}

/// A choice that deviates from the usual one. The usual choice is that the running goroutine goes
/// on or, if it cannot, that the one that has been runnable for longest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deviation {
    pub(super) key: Key,
    pub(super) target: Target,
}

/// Replays a run, with all or some of its deviations.
#[derive(Debug)]
pub(super) struct Replay(HashMap<Key, Target>);

impl Replay {
    pub(super) fn new(deviations: &[Deviation]) -> Self {
        Self(deviations.iter().map(|deviation| (deviation.key, deviation.target)).collect())
    }

    fn get(&self, key: Key) -> Option<Target> {
        self.0.get(&key).copied()
    }
}
