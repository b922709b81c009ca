//! An event of a descriptor.

/// Maximum number of events of one check while goroutines are in the local queue: those that
/// overflow it would starve in the global one.
pub(crate) const FEW: usize = 32;

/// A direction may be ready.
pub(crate) const READY: u8 = 1;
/// The reading direction has ended, or the other end has hung up.
pub(crate) const ENDED: u8 = 2;
/// There is urgent data, at which a read stops.
pub(crate) const URGENT: u8 = 4;

/// An event of one descriptor: the bits of each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) token: usize,
    pub(crate) read: u8,
    pub(crate) write: u8,
}
