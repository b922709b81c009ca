//! The only source of random numbers: a small generator for each thread.
//!
//! Thieves choose their victims with it, and selects their cases. Every thread has a generator,
//! worker or not.

use std::cell::RefCell;

use fastrand::Rng;

use crate::loom::MODELLED;

thread_local! {
    static RNG: RefCell<Rng> = RefCell::new(Rng::new());
}

/// Draws a number less than `below`, which must not be zero. All are equally likely.
#[inline]
pub(crate) fn below(below: usize) -> usize {
    // A model must be deterministic.
    if MODELLED {
        return 0;
    }
    RNG.with_borrow_mut(|rng| draw(rng, below))
}

/// Draws with the same result on machines of every word size.
#[inline]
fn draw(rng: &mut Rng, below: usize) -> usize {
    rng.u64(..below as u64) as usize
}

/// A separate generator, whose draws are determined by its seed.
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

    /// As [`below`](Self::below), but draws nothing if there is only one result.
    #[inline]
    pub(crate) fn below_or_only(&mut self, below: usize) -> usize {
        if below == 1 { 0 } else { self.below(below) }
    }

    /// Returns true with a probability of `per_million` in a million.
    #[inline]
    pub(crate) fn happens(&mut self, per_million: u32) -> bool {
        self.0.u32(..1_000_000) < per_million
    }

    /// Swaps this generator with the thread's own.
    pub(crate) fn exchange(&mut self) {
        RNG.with_borrow_mut(|rng| std::mem::swap(rng, &mut self.0));
    }
}

/// Seeds this thread's generator.
#[cfg(all(test, not(gopark_loom)))]
pub(crate) fn seed(seed: u64) {
    RNG.set(Rng::with_seed(seed));
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
