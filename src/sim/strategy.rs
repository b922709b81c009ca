//! Who runs next: the choices of a simulation, and how they are repeated.

use std::collections::HashMap;
use std::mem::take;

use crate::executor::simulation::Simulation;
use crate::random::Seeded;

/// How a simulation chooses among the goroutines that can run.
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
    /// Each goroutine that can run is equally likely, before every operation; but the one that is about to begin it is half as
    /// likely to go on as each other one is to come before it, since most bugs want that.
    #[default]
    Random,
    /// The goroutine of the highest priority runs, and goes on until it waits. Priorities are drawn; at `depth - 1` points of a run,
    /// drawn too, the running goroutine gets the lowest one. A bug that wants few ordered events in many steps is found sooner
    /// than by [`Random`](Self::Random). (Burckhardt, Kothari, Musuvathi and Nagarakatte: "A Randomized Scheduler with
    /// Probabilistic Guarantees of Finding Bugs", 2010.)
    Pct {
        /// The number of events of a bug whose order matters: 2 or 3 find most.
        depth: usize,
    },
    /// They take turns, in the order in which they were woken: an operation each. `select!` still draws from the seed.
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
    /// It is about to begin an operation, and can go on.
    pub(super) can_go_on: bool,
    /// How many others can run.
    pub(super) ready: usize,
    /// Where they are.
    pub(super) simulation: Simulation,
}

/// A seed as the strategy reads it, so that it stands for a run by itself.
///
/// | bits | field |
/// |---|---|
/// | 0-47 | the number of the run, from which the draws follow |
/// | 48-55 | of [`Strategy::Pct`]: how many choices are expected, by [`scale`](Self::scale); 0 if nothing is known |
/// | 56-61 | its depth |
/// | 62-63 | the strategy: 1 for `Pct`, 2 for `RoundRobin`, else `Random` |
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) u64);

const LENGTH: u32 = 48;
const DEPTH: u32 = 56;
const STRATEGY: u32 = 62;
/// The number of choices that is expected if nothing is known.
const USUAL_LENGTH: u64 = 64;

impl Seed {
    /// The seed of a run by that strategy, where runs have had up to `longest` choices. A number that is a seed of another strategy
    /// stays what it is.
    pub(super) fn new(number: u64, strategy: Strategy, longest: usize) -> Self {
        if number >> LENGTH != 0 {
            return Self(number);
        }
        let length = (0..=u64::from(u8::MAX)).find(|code| Self::scale(*code) >= longest as u64).unwrap_or(0);
        Self(match strategy {
            Strategy::Random => number,
            Strategy::Pct { depth } => number | length << LENGTH | (depth.min(63) as u64) << DEPTH | 1 << STRATEGY,
            Strategy::RoundRobin => number | 2 << STRATEGY,
        })
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

/// By chance a goroutine gives way to each other one so many times as often as it goes on.
const GIVES_WAY: usize = 2;
/// So many priorities can be drawn.
const DRAWN: usize = 1 << 31;
/// Every so many yields of a run make a goroutine the lowest.
const YIELDS: u32 = 4;
/// After so many choices all priorities are drawn anew: so the lowest gets on though others never wait but for each other.
const REDRAWN: u64 = 2_000;

/// A strategy at work.
#[derive(Debug)]
pub(super) enum Chooser {
    Random(Seeded),
    Pct(Pct),
    RoundRobin(Seeded),
    Replay(Replay),
}

#[derive(Debug)]
pub(super) struct Pct {
    rng: Seeded,
    /// By id; 0 for one that has none yet.
    priorities: Vec<i64>,
    /// The questions at which the priority of the running goroutine is lowered, in order, the first one last.
    points: Vec<u64>,
    asked: u64,
    yields: u32,
    /// Of the goroutines that can run.
    ids: Vec<u64>,
}

impl Pct {
    fn new(mut rng: Seeded, depth: u64, length: u64) -> Self {
        let mut points: Vec<_> = (1..depth).map(|_| 1 + rng.below(length as usize) as u64).collect();
        points.sort_unstable_by(|a, b| b.cmp(a));
        Self { rng, priorities: Vec::new(), points, asked: 0, yields: 0, ids: Vec::new() }
    }

    /// The priority of a goroutine: drawn when it is first seen.
    fn priority(&mut self, id: u64) -> i64 {
        let at = id as usize;
        if self.priorities.len() <= at {
            self.priorities.resize(at + 1, 0);
        }
        if self.priorities[at] == 0 {
            self.priorities[at] = 1 + self.rng.below(DRAWN) as i64;
        }
        self.priorities[at]
    }

    /// At a point of the run the goroutine gets a lower priority than all that had no such point.
    fn lower(&mut self, id: u64) {
        self.priorities[id as usize] = -1 - self.rng.below(DRAWN) as i64;
    }

    /// The goroutine has given way: its priority is drawn anew, if that makes it lower, and after some times it is the lowest. One that
    /// waits for others in a loop lets them run in the end.
    fn yielded(&mut self, id: u64) {
        self.yields += 1;
        let drawn = 1 + self.rng.below(DRAWN) as i64;
        let lowest = -i64::from(self.yields) - DRAWN as i64;
        let next = if self.yields % YIELDS == 0 { lowest } else { drawn };
        self.priorities[id as usize] = self.priority(id).min(next);
    }

    fn choose(&mut self, question: Question) -> Choice {
        let Question { current, can_go_on, simulation, .. } = question;
        let mut ids = take(&mut self.ids);
        simulation.ready(&mut ids);
        let places = ids.iter().copied().enumerate().map(|(place, id)| (Choice::Place(place), id));
        let candidates = can_go_on.then_some((Choice::GoesOn, current)).into_iter().chain(places);
        // The first one, if two have drawn the same.
        if self.asked % REDRAWN == REDRAWN - 1 {
            self.priorities.fill(0);
        }
        let highest =
            |pct: &mut Self| candidates.clone().rev().max_by_key(|(_, id)| pct.priority(*id)).expect("one can run");
        let (mut choice, mut chosen) = highest(self);
        self.asked += 1;
        while self.points.last().is_some_and(|point| *point <= self.asked) {
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
                Chooser::Pct(Pct::new(rng, seed.bits(DEPTH, STRATEGY), length))
            }
            2 => Chooser::RoundRobin(rng),
            _ => Chooser::Random(rng),
        }
    }

    /// Chooses. There is a goroutine that can run.
    #[inline]
    pub(super) fn choose(&mut self, question: Question, key: Key) -> Choice {
        let Question { can_go_on, ready, simulation, .. } = question;
        match self {
            Chooser::Random(rng) if can_go_on => match rng.below_or_only(ready * GIVES_WAY + 1) / GIVES_WAY {
                drawn if drawn == ready => Choice::GoesOn,
                drawn => Choice::Place(drawn),
            },
            Chooser::Random(rng) => Choice::Place(rng.below_or_only(ready)),
            Chooser::Pct(pct) => pct.choose(question),
            Chooser::RoundRobin(_) if ready == 0 => Choice::GoesOn,
            Chooser::RoundRobin(_) => Choice::Place(0),
            Chooser::Replay(replay) => {
                let usual = if can_go_on { Choice::GoesOn } else { Choice::Place(0) };
                let Some(Target::Goroutine(wanted)) = replay.get(key) else { return usual };
                (0..ready).find(|place| simulation.peek(*place).0 == wanted).map_or(usual, Choice::Place)
            }
        }
    }

    /// True if the run deviates to that, which happens so often.
    pub(super) fn deviates(&mut self, per_million: u32, key: Key, target: Target) -> bool {
        match self {
            Chooser::Replay(replay) => replay.get(key) == Some(target),
            Chooser::Random(rng) | Chooser::RoundRobin(rng) | Chooser::Pct(Pct { rng, .. }) => rng.happens(per_million),
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

/// A choice other than the usual one: to go on, or else to take the goroutine that has waited longest.
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
