//! What hyper wants from a runtime: sockets, here of async-io, and timers, here gopark's.

use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_io::Async;
use futures_lite::{AsyncRead, AsyncWrite};
use hyper::rt::{self, ReadBufCursor};

/// A socket for hyper.
pub(crate) struct Socket {
    stream: Async<TcpStream>,
    /// hyper's buffers are uninitialized, and async-io reads into initialized ones: a copy needs no `unsafe`.
    chunk: Box<[u8; 4096]>,
}

impl Socket {
    pub(crate) fn new(stream: Async<TcpStream>) -> Self {
        Self { stream, chunk: Box::new([0; 4096]) }
    }
}

impl rt::Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Self { stream, chunk } = &mut *self;
        let room = into.remaining().min(chunk.len());
        let read = ready!(Pin::new(stream).poll_read(cx, &mut chunk[..room]))?;
        into.put_slice(&chunk[..read]);
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// gopark's timers for hyper, which drops clients that take too long over the head of a request.
pub(crate) struct Timer;

struct Sleep(Pin<Box<gopark::time::Sleep>>);

impl rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleep(Box::pin(gopark::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl rt::Sleep for Sleep {}
