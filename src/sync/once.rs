//! One-time actions and lazily computed values.

// A [`Semaphore`] of one permit, the turn, serializes the callers: a caller that has the permit and
// finds `done` false runs its function. An initialisation that is dropped midway gives its permit
// back, so the next waiter runs its own function. After completion the semaphore is opened: every
// acquire succeeds.

use std::fmt;
use std::panic::{AssertUnwindSafe, Location};
use std::pin::Pin;
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll};

use futures_lite::FutureExt;
use pin_project_lite::pin_project;

use super::semaphore::{Permit, Semaphore};
use crate::coop::{self, Reason};
use crate::loom::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::panics::{Caught, Payload, catch, lock};
use crate::runtime::block_in_place;
use crate::wait::case::{Case, async_wait};

/// Runs a function exactly once, however many callers there are.
///
/// Go: `sync.Once`. A caller that arrives while the function runs waits until it has returned. Only
/// the function of the first caller runs; those of the other callers are dropped. A function that
/// panics counts as done, as in Go: it is not retried.
///
/// # When to use something else
///
/// Use an [`OnceValue`] to compute a value. Use `std::sync::Once`, `OnceLock` or `LazyLock` if the
/// function does not block. Close a channel if other tasks only wait until something has happened
/// and none of them would do it.
///
/// # Memory ordering
///
/// The return of the function synchronizes before the return of every call.
///
/// # Examples
///
/// ```
/// use gopark::sync::Once;
///
/// static SETUP: Once = Once::new();
///
/// gopark::block_on(async {
///     for _ in 0..3 {
///         SETUP.call_once_async(async || println!("once")).await;
///     }
///     assert!(SETUP.is_done());
/// });
/// ```
pub struct Once {
    /// | value | meaning | left by |
    /// |---|---|---|
    /// | false | not done, or running | `Finish`: store, Release |
    /// | true | done | never; read with Acquire |
    done: AtomicBool,
    /// One permit: the turn.
    turn: Semaphore,
    /// The thread, by [`coop::caller`], that runs the function of a `call_once` or an `OnceValue`;
    /// 0 if none does.
    inside: AtomicUsize,
}

impl Once {
    const_fn! {
        /// Creates a `Once` whose function has not run.
        ///
        /// # Examples
        ///
        /// ```
        /// assert!(!gopark::sync::Once::new().is_done());
        /// ```
        pub const fn new() -> Self {
            let (done, inside) = (AtomicBool::new(false), AtomicUsize::new(0));
            Once { done, turn: Semaphore::new(1), inside }
        }
    }

    /// Runs `f` if no function has run yet. If one is running, waits until it has returned. Go:
    /// `Do`.
    ///
    /// This call blocks its thread while the function of another caller runs. In a goroutine it
    /// gives its processor away meanwhile, so that other goroutines continue;
    /// [`call_once_async`](Self::call_once_async) blocks nothing.
    ///
    /// # Panics
    ///
    /// If `f` panics: it counts as done then. Also if `f` itself calls `call_once` of the same
    /// `Once`: "gopark: Once::call_once called by its own function" (Go deadlocks).
    ///
    /// # Examples
    ///
    /// ```
    /// let once = gopark::sync::Once::new();
    /// let mut n = 0;
    /// once.call_once(|| n += 1);
    /// once.call_once(|| n += 1);
    /// assert_eq!(n, 1);
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "Do")]
    #[doc(alias = "OnceFunc")]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_done() {
            self.call_cold(f);
        }
    }

    #[cold]
    #[track_caller]
    fn call_cold(&self, f: impl FnOnce()) {
        assert!(!self.is_inside(), "gopark: Once::call_once called by its own function");
        let turn = match self.turn.try_acquire(1) {
            Some(turn) => turn,
            None => block_in_place(|| self.turn.acquire_blocking(1)),
        };
        if self.is_done() {
            return;
        }
        let _finish = Finish { once: self, _turn: turn };
        self.enter();
        f();
    }

    /// Records that this thread runs the function, until it is done.
    fn enter(&self) {
        self.inside.store(coop::caller(), Ordering::Relaxed);
    }

    /// Returns true if this thread runs the function: a wait here for its end would deadlock.
    fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Relaxed) == coop::caller()
    }

    /// Runs `f` and its future if no function has run yet. If one is running, waits until it has
    /// completed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future while it waits removes it from the queue. Dropping it while its own
    /// function runs leaves the `Once` not done, and the next waiter runs its own function. (In Go
    /// the function cannot be interrupted.)
    ///
    /// # Panics
    ///
    /// If `f` or its future panics: it counts as done then. If the future calls the same `Once`, it
    /// deadlocks.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let once = gopark::sync::Once::new();
    ///     let mut n = 0;
    ///     once.call_once_async(async || n += 1).await;
    ///     once.call_once_async(async || n += 1).await;
    ///     assert_eq!(n, 1);
    /// });
    /// ```
    #[track_caller]
    pub fn call_once_async<'a, F, Fut>(
        &'a self,
        f: F,
    ) -> impl Future<Output = ()> + Case<Output = ()> + use<'a, F, Fut>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = ()>,
    {
        let site = Location::caller();
        async_wait(async move {
            if self.is_done() {
                return coop::spent(site, Reason::Once).await;
            }
            let turn = self.turn.acquire_at(1, site, Reason::Once).await;
            if self.is_done() {
                return;
            }
            // If the future is dropped here, it does not count as done: only a return or a panic
            // does.
            let end = AssertUnwindSafe(async { f().await }).catch_unwind().await;
            let end = end.map_err(Caught::new);
            drop(Finish { once: self, _turn: turn });
            if let Err(caught) = end {
                caught.resume();
            }
        })
    }

    /// Returns true if the function has run.
    ///
    /// # Examples
    ///
    /// ```
    /// let once = gopark::sync::Once::new();
    /// once.call_once(|| ());
    /// assert!(once.is_done());
    /// ```
    #[inline]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("done", &self.is_done()).finish()
    }
}

/// Marks the `Once` as done when it is dropped.
struct Finish<'a> {
    once: &'a Once,
    _turn: Permit<'a>,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.once.inside.store(0, Ordering::Relaxed);
        self.once.done.store(true, Ordering::Release);
        // All waiters may check `done` at once, not one after the other.
        self.once.turn.open();
    }
}

/// A value that is computed once, by the first `get`.
///
/// Go: `sync.OnceValue`. The function and its captures are dropped as soon as it has run. If it
/// panics, every `get` panics: the first one with the panic itself, the others with a copy of its
/// message.
///
/// # When to use something else
///
/// Use `std::sync::LazyLock` if it does no harm to block other threads meanwhile. Use a [`Once`] if
/// the computation is asynchronous. Use a channel if another task computes the value and only one
/// task receives it.
///
/// # Memory ordering
///
/// The return of the function synchronizes before the return of every `get`.
///
/// # Examples
///
/// ```
/// use gopark::sync::OnceValue;
///
/// gopark::block_on(async {
///     let answer = OnceValue::new(|| 6 * 7);
///     assert_eq!(*answer.get().await, 42);
/// });
/// ```
#[doc(alias = "OnceFunc")]
#[doc(alias = "OnceValues")]
pub struct OnceValue<T> {
    once: Once,
    init: Mutex<Option<Box<dyn FnOnce() -> T + Send>>>,
    value: OnceLock<Result<T, Payload>>,
}

impl<T> OnceValue<T> {
    /// Creates a value that `f` will compute.
    ///
    /// # Examples
    ///
    /// ```
    /// let v = gopark::sync::OnceValue::new(|| vec![0; 1024]);
    /// assert_eq!(gopark::block_on(async { v.get().await.len() }), 1024);
    /// ```
    pub fn new(f: impl FnOnce() -> T + Send + 'static) -> Self {
        OnceValue { once: Once::new(), init: Mutex::new(Some(Box::new(f))), value: OnceLock::new() }
    }

    /// Returns the value. The first call computes it; concurrent calls wait for it.
    ///
    /// # Cancellation
    ///
    /// Dropping the future while it waits has no effect. The function is not asynchronous, so it is
    /// never interrupted.
    ///
    /// # Panics
    ///
    /// If the function has panicked. Also if the function itself waits for the value, in a
    /// [`block_on`](crate::block_on) for example: "gopark: OnceValue::get called by its own
    /// function" (Go deadlocks).
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let v = gopark::sync::OnceValue::new(String::new);
    ///     let (a, b): (&String, &String) = (v.get().await, v.get().await);
    ///     assert!(std::ptr::eq(a, b));
    /// });
    /// ```
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = &T> + Case<Output = &T> + use<'_, T> {
        let computed = self.once.call_once_async(async || self.compute());
        async_wait(Getting { of: self, computed })
    }

    fn compute(&self) {
        self.once.enter();
        // Taken under the lock, run after the lock was released.
        let init = lock(&self.init).take().expect("called once");
        match catch(init) {
            Ok(value) => drop(self.value.set(Ok(value))),
            Err(caught) => {
                let _ = self.value.set(Err(Payload::copy_of(&caught)));
                caught.resume();
            }
        }
    }
}

pin_project! {
    struct Getting<'a, T, F> {
        of: &'a OnceValue<T>,
        #[pin]
        computed: F,
    }
}

impl<'a, T, F: Future<Output = ()>> Future for Getting<'a, T, F> {
    type Output = &'a T;

    // `track_caller`: the panic is reported at the `await`.
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'a T> {
        let this = self.project();
        assert!(!this.of.once.is_inside(), "gopark: OnceValue::get called by its own function");
        this.computed.poll(cx).map(|()| {
            // `compute` has stored a value or a panic.
            this.of
                .value
                .get()
                .expect("computed")
                .as_ref()
                .unwrap_or_else(|payload| payload.raise())
        })
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut d = f.debug_struct("OnceValue");
        match self.value.get() {
            Some(Ok(value)) => d.field("value", value),
            Some(Err(_)) => d.field("value", &format_args!("<panicked>")),
            None => d.field("value", &format_args!("<not computed>")),
        };
        d.finish()
    }
}
