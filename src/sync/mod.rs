//! Package sync: what goroutines share memory with.

mod event;
mod waitgroup;

pub use waitgroup::{Wait, WaitGroup};
