//! A select whose cases are known only at run time.

use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::driver::Selecting;
use super::list::{Cases, Else, One, OneSome, Role};
use crate::chan::{Receiver, SendError, Sender};
use crate::clock::Time;
use crate::wait::block_on::{block_on, block_until};
use crate::wait::case::{Case, ChannelCase, OptionCase, future_case};

/// A select over cases that are known only at run time. Go: `reflect.Select`.
///
/// As in [`select!`](crate::select!), the choice is uniform among the ready cases, exactly one case
/// takes effect, and its closure runs. Without cases, [`wait`](Self::wait) waits forever. A plain
/// thread waits with [`wait_blocking`](Self::wait_blocking).
///
/// # Examples
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
    /// True if a case may go off, or if there is an `or_else`.
    may_go_off: bool,
    /// Runs if all cases are off.
    or_else: Option<BoxedArm<'a, R>>,
}

/// A function that looks at the role and the channel operation of a case.
type Looker<'f> = dyn FnMut(&mut Role, Option<Pin<&dyn ChannelCase>>) + 'f;

type BoxedArm<'a, R> = Pin<Box<dyn Arm<R> + Send + 'a>>;

/// A case with its closure.
#[doc(hidden)]
pub trait Arm<R> {
    fn look(self: Pin<&mut Self>, f: &mut Looker<'_>);

    fn raw(self: Pin<&mut Self>) -> Option<Pin<&dyn ChannelCase>>;

    /// Polls the case, and keeps its result.
    fn poll_arm(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    fn has_limit(&self) -> bool;

    fn poll_limit(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Gives up the case, whose limit was reached, and keeps its result.
    fn limited(self: Pin<&mut Self>);

    /// Runs the closure of the case, which has won.
    fn run(self: Pin<&mut Self>) -> R;
}

pin_project! {
    struct ArmOf<L: Cases, F> {
        // A list of one case, or no case.
        #[pin]
        case: L,
        output: Option<L::Output>,
        then: Option<F>,
    }
}

impl<L: Cases, F: FnOnce(L::Output) -> R, R> Arm<R> for ArmOf<L, F> {
    fn look(self: Pin<&mut Self>, f: &mut Looker<'_>) {
        self.project().case.each(0, &mut |_, role, raw| f(role, raw));
    }

    fn raw(self: Pin<&mut Self>) -> Option<Pin<&dyn ChannelCase>> {
        self.project().case.raw(0)
    }

    fn poll_arm(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.case.poll_case(0, cx).map(|output| *this.output = Some(output))
    }

    fn has_limit(&self) -> bool {
        self.case.has_limits()
    }

    fn poll_limit(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().case.poll_limit(0, cx)
    }

    fn limited(self: Pin<&mut Self>) {
        let this = self.project();
        *this.output = Some(this.case.limited(0));
    }

    fn run(self: Pin<&mut Self>) -> R {
        let this = self.project();
        let output = this.output.take().unwrap_or_else(|| this.case.won(0));
        (this.then.take().expect("a case wins once"))(output)
    }
}

impl<'a, R> Select<'a, R> {
    /// Returns a select without cases.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::select::Select::<()>::new().try_now(), None);
    /// ```
    pub fn new() -> Self {
        Self { cases: Vec::new(), may_go_off: false, or_else: None }
    }

    fn boxed<L, F>(case: L, then: F) -> BoxedArm<'a, R>
    where
        L: Cases + Send + 'a,
        L::Output: Send,
        F: FnOnce(L::Output) -> R + Send + 'a,
    {
        Box::pin(ArmOf { case, output: None, then: Some(then) })
    }

    /// Adds a receive; `then` gets the value, or `None` if the channel is closed and drained.
    ///
    /// # Examples
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

    /// Adds a send; `then` gets the result. If another case wins, the value is dropped.
    ///
    /// # Examples
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

    /// Adds any other case; `then` gets its output.
    ///
    /// # Examples
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
        self.cases.push(Self::boxed(One::new(true, case), then));
        self
    }

    /// Adds a receive that is switched off when the channel is closed and drained; `then` gets the
    /// value.
    ///
    /// Go: set the channel of a `reflect.SelectCase` to nil when it is closed.
    ///
    /// In [`select!`](crate::select!) this is the arm `Some(value) = rx.recv() => …`. A close does
    /// not end the select: the other cases keep their places in the queues. When all cases are off,
    /// the select returns the value of [`or_else`](Self::or_else), or waits forever if there is
    /// none.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    /// use gopark::select::Select;
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let (_, closed) = chan::unbuffered();
    /// tx.try_send(3).unwrap();
    /// let select = Select::new().recv_some(&closed, |v: i32| v).recv_some(&rx, |v| v * 2);
    /// assert_eq!(select.try_now(), Some(6));
    /// ```
    #[track_caller]
    pub fn recv_some<T, F>(self, rx: &'a Receiver<T>, then: F) -> Self
    where
        T: Send + 'a,
        F: FnOnce(T) -> R + Send + 'a,
    {
        self.case_some(rx.recv(), then)
    }

    /// Adds any other case whose output is an `Option`. It is switched off at `None`; `then` gets
    /// the value of `Some`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::select::{Select, fut};
    ///
    /// let none = fut(async { None::<i32> });
    /// let answer = Select::new().case_some(none, |v| v).case_some(fut(async { Some(42) }), |v| v);
    /// assert_eq!(gopark::block_on(answer.wait()), 42);
    /// ```
    pub fn case_some<C, F>(mut self, case: C, then: F) -> Self
    where
        C: OptionCase + Send + 'a,
        C::Value: Send,
        F: FnOnce(C::Value) -> R + Send + 'a,
    {
        self.cases.push(Self::boxed(OneSome::new(true, case), then));
        self.may_go_off = true;
        self
    }

    /// Sets the closure that runs when all cases are off. In [`select!`](crate::select!) this is
    /// the arm `else => …`.
    ///
    /// All cases are off when those added by [`recv_some`](Self::recv_some) and
    /// [`case_some`](Self::case_some) have returned `None` and there are no other cases. If called
    /// several times, the last closure is used.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    /// use gopark::select::Select;
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::bounded(1);
    ///     tx.send(1).await.unwrap();
    ///     drop(tx);
    ///     let (mut sum, mut open) = (0, true);
    ///     while open {
    ///         let select = Select::new().recv_some(&rx, |v: i32| Some(v)).or_else(|| None);
    ///         match select.wait().await {
    ///             Some(v) => sum += v,
    ///             None => open = false,
    ///         }
    ///     }
    ///     assert_eq!(sum, 1);
    /// });
    /// ```
    pub fn or_else<F>(mut self, then: F) -> Self
    where
        F: FnOnce() -> R + Send + 'a,
    {
        self.or_else = Some(Self::boxed(Else, |()| then()));
        self.may_go_off = true;
        self
    }

    /// Waits for one of the cases, and returns the result of its closure.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing, see [`select!`](crate::select!).
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gopark::chan::bounded(1);
    /// tx.try_send(3).unwrap();
    /// let select = gopark::select::Select::new().recv(&rx, |v| v);
    /// assert_eq!(gopark::block_on(select.wait()), Some(3));
    /// ```
    #[track_caller]
    pub fn wait(self) -> impl Future<Output = R> + Case<Output = R> + Send
    where
        R: 'a,
    {
        Waiting { selecting: Selecting::new(false, self) }
    }

    /// Waits for one of the cases, blocking the thread, and returns the result of its closure. Go:
    /// `reflect.Select`; crossbeam: `Select::select`.
    ///
    /// Do not call this in a goroutine, because it blocks the worker thread. Await
    /// [`wait`](Self::wait) instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::chan;
    /// use gopark::select::Select;
    ///
    /// let (tx, rx) = chan::unbuffered();
    /// gopark::go(async move { tx.send(3).await });
    /// assert_eq!(Select::new().recv(&rx, |v| v).wait_blocking(), Some(3));
    /// ```
    #[track_caller]
    pub fn wait_blocking(self) -> R {
        block_on(Waiting { selecting: Selecting::new(false, self) })
    }

    /// Waits for one of the cases, blocking the thread for at most `limit`. Go: an additional case
    /// of `time.After`; crossbeam: `Select::select_timeout`.
    ///
    /// Returns `None` if no case was ready in time; then no case has taken effect. A limit that is
    /// too long for the clock means forever. A limit of zero checks once, like
    /// [`try_now`](Self::try_now), including the cases that are futures.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gopark::chan;
    /// use gopark::select::Select;
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let limit = Duration::from_millis(1);
    /// assert_eq!(Select::new().recv(&rx, |v| v).wait_timeout_blocking(limit), None);
    /// tx.try_send(3).unwrap();
    /// assert_eq!(Select::new().recv(&rx, |v| v).wait_timeout_blocking(limit), Some(Some(3)));
    /// ```
    #[track_caller]
    pub fn wait_timeout_blocking(self, limit: Duration) -> Option<R> {
        let until = Time::now().after(limit);
        block_until(pin!(Waiting { selecting: Selecting::new(false, self) }), until)
    }

    /// Takes one of the cases that are ready now, and returns the result of its closure. In
    /// [`select!`](crate::select!) this is a select with `default`.
    ///
    /// Returns `None` if no case is ready. If all cases are off, returns the value of
    /// [`or_else`](Self::or_else), if it was set.
    ///
    /// # Examples
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
    /// Not an `async` block, because that could not be polled again after a panic.
    struct Waiting<'a, R> {
        #[pin]
        selecting: Selecting<Select<'a, R>>,
    }
}

impl<R> Future for Waiting<'_, R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // The losers have been dropped when the closure runs.
        self.project().selecting.poll(cx).map(|mut winner| winner.as_mut().run())
    }
}

future_case!(Waiting<'a, R>, 'a, R);

impl<'a, R> Cases for Select<'a, R> {
    type Output = BoxedArm<'a, R>;

    fn count(&self) -> usize {
        self.cases.len()
    }

    fn each(
        mut self: Pin<&mut Self>,
        first: usize,
        f: &mut impl FnMut(usize, &mut Role, Option<Pin<&dyn ChannelCase>>),
    ) {
        for (index, arm) in self.cases.iter_mut().enumerate() {
            arm.as_mut().look(&mut |role, raw| f(first + index, role, raw));
        }
    }

    fn poll_case(
        mut self: Pin<&mut Self>,
        index: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        self.cases[index].as_mut().poll_arm(cx).map(|()| self.cases.swap_remove(index))
    }

    fn raw(self: Pin<&mut Self>, index: usize) -> Option<Pin<&dyn ChannelCase>> {
        self.get_mut().cases[index].as_mut().raw()
    }

    fn won(mut self: Pin<&mut Self>, index: usize) -> Self::Output {
        self.cases.swap_remove(index)
    }

    fn has_limits(&self) -> bool {
        self.cases.iter().any(|arm| arm.has_limit())
    }

    fn poll_limit(mut self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> Poll<()> {
        self.cases[index].as_mut().poll_limit(cx)
    }

    fn limited(mut self: Pin<&mut Self>, index: usize) -> Self::Output {
        self.cases[index].as_mut().limited();
        self.cases.swap_remove(index)
    }

    fn is_off(mut self: Pin<&mut Self>, index: usize) -> bool {
        let mut is_off = false;
        self.cases[index].as_mut().look(&mut |role, _| is_off = *role == Role::Off);
        is_off
    }

    fn may_go_off(&self) -> bool {
        self.may_go_off
    }

    fn all_off(mut self: Pin<&mut Self>) -> Option<Self::Output> {
        self.or_else.take()
    }

    fn drop_is_noop(&self) -> bool {
        // The list itself must be freed.
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
