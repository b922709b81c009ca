//! A place where one thread waits for a wake.

use std::mem::replace;
use std::sync::PoisonError;
#[cfg(feature = "net")]
use std::sync::{Arc, OnceLock};

use crate::clock::Time;
use crate::loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(feature = "net")]
use crate::netpoll::Netpoll;

/// What the thread of a parker does. Changed under the parker's lock.
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `Running` | has not been woken since it last parked | a wake, or the thread, which parks |
/// | `Parked` | waits for the condition variable, or is on its way there | a wake, or the thread, whose time is over |
/// | `Polling` | the same, in the poller | the same |
/// | `Woken` | must look again | the thread |
#[derive(Debug, PartialEq)]
enum State {
    Running,
    Parked,
    #[cfg(feature = "net")]
    Polling,
    Woken,
}

/// It works wherever the lock and the condition variable of `std` work: in the destructor of a
/// thread-local too.
#[derive(Debug)]
pub(crate) struct Parker {
    state: Mutex<State>,
    woken: Condvar,
    /// Where the thread waits when it is `Polling`.
    #[cfg(feature = "net")]
    netpoll: OnceLock<Arc<Netpoll>>,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::Running),
            woken: Condvar::new(),
            #[cfg(feature = "net")]
            netpoll: OnceLock::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a wake, if there has been none since the last call, or until that moment. Only for
    /// the parker's thread.
    pub(crate) fn park(&self, until: Time) {
        let mut state = self.state();
        while *state != State::Woken {
            *state = State::Parked;
            if until == Time::NEVER {
                state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let wait = until.since(Time::now());
            if wait.is_zero() {
                break;
            }
            state = self.woken.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        *state = State::Running;
    }

    /// As [`park`](Self::park), in the poller, which is always the same; or until there is an
    /// event.
    #[cfg(feature = "net")]
    pub(crate) fn park_in(&self, netpoll: &Arc<Netpoll>, until: Time) {
        self.netpoll.get_or_init(|| netpoll.clone());
        netpoll.sleep(until, || {
            let mut state = self.state();
            let is_woken = *state == State::Woken;
            *state = State::Polling;
            !is_woken
        });
        *self.state() = State::Running;
    }

    /// Wakes the thread, or lets its next wait return at once.
    pub(crate) fn unpark(&self) {
        let was = replace(&mut *self.state(), State::Woken);
        match was {
            State::Parked => self.woken.notify_one(),
            #[cfg(feature = "net")]
            State::Polling => {
                self.netpoll.get().into_iter().for_each(|netpoll| netpoll.interrupt())
            }
            State::Running | State::Woken => {}
        }
    }
}
