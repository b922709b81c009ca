//! Panics of foreign code: catching and containing them, describing them, and resuming copies of
//! them. The only file that calls std's `catch_unwind`.

use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
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

/// Runs foreign code, and catches its panic.
#[inline(always)]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Caught> {
    catch_unwind(AssertUnwindSafe(f)).map_err(Caught::new)
}

/// The payload of a panic that was caught. It is a value of the user's, whose destructor may panic
/// as well: dropping this contains that panic, which nothing would catch where this is dropped.
pub(crate) struct Caught(Option<Box<dyn Any + Send>>);

impl Caught {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        Self(Some(payload))
    }

    pub(crate) fn into_inner(mut self) -> Box<dyn Any + Send> {
        self.0.take().expect("taken only by value")
    }

    /// Continues the panic.
    pub(crate) fn resume(self) -> ! {
        resume_unwind(self.into_inner())
    }

    /// Returns the text of the panic, if it has one.
    pub(crate) fn text(&self) -> &str {
        panic_text(&**self)
    }
}

impl Deref for Caught {
    type Target = dyn Any + Send;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().expect("taken only by value")
    }
}

impl Drop for Caught {
    #[inline]
    fn drop(&mut self) {
        if let Some(payload) = self.0.take() {
            contain(|| drop(payload));
        }
    }
}

impl fmt::Debug for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caught").field(&self.text()).finish()
    }
}

/// The number of nested calls of [`drop_flat`] that drop their value at once.
const NESTED_DROPS: u32 = 8;

/// Drops `value`, whose destructor must not unwind here. The stack stays flat however long the
/// chain is in which each value drops the next one: beyond [`NESTED_DROPS`] nested calls on one
/// thread, a value is dropped when the innermost destructor has returned. Others are dropped at
/// once, because a destructor may wait for what the drop of an inner value does.
pub(crate) fn drop_flat<T: 'static>(value: T) {
    type Values = ManuallyDrop<Vec<Box<dyn Any>>>;
    thread_local! {
        static NESTED: Cell<u32> = const { Cell::new(0) };
        /// The values to drop when the innermost destructor has returned. It has no destructor, so
        /// it is still there when the destructors of other thread-locals run.
        static QUEUE: Cell<Values> = const { Cell::new(ManuallyDrop::new(Vec::new())) };
    }
    if cfg!(gopark_loom) {
        // The threads of a loom model share thread-locals.
        return drop(value);
    }
    let nested = NESTED.get();
    if nested == NESTED_DROPS {
        let mut queue = QUEUE.take();
        queue.push(Box::new(value));
        return QUEUE.set(queue);
    }
    NESTED.set(nested + 1);
    contain(|| drop(value));
    if nested + 1 == NESTED_DROPS {
        let mut queue = QUEUE.take();
        while let Some(next) = queue.pop() {
            QUEUE.set(queue);
            contain(|| drop(next));
            queue = QUEUE.take();
        }
        drop(ManuallyDrop::into_inner(queue));
    }
    NESTED.set(nested);
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
    pub(crate) fn copy_of(caught: &Caught) -> Self {
        let payload = &**caught;
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
