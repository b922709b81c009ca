//! The signals of the operating system, as messages. Go: package `os/signal`; tokio:
//! `tokio::signal`.
//!
//! With the feature `net`.
//!
//! | Go | here |
//! |---|---|
//! | `signal.Notify(c, sigs...)` | [`notify`], which makes the channel |
//! | `signal.Stop(c)` | drop the receiver |
//! | `signal.NotifyContext(ctx, sigs...)` | [`notify_context`] |
//! | a `Notify` for one Ctrl-C | [`ctrl_c`]; tokio: the same |
//!
//! # When a signal is caught
//!
//! As long as something here waits for it: then it does not do what it does by default, which for
//! most is to end the process. When the receiver is dropped, when the context has ended, when a
//! [`ctrl_c`] has completed, and nothing else waits for that signal, it does again what it did
//! before. So a second Ctrl-C ends a program that hangs in its shutdown. (Go's `NotifyContext` goes
//! on to catch until its `stop` is called; tokio never stops.)
//!
//! What other code of the process has installed for the signal is called as well, whether before or
//! after: tokio's handlers, and those of the crate `signal-hook`, live beside this. So does
//! `GOPARK_DEBUG=dump=on`, which writes a dump on SIGQUIT: such a process writes it, and a `notify`
//! for it receives it too.
//!
//! Signals of the same kind that come in quick succession may arrive as one, as everywhere.
//!
//! # Platforms
//!
//! On Unix a thread that starts with the first use of this module receives all signals. On Windows
//! [`INT`](Signal::INT) is Ctrl-C and Ctrl-Break, and [`TERM`](Signal::TERM) that the console is
//! closed, the user logs off or the system shuts down; those wait for a few seconds before the
//! process is ended anyway.

#[forbid(unsafe_code)]
mod kinds;
#[cfg(all(unix, not(any(miri, gopark_loom))))]
#[forbid(unsafe_code)]
mod unix;
#[cfg(windows)]
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

/// So many signals wait in the channel of a [`notify`]. What comes then is dropped.
const ROOM: usize = 16;

/// The signals as messages on a channel, from now on. Go: `signal.Notify`, with a channel of
/// capacity 16.
///
/// A signal that finds the channel full is dropped. The subscription ends when the last receiver is
/// dropped (Go: `signal.Stop`), or [closes](Receiver::close) the channel. A list without signals
/// stands for none, and its channel is closed from the start. (Go: all.)
///
/// # Memory ordering
///
/// As of the channel.
///
/// # Panics
///
/// If the system refuses the pipe, the thread or the handler that the first subscription needs; in
/// a process that was [forked](crate::Runtime#forking) from one with a runtime.
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

/// A context that also ends when one of the signals arrives. Go: `signal.NotifyContext`.
///
/// It then has the error [`Canceled`](crate::context::ContextError::Canceled), and a
/// [`SignalError`] for its cause. From there on, and when it has ended otherwise, the signals do
/// again what they did before.
///
/// # Panics
///
/// As [`notify`].
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// gopark::block_on(async {
///     use gopark::context::Context;
///     use gopark::signal::{self, Signal};
///
///     let (ctx, _stop) = signal::notify_context(&Context::background(), &[Signal::INT, Signal::TERM]);
///     # unsafe { libc::raise(libc::SIGTERM) };
///     ctx.done().await; // after `kill`
///     assert_eq!(ctx.cause().unwrap().to_string(), "terminated signal received");
/// });
/// ```
#[doc(alias = "NotifyContext")]
#[track_caller]
pub fn notify_context(parent: &Context, signals: &[Signal]) -> (Context, CancelFunc) {
    let (by_signal, cancel) = parent.with_cancel_cause();
    let (ctx, stop) = by_signal.with_cancel();
    if !signals.is_empty() && ctx.err().is_none() {
        subscribe(signals, To::Context(ctx.clone(), cancel));
    }
    (ctx, stop)
}

/// The cause of a context that a signal has ended. Go says the same text.
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
    /// The signal.
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

/// Waits for a Ctrl-C, or another [`Signal::INT`]. tokio: `signal::ctrl_c`.
///
/// It counts from the call on, polled or not. One signal completes all that wait. When one has
/// completed and no other waits, the next Ctrl-C does again what it did before: it ends the
/// process.
///
/// It is a case of a [`select!`](crate::select!), also of one in a loop.
///
/// # Cancellation
///
/// Dropping the future loses no signal: one that it did not report, or that comes later, completes
/// the next [`ctrl_c`]. Until then Ctrl-C does not end the process.
///
/// # Panics
///
/// As [`notify`]. The future panics when it is polled again after it has completed.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// gopark::block_on(async {
///     use gopark::{chan, select, signal};
///
///     let (_tx, requests) = chan::unbuffered::<u32>();
///     # std::thread::spawn(|| unsafe { libc::kill(libc::getpid(), libc::SIGINT) });
///     loop {
///         select! {
///             Some(request) = requests.recv() => println!("{request}"),
///             _ = signal::ctrl_c() => break, // shut down
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
        // The receiver is there.
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
#[must_use = "futures do nothing unless awaited"]
pub struct CtrlC {
    receiver: oneshot::Receiver<()>,
}

future_case!(CtrlC);

impl Future for CtrlC {
    type Output = ();

    // The caller is the `await`.
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

/// What waits for signals.
static STATE: Mutex<State> = Mutex::new(State {
    source: Source::new(deliver),
    caught: Signals::NONE,
    subscriptions: Vec::new(),
    interrupt: Interrupt { waiting: Vec::new(), is_caught: false, is_unreported: false },
});

struct State {
    source: Source,
    /// Those that the source catches.
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
    /// The context that is given out, and what ends the one above it.
    Context(Context, CancelCauseFunc),
}

/// The calls of [`ctrl_c`].
struct Interrupt {
    waiting: Vec<oneshot::Sender<()>>,
    /// From the first call until one has completed and no other waits.
    is_caught: bool,
    /// One came, and no future has completed with it.
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

    /// Gives back the signals that nothing waits for.
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
    match &caught {
        Ok(()) => state.subscriptions.push(subscription),
        Err(_) => state.settle(),
    }
    drop(state);
    require(caught);
}

/// Not under the lock.
#[track_caller]
fn require(caught: io::Result<()>) {
    if let Err(error) = caught {
        panic!("gopark: signals cannot be caught: {error}");
    }
}

/// What becomes of a signal that a subscription is for.
#[derive(PartialEq)]
enum Delivered {
    Taken,
    /// And the subscription has ended.
    TakenLast,
    /// It had ended before.
    Over,
}

impl To {
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

/// A signal came. False if nothing waits for it any more: then it does again what it did before.
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
        // One that is gone leaves it to the next call.
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
    // Outside of the lock, which a destructor may want.
    contain(|| drop(over));
    is_taken
}

/// Where there are no signals that could be caught.
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
