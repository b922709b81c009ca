//! Names of goroutines.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::coop;
use crate::panics::lock;
use crate::wait::case::future_case;

/// The names of goroutines that have one. It is small, and locked when a goroutine begins or ends, or for a report.
static NAMES: Mutex<Option<HashMap<u64, Arc<str>>>> = Mutex::new(None);

pub(super) fn name_of(id: u64) -> Option<Arc<str>> {
    lock(&NAMES).as_ref()?.get(&id).cloned()
}

/// Gives the goroutine that runs `future` a name, which reports show. tokio: `task::Builder::name`.
///
/// The name holds from the first poll of the future until it has completed, or is dropped. If several are nested, the innermost
/// that was polled last wins. Outside of goroutines it does nothing.
///
/// # Cancellation
///
/// Dropping it drops `future`.
///
/// ```
/// use gopark::inspect;
///
/// gopark::go(inspect::named("acceptor", async { /* .. */ }));
/// ```
pub fn named<F: IntoFuture>(name: impl Into<Arc<str>>, future: F) -> Named<F::IntoFuture> {
    Named { future: future.into_future(), tag: Tag { name: Some(name.into()), goroutine: 0 } }
}

pin_project! {
    /// A future whose goroutine has a name, made by [`named`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the future inside.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Named<F> {
        #[pin]
        future: F,
        tag: Tag,
    }
}

/// The name's entry. It is removed when this is dropped.
struct Tag {
    /// Until the first poll.
    name: Option<Arc<str>>,
    /// The goroutine that has the name; 0 if none.
    goroutine: u64,
}

impl Tag {
    #[cold]
    fn enter(&mut self) {
        let (name, goroutine) = (self.name.take(), coop::goroutine());
        if let (Some(name), Some(goroutine)) = (name, goroutine) {
            self.goroutine = goroutine;
            let _old = lock(&NAMES).get_or_insert_default().insert(goroutine, name);
        }
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        if self.goroutine != 0 {
            let _name = lock(&NAMES).as_mut().and_then(|names| names.remove(&self.goroutine));
        }
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !coop::poll_ready(cx) {
            return Poll::Pending;
        }
        let this = self.project();
        if this.tag.name.is_some() {
            this.tag.enter();
        }
        let polled = this.future.poll(cx);
        if polled.is_ready() {
            // The future may be foreign, and then has not.
            coop::spend();
        }
        polled
    }
}

future_case!(Named<F>, F: Future);

impl<F> fmt::Debug for Named<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}
