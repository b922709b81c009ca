//! Loom models of the crate's protocols: every interleaving of two or three threads, up to a bound
//! on preemptions.
//!
//! `RUSTFLAGS="--cfg gopark_loom" CARGO_TARGET_DIR=target/loom cargo test -p gopark --release
//! --features _loom --lib models`
//!
//! A lost wake-up shows as a deadlock, and a lost or duplicated value as a failed assertion. Loom's
//! cells report an unsynchronized access. The models of the tree of contexts are in
//! `context/models.rs`, and those of a channel's buffer in `chan/core/models.rs`, because they use
//! private items there.

mod chan;
mod net;
#[cfg(feature = "net")]
mod poller;
mod scheduler;
mod select;
mod sync;
mod timer;
mod wait;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Explores every interleaving of `model` with at most `preemptions` preemptions.
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Polls with a waker that does nothing. The caller must poll the future again, or drop it.
pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
