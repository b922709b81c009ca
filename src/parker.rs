//! A place where one thread waits for a wake.

use std::mem::replace;
use std::sync::PoisonError;

use crate::clock::Time;
use crate::loom::sync::{Condvar, Mutex, MutexGuard};

/// What the thread of a parker does. Changed under the parker's lock.
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `Running` | has not been woken since it last parked | a wake, or the thread, which parks |
/// | `Parked` | waits for the condition variable, or is on its way there | a wake, or the thread, whose time is over |
/// | `Woken` | must look again | the thread |
#[derive(Debug, PartialEq)]
enum State {
    Running,
    Parked,
    Woken,
}

/// It works wherever the lock and the condition variable of `std` work: in the destructor of a thread-local too.
#[derive(Debug)]
pub(crate) struct Parker {
    state: Mutex<State>,
    woken: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Running), woken: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a wake, if there has been none since the last call, or until that moment. Only for the parker's thread.
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

    /// Wakes the thread, or lets its next call of [`park`](Self::park) return at once.
    pub(crate) fn unpark(&self) {
        let was = replace(&mut *self.state(), State::Woken);
        if was == State::Parked {
            self.woken.notify_one();
        }
    }
}
