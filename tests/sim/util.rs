//! Replaces `tests/it/util.rs` for the tests that are shared: they run in a simulation.

use gopark::sim::Config;

/// Runs `body` in a simulation. It polls by hand, and is the only goroutine: so no poll yields.
/// With this seed its selects draw so that each situation is reached that the test counts.
pub(crate) fn no_hang<T>(body: impl Fn() -> T) {
    Config::new().runs(1).seed(1).check(|| async { drop(body()) });
}
