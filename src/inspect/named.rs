//! [`named`]: names of goroutines.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::coop::{self, Reason};
use crate::maps;
use crate::panics::lock;
#[cfg(feature = "sim")]
use crate::simulated;
use crate::wait::case::{future_case, option_case};

/// The names of the goroutines that have one; the last name of a goroutine is the current one. The
/// lock is taken when a named future starts or ends, and for a report.
static NAMES: Mutex<Option<HashMap<u64, Vec<Arc<str>>>>> = Mutex::new(None);

pub(super) fn name_of(id: u64) -> Option<Arc<str>> {
    #[cfg(feature = "sim")]
    let id = simulated::in_process(id);
    lock(&NAMES).as_ref()?.get(&id)?.last().cloned()
}

/// Gives the goroutine that polls `future` a name, which reports show. tokio:
/// `task::Builder::name`.
///
/// The name holds from the first poll of the future until the future is dropped. If several names
/// hold, reports show the one that was set last. Outside of goroutines this does nothing.
///
/// # Cancellation
///
/// Dropping it drops `future`.
///
/// # Examples
///
/// ```
/// use gopark::inspect;
///
/// gopark::go(inspect::named("acceptor", async { /* .. */ }));
/// ```
pub fn named<F: IntoFuture>(name: impl Into<Arc<str>>, future: F) -> Named<F::IntoFuture> {
    Named {
        future: future.into_future(),
        tag: Tag { name: name.into(), is_polled: false, goroutine: None },
    }
}

pin_project! {
    /// A future whose goroutine has a name, returned by [`named`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the future inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::inspect::{self, Named};
    ///
    /// fn worker(n: u32) -> Named<impl Future<Output = u32>> {
    ///     inspect::named(format!("worker {n}"), async move { 2 * n })
    /// }
    ///
    /// assert_eq!(gopark::block_on(worker(21)), 42);
    /// ```
    #[must_use = "futures do nothing unless awaited"]
    pub struct Named<F> {
        #[pin]
        future: F,
        tag: Tag,
    }
}

/// The entry of a name, which is removed when this is dropped.
struct Tag {
    name: Arc<str>,
    is_polled: bool,
    /// The goroutine that has the name.
    goroutine: Option<u64>,
}

impl Tag {
    #[cold]
    fn enter(&mut self) {
        self.is_polled = true;
        self.goroutine = coop::goroutine();
        #[cfg(feature = "sim")]
        {
            self.goroutine = self.goroutine.map(simulated::in_process);
        }
        if let Some(goroutine) = self.goroutine {
            lock(&NAMES)
                .get_or_insert_default()
                .entry(goroutine)
                .or_default()
                .push(self.name.clone());
        }
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        let Some(goroutine) = self.goroutine else { return };
        if let Some(all) = &mut *lock(&NAMES) {
            let Some(names) = all.get_mut(&goroutine) else { return };
            // If there are several entries with this allocation, they have the same name.
            if let Some(at) = names.iter().rposition(|name| Arc::ptr_eq(name, &self.name)) {
                names.remove(at);
            }
            if names.is_empty() {
                maps::remove(all, &goroutine);
            }
        }
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !coop::poll_ready(cx, None, Reason::Foreign, None) {
            return Poll::Pending;
        }
        let this = self.project();
        if !this.tag.is_polled {
            this.tag.enter();
        }
        let polled = this.future.poll(cx);
        if polled.is_ready() {
            // A foreign future does not spend from the budget itself.
            coop::spend();
        }
        polled
    }
}

future_case!(Named<F>, F: Future);
option_case!([F: Future<Output = Option<T>>, T] Named<F> => T);

impl<F> fmt::Debug for Named<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
