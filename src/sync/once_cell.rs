//! A cell that is written once, possibly by an async function.

// Like a `Once`: a [`Semaphore`] of one permit, the turn, serializes the initialisations. After the
// write the semaphore is opened: every acquire succeeds.

use std::convert::Infallible;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::semaphore::Semaphore;
use crate::coop::{self, Reason};
use crate::loom::const_fn;
use crate::wait::case::{Case, async_wait};

/// A cell that is written once, possibly by an async function.
///
/// tokio: `sync::OnceCell`. In Go it is a `sync.Once` and a variable. If an initialisation fails,
/// panics or is dropped, the next one may try.
///
/// # When to use something else
///
/// Use an [`OnceValue`](crate::sync::OnceValue) if the function is known beforehand and awaits
/// nothing, `std::sync::OnceLock` if it does not block, or a [`Once`](crate::sync::Once) if there
/// is no value.
///
/// # Memory ordering
///
/// The write of the value synchronizes before the return of every read that finds it.
///
/// # Examples
///
/// ```
/// use gopark::sync::OnceCell;
///
/// static CONFIG: OnceCell<String> = OnceCell::new();
///
/// gopark::block_on(async {
///     let config = CONFIG.get_or_init(async || "verbose".to_owned()).await;
///     assert_eq!(config, "verbose");
///     assert_eq!(CONFIG.get().map(String::len), Some(7));
/// });
/// ```
pub struct OnceCell<T> {
    value: OnceLock<T>,
    /// One permit: the turn.
    turn: Semaphore,
}

impl<T> OnceCell<T> {
    const_fn! {
        /// Creates an empty cell.
        ///
        /// # Examples
        ///
        /// ```
        /// static NAME: gopark::sync::OnceCell<String> = gopark::sync::OnceCell::new();
        /// assert!(NAME.get().is_none());
        /// ```
        pub const fn new() -> Self {
            OnceCell { value: OnceLock::new(), turn: Semaphore::new(1) }
        }
    }

    /// Returns the value, or `None` if the cell is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::OnceCell::from(7).get(), Some(&7));
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Writes the value, unless the cell is full or being initialised.
    ///
    /// # Errors
    ///
    /// Returns `value` if it was not written.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = gopark::sync::OnceCell::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// assert_eq!(cell.get(), Some(&1));
    /// ```
    pub fn set(&self, value: T) -> Result<(), T> {
        let Some(turn) = self.turn.try_acquire(1) else { return Err(value) };
        if self.get().is_some() {
            return Err(value);
        }
        self.write(value);
        drop(turn);
        Ok(())
    }

    /// Writes the value. The caller holds the turn and has found the cell empty.
    fn write(&self, value: T) -> &T {
        let value = self.value.get_or_init(|| value);
        // All waiters may check the value at once, not one after the other.
        self.turn.open();
        value
    }

    /// Returns the value. If the cell is empty, initialises it with the future of `f`; if another
    /// call is doing that, waits for it.
    ///
    /// # Cancellation
    ///
    /// Dropping the future while it waits removes it from the queue. Dropping it while its own
    /// function runs leaves the cell empty, and the next waiter runs its own function.
    ///
    /// # Panics
    ///
    /// If `f` or its future panics: the next waiter tries then. If the future initialises the same
    /// cell, it deadlocks.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let cell = gopark::sync::OnceCell::new();
    ///     assert_eq!(*cell.get_or_init(async || 1).await, 1);
    ///     assert_eq!(*cell.get_or_init(async || 2).await, 1);
    /// });
    /// ```
    #[track_caller]
    pub fn get_or_init<'a, F, Fut>(
        &'a self,
        f: F,
    ) -> impl Future<Output = &'a T> + Case<Output = &'a T> + use<'a, T, F, Fut>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        let slow = async move |site| {
            let Ok(value) = self.init(async || Ok::<T, Infallible>(f().await), site).await;
            value
        };
        let site = Location::caller();
        async_wait(FirstLook::New { cell: self, site, slow, found: |value| value })
    }

    /// Returns the value as [`get_or_init`](Self::get_or_init) does, with a function that may fail.
    /// If it fails, the next waiter tries.
    ///
    /// # Cancellation
    ///
    /// Same as [`get_or_init`](Self::get_or_init).
    ///
    /// # Errors
    ///
    /// Returns the error of `f`. The cell is empty then.
    ///
    /// # Panics
    ///
    /// Same as [`get_or_init`](Self::get_or_init).
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let cell = gopark::sync::OnceCell::new();
    ///     assert!(cell.get_or_try_init(async || "x".parse::<i32>()).await.is_err());
    ///     assert_eq!(cell.get_or_try_init(async || "7".parse::<i32>()).await, Ok(&7));
    /// });
    /// ```
    #[track_caller]
    pub fn get_or_try_init<F, Fut, E>(
        &self,
        f: F,
    ) -> impl Future<Output = Result<&T, E>> + Case<Output = Result<&T, E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        async_wait(FirstLook::New {
            cell: self,
            site: Location::caller(),
            slow: move |site| self.init(f, site),
            found: Ok,
        })
    }

    /// Waits for the turn, then returns the value. Initialises the cell if it is empty.
    async fn init<F, Fut, E>(&self, f: F, site: &'static Location<'static>) -> Result<&T, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let _turn = self.turn.acquire_at(1, site, Reason::Once).await;
        match self.get() {
            Some(value) => Ok(value),
            None => f().await.map(|value| self.write(value)),
        }
    }

    /// Returns a mutable reference to the value, or `None` if the cell is empty. `&mut self` proves
    /// that no other task uses the cell.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = gopark::sync::OnceCell::from(1);
    /// *cell.get_mut().unwrap() += 1;
    /// assert_eq!(cell.into_inner(), Some(2));
    /// ```
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Consumes the cell and returns the value, or `None` if the cell is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gopark::sync::OnceCell::<i32>::new().into_inner(), None);
    /// ```
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

pin_project! {
    /// Checks for the value, and runs the slow path if there is none. This is not an `async` block,
    /// because its state would cost more than the check.
    #[project = FirstLookProjection]
    #[project_replace = FirstLookOwned]
    enum FirstLook<'a, T, Slow, Found, F> {
        New { cell: &'a OnceCell<T>, site: &'static Location<'static>, slow: Slow, found: Found },
        Slow { #[pin] future: F },
        Over,
    }
}

impl<'a, T, Slow, Found, F> Future for FirstLook<'a, T, Slow, Found, F>
where
    Slow: FnOnce(&'static Location<'static>) -> F,
    Found: Fn(&'a T) -> F::Output,
    F: Future,
{
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let FirstLookProjection::New { cell, site, found, .. } = self.as_mut().project() {
            if let Some(value) = cell.get() {
                if !coop::poll_ready(cx, *site, Reason::Once, None) {
                    return Poll::Pending;
                }
                coop::spend_one();
                let found = found(value);
                self.set(Self::Over);
                return Poll::Ready(found);
            }
            if let FirstLookOwned::New { site, slow, .. } =
                self.as_mut().project_replace(Self::Over)
            {
                self.set(Self::Slow { future: slow(site) });
            }
        }
        let FirstLookProjection::Slow { future } = self.as_mut().project() else {
            panic!("gopark: future polled after completion")
        };
        let polled = future.poll(cx);
        if polled.is_ready() {
            self.set(Self::Over);
        }
        polled
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        OnceCell::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        let cell = OnceCell::new();
        cell.write(value);
        cell
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut d = f.debug_tuple("OnceCell");
        match self.get() {
            Some(value) => d.field(value),
            None => d.field(&format_args!("<empty>")),
        };
        d.finish()
    }
}
