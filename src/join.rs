//! [`JoinHandle`], [`AbortHandle`] and [`JoinError`]: joining and aborting a goroutine.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::coop::{self, Reason};
use crate::goroutine::{self, Handle, Remote};
use crate::ids::GoroutineId;
use crate::panics::{lock, panic_text};
use crate::wait::case::future_case;
use crate::waker::Proxy;

/// A handle to a goroutine. Awaiting it joins the goroutine.
///
/// The result is the goroutine's output, or a [`JoinError`] if it panicked or was aborted. The
/// handle resolves after the goroutine's future has been dropped and the goroutine no longer counts
/// in [`num_goroutine`](crate::num_goroutine). Dropping the handle detaches the goroutine, as in
/// Go.
///
/// # Cancellation
///
/// A dropped `&mut handle` loses nothing: await the handle again.
///
/// # Memory ordering
///
/// Everything that the goroutine did synchronizes before the completion of its join.
///
/// # Panics
///
/// If it is polled after completion.
///
/// # Examples
///
/// ```
/// gopark::block_on(async {
///     let handle = gopark::go(async { "done" });
///     assert_eq!(handle.await.unwrap(), "done");
/// });
/// ```
pub struct JoinHandle<T> {
    task: Option<Handle<T>>,
    proxy: Proxy,
    joined: bool,
}

impl<T> JoinHandle<T> {
    #[inline(always)]
    pub(crate) fn new(task: Handle<T>) -> Self {
        Self { task: Some(task), proxy: Proxy::default(), joined: false }
    }

    #[track_caller]
    fn task(&self) -> &Handle<T> {
        self.task.as_ref().expect("taken by drop alone")
    }

    /// Aborts the goroutine: its future is dropped at its next suspension, on a worker.
    ///
    /// After the goroutine has ended this does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let handle = gopark::go(std::future::pending::<()>());
    ///     handle.abort();
    ///     assert!(handle.await.unwrap_err().is_aborted());
    /// });
    /// ```
    pub fn abort(&self) {
        goroutine::abort(self.task().metadata());
    }

    /// Returns a handle that aborts the goroutine but does not join it. tokio: `abort_handle`.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let handle = gopark::go(std::future::pending::<()>());
    ///     let abort = handle.abort_handle();
    ///     gopark::go(async move { abort.abort() });
    ///     assert!(handle.await.unwrap_err().is_aborted());
    /// });
    /// ```
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        let header = self.task().metadata();
        AbortHandle { id: GoroutineId(header.id()), remote: Remote::late(header) }
    }

    /// Turns this into a handle that aborts the goroutine when dropped. tokio-util:
    /// `AbortOnDropHandle`.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let (held, gone) = gopark::chan::unbuffered::<()>();
    ///     let handle = gopark::go(async move {
    ///         std::future::pending::<()>().await;
    ///         drop(held);
    ///     });
    ///     drop(handle.abort_on_drop());
    ///     assert_eq!(gone.recv().await, None);
    /// });
    /// ```
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop(self)
    }

    /// Returns true once the goroutine has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let handle = gopark::go(async {});
    ///     while !handle.is_finished() {
    ///         gopark::gosched().await;
    ///     }
    /// });
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task().is_finished()
    }

    /// Returns the goroutine's id.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let (a, b) = (gopark::go(async {}), gopark::go(async {}));
    ///     assert_ne!(a.id(), b.id());
    /// });
    /// ```
    pub fn id(&self) -> GoroutineId {
        GoroutineId(self.task().metadata().id())
    }
}

future_case!(JoinHandle<T>, T);

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    // The caller is the `await`: a site stored in the handle would cost a word.
    #[inline]
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !coop::poll_ready(cx, Location::caller(), Reason::Join, None) {
            return Poll::Pending;
        }
        let Self { task, proxy, joined } = &mut *self;
        assert!(!*joined, "gopark: JoinHandle polled after completion");
        let task = task.as_mut().expect("taken by drop alone");
        match proxy.poll(Pin::new(&mut *task), cx) {
            Poll::Pending => {
                coop::park_at(cx, Location::caller(), Reason::Join);
                Poll::Pending
            }
            Poll::Ready(outcome) => {
                *joined = true;
                coop::spend();
                let id = GoroutineId(task.metadata().id());
                Poll::Ready(match outcome.into_inner() {
                    Ok(value) => Ok(value),
                    Err(exit) => {
                        let payload = exit.observe().map(|caught| Mutex::new(caught.into_inner()));
                        Err(JoinError { id, payload })
                    }
                })
            }
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut task) = self.task.take() {
            goroutine::detach(task.metadata(), self.joined);
            if self.proxy.is_registered() {
                // Otherwise the goroutine would keep the joiner's waker until it ends.
                drop(coop::last_poll(Pin::new(&mut task)));
            }
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// A handle that aborts a goroutine but does not join it. tokio: `AbortHandle`.
///
/// It keeps the goroutine's memory alive, but not its future.
///
/// # Examples
///
/// ```
/// let handle = gopark::go(std::future::pending::<()>());
/// let abort = handle.abort_handle();
/// abort.abort();
/// assert!(gopark::block_on(handle).unwrap_err().is_aborted());
/// ```
#[derive(Clone)]
pub struct AbortHandle {
    id: GoroutineId,
    remote: Remote,
}

impl AbortHandle {
    pub(crate) fn new(id: u64, remote: Remote) -> Self {
        Self { id: GoroutineId(id), remote }
    }

    /// Aborts the goroutine: its future is dropped at its next suspension, on a worker.
    ///
    /// After the goroutine has ended this does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// gopark::block_on(async {
    ///     let handle = gopark::go(std::future::pending::<()>());
    ///     handle.abort_handle().abort();
    ///     assert!(handle.await.unwrap_err().is_aborted());
    /// });
    /// ```
    pub fn abort(&self) {
        self.remote.abort();
    }

    /// Returns the goroutine's id.
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gopark::go(async {});
    /// assert_eq!(handle.abort_handle().id(), handle.id());
    /// ```
    #[must_use]
    pub fn id(&self) -> GoroutineId {
        self.id
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").field("id", &self.id).finish()
    }
}

/// A [`JoinHandle`] that aborts its goroutine when dropped. tokio-util: `AbortOnDropHandle`.
///
/// [`JoinHandle::abort_on_drop`] returns one.
///
/// # Cancellation
///
/// Dropping it aborts the goroutine. To wait in several steps, await `&mut handle`.
///
/// # Examples
///
/// ```
/// gopark::block_on(async {
///     let handle = gopark::go(async { 7 }).abort_on_drop();
///     assert_eq!(handle.await.unwrap(), 7);
/// });
/// ```
#[derive(Debug)]
#[must_use = "dropping it aborts the goroutine at once"]
pub struct AbortOnDrop<T>(JoinHandle<T>);

future_case!(AbortOnDrop<T>, T);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Deref for AbortOnDrop<T> {
    type Target = JoinHandle<T>;

    fn deref(&self) -> &JoinHandle<T> {
        &self.0
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The error of a goroutine that returned no value, because it panicked or was aborted.
///
/// # Examples
///
/// ```
/// use gopark::{OnPanic, Runtime};
///
/// gopark::block_on(async {
///     let error = gopark::go(async { panic!("oh") }).await.unwrap_err();
///     assert!(error.is_panic());
///     assert!(error.to_string().ends_with("panicked: oh"));
/// });
/// ```
pub struct JoinError {
    id: GoroutineId,
    /// A lock makes the error `Sync`, which `?` into a boxed error needs.
    payload: Option<Mutex<Box<dyn Any + Send>>>,
}

impl JoinError {
    /// Returns true if the goroutine panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = gopark::block_on(async { gopark::go(async { panic!() }).await }).unwrap_err();
    /// assert!(error.is_panic());
    /// ```
    pub fn is_panic(&self) -> bool {
        self.payload.is_some()
    }

    /// Returns true if the goroutine was aborted, or dropped with its runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gopark::go(std::future::pending::<()>());
    /// handle.abort();
    /// assert!(gopark::block_on(handle).unwrap_err().is_aborted());
    /// ```
    pub fn is_aborted(&self) -> bool {
        self.payload.is_none()
    }

    /// Returns the panic's payload, for [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// # Panics
    ///
    /// If the goroutine was aborted.
    ///
    /// # Examples
    ///
    /// ```
    /// let joined = gopark::block_on(async { gopark::go(async { panic!("oh") }).await });
    /// let error = joined.unwrap_err();
    /// assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"oh"));
    /// ```
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.payload {
            Some(payload) => payload.into_inner().unwrap_or_else(PoisonError::into_inner),
            None => panic!("{} was aborted, it did not panic", self.id),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.payload {
            Some(payload) => {
                let payload = lock(payload);
                write!(f, "{} panicked: {}", self.id, panic_text(&**payload))
            }
            None => write!(f, "{} was aborted", self.id),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}

/// An error of the kind [`Other`](io::ErrorKind::Other).
impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        io::Error::other(error)
    }
}

#[cfg(all(test, not(gopark_loom)))]
impl<T> JoinHandle<T> {
    pub(crate) fn header(&self) -> &crate::header::Header {
        self.task().metadata()
    }
}
