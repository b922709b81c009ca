//! A parker: one thread waits in it until it is woken.

use std::mem::replace;
use std::sync::PoisonError;
#[cfg(feature = "net")]
use std::sync::{Arc, OnceLock};

use crate::blocked::Thread;
use crate::clock::Time;
use crate::loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(feature = "net")]
use crate::netpoll::Netpoll;

/// The state of a parker's thread. Changed under the parker's lock.
///
/// | state | meaning | left by |
/// |---|---|---|
/// | `Running` | not woken since it last parked | a wake, or the thread, which parks |
/// | `Parked` | waits for the condition variable, or is about to | a wake, or a timeout |
/// | `Blocked` | the same, without a limit, and the thread is counted as blocked | a wake |
/// | `Polling` | the same as `Parked`, in the poller | a wake, or a timeout |
/// | `Woken` | must not wait | the thread |
#[derive(Debug, PartialEq)]
enum State {
    Running,
    Parked,
    Blocked(Thread),
    #[cfg(feature = "net")]
    Polling,
    Woken,
}

/// Parks and wakes one thread. It works wherever the lock and the condition variable of `std` work,
/// even in the destructor of a thread-local.
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

    /// Waits until a wake or until the given time. Returns at once if there was a wake since the
    /// last call. Only for the parker's thread.
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

    /// As [`park`](Self::park), without a limit. Until the wake, the thread counts as blocked.
    pub(crate) fn block(&self) {
        let mut state = self.state();
        if *state != State::Woken {
            let thread = Thread::this();
            *state = State::Blocked(thread);
            thread.begins();
        }
        while *state != State::Woken {
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state = State::Running;
    }

    /// As [`park`](Self::park), but waits in the poller, and also until there is an event. The
    /// poller must be the same at each call.
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

    /// Wakes the thread, or makes its next wait return at once.
    pub(crate) fn unpark(&self) {
        let was = {
            let mut state = self.state();
            let was = replace(&mut *state, State::Woken);
            if let State::Blocked(thread) = was {
                thread.ends();
            }
            was
        };
        match was {
            State::Parked | State::Blocked(_) => self.woken.notify_one(),
            #[cfg(feature = "net")]
            State::Polling => {
                self.netpoll.get().into_iter().for_each(|netpoll| netpoll.interrupt())
            }
            State::Running | State::Woken => {}
        }
    }
}

/// The right of a worker to sleep in the poller, or none.
#[cfg(feature = "net")]
#[derive(Debug)]
pub(crate) struct Claim(Option<Arc<Netpoll>>);

#[cfg(feature = "net")]
impl Claim {
    /// Claims the poller, if there is one and no other worker has claimed it.
    pub(crate) fn new(netpoll: Option<Arc<Netpoll>>) -> Self {
        Self(netpoll.filter(|netpoll| netpoll.claim()))
    }

    /// Returns true if the worker must not end, because no other one sleeps in the poller.
    pub(crate) fn is_held(&self) -> bool {
        self.0.is_some()
    }

    /// Parks the worker: in the poller, if it has claimed that.
    pub(crate) fn park(&self, parker: &Parker, until: Time) {
        match &self.0 {
            Some(netpoll) => parker.park_in(netpoll, until),
            None => parker.park(until),
        }
    }
}

#[cfg(feature = "net")]
impl Drop for Claim {
    fn drop(&mut self) {
        self.0.iter().for_each(|netpoll| netpoll.release());
    }
}
