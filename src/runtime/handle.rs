//! [`Handle`]: starts goroutines on a runtime without owning it.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::{Later, Runtime, assert_may_block, current, go_aborted, run_main};
use crate::executor::Executor;
use crate::fork;
use crate::join::JoinHandle;
#[cfg(feature = "sim")]
use crate::simulated;

/// A handle that starts goroutines on a runtime from any thread. tokio: `runtime::Handle`.
///
/// It does not keep the runtime alive. Once the runtime has ended, the handle reaches no other
/// runtime: [`go`](Self::go) gives the aborted error, and [`num_goroutine`](Self::num_goroutine) is
/// 0. A clone is a handle to the same runtime. Go needs none, because a program has one scheduler.
///
/// # Examples
///
/// ```
/// use gopark::Runtime;
///
/// let rt = Runtime::new();
/// let handle = rt.handle();
/// let answer = std::thread::spawn(move || handle.block_on(async { 6 * 7 })).join();
/// assert_eq!(answer.unwrap(), 42);
/// ```
#[derive(Clone)]
pub struct Handle {
    runtime: Later,
}

impl Runtime {
    /// Returns a handle to this runtime. tokio: `Runtime::handle`.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::new();
    /// let handle = rt.handle();
    /// let joined = handle.go(async { 5 });
    /// assert_eq!(rt.block_on(joined).unwrap(), 5);
    /// ```
    #[track_caller]
    pub fn handle(&self) -> Handle {
        Handle { runtime: Later::on(self.executor()) }
    }
}

impl Handle {
    /// Returns a handle to the current runtime, on which [`go`](crate::go()) would start a
    /// goroutine.
    ///
    /// Inside a goroutine that is its runtime; elsewhere it is the global one, which is started if
    /// necessary. (tokio's panics there.)
    ///
    /// # Panics
    ///
    /// As [`go`](crate::go()).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::Handle;
    ///
    /// let rt = gopark::Runtime::new();
    /// let handle = rt.block_on(async { Handle::current() });
    /// let joined = handle.go(async { 6 * 7 });
    /// assert_eq!(rt.block_on(joined).unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn current() -> Self {
        Self { runtime: Later::on(current()) }
    }

    /// Returns a handle to the runtime of this goroutine.
    ///
    /// Outside of goroutines it does not start the global runtime.
    ///
    /// # Errors
    ///
    /// [`TryCurrentError`] outside of goroutines.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::Handle;
    ///
    /// assert!(Handle::try_current().is_err());
    /// assert!(gopark::block_on(async { Handle::try_current() }).is_ok());
    /// ```
    pub fn try_current() -> Result<Self, TryCurrentError> {
        match Executor::current() {
            Some(executor) => Ok(Self { runtime: Later::on(executor) }),
            None => Err(TryCurrentError {}),
        }
    }

    /// Starts a goroutine on the handle's runtime, as [`go`](crate::go()) does on the current one.
    ///
    /// If the runtime has ended or is shutting down, the future is dropped before this returns, and
    /// the [`JoinHandle`] gives the aborted error, as tokio's gives the cancelled one.
    ///
    /// # Panics
    ///
    /// As [`go`](crate::go()).
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::new();
    /// let handle = rt.handle();
    /// drop(rt);
    /// let late = handle.go(async {});
    /// assert!(gopark::block_on(late).unwrap_err().is_aborted());
    /// ```
    #[doc(alias = "spawn")]
    #[track_caller]
    pub fn go<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        fork::refuse();
        let site = Location::caller();
        #[cfg(feature = "sim")]
        self.runtime.executor.refuse_outside(site);
        self.runtime
            .try_go(future, site)
            .unwrap_or_else(|future| go_aborted(current(), future, site))
    }

    /// Runs `main` as a goroutine of the handle's runtime and waits for it, as
    /// [`block_on`](crate::block_on) does.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on). Also if the runtime has ended or is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::new();
    /// let name = String::from("borrowed");
    /// assert_eq!(rt.handle().block_on(async { name.len() }), 8);
    /// ```
    #[track_caller]
    pub fn block_on<F>(&self, main: F) -> F::Output
    where
        F: Future + Send,
        F::Output: Send,
    {
        fork::refuse();
        assert_may_block();
        let Later { executor, generation } = self.runtime;
        let header = executor.start_in(generation, Location::caller(), true);
        run_main(
            executor,
            header.expect("gopark: block_on of a handle whose runtime has ended"),
            main,
        )
    }

    /// Sets the number of processors of the handle's runtime, and returns the previous number, as
    /// [`gomaxprocs`](crate::gomaxprocs) does.
    ///
    /// If the runtime has ended it returns 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::builder().gomaxprocs(2).build().unwrap();
    /// assert_eq!(rt.handle().gomaxprocs(3), 2);
    /// assert_eq!(rt.gomaxprocs(0), 3);
    /// ```
    #[doc(alias = "GOMAXPROCS")]
    #[track_caller]
    pub fn gomaxprocs(&self, n: usize) -> usize {
        fork::refuse();
        #[cfg(feature = "sim")]
        if self.runtime.is_here() {
            if let Some(before) = simulated::gomaxprocs(n) {
                return before;
            }
        }
        self.runtime.executor.set_gomaxprocs_in(self.runtime.generation, n)
    }

    /// Returns the number of live goroutines of the handle's runtime, as
    /// [`num_goroutine`](crate::num_goroutine) does.
    ///
    /// If the runtime has ended it returns 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = gopark::Runtime::new();
    /// assert_eq!(rt.handle().num_goroutine(), 0);
    /// ```
    #[doc(alias = "NumGoroutine")]
    #[track_caller]
    pub fn num_goroutine(&self) -> usize {
        fork::refuse();
        self.runtime.executor.live_in(self.runtime.generation)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Later { executor, generation } = self.runtime;
        f.debug_struct("Handle")
            .field("is_over", &executor.is_over(generation))
            .finish_non_exhaustive()
    }
}

/// The error of [`Handle::try_current`] outside of goroutines. tokio: `TryCurrentError`.
///
/// # Examples
///
/// ```
/// let err = gopark::Handle::try_current().unwrap_err();
/// assert_eq!(err.to_string(), "there is no runtime here: not in a goroutine");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TryCurrentError {}

impl fmt::Display for TryCurrentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no runtime here: not in a goroutine")
    }
}

impl Error for TryCurrentError {}
