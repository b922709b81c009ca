//! TCP connections, and what they share with Unix ones.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Socket, TcpKeepalive};

use super::addr::{ToSocketAddrs, each_addr};
use super::bytes::{
    Read, ReadExact, ReadInto, ReadIntoAll, Write, WriteAll, WriteFrom, WriteFromAll, bytes,
};
use super::connect::Connect;
use super::setup;
use crate::io::attempt::{Attempts, Called, Operation, attempt_now, operation, poll_attempt};
use crate::readiness::{Direction, Readiness};
use crate::sources::{Registered, Sources};
use crate::wait::watch::Watch;

bytes!(mio::net::TcpStream, false);

pub(crate) struct PeekInto<'a> {
    socket: &'a Registered<mio::net::TcpStream>,
    buffer: &'a mut [u8],
}

impl<'a> Operation<'a> for PeekInto<'a> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        self.socket.io().peek(self.buffer).map(Called::once)
    }

    fn nothing_to_do(&self) -> Option<usize> {
        self.buffer.is_empty().then_some(0)
    }
}

/// A connect that has started.
struct Connected<'a> {
    socket: &'a Registered<mio::net::TcpStream>,
}

impl<'a> Operation<'a> for Connected<'a> {
    type Output = ();

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().write
    }

    fn call(&mut self) -> io::Result<Called<()>> {
        let socket = self.socket.io();
        connected(self.socket.readiness(), socket.take_error()?, socket.peer_addr().err())
    }
}

/// Checks the errors of a connecting socket: its pending error, and the error of asking for its
/// peer. Returns `WouldBlock` while it is still connecting.
pub(super) fn connected(
    readiness: &Readiness,
    pending: Option<io::Error>,
    no_peer: Option<io::Error>,
) -> io::Result<Called<()>> {
    match pending.or(no_peer) {
        None => Ok(Called::once(())),
        Some(error)
            if error.kind() == io::ErrorKind::NotConnected && !readiness.read.has_ended() =>
        {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Some(error) => Err(error),
    }
}

operation! {
    /// The future of [`TcpStream::peek`].
    Peek<'a> = PeekInto<'a> => io::Result<usize>
}

// ----------------------------------------------------------------------------------------------
// streams

/// The registrations of a stream's poll functions, allocated at the first use.
#[derive(Default)]
pub(super) struct Watches(OnceLock<Box<[Mutex<Watch>; 2]>>);

impl Watches {
    fn both(&self) -> &[Mutex<Watch>; 2] {
        self.0.get_or_init(|| Box::new([Mutex::new(Watch::NONE), Mutex::new(Watch::NONE)]))
    }

    pub(super) fn reader(&self) -> &Mutex<Watch> {
        &self.both()[0]
    }

    pub(super) fn writer(&self) -> &Mutex<Watch> {
        &self.both()[1]
    }
}

/// Implements the methods of a byte stream and the traits of `futures-io`. `$pair` connects the
/// streams `a` and `b` of an example.
macro_rules! stream {
    ($stream:ident, $read_half:ident, $write_half:ident, $doc:literal, $pair:literal) => {
        impl $stream {
            /// Reads the available bytes; waits until there is at least one. Go: `c.Read`.
            ///
            /// Returns the number of bytes read: 0 at the end of the stream, or if the buffer is
            /// empty.
            ///
            /// # Cancellation
            ///
            /// No byte is lost.
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails, for example because the connection was
            /// reset, or if the runtime has ended.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"hello").await?;
            ///     let mut buffer = [0; 64];
            ///     let n = b.read(&mut buffer).await?;
            ///     assert_eq!(&buffer[..n], b"hello");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            #[track_caller]
            #[inline]
            pub fn read<'a>(&'a self, buffer: &'a mut [u8]) -> Read<'a> {
                Read::new(ReadInto { socket: &*self.socket, buffer }, Location::caller())
            }

            /// Reads as [`read`](Self::read) does, into several buffers, one after the other.
            ///
            /// # Cancellation
            ///
            /// No byte is lost.
            ///
            /// # Errors
            ///
            /// Same as [`read`](Self::read).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::IoSliceMut;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"hello").await?;
            ///     let (mut start, mut rest) = ([0; 2], [0; 8]);
            ///     let buffers = &mut [IoSliceMut::new(&mut start), IoSliceMut::new(&mut rest)];
            ///     assert_eq!(b.read_vectored(buffers).await?, 5);
            ///     assert_eq!((&start, &rest[..3]), (b"he", &b"llo"[..]));
            ///     Ok(())
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn read_vectored<'a, 'b: 'a>(
                &'a self,
                buffers: &'a mut [IoSliceMut<'b>],
            ) -> impl Future<Output = io::Result<usize>> + use<'a, 'b> {
                Attempts::new(ReadIntoAll { socket: &*self.socket, buffers }, Location::caller())
            }

            /// Reads until the buffer is full. Go: `io.ReadFull`.
            ///
            /// # Cancellation
            ///
            /// The bytes read so far are in the buffer, but the caller does not know how many there
            /// are. So the future cannot be a case of a `select!`.
            ///
            /// # Errors
            ///
            /// Same as [`read`](Self::read), and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if
            /// the stream ends before the buffer is full.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"hello").await?;
            ///     let mut buffer = [0; 5];
            ///     b.read_exact(&mut buffer).await?;
            ///     assert_eq!(&buffer, b"hello");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn read_exact<'a>(
                &'a self,
                buffer: &'a mut [u8],
            ) -> impl Future<Output = io::Result<()>> + use<'a> {
                let socket = &*self.socket;
                Attempts::new(ReadExact { socket, buffer }, Location::caller())
            }

            /// Reads the available bytes without waiting.
            ///
            /// # Errors
            ///
            /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing to read;
            /// otherwise same as [`read`](Self::read).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::ErrorKind;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let error = a.try_read(&mut [0; 64]).unwrap_err();
            ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
            ///     # drop(b);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                attempt_now(&mut ReadInto { socket: &*self.socket, buffer })
            }

            /// Writes some of the bytes, at least one; waits until the socket's buffer has room.
            ///
            /// Returns the number of bytes written; 0 if there are none to write. Go's `c.Write`
            /// is [`write_all`](Self::write_all).
            ///
            /// # Cancellation
            ///
            /// Nothing has been written.
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails, for example because the peer no longer
            /// reads, or if the runtime has ended.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     assert_eq!(a.write(b"hello").await?, 5);
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            #[inline]
            pub fn write<'a>(&'a self, bytes: &'a [u8]) -> Write<'a> {
                Write::new(WriteFrom { socket: &*self.socket, bytes }, Location::caller())
            }

            /// Writes as [`write`](Self::write) does, from several buffers, one after the other.
            ///
            /// # Cancellation
            ///
            /// Nothing has been written.
            ///
            /// # Errors
            ///
            /// Same as [`write`](Self::write).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::IoSlice;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let parts = [IoSlice::new(b"he"), IoSlice::new(b"llo")];
            ///     assert_eq!(a.write_vectored(&parts).await?, 5);
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn write_vectored<'a>(
                &'a self,
                bytes: &'a [IoSlice<'a>],
            ) -> impl Future<Output = io::Result<usize>> + use<'a> {
                Attempts::new(WriteFromAll { socket: &*self.socket, bytes }, Location::caller())
            }

            /// Writes all of the bytes. Go: `c.Write`.
            ///
            /// # Cancellation
            ///
            /// Some of the bytes may have been written, but the caller does not know how many. So
            /// the future cannot be a case of a `select!`.
            ///
            /// # Errors
            ///
            /// Same as [`write`](Self::write).
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"hello").await?;
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn write_all<'a>(
                &'a self,
                bytes: &'a [u8],
            ) -> impl Future<Output = io::Result<()>> + use<'a> {
                let socket = &*self.socket;
                Attempts::new(WriteAll { socket, bytes }, Location::caller())
            }

            /// Writes some of the bytes without waiting.
            ///
            /// # Errors
            ///
            /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; otherwise
            /// same as [`write`](Self::write).
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     assert_eq!(a.try_write(b"hello")?, 5);
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
                attempt_now(&mut WriteFrom { socket: &*self.socket, bytes })
            }

            $crate::net::waits!(
                "a [`try_read`](Self::try_read) may succeed: \
                 there are bytes, or the end of the stream, or an error",
                "a [`try_write`](Self::try_write) may succeed",
                $pair,
                try_read,
                try_write
            );

            /// Shuts down the reading half, the writing half, or both. Go: `c.CloseWrite`,
            /// `c.CloseRead`.
            ///
            /// After the writing half is shut down, the peer reads the bytes written before, and
            /// then the end of the stream.
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails, for example because the stream is no
            /// longer connected.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::net::Shutdown;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"bye").await?;
            ///     a.shutdown(Shutdown::Write)?;
            ///     b.read_exact(&mut [0; 3]).await?;
            ///     assert_eq!(b.read(&mut [0; 64]).await?, 0);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.socket.io().shutdown(how)
            }

            /// Returns and clears the pending error of the socket.
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.socket.io().take_error()
            }

            /// Splits the stream into halves, for two futures of one goroutine.
            ///
            /// The halves are references: they cost nothing, and dropping them shuts nothing down.
            /// For two goroutines, clone the stream.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let (reader, writer) = a.split();
            ///     writer.write_all(b"ping").await?;
            ///     b.read_exact(&mut [0; 4]).await?;
            ///     b.write_all(b"pong").await?;
            ///     reader.read_exact(&mut [0; 4]).await
            /// })
            /// # }
            /// ```
            pub fn split(&self) -> ($read_half<'_>, $write_half<'_>) {
                ($read_half(self), $write_half(self))
            }

            pub(super) fn poll_read_bytes(
                &self,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let mut operation = ReadInto { socket: &*self.socket, buffer };
                poll_attempt(&mut operation, self.watches.reader(), cx)
            }

            pub(super) fn poll_read_buffers(
                &self,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                let mut operation = ReadIntoAll { socket: &*self.socket, buffers };
                poll_attempt(&mut operation, self.watches.reader(), cx)
            }

            pub(super) fn poll_write_bytes(
                &self,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let mut operation = WriteFrom { socket: &*self.socket, bytes };
                poll_attempt(&mut operation, self.watches.writer(), cx)
            }

            pub(super) fn poll_write_buffers(
                &self,
                cx: &mut Context<'_>,
                bytes: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let mut operation = WriteFromAll { socket: &*self.socket, bytes };
                poll_attempt(&mut operation, self.watches.writer(), cx)
            }

            /// Shuts down the writing half. It is not an error if the peer has closed the
            /// connection already.
            pub(super) fn end_write(&self) -> io::Result<()> {
                match self.shutdown(Shutdown::Write) {
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                    ended => ended,
                }
            }
        }

        /// Shares the socket. Each clone has its own place for a task that waits by the poll
        /// functions of the I/O traits.
        impl Clone for $stream {
            fn clone(&self) -> Self {
                Self { socket: self.socket.clone(), watches: Watches::default() }
            }
        }

        #[doc = concat!("The reading half of a [`", $doc, "`].")]
        #[derive(Clone, Copy, Debug)]
        pub struct $read_half<'a>(&'a $stream);

        #[doc = concat!("The writing half of a [`", $doc, "`].")]
        #[derive(Clone, Copy, Debug)]
        pub struct $write_half<'a>(&'a $stream);

        impl<'a> $read_half<'a> {
            #[doc = concat!("Reads as [`", $doc, "::read`] does.")]
            ///
            /// # Cancellation
            ///
            /// No byte is lost.
            ///
            /// # Errors
            ///
            /// Same as the method of the stream.
            #[track_caller]
            pub fn read<'b>(&'b self, buffer: &'b mut [u8]) -> Read<'b>
            where
                'a: 'b,
            {
                self.0.read(buffer)
            }

            #[doc = concat!("Reads as [`", $doc, "::read_exact`] does.")]
            ///
            /// # Cancellation
            ///
            /// Same as the method of the stream.
            ///
            /// # Errors
            ///
            /// Same as the method of the stream.
            #[track_caller]
            pub fn read_exact<'b>(
                &'b self,
                buffer: &'b mut [u8],
            ) -> impl Future<Output = io::Result<()>> + use<'a, 'b>
            where
                'a: 'b,
            {
                self.0.read_exact(buffer)
            }

            /// Returns the stream.
            pub fn stream(&self) -> &'a $stream {
                self.0
            }
        }

        impl<'a> $write_half<'a> {
            #[doc = concat!("Writes as [`", $doc, "::write`] does.")]
            ///
            /// # Cancellation
            ///
            /// Nothing has been written.
            ///
            /// # Errors
            ///
            /// Same as the method of the stream.
            #[track_caller]
            pub fn write<'b>(&'b self, bytes: &'b [u8]) -> Write<'b>
            where
                'a: 'b,
            {
                self.0.write(bytes)
            }

            #[doc = concat!("Writes as [`", $doc, "::write_all`] does.")]
            ///
            /// # Cancellation
            ///
            /// Same as the method of the stream.
            ///
            /// # Errors
            ///
            /// Same as the method of the stream.
            #[track_caller]
            pub fn write_all<'b>(
                &'b self,
                bytes: &'b [u8],
            ) -> impl Future<Output = io::Result<()>> + use<'a, 'b>
            where
                'a: 'b,
            {
                self.0.write_all(bytes)
            }

            /// Returns the stream.
            pub fn stream(&self) -> &'a $stream {
                self.0
            }
        }

        $crate::net::traits::futures_io!(read: $stream, this => this);
        $crate::net::traits::futures_io!(read: &$stream, this => **this);
        $crate::net::traits::futures_io!(read: $read_half<'_>, this => this.0);
        $crate::net::traits::futures_io!(write: $stream, this => this);
        $crate::net::traits::futures_io!(write: &$stream, this => **this);
        $crate::net::traits::futures_io!(write: $write_half<'_>, this => this.0);
    };
}
#[cfg(unix)]
pub(super) use stream;

// -------------------------------------------------------------------------------------------
// TCP

/// A TCP connection. Go: `net.TCPConn`. tokio: `TcpStream`.
///
/// Clones share the socket, which is closed when the last one is dropped. All operations take
/// `&self`, so one goroutine may read while another one writes. The type implements `AsyncRead` and
/// `AsyncWrite` of `futures-io`; through these traits, only one task at a time can wait for each
/// direction of one clone.
///
/// Unlike Go's, a connection delays small writes while earlier ones are unacknowledged, and sends
/// them together: see [`set_nodelay`](Self::set_nodelay).
///
/// # Examples
///
/// ```
/// use gopark::net::{TcpListener, TcpStream};
/// use std::net::Shutdown;
///
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let stream = TcpStream::connect(listener.local_addr()?).await?;
///     let (served, _peer) = listener.accept().await?;
///
///     stream.write_all(b"the last words").await?;
///     stream.shutdown(Shutdown::Write)?;
///     let mut words = [0; 14];
///     served.read_exact(&mut words).await?;
///     assert_eq!(served.read(&mut [0]).await?, 0);
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpStream {
    socket: Arc<Registered<mio::net::TcpStream>>,
    watches: Watches,
}

impl TcpStream {
    pub(super) fn new(sources: Arc<Sources>, socket: mio::net::TcpStream) -> io::Result<Self> {
        let socket = Arc::new(Registered::new(sources, socket)?);
        Ok(Self { socket, watches: Watches::default() })
    }

    /// Connects to the address. Go: `net.Dial("tcp", address)`.
    ///
    /// If there are several addresses, it takes the first that works.
    ///
    /// # Cancellation
    ///
    /// Dropping the future aborts the connection.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection is refused or times out, if the host name has no address,
    /// or if the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(address: A) -> Connect<'static, Self> {
        let (addrs, site) = (address.addrs(), Location::caller());
        drop(address);
        Connect::new(each_addr(addrs, site, move |addr| async move {
            Self::connect_by(setup::tcp(Domain::for_address(addr))?, addr, site).await
        }))
    }

    /// Connects `socket`.
    pub(super) async fn connect_by(
        socket: Socket,
        addr: SocketAddr,
        site: &'static Location<'static>,
    ) -> io::Result<Self> {
        let stream = Self::new(super::current(site)?, setup::connect(socket, addr)?)?;
        Attempts::new(Connected { socket: &stream.socket }, site).await?;
        Ok(stream)
    }

    /// Wraps a stream of `std` and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime is shutting down.
    #[track_caller]
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::new(super::current(Location::caller())?, mio::net::TcpStream::from_std(stream))
    }

    super::into_std!(
        std::net::TcpStream,
        "    # let listener = gopark::net::TcpListener::bind(\"127.0.0.1:0\").await?;
    # let address = listener.local_addr()?;
    let socket = gopark::net::TcpStream::connect(address).await?;
    let clone = socket.clone();"
    );

    /// Reads as [`read`](Self::read) does, but leaves the bytes for the next read.
    ///
    /// # Cancellation
    ///
    /// No byte is lost.
    ///
    /// # Errors
    ///
    /// Same as [`read`](Self::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (stream, _peer) = listener.accept().await?;
    ///     client.write_all(b"x").await?;
    ///     assert_eq!(stream.peek(&mut [0; 8]).await?, 1);
    ///     assert_eq!(stream.read(&mut [0; 8]).await?, 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn peek<'a>(&'a self, buffer: &'a mut [u8]) -> Peek<'a> {
        Peek::new(PeekInto { socket: &self.socket, buffer }, Location::caller())
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the stream is no longer
    /// connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }

    /// Returns true if small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.io().nodelay()
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`). This is Go's default, but not
    /// that of Rust's crates, nor of this one.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.set_nodelay(true)?;
    ///     assert!(stream.nodelay()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.io().set_nodelay(nodelay)
    }

    /// Returns the time to live (hop limit) of the packets.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.io().ttl()
    }

    /// Sets [`ttl`](Self::ttl).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.io().set_ttl(ttl)
    }

    /// Returns the idle time after which the system asks the peer whether it is still there
    /// (`SO_KEEPALIVE`, `TCP_KEEPIDLE`); `None` if it never does.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(not(any(windows, target_os = "haiku", target_os = "openbsd", target_os = "vita")))]
    pub fn keepalive_time(&self) -> io::Result<Option<Duration>> {
        let options = setup::options(self);
        Ok(if options.keepalive()? { Some(options.tcp_keepalive_time()?) } else { None })
    }

    /// Sets the idle time after which the system asks the peer whether it is still there; `None`:
    /// never. Go: `SetKeepAliveConfig`, `SetKeepAlive(false)`.
    ///
    /// A peer that does not answer is asked again after the same time, or after 15 seconds if that
    /// is less. If it has not answered several times, on Linux 9, reads and writes fail with
    /// [`TimedOut`](io::ErrorKind::TimedOut). So with 15 seconds a peer that has vanished is found
    /// after two and a half minutes. While written data is not acknowledged, the system does not
    /// ask, but sends the data again, on Linux for a quarter of an hour.
    ///
    /// Without it, a read from a peer that has vanished waits forever. Go's default is 15 seconds,
    /// with the same behaviour; this crate, like the other Rust crates, sets none. The time is
    /// rounded up to whole seconds. OpenBSD and Haiku have fixed times.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the time is too long. Then
    /// keepalive may be on, with the system's time.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.set_keepalive_time(Some(Duration::from_secs(15)))?;
    ///     # #[cfg(not(any(windows, target_os = "openbsd")))]
    ///     assert_eq!(stream.keepalive_time()?, Some(Duration::from_secs(15)));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_keepalive_time(&self, idle: Option<Duration>) -> io::Result<()> {
        let options = setup::options(self);
        let Some(idle) = idle else { return options.set_keepalive(false) };
        let idle = Duration::from_secs(setup::whole_seconds(idle).max(1));
        let keepalive = TcpKeepalive::new().with_time(idle);
        #[cfg(any(
            windows,
            target_os = "linux",
            target_os = "android",
            target_os = "illumos",
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "dragonfly",
        ))]
        let keepalive = keepalive.with_interval(idle.min(Duration::from_secs(15)));
        options.set_tcp_keepalive(&keepalive)
    }

    /// Returns how long a close waits for unsent data: `SO_LINGER`.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        setup::options(self).linger()
    }

    /// Sets [`linger`](Self::linger). With `Some(Duration::ZERO)` a close resets the connection and
    /// discards unsent data.
    ///
    /// The time is rounded up to whole seconds, and limited to 32 767 of them. A drop of the last
    /// clone with unsent data then blocks its *thread* until the data is acknowledged or the time
    /// is over, although the socket is non-blocking: drop it in [`unblock`](crate::unblock()).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        setup::set_linger(&setup::options(self), linger)
    }
}

stream!(
    TcpStream,
    ReadHalf,
    WriteHalf,
    "TcpStream",
    "    // `a` and `b` are the two ends of a connection.
    # let listener = gopark::net::TcpListener::bind(\"127.0.0.1:0\").await?;
    # let a = gopark::net::TcpStream::connect(listener.local_addr()?).await?;
    # let (b, _) = listener.accept().await?;"
);
super::descriptor!(TcpStream, socket);

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, peer) = (self.local_addr().ok(), self.peer_addr().ok());
        f.debug_struct("TcpStream")
            .field("local_addr", &local)
            .field("peer_addr", &peer)
            .finish_non_exhaustive()
    }
}
