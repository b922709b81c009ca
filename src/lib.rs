#![doc = include_str!("../README.md")]
#![cfg_attr(
    any(doc, doctest),
    doc = "\n# Where to go on\n\nThe guide: [from Go](guide::from_go), [from tokio](guide::from_tokio), \
           [cancellation](guide::cancellation), [blocking](guide::blocking), [panics](guide::panics), \
           [choosing a primitive](guide::choosing), [beside tokio](guide::beside_tokio), [tuning](guide::tuning)."
)]

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
