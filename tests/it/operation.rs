//! An operation on channels that is polled by hand, compared with the model: its result, which task
//! is woken how often, and how many wakers are kept. `fuzz/` compiles it as well.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_lite::Stream;
use gopark::chan::{IntoStream, Receiver};

use crate::model::{Answer, Item, Model, ModelCase, Side, State, What, ensure, got};
use crate::task::{Fault, Task};

/// Which part of an operation has completed, and its result.
pub(crate) type Told = (usize, Answer);

pub(crate) enum Body {
    Future(Pin<Box<dyn Future<Output = Told>>>),
    /// A receiver that is polled as a stream.
    Stream(Box<Receiver<Item>>),
    /// A stream that waits in the queue. Its part is the receive for which it waits or will wait;
    /// none after it has ended.
    IntoStream(IntoStream<Item>),
}

/// What a receive of many took after its first value: from which channel, the maximum number, and
/// which values.
type More = (usize, usize, Rc<RefCell<Vec<usize>>>);

pub(crate) struct Op {
    pub(crate) name: usize,
    body: Body,
    /// The model's numbers of the operations that make it up.
    parts: Vec<usize>,
    /// The handles that it owns.
    handles: Vec<(usize, Side)>,
    /// It always takes the first case that is ready.
    biased: bool,
    more: Option<More>,
    task: Task,
    /// Tasks that polled it before, with the number of their wakes until then.
    stale: Vec<(Task, usize)>,
    /// Of a stream that watches: the number of wakes when it was last found pending, and its
    /// channel.
    watching: Option<(usize, usize)>,
    /// Of a stream: the number of wakes that its task may have had, or, if it waits in the queue,
    /// has had. Of any other operation: the number of wakes when it moved on.
    told: usize,
}

impl Op {
    pub(crate) fn new(
        name: usize,
        body: Body,
        parts: Vec<usize>,
        handles: Vec<(usize, Side)>,
    ) -> Self {
        let task = Task::new(None);
        Self {
            name,
            body,
            parts,
            handles,
            biased: false,
            more: None,
            task,
            stale: Vec::new(),
            watching: None,
            told: 0,
        }
    }

    /// An operation of one part.
    pub(crate) fn future(
        name: usize,
        model: &mut Model,
        cases: Vec<ModelCase>,
        future: impl Future<Output = Answer> + 'static,
    ) -> Self {
        let (part, handles) = model.begin(cases);
        Self::new(
            name,
            Body::Future(Box::pin(async move { (0, future.await) })),
            vec![part],
            handles,
        )
    }

    /// As `future`, of a select whose receives are switched off at the end of their channels.
    pub(crate) fn future_off(
        name: usize,
        model: &mut Model,
        cases: Vec<ModelCase>,
        future: impl Future<Output = Answer> + 'static,
    ) -> Self {
        let (part, handles) = model.begin_off(cases);
        Self::new(
            name,
            Body::Future(Box::pin(async move { (0, future.await) })),
            vec![part],
            handles,
        )
    }

    /// As `future`, of a reservation that sends its value in a poll after it has got its place.
    pub(crate) fn reservation(
        name: usize,
        model: &mut Model,
        case: ModelCase,
        future: impl Future<Output = Answer> + 'static,
    ) -> Self {
        let (part, handles) = model.begin_reserve(case);
        Self::new(
            name,
            Body::Future(Box::pin(async move { (0, future.await) })),
            vec![part],
            handles,
        )
    }

    /// A receiver of that channel, as a stream.
    pub(crate) fn stream(name: usize, model: &mut Model, ch: usize, rx: Receiver<Item>) -> Self {
        *model.handles(ch, Side::Recv) += 1;
        Self::new(name, Body::Stream(Box::new(rx)), Vec::new(), vec![(ch, Side::Recv)])
    }

    /// A stream that waits in the queue.
    pub(crate) fn into_stream(
        name: usize,
        model: &mut Model,
        ch: usize,
        rx: Receiver<Item>,
    ) -> Self {
        let (part, handles) = model.begin(vec![ModelCase { ch: Some(ch), value: None }]);
        Self::new(name, Body::IntoStream(rx.into_stream()), vec![part], handles)
    }

    pub(crate) fn biased(self) -> Self {
        Self { biased: true, ..self }
    }

    /// A receive of at most this many values, which stores all but the first in `more`.
    pub(crate) fn with_more(self, ch: usize, most: usize, more: Rc<RefCell<Vec<usize>>>) -> Self {
        Self { more: Some((ch, most - 1, more)), ..self }
    }

    /// How the wakers of its first task panic.
    pub(crate) fn spoiled(self, fault: Option<Fault>) -> Self {
        Self { task: Task::new(fault), ..self }
    }

    /// Another task polls it from now on, unless a wake of this one is on its way.
    pub(crate) fn retask(&mut self, model: &mut Model, fault: Option<Fault>) {
        if self.parts.iter().any(|&part| model.is_won(part)) {
            return;
        }
        model.tally.retasked += usize::from(self.waiting(model) > 0);
        let before = std::mem::replace(&mut self.task, Task::new(fault));
        let seen = before.wakes();
        self.stale.push((before, seen));
        self.told = 0;
    }

    /// True if the operation has ended.
    pub(crate) fn poll(&mut self, model: &mut Model) -> Result<bool, String> {
        let name = self.name;
        let mut cx = Context::from_waker(self.task.waker());
        match &mut self.body {
            Body::Future(future) => {
                let real = match future.as_mut().poll(&mut cx) {
                    Poll::Ready(told) => Some(told),
                    Poll::Pending => None,
                };
                if real.is_none() {
                    // An operation that continues after it was served.
                    self.told += self.parts.iter().filter(|&&part| model.is_won(part)).count();
                }
                // The parts are polled in turn, until one is ready.
                for (part, &number) in self.parts.iter().enumerate() {
                    let real = real.and_then(|(from, answer)| (from == part).then_some(answer));
                    let polled = model.polled(number, real, self.biased);
                    polled.map_err(|error| format!("operation {name}, part {part} {error}"))?;
                    if real.is_some() {
                        break;
                    }
                }
                if let (Some((ch, most, more)), Some((_, (_, What::Got(Some(_)))))) =
                    (&self.more, real)
                {
                    let more = more.borrow();
                    let mut looked =
                        more.iter().map(|&id| model.looked(*ch, Some(What::Got(Some(id)))));
                    looked.try_for_each(|looked| {
                        looked.map_err(|error| format!("operation {name}, later, {error}"))
                    })?;
                    ensure!(
                        more.len() <= *most,
                        "operation {name} took {} more than its first",
                        more.len()
                    );
                    ensure!(
                        more.len() == *most || !model.has_value(*ch),
                        "operation {name} left a value"
                    );
                }
                Ok(real.is_some())
            }
            Body::Stream(rx) => {
                let (ch, _) = self.handles[0];
                let real = match Pin::new(&mut **rx).poll_next(&mut cx) {
                    Poll::Ready(item) => Some(What::Got(item.map(|item| item.id))),
                    Poll::Pending => None,
                };
                self.watching = real.is_none().then(|| (ch, self.task.wakes()));
                // At most one wake for each time that it was found pending.
                self.told += usize::from(real.is_none());
                model.looked(ch, real).map_err(|error| format!("stream {name} {error}"))?;
                Ok(false)
            }
            Body::IntoStream(stream) => {
                let real = match Pin::new(stream).poll_next(&mut cx) {
                    Poll::Ready(item) => Some(got(0, item)),
                    Poll::Pending => None,
                };
                let Some(part) = self.parts.pop() else {
                    ensure!(
                        real == Some((0, What::Got(None))),
                        "stream {name} gave {real:?} after its end"
                    );
                    return Ok(false);
                };
                self.told += usize::from(model.is_won(part));
                model
                    .polled(part, real, false)
                    .map_err(|error| format!("stream {name} {error}"))?;
                match real {
                    None => self.parts.push(part),
                    // The next one. It holds no handle of its own.
                    Some((_, What::Got(Some(_)))) => {
                        let (part, holds) = model
                            .begin(vec![ModelCase { ch: Some(self.handles[0].0), value: None }]);
                        holds.into_iter().for_each(|(ch, side)| *model.handles(ch, side) -= 1);
                        self.parts.push(part);
                    }
                    Some(_) => {}
                }
                Ok(false)
            }
        }
    }

    /// The operation is dropped, and keeps nothing; a result that it has not returned is given up.
    pub(crate) fn end(self, model: &mut Model) -> Result<(), String> {
        drop(self.body);
        self.parts.into_iter().for_each(|part| model.abandon(part));
        self.handles.into_iter().for_each(|(ch, side)| model.release(ch, side));
        let tasks = self.stale.iter().map(|(task, _)| task).chain([&self.task]);
        let kept: usize = tasks.map(Task::wakers).sum();
        ensure!(kept == 0, "operation {} is over, and {kept} of its wakers are kept", self.name);
        Ok(())
    }

    /// The parts that wait.
    fn waiting(&self, model: &Model) -> usize {
        self.parts.iter().filter(|&&part| model.state(part) == State::Waiting).count()
    }

    /// Checks what must hold after every step.
    pub(crate) fn check(&self, model: &Model) -> Result<(), String> {
        let Self { name, task, told, .. } = self;
        let (woken, kept) = (task.wakes(), task.wakers());
        // Its task is woken once for each part that is served, never before that; and the task that
        // polled it before is not woken at all.
        let expected_kept = if let Body::Stream(_) = self.body {
            ensure!(
                woken <= *told,
                "stream {name} was woken {woken} times, and registered {told} times"
            );
            usize::from(self.watching.is_some_and(|(_, seen)| seen == woken))
        } else {
            let served = self.parts.iter().filter(|&&part| model.is_won(part)).count();
            let expected = (told + served) * task.expected();
            ensure!(woken == expected, "operation {name} was woken {woken} times, not {expected}");
            self.waiting(model)
        } * task.expected();
        ensure!(
            kept == expected_kept,
            "operation {name}: {kept} wakers are kept, not {expected_kept}"
        );
        for (stale, seen) in &self.stale {
            ensure!(stale.wakes() == *seen, "operation {name} woke a task that it had left");
            ensure!(
                stale.wakers() == 0,
                "operation {name} keeps the waker of a task that it had left"
            );
        }
        // For a stream that is not woken there is nothing to take.
        if let Some((ch, seen)) = self.watching.filter(|_| task.expected() > 0) {
            let case = ModelCase { ch: Some(ch), value: None };
            let told = woken > seen || !model.is_ready(case, usize::MAX);
            ensure!(told, "stream {name} was not told that channel {ch} has something");
        }
        Ok(())
    }
}
