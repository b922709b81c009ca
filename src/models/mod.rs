//! Loom's models of the crate's protocols: every interleaving of two or three threads, up to a
//! bound of preemptions.
//!
//! `RUSTFLAGS="--cfg gopark_loom" CARGO_TARGET_DIR=target/loom cargo test -p gopark --release
//! --features _loom --lib models`
//!
//! A lost wake-up shows as a deadlock, a value that is lost or doubled as a failed assertion, and
//! an access that nothing orders is reported by loom's cells. The models of the tree of contexts
//! are in `context/models.rs`, those of a channel's buffer in `chan/core/models.rs`, because they
//! use what is private there.

mod chan;
mod net;
mod scheduler;
mod select;
mod sync;
mod timer;
mod wait;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Explores every interleaving of `model` with at most `preemptions` of them.
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Polls with a waker that does nothing. The future is polled again by other means, or dropped.
pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
