//! Cancellation, at random.
//!
//! The fuzzer polls and drops operations by hand, in a random order, and compares every step with the model: who is woken,
//! how often, with which value, in which order, and which values are gone. A failure prints the shortest script it could
//! find; `replay` runs one.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_lite::Stream;
use futures_lite::future::or;
use gopark::chan::{self, IntoStream, Receiver, Sender};
use gopark::select;

use crate::hand::Dice;
use crate::model::{Answer, End, Item, Model, ModelCase, Side, What, ensure, got, list, sent};
use crate::util::{Wakes, no_hang};

// ------------------------------------------------------------------------------------------------ what is run

/// A step. An operation is named by the number of the step that makes it, so that a script still means the same when
/// steps are taken out of it; a step that names an operation which is not there does nothing.
#[derive(Clone, Debug)]
enum Step {
    Recv(usize),
    Send(usize),
    /// A receiver that is polled as a stream.
    Stream(usize),
    /// One that waits in line.
    IntoStream(usize),
    /// Two receives as one future of somebody else's, the loser dropped.
    Race(usize, usize),
    /// `select!`: receive, send, receive, send, each from a channel or switched off.
    Macro([Option<usize>; 4]),
    /// `Select`: any cases, and whether each one sends.
    List(Vec<(usize, bool)>),
    TryRecv(usize),
    TrySend(usize),
    Close(usize),
    /// The script's own handle of that side goes; operations have their own.
    Leave(usize, bool),
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
            31..37 => Step::Macro(std::array::from_fn(|_| (dice.roll(3) > 0).then(|| dice.roll(CHANNELS)))),
            37..44 => Step::List((0..1 + dice.roll(4)).map(|_| (dice.roll(CHANNELS), dice.roll(2) == 0)).collect()),
            44..48 => Step::TryRecv(ch),
            48..52 => Step::TrySend(ch),
            52 if dice.roll(3) == 0 => Step::Close(ch),
            53 if dice.roll(2) == 0 => Step::Leave(ch, dice.roll(2) == 0),
            52..58 => Step::Retask(op),
            58..76 => Step::Drop(op),
            _ => Step::Poll(op),
        };
        if matches!(
            step,
            Step::Recv(_)
                | Step::Send(_)
                | Step::Stream(_)
                | Step::IntoStream(_)
                | Step::Race(..)
                | Step::Macro(_)
                | Step::List(_)
        ) {
            made.push(number);
        }
        (number, step)
    };
    (0..len).map(&mut step).collect()
}

/// Which part of an operation has answered, and what.
type Told = (usize, Answer);

enum Body {
    Future(Pin<Box<dyn Future<Output = Told>>>),
    Stream(Box<Receiver<Item>>),
    /// Its part is the receive for which it waits, or will; none once it has ended.
    IntoStream(IntoStream<Item>),
}

struct Op {
    /// The step that made it.
    name: usize,
    body: Body,
    /// The model's numbers of the operations that it consists of.
    parts: Vec<usize>,
    /// The handles that go with it.
    handles: Vec<(usize, Side)>,
    wakes: Arc<Wakes>,
    waker: Waker,
    /// Of tasks that polled it before, and how often they were woken until then.
    stale: Vec<(Arc<Wakes>, usize)>,
    /// Of a stream that watches: the wakes seen when it was last found pending, and its channel.
    watching: Option<(usize, usize)>,
    /// Of a stream: how often its task may have been woken, or if it waits in line, was.
    told: usize,
}

// ------------------------------------------------------------------------------------------------ both, side by side

struct World {
    model: Model,
    ops: Vec<Op>,
    txs: Vec<Option<Sender<Item>>>,
    rxs: Vec<Option<Receiver<Item>>>,
    /// The number of the step.
    now: usize,
}

impl World {
    fn new(capacities: [usize; CHANNELS]) -> Self {
        let (txs, rxs) = capacities.map(chan::bounded).into_iter().map(|(tx, rx)| (Some(tx), Some(rx))).unzip();
        let mut model = Model::default();
        for (ch, capacity) in capacities.into_iter().enumerate() {
            assert_eq!(model.make(capacity), ch);
        }
        Self { model, ops: Vec::new(), txs, rxs, now: 0 }
    }

    fn add(&mut self, body: Body, parts: Vec<usize>, handles: Vec<(usize, Side)>) {
        let (wakes, waker) = Wakes::new();
        let name = self.now;
        self.ops.push(Op { name, body, parts, handles, wakes, waker, stale: Vec::new(), watching: None, told: 0 });
    }

    /// An operation of one part.
    fn future(&mut self, future: impl Future<Output = Answer> + 'static, cases: Vec<ModelCase>) {
        let (part, handles) = self.model.begin(cases);
        self.add(Body::Future(Box::pin(async move { (0, future.await) })), vec![part], handles);
    }

    /// The end of a channel, for a case of its own; none if the script has left it.
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
                Some((case, End::Recv(rx))) => self.future(async move { got(0, rx.recv().await) }, vec![case]),
                Some((case, End::Send(tx, item))) => {
                    self.future(async move { sent(0, tx.send(item).await) }, vec![case]);
                }
                None => {}
            },
            Step::Stream(ch) => {
                let Some(rx) = self.rxs[ch].clone() else { return Ok(()) };
                *self.model.handles(ch, Side::Recv) += 1;
                self.add(Body::Stream(Box::new(rx)), Vec::new(), vec![(ch, Side::Recv)]);
            }
            Step::IntoStream(ch) => {
                let Some(rx) = self.rxs[ch].clone() else { return Ok(()) };
                let (part, handles) = self.model.begin(vec![ModelCase { ch: Some(ch), value: None }]);
                self.add(Body::IntoStream(rx.into_stream()), vec![part], handles);
            }
            Step::Race(a, b) => {
                let (Some(rx_a), Some(rx_b)) = (self.rxs[a].clone(), self.rxs[b].clone()) else { return Ok(()) };
                let race = async move {
                    let first = async { (0, got(0, rx_a.recv().await)) };
                    let second = async { (1, got(0, rx_b.recv().await)) };
                    or(first, second).await
                };
                let [(first, holds_a), (second, holds_b)] =
                    [a, b].map(|ch| self.model.begin(vec![ModelCase { ch: Some(ch), value: None }]));
                self.add(Body::Future(Box::pin(race)), vec![first, second], [holds_a, holds_b].concat());
            }
            Step::Macro(arms) => self.select_macro(arms),
            Step::List(ref cases) => {
                let (mut cases, mut ends): (Vec<_>, Vec<_>) =
                    cases.iter().filter_map(|&(ch, sends)| self.end(ch, sends)).unzip();
                self.model.twin(&mut cases, &mut ends);
                self.future(async move { list(&mut Vec::new(), &mut Vec::new(), ends).wait().await }, cases);
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
            Step::Poll(op) | Step::Retask(op) => {
                let Some(at) = self.find(op) else { return Ok(()) };
                if matches!(step, Step::Retask(_)) {
                    let (wakes, waker) = Wakes::new();
                    let op = &mut self.ops[at];
                    // A wake of the task before may be on its way.
                    let (seen, complete) = (op.wakes.count(), |part: &usize| self.model.is_won(*part));
                    if !op.parts.iter().any(complete) {
                        op.stale.push((std::mem::replace(&mut op.wakes, wakes), seen));
                        (op.waker, op.told) = (waker, 0);
                    }
                }
                return self.poll(at);
            }
            Step::Drop(op) => {
                let Some(at) = self.find(op) else { return Ok(()) };
                self.drop_op(at);
            }
        }
        Ok(())
    }

    fn select_macro(&mut self, arms: [Option<usize>; 4]) {
        let mut sends = false;
        let (mut cases, mut ends): (Vec<_>, Vec<_>) = arms
            .map(|arm| {
                let end = arm.and_then(|ch| self.end(ch, sends));
                let end = end.unwrap_or_else(|| {
                    // Switched off: its value goes when the select does, whatever wins.
                    let item = sends.then(|| self.model.item());
                    let case = ModelCase { ch: None, value: item.as_ref().map(|item| item.id) };
                    (case, item.map_or(End::Recv(Receiver::nil()), |item| End::Send(Sender::nil(), item)))
                });
                sends = !sends;
                end
            })
            .into_iter()
            .unzip();
        self.model.twin(&mut cases, &mut ends);
        let Ok([End::Recv(a), End::Send(b, one), End::Recv(c), End::Send(d, two)]) = <[End; 4]>::try_from(ends) else {
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
        let op = &mut self.ops[at];
        let name = op.name;
        let mut cx = Context::from_waker(&op.waker);
        let future = match &mut op.body {
            Body::Future(future) => future,
            Body::Stream(rx) => {
                let (ch, _) = op.handles[0];
                let real = match Pin::new(&mut **rx).poll_next(&mut cx) {
                    Poll::Ready(item) => Some(What::Got(item.map(|item| item.id))),
                    Poll::Pending => None,
                };
                op.watching = real.is_none().then(|| (ch, op.wakes.count()));
                // At most one wake for each time it was found pending.
                op.told += usize::from(real.is_none());
                return self.model.looked(ch, real).map_err(|error| format!("stream {name} {error}"));
            }
            Body::IntoStream(stream) => {
                let real = match Pin::new(stream).poll_next(&mut cx) {
                    Poll::Ready(item) => Some(got(0, item)),
                    Poll::Pending => None,
                };
                let Some(part) = op.parts.pop() else {
                    ensure!(real == Some((0, What::Got(None))), "stream {name} gave {real:?} after its end");
                    return Ok(());
                };
                op.told += usize::from(self.model.is_won(part));
                self.model.polled(part, real, false).map_err(|error| format!("stream {name} {error}"))?;
                match real {
                    None => op.parts.push(part),
                    // The next one. It holds no handle of its own.
                    Some((_, What::Got(Some(_)))) => {
                        let (part, holds) =
                            self.model.begin(vec![ModelCase { ch: Some(op.handles[0].0), value: None }]);
                        holds.into_iter().for_each(|(ch, side)| *self.model.handles(ch, side) -= 1);
                        op.parts.push(part);
                    }
                    Some(_) => {}
                }
                return Ok(());
            }
        };
        let real = match future.as_mut().poll(&mut cx) {
            Poll::Ready(told) => Some(told),
            Poll::Pending => None,
        };
        // The parts are polled in turn, until one answers.
        for (part, &number) in op.parts.iter().enumerate() {
            let real = real.and_then(|(from, answer)| (from == part).then_some(answer));
            let polled = self.model.polled(number, real, false);
            polled.map_err(|error| format!("operation {name}, part {part} {error}"))?;
            if real.is_some() {
                break;
            }
        }
        if real.is_some() {
            self.drop_op(at);
        }
        Ok(())
    }

    /// The operation goes; what it has not answered is given up.
    fn drop_op(&mut self, at: usize) {
        let op = self.ops.swap_remove(at);
        drop(op.body);
        op.parts.into_iter().for_each(|part| self.model.abandon(part));
        op.handles.into_iter().for_each(|(ch, side)| self.model.release(ch, side));
    }

    /// What must hold after every step.
    fn check(&self) -> Result<(), String> {
        self.model.check_values()?;
        for op in &self.ops {
            let at = op.name;
            // Woken once when complete, before that never, and never the task that polled it before.
            let complete = op.parts.iter().filter(|part| self.model.is_won(**part)).count();
            let real = op.wakes.count();
            if let Body::Stream(_) = op.body {
                ensure!(real <= op.told, "stream {at} was woken {real} times, and registered {} times", op.told);
            } else {
                let expected = op.told + complete;
                ensure!(real == expected, "operation {at} was woken {real} times, not {expected}");
            }
            ensure!(op.stale.iter().all(|(old, seen)| old.count() == *seen), "operation {at} woke a task that left it");
            // A stream that is not woken has nothing to take.
            if let Some((ch, seen)) = op.watching {
                let case = ModelCase { ch: Some(ch), value: None };
                let told = op.wakes.count() > seen || !self.model.is_ready(case, usize::MAX);
                ensure!(told, "stream {at} was not told that channel {ch} has something");
            }
        }
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

/// Runs a script. The error says at which step what was wrong.
fn replay(seed: u64, capacities: [usize; CHANNELS], steps: &[(usize, Step)]) -> Result<(), String> {
    let run = || {
        fastrand::seed(seed); // what a select draws
        let mut world = World::new(capacities);
        let run = |world: &mut World, at: usize, step: &Step| {
            world.step(at, step).and_then(|()| world.check()).map_err(|error| {
                let place = if at == usize::MAX { "at the end".to_owned() } else { format!("step {at}") };
                format!("{place}, {step:?}: {error}")
            })
        };
        for (at, step) in steps {
            run(&mut world, *at, step)?;
        }
        // The end: whatever is left goes, in some order.
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

/// Runs many scripts; of one that fails, the shortest that still does is told.
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
fn dropping_anything_at_any_moment_loses_nothing_with_all_sorts_of_channels_ca01_ca04_ca05_ca07_ca08() {
    no_hang(|| fuzz(|seed| [0, 1, 3].map(|c: usize| [0, 1, 3, 2][(c + seed as usize) % 4]), 30_000..30_750, 200));
}

#[test]
fn the_fuzzer_sees_a_mistake() {
    // A script with an expectation of its own that is wrong: the value is gone, but not twice.
    let mut world = World::new([1; CHANNELS]);
    for (at, step) in [Step::Send(0), Step::Poll(0), Step::TryRecv(0)].into_iter().enumerate() {
        world.step(at, &step).unwrap();
        world.check().unwrap();
    }
    world.model.gone[0] += 1;
    assert_eq!(world.check().unwrap_err(), "value 0 was dropped 1 times, not 2");
}
