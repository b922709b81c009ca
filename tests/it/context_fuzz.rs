//! Random trees of contexts that are extended, cancelled, waited for and dropped from several
//! threads at once.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gopark::context::{CancelCauseFunc, CancelFunc, Context, Stop};

use crate::hand::{Dice, Hand};
use crate::util::{Drops, no_hang, spin_until};

/// A wait that owns its context.
struct Waiting {
    ctx: Context,
    hand: Hand<Pin<Box<dyn Future<Output = ()> + Send>>>,
    parked: bool,
}

impl Waiting {
    fn new(ctx: Context) -> Self {
        let own = ctx.clone();
        let mut hand =
            Hand::new(Box::pin(async move { own.done().await })
                as Pin<Box<dyn Future<Output = ()> + Send>>);
        let parked = hand.poll().is_pending();
        assert!(parked || ctx.err().is_some(), "done, and no error");
        Waiting { ctx, hand, parked }
    }

    /// While everything runs: done no later than the error, though the wake may still be on its
    /// way.
    fn look(&mut self) {
        if !self.hand.is_done() && self.ctx.err().is_some() {
            self.hand.ready();
        }
    }

    /// After all cancels have returned.
    fn settle(mut self) {
        let ended = self.ctx.err().is_some();
        if !self.hand.is_done() {
            // There is one wake, which the thread of a deadline may still owe, and no second one.
            let expected = usize::from(self.parked && ended);
            spin_until(|| self.hand.wakes() == expected);
            assert_eq!(self.hand.poll().is_ready(), ended);
        }
        assert!(self.hand.wakes() <= 1);
    }
}

/// Counts what must happen exactly once.
#[derive(Default)]
struct Books {
    registered: AtomicUsize,
    started: AtomicUsize,
    taken_back: AtomicUsize,
    futures: Drops,
    values_made: AtomicUsize,
    values: Drops,
}

enum Cancel {
    Plain(CancelFunc),
    Cause(CancelCauseFunc),
}

#[derive(Default)]
struct World {
    contexts: Vec<Context>,
    cancels: Vec<Cancel>,
    waits: Vec<Waiting>,
    stops: Vec<Stop>,
}

impl World {
    fn all(&self) -> impl Iterator<Item = &Context> {
        self.contexts.iter().chain(self.waits.iter().map(|wait| &wait.ctx))
    }
}

fn pick<T>(list: &mut Vec<T>, dice: &mut Dice) -> Option<T> {
    if list.is_empty() {
        return None;
    }
    let at = dice.roll(list.len());
    Some(list.swap_remove(at))
}

fn live(
    root: Context,
    seed: u64,
    long: Duration,
    market: &Mutex<Vec<Context>>,
    books: &Arc<Books>,
) -> World {
    let mut dice = Dice::new(seed);
    let mut world = World { contexts: vec![root], ..World::default() };
    for step in 0..400 {
        let at = dice.roll(world.contexts.len());
        let ctx = world.contexts[at].clone();
        match dice.roll(16) {
            0..=2 => {
                let (child, cancel) = ctx.with_cancel();
                world.contexts.push(child);
                world.cancels.push(Cancel::Plain(cancel));
            }
            3 => {
                let (child, cancel) = ctx.with_cancel_cause();
                world.contexts.push(child);
                world.cancels.push(Cancel::Cause(cancel));
            }
            4 => {
                books.values_made.fetch_add(1, Ordering::SeqCst);
                world.contexts.push(ctx.with_value(books.values.one()));
            }
            5 => {
                let timeout = [long, Duration::ZERO, Duration::from_micros(200)][dice.roll(3)];
                let (child, cancel) = ctx.with_timeout(timeout);
                world.contexts.push(child);
                world.cancels.push(Cancel::Plain(cancel));
            }
            6..=7 => world.waits.push(Waiting::new(ctx)),
            8 => {
                books.registered.fetch_add(1, Ordering::SeqCst);
                let (books, counted) = (books.clone(), books.futures.one());
                let stop = ctx.after_func(async move {
                    let _counted = counted;
                    books.started.fetch_add(1, Ordering::SeqCst);
                });
                if dice.roll(2) == 0 {
                    world.stops.push(stop);
                }
            }
            9 => match pick(&mut world.cancels, &mut dice) {
                Some(Cancel::Plain(cancel)) => cancel.cancel(),
                Some(Cancel::Cause(cancel)) => cancel.cancel(format!("{seed}.{step}")),
                None => {}
            },
            10 => drop(pick(&mut world.cancels, &mut dice)),
            11 => {
                if pick(&mut world.stops, &mut dice).is_some_and(|stop| stop.stop()) {
                    books.taken_back.fetch_add(1, Ordering::SeqCst);
                }
            }
            12 => drop(pick(&mut world.waits, &mut dice)),
            13 => world.waits.iter_mut().for_each(Waiting::look),
            14 => {
                let bought = {
                    let mut market = market.lock().unwrap();
                    market.push(ctx);
                    pick(&mut market, &mut dice)
                };
                world.contexts.extend(bought);
            }
            _ => {
                if world.contexts.len() > 1 {
                    world.contexts.swap_remove(1 + dice.roll(world.contexts.len() - 1));
                }
            }
        }
        if world.contexts.len() > 40 {
            world.contexts.truncate(20);
        }
    }
    world
}

/// If the root is not cancelled in the end, everything left ends by being dropped.
fn round(seed: u64, cancelled: bool) {
    let (root, cancel) = Context::background().with_cancel();
    let books = Arc::new(Books::default());
    let market = Arc::new(Mutex::new(Vec::new()));
    // A deadline in the future keeps the functions that wait for it.
    let long = if cancelled { Duration::from_secs(1000) } else { Duration::MAX };
    let threads: Vec<_> = (0..3)
        .map(|i| {
            let (root, market, books) = (root.clone(), market.clone(), books.clone());
            thread::spawn(move || live(root, seed * 10 + i, long, &market, &books))
        })
        .collect();
    let mut worlds: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    if cancelled {
        cancel.cancel();
        assert!(worlds.iter().flat_map(World::all).all(|ctx| ctx.err().is_some()));
        assert!(format!("{root:?}").ends_with("children: 0 }"), "{root:?}");
    } else {
        for ctx in worlds.iter().flat_map(World::all) {
            spin_until(|| ctx.err().is_some() || ctx.deadline().is_none());
        }
    }
    worlds.iter_mut().flat_map(|world| world.waits.drain(..)).for_each(Waiting::settle);
    drop(worlds);
    market.lock().unwrap().clear();
    drop((root, cancel));
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    // Every function and every value is dropped once.
    spin_until(|| books.futures.count() == count(&books.registered));
    assert_eq!(books.values.count(), count(&books.values_made));
    assert!(count(&books.started) + count(&books.taken_back) <= count(&books.registered));
}

#[test]
fn random_trees_end_with_every_wake_and_every_drop_counted_cx11() {
    no_hang(|| {
        for seed in 0..60 {
            round(seed, seed % 4 != 3);
        }
    });
}
