//! A select whose cases are known only at run time.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::driver::Selecting;
use super::list::{Cases, One, Role};
use crate::chan::{Receiver, SendError, Sender};
use crate::wait::case::{Case, ChannelCase};

/// A select over cases that are known only at run time. Go: `reflect.Select`.
///
/// As in [`select!`](crate::select!), the choice is uniform among the ready cases, exactly one case takes effect, and
/// the closure of that one runs. Without cases, [`wait`](Self::wait) waits for ever.
///
/// ```
/// use gopark::chan;
/// use gopark::select::Select;
///
/// gopark::block_on(async {
///     let channels: Vec<_> = (0..10).map(|_| chan::bounded(1)).collect();
///     channels[7].0.try_send("seven").unwrap();
///     let mut select = Select::new();
///     for (i, (_, rx)) in channels.iter().enumerate() {
///         select = select.recv(rx, move |value| (i, value));
///     }
///     assert_eq!(select.wait().await, (7, Some("seven")));
/// });
/// ```
#[doc(alias = "reflect")]
#[must_use = "a select does nothing unless waited for"]
pub struct Select<'a, R> {
    cases: Vec<BoxedArm<'a, R>>,
}

type BoxedArm<'a, R> = Pin<Box<dyn Arm<R> + Send + 'a>>;

/// A case, and what to do with its result.
#[doc(hidden)]
pub trait Arm<R> {
    fn look(self: Pin<&mut Self>, f: &mut dyn FnMut(&mut Role, Option<&dyn ChannelCase>));

    fn raw(self: Pin<&mut Self>) -> Option<&dyn ChannelCase>;

    /// Tries the case, keeping its result.
    fn poll_arm(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// The case has won.
    fn run(self: Pin<&mut Self>) -> R;
}

pin_project! {
    struct ArmOf<C: Case, F> {
        #[pin]
        case: One<C>,
        output: Option<C::Output>,
        then: Option<F>,
    }
}

impl<C: Case, F: FnOnce(C::Output) -> R, R> Arm<R> for ArmOf<C, F> {
    fn look(self: Pin<&mut Self>, f: &mut dyn FnMut(&mut Role, Option<&dyn ChannelCase>)) {
        self.project().case.each(0, &mut |_, role, raw| f(role, raw));
    }

    fn raw(self: Pin<&mut Self>) -> Option<&dyn ChannelCase> {
        self.project().case.raw(0)
    }

    fn poll_arm(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.case.poll_case(0, cx).map(|output| *this.output = Some(output))
    }

    fn run(self: Pin<&mut Self>) -> R {
        let this = self.project();
        let output = this.output.take().unwrap_or_else(|| this.case.won(0));
        (this.then.take().expect("a case wins once"))(output)
    }
}

impl<'a, R> Select<'a, R> {
    /// A select without cases.
    ///
    /// ```
    /// assert_eq!(gopark::select::Select::<()>::new().try_now(), None);
    /// ```
    pub fn new() -> Self {
        Self { cases: Vec::new() }
    }

    /// Adds a receive; `then` gets its value, or `None` if the channel is closed and drained.
    ///
    /// ```
    /// let (tx, rx) = gopark::chan::bounded(1);
    /// tx.try_send(3).unwrap();
    /// let select = gopark::select::Select::new().recv(&rx, |v: Option<i32>| v.unwrap() * 2);
    /// assert_eq!(select.try_now(), Some(6));
    /// ```
    #[track_caller]
    pub fn recv<T, F>(self, rx: &'a Receiver<T>, then: F) -> Self
    where
        T: Send + 'a,
        F: FnOnce(Option<T>) -> R + Send + 'a,
    {
        self.case(rx.recv(), then)
    }

    /// Adds a send; `then` gets its result. If another case wins, the value is dropped.
    ///
    /// ```
    /// let (tx, rx) = gopark::chan::bounded(1);
    /// let select = gopark::select::Select::new().send(&tx, 3, |sent| sent.is_ok());
    /// assert_eq!(select.try_now(), Some(true));
    /// assert_eq!(rx.try_recv(), Ok(3));
    /// ```
    #[track_caller]
    pub fn send<T, F>(self, tx: &'a Sender<T>, value: T, then: F) -> Self
    where
        T: Send + 'a,
        F: FnOnce(Result<(), SendError<T>>) -> R + Send + 'a,
    {
        self.case(tx.send(value), then)
    }

    /// Adds any other case.
    ///
    /// ```
    /// use gopark::select::{Select, fut};
    ///
    /// let answer = Select::new().case(fut(async { 42 }), |v| v).wait();
    /// assert_eq!(gopark::block_on(answer), 42);
    /// ```
    pub fn case<C, F>(mut self, case: C, then: F) -> Self
    where
        C: Case + Send + 'a,
        C::Output: Send,
        F: FnOnce(C::Output) -> R + Send + 'a,
    {
        self.cases.push(Box::pin(ArmOf { case: One::new(true, case), output: None, then: Some(then) }));
        self
    }

    /// Waits for one of the cases, and returns what its closure makes of it.
    ///
    /// # Cancellation
    ///
    /// As of [`select!`](crate::select!): nothing is lost.
    ///
    /// ```
    /// let (tx, rx) = gopark::chan::bounded(1);
    /// tx.try_send(3).unwrap();
    /// assert_eq!(gopark::block_on(gopark::select::Select::new().recv(&rx, |v| v).wait()), Some(3));
    /// ```
    #[track_caller]
    pub fn wait(self) -> impl Future<Output = R> + Send
    where
        R: 'a,
    {
        Waiting { selecting: Selecting::new(false, self) }
    }

    /// Takes one of the cases that are ready now, if any: a `select!` with `default`.
    ///
    /// ```
    /// let (_tx, rx) = gopark::chan::unbuffered::<()>();
    /// assert!(gopark::select::Select::new().recv(&rx, |_| ()).try_now().is_none());
    /// ```
    pub fn try_now(self) -> Option<R> {
        Some(Selecting::new(false, self).try_now()?.as_mut().run())
    }
}

pin_project! {
    /// No `async` block, which could not be polled again after a panic.
    struct Waiting<'a, R> {
        #[pin]
        selecting: Selecting<Select<'a, R>>,
    }
}

impl<R> Future for Waiting<'_, R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // The losers are gone when the closure runs.
        self.project().selecting.poll(cx).map(|mut winner| winner.as_mut().run())
    }
}

impl<'a, R> Cases for Select<'a, R> {
    type Output = BoxedArm<'a, R>;

    fn count(&self) -> usize {
        self.cases.len()
    }

    fn each(mut self: Pin<&mut Self>, first: usize, f: &mut impl FnMut(usize, &mut Role, Option<&dyn ChannelCase>)) {
        for (index, arm) in self.cases.iter_mut().enumerate() {
            arm.as_mut().look(&mut |role, raw| f(first + index, role, raw));
        }
    }

    fn poll_case(mut self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.cases[index].as_mut().poll_arm(cx).map(|()| self.cases.swap_remove(index))
    }

    fn raw(self: Pin<&mut Self>, index: usize) -> Option<&dyn ChannelCase> {
        self.get_mut().cases[index].as_mut().raw()
    }

    fn won(mut self: Pin<&mut Self>, index: usize) -> Self::Output {
        self.cases.swap_remove(index)
    }

    fn drop_is_noop(&self) -> bool {
        // The list itself is on the heap.
        false
    }
}

impl<R> Default for Select<'_, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for Select<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("cases", &self.cases.len()).finish()
    }
}
