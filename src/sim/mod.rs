//! Deterministic simulation: one seed replays any interleaving. With the feature `sim`, for tests.
//!
//! | | |
//! |---|---|
//! | [`run`] | runs a program once, as a seed says |
//! | [`Config::check`] | runs it with many seeds; replays and shrinks what fails |
//! | [`wait`] | until all others are blocked |
//! | [`advance`] | lets virtual time pass |
//!
//! A run has one thread and its own runtime, virtual time, and numbers of goroutines that begin
//! anew. *Choices* are made where a goroutine waits, and before each awaited operation of this
//! crate has done anything: there the goroutine may give way, as it does elsewhere when its budget
//! is spent. What stands between is one step. What polls others (a `timeout`, a `named`, a
//! `select!` that was asked once) adds no choice of its own; what is
//! [`unconstrained`](crate::unconstrained), and a poll with a waker that wakes nothing, has none.
//!
//! The same seed gives the same run on every machine: no choice depends on an address, a hash, or a
//! clock. What depends on them in the program itself is found, if a run fails: it is run twice.
//! What would let something else decide [leaves the simulation](Outside), and panics.
//!
//! A run fails by a panic that no handle returns, by a deadlock, by taking too many steps, and if
//! that is asked for by a leak. The panic's text has the seed, what `GOPARK_SIM_SEED` does with it,
//! and the steps of the shrunk run, a line each: goroutine, operation, site.
//!
//! [The guide](crate::guide::test_it) finds a bug with it, and compares it with what other crates have.

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

/// Waits until every other goroutine of the simulation is blocked: none of them can run, and only
/// the time can wake one, or what this goroutine does next. Go: `synctest.Wait`; goroutines that
/// wait for a lock are blocked as well.
///
/// # Panics
///
/// Outside of a simulation.
///
/// # Cancellation
///
/// Nothing is lost by dropping it.
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
    assert!(simulated::is_on(), "gopark: sim::wait called outside of a simulation");
    wait_at(Location::caller())
}

async fn wait_at(site: &'static Location<'static>) {
    /// The wait is taken out when this is dropped.
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
                let number = run::add_wait(TaskWaker::new(cx.waker()));
                wait = Some(Wait(number.expect("gopark: sim::wait called outside of a simulation")));
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

/// Lets `duration` of the virtual time pass, and waits until all that comes of it is blocked again.
/// It is [`time::sleep`] and then
/// [`wait`]: the time moves when everything is blocked, from timer to timer.
///
/// [`time::sleep`]: crate::time::sleep
///
/// # Panics
///
/// Outside of a simulation.
///
/// # Cancellation
///
/// Nothing is lost by dropping it.
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
