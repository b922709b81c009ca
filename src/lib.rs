#![doc = include_str!("../README.md")]

// Floor by floor; a file uses only what stands below it.
mod prim;

mod coop;
mod registry;
mod runq;
mod slot;
mod waitq;

mod executor;

mod runtime;

#[macro_use]
mod macros;
pub mod chan;
pub mod context;
pub mod select;
pub mod sync;
pub mod time;

#[cfg(any(doc, doctest))]
pub mod guide;

#[cfg(all(test, gopark_loom))]
mod models;

pub use executor::OnPanic;
pub use runtime::{
    Builder, GoroutineId, JoinError, JoinHandle, Runtime, block_in_place, block_on, block_on_local, go, gomaxprocs,
    gosched, num_cpu, num_goroutine, unblock,
};
