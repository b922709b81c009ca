//! Bytes as a program over channels and selects, beside a model of what Go's do.
//!
//! Any string of bytes is a program, so a fuzzer that knows nothing of channels can drive it: `fuzz/` does. It uses nothing
//! of its neighbours, for it is compiled there as well. Every future is polled by hand, on one thread; after each step
//! the answers, the wakes, the drops, the wakers that are kept and what the channels say of themselves must be the model's.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use gopark::chan::{self, Receiver, SendError, Sender, TryRecvError, TrySendError};
use gopark::select;
use gopark::select::Select;

const SLOTS: usize = 3;
const CAPACITIES: [usize; 3] = [0, 1, 3];
/// Handles of one side that a program may hold of one channel.
const MOST_ENDS: usize = 3;
/// Operations at a time; more only make a program slow.
const MOST_OPS: usize = 24;

// ------------------------------------------------------------------------------------------------ what should be

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Send,
    Recv,
}

/// What a case came to, values by their number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Got(Option<usize>),
    Sent,
    Back(usize),
}

/// The winning case of an operation, and what it came to.
type Answer = (usize, What);

#[derive(Clone, Copy, Debug)]
struct ModelCase {
    /// None: a nil channel.
    ch: Option<usize>,
    /// Of a send.
    value: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Fresh,
    Waiting,
    /// Served, and with a value the number of its hand-over.
    Won(Answer, usize),
    Over,
}

#[derive(Debug)]
struct ModelChan {
    capacity: usize,
    closed: bool,
    senders: usize,
    receivers: usize,
    handed: usize,
    /// Handed over, and given back by a receive that was dropped: older than the buffer.
    returned: Vec<(usize, usize)>,
    buffer: VecDeque<usize>,
    /// Operation and case.
    recvq: VecDeque<(usize, usize)>,
    sendq: VecDeque<(usize, usize)>,
}

/// How often a run came where mistakes are made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// A parked receive was given a value, a parked send gave its own.
    pub(crate) handed: usize,
    /// A parked sender's value moved into the buffer behind what was taken.
    pub(crate) refilled: usize,
    /// A select that waited was served.
    pub(crate) selected: usize,
    /// A value came back from a receive that was dropped, and went to the next or into the channel.
    pub(crate) passed_on: usize,
    pub(crate) returned: usize,
    /// A close ended an operation that waited.
    pub(crate) closed_under: usize,
    /// A `default` ran, a case was taken instead of one.
    pub(crate) defaults: usize,
    pub(crate) taken_now: usize,
    /// A channel lost the last handle of a side.
    pub(crate) left: usize,
    /// A pending operation changed its task.
    pub(crate) retasked: usize,
}

#[derive(Debug, Default)]
struct Model {
    chans: Vec<ModelChan>,
    ops: Vec<(Vec<ModelCase>, State)>,
    /// How often each value was dropped.
    gone: Vec<u8>,
    tally: Tally,
}

impl Model {
    fn make(&mut self, capacity: usize) -> usize {
        self.chans.push(ModelChan {
            capacity,
            closed: false,
            senders: 1,
            receivers: 1,
            handed: 0,
            returned: Vec::new(),
            buffer: VecDeque::new(),
            recvq: VecDeque::new(),
            sendq: VecDeque::new(),
        });
        self.chans.len() - 1
    }

    fn handles(&mut self, ch: usize, side: Side) -> &mut usize {
        let chan = &mut self.chans[ch];
        if side == Side::Send { &mut chan.senders } else { &mut chan.receivers }
    }

    fn len(&self, ch: usize) -> usize {
        self.chans[ch].returned.len() + self.chans[ch].buffer.len()
    }

    /// Who has waited longest. One that waits twice on a channel does not meet itself, but then it would not wait.
    fn first(&self, ch: usize, side: Side, own: usize) -> Option<(usize, usize)> {
        let queue = if side == Side::Send { &self.chans[ch].sendq } else { &self.chans[ch].recvq };
        queue.iter().copied().find(|(op, _)| *op != own)
    }

    fn serve(&mut self, (op, case): (usize, usize), what: What, number: usize) {
        let (cases, state) = &mut self.ops[op];
        assert_eq!(*state, State::Waiting, "the model serves who does not wait");
        self.tally.selected += usize::from(cases.len() > 1);
        *state = State::Won((case, what), number);
        self.unlink(op);
    }

    fn unlink(&mut self, op: usize) {
        for chan in &mut self.chans {
            chan.recvq.retain(|(waits, _)| *waits != op);
            chan.sendq.retain(|(waits, _)| *waits != op);
        }
    }

    /// The value of the sender that has waited longest; it is served.
    fn pull(&mut self, ch: usize, own: usize) -> Option<usize> {
        let (op, case) = self.first(ch, Side::Send, own)?;
        let value = self.ops[op].0[case].value.expect("a send has a value");
        self.serve((op, case), What::Sent, 0);
        Some(value)
    }

    /// A receive by `own`, if one is possible.
    fn take(&mut self, ch: usize, own: usize) -> Option<What> {
        let chan = &mut self.chans[ch];
        let closed = chan.closed;
        let found = if chan.returned.is_empty() { chan.buffer.pop_front() } else { Some(chan.returned.remove(0).1) };
        match found {
            Some(value) => {
                if !closed && self.len(ch) < self.chans[ch].capacity {
                    if let Some(next) = self.pull(ch, own) {
                        self.chans[ch].buffer.push_back(next);
                        self.tally.refilled += 1;
                    }
                }
                Some(What::Got(Some(value)))
            }
            None if closed => Some(What::Got(None)),
            None => {
                let value = self.pull(ch, own)?;
                self.tally.handed += 1;
                Some(What::Got(Some(value)))
            }
        }
    }

    /// A send by `own`, if one is possible.
    fn put(&mut self, ch: usize, own: usize, value: usize) -> Option<What> {
        if self.chans[ch].closed {
            return Some(What::Back(value));
        }
        if let Some(receiver) = self.first(ch, Side::Recv, own) {
            self.chans[ch].handed += 1;
            self.tally.handed += 1;
            self.serve(receiver, What::Got(Some(value)), self.chans[ch].handed);
            return Some(What::Sent);
        }
        if self.len(ch) < self.chans[ch].capacity {
            self.chans[ch].buffer.push_back(value);
            return Some(What::Sent);
        }
        None
    }

    fn is_ready(&self, case: ModelCase, own: usize) -> bool {
        let Some(ch) = case.ch else { return false };
        let (chan, len) = (&self.chans[ch], self.len(ch));
        chan.closed
            || match case.value {
                Some(_) => len < chan.capacity || self.first(ch, Side::Recv, own).is_some(),
                None => len > 0 || self.first(ch, Side::Send, own).is_some(),
            }
    }

    fn ready(&self, op: usize) -> Vec<usize> {
        let cases = self.ops[op].0.iter().enumerate();
        cases.filter(|(_, case)| self.is_ready(**case, op)).map(|(index, _)| index).collect()
    }

    /// Takes a case that is ready.
    fn attempt(&mut self, op: usize, case: usize) -> What {
        let ModelCase { ch, value } = self.ops[op].0[case];
        let ch = ch.expect("nil is never ready");
        match value {
            Some(value) => self.put(ch, op, value),
            None => self.take(ch, op),
        }
        .expect("it is ready")
    }

    fn park(&mut self, op: usize) {
        let (cases, state) = &mut self.ops[op];
        *state = State::Waiting;
        for (index, case) in cases.iter().enumerate() {
            let Some(ch) = case.ch else { continue };
            let chan = &mut self.chans[ch];
            if case.value.is_some() { &mut chan.sendq } else { &mut chan.recvq }.push_back((op, index));
        }
    }

    /// The operation has answered: who asked drops what came, and the losers go.
    fn finish(&mut self, op: usize, (winner, what): Answer) {
        if let What::Got(Some(value)) | What::Back(value) = what {
            self.gone[value] += 1;
        }
        self.lose(op, Some(winner));
        self.ops[op].1 = State::Over;
    }

    fn lose(&mut self, op: usize, winner: Option<usize>) {
        for (index, case) in self.ops[op].0.iter().enumerate() {
            if let (Some(value), true) = (case.value, winner != Some(index)) {
                self.gone[value] += 1;
            }
        }
    }

    /// The operation is dropped without having answered.
    fn abandon(&mut self, op: usize) {
        self.unlink(op);
        match std::mem::replace(&mut self.ops[op].1, State::Over) {
            State::Fresh | State::Waiting => self.lose(op, None),
            State::Won((case, what), number) => {
                self.lose(op, Some(case));
                match what {
                    What::Got(Some(value)) => {
                        let ch = self.ops[op].0[case].ch.expect("nil hands nothing over");
                        self.put_back(ch, value, number);
                    }
                    What::Back(value) => self.gone[value] += 1,
                    What::Got(None) | What::Sent => {}
                }
            }
            State::Over => {}
        }
    }

    fn put_back(&mut self, ch: usize, value: usize, number: usize) {
        if let Some(receiver) = self.first(ch, Side::Recv, usize::MAX) {
            self.tally.passed_on += 1;
            return self.serve(receiver, What::Got(Some(value)), number);
        }
        self.tally.returned += 1;
        let returned = &mut self.chans[ch].returned;
        let at = returned.partition_point(|(before, _)| *before < number);
        returned.insert(at, (number, value));
    }

    fn close(&mut self, ch: usize) -> bool {
        if std::mem::replace(&mut self.chans[ch].closed, true) {
            return false;
        }
        while let Some(receiver) = self.first(ch, Side::Recv, usize::MAX) {
            self.tally.closed_under += 1;
            self.serve(receiver, What::Got(None), 0);
        }
        while let Some((op, case)) = self.first(ch, Side::Send, usize::MAX) {
            self.tally.closed_under += 1;
            let value = self.ops[op].0[case].value.expect("a send has a value");
            self.serve((op, case), What::Back(value), 0);
        }
        true
    }

    fn release(&mut self, ch: usize, side: Side) {
        *self.handles(ch, side) -= 1;
        if *self.handles(ch, side) > 0 {
            return;
        }
        self.tally.left += 1;
        self.close(ch);
        if side == Side::Recv {
            let chan = &mut self.chans[ch];
            let returned = chan.returned.drain(..).map(|(_, value)| value);
            for value in returned.chain(chan.buffer.drain(..)) {
                self.gone[value] += 1;
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------ what is

/// A value that knows how often it was dropped.
struct Item {
    id: usize,
    gone: Arc<AtomicU8>,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }
}

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

fn got(case: usize, value: Option<Item>) -> Answer {
    (case, What::Got(value.map(|item| item.id)))
}

fn sent(case: usize, result: Result<(), SendError<Item>>) -> Answer {
    let what = match result {
        Ok(()) => What::Sent,
        Err(SendError(item)) => What::Back(item.id),
    };
    (case, what)
}

/// The script's handles of one channel.
struct Slot {
    ch: usize,
    txs: Vec<Sender<Item>>,
    rxs: Vec<Receiver<Item>>,
}

/// One end and, for a send, what is sent: a case that is not started.
enum End {
    Recv(Receiver<Item>),
    Send(Sender<Item>, Item),
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

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}

struct World {
    model: Model,
    slots: Vec<Slot>,
    ops: Vec<Op>,
    gone: Vec<Arc<AtomicU8>>,
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
        let mut world = World {
            model: Model::default(),
            slots: Vec::new(),
            ops: Vec::new(),
            gone: Vec::new(),
            trace: String::new(),
        };
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

    fn item(&mut self) -> Item {
        let gone = Arc::new(AtomicU8::new(0));
        self.gone.push(gone.clone());
        self.model.gone.push(0);
        Item { id: self.gone.len() - 1, gone }
    }

    /// A case by its byte, with handles of its own; none if the script has no such end any more.
    fn case(&mut self, byte: usize) -> Option<(ModelCase, End)> {
        let slot = byte % SLOTS;
        let ch = Some(self.slots[slot].ch);
        if byte & 0x10 != 0 {
            let tx = self.slots[slot].txs.last()?.clone();
            let item = self.item();
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
        let item = self.item();
        (ModelCase { ch: None, value: Some(item.id) }, End::Send(Sender::nil(), item))
    }

    /// Notes in the model what an operation consists of.
    fn begin(&mut self, cases: Vec<ModelCase>) -> (usize, Vec<(usize, Side)>) {
        let side = |case: &ModelCase| if case.value.is_some() { Side::Send } else { Side::Recv };
        let holds: Vec<_> = cases.iter().filter_map(|case| Some((case.ch?, side(case)))).collect();
        for &(ch, side) in &holds {
            *self.model.handles(ch, side) += 1;
        }
        self.model.ops.push((cases, State::Fresh));
        (self.model.ops.len() - 1, holds)
    }

    /// A new operation; polled at once if `byte` does not say otherwise.
    fn start(
        &mut self,
        cases: Vec<ModelCase>,
        future: impl Future<Output = Answer> + 'static,
        biased: bool,
        byte: usize,
    ) -> Result<(), String> {
        let (name, holds) = self.begin(cases);
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
                let (name, holds) = self.begin(cases);
                let real = list(&mut Vec::new(), &mut Vec::new(), ends).try_now();
                self.settle(name, real, false)?;
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
                let (name, holds) = self.begin(cases.into());
                let real = select! {
                    biased;
                    value = a.recv() => Some(got(0, value)),
                    result = b.send(item) => Some(sent(1, result)),
                    value = c.recv() => Some(got(2, value)),
                    default => None,
                };
                drop((a, b, c));
                self.settle(name, real, true)?;
                self.release(holds);
            }
            "poll" if !self.ops.is_empty() => self.poll(byte % self.ops.len())?,
            "retask" if !self.ops.is_empty() => {
                let at = byte % self.ops.len();
                let op = &mut self.ops[at];
                if self.model.ops[op.name].1 == State::Waiting {
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
        let ch = self.slots[slot].ch;
        let item = self.item();
        let id = item.id;
        let Some(tx) = self.slots[slot].txs.last() else {
            drop(item);
            self.model.gone[id] += 1;
            return Ok(());
        };
        let real = match tx.try_send(item) {
            Ok(()) => Some(What::Sent),
            Err(TrySendError::Closed(item)) => Some(What::Back(item.id)),
            Err(TrySendError::Full(item)) if item.id == id => None,
            Err(TrySendError::Full(item)) => return Err(format!("try_send gave back {}, not {id}", item.id)),
        };
        let expected = self.model.put(ch, usize::MAX, id);
        self.model.gone[id] += u8::from(expected != Some(What::Sent));
        ensure!(real == expected, "try_send gave {real:?}, not {expected:?}");
        Ok(())
    }

    fn try_recv(&mut self, slot: usize) -> Result<(), String> {
        let ch = self.slots[slot].ch;
        let Some(rx) = self.slots[slot].rxs.last() else { return Ok(()) };
        let real = match rx.try_recv() {
            Ok(item) => Some(What::Got(Some(item.id))),
            Err(TryRecvError::Closed) => Some(What::Got(None)),
            Err(TryRecvError::Empty) => None,
        };
        let expected = self.model.take(ch, usize::MAX);
        if let Some(What::Got(Some(value))) = expected {
            self.model.gone[value] += 1;
        }
        ensure!(real == expected, "try_recv gave {real:?}, not {expected:?}");
        Ok(())
    }

    /// What a fresh operation's cases came to at one instant: `real` must be what the model would take.
    fn settle(&mut self, name: usize, real: Option<Answer>, biased: bool) -> Result<(), String> {
        let ready = self.model.ready(name);
        let Some((case, what)) = real else {
            ensure!(ready.is_empty(), "operation {name}: nothing was taken, though {ready:?} were ready");
            self.model.abandon(name);
            self.model.tally.defaults += 1;
            return Ok(());
        };
        ensure!(ready.contains(&case), "operation {name} took case {case}, ready were {ready:?}");
        ensure!(!biased || ready[0] == case, "operation {name} took case {case}, not the first of {ready:?}");
        let expected = self.model.attempt(name, case);
        ensure!(what == expected, "operation {name}: case {case} gave {what:?}, not {expected:?}");
        self.model.finish(name, (case, what));
        self.model.tally.taken_now += 1;
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
        match self.model.ops[name].1 {
            State::Fresh if real.is_some() => self.settle(name, real, biased)?,
            State::Fresh => {
                let ready = self.model.ready(name);
                ensure!(ready.is_empty(), "operation {name} waits, though {ready:?} are ready");
                self.model.park(name);
            }
            State::Waiting => ensure!(real.is_none(), "operation {name} gave {real:?}, and nobody served it"),
            State::Won(expected, _) => {
                ensure!(real == Some(expected), "operation {name} gave {real:?}, not {expected:?}");
                self.model.finish(name, expected);
            }
            State::Over => return Err(format!("operation {name} is over")),
        }
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
        for (id, (real, expected)) in self.gone.iter().zip(&self.model.gone).enumerate() {
            let real = real.load(Ordering::Relaxed);
            ensure!(real == *expected, "value {id} was dropped {real} times, not {expected}");
        }
        for op in &self.ops {
            let (name, state) = (op.name, self.model.ops[op.name].1);
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
            let chan = &self.model.chans[*ch];
            let expected = (self.model.len(*ch), chan.capacity, chan.closed);
            let sides = txs.iter().map(|tx| (tx.len(), tx.capacity(), tx.is_closed()));
            for real in sides.chain(rxs.iter().map(|rx| (rx.len(), rx.capacity(), rx.is_closed()))) {
                ensure!(real == expected, "channel {ch} has (len, capacity, closed) {real:?}, not {expected:?}");
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
        for (id, gone) in self.gone.iter().enumerate() {
            let gone = gone.load(Ordering::Relaxed);
            ensure!(gone == 1, "value {id} was dropped {gone} times");
        }
        Ok(())
    }
}

/// A `Select` of these ends, which go into the two lists.
fn list<'a>(rxs: &'a mut Vec<Receiver<Item>>, txs: &'a mut Vec<Sender<Item>>, ends: Vec<End>) -> Select<'a, Answer> {
    let mut plan = Vec::new();
    for end in ends {
        match end {
            End::Recv(rx) => {
                rxs.push(rx);
                plan.push(None);
            }
            End::Send(tx, item) => {
                txs.push(tx);
                plan.push(Some(item));
            }
        }
    }
    let (mut rxs, mut txs) = (rxs.iter(), txs.iter());
    let mut select = Select::new();
    for (case, item) in plan.into_iter().enumerate() {
        select = match item {
            Some(item) => select.send(txs.next().expect("one each"), item, move |result| sent(case, result)),
            None => select.recv(rxs.next().expect("one each"), move |value| got(case, value)),
        };
    }
    select
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
