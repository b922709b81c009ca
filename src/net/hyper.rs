//! Implements hyper's traits for I/O, timers and tasks: feature `hyper`.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{self, Read, ReadBufCursor, Write};
use pin_project_lite::pin_project;

use super::tcp::TcpStream;
use super::traits::writer;
#[cfg(unix)]
use super::unix::UnixStream;
use crate::runtime;
use crate::time::{self, Sleep};

macro_rules! traits {
    ($stream:ty) => {
        impl Read for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                mut cursor: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: nothing uninitialized is written to it, see below.
                let room: *mut [MaybeUninit<u8>] = unsafe { cursor.as_mut() };
                // SAFETY: `poll_read_bytes` writes only initialized bytes, and reads none.
                let room = unsafe { &mut *(room as *mut [u8]) };
                let bytes = ready!(self.poll_read_bytes(cx, room))?;
                // SAFETY: `poll_read_bytes` has written this many bytes.
                unsafe { cursor.advance(bytes) };
                Poll::Ready(Ok(()))
            }
        }

        writer!(Write, $stream);
    };
}

traits!(TcpStream);
#[cfg(unix)]
traits!(UnixStream);

/// Runs hyper's tasks as goroutines. hyper-util: `TokioExecutor`.
///
/// HTTP/2 needs one. Each task is a goroutine, as if hyper started it with [`go`](crate::go()). If
/// a goroutine polls the connection, the task runs in that goroutine's runtime, otherwise in the
/// global one. Reports show it as started where `new` was called. A panic in a task is unrecovered,
/// see [`OnPanic`](crate::OnPanic).
///
/// Requires the feature `hyper`.
///
/// # Examples
///
/// ```
/// use gopark::chan;
/// use gopark::net::HyperExecutor;
/// use hyper::rt::Executor;
///
/// gopark::block_on(async {
///     let (tx, rx) = chan::unbuffered();
///     HyperExecutor::new().execute(async move { tx.send("from a goroutine").await });
///     assert_eq!(rx.recv().await, Some("from a goroutine"));
/// });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HyperExecutor {
    site: &'static Location<'static>,
}

impl HyperExecutor {
    /// Creates an executor.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::HyperExecutor;
    /// use hyper::rt::Executor;
    ///
    /// static EXECUTOR: HyperExecutor = HyperExecutor::new();
    ///
    /// gopark::block_on(async {
    ///     let (tx, rx) = gopark::chan::unbuffered();
    ///     EXECUTOR.execute(async move { tx.send(1).await });
    ///     assert_eq!(rx.recv().await, Some(1));
    /// });
    /// ```
    #[track_caller]
    pub const fn new() -> Self {
        Self { site: Location::caller() }
    }
}

impl Default for HyperExecutor {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<F> rt::Executor<F> for HyperExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(runtime::go_at(future, self.site));
    }
}

/// gopark's timers for hyper. hyper-util: `TokioTimer`.
///
/// hyper needs it for its time limits, such as `header_read_timeout` of an HTTP/1 server (Go:
/// `ReadHeaderTimeout` of an `http.Server`) and the pings of HTTP/2. The guide has
/// [a server](crate::guide::network#feature-hyper).
///
/// Requires the feature `hyper`.
///
/// # Examples
///
/// ```
/// use gopark::net::HyperTimer;
/// use hyper::rt::Timer;
/// use std::time::Duration;
///
/// gopark::block_on(async {
///     let timer = HyperTimer::new();
///     let start = timer.now();
///     timer.sleep(Duration::from_millis(5)).await;
///     assert!(timer.now() >= start + Duration::from_millis(5));
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperTimer {
    _private: (),
}

impl HyperTimer {
    /// Creates a timer.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::HyperTimer;
    /// use hyper::rt::Timer;
    ///
    /// static TIMER: HyperTimer = HyperTimer::new();
    ///
    /// let start = TIMER.now();
    /// assert!(TIMER.now() >= start);
    /// ```
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

impl rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleeping { sleep: time::sleep(duration), is_over: false })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleeping { sleep: time::sleep_until(deadline), is_over: false })
    }

    fn now(&self) -> Instant {
        time::now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleeping>() {
            Some(sleep) => {
                let sleep = sleep.project();
                *sleep.is_over = false;
                sleep.sleep.reset(deadline);
            }
            // It is the sleep of another timer.
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

pin_project! {
    /// A [`Sleep`], for which hyper's trait can be implemented. hyper polls it again after it has
    /// completed.
    struct Sleeping {
        #[pin]
        sleep: Sleep,
        is_over: bool,
    }
}

impl Future for Sleeping {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !*this.is_over {
            ready!(this.sleep.poll(cx));
            *this.is_over = true;
        }
        Poll::Ready(())
    }
}

impl rt::Sleep for Sleeping {}
