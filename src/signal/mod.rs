//! Operating system signals as messages. Go: package `os/signal`; tokio: `tokio::signal`.
//!
//! Requires the feature `net`.
//!
//! | Go | gopark |
//! |---|---|
//! | `signal.Notify(c, sigs...)` | [`notify`], which creates the channel |
//! | `signal.Stop(c)` | drop the receiver |
//! | `signal.NotifyContext(ctx, sigs...)` | [`notify_context`] |
//! | a `Notify` for one Ctrl-C | [`ctrl_c`]; tokio: the same |
//!
//! # When a signal is caught
//!
//! A signal is caught while something here waits for it. A caught signal does not have its default
//! effect, which for most signals is to end the process. It has its previous effect again when
//! nothing waits for it any longer: the receiver was dropped, the context has ended, or the
//! [`ctrl_c`] has completed. So a second Ctrl-C ends a program that hangs in its shutdown. (Go's
//! `NotifyContext` keeps catching until its `stop` is called; tokio never stops.)
//!
//! Handlers that other code of the process has installed, before or after, are called as well:
//! those of tokio and of the crate `signal-hook` work together with this module. The same holds for
//! `GOPARK_DEBUG=dump=on`: on SIGQUIT the process writes a dump, and a `notify` for SIGQUIT
//! receives the signal too.
//!
//! Signals of the same kind in quick succession may be merged into one, as on every system.
//!
//! # Platforms
//!
//! On Unix a thread that starts with the first use of this module receives all signals. On Windows
//! [`INT`](Signal::INT) is Ctrl-C or Ctrl-Break; [`TERM`](Signal::TERM) means that the console is
//! closed, the user logs off or the system shuts down. Windows ends the process a few seconds after
//! a `TERM` in any case.
//!
//! # Examples
//!
//! ```
//! # #[cfg(unix)]
//! gopark::block_on(async {
//!     use gopark::signal::{self, Signal};
//!
//!     let signals = signal::notify(&[Signal::TERM, Signal::HUP]);
//!     # unsafe { libc::raise(libc::SIGHUP) };
//!     match signals.recv().await {
//!         Some(Signal::HUP) => println!("the server reads its configuration again"),
//!         signal => unreachable!("{signal:?}"),
//!     }
//! });
//! ```

#[forbid(unsafe_code)]
mod kinds;
#[cfg(all(unix, not(any(miri, gopark_loom))))]
#[forbid(unsafe_code)]
mod unix;
#[cfg(windows)]
#[forbid(unsafe_code)]
mod windows;

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};

#[cfg(all(unix, not(any(miri, gopark_loom))))]
use self::unix::Source;
#[cfg(windows)]
use self::windows::Source;
use crate::caught::Signals;
use crate::chan::{self, Receiver, Sender, TrySendError};
use crate::context::{CancelCauseFunc, CancelFunc, Context};
use crate::fork;
use crate::panics::{contain, lock};
use crate::sync::oneshot;
use crate::wait::case::future_case;

pub use kinds::Signal;

/// The capacity of the channel of a [`notify`]. Signals that arrive while it is full are dropped.
const ROOM: usize = 16;

/// Sends the signals that arrive from now on to a channel. Go: `signal.Notify`, with a channel of
/// capacity 16.
///
/// A signal that arrives while the channel is full is dropped. The subscription ends when the last
/// receiver is dropped (Go: `signal.Stop`) or [closes](Receiver::close) the channel. An empty list
/// means no signals, and its channel is closed from the start. (In Go it means all signals.)
///
/// # Memory ordering
///
/// Same as for every channel: a send synchronizes before the receive of its value.
///
/// # Panics
///
/// If the system refuses the pipe, the thread or the handler that the first subscription needs.
/// Also in a process that was [forked](crate::Runtime#forking) from a process with a runtime.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// gopark::block_on(async {
///     use gopark::signal::{self, Signal};
///
///     let reloads = signal::notify(&[Signal::HUP]);
///     # unsafe { libc::raise(libc::SIGHUP) };
///     assert_eq!(reloads.recv().await, Some(Signal::HUP)); // after `kill -HUP`
/// });
/// ```
#[doc(alias = "Notify")]
#[track_caller]
pub fn notify(signals: &[Signal]) -> Receiver<Signal> {
    let (sender, receiver) = chan::bounded(ROOM);
    if !signals.is_empty() {
        subscribe(signals, To::Channel(sender));
    }
    receiver
}

/// Returns a context that also ends when one of the signals arrives. Go: `signal.NotifyContext`.
///
/// After a signal the context has the error [`Canceled`](crate::context::ContextError::Canceled)
/// and a [`SignalError`] as its cause. Once the context has ended, for whatever reason, it no
/// longer catches the signals.
///
/// # Panics
///
/// Same as [`notify`].
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// gopark::block_on(async {
///     use gopark::context::Context;
///     use gopark::signal::{self, Signal};
///
///     let signals = [Signal::INT, Signal::TERM];
///     let (ctx, _stop) = signal::notify_context(&Context::background(), &signals);
///     # unsafe { libc::raise(libc::SIGTERM) };
///     ctx.done().await; // after `kill`
///     assert_eq!(ctx.cause().unwrap().to_string(), "terminated signal received");
/// });
/// ```
#[doc(alias = "NotifyContext")]
#[track_caller]
pub fn notify_context(parent: &Context, signals: &[Signal]) -> (Context, CancelFunc) {
    let (ctx, cancel) = parent.with_cancel_cause();
    let stop = cancel.without_cause();
    if !signals.is_empty() && ctx.err().is_none() {
        subscribe(signals, To::Context(ctx.clone(), cancel));
    }
    (ctx, stop)
}

/// The cause of a context that was ended by a signal. Its text is the same as in Go.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// gopark::block_on(async {
///     use gopark::context::Context;
///     use gopark::signal::{self, Signal, SignalError};
///
///     let (ctx, _stop) = signal::notify_context(&Context::background(), &[Signal::USR2]);
///     # unsafe { libc::raise(libc::SIGUSR2) };
///     ctx.done().await;
///     let cause = ctx.cause().unwrap();
///     assert_eq!(cause.downcast_ref::<SignalError>().unwrap().signal(), Signal::USR2);
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalError {
    signal: Signal,
}

impl SignalError {
    /// Returns the signal.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)]
    /// gopark::block_on(async {
    ///     use gopark::context::Context;
    ///     use gopark::signal::{self, Signal, SignalError};
    ///
    ///     let (ctx, _stop) = signal::notify_context(&Context::background(), &[Signal::USR1]);
    ///     # unsafe { libc::raise(libc::SIGUSR1) };
    ///     ctx.done().await;
    ///     let cause = ctx.cause().unwrap();
    ///     assert_eq!(cause.downcast_ref::<SignalError>().unwrap().signal(), Signal::USR1);
    /// });
    /// ```
    pub fn signal(&self) -> Signal {
        self.signal
    }
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signal received", self.signal)
    }
}

impl Error for SignalError {}

/// Waits for Ctrl-C, or another [`Signal::INT`]. tokio: `signal::ctrl_c`.
///
/// It catches the signal from the call on, even if the future is not polled. One signal completes
/// all pending futures. After a future has completed and while no other is pending, Ctrl-C has its
/// previous effect again: it ends the process.
///
/// It can be a case of a [`select!`](crate::select!), also of one in a loop.
///
/// # Cancellation
///
/// Dropping the future loses no signal: a signal that it did not report, or a later one, completes
/// the next [`ctrl_c`]. Until then Ctrl-C does not end the process.
///
/// # Panics
///
/// Same as [`notify`]. Also if the future is polled after it has completed.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// gopark::block_on(async {
///     use gopark::{chan, select, signal};
///
///     let (_tx, requests) = chan::unbuffered::<u32>();
///     let mut interrupt = std::pin::pin!(signal::ctrl_c());
///     # std::thread::spawn(|| unsafe { libc::kill(libc::getpid(), libc::SIGINT) });
///     loop {
///         select! {
///             Some(request) = requests.recv() => println!("{request}"),
///             _ = &mut interrupt => break, // shut down
///         }
///     }
/// });
/// ```
#[track_caller]
pub fn ctrl_c() -> CtrlC {
    fork::refuse();
    let (sender, receiver) = oneshot::channel();
    let mut state = lock(&STATE);
    if state.interrupt.is_unreported {
        drop(state);
        // The receiver exists, so the send cannot fail.
        _ = sender.send(());
    } else {
        let caught = state.catch(Signals::of(Signal::INT.number()));
        if caught.is_ok() {
            state.interrupt.is_caught = true;
            state.interrupt.waiting.retain(|waiting| !waiting.is_closed());
            state.interrupt.waiting.push(sender);
        }
        drop(state);
        require(caught);
    }
    CtrlC { receiver }
}

/// The future of [`ctrl_c`].
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// gopark::block_on(async {
///     use gopark::signal::{self, CtrlC};
///
///     let ctrl_c: CtrlC = signal::ctrl_c(); // from here on Ctrl-C does not end the process
///     # unsafe { libc::raise(libc::SIGINT) };
///     ctrl_c.await;
/// });
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct CtrlC {
    receiver: oneshot::Receiver<()>,
}

future_case!(CtrlC);

impl Future for CtrlC {
    type Output = ();

    // `track_caller`: the location of a panic is that of the `await`.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.receiver).poll(cx).map(|_| ());
        if polled.is_ready() {
            let mut state = lock(&STATE);
            state.interrupt.is_unreported = false;
            state.interrupt.waiting.retain(|waiting| !waiting.is_closed());
            state.interrupt.is_caught = !state.interrupt.waiting.is_empty();
            state.settle();
        }
        polled
    }
}

impl fmt::Debug for CtrlC {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CtrlC").finish_non_exhaustive()
    }
}

/// All waits for signals.
static STATE: Mutex<State> = Mutex::new(State {
    source: Source::new(deliver),
    caught: Signals::NONE,
    subscriptions: Vec::new(),
    interrupt: Interrupt { waiting: Vec::new(), is_caught: false, is_unreported: false },
});

struct State {
    source: Source,
    /// The signals that the source catches.
    caught: Signals,
    subscriptions: Vec<Arc<Subscription>>,
    interrupt: Interrupt,
}

struct Subscription {
    signals: Signals,
    to: To,
}

enum To {
    Channel(Sender<Signal>),
    /// The returned context, and the function that cancels it with a cause.
    Context(Context, CancelCauseFunc),
}

/// The calls of [`ctrl_c`].
struct Interrupt {
    waiting: Vec<oneshot::Sender<()>>,
    /// True from the first call until a future has completed and no other is pending.
    is_caught: bool,
    /// True if a signal has arrived that no future has reported.
    is_unreported: bool,
}

impl State {
    fn catch(&mut self, signals: Signals) -> io::Result<()> {
        for signal in signals.without(self.caught).each() {
            self.source.catch(signal)?;
            self.caught = self.caught.with(Signals::of(signal));
        }
        Ok(())
    }

    /// Removes the subscriptions that have ended.
    fn take_over(&mut self) -> Vec<Arc<Subscription>> {
        let all = std::mem::take(&mut self.subscriptions);
        let (over, rest) = all.into_iter().partition(|other| other.to.is_over());
        self.subscriptions = rest;
        over
    }

    /// Releases the signals that nothing waits for.
    fn settle(&mut self) {
        let interrupt = if self.interrupt.is_caught {
            Signals::of(Signal::INT.number())
        } else {
            Signals::NONE
        };
        let wanted =
            self.subscriptions.iter().fold(interrupt, |wanted, other| wanted.with(other.signals));
        for signal in self.caught.without(wanted).each() {
            self.source.release(signal);
            self.caught = self.caught.without(Signals::of(signal));
        }
    }
}

#[track_caller]
fn subscribe(signals: &[Signal], to: To) {
    fork::refuse();
    let signals =
        signals.iter().fold(Signals::NONE, |all, signal| all.with(Signals::of(signal.number())));
    let subscription = Arc::new(Subscription { signals, to });
    let mut state = lock(&STATE);
    let caught = state.catch(signals);
    if caught.is_ok() {
        state.subscriptions.push(subscription);
    }
    // Most signals never arrive, so those of the past are forgotten here.
    let over = state.take_over();
    state.settle();
    drop(state);
    // Outside of the lock, because a destructor may acquire it.
    contain(|| drop(over));
    require(caught);
}

/// Panics if the signals cannot be caught. Must not be called under the lock.
#[track_caller]
fn require(caught: io::Result<()>) {
    if let Err(error) = caught {
        panic!("gopark: signals cannot be caught: {error}");
    }
}

/// The result of delivering a signal to a subscription.
#[derive(PartialEq)]
enum Delivered {
    Taken,
    /// The subscription took the signal, and has ended.
    TakenLast,
    /// The subscription had ended before.
    Over,
}

impl To {
    fn is_over(&self) -> bool {
        match self {
            To::Channel(sender) => sender.is_closed(),
            To::Context(ctx, _) => ctx.err().is_some(),
        }
    }

    fn deliver(&self, signal: Signal) -> Delivered {
        match self {
            To::Channel(sender) => match sender.try_send(signal) {
                Ok(()) | Err(TrySendError::Full(_)) => Delivered::Taken,
                Err(TrySendError::Closed(_)) => Delivered::Over,
            },
            To::Context(ctx, _) if ctx.err().is_some() => Delivered::Over,
            To::Context(_, cancel) => {
                cancel.cancel(SignalError { signal });
                Delivered::TakenLast
            }
        }
    }
}

/// Delivers a signal that has arrived. Returns false if nothing waits for the signal any longer;
/// then the caller lets the signal have its previous effect.
fn deliver(number: i32) -> bool {
    let signal = Signal::of_number(number);
    let mut state = lock(&STATE);
    let subscriptions: Vec<_> =
        state.subscriptions.iter().filter(|other| other.signals.has(number)).cloned().collect();
    let interrupts = signal == Signal::INT && state.interrupt.is_caught;
    let waiting =
        if interrupts { std::mem::take(&mut state.interrupt.waiting) } else { Vec::new() };
    state.interrupt.is_unreported |= interrupts;
    drop(state);

    for waiting in waiting {
        // If the future was dropped, the next call reports the signal.
        _ = waiting.send(());
    }
    let mut is_taken = interrupts;
    let over: Vec<_> = subscriptions
        .into_iter()
        .filter(|subscription| {
            let delivered = subscription.to.deliver(signal);
            is_taken |= delivered != Delivered::Over;
            delivered != Delivered::Taken
        })
        .collect();
    let mut state = lock(&STATE);
    state.subscriptions.retain(|other| !over.iter().any(|over| Arc::ptr_eq(over, other)));
    state.settle();
    drop(state);
    // Outside of the lock, because a destructor may acquire it.
    contain(|| drop(over));
    is_taken
}

/// For platforms on which no signal can be caught.
#[cfg(not(any(windows, all(unix, not(any(miri, gopark_loom))))))]
struct Source;

#[cfg(not(any(windows, all(unix, not(any(miri, gopark_loom))))))]
impl Source {
    const fn new(_: fn(i32) -> bool) -> Self {
        Self
    }

    fn catch(&mut self, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn release(&mut self, _: i32) {}
}

#[cfg(all(test, unix, not(any(miri, gopark_loom))))]
mod tests;
