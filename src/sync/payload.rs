//! What is left of a panic, to be raised again for others than the one who suffered it.

use std::any::Any;
use std::panic;

/// A copy of a panic's payload. (A payload is not `Clone`; but nearly all are one of two strings.)
#[derive(Clone)]
pub(super) enum Payload {
    Static(&'static str),
    String(String),
    Other,
}

impl Payload {
    pub(super) fn copy_of(payload: &(dyn Any + Send)) -> Self {
        if let Some(text) = payload.downcast_ref::<&'static str>() {
            Payload::Static(text)
        } else if let Some(text) = payload.downcast_ref::<String>() {
            Payload::String(text.clone())
        } else {
            Payload::Other
        }
    }

    /// Panics with the same text, and without the hook: it has run already.
    pub(super) fn raise(&self) -> ! {
        panic::resume_unwind(match self {
            Payload::Static(text) => Box::new(*text),
            Payload::String(text) => Box::new(text.clone()),
            Payload::Other => Box::new("gopark: the function panicked with a value that is not a string"),
        })
    }
}
