//! Cancellation, at random.
//!
//! The fuzzer polls and drops operations by hand, in a random order, and compares every step with
//! the model: which tasks are woken, how often, with which value, in which order, which values are
//! dropped, and which wakers are kept. Every second task has wakers that panic. A failure prints
//! the shortest script that was found; `replay` runs one.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;

use futures_lite::future::or;
use gopark::chan::{self, Receiver, Sender, WeakReceiver, WeakSender};
use gopark::select;

use crate::dice::Dice;
use crate::model::{
    Answer, End, Item, Model, ModelCase, Side, What, ensure, got, list, list_off, sent,
};
use crate::operation::{Body, Op};
use crate::task::{FAULTS, Fault};
use crate::util::no_hang;

// ------------------------------------------------------------------------------------ what is run

/// A step. An operation is named by the number of the step that makes it, so that a script keeps
/// its meaning when steps are removed. A step that names an operation that does not exist does
/// nothing.
#[derive(Clone, Debug)]
enum Step {
    Recv(usize),
    Send(usize),
    /// A reservation, whose value is sent by a poll after it has got its place.
    Reserve(usize),
    /// A receive of at most this many values.
    RecvMany(usize, usize),
    /// A receiver that is polled as a stream.
    Stream(usize),
    /// A stream that waits in the queue.
    IntoStream(usize),
    /// Two receives in one foreign future, which drops the loser.
    Race(usize, usize),
    /// `select!`: receive, send, receive, send, each on a channel or switched off.
    Macro([Option<usize>; 4]),
    /// `Select`: any cases, and whether each one sends.
    List(Vec<(usize, bool)>),
    /// As `List`, with receives that are switched off at the end of their channels.
    ListOff(Vec<(usize, bool)>),
    TryRecv(usize),
    TrySend(usize),
    Close(usize),
    /// The script's own handle of that side is dropped; operations have their own.
    Leave(usize, bool),
    /// Makes a weak reference from it.
    Weaken(usize, bool),
    /// Upgrades the last weak reference. The new handle is the script's own if that was dropped.
    Upgrade(usize, bool),
    Poll(usize),
    /// Polled by another task.
    Retask(usize),
    Drop(usize),
}

const CHANNELS: usize = 3;

/// A script, each step with its number.
type Script = Vec<(usize, Step)>;

fn script(seed: u64, len: usize) -> Script {
    let mut dice = Dice::new(seed);
    let mut made = vec![0];
    let mut step = |number| {
        let ch = dice.roll(CHANNELS);
        // Mostly one of the last few.
        let back = if dice.roll(5) == 0 { made.len() } else { made.len().min(8) };
        let op = made[made.len() - 1 - dice.roll(back)];
        let step = match dice.roll(100) {
            0..12 => Step::Recv(ch),
            12..24 => Step::Send(ch),
            24..26 => Step::Stream(ch),
            26..28 => Step::IntoStream(ch),
            28..31 => Step::Race(ch, dice.roll(CHANNELS)),
            31..37 => Step::Macro(std::array::from_fn(|_| {
                (dice.roll(3) > 0).then(|| dice.roll(CHANNELS))
            })),
            37..44 => Step::List(
                (0..1 + dice.roll(4)).map(|_| (dice.roll(CHANNELS), dice.roll(2) == 0)).collect(),
            ),
            44..48 => Step::TryRecv(ch),
            // Mostly receives, because a single send keeps it from its end.
            76..81 => Step::ListOff(
                (0..1 + dice.roll(4)).map(|_| (dice.roll(CHANNELS), dice.roll(5) == 0)).collect(),
            ),
            48..52 => Step::TrySend(ch),
            52 if dice.roll(3) == 0 => Step::Close(ch),
            53 if dice.roll(2) == 0 => Step::Leave(ch, dice.roll(2) == 0),
            52..58 => Step::Retask(op),
            58..76 => Step::Drop(op),
            96 if dice.roll(3) == 0 => Step::Weaken(ch, dice.roll(2) == 0),
            96 => Step::Upgrade(ch, dice.roll(2) == 0),
            94..96 => Step::Reserve(ch),
            97..99 => Step::RecvMany(ch, 1 + dice.roll(4)),
            _ => Step::Poll(op),
        };
        if matches!(
            step,
            Step::Recv(_)
                | Step::Send(_)
                | Step::Reserve(_)
                | Step::RecvMany(..)
                | Step::Stream(_)
                | Step::IntoStream(_)
                | Step::Race(..)
                | Step::Macro(_)
                | Step::List(_)
                | Step::ListOff(_)
        ) {
            made.push(number);
        }
        (number, step)
    };
    (0..len).map(&mut step).collect()
}

async fn reserve(tx: Sender<Item>, item: Item) -> Answer {
    let Ok(place) = tx.reserve().await else { return (0, What::Back(item.id)) };
    let mut holds = true;
    poll_fn(|_| if std::mem::take(&mut holds) { Poll::Pending } else { Poll::Ready(()) }).await;
    sent(0, place.send(item))
}

/// The first result is its result; the others are kept next to it.
async fn recv_many(rx: Receiver<Item>, most: usize, more: Rc<RefCell<Vec<usize>>>) -> Answer {
    let mut items = Vec::new();
    let received = rx.recv_many(&mut items, most).await;
    assert_eq!(received, items.len());
    let mut items = items.into_iter();
    let first = items.next();
    more.borrow_mut().extend(items.map(|item| item.id));
    got(0, first)
}

/// How the wakers of the task panic that first polls what a step makes or moves. Odd tasks have
/// such wakers.
fn fault(number: usize) -> Option<Fault> {
    FAULTS.get(number / 2 % FAULTS.len()).copied().filter(|_| number % 2 == 1)
}

// ----------------------------------------------------------------------------- both, side by side

struct World {
    capacities: [usize; CHANNELS],
    model: Model,
    ops: Vec<Op>,
    txs: Vec<Option<Sender<Item>>>,
    rxs: Vec<Option<Receiver<Item>>>,
    weak_txs: [Option<WeakSender<Item>>; CHANNELS],
    weak_rxs: [Option<WeakReceiver<Item>>; CHANNELS],
    /// The number of the step.
    now: usize,
}

impl World {
    fn new(capacities: [usize; CHANNELS]) -> Self {
        let (txs, rxs) =
            capacities.map(chan::bounded).into_iter().map(|(tx, rx)| (Some(tx), Some(rx))).unzip();
        let mut model = Model::default();
        for (ch, capacity) in capacities.into_iter().enumerate() {
            assert_eq!(model.make(capacity), ch);
        }
        let (weak_txs, weak_rxs) = Default::default();
        Self { capacities, model, ops: Vec::new(), txs, rxs, weak_txs, weak_rxs, now: 0 }
    }

    fn add(&mut self, op: Op) {
        self.ops.push(op.spoiled(fault(self.now)));
    }

    /// An operation of one part.
    fn future(&mut self, future: impl Future<Output = Answer> + 'static, cases: Vec<ModelCase>) {
        let op = Op::future(self.now, &mut self.model, cases, future);
        self.add(op);
    }

    /// The end of a channel, for a case of its own; none if the script has dropped it.
    fn end(&mut self, ch: usize, sends: bool) -> Option<(ModelCase, End)> {
        if sends {
            let tx = self.txs[ch].clone()?;
            let item = self.model.item();
            return Some((ModelCase { ch: Some(ch), value: Some(item.id) }, End::Send(tx, item)));
        }
        let rx = self.rxs[ch].clone()?;
        Some((ModelCase { ch: Some(ch), value: None }, End::Recv(rx)))
    }

    fn find(&self, name: usize) -> Option<usize> {
        self.ops.iter().position(|op| op.name == name)
    }

    fn step(&mut self, now: usize, step: &Step) -> Result<(), String> {
        self.now = now;
        match *step {
            Step::Recv(ch) | Step::Send(ch) => match self.end(ch, matches!(step, Step::Send(_))) {
                Some((case, End::Recv(rx))) => {
                    self.future(async move { got(0, rx.recv().await) }, vec![case])
                }
                Some((case, End::Send(tx, item))) => {
                    self.future(async move { sent(0, tx.send(item).await) }, vec![case]);
                }
                None => {}
            },
            // A channel without a buffer has no places to reserve.
            Step::Reserve(ch) if self.capacities[ch] == 0 => {}
            Step::Reserve(ch) => {
                let Some((case, End::Send(tx, item))) = self.end(ch, true) else { return Ok(()) };
                let op = Op::reservation(self.now, &mut self.model, case, reserve(tx, item));
                self.add(op);
            }
            Step::RecvMany(ch, most) => {
                let Some(rx) = self.rxs[ch].clone() else { return Ok(()) };
                let more = Rc::default();
                let future = recv_many(rx, most, Rc::clone(&more));
                let op = Op::future(
                    self.now,
                    &mut self.model,
                    vec![ModelCase { ch: Some(ch), value: None }],
                    future,
                );
                self.add(op.with_more(ch, most, more));
            }
            Step::Stream(ch) => {
                let Some(rx) = self.rxs[ch].clone() else { return Ok(()) };
                let op = Op::stream(self.now, &mut self.model, ch, rx);
                self.add(op);
            }
            Step::IntoStream(ch) => {
                let Some(rx) = self.rxs[ch].clone() else { return Ok(()) };
                let op = Op::into_stream(self.now, &mut self.model, ch, rx);
                self.add(op);
            }
            Step::Race(a, b) => {
                let (Some(rx_a), Some(rx_b)) = (self.rxs[a].clone(), self.rxs[b].clone()) else {
                    return Ok(());
                };
                let race = async move {
                    let first = async { (0, got(0, rx_a.recv().await)) };
                    let second = async { (1, got(0, rx_b.recv().await)) };
                    or(first, second).await
                };
                let [(first, holds_a), (second, holds_b)] = [a, b]
                    .map(|ch| self.model.begin(vec![ModelCase { ch: Some(ch), value: None }]));
                let (parts, handles) = (vec![first, second], [holds_a, holds_b].concat());
                self.add(Op::new(self.now, Body::Future(Box::pin(race)), parts, handles));
            }
            Step::Macro(arms) => self.select_macro(arms),
            Step::List(ref cases) => {
                let (cases, ends) =
                    cases.iter().filter_map(|&(ch, sends)| self.end(ch, sends)).unzip();
                self.future(
                    async move { list(&mut Vec::new(), &mut Vec::new(), ends).wait().await },
                    cases,
                );
            }
            Step::ListOff(ref cases) => {
                let (cases, ends) =
                    cases.iter().filter_map(|&(ch, sends)| self.end(ch, sends)).unzip();
                let future =
                    async move { list_off(&mut Vec::new(), &mut Vec::new(), ends).wait().await };
                let op = Op::future_off(self.now, &mut self.model, cases, future);
                self.add(op);
            }
            Step::TryRecv(ch) => {
                let Some(rx) = &self.rxs[ch] else { return Ok(()) };
                self.model.try_recv(ch, rx)?;
            }
            Step::TrySend(ch) => {
                let Some(tx) = &self.txs[ch] else { return Ok(()) };
                self.model.try_send(ch, tx)?;
            }
            Step::Close(ch) => {
                let Some(tx) = &self.txs[ch] else { return Ok(()) };
                let (got, expected) = (tx.close(), self.model.close(ch));
                ensure!(got == expected, "close said {got}");
            }
            Step::Leave(ch, sends) => {
                if sends && self.txs[ch].take().is_some() {
                    self.model.release(ch, Side::Send);
                }
                if !sends && self.rxs[ch].take().is_some() {
                    self.model.release(ch, Side::Recv);
                }
            }
            Step::Weaken(ch, sends) => {
                if sends {
                    self.weak_txs[ch] = self.txs[ch].as_ref().map(Sender::downgrade);
                } else {
                    self.weak_rxs[ch] = self.rxs[ch].as_ref().map(Receiver::downgrade);
                }
            }
            Step::Upgrade(ch, sends) => return self.upgrade(ch, sends),
            Step::Poll(op) | Step::Retask(op) => {
                let Some(at) = self.find(op) else { return Ok(()) };
                if matches!(step, Step::Retask(_)) {
                    self.ops[at].retask(&mut self.model, fault(now));
                }
                return self.poll(at);
            }
            Step::Drop(op) => {
                let Some(at) = self.find(op) else { return Ok(()) };
                return self.drop_op(at);
            }
        }
        Ok(())
    }

    fn upgrade(&mut self, ch: usize, sends: bool) -> Result<(), String> {
        let side = if sends { Side::Send } else { Side::Recv };
        let handles = self.model.handles(ch, side);
        let (found, is_own) = if sends {
            let Some(weak) = &self.weak_txs[ch] else { return Ok(()) };
            let tx = weak.upgrade();
            let found = (tx.is_some(), self.txs[ch].is_none());
            self.txs[ch] = self.txs[ch].take().or(tx);
            found
        } else {
            let Some(weak) = &self.weak_rxs[ch] else { return Ok(()) };
            let rx = weak.upgrade();
            let found = (rx.is_some(), self.rxs[ch].is_none());
            self.rxs[ch] = self.rxs[ch].take().or(rx);
            found
        };
        ensure!(found == (*handles > 0), "{handles} handles, and the upgrade found {found}");
        *handles += usize::from(found && is_own);
        Ok(())
    }

    fn select_macro(&mut self, arms: [Option<usize>; 4]) {
        let mut sends = false;
        let (cases, ends): (Vec<_>, Vec<_>) = arms
            .map(|arm| {
                let end = arm.and_then(|ch| self.end(ch, sends));
                let end = end.unwrap_or_else(|| {
                    // A case that is off: its value is dropped together with the select, whatever
                    // wins.
                    let item = sends.then(|| self.model.item());
                    let case = ModelCase { ch: None, value: item.as_ref().map(|item| item.id) };
                    (
                        case,
                        item.map_or(End::Recv(Receiver::nil()), |item| {
                            End::Send(Sender::nil(), item)
                        }),
                    )
                });
                sends = !sends;
                end
            })
            .into_iter()
            .unzip();
        let Ok([End::Recv(a), End::Send(b, one), End::Recv(c), End::Send(d, two)]) =
            <[End; 4]>::try_from(ends)
        else {
            unreachable!("every second one sends")
        };
        let future = async move {
            select! {
                v = a.recv() => got(0, v),
                r = b.send(one) => sent(1, r),
                v = c.recv() => got(2, v),
                r = d.send(two) => sent(3, r),
            }
        };
        self.future(future, cases);
    }

    fn poll(&mut self, at: usize) -> Result<(), String> {
        if self.ops[at].poll(&mut self.model)? { self.drop_op(at) } else { Ok(()) }
    }

    fn drop_op(&mut self, at: usize) -> Result<(), String> {
        self.ops.swap_remove(at).end(&mut self.model)
    }

    /// Checks what must hold after every step.
    fn check(&self) -> Result<(), String> {
        self.model.check_values()?;
        self.ops.iter().try_for_each(|op| op.check(&self.model))?;
        for ch in 0..CHANNELS {
            if let Some(rx) = &self.rxs[ch] {
                self.model.check_chan(ch, (rx.len(), rx.capacity(), rx.is_closed()))?;
            }
            if let Some(tx) = &self.txs[ch] {
                self.model.check_chan(ch, (tx.len(), tx.capacity(), tx.is_closed()))?;
            }
        }
        Ok(())
    }
}

/// Runs a script. The error says which step was wrong.
fn replay(seed: u64, capacities: [usize; CHANNELS], steps: &[(usize, Step)]) -> Result<(), String> {
    let run = || {
        fastrand::seed(seed); // the random choices of a select
        let mut world = World::new(capacities);
        let run = |world: &mut World, at: usize, step: &Step| {
            world.step(at, step).and_then(|()| world.check()).map_err(|error| {
                let place =
                    if at == usize::MAX { "at the end".to_owned() } else { format!("step {at}") };
                format!("{place}, {step:?}: {error}")
            })
        };
        for (at, step) in steps {
            run(&mut world, *at, step)?;
        }
        // The end: everything left is dropped, in a random order.
        let at = usize::MAX;
        while !world.ops.is_empty() {
            let name = world.ops[seed as usize * 7 % world.ops.len()].name;
            run(&mut world, at, &Step::Drop(name))?;
        }
        for ch in 0..CHANNELS {
            run(&mut world, at, &Step::Leave(ch, seed % 2 == 0))?;
            run(&mut world, at, &Step::Leave(ch, seed % 2 == 1))?;
        }
        world.model.check_all_gone().map_err(|error| format!("at the end: {error}"))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked, see above".into()))
}

/// Runs many scripts. If one fails, reports the shortest script that still fails.
fn fuzz(capacities: impl Fn(u64) -> [usize; CHANNELS], seeds: std::ops::Range<u64>, len: usize) {
    for seed in seeds {
        let (capacities, mut at) = (capacities(seed), 0);
        let mut steps = script(seed, len);
        let Err(mut error) = replay(seed, capacities, &steps) else { continue };
        let mut left = steps.len();
        while left > 0 {
            let mut fewer = steps.clone();
            fewer.remove(at % steps.len());
            match replay(seed, capacities, &fewer) {
                Err(same) => (steps, error, left) = (fewer, same, steps.len() - 1),
                Ok(()) => (at, left) = (at + 1, left - 1),
            }
        }
        let mut text = String::new();
        steps.iter().for_each(|step| _ = writeln!(text, "    {step:?},"));
        panic!("seed {seed}, capacities {capacities:?}: {error}\nreplay with\n{text}");
    }
}

#[test]
fn dropping_anything_at_any_moment_loses_nothing_unbuffered_ca01_ca04_ca05_ca07_ca08() {
    no_hang(|| fuzz(|_| [0; CHANNELS], 0..750, 120));
}

#[test]
fn dropping_anything_at_any_moment_loses_nothing_with_room_for_one_ca01_ca04_ca05_ca07_ca08() {
    no_hang(|| fuzz(|_| [1; CHANNELS], 10_000..10_750, 120));
}

#[test]
fn dropping_anything_at_any_moment_loses_nothing_with_room_for_three_ca01_ca04_ca05_ca07_ca08() {
    no_hang(|| fuzz(|_| [3; CHANNELS], 20_000..20_750, 160));
}

#[test]
fn dropping_anything_at_any_moment_loses_nothing_with_all_sorts_of_channels_ca01_ca04_ca05_ca07_ca08()
 {
    no_hang(|| {
        fuzz(
            |seed| [0, 1, 3].map(|c: usize| [0, 1, 3, 2][(c + seed as usize) % 4]),
            30_000..30_750,
            200,
        )
    });
}

#[test]
fn the_fuzzer_sees_a_mistake() {
    // A script with a wrong expectation of its own: the value is dropped, but not twice.
    let mut world = World::new([1; CHANNELS]);
    for (at, step) in [Step::Send(0), Step::Poll(0), Step::TryRecv(0)].into_iter().enumerate() {
        world.step(at, &step).unwrap();
        world.check().unwrap();
    }
    world.model.gone[0] += 1;
    assert_eq!(world.check().unwrap_err(), "value 0 was dropped 1 times, not 2");
}

#[test]
fn the_fuzzer_takes_arms_out_and_counts_them() {
    let mut world = World::new([0, 1, 3]);
    let receives = vec![(0, false), (1, false), (1, false)];
    let steps = [
        Step::ListOff(receives),
        Step::Poll(0),
        Step::Close(0),
        Step::Poll(0),
        Step::Close(1),
        Step::Poll(0),
    ];
    for (at, step) in steps.into_iter().enumerate() {
        world.step(at, &step).unwrap();
        world.check().unwrap();
    }
    assert_eq!((world.model.tally.went_off, world.ops.len()), (3, 0));
}

#[test]
fn the_fuzzer_gives_places_and_takes_them_back() {
    let mut world = World::new([1; CHANNELS]);
    let steps = [
        // The first one has the place, the second waits, the third matches a receive that finds
        // nothing.
        (0, Step::Reserve(0)),
        (1, Step::Reserve(0)),
        (2, Step::Send(0)),
        (3, Step::Poll(0)),
        (4, Step::Poll(1)),
        (5, Step::Poll(2)),
        (6, Step::TryRecv(0)),
        (7, Step::Drop(0)),
        (8, Step::Poll(1)),
        (9, Step::Poll(1)),
        (10, Step::TryRecv(0)),
    ];
    for (at, step) in steps {
        world.step(at, &step).unwrap();
        world.check().unwrap();
    }
    assert_eq!((world.model.tally.placed, world.model.tally.unplaced), (1, 1));
}

#[test]
fn the_model_sees_a_select_that_sent_another_value_than_it_tells() {
    let case = |item: &Item| ModelCase { ch: Some(0), value: Some(item.id) };
    let parked = || {
        let mut model = Model::default();
        assert_eq!(model.make(0), 0);
        let items = [model.item(), model.item()];
        let (op, _) = model.begin(items.iter().map(case).collect());
        model.polled(op, None, false).unwrap();
        (model, items, op)
    };
    let (mut model, [_, second], op) = parked();
    model.looked(0, Some(What::Got(Some(second.id)))).unwrap();
    drop(second);
    let error = model.polled(op, Some((0, What::Sent)), false).unwrap_err();
    assert_eq!(error, "gave Some((0, Sent)), which is Some((1, Sent)), not (0, Sent)");
    // The other way round: the model records the value that was sent first.
    let (mut model, [first, _second], op) = parked();
    model.looked(0, Some(What::Got(Some(first.id)))).unwrap();
    model.polled(op, Some((0, What::Sent)), false).unwrap();
    assert_eq!(model.check_values().unwrap_err(), "value 0 was dropped 0 times, not 1");
    drop(first);
    assert_eq!(model.check_values().unwrap_err(), "value 1 was dropped 0 times, not 1");
    // The model records neither: one of them is dropped, and it does not matter which.
    let (mut model, [_first, second], op) = parked();
    let (receive, _) = model.begin(vec![ModelCase { ch: Some(0), value: None }]);
    model.polled(receive, Some((0, What::Got(Some(second.id)))), false).unwrap();
    model.abandon(op);
    assert!(model.check_values().is_err());
}
