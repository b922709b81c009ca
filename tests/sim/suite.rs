//! Random programs over everything that waits, checked for what must hold in every interleaving:
//! nothing is lost, nothing arrives twice, locks exclude each other, and a dropped wait leaves no
//! trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex as Std;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use std::time::Duration;

use gopark::chan::{self, Receiver, Sender};
use gopark::context::Context;
use gopark::select::Select;
use gopark::sim::{Config, Strategy};
use gopark::sync::{Cond, Mutex, RwMutex, Semaphore, WaitGroup};
use gopark::{go, gosched, select, time};

/// A small generator of its own: the program depends on it, the schedule on the simulation.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }
}

const PERMITS: usize = 2;
/// Programs of each kind.
const RUNS: u64 = 3000;

/// What happened to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The goroutine that sends it may have been dropped.
    Unknown,
    Sent,
    GivenUp,
}

struct World {
    channels: Vec<(Sender<usize>, Receiver<usize>)>,
    m: Mutex<()>,
    rw: RwMutex<()>,
    s: Semaphore,
    c: Cond,
    owners: AtomicIsize,
    /// Readers count 1, writers 1000.
    inside: AtomicIsize,
    drawn: AtomicIsize,
    next: AtomicIsize,
    fates: Std<BTreeMap<usize, Fate>>,
    /// By channel and receiver, in order.
    received: Std<Vec<(usize, usize, usize)>>,
}

/// Counts while it exists.
struct Inside<'a>(&'a AtomicIsize, isize);

impl<'a> Inside<'a> {
    fn enter(count: &'a AtomicIsize, by: isize, most: isize) -> Self {
        let now = count.fetch_add(by, Relaxed) + by;
        assert!(now <= most, "{now} inside, at most {most} may be");
        Self(count, by)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}

impl World {
    fn new() -> Self {
        World {
            channels: [0, 1, 3].map(chan::bounded).into(),
            m: Mutex::new(()),
            rw: RwMutex::new(()),
            s: Semaphore::new(PERMITS),
            c: Cond::new(),
            owners: AtomicIsize::new(0),
            inside: AtomicIsize::new(0),
            drawn: AtomicIsize::new(0),
            next: AtomicIsize::new(0),
            fates: Std::default(),
            received: Std::default(),
        }
    }

    /// A value that has not been sent: those of one goroutine ascend.
    fn value(&self) -> usize {
        let value = self.next.fetch_add(1, Relaxed) as usize;
        self.fates.lock().unwrap().insert(value, Fate::Unknown);
        value
    }

    fn fate(&self, value: usize, fate: Fate) {
        self.fates.lock().unwrap().insert(value, fate);
    }

    fn got(&self, channel: usize, receiver: usize, value: Option<usize>) {
        self.received.lock().unwrap().extend(value.map(|value| (channel, receiver, value)));
    }

    /// One action of the goroutine with that number.
    async fn act(&self, me: usize, dice: &mut Dice) {
        let (ch, other) = (dice.roll(3), dice.roll(3));
        let (wait, short) = (
            Duration::from_millis(1 + dice.roll(4) as u64),
            Duration::from_millis(dice.roll(2) as u64),
        );
        let (tx, rx) = &self.channels[ch];
        match dice.roll(14) {
            0 | 1 => {
                let value = self.value();
                let sent = time::timeout(wait, tx.send(value)).await;
                self.fate(value, if sent == Ok(Ok(())) { Fate::Sent } else { Fate::GivenUp });
            }
            2 | 3 => {
                if let Ok(value) = time::timeout(wait, rx.recv()).await {
                    self.got(ch, me, value);
                }
            }
            4 => {
                let value = self.value();
                let (mut fate, receives) = (Fate::GivenUp, &self.channels[other].1);
                select! {
                    got = receives.recv() => self.got(other, me, got),
                    sent = tx.send(value) => if sent.is_ok() { fate = Fate::Sent },
                    _ = time::sleep(wait) => {}
                }
                self.fate(value, fate);
            }
            5 => {
                let values = [self.value(), self.value()];
                let winner = Select::new()
                    .send(tx, values[0], |sent| sent.is_ok().then_some(0))
                    .send(&self.channels[other].0, values[1], |sent| sent.is_ok().then_some(1))
                    .case(time::sleep(wait), |()| None)
                    .wait()
                    .await;
                for (at, value) in values.into_iter().enumerate() {
                    self.fate(value, if winner == Some(at) { Fate::Sent } else { Fate::GivenUp });
                }
            }
            6 => {
                if let Ok(_guard) = time::timeout(wait, self.m.lock()).await {
                    let _inside = Inside::enter(&self.owners, 1, 1);
                    gosched().await;
                    if dice.roll(2) == 0 {
                        time::sleep(short).await;
                    }
                }
            }
            7 => {
                if let Ok(_guard) = time::timeout(wait, self.rw.rlock()).await {
                    let _inside = Inside::enter(&self.inside, 1, 999);
                    gosched().await;
                }
            }
            8 => {
                if let Ok(_guard) = time::timeout(wait, self.rw.lock()).await {
                    let _inside = Inside::enter(&self.inside, 1000, 1000);
                    time::sleep(short).await;
                }
            }
            9 => {
                let n = 1 + dice.roll(PERMITS);
                if let Ok(_permit) = time::timeout(wait, self.s.acquire(n)).await {
                    let _inside = Inside::enter(&self.drawn, n as isize, PERMITS as isize);
                    gosched().await;
                }
            }
            10 => {
                let waits = async {
                    let guard = self.m.lock().await;
                    let guard = self.c.wait(guard).await;
                    let _inside = Inside::enter(&self.owners, 1, 1);
                    gosched().await;
                    drop(guard);
                };
                time::timeout(wait, waits).await.ok();
            }
            11 => {
                if dice.roll(2) == 0 {
                    self.c.signal()
                } else {
                    self.c.broadcast()
                }
            }
            12 => {
                let (ctx, cancel) = Context::background().with_timeout(wait);
                let value = self.value();
                let sent = ctx.run(tx.send(value)).await;
                self.fate(
                    value,
                    if matches!(sent, Ok(Ok(()))) { Fate::Sent } else { Fate::GivenUp },
                );
                if dice.roll(2) == 0 {
                    cancel.cancel();
                }
            }
            _ => time::sleep(short).await,
        }
    }
}

/// Counts a goroutine down when it ends, in any way.
struct Done(WaitGroup);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.done();
    }
}

/// Some goroutines, a few of which are aborted.
async fn program(seed: u64) {
    let (world, group) = (Arc::new(World::new()), WaitGroup::new());
    let mut dice = Dice(seed);
    for me in 0..2 + dice.roll(4) {
        let mut dice = Dice(seed ^ (me as u64 + 1) << 32);
        let (world, group, is_aborted) = (world.clone(), group.clone(), dice.roll(5) == 0);
        group.add(1);
        // It exists before the goroutine is first polled, which may never happen.
        let done = Done(group.clone());
        let actor = go(async move {
            let _done = done;
            for _ in 0..2 + dice.roll(5) {
                world.act(me, &mut dice).await;
            }
        });
        if is_aborted {
            go(async move {
                time::sleep(Duration::from_millis(2)).await;
                actor.abort();
            });
        } else {
            // Its panic is the run's.
            drop(actor);
        }
    }
    group.wait().await;
    let mut received = world.received.lock().unwrap().clone();
    for (ch, (_, rx)) in world.channels.iter().enumerate() {
        while let Ok(value) = rx.try_recv() {
            received.push((ch, usize::MAX, value));
        }
    }
    let fates = world.fates.lock().unwrap();
    let values: BTreeSet<_> = received.iter().map(|(.., value)| *value).collect();
    assert_eq!(values.len(), received.len(), "a value came twice: {received:?}");
    for (value, fate) in fates.iter() {
        match fate {
            Fate::GivenUp => assert!(!values.contains(value), "{value} was given up, and received"),
            // A value that was handed to an aborted receiver, and not recorded, is returned.
            Fate::Sent => assert!(values.contains(value), "{value} was sent, and is lost"),
            Fate::Unknown => {}
        }
    }
    assert!(world.m.try_lock().is_some(), "the mutex is free");
    assert!(world.rw.try_lock().is_some(), "the rwmutex is free");
    assert_eq!(world.s.available(), PERMITS);
    assert_eq!(format!("{:?}", world.c), "Cond { waiting: 0 }");
}

/// Every value that is sent is received, if no goroutine is aborted.
async fn lossless(seed: u64) {
    let world = Arc::new(World::new());
    let mut dice = Dice(seed);
    let actors: Vec<_> = (0..2 + dice.roll(4))
        .map(|me| {
            let (world, mut dice) = (world.clone(), Dice(seed ^ (me as u64 + 1) << 32));
            go(async move {
                for _ in 0..2 + dice.roll(5) {
                    world.act(me, &mut dice).await;
                }
            })
        })
        .collect();
    for actor in actors {
        actor.await.unwrap();
    }
    let mut received = world.received.lock().unwrap().clone();
    for (ch, (_, rx)) in world.channels.iter().enumerate() {
        while let Ok(value) = rx.try_recv() {
            received.push((ch, usize::MAX, value));
        }
    }
    let mut values: Vec<_> = received.iter().map(|(.., value)| *value).collect();
    values.sort_unstable();
    let fates = world.fates.lock().unwrap();
    let sent: Vec<_> =
        fates.iter().filter(|(_, fate)| **fate == Fate::Sent).map(|(value, _)| *value).collect();
    assert_eq!(values, sent);
}

#[test]
fn whatever_is_given_up_leaves_no_trace() {
    for (strategy, cancel) in [
        (Strategy::Random, 0.0),
        (Strategy::Random, 0.1),
        (Strategy::Pct { depth: 3 }, 0.05),
        (Strategy::RoundRobin, 0.0),
    ] {
        for number in 0..RUNS {
            let config =
                Config::new().runs(1).seed(number).strategy(strategy).cancel(cancel).leaks(true);
            config.check(|| program(number));
            config.check(|| lossless(number));
        }
    }
}
