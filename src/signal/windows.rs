//! The console control handler. Windows calls it on a thread of its own.

use std::io;
use std::sync::OnceLock;
use std::thread;

use crate::caught::Signals;
use crate::platform;

const INT: i32 = 2;
const TERM: i32 = 15;

static DELIVER: OnceLock<fn(i32) -> bool> = OnceLock::new();

/// Handles an event and returns whether it did. If not, the next handler is called; the last one
/// ends the process.
extern "system" fn handler(event: u32) -> i32 {
    let signal = match event {
        // CTRL_C_EVENT, CTRL_BREAK_EVENT
        0 | 1 => INT,
        // CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT
        2 | 5 | 6 => TERM,
        _ => return 0,
    };
    let is_taken = DELIVER.get().is_some_and(|deliver| deliver(signal));
    while is_taken && signal == TERM {
        // The process ends when this returns, so wait for as long as the system allows.
        thread::park();
    }
    i32::from(is_taken)
}

/// The source of the signals: the console control handler.
pub(super) struct Source {
    deliver: fn(i32) -> bool,
    caught: Signals,
}

impl Source {
    /// `deliver` returns whether anything waits for the signal.
    pub(super) const fn new(deliver: fn(i32) -> bool) -> Self {
        Self { deliver, caught: Signals::NONE }
    }

    pub(super) fn catch(&mut self, signal: i32) -> io::Result<()> {
        DELIVER.get_or_init(|| self.deliver);
        if self.caught.is_empty() {
            platform::handle_console(handler, true)?;
        }
        self.caught = self.caught.with(Signals::of(signal));
        Ok(())
    }

    pub(super) fn release(&mut self, signal: i32) {
        self.caught = self.caught.without(Signals::of(signal));
        if self.caught.is_empty() {
            // If the removal fails, the handler takes no event from now on.
            _ = platform::handle_console(handler, false);
        }
    }
}
