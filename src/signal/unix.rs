//! The thread that receives the signals.

use std::io;
use std::sync::Arc;

use crate::caught::{self, Catcher};
use crate::threads;

/// The source of the signals: a thread that receives them.
pub(super) struct Source {
    deliver: fn(i32) -> bool,
    catcher: Option<Arc<Catcher>>,
    is_served: bool,
}

impl Source {
    /// `deliver` returns whether anything waits for the signal.
    pub(super) const fn new(deliver: fn(i32) -> bool) -> Self {
        Self { deliver, catcher: None, is_served: false }
    }

    /// Catches a signal. The first call starts the thread. If the system refuses, a later call may
    /// succeed.
    pub(super) fn catch(&mut self, signal: i32) -> io::Result<()> {
        let catcher = match &self.catcher {
            Some(catcher) => catcher,
            None => self.catcher.insert(Arc::new(Catcher::open(&caught::SERVICE)?)),
        };
        if !self.is_served {
            let (catcher, deliver) = (catcher.clone(), self.deliver);
            threads::start_for_outside("gopark-signal".into(), move || serve(&catcher, deliver))?;
            self.is_served = true;
        }
        catcher.catch(signal)
    }

    pub(super) fn release(&mut self, signal: i32) {
        self.catcher.iter().for_each(|catcher| catcher.release(signal));
    }
}

fn serve(catcher: &Catcher, deliver: fn(i32) -> bool) {
    threads::serve();
    loop {
        for signal in catcher.wait(None).each() {
            if !deliver(signal) {
                caught::raise_default(signal);
            }
        }
    }
}
