//! The servers' sockets: each contender behind the same small trait.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_io::Async;
use futures_lite::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use hyper::Response;
use hyper::rt::{self, ReadBufCursor};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{Channel, Executor, Gopark, Ours, Tokio, TokioMpsc};

/// Sockets, and the executor that they run on.
pub(crate) trait Sockets: Send + Sync + 'static {
    type On: Executor;
    type Channel: Channel<On = Self::On>;
    type Listener: Send + Sync + 'static;
    type Stream: Send + 'static;

    /// The executor, configured for the best result with this many processors.
    fn start(procs: usize) -> Self::On;
    /// Listens at a port that the system chooses.
    fn listen() -> impl Future<Output = io::Result<Self::Listener>> + Send;
    fn port(listener: &Self::Listener) -> io::Result<u16>;
    /// The stream sends small messages at once (no delay).
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    fn read<'a>(
        stream: &'a mut Self::Stream,
        into: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + Send;
    fn write_all<'a>(
        stream: &'a mut Self::Stream,
        from: &'a [u8],
    ) -> impl Future<Output = io::Result<()>> + Send;
    /// The stream for hyper.
    fn http(stream: Self::Stream) -> impl rt::Read + rt::Write + Send + Unpin + 'static;
}

/// hyper's answer of one line to each request, until the connection ends. Without hyper's timer,
/// because the sockets are compared.
pub(crate) async fn answer<S: Sockets>(stream: S::Stream) {
    let hello =
        service_fn(|_| async { Ok::<_, Infallible>(Response::new("hello, world".to_owned())) });
    // A client that closes the connection is how each of them ends.
    _ = http1::Builder::new().serve_connection(S::http(stream), hello).await;
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub(crate) struct OnTokio;

impl Sockets for OnTokio {
    type On = Tokio;
    type Channel = TokioMpsc;
    type Listener = tokio::net::TcpListener;
    type Stream = tokio::net::TcpStream;

    fn start(procs: usize) -> Tokio {
        Tokio::with_sockets(procs)
    }

    async fn listen() -> io::Result<Self::Listener> {
        tokio::net::TcpListener::bind(anywhere()).await
    }

    fn port(listener: &Self::Listener) -> io::Result<u16> {
        Ok(listener.local_addr()?.port())
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn read<'a>(
        stream: &'a mut Self::Stream,
        into: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + Send {
        stream.read(into)
    }

    fn write_all<'a>(
        stream: &'a mut Self::Stream,
        from: &'a [u8],
    ) -> impl Future<Output = io::Result<()>> + Send {
        stream.write_all(from)
    }

    fn http(stream: Self::Stream) -> impl rt::Read + rt::Write + Send + Unpin + 'static {
        TokioIo::new(stream)
    }
}

pub(crate) struct OnGopark;

impl Sockets for OnGopark {
    type On = Gopark;
    type Channel = Ours;
    type Listener = gopark::net::TcpListener;
    type Stream = gopark::net::TcpStream;

    fn start(procs: usize) -> Gopark {
        Gopark::at_best(procs)
    }

    async fn listen() -> io::Result<Self::Listener> {
        gopark::net::TcpListener::bind(anywhere()).await
    }

    fn port(listener: &Self::Listener) -> io::Result<u16> {
        Ok(listener.local_addr()?.port())
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn read<'a>(
        stream: &'a mut Self::Stream,
        into: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + Send {
        (*stream).read(into)
    }

    fn write_all<'a>(
        stream: &'a mut Self::Stream,
        from: &'a [u8],
    ) -> impl Future<Output = io::Result<()>> + Send {
        (*stream).write_all(from)
    }

    fn http(stream: Self::Stream) -> impl rt::Read + rt::Write + Send + Unpin + 'static {
        stream
    }
}

/// async-io's sockets, for which a separate thread waits, on the executor of a channel.
pub(crate) struct OnAsyncIo<C>(PhantomData<C>);

impl<C: Channel> Sockets for OnAsyncIo<C> {
    type On = C::On;
    type Channel = C;
    type Listener = Async<TcpListener>;
    type Stream = Async<TcpStream>;

    fn start(procs: usize) -> C::On {
        C::On::at_best(procs)
    }

    async fn listen() -> io::Result<Self::Listener> {
        Async::<TcpListener>::bind(anywhere())
    }

    fn port(listener: &Self::Listener) -> io::Result<u16> {
        Ok(listener.get_ref().local_addr()?.port())
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        Ok(stream)
    }

    fn read<'a>(
        stream: &'a mut Self::Stream,
        into: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + Send {
        stream.read(into)
    }

    fn write_all<'a>(
        stream: &'a mut Self::Stream,
        from: &'a [u8],
    ) -> impl Future<Output = io::Result<()>> + Send {
        stream.write_all(from)
    }

    fn http(stream: Self::Stream) -> impl rt::Read + rt::Write + Send + Unpin + 'static {
        ForHyper { stream, chunk: Box::new([0; 4096]) }
    }
}

/// async-io's streams for hyper, whose buffers are uninitialized: data is read through an
/// initialized one.
struct ForHyper {
    stream: Async<TcpStream>,
    chunk: Box<[u8; 4096]>,
}

impl rt::Read for ForHyper {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, chunk } = &mut *self;
        let room = chunk.len().min(into.remaining());
        let read = ready!(Pin::new(stream).poll_read(cx, &mut chunk[..room]))?;
        into.put_slice(&chunk[..read]);
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for ForHyper {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
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
