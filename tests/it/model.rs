//! A model of Go's channels, extended by what dropping an operation means: which operation is
//! served, with which value, in which order, and which values are dropped. And the parts for
//! comparing real channels with it: values that count their drops, and the comparison of each
//! result. It uses no other module, because `fuzz/` compiles it as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use gopark::chan::{Receiver, SendError, Sender, TryRecvError, TrySendError};
use gopark::select::Select;

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}

pub(crate) use ensure;

// --------------------------------------------------------------------------------- what should be

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Send,
    Recv,
}

/// The result of a case, with values by their numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    Got(Option<usize>),
    Sent,
    Back(usize),
    /// A place in the buffer, for a value that a later poll sends.
    Place,
    /// All cases were off.
    Off,
}

/// The winning case of an operation, and its result.
pub(crate) type Answer = (usize, What);

/// The result of a select whose cases are all off. No case has this number.
pub(crate) const ALL_OFF: Answer = (usize::MAX, What::Off);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelCase {
    /// None for a nil channel.
    pub(crate) ch: Option<usize>,
    /// The value, for a send.
    pub(crate) value: Option<usize>,
}

impl ModelCase {
    /// The handle that the case owns.
    fn hold(self) -> Option<(usize, Side)> {
        Some((self.ch?, if self.value.is_some() { Side::Send } else { Side::Recv }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Fresh,
    Waiting,
    /// Served; with a value also the number of its hand-over.
    Won(Answer, usize),
    /// It has its place.
    Holding,
    Over,
}

#[derive(Debug)]
struct ModelChan {
    capacity: usize,
    closed: bool,
    /// Places that are held, or that were given to operations that have not been polled since.
    reserved: usize,
    senders: usize,
    receivers: usize,
    handed: usize,
    /// Handed over, and returned by a receive that was dropped: older than the buffer.
    returned: Vec<(usize, usize)>,
    buffer: VecDeque<usize>,
    /// Operation and case.
    recvq: VecDeque<(usize, usize)>,
    sendq: VecDeque<(usize, usize)>,
}

/// The number of times that a run reached each situation in which mistakes are likely.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// A parked receive was given a value, or a parked send gave its own.
    pub(crate) handed: usize,
    /// A parked sender's value moved into the buffer when a value was taken.
    pub(crate) refilled: usize,
    /// A select that waited was served.
    pub(crate) selected: usize,
    /// A value was returned by a receive that was dropped, and went to the next receiver or into
    /// the channel.
    pub(crate) passed_on: usize,
    pub(crate) returned: usize,
    /// A close ended an operation that waited.
    pub(crate) closed_under: usize,
    /// A `default` ran, or a case was taken instead of one.
    pub(crate) defaults: usize,
    pub(crate) taken_now: usize,
    /// A channel lost the last handle of a side.
    pub(crate) left: usize,
    /// A pending operation moved to another task.
    pub(crate) retasked: usize,
    /// One of several values that a select waited to send to one channel was observed.
    pub(crate) drawn: usize,
    /// A close removed a case from a select that waited.
    pub(crate) went_off: usize,
    /// A reservation that waited got a place, or a place was given up.
    pub(crate) placed: usize,
    pub(crate) unplaced: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    chans: Vec<ModelChan>,
    ops: Vec<(Vec<ModelCase>, State)>,
    /// Operations whose receives are switched off at the end of their channels, with their cases
    /// that are off.
    go_off: BTreeMap<usize, BTreeSet<usize>>,
    /// Operations that reserve a place, and send their value in a later poll.
    reserving: BTreeSet<usize>,
    /// How often each value should have been dropped by now.
    pub(crate) gone: Vec<u8>,
    /// How often each item was really dropped, by its number.
    dropped: Vec<Arc<AtomicU8>>,
    /// Which item each value is: the one of its own number, unless two were exchanged.
    items: Vec<usize>,
    /// Values of which it is not known yet which item each one is: a select has queued all of them,
    /// in a random order. To the model the first one is in front.
    drawn: Vec<Vec<usize>>,
    pub(crate) tally: Tally,
}

impl Model {
    pub(crate) fn make(&mut self, capacity: usize) -> usize {
        self.chans.push(ModelChan {
            capacity,
            closed: false,
            reserved: 0,
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

    pub(crate) fn item(&mut self) -> Item {
        let (id, dropped) = (self.gone.len(), Arc::new(AtomicU8::new(0)));
        self.dropped.push(dropped.clone());
        self.gone.push(0);
        self.items.push(id);
        Item { id, dropped }
    }

    /// The value that an item is. Of those in random order, the first one that is observed was in
    /// front.
    fn value(&mut self, item: usize) -> usize {
        if let Some(at) = self.drawn.iter().position(|twins| twins.contains(&item)) {
            let front = self.drawn.swap_remove(at)[0];
            self.items.swap(front, item);
            self.tally.drawn += 1;
        }
        // Two exchanged values are each other's item.
        self.items[item]
    }

    /// Translates what the operations were told from items to values.
    fn seen(&mut self, what: What) -> What {
        match what {
            What::Got(Some(item)) => What::Got(Some(self.value(item))),
            What::Back(item) => What::Back(self.value(item)),
            What::Got(None) | What::Sent | What::Place | What::Off => what,
        }
    }

    /// What an operation that has waited was told. Of several cases on one side of a channel any
    /// may have been in front, unless the select is biased. The model takes the first one, or the
    /// one that sends the value that was observed.
    fn told(&mut self, op: usize, (case, what): Answer, biased: bool) -> Answer {
        if what == What::Off {
            return (case, what);
        }
        let ModelCase { ch, value: item } = self.ops[op].0[case];
        let front = match item {
            Some(item) => {
                let value = self.value(item);
                self.ops[op].0.iter().position(|case| case.value == Some(value))
            }
            None if biased => None,
            None => self.ops[op].0.iter().position(|case| case.ch == ch && case.value.is_none()),
        };
        (front.unwrap_or(case), self.seen(what))
    }

    /// A new operation, and the handles that it holds.
    pub(crate) fn begin(&mut self, cases: Vec<ModelCase>) -> (usize, Vec<(usize, Side)>) {
        let holds: Vec<_> = cases.iter().filter_map(|case| case.hold()).collect();
        holds.iter().for_each(|&(ch, side)| *self.handles(ch, side) += 1);
        self.ops.push((cases, State::Fresh));
        (self.ops.len() - 1, holds)
    }

    /// As `begin`, of a select whose receives are switched off at the end of their channels.
    pub(crate) fn begin_off(&mut self, cases: Vec<ModelCase>) -> (usize, Vec<(usize, Side)>) {
        self.go_off.insert(self.ops.len(), BTreeSet::new());
        self.begin(cases)
    }

    /// As `begin`, of a reservation, whose only case is that of a send.
    pub(crate) fn begin_reserve(&mut self, case: ModelCase) -> (usize, Vec<(usize, Side)>) {
        self.reserving.insert(self.ops.len());
        self.begin(vec![case])
    }

    /// Records which cases are off by now. True if all of them are.
    fn note_off(&mut self, op: usize) -> bool {
        let Some(mut off) = self.go_off.remove(&op) else { return false };
        for (index, case) in self.ops[op].0.iter().enumerate() {
            if let (Some(ch), None) = (case.ch, case.value) {
                if self.chans[ch].closed && self.len(ch) == 0 {
                    off.insert(index);
                }
            }
        }
        let all_off = off.len() == self.ops[op].0.len();
        self.go_off.insert(op, off);
        all_off
    }

    fn is_off(&self, op: usize, case: usize) -> bool {
        self.go_off.get(&op).is_some_and(|off| off.contains(&case))
    }

    pub(crate) fn state(&self, op: usize) -> State {
        self.ops[op].1
    }

    /// It was served, and has not been polled since.
    pub(crate) fn is_won(&self, op: usize) -> bool {
        matches!(self.ops[op].1, State::Won(..))
    }

    pub(crate) fn handles(&mut self, ch: usize, side: Side) -> &mut usize {
        let chan = &mut self.chans[ch];
        if side == Side::Send { &mut chan.senders } else { &mut chan.receivers }
    }

    pub(crate) fn len(&self, ch: usize) -> usize {
        self.chans[ch].returned.len() + self.chans[ch].buffer.len()
    }

    /// Whether a receive would get a value.
    pub(crate) fn has_value(&self, ch: usize) -> bool {
        self.len(ch) > 0 || self.first_with_value(ch, usize::MAX).is_some()
    }

    fn has_room(&self, ch: usize) -> bool {
        self.len(ch) + self.chans[ch].reserved < self.chans[ch].capacity
    }

    /// The operation that has waited longest. One that waits twice on a channel does not match
    /// itself, but then it would not wait.
    fn first(&self, ch: usize, side: Side, own: usize) -> Option<(usize, usize)> {
        let queue = if side == Side::Send { &self.chans[ch].sendq } else { &self.chans[ch].recvq };
        queue.iter().copied().find(|(op, _)| *op != own)
    }

    /// The sender that has waited longest: a reservation has no value yet.
    fn first_with_value(&self, ch: usize, own: usize) -> Option<(usize, usize)> {
        let sends = |(op, _): &(usize, usize)| *op != own && !self.reserving.contains(op);
        self.chans[ch].sendq.iter().copied().find(sends)
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

    /// The value of the sender that has waited longest, which is served.
    fn pull(&mut self, ch: usize, own: usize) -> Option<usize> {
        let (op, case) = self.first_with_value(ch, own)?;
        let value = self.ops[op].0[case].value.expect("a send has a value");
        self.serve((op, case), What::Sent, 0);
        Some(value)
    }

    /// If there is room, the operation that has waited longest gets it.
    fn refill(&mut self, ch: usize, own: usize) {
        if self.chans[ch].closed || !self.has_room(ch) {
            return;
        }
        let Some((op, case)) = self.first(ch, Side::Send, own) else { return };
        if self.reserving.contains(&op) {
            self.chans[ch].reserved += 1;
            self.tally.placed += 1;
            self.serve((op, case), What::Place, 0);
        } else {
            let value = self.ops[op].0[case].value.expect("a send has a value");
            self.serve((op, case), What::Sent, 0);
            self.chans[ch].buffer.push_back(value);
            self.tally.refilled += 1;
        }
    }

    /// A place is given back.
    fn unreserve(&mut self, ch: usize) {
        self.chans[ch].reserved -= 1;
        self.refill(ch, usize::MAX);
    }

    /// The value is sent in its reserved place.
    fn send_placed(&mut self, op: usize) -> Answer {
        let ModelCase { ch, value } = self.ops[op].0[0];
        let (ch, value) = (ch.expect("nil has no places"), value.expect("a send has a value"));
        if self.chans[ch].closed {
            self.unreserve(ch);
            return (0, What::Back(value));
        }
        if self.first(ch, Side::Recv, usize::MAX).is_some() {
            let sent = self.put(ch, op, value).expect("one waits");
            self.unreserve(ch);
            return (0, sent);
        }
        self.chans[ch].reserved -= 1;
        self.chans[ch].buffer.push_back(value);
        (0, What::Sent)
    }

    /// A receive by `own`, if one is possible.
    fn take(&mut self, ch: usize, own: usize) -> Option<What> {
        let chan = &mut self.chans[ch];
        let closed = chan.closed;
        let found = if chan.returned.is_empty() {
            chan.buffer.pop_front()
        } else {
            Some(chan.returned.remove(0).1)
        };
        match found {
            Some(value) => {
                self.refill(ch, own);
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
        if self.has_room(ch) {
            self.chans[ch].buffer.push_back(value);
            return Some(What::Sent);
        }
        None
    }

    pub(crate) fn is_ready(&self, case: ModelCase, own: usize) -> bool {
        let Some(ch) = case.ch else { return false };
        self.chans[ch].closed
            || match case.value {
                Some(_) => self.has_room(ch) || self.first(ch, Side::Recv, own).is_some(),
                None => self.len(ch) > 0 || self.first_with_value(ch, own).is_some(),
            }
    }

    fn ready(&self, op: usize) -> Vec<usize> {
        let cases = self.ops[op].0.iter().enumerate();
        let cases =
            cases.filter(|&(index, case)| !self.is_off(op, index) && self.is_ready(*case, op));
        cases.map(|(index, _)| index).collect()
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

    fn park(&mut self, op: usize, biased: bool) {
        let (cases, state) = &mut self.ops[op];
        *state = State::Waiting;
        if !biased {
            let mut sends = BTreeMap::<_, Vec<_>>::new();
            let with_value = cases.iter().filter_map(|case| Some((case.ch?, case.value?)));
            with_value.for_each(|(ch, value)| sends.entry(ch).or_default().push(value));
            self.drawn.extend(sends.into_values().filter(|values| values.len() > 1));
        }
        let off = self.go_off.get(&op);
        for (index, case) in
            cases.iter().enumerate().filter(|(index, _)| off.is_none_or(|off| !off.contains(index)))
        {
            let Some(ch) = case.ch else { continue };
            let chan = &mut self.chans[ch];
            if case.value.is_some() { &mut chan.sendq } else { &mut chan.recvq }
                .push_back((op, index));
        }
    }

    /// The operation has completed: the caller drops the result, and the losers are dropped.
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

    /// The operation is dropped before it has completed.
    pub(crate) fn abandon(&mut self, op: usize) {
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
                    What::Place => self.give_up_place(op),
                    What::Got(None) | What::Sent | What::Off => {}
                }
            }
            State::Holding => self.give_up_place(op),
            State::Over => {}
        }
    }

    fn give_up_place(&mut self, op: usize) {
        let ModelCase { ch, value } = self.ops[op].0[0];
        self.tally.unplaced += 1;
        self.unreserve(ch.expect("nil has no places"));
        self.gone[value.expect("a send has a value")] += 1;
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

    pub(crate) fn close(&mut self, ch: usize) -> bool {
        if std::mem::replace(&mut self.chans[ch].closed, true) {
            return false;
        }
        while let Some(receiver) = self.first(ch, Side::Recv, usize::MAX) {
            let (op, case) = receiver;
            let Some(off) = self.go_off.get_mut(&op) else {
                self.tally.closed_under += 1;
                self.serve(receiver, What::Got(None), 0);
                continue;
            };
            self.tally.went_off += 1;
            off.insert(case);
            if off.len() == self.ops[op].0.len() {
                self.serve((op, ALL_OFF.0), ALL_OFF.1, 0);
            } else {
                self.chans[ch].recvq.retain(|waits| *waits != receiver);
            }
        }
        while let Some((op, case)) = self.first(ch, Side::Send, usize::MAX) {
            self.tally.closed_under += 1;
            let value = self.ops[op].0[case].value.expect("a send has a value");
            self.serve((op, case), What::Back(value), 0);
        }
        true
    }

    pub(crate) fn release(&mut self, ch: usize, side: Side) {
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

    // ----------------------------------------------------------------------------- beside what is

    /// The operation was polled, and returned this.
    pub(crate) fn polled(
        &mut self,
        op: usize,
        real: Option<Answer>,
        biased: bool,
    ) -> Result<(), String> {
        match self.ops[op].1 {
            State::Fresh if self.reserving.contains(&op) => return self.reserves(op, real),
            State::Won((_, What::Place), _) => {
                ensure!(real.is_none(), "gave {real:?}, and has only got its place");
                self.ops[op].1 = State::Holding;
            }
            State::Holding => {
                let expected = self.send_placed(op);
                ensure!(real == Some(expected), "gave {real:?}, not {expected:?}");
                self.finish(op, expected);
            }
            State::Fresh => {
                if !self.settle(op, real, biased)? {
                    self.park(op, biased);
                }
            }
            State::Waiting => ensure!(real.is_none(), "gave {real:?}, though it was not served"),
            State::Won(expected, _) => {
                let told = real.map(|real| self.told(op, real, biased));
                ensure!(
                    told == Some(expected),
                    "gave {real:?}, which is {told:?}, not {expected:?}"
                );
                self.finish(op, expected);
            }
            State::Over => return Err("is over".to_owned()),
        }
        Ok(())
    }

    /// A reservation was polled for the first time.
    fn reserves(&mut self, op: usize, real: Option<Answer>) -> Result<(), String> {
        let ModelCase { ch, value } = self.ops[op].0[0];
        let (ch, value) = (ch.expect("nil has no places"), value.expect("a send has a value"));
        if self.chans[ch].closed {
            let expected = (0, What::Back(value));
            ensure!(real == Some(expected), "gave {real:?}, not {expected:?}");
            self.finish(op, expected);
            return Ok(());
        }
        ensure!(real.is_none(), "gave {real:?}, and sends later");
        if self.has_room(ch) {
            self.chans[ch].reserved += 1;
            self.ops[op].1 = State::Holding;
        } else {
            self.park(op, false);
        }
        Ok(())
    }

    /// A new operation checked all its cases at one instant. It may take a case only if the model
    /// would take it.
    pub(crate) fn settle(
        &mut self,
        op: usize,
        real: Option<Answer>,
        biased: bool,
    ) -> Result<bool, String> {
        if self.note_off(op) {
            ensure!(real == Some(ALL_OFF), "gave {real:?}, and all its cases are off");
            self.finish(op, ALL_OFF);
            return Ok(true);
        }
        let ready = self.ready(op);
        let Some((case, what)) = real else {
            ensure!(ready.is_empty(), "took nothing, though {ready:?} were ready");
            return Ok(false);
        };
        ensure!(ready.contains(&case), "took case {case}, ready were {ready:?}");
        ensure!(!biased || ready[0] == case, "took case {case}, not the first of {ready:?}");
        let (what, expected) = (self.seen(what), self.attempt(op, case));
        ensure!(what == expected, "took case {case}, which gave {what:?}, not {expected:?}");
        self.finish(op, (case, what));
        self.tally.taken_now += 1;
        Ok(true)
    }

    pub(crate) fn try_send(&mut self, ch: usize, tx: &Sender<Item>) -> Result<(), String> {
        let item = self.item();
        let id = item.id;
        let real = match tx.try_send(item) {
            Ok(()) => Some(What::Sent),
            Err(TrySendError::Closed(item)) => Some(What::Back(item.id)),
            Err(TrySendError::Full(item)) if item.id == id => None,
            Err(TrySendError::Full(item)) => {
                return Err(format!("try_send gave back {}, not {id}", item.id));
            }
        };
        let expected = self.put(ch, usize::MAX, id);
        self.gone[id] += u8::from(expected != Some(What::Sent));
        ensure!(real == expected, "try_send gave {real:?}, not {expected:?}");
        Ok(())
    }

    /// A value was looked for in another way, with this result.
    pub(crate) fn looked(&mut self, ch: usize, real: Option<What>) -> Result<(), String> {
        let expected = self.take(ch, usize::MAX);
        if let Some(What::Got(Some(value))) = expected {
            self.gone[value] += 1;
        }
        let seen = real.map(|what| self.seen(what));
        ensure!(seen == expected, "gave {real:?}, which is {seen:?}, not {expected:?}");
        Ok(())
    }

    pub(crate) fn try_recv(&mut self, ch: usize, rx: &Receiver<Item>) -> Result<(), String> {
        let real = match rx.try_recv() {
            Ok(item) => Some(What::Got(Some(item.id))),
            Err(TryRecvError::Closed) => Some(What::Got(None)),
            Err(TryRecvError::Empty) => None,
        };
        self.looked(ch, real).map_err(|error| format!("try_recv {error}"))
    }

    pub(crate) fn check_values(&self) -> Result<(), String> {
        let real = |value: usize| self.dropped[self.items[value]].load(Ordering::Relaxed);
        for (value, &expected) in self.gone.iter().enumerate() {
            let (item, real) = (self.items[value], real(value));
            let drawn = || self.drawn.iter().any(|twins| twins.contains(&value));
            ensure!(
                real == expected || drawn(),
                "value {item} was dropped {real} times, not {expected}"
            );
        }
        for twins in &self.drawn {
            let sorted = |drops: &dyn Fn(usize) -> u8| {
                let mut drops: Vec<_> = twins.iter().map(|&value| drops(value)).collect();
                drops.sort_unstable();
                drops
            };
            let (real, expected) = (sorted(&real), sorted(&|value| self.gone[value]));
            ensure!(
                real == expected,
                "values {twins:?} were dropped {real:?} times, not {expected:?}"
            );
        }
        Ok(())
    }

    /// At the end, when no operation holds anything.
    pub(crate) fn check_all_gone(&self) -> Result<(), String> {
        for (id, dropped) in self.dropped.iter().enumerate() {
            let dropped = dropped.load(Ordering::Relaxed);
            ensure!(dropped == 1, "value {id} was dropped {dropped} times");
        }
        Ok(())
    }

    /// The state that a handle reports: length, capacity, whether the channel is closed.
    pub(crate) fn check_chan(&self, ch: usize, real: (usize, usize, bool)) -> Result<(), String> {
        let chan = &self.chans[ch];
        let expected = (self.len(ch), chan.capacity, chan.closed);
        ensure!(
            real == expected,
            "channel {ch} has (len, capacity, closed) {real:?}, not {expected:?}"
        );
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------- what is

/// A value that counts its drops.
pub(crate) struct Item {
    pub(crate) id: usize,
    dropped: Arc<AtomicU8>,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn got(case: usize, value: Option<Item>) -> Answer {
    (case, What::Got(value.map(|item| item.id)))
}

pub(crate) fn sent(case: usize, result: Result<(), SendError<Item>>) -> Answer {
    let what = match result {
        Ok(()) => What::Sent,
        Err(SendError(item)) => What::Back(item.id),
    };
    (case, what)
}

/// One end and, for a send, the value: a case that has not started.
pub(crate) enum End {
    Recv(Receiver<Item>),
    Send(Sender<Item>, Item),
}

/// A `Select` of these ends, which are put into the two lists.
pub(crate) fn list<'a>(
    rxs: &'a mut Vec<Receiver<Item>>,
    txs: &'a mut Vec<Sender<Item>>,
    ends: Vec<End>,
) -> Select<'a, Answer> {
    list_of(rxs, txs, ends, false)
}

/// As `list`, with receives that are switched off at the end of their channels.
pub(crate) fn list_off<'a>(
    rxs: &'a mut Vec<Receiver<Item>>,
    txs: &'a mut Vec<Sender<Item>>,
    ends: Vec<End>,
) -> Select<'a, Answer> {
    list_of(rxs, txs, ends, true).or_else(|| ALL_OFF)
}

fn list_of<'a>(
    rxs: &'a mut Vec<Receiver<Item>>,
    txs: &'a mut Vec<Sender<Item>>,
    ends: Vec<End>,
    go_off: bool,
) -> Select<'a, Answer> {
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
        select =
            match item {
                Some(item) => select
                    .send(txs.next().expect("one each"), item, move |result| sent(case, result)),
                None if go_off => select
                    .recv_some(rxs.next().expect("one each"), move |value| got(case, Some(value))),
                None => select.recv(rxs.next().expect("one each"), move |value| got(case, value)),
            };
    }
    select
}
