//! Deterministic simulation: the feature `sim`.

#[cfg(feature = "macros")]
mod attributes;
mod examples;
mod guide;
mod newer;
mod planted;
mod protocols;
mod runs;
mod suite;
mod util;

// The fuzzers that compare each step with a model, unchanged: the `no_hang` that they call is a
// simulation here.
#[path = "../it/bytes.rs"]
mod bytes;
#[path = "../it/dice.rs"]
mod dice;
#[path = "../it/fuzz.rs"]
mod fuzz;
#[path = "../it/interpreter.rs"]
mod interpreter;
#[path = "../it/model.rs"]
mod model;
#[path = "../it/operation.rs"]
mod operation;
#[allow(dead_code)]
#[path = "../it/task.rs"]
mod task;

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
