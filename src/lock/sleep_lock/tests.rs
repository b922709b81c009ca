//! Accessors for the tests and models of the lock.

use super::*;

impl SleepLock {
    /// Returns true if the lock is free, and no unlock will look for a sleeper.
    pub(in crate::lock) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Relaxed) == FREE && !self.asleep.load(Ordering::Relaxed)
    }

    /// Returns the number of inserted threads, and how many of them are starving.
    #[cfg(not(gopark_loom))]
    pub(in crate::lock) fn sleepers(&self) -> (usize, usize) {
        let bucket = self.shard().bucket();
        let lock = ptr::from_ref(self).addr();
        let inserted = |sleeper: &&Sleeper| sleeper.lock == lock && sleeper.is_inserted();
        let own = || bucket.sleepers.iter().filter(inserted);
        (own().count(), own().filter(|sleeper| sleeper.state == State::Starving).count())
    }

    /// Unlocks, as if the load of `asleep` had come too early.
    #[cfg(not(gopark_loom))]
    pub(in crate::lock) fn unlock_unseen(&self) {
        self.state.store(FREE, Ordering::Release);
    }
}
