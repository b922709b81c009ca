//! Deterministic simulation: the feature `sim`.

mod planted;
mod protocols;
mod runs;
mod suite;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The text with which `f` panics.
fn panic_of(f: impl FnOnce()) -> String {
    let payload: Box<dyn Any + Send> = catch_unwind(AssertUnwindSafe(f)).expect_err("no panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
    }
}
