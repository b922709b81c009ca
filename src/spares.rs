//! The workers that have no processor, and the wishes for more of them.
//!
//! A wake that needs a worker calls one. If none is parked, it records a wish, which the next worker that is about to park
//! fulfils, or the monitor, by a new thread. One lock is held for a few moves of pointers, so a wake never waits for a thread
//! that is started, or for the scheduler's lock.

use std::sync::{Arc, PoisonError};

use crate::clock::Time;
use crate::loom::sync::{Mutex, MutexGuard};
use crate::parker::Parker;

#[derive(Debug)]
pub(crate) struct Spares {
    state: Mutex<State>,
}

/// Of the lists two are empty at any time: either workers are parked, or wishes are open.
#[derive(Debug)]
struct State {
    parked: Vec<Arc<Parker>>,
    /// The parked worker that sleeps until the next timer only, and that time.
    sleeper: Option<(Arc<Parker>, Time)>,
    wishes: usize,
    /// Threads that run, or are being started.
    threads: usize,
    /// Most threads.
    limit: usize,
    /// Every worker must end.
    ending: bool,
}

/// Why a worker does not park any longer.
#[derive(Debug, PartialEq)]
pub(crate) enum Roused {
    /// It was called.
    Called,
    /// Its time is over.
    Timeout,
    /// The thread must end.
    End,
}

impl Spares {
    pub(crate) fn new() -> Self {
        let (parked, sleeper) = (Vec::new(), None);
        Self { state: Mutex::new(State { parked, sleeper, wishes: 0, threads: 0, limit: 0, ending: false }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets as many threads be started as that, at least one.
    pub(crate) fn set_limit(&self, threads: usize) {
        self.lock().limit = threads.max(1);
    }

    /// Wakes a parked worker, or records a wish for one. False if the monitor must look at the wishes.
    #[must_use = "wake the monitor if no worker was"]
    pub(crate) fn call(&self) -> bool {
        let mut state = self.lock();
        let Some(worker) = state.parked.pop() else {
            state.wishes += 1;
            return false;
        };
        state.sleeper.take_if(|(sleeper, _)| Arc::ptr_eq(sleeper, &worker));
        drop(state);
        worker.unpark();
        true
    }

    /// True if a call would find a worker, now or once a thread has started.
    pub(crate) fn can_call(&self) -> bool {
        let state = self.lock();
        state.parked.len() + state.limit.saturating_sub(state.threads) > state.wishes
    }

    /// Parks the worker `me` until it is called, or until that moment. If no other one does, it sleeps until the next
    /// timer, at `earliest`.
    pub(crate) fn park(&self, me: &Arc<Parker>, earliest: Time, until: Time) -> Roused {
        let mut state = self.lock();
        if state.ending {
            return Roused::End;
        }
        if state.wishes > 0 {
            state.wishes -= 1;
            return Roused::Called;
        }
        let mut until = until;
        if earliest != Time::NEVER && state.sleeper.as_ref().is_none_or(|(_, at)| earliest < *at) {
            state.sleeper = Some((me.clone(), earliest));
            until = earliest;
            // At the bottom: others are called first.
            state.parked.insert(0, me.clone());
        } else {
            state.parked.push(me.clone());
        }
        drop(state);
        me.park(until);
        let mut state = self.lock();
        // Who calls a worker takes it out.
        let Some(at) = state.parked.iter().position(|other| Arc::ptr_eq(other, me)) else { return Roused::Called };
        state.parked.remove(at);
        state.sleeper.take_if(|(sleeper, _)| Arc::ptr_eq(sleeper, me));
        if state.ending { Roused::End } else { Roused::Timeout }
    }

    /// How many workers are parked.
    pub(crate) fn parked(&self) -> usize {
        self.lock().parked.len()
    }

    /// True if a parked worker sleeps until the next timer.
    pub(crate) fn has_sleeper(&self) -> bool {
        self.lock().sleeper.is_some()
    }

    /// The monitor is about to start threads for the wishes: returns how many, as far as the limit allows.
    pub(crate) fn begin_starts(&self) -> usize {
        let mut state = self.lock();
        let room = if state.ending { 0 } else { state.limit.saturating_sub(state.threads) };
        let count = state.wishes.min(room);
        state.wishes -= count;
        state.threads += count;
        count
    }

    /// The system has refused a thread: its wish is open again. False if the monitor must try again.
    pub(crate) fn refused(&self) -> bool {
        self.lock().threads -= 1;
        self.call()
    }

    /// A thread has ended.
    pub(crate) fn ended(&self) {
        self.lock().threads -= 1;
    }

    /// True if a worker has been called and has not come.
    pub(crate) fn has_wish(&self) -> bool {
        self.lock().wishes > 0
    }

    /// Takes all wishes.
    pub(crate) fn take_wishes(&self) -> usize {
        std::mem::take(&mut self.lock().wishes)
    }

    /// No more work will come: every worker ends.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ending = true;
        state.parked.iter().for_each(|worker| worker.unpark());
    }

    /// Back to the state of new ones.
    pub(crate) fn reset(&self) {
        *self.lock() = Self::new().state.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(all(test, not(gopark_loom)))]
impl Spares {
    /// How many workers are parked, and how many threads there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.parked.len(), state.threads)
    }

    /// Tells the parked worker that sleeps until the next timer from others, and until when it sleeps.
    pub(crate) fn sleeper(&self) -> Option<(*const Parker, Time)> {
        self.lock().sleeper.as_ref().map(|(sleeper, until)| (Arc::as_ptr(sleeper), *until))
    }

    /// Checks what holds at any time.
    pub(crate) fn check(&self) {
        let state = self.lock();
        assert!(state.parked.is_empty() || state.wishes == 0, "a worker stays parked while one is wanted");
        assert!(state.parked.len() <= state.threads, "{} of {} are parked", state.parked.len(), state.threads);
        if let Some((sleeper, _)) = &state.sleeper {
            assert!(state.parked.iter().any(|worker| Arc::ptr_eq(worker, sleeper)), "who sleeps is parked");
        }
    }
}
