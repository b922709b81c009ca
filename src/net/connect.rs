//! The future of the connect methods.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future of [`TcpStream::connect`](super::TcpStream::connect) and the other connect methods.
///
/// # Examples
///
/// ```
/// use gopark::net::{TcpListener, TcpStream, futures};
///
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let connect: futures::Connect<'_, TcpStream> = TcpStream::connect(listener.local_addr()?);
///     let stream = connect.await?;
///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Connect<'a, T> {
    future: Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>,
}

impl<'a, T> Connect<'a, T> {
    pub(super) fn new(future: impl Future<Output = io::Result<T>> + Send + 'a) -> Self {
        Self { future: Box::pin(future) }
    }
}

impl<T> Future for Connect<'_, T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.future.as_mut().poll(cx)
    }
}

crate::wait::case::future_case!(Connect<'a, T>, 'a, T);

impl<T> fmt::Debug for Connect<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").finish_non_exhaustive()
    }
}
