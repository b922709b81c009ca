//! What must not depend on how many addresses a function or a constant has.
//!
//! A build may have one address for each code generation unit, in the profile for tests and in that
//! of `cargo build --release`. So `.ci/run` runs these tests in both.

use std::future::pending;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use gopark::chan;
use gopark::select;
use gopark::time::{self, timeout};

const MS: Duration = Duration::from_millis(1);

fn spin_past(duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() <= end {
        thread::yield_now();
    }
}

/// A `select!` with a `default` tries its cases with a special waker, which was not recognized: the
/// first select registered the sleep, and the second one waited for its timer.
#[test]
fn what_is_due_is_taken_beside_a_default() {
    // No other processor fires the timers.
    let rt = gopark::Runtime::builder().gomaxprocs(1).build().expect("threads");
    rt.block_on(async {
        let (_tx, rx) = chan::unbuffered::<()>();
        for _ in 0..20 {
            let start = Instant::now();
            let mut slept = pin!(time::sleep(MS));
            let mut limited = pin!(timeout(MS, pending::<()>()));
            let mut receives = pin!(timeout(MS, rx.recv()));
            if select! { _ = slept.as_mut() => true, default => false }
                || select! { _ = limited.as_mut() => true, default => false }
                || select! { _ = receives.as_mut() => true, default => false }
            {
                assert!(start.elapsed() >= MS, "it was early");
                continue;
            }
            spin_past(2 * MS);
            assert!(select! { _ = slept.as_mut() => true, default => false }, "the sleep was due");
            assert!(
                select! { over = limited.as_mut() => over.is_err(), default => false },
                "the time-out was due"
            );
            assert!(
                select! { over = receives.as_mut() => over.is_err(), default => false },
                "the receive was"
            );
        }
    });
}

/// The last poll of an operation whose time has passed takes it out of its channel.
#[test]
fn a_send_whose_time_is_over_is_not_received() {
    gopark::block_on(async {
        let (tx, rx) = chan::unbuffered();
        assert!(timeout(MS, tx.send(1)).await.is_err());
        assert!(timeout(MS, async { tx.send(2).await }).await.is_err());
        assert!(rx.try_recv().is_err(), "a send that was given up");
    });
}
