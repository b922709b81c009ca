//! Things that are done once.

// A [`Semaphore`] of one permit says whose turn it is: who has the permit and finds nothing done,
// does it. An initialisation that is dropped midway gives its permit back, and so the next in line
// does its own. When it is done, there are permits for all.

use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll};

use futures_lite::FutureExt;
use pin_project_lite::pin_project;

use super::semaphore::{Permit, Semaphore};
use crate::coop::{self, Reason};
use crate::loom::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::loom::const_fn;
use crate::panics::{Payload, lock};
use crate::runtime::block_in_place;

/// Does something once, however many ask for it.
///
/// Go: `sync.Once`. Whoever comes while it is being done waits until it is. Only the function of
/// the one who does it runs; the others' are dropped. A function that panics counts as done, as in
/// Go: nobody tries again.
///
/// # When to use something else
///
/// An [`OnceValue`] where the point is a value. `std::sync::Once`, `OnceLock` and `LazyLock` where
/// the function does not block. A channel that is closed where others only wait until it has
/// happened, and none of them would do it.
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
    /// | false | not done, or being done | `Finish`: store, Release |
    /// | true | done | nobody; read with Acquire |
    done: AtomicBool,
    /// One permit: the turn.
    turn: Semaphore,
    /// Which thread is inside the function of a `call_once` or an `OnceValue`, by [`coop::caller`];
    /// 0 for none.
    inside: AtomicUsize,
}

impl Once {
    const_fn! {
        /// Nothing done yet.
        ///
        /// # Examples
        ///
        /// ```
        /// assert!(!gopark::sync::Once::new().is_done());
        /// ```
        pub const fn new() -> Self {
            Once { done: AtomicBool::new(false), turn: Semaphore::new(1), inside: AtomicUsize::new(0) }
        }
    }

    /// Runs `f` unless something has been done already; waits for it if it is being done. Go: `Do`.
    ///
    /// This call blocks its thread while another one's function runs. On a goroutine that costs its
    /// processor, which goes on with the others meanwhile;
    /// [`call_once_async`](Self::call_once_async) costs nothing.
    ///
    /// # Panics
    ///
    /// If `f` does, and then it counts as done. Also if `f` itself calls `call_once` of the same
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

    /// This thread runs the function, until it is done.
    fn enter(&self) {
        self.inside.store(coop::caller(), Ordering::Relaxed);
    }

    /// Whether this thread is in the function: what waits here for its end waits for itself.
    fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Relaxed) == coop::caller()
    }

    /// Runs `f` and its future unless something has been done already; waits for it if it is being
    /// done.
    ///
    /// # Cancellation
    ///
    /// Dropping the future while it waits gives up the place in line. Dropping it while its own
    /// function runs leaves the thing undone, and the next in line does its own. (Go's cannot be
    /// interrupted there.)
    ///
    /// # Panics
    ///
    /// If `f` or its future does, and then it counts as done. If the future calls the same `Once`,
    /// it waits for ever.
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
    pub fn call_once_async<'a, F, Fut>(&'a self, f: F) -> impl Future<Output = ()> + use<'a, F, Fut>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = ()>,
    {
        let site = Location::caller();
        async move {
            if self.is_done() {
                return coop::spent(site, Reason::Once).await;
            }
            let turn = self.turn.acquire_at(1, site, Reason::Once).await;
            if self.is_done() {
                return;
            }
            // Dropped here, it is not done: that takes an end, good or bad.
            let end = AssertUnwindSafe(async { f().await }).catch_unwind().await;
            drop(Finish { once: self, _turn: turn });
            if let Err(payload) = end {
                resume_unwind(payload);
            }
        }
    }

    /// Whether it has been done.
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

/// Whoever drops this has done it.
struct Finish<'a> {
    once: &'a Once,
    _turn: Permit<'a>,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.once.inside.store(0, Ordering::Relaxed);
        self.once.done.store(true, Ordering::Release);
        // All who wait may look at once, not one after the other.
        self.once.turn.open();
    }
}

/// A value that is computed at the first request, once.
///
/// Go: `sync.OnceValue`. The function and what it has captured are dropped as soon as it has run.
/// If it panics, every `get` panics: the first with the panic itself, the others with a copy of its
/// text.
///
/// # When to use something else
///
/// `std::sync::LazyLock` where blocking the others' threads meanwhile does no harm. A [`Once`]
/// where computing is asynchronous. A channel where somebody else computes, and the value is for
/// one.
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
    /// A value that `f` will compute.
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

    /// The value. The first call computes it; who comes meanwhile waits.
    ///
    /// # Cancellation
    ///
    /// Dropping the future while it waits has no effect. The function is not asynchronous, and so
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
    pub fn get(&self) -> impl Future<Output = &T> + use<'_, T> {
        let computed = self.once.call_once_async(async || self.compute());
        Getting { of: self, computed }
    }

    fn compute(&self) {
        self.once.enter();
        // Taken out under the lock, run outside of it.
        let init = lock(&self.init).take().expect("called once");
        match catch_unwind(AssertUnwindSafe(init)) {
            Ok(value) => drop(self.value.set(Ok(value))),
            Err(payload) => {
                let _ = self.value.set(Err(Payload::copy_of(&*payload)));
                resume_unwind(payload);
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

    // The panic is the fault of the code that awaits it.
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'a T> {
        let this = self.project();
        assert!(!this.of.once.is_inside(), "gopark: OnceValue::get called by its own function");
        this.computed.poll(cx).map(|()| {
            // `compute` ends with a value or unwinds.
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
