//! Panics of foreign code: containing them, describing them, and resuming copies of them.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs foreign code that must not unwind here: a destructor, a waker or the like. Its panic has
/// been printed by the hook.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // Leaked, because its destructor may panic, which must not end the process.
        std::mem::forget(payload);
    }
}

/// Returns the text of a panic, if it has one.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("Box<dyn Any>")
}

/// A copy of a panic's payload. (A payload is not `Clone`, but nearly all have one of two string
/// types.)
#[derive(Clone)]
pub(crate) struct Payload(Cow<'static, str>);

impl Payload {
    pub(crate) fn copy_of(payload: &(dyn Any + Send)) -> Self {
        Payload(match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => Cow::Borrowed(text),
            (_, Some(text)) => Cow::Owned(text.clone()),
            _ => Cow::Borrowed("gopark: the function panicked with a value that is not a string"),
        })
    }

    /// Panics with the same text, without the hook, which has already run.
    pub(crate) fn raise(&self) -> ! {
        resume_unwind(match &self.0 {
            Cow::Borrowed(text) => Box::new(*text),
            Cow::Owned(text) => Box::new(text.clone()),
        })
    }
}

/// Locks a mutex, and ignores poison: its value is consistent between any two statements, because
/// no user code runs under the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
