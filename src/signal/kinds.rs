//! Signal numbers and their names.

use std::fmt;

use crate::caught::Signals;

/// A signal. Go: `os.Signal`; tokio: `SignalKind`.
///
/// `Display` prints Go's text for the signal, `Debug` its name.
///
/// # Examples
///
/// ```
/// use gopark::signal::Signal;
///
/// assert_eq!(Signal::INT.to_string(), "interrupt");
/// assert_eq!(format!("{:?}", Signal::TERM), "SIGTERM");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

macro_rules! signals {
    ($($(#[$attribute:meta])* $name:ident = $number:expr, $text:literal;)*) => {
        impl Signal {
            $($(#[$attribute])* pub const $name: Self = Self($number);)*
        }

        /// The signals with a constant: the signal, its name, and Go's text for it.
        const NAMED: &[(Signal, &str, &str)] =
            &[$((Signal::$name, concat!("SIG", stringify!($name)), $text),)*];
    };
}

#[cfg(unix)]
signals! {
    /// Ctrl-C.
    INT = libc::SIGINT, "interrupt";
    /// A request to terminate: sent by `kill`, service managers and containers.
    TERM = libc::SIGTERM, "terminated";
    /// The terminal was closed. Many daemons reload their configuration.
    HUP = libc::SIGHUP, "hangup";
    /// Ctrl-\. With `GOPARK_DEBUG=dump=on` it also writes a dump.
    QUIT = libc::SIGQUIT, "quit";
    /// User-defined.
    USR1 = libc::SIGUSR1, "user defined signal 1";
    /// User-defined.
    USR2 = libc::SIGUSR2, "user defined signal 2";
    /// The timer of `alarm(2)` has expired.
    ALRM = libc::SIGALRM, "alarm clock";
    /// A child process has ended or was stopped.
    CHLD = libc::SIGCHLD, "child exited";
    /// The process continues after it was stopped.
    CONT = libc::SIGCONT, "continued";
    /// Ctrl-Z.
    TSTP = libc::SIGTSTP, "stopped";
    /// A write to a pipe or a socket without a reader.
    PIPE = libc::SIGPIPE, "broken pipe";
    /// Input or output is possible.
    IO = libc::SIGIO, "I/O possible";
    /// The terminal was resized.
    WINCH = libc::SIGWINCH, "window changed";
}

#[cfg(not(unix))]
signals! {
    /// Ctrl-C and Ctrl-Break.
    INT = 2, "interrupt";
    /// The console is closed, the user logs off, or the system shuts down.
    TERM = 15, "terminated";
}

impl Signal {
    /// Returns the signal with the system's number, for signals without a constant. On Unix.
    ///
    /// Returns `None` if the number is not from 1 to 64, or if the signal cannot be waited for:
    /// SIGKILL and SIGSTOP, which no process can catch, and the signals that report a fault of the
    /// program itself (SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS), because their
    /// handlers return to the faulting instruction.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::signal::Signal;
    ///
    /// assert_eq!(Signal::from_raw(libc::SIGINT), Some(Signal::INT));
    /// assert_eq!(Signal::from_raw(libc::SIGKILL), None);
    /// ```
    #[cfg(unix)]
    pub fn from_raw(number: i32) -> Option<Self> {
        const NEVER: [i32; 9] = [
            libc::SIGKILL,
            libc::SIGSTOP,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGABRT,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGSEGV,
            libc::SIGSYS,
        ];
        ((1..=Signals::MAX).contains(&number) && !NEVER.contains(&number)).then_some(Self(number))
    }

    /// Returns the system's number. On Unix.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::signal::Signal::HUP.as_raw(), libc::SIGHUP);
    /// ```
    #[cfg(unix)]
    pub fn as_raw(self) -> i32 {
        self.0
    }

    pub(super) fn number(self) -> i32 {
        self.0
    }

    /// Returns the signal with the number of a caught signal.
    pub(super) fn of_number(number: i32) -> Self {
        debug_assert!((1..=Signals::MAX).contains(&number));
        Self(number)
    }

    fn named(self) -> Option<&'static (Signal, &'static str, &'static str)> {
        NAMED.iter().find(|(signal, ..)| *signal == self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.named() {
            Some((_, _, text)) => f.pad(text),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.named() {
            Some((_, name, _)) => f.pad(name),
            None => write!(f, "Signal({})", self.0),
        }
    }
}
