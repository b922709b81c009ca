//! The one source of random numbers: a small generator for each thread.
//!
//! Thieves draw their victims from it, and selects their cases. The thread of a worker has one as any other thread has.

use std::cell::Cell;
use std::num::NonZeroU64;

use fastrand::Rng;

use crate::loom::MODELLED;

thread_local! {
    /// The state of this thread's generator. `None` before the first draw, and after the one draw of 2^64 that leaves a zero: the
    /// generator is seeded anew then.
    static STATE: Cell<Option<NonZeroU64>> = const { Cell::new(None) };
}

/// Draws a number below `below`, which is not zero. All are equally likely.
#[inline]
pub(crate) fn below(below: usize) -> usize {
    // A model must do the same each time.
    if MODELLED {
        return 0;
    }
    STATE.with(|state| {
        let mut rng = state.get().map_or_else(fresh, |state| Rng::with_seed(state.get()));
        let drawn = rng.usize(..below);
        state.set(NonZeroU64::new(rng.get_seed()));
        drawn
    })
}

/// The generator of a thread that has drawn nothing yet. Every seed comes from here.
#[cold]
#[inline(never)]
fn fresh() -> Rng {
    Rng::new()
}

/// Makes the draws of this thread those that follow from `seed`.
#[cfg(all(test, not(gopark_loom)))]
pub(crate) fn seed(seed: NonZeroU64) {
    STATE.set(Some(seed));
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
