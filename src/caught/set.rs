//! Sets of signals.

/// A set of signals, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signals(pub(super) u64);

impl Signals {
    /// The largest number of a signal in a set.
    pub(crate) const MAX: i32 = 64;

    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(signal: i32) -> Self {
        debug_assert!((1..=Self::MAX).contains(&signal));
        Self(1 << (signal - 1))
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::NONE
    }

    pub(crate) fn has(self, signal: i32) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn each(self) -> impl Iterator<Item = i32> {
        (1..=Self::MAX).filter(move |signal| self.has(*signal))
    }
}
