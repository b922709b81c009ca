//! In place of `tests/it/util.rs`, for the tests that are shared: they run in a simulation.

use gopark::sim::Config;

/// Runs `body` in a simulation. It polls by hand, and is alone there: so no poll gives way. With this seed its selects draw so that each
/// corner is reached that the test counts.
pub(crate) fn no_hang<T>(body: impl Fn() -> T) {
    Config::new().runs(1).seed(1).check(|| async { drop(body()) });
}
