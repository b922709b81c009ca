//! A poller without the system's, for loom: flags under a lock instead of descriptors. As with the
//! system's, an interruption lasts until a thread takes the events.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LockResult, TryLockError, TryLockResult};

use mio::event::Source;

use super::event::Event;
use crate::clock::Time;
use crate::loom::sync;
use crate::loom::sync::Condvar;

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    is_interrupted: bool,
}

#[derive(Debug)]
struct Shared {
    state: sync::Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct Control(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Selector(Arc<Shared>);

pub(super) fn open() -> io::Result<(Control, Selector)> {
    let (state, changed) = (sync::Mutex::new(State::default()), Condvar::new());
    let shared = Arc::new(Shared { state, changed });
    Ok((Control(shared.clone()), Selector(shared)))
}

impl Control {
    pub(super) fn register(&self, _: &mut impl Source, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn deregister(&self, _: &mut impl Source) {}

    pub(super) fn interrupt(&self) {
        self.0.state.lock().unwrap().is_interrupted = true;
        self.0.changed.notify_one();
    }

    /// Makes a descriptor readable.
    #[cfg(test)]
    pub(super) fn occur(&self, token: usize) {
        self.0.state.lock().unwrap().events.push(Event {
            token,
            read: super::event::READY,
            write: 0,
        });
        self.0.changed.notify_one();
    }
}

impl Selector {
    pub(super) fn look(&mut self, _: bool) -> Vec<Event> {
        std::mem::take(&mut *self.0.state.lock().unwrap()).events
    }

    pub(super) fn wait(&mut self, until: Time) -> Vec<Event> {
        assert!(until == Time::NEVER, "a model has no clock");
        let mut state = self.0.state.lock().unwrap();
        while state.events.is_empty() && !state.is_interrupted {
            state = self.0.changed.wait(state).unwrap();
        }
        std::mem::take(&mut *state).events
    }
}

/// A mutex whose `try_lock` does not block, unlike that of loom's if another thread locks it first.
/// The holder has the value.
#[derive(Debug)]
pub(super) struct Mutex<T> {
    value: sync::Mutex<Option<T>>,
    freed: Condvar,
}

#[derive(Debug)]
pub(super) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    value: Option<T>,
}

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: sync::Mutex::new(Some(value)), freed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let mut value = self.value.lock().unwrap();
        while value.is_none() {
            value = self.freed.wait(value).unwrap();
        }
        Ok(MutexGuard { mutex: self, value: value.take() })
    }

    pub(super) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.value.lock().unwrap().take() {
            None => Err(TryLockError::WouldBlock),
            value => Ok(MutexGuard { mutex: self, value }),
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        *self.mutex.value.lock().unwrap() = self.value.take();
        self.mutex.freed.notify_one();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("only its drop takes it")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("only its drop takes it")
    }
}
