//! The source of random numbers.

use crate::loom::MODELLED;

/// A random number below `below`.
#[inline]
pub(crate) fn random(below: usize) -> usize {
    // A model must do the same each time.
    if MODELLED { 0 } else { fastrand::usize(..below) }
}
