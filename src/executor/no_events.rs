//! The scheduler without a poller: the feature `net` is off.

use super::{Executor, Processor, Sched};
use crate::clock::Time;
use crate::parker::Parker;

pub(super) struct Claim;

pub(super) struct Ending;

impl Ending {
    pub(super) fn end(self) {}
}

impl Claim {
    pub(super) fn is_held(&self) -> bool {
        false
    }

    pub(super) fn park(&self, parker: &Parker, until: Time) {
        parker.park(until);
    }
}

#[expect(clippy::unused_self, reason = "as with a poller")]
impl Executor {
    #[inline(always)]
    pub(super) fn look_for_events(&self, _: &Processor) -> bool {
        false
    }

    #[inline(always)]
    pub(super) fn wait_for_events(&self, _: &Processor) -> bool {
        false
    }

    pub(super) fn spin_after_search(&self, spin: impl FnOnce() -> bool) -> bool {
        spin()
    }

    pub(super) fn take_events(&self, _: &Processor) -> bool {
        false
    }

    pub(super) fn has_events(&self) -> bool {
        false
    }

    pub(super) fn look_from_monitor(&self) {}

    pub(super) fn claim_poller(&self, _: &Sched) -> Claim {
        Claim
    }

    pub(super) fn replace_poller(&self, _: Claim) {}

    pub(crate) fn waits_for_events(&self) -> bool {
        false
    }

    pub(super) fn is_unwatched(&self) -> bool {
        false
    }

    pub(super) fn end_io(&self) -> Ending {
        Ending
    }

    #[cfg(all(test, not(gopark_loom)))]
    pub(super) fn has_no_poller(&self) -> bool {
        true
    }

    pub(super) fn retire_io(&self) {}
}
