//! Bytes as a program over channels and selects, checked against a model of Go's.
//!
//! Any string of bytes is a program, so a fuzzer without knowledge of channels can drive it, as
//! `fuzz/` does. It uses only those modules that `fuzz/` compiles as well. Every future is polled
//! by hand, on one thread. After each step the results, the wakes, the drops, the wakers that are
//! kept and the state that the channels report must be the model's.

use gopark::chan::{self, Receiver, Sender};
use gopark::select;

use crate::model::{Answer, End, Item, Model, ModelCase, Side, Tally, ensure, got, list, sent};
use crate::operation::Op;
use crate::task::{FAULTS, Fault};

const SLOTS: usize = 3;
const CAPACITIES: [usize; 3] = [0, 1, 3];
/// Handles of one side that a program may hold for one channel.
const MOST_ENDS: usize = 3;
/// Operations at a time; more would only make a program slow.
const MOST_OPS: usize = 24;

/// The script's handles of one channel.
struct Slot {
    ch: usize,
    txs: Vec<Sender<Item>>,
    rxs: Vec<Receiver<Item>>,
}

struct World {
    model: Model,
    slots: Vec<Slot>,
    ops: Vec<Op>,
    /// The number of operations so far.
    made: usize,
    /// How the wakers of new tasks panic.
    fault: Option<Fault>,
    /// The steps so far, for the report of a failure.
    trace: String,
}

/// The rest of the program. It ends at a step without a first byte; any other missing byte is zero.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn next(&mut self) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0))
    }
}

impl World {
    fn new() -> Self {
        let (model, slots, ops, trace) = (Model::default(), Vec::new(), Vec::new(), String::new());
        let mut world = World { model, slots, ops, made: 0, fault: None, trace };
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

    /// A case by its byte, with handles of its own; none if the script has dropped that end.
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

    /// A new operation, which is polled at once unless `byte` says otherwise.
    fn start(
        &mut self,
        op: impl FnOnce(usize, &mut Model) -> Op,
        byte: usize,
    ) -> Result<(), String> {
        let op = op(self.made, &mut self.model).spoiled(self.fault);
        self.made += 1;
        self.ops.push(op);
        if byte & 0x80 == 0 { self.poll(self.ops.len() - 1) } else { Ok(()) }
    }

    /// As `start`, of one part.
    fn future(
        &mut self,
        cases: Vec<ModelCase>,
        future: impl Future<Output = Answer> + 'static,
        byte: usize,
    ) -> Result<(), String> {
        self.start(|name, model| Op::future(name, model, cases, future), byte)
    }

    /// Drops the handles of an operation.
    fn release(&mut self, holds: Vec<(usize, Side)>) {
        holds.into_iter().for_each(|(ch, side)| self.model.release(ch, side));
    }

    /// Two to four cases.
    fn cases(&mut self, byte: usize, bytes: &mut Bytes<'_>) -> (Vec<ModelCase>, Vec<End>) {
        let count = 2 + byte / 4 % 3;
        (0..count).filter_map(|_| self.case(bytes.next())).unzip()
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
                        self.future(vec![case], async move { got(0, rx.recv().await) }, byte)?;
                    }
                    Some((case, End::Send(tx, item))) => {
                        self.future(vec![case], async move { sent(0, tx.send(item).await) }, byte)?;
                    }
                    None => {}
                }
            }
            "try_send" => self.try_send(slot)?,
            "try_recv" => self.try_recv(slot)?,
            // Rarely, because a closed channel stays closed, and then nothing waits.
            "close" | "leave" if byte & 0x60 != 0 => {}
            "close" => {
                if let Some(tx) = self.slots[slot].txs.first() {
                    let (closed, expected) = (tx.close(), self.model.close(ch));
                    ensure!(closed == expected, "close said {closed}");
                }
            }
            "select" if self.ops.len() < MOST_OPS => {
                let (cases, ends) = self.cases(byte, bytes);
                self.future(
                    cases,
                    async move { list(&mut Vec::new(), &mut Vec::new(), ends).wait().await },
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
                let [End::Recv(a), End::Send(b, item), End::Recv(c)] = ends else {
                    unreachable!("as `three` says")
                };
                let future = async move {
                    select! {
                        biased;
                        value = a.recv() => got(0, value),
                        result = b.send(item) => sent(1, result),
                        value = c.recv() => got(2, value),
                    }
                };
                self.start(
                    |name, model| Op::future(name, model, cases.into(), future).biased(),
                    byte,
                )?;
            }
            "select! default" => {
                let (cases, ends) = self.three(bytes);
                let [End::Recv(a), End::Send(b, item), End::Recv(c)] = ends else {
                    unreachable!("as `three` says")
                };
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
                self.ops[at].retask(&mut self.model, self.fault);
                self.poll(at)?;
            }
            "drop" if !self.ops.is_empty() => self.drop_op(byte % self.ops.len())?,
            "clone" => {
                let Slot { ch, txs, rxs } = &mut self.slots[slot];
                let side = if byte & 0x10 != 0 { Side::Send } else { Side::Recv };
                let cloned = match side {
                    Side::Send if txs.len() < MOST_ENDS => {
                        txs.first().cloned().map(|tx| txs.push(tx))
                    }
                    Side::Recv if rxs.len() < MOST_ENDS => {
                        rxs.first().cloned().map(|rx| rxs.push(rx))
                    }
                    Side::Send | Side::Recv => None,
                };
                if cloned.is_some() {
                    *self.model.handles(*ch, side) += 1;
                }
            }
            "stream" | "into_stream" if self.ops.len() < MOST_OPS => {
                let make = if NAMES[code % NAMES.len()] == "stream" {
                    Op::stream
                } else {
                    Op::into_stream
                };
                if let Some(rx) = self.slots[slot].rxs.last().cloned() {
                    self.start(|name, model| make(name, model, ch, rx), byte)?;
                }
            }
            "spoil" => self.fault = FAULTS.get(byte % (FAULTS.len() + 1)).copied(),
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
        // The oldest one, because the others are clones.
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

    /// An operation with a `default` checked its cases once.
    fn default(&mut self, name: usize, real: Option<Answer>, biased: bool) -> Result<(), String> {
        if !self
            .model
            .settle(name, real, biased)
            .map_err(|error| format!("operation {name} {error}"))?
        {
            self.model.abandon(name);
            self.model.tally.defaults += 1;
        }
        Ok(())
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
        for Slot { ch, txs, rxs } in &self.slots {
            let sides = txs.iter().map(|tx| (tx.len(), tx.capacity(), tx.is_closed()));
            for real in sides.chain(rxs.iter().map(|rx| (rx.len(), rx.capacity(), rx.is_closed())))
            {
                self.model.check_chan(*ch, real)?;
            }
        }
        Ok(())
    }

    /// Everything left is dropped. Then no operation may be registered anywhere, and every value is
    /// dropped once.
    fn finish(&mut self, order: usize) -> Result<(), String> {
        self.trace += "  the end\n";
        while !self.ops.is_empty() {
            self.drop_op(order % self.ops.len())?;
            self.check()?;
        }
        for slot in 0..SLOTS {
            // If an operation were left in a queue, one of these would find it.
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

/// The meaning of the first byte of a step; an entry that occurs twice is drawn more often.
const NAMES: [&str; 23] = [
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
    "stream",
    "into_stream",
    "spoil",
];

/// Runs a program. The error lists the steps that led to it.
pub(crate) fn run(program: &[u8]) -> Result<Tally, String> {
    run_with(program, |_| {})
}

/// As `run`; `meddle` is called with the drops that the model counts, before each check of them.
pub(crate) fn run_with(
    program: &[u8],
    mut meddle: impl FnMut(&mut Vec<u8>),
) -> Result<Tally, String> {
    // The random choices of a select come from the program as well.
    fastrand::seed(
        program.iter().fold(7, |seed: u64, &byte| seed.wrapping_mul(31).wrapping_add(byte.into())),
    );
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
