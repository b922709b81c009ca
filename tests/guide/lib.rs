//! Runs the examples in the guide as tests. They use crates that gopark itself does not.

#[path = "../../src/guide/mod.rs"]
pub mod guide;
