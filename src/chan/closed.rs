//! A sender's wait for the close of its channel.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Sender;
use super::core::Core;
use super::extras::Extras;
use crate::coop::{self, Reason};
use crate::wait::case::future_case;
use crate::wait::watch::Watch;

impl<T> Sender<T> {
    /// Waits until the channel is closed, by [`close`](Self::close) or because all receivers were
    /// dropped. Go: a second channel, often called `done`; tokio: `mpsc::Sender::closed`.
    ///
    /// A producer can use it to stop when its values are no longer needed. A [`nil`](Self::nil)
    /// sender waits forever.
    ///
    /// # Cancellation
    ///
    /// Dropping the future has no effect.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled again after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::{chan, select};
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = chan::unbuffered();
    ///     gopark::go(async move { rx.recv().await });
    ///     let mut sent = 0;
    ///     loop {
    ///         select! {
    ///             _ = tx.closed() => break,
    ///             result = tx.send(sent) => sent += i32::from(result.is_ok()),
    ///         }
    ///     }
    ///     assert_eq!(sent, 1);
    /// });
    /// ```
    #[track_caller]
    pub fn closed(&self) -> Closed<'_, T> {
        Closed {
            core: self.handle.core(),
            site: Location::caller(),
            watch: Watch::NONE,
            is_over: false,
        }
    }
}

/// The future of [`Sender::closed`].
///
/// # Cancellation
///
/// Dropping it has no effect.
///
/// # Examples
///
/// ```
/// use gopark::chan::{self, Closed};
/// use gopark::select;
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::unbuffered::<u8>();
///     let mut closed: Closed<'_, u8> = tx.closed();
///     select! {
///         _ = &mut closed => unreachable!("there is a receiver"),
///         default => drop(rx),
///     }
///     closed.await;
///     assert!(tx.is_closed());
/// });
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Closed<'a, T> {
    /// None for a nil channel.
    core: Option<&'a Core<T>>,
    site: &'static Location<'static>,
    watch: Watch,
    is_over: bool,
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        assert!(!this.is_over, "gopark: future polled after completion");
        if !coop::poll_ready(cx, this.site, Reason::ChanClose, this.core.map(|core| &core.object)) {
            return Poll::Pending;
        }
        let is_closed = this.core.is_some_and(|core| {
            core.is_closed()
                || !coop::is_passing(cx) && {
                    this.watch.register(
                        || core.watchers_of(|extras: &mut Extras<T>| &mut extras.closers),
                        cx,
                    );
                    // A close that came before the registration has not woken it.
                    core.is_closed()
                }
        });
        if !is_closed {
            coop::park_at(cx, this.site, Reason::ChanClose);
            return Poll::Pending;
        }
        this.watch.end();
        this.is_over = true;
        coop::spend();
        Poll::Ready(())
    }
}

future_case!(Closed<'a, T>, 'a, T);

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("channel", &self.core).finish_non_exhaustive()
    }
}
