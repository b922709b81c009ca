//! The one source of random numbers: a small generator for each thread.
//!
//! Thieves draw their victims from it, and selects their cases. The thread of a worker has one as any other thread has.

use std::cell::RefCell;

use fastrand::Rng;

use crate::loom::MODELLED;

thread_local! {
    static RNG: RefCell<Rng> = RefCell::new(Rng::new());
}

/// Draws a number below `below`, which is not zero. All are equally likely.
#[inline]
pub(crate) fn below(below: usize) -> usize {
    // A model must do the same each time.
    if MODELLED {
        return 0;
    }
    RNG.with_borrow_mut(|rng| rng.usize(..below))
}

/// Makes the draws of this thread those that follow from `seed`.
#[cfg(all(test, not(gopark_loom)))]
pub(crate) fn seed(seed: u64) {
    RNG.set(Rng::with_seed(seed));
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
