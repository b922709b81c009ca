//! Deterministic simulation for tests: one seed replays any interleaving.
//!
//! Requires the feature `sim`.
//!
//! | function | effect |
//! |---|---|
//! | [`run`] | runs a program once, with the choices of one seed |
//! | [`Config::check`] | runs it with many seeds; replays and shrinks a failure |
//! | [`wait`] | waits until all other goroutines are blocked |
//! | [`advance`] | lets virtual time pass |
//!
//! A run has one thread, a runtime of its own, virtual time, and goroutine ids that start anew. The
//! simulation makes a *choice* where a goroutine waits, and before each awaited operation of this
//! crate takes effect. There the goroutine may yield, as it does outside of a simulation when its
//! budget is spent. The code between two choices is one step. A future that polls others
//! (`timeout`, `named`) adds no choice of its own; a `select!` adds one for all its cases. There
//! are no choices inside [`unconstrained`](crate::unconstrained()), or in a poll whose waker wakes
//! no task.
//!
//! The same seed gives the same run on every machine: no choice depends on an address, a hash or a
//! clock. The program itself may depend on one; because a failing run is repeated, the report of a
//! failure then says so. An operation whose result the simulation does not determine [leaves the
//! simulation](Outside), and panics.
//!
//! A run fails by a panic that no handle returns, by a deadlock, by exceeding the step limit, or,
//! with [`Config::leaks`], by a leak. The text of the panic has the seed, says how
//! `GOPARK_SIM_SEED` replays it, and lists the steps of the shrunk run, one per line: goroutine,
//! operation, call site.
//!
//! [The guide](crate::guide::test_it) finds a bug with it, and compares it with other crates.
//!
//! # Examples
//!
//! ```
//! use gopark::{chan, sim};
//!
//! sim::Config::new().runs(50).check(|| async {
//!     let (tx, rx) = chan::bounded(2);
//!     for name in ["a", "b"] {
//!         gopark::go!([tx] async { tx.send(name).await });
//!     }
//!     assert_ne!(rx.recv().await, rx.recv().await);
//! });
//! ```

mod config;
mod output;
mod run;
mod strategy;
mod trace;

use std::future::poll_fn;
use std::panic::Location;
use std::task::Poll;
use std::time::Duration;

pub use self::config::{Config, run};
#[doc(hidden)]
pub use self::output::assert_passed;
pub use self::strategy::Strategy;
use crate::coop::{self, Reason};
use crate::simulated;
pub use crate::simulated::Outside;
use crate::time::Sleep;
use crate::waker::TaskWaker;

/// Waits until every other goroutine of the simulation is blocked. Go: `synctest.Wait`.
///
/// Blocked means that the goroutine is not runnable, and that only the passing of time or a later
/// action of this goroutine can wake it. Unlike in Go, goroutines that wait for a lock count as
/// blocked.
///
/// # Cancellation
///
/// Dropping the future loses nothing.
///
/// # Panics
///
/// Outside of a simulation.
///
/// # Examples
///
/// ```
/// use gopark::{chan, sim};
///
/// sim::run(1, || async {
///     let (tx, rx) = chan::bounded(1);
///     gopark::go(async move { tx.send("done").await });
///     sim::wait().await;
///     assert_eq!(rx.try_recv(), Ok("done"));
/// });
/// ```
#[track_caller]
pub fn wait() -> impl Future<Output = ()> + Send {
    assert!(simulated::is_on(), "{OUTSIDE}");
    wait_at(Location::caller())
}

const OUTSIDE: &str = "gopark: sim::wait called outside of a simulation";

async fn wait_at(site: &'static Location<'static>) {
    /// Removes the wait when it is dropped.
    struct Wait(u64);
    impl Drop for Wait {
        fn drop(&mut self) {
            drop(run::remove_wait(self.0));
        }
    }

    let mut wait = None;
    poll_fn(|cx| {
        let waits = match &wait {
            Some(Wait(number)) => run::is_waiting(*number),
            None => {
                let number = run::add_wait(TaskWaker::new(cx.waker())).expect(OUTSIDE);
                wait = Some(Wait(number));
                true
            }
        };
        if !waits {
            return Poll::Ready(());
        }
        coop::park_at(cx, site, Reason::Foreign);
        Poll::Pending
    })
    .await;
}

/// Lets `duration` of virtual time pass, then waits until all other goroutines are blocked.
///
/// It is [`time::sleep`] followed by [`wait`]. Time moves from timer to timer, whenever all
/// goroutines are blocked.
///
/// [`time::sleep`]: crate::time::sleep
///
/// # Cancellation
///
/// Dropping the future loses nothing.
///
/// # Panics
///
/// Outside of a simulation.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use gopark::{chan, sim, time};
///
/// sim::run(1, || async {
///     let (tx, rx) = chan::bounded(1);
///     gopark::go(async move {
///         time::sleep(Duration::from_secs(3600)).await;
///         tx.send("late").await
///     });
///     sim::advance(Duration::from_secs(3599)).await;
///     assert!(rx.try_recv().is_err());
///     sim::advance(Duration::from_secs(1)).await;
///     assert_eq!(rx.try_recv(), Ok("late"));
/// });
/// ```
#[track_caller]
pub fn advance(duration: Duration) -> impl Future<Output = ()> + Send {
    assert!(simulated::is_on(), "gopark: sim::advance called outside of a simulation");
    let site = Location::caller();
    let sleep = Sleep::new(crate::clock::Time::now().after(duration), site);
    async move {
        sleep.await;
        wait_at(site).await;
    }
}
