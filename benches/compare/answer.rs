//! The answer of a measurement in this process, and how it is computed.

use std::time::Duration;

/// The figures, one for each part of the case; or why there are none.
pub(crate) type Answer = Result<Vec<f64>, &'static str>;

/// The nanoseconds of one of `done` operations.
pub(crate) fn per(took: Duration, done: u64) -> Answer {
    Ok(vec![took.as_nanos() as f64 / done as f64])
}

/// The CPU time of this process.
pub(crate) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole value of that type, which the call writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "the clock is there since Linux 2.6");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
