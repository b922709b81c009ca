//! Bytes as a program over channels and selects, beside a model of what Go's do.
//!
//! Any string of bytes is a program, so a fuzzer that knows nothing of channels can drive it: `fuzz/` does. It uses of
//! its neighbours only the model, for both are compiled there as well. Every future is polled by hand, on one thread; after each step
//! the answers, the wakes, the drops, the wakers that are kept and what the channels say of themselves must be the model's.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use gopark::chan::{self, Receiver, Sender};
use gopark::select;

use crate::model::{Answer, End, Item, Model, ModelCase, Side, State, Tally, ensure, got, list, sent};

const SLOTS: usize = 3;
const CAPACITIES: [usize; 3] = [0, 1, 3];
/// Handles of one side that a program may hold of one channel.
const MOST_ENDS: usize = 3;
/// Operations at a time; more only make a program slow.
const MOST_OPS: usize = 24;

/// Counts the wakes of one task; the handles of it that somebody keeps are its wakers.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn wakes(task: &Arc<Task>) -> usize {
    task.0.load(Ordering::Relaxed)
}

/// The script's handles of one channel.
struct Slot {
    ch: usize,
    txs: Vec<Sender<Item>>,
    rxs: Vec<Receiver<Item>>,
}

struct Op {
    /// Its number in the model.
    name: usize,
    future: Pin<Box<dyn Future<Output = Answer>>>,
    task: Arc<Task>,
    /// Tasks that it had before.
    stale: Vec<Arc<Task>>,
    /// The handles that go with it.
    holds: Vec<(usize, Side)>,
    /// It always takes the first case that is ready.
    biased: bool,
}

struct World {
    model: Model,
    slots: Vec<Slot>,
    ops: Vec<Op>,
    /// The steps so far, for who has to read about a failure.
    trace: String,
}

/// What is left of the program. It ends where a step lacks its first byte; other bytes that lack are zero.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn next(&mut self) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0))
    }
}

impl World {
    fn new() -> Self {
        let mut world = World { model: Model::default(), slots: Vec::new(), ops: Vec::new(), trace: String::new() };
        for capacity in CAPACITIES {
            let slot = world.make(capacity);
            world.slots.push(slot);
        }
        world
    }

    fn make(&mut self, capacity: usize) -> Slot {
        let (tx, rx) = chan::bounded(capacity);
        Slot { ch: self.model.make(capacity), txs: vec![tx], rxs: vec![rx] }
    }

    /// A case by its byte, with handles of its own; none if the script has no such end any more.
    fn case(&mut self, byte: usize) -> Option<(ModelCase, End)> {
        let slot = byte % SLOTS;
        let ch = Some(self.slots[slot].ch);
        if byte & 0x10 != 0 {
            let tx = self.slots[slot].txs.last()?.clone();
            let item = self.model.item();
            return Some((ModelCase { ch, value: Some(item.id) }, End::Send(tx, item)));
        }
        let rx = self.slots[slot].rxs.last()?.clone();
        Some((ModelCase { ch, value: None }, End::Recv(rx)))
    }

    /// As `case`, of that side; a nil channel if there is no such end.
    fn case_or_nil(&mut self, byte: usize, side: Side) -> (ModelCase, End) {
        let bit = if side == Side::Send { 0x10 } else { 0 };
        if let Some(case) = self.case(byte & !0x10 | bit) {
            return case;
        }
        if side == Side::Recv {
            return (ModelCase { ch: None, value: None }, End::Recv(Receiver::nil()));
        }
        let item = self.model.item();
        (ModelCase { ch: None, value: Some(item.id) }, End::Send(Sender::nil(), item))
    }

    /// A new operation; polled at once if `byte` does not say otherwise.
    fn start(
        &mut self,
        cases: Vec<ModelCase>,
        future: impl Future<Output = Answer> + 'static,
        biased: bool,
        byte: usize,
    ) -> Result<(), String> {
        let (name, holds) = self.model.begin(cases);
        let (future, task) = (Box::pin(future), Arc::default());
        self.ops.push(Op { name, future, task, stale: Vec::new(), holds, biased });
        if byte & 0x80 == 0 { self.poll(self.ops.len() - 1) } else { Ok(()) }
    }

    /// The handles of an operation go.
    fn release(&mut self, holds: Vec<(usize, Side)>) {
        holds.into_iter().for_each(|(ch, side)| self.model.release(ch, side));
    }

    /// Two to four cases.
    fn cases(&mut self, byte: usize, bytes: &mut Bytes<'_>) -> (Vec<ModelCase>, Vec<End>) {
        let count = 2 + byte / 4 % 3;
        let (mut cases, mut ends): (Vec<_>, Vec<_>) = (0..count).filter_map(|_| self.case(bytes.next())).unzip();
        self.model.twin(&mut cases, &mut ends);
        (cases, ends)
    }

    fn step(&mut self, bytes: &mut Bytes<'_>, code: usize) -> Result<(), String> {
        let byte = bytes.next();
        let slot = byte % SLOTS;
        let ch = self.slots[slot].ch;
        self.trace += &format!("  {} {byte:#04x}\n", NAMES[code % NAMES.len()]);
        match NAMES[code % NAMES.len()] {
            "make" => {
                self.leave_all(slot);
                self.slots[slot] = self.make(CAPACITIES[byte / 4 % CAPACITIES.len()]);
            }
            "send" | "recv" if self.ops.len() < MOST_OPS => {
                let bit = if NAMES[code % NAMES.len()] == "send" { 0x10 } else { 0 };
                match self.case(byte & !0x10 | bit) {
                    Some((case, End::Recv(rx))) => {
                        self.start(vec![case], async move { got(0, rx.recv().await) }, false, byte)?;
                    }
                    Some((case, End::Send(tx, item))) => {
                        self.start(vec![case], async move { sent(0, tx.send(item).await) }, false, byte)?;
                    }
                    None => {}
                }
            }
            "try_send" => self.try_send(slot)?,
            "try_recv" => self.try_recv(slot)?,
            // Rarely: what is closed stays so, and then nothing waits.
            "close" | "leave" if byte & 0x60 != 0 => {}
            "close" => {
                if let Some(tx) = self.slots[slot].txs.first() {
                    let (closed, expected) = (tx.close(), self.model.close(ch));
                    ensure!(closed == expected, "close said {closed}");
                }
            }
            "select" if self.ops.len() < MOST_OPS => {
                let (cases, ends) = self.cases(byte, bytes);
                self.start(
                    cases,
                    async move { list(&mut Vec::new(), &mut Vec::new(), ends).wait().await },
                    false,
                    byte,
                )?;
            }
            "select default" => {
                let (cases, ends) = self.cases(byte, bytes);
                let (name, holds) = self.model.begin(cases);
                let real = list(&mut Vec::new(), &mut Vec::new(), ends).try_now();
                self.default(name, real, false)?;
                self.release(holds);
            }
            "select!" if self.ops.len() < MOST_OPS => {
                let (cases, ends) = self.three(bytes);
                let [End::Recv(a), End::Send(b, item), End::Recv(c)] = ends else { unreachable!("as `three` says") };
                let future = async move {
                    select! {
                        biased;
                        value = a.recv() => got(0, value),
                        result = b.send(item) => sent(1, result),
                        value = c.recv() => got(2, value),
                    }
                };
                self.start(cases.into(), future, true, byte)?;
            }
            "select! default" => {
                let (cases, ends) = self.three(bytes);
                let [End::Recv(a), End::Send(b, item), End::Recv(c)] = ends else { unreachable!("as `three` says") };
                let (name, holds) = self.model.begin(cases.into());
                let real = select! {
                    biased;
                    value = a.recv() => Some(got(0, value)),
                    result = b.send(item) => Some(sent(1, result)),
                    value = c.recv() => Some(got(2, value)),
                    default => None,
                };
                drop((a, b, c));
                self.default(name, real, true)?;
                self.release(holds);
            }
            "poll" if !self.ops.is_empty() => self.poll(byte % self.ops.len())?,
            "retask" if !self.ops.is_empty() => {
                let at = byte % self.ops.len();
                let op = &mut self.ops[at];
                if self.model.state(op.name) == State::Waiting {
                    op.stale.push(std::mem::take(&mut op.task));
                    self.model.tally.retasked += 1;
                }
                self.poll(at)?;
            }
            "drop" if !self.ops.is_empty() => self.drop_op(byte % self.ops.len())?,
            "clone" => {
                let Slot { ch, txs, rxs } = &mut self.slots[slot];
                let side = if byte & 0x10 != 0 { Side::Send } else { Side::Recv };
                let cloned = match side {
                    Side::Send if txs.len() < MOST_ENDS => txs.first().cloned().map(|tx| txs.push(tx)),
                    Side::Recv if rxs.len() < MOST_ENDS => rxs.first().cloned().map(|rx| rxs.push(rx)),
                    Side::Send | Side::Recv => None,
                };
                if cloned.is_some() {
                    *self.model.handles(*ch, side) += 1;
                }
            }
            "leave" => self.leave(slot, if byte & 0x10 != 0 { Side::Send } else { Side::Recv }),
            _ => {}
        }
        self.check()
    }

    /// The cases of the macros: a receive, a send, a receive.
    fn three(&mut self, bytes: &mut Bytes<'_>) -> ([ModelCase; 3], [End; 3]) {
        let [(a, x), (b, y), (c, z)] =
            [Side::Recv, Side::Send, Side::Recv].map(|side| self.case_or_nil(bytes.next(), side));
        ([a, b, c], [x, y, z])
    }

    fn leave(&mut self, slot: usize, side: Side) {
        let Slot { ch, txs, rxs } = &mut self.slots[slot];
        // The oldest: what is left are clones.
        let left = match side {
            Side::Send => {
                !txs.is_empty() && {
                    drop(txs.remove(0));
                    true
                }
            }
            Side::Recv => {
                !rxs.is_empty() && {
                    drop(rxs.remove(0));
                    true
                }
            }
        };
        if left {
            self.model.release(*ch, side);
        }
    }

    fn leave_all(&mut self, slot: usize) {
        for _ in 0..MOST_ENDS {
            self.leave(slot, Side::Send);
            self.leave(slot, Side::Recv);
        }
    }

    fn try_send(&mut self, slot: usize) -> Result<(), String> {
        let Slot { ch, txs, .. } = &self.slots[slot];
        txs.last().map_or(Ok(()), |tx| self.model.try_send(*ch, tx))
    }

    fn try_recv(&mut self, slot: usize) -> Result<(), String> {
        let Slot { ch, rxs, .. } = &self.slots[slot];
        rxs.last().map_or(Ok(()), |rx| self.model.try_recv(*ch, rx))
    }

    /// An operation with a `default` looked at its cases once.
    fn default(&mut self, name: usize, real: Option<Answer>, biased: bool) -> Result<(), String> {
        if !self.model.settle(name, real, biased).map_err(|error| format!("operation {name} {error}"))? {
            self.model.abandon(name);
            self.model.tally.defaults += 1;
        }
        Ok(())
    }

    fn poll(&mut self, at: usize) -> Result<(), String> {
        let op = &mut self.ops[at];
        let (name, biased) = (op.name, op.biased);
        let waker = Waker::from(op.task.clone());
        let polled = op.future.as_mut().poll(&mut Context::from_waker(&waker));
        drop(waker);
        let real = match polled {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        };
        self.model.polled(name, real, biased).map_err(|error| format!("operation {name} {error}"))?;
        if real.is_some() {
            let op = self.ops.swap_remove(at);
            self.end(op)?;
        }
        Ok(())
    }

    fn drop_op(&mut self, at: usize) -> Result<(), String> {
        let op = self.ops.swap_remove(at);
        let name = op.name;
        self.model.abandon(name);
        self.end(op)
    }

    /// The operation goes, and keeps nothing.
    fn end(&mut self, op: Op) -> Result<(), String> {
        let Op { name, future, task, stale, holds, .. } = op;
        drop(future);
        self.release(holds);
        let kept: usize = stale.iter().chain([&task]).map(|task| Arc::strong_count(task) - 1).sum();
        ensure!(kept == 0, "operation {name} is over, and {kept} of its wakers are kept");
        Ok(())
    }

    /// What must hold after every step.
    fn check(&self) -> Result<(), String> {
        self.model.check_values()?;
        for op in &self.ops {
            let (name, state) = (op.name, self.model.state(op.name));
            let served = usize::from(matches!(state, State::Won(..)));
            let woken = wakes(&op.task);
            ensure!(woken == served, "operation {name} was woken {woken} times, not {served}: {state:?}");
            let (kept, expected) = (Arc::strong_count(&op.task) - 1, usize::from(state == State::Waiting));
            ensure!(kept == expected, "operation {name}: {kept} wakers are kept, not {expected}: {state:?}");
            for stale in &op.stale {
                ensure!(wakes(stale) == 0, "operation {name} woke a task that it had left");
                ensure!(Arc::strong_count(stale) == 1, "operation {name} keeps the waker of a task that it had left");
            }
        }
        for Slot { ch, txs, rxs } in &self.slots {
            let sides = txs.iter().map(|tx| (tx.len(), tx.capacity(), tx.is_closed()));
            for real in sides.chain(rxs.iter().map(|rx| (rx.len(), rx.capacity(), rx.is_closed()))) {
                self.model.check_chan(*ch, real)?;
            }
        }
        Ok(())
    }

    /// Whatever is left goes; nobody may be registered anywhere then, and every value is gone once.
    fn finish(&mut self, order: usize) -> Result<(), String> {
        self.trace += "  the end\n";
        while !self.ops.is_empty() {
            self.drop_op(order % self.ops.len())?;
            self.check()?;
        }
        for slot in 0..SLOTS {
            // Were somebody left in a queue, one of these would find them.
            self.try_send(slot)?;
            for _ in 0..=self.model.len(self.slots[slot].ch) {
                self.try_recv(slot)?;
            }
            self.check()?;
            self.leave_all(slot);
            self.check()?;
        }
        self.model.check_all_gone()
    }
}

/// What a step's first byte means; what stands twice is drawn more often.
const NAMES: [&str; 20] = [
    "recv",
    "send",
    "poll",
    "select",
    "drop",
    "try_send",
    "try_recv",
    "select default",
    "select!",
    "select! default",
    "retask",
    "clone",
    "leave",
    "close",
    "make",
    "recv",
    "send",
    "poll",
    "select",
    "drop",
];

/// Runs a program. The error tells the steps that led there.
pub(crate) fn run(program: &[u8]) -> Result<Tally, String> {
    run_with(program, |_| {})
}

/// As `run`; `meddle` is called with the drops that the model counts, before each look at them.
pub(crate) fn run_with(program: &[u8], mut meddle: impl FnMut(&mut Vec<u8>)) -> Result<Tally, String> {
    // What a select draws comes from the program as well.
    fastrand::seed(program.iter().fold(7, |seed: u64, &byte| seed.wrapping_mul(31).wrapping_add(byte.into())));
    let mut world = World::new();
    let mut bytes = Bytes(program.iter());
    let told = |world: &World, error| format!("{error}, after\n{}", world.trace);
    while let Some(&code) = bytes.0.next() {
        world.step(&mut bytes, code.into()).map_err(|error| told(&world, error))?;
        meddle(&mut world.model.gone);
    }
    let order = program.last().copied().unwrap_or(0);
    world.finish(order.into()).map_err(|error| told(&world, error))?;
    Ok(world.model.tally)
}
