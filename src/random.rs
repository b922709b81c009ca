//! The one source of random numbers: a small generator for each thread.
//!
//! Thieves draw their victims from it, and selects their cases. The thread of a worker has one as
//! any other thread has.

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
    RNG.with_borrow_mut(|rng| draw(rng, below))
}

/// The same on machines of every word size.
#[inline]
fn draw(rng: &mut Rng, below: usize) -> usize {
    rng.u64(..below as u64) as usize
}

/// A generator of one's own, whose draws follow from its seed.
#[cfg(feature = "sim")]
#[derive(Debug)]
pub(crate) struct Seeded(Rng);

#[cfg(feature = "sim")]
impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// As [`below`].
    #[inline]
    pub(crate) fn below(&mut self, below: usize) -> usize {
        draw(&mut self.0, below)
    }

    /// As [`below`](Self::below); what has one result is not drawn.
    #[inline]
    pub(crate) fn below_or_only(&mut self, below: usize) -> usize {
        if below == 1 { 0 } else { self.below(below) }
    }

    /// True in so many of a million cases.
    #[inline]
    pub(crate) fn happens(&mut self, per_million: u32) -> bool {
        self.0.u32(..1_000_000) < per_million
    }

    /// Exchanges this thread's generator.
    pub(crate) fn exchange(&mut self) {
        RNG.with_borrow_mut(|rng| std::mem::swap(rng, &mut self.0));
    }
}

/// Makes the draws of this thread those that follow from `seed`.
#[cfg(all(test, not(gopark_loom)))]
pub(crate) fn seed(seed: u64) {
    RNG.set(Rng::with_seed(seed));
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
