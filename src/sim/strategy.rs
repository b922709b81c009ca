//! Who runs next: the choices of a simulation, and how they are repeated.

use std::collections::HashMap;
use std::mem::take;

use crate::executor::simulation::Simulation;
use crate::header::WaitReason;
use crate::random::Seeded;

/// How a simulation chooses among the goroutines that can run.
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
    /// Any goroutine that can run may be next, before every operation. Each run draws its odds: in
    /// some runs goroutines take turns, in some a goroutine may stay behind while another one does
    /// many steps, in some each goroutine is equally likely.
    #[default]
    Random,
    /// The goroutine of the highest priority runs, and goes on until it waits. Priorities are
    /// drawn; at `depth - 1` points of a run, drawn too, the running goroutine gets the lowest one.
    /// Half of the runs have twice as many points. It finds a bug that needs few events in one
    /// order, among many steps, sooner than [`Random`](Self::Random). (Burckhardt, Kothari,
    /// Musuvathi and Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of Finding
    /// Bugs", 2010.)
    Pct {
        /// The number of events of a bug whose order matters: 2 or 3 find most.
        depth: usize,
    },
    /// Goroutines take turns, one operation each, in the order in which they were woken. `select!`
    /// still draws from the seed.
    RoundRobin,
}

/// What runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The running goroutine.
    GoesOn,
    /// The one at that place of those that can run.
    Place(usize),
}

/// A choice is asked for.
#[derive(Clone, Copy)]
pub(super) struct Question {
    /// The running goroutine, or the one that ran last.
    pub(super) current: u64,
    /// The operation that it is about to begin, if it can go on.
    pub(super) before: Option<WaitReason>,
    /// How many others can run.
    pub(super) ready: usize,
    /// Where they are.
    pub(super) simulation: Simulation,
}

impl Question {
    fn can_go_on(&self) -> bool {
        self.before.is_some()
    }

    /// It is asked before an operation, other than one that only waits for goroutines to end: a
    /// goroutine that gives way before that could as well have waited.
    fn is_before_operation(&self) -> bool {
        !matches!(self.before, None | Some(WaitReason::Join | WaitReason::WaitGroupWait))
    }
}

/// The choices of a run in which there was more than one goroutine to choose.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices {
    all: usize,
    /// Those before an operation.
    operations: usize,
}

impl Choices {
    /// One more.
    pub(super) fn add(&mut self, question: &Question) {
        self.all += 1;
        self.operations += usize::from(question.is_before_operation());
    }

    fn max(self, other: Self) -> Self {
        Self { all: self.all.max(other.all), operations: self.operations.max(other.operations) }
    }
}

/// The most choices of the runs of a check so far: of all, and of the last few. Where runs are of
/// different length, a point is met more often if it is drawn from those of a usual run, and met at
/// all if it is drawn from those of the longest one.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    runs: usize,
    longest: Choices,
    /// Of the runs since the last multiple of [`RECENT`](Self::RECENT), and of those before them.
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

/// At which choices the points of a run lie. Most bugs want one before an operation; but what goes
/// on after a wait may have to be late as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Points {
    All,
    Operations,
}

/// A seed as the strategy reads it, so that it stands for a run by itself.
///
/// | bits | field |
/// |---|---|
/// | 0-47 | the number of the run: from it follow the draws, and [`points`](Self::points) |
/// | 48-55 | of `Pct`: how many choices are expected, by [`scale`](Self::scale); 0 if unknown |
/// | 56-61 | of `Pct`: its depth |
/// | 62-63 | the strategy: 1 for `Pct`, 2 for `RoundRobin`, else `Random` |
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) u64);

const LENGTH: u32 = 48;
const DEPTH: u32 = 56;
const STRATEGY: u32 = 62;
/// The number of choices that is expected if nothing is known.
const USUAL_LENGTH: u64 = 64;

impl Seed {
    /// The seed of a run by that strategy, where runs have had so many choices. A number that is a
    /// seed of another strategy stays what it is.
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

    /// Where the points of a run by [`Strategy::Pct`] lie.
    fn points(self) -> Points {
        if self.0 % 8 == 7 { Points::All } else { Points::Operations }
    }

    /// Eight steps for each doubling.
    fn scale(code: u64) -> u64 {
        let (doublings, eighths) = (code / 8, code % 8);
        ((8 + eighths) << doublings) / 8 - u64::from(code == 0)
    }

    fn bits(self, from: u32, to: u32) -> u64 {
        self.0 >> from & ((1 << (to - from)) - 1)
    }
}

/// So many priorities can be drawn.
const DRAWN: usize = 1 << 31;
/// Every so many yields of a run make a goroutine the lowest.
const YIELDS: u32 = 4;
/// After so many choices all priorities are drawn anew: so the lowest gets on though others never
/// wait but for each other.
const REDRAWN: u64 = 2_000;

/// A strategy at work.
#[derive(Debug)]
pub(super) enum Chooser {
    Random(Chance),
    Pct(Pct),
    RoundRobin(Seeded),
    Replay(Replay),
}

/// How goroutines are chosen by chance in a run. Its seed draws one of [`WAYS`]: what finds a bug
/// that wants goroutines to take turns misses one that wants a goroutine to stay behind while
/// another does many steps.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// In so many of 16 cases the running goroutine goes on; if none, it is as likely to as each
    /// other one is to come before.
    goes_on: Option<usize>,
    /// In so many of 16 cases one that gives way stays behind: it runs in the next choices only if
    /// no other one can.
    stays: usize,
    /// The number of those choices is drawn up to a power of two, which is drawn up to two to this.
    doublings: usize,
    /// In so many of 16 cases the one that can run for longest comes next; else any.
    turns: usize,
    /// In so many of 16 cases one that was woken does not come before the running one, if it is
    /// drawn.
    later: usize,
}

/// One for each eighth of the runs. `benches/README.md` has what they find, beside shuttle.
const WAYS: [Way; 8] = [TURNS, TURNS, TURNS, LONG, LONG, LONG, EVEN, EVEN];
const TURNS: Way = Way { goes_on: Some(0), stays: 12, doublings: 1, turns: 12, later: 8 };
const LONG: Way = Way { goes_on: Some(1), stays: 8, doublings: 3, turns: 14, later: 4 };
const EVEN: Way = Way { goes_on: None, stays: 16, doublings: 4, turns: 0, later: 0 };

#[derive(Debug)]
pub(super) struct Chance {
    rng: Seeded,
    way: Way,
    asked: u64,
    /// By id: up to which choice the goroutine stays behind.
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
            // One that was woken may as well come later, which some bugs want; else it would always
            // come at once.
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
    /// By id; 0 for one that has none yet.
    priorities: Vec<i64>,
    /// The choices of that kind at which the priority of the running goroutine is lowered, in
    /// order, the first one last.
    points: Vec<u64>,
    kind: Points,
    counted: u64,
    /// At each point the goroutine gets the lowest priority: another one runs there for certain.
    /// Else those of all points are drawn, and any order of them is found.
    descends: bool,
    lowered: i64,
    asked: u64,
    yields: u32,
    /// Of the goroutines that can run.
    ids: Vec<u64>,
}

impl Pct {
    fn new(mut rng: Seeded, depth: u64, length: u64, kind: Points) -> Self {
        let usual = depth.saturating_sub(1);
        // Twice as many find more, but fewer bugs after a stretch that must not be interrupted.
        let count = if rng.below(2) == 0 { usual } else { 2 * usual };
        // One place is after the end, so that not every choice of a short run is a point.
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

    /// The priority of a goroutine: drawn when it is first seen.
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

    /// Draws the priorities of goroutines that were started together. Those above the one that
    /// started them would have run at once, had there been a choice: each before the next one.
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

    /// At a point of the run the goroutine gets a lower priority than all that had no such point.
    fn lower(&mut self, id: u64) {
        self.lowered += 1;
        self.priorities[id as usize] = if self.descends { -self.lowered } else { -self.draw() };
    }

    /// The goroutine has given way: its priority is drawn anew, if that makes it lower, and after
    /// some times it is the lowest. One that waits for others in a loop lets them run in the end.
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
        // The first one, if two have drawn the same.
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
        // Another sequence than that of the draws of `select!`.
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

    /// Chooses. There is a goroutine that can run.
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

    /// True if the run deviates to that, which happens so often.
    pub(super) fn deviates(&mut self, per_million: u32, key: Key, target: Target) -> bool {
        match self {
            Chooser::Replay(replay) => replay.get(key) == Some(target),
            Chooser::Random(chance) => chance.rng.happens(per_million),
            Chooser::Pct(pct) => pct.rng.happens(per_million),
            Chooser::RoundRobin(rng) => rng.happens(per_million),
        }
    }

    /// The goroutine has given way of its own accord: it may wait for another one in a loop.
    pub(super) fn yielded(&mut self, id: u64) {
        if let Chooser::Pct(pct) = self {
            pct.yielded(id);
        }
    }
}

/// A choice in a run, wherever that goes: the nth one that followed on this goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) goroutine: u64,
    pub(super) number: u32,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Goroutine(u64),
    /// The time moves though goroutines can run.
    Time,
    /// The goroutine goes on though it was aborted.
    Outrun,
}

/// A choice other than the usual one: to go on, or else to take the goroutine that has waited
/// longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deviation {
    pub(super) key: Key,
    pub(super) target: Target,
}

/// Repeats a run, or one with fewer deviations.
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
