//! TCP connections.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Socket, TcpKeepalive};

use super::addr::{ToSocketAddrs, each_addr};
use super::bytes::{
    Read, ReadExact, ReadInto, ReadIntoAll, Write, WriteAll, WriteFrom, WriteFromAll,
};
use super::connect::Connect;
use super::setup;
use super::stream::{Handle, connected, stream};
use crate::io::attempt::{Attempts, Called, Operation, attempt_now, operation, poll_attempt};
use crate::readiness::Direction;
use crate::sources::Sources;

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
    socket: Handle<mio::net::TcpStream>,
}

impl TcpStream {
    pub(super) fn new(sources: &Arc<Sources>, socket: mio::net::TcpStream) -> io::Result<Self> {
        Ok(Self { socket: Handle::new(sources, socket)? })
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
        let stream = Self::new(&super::current(site)?, setup::connect(socket, addr)?)?;
        Attempts::new(Connected { socket: &stream.socket }, site).await?;
        Ok(stream)
    }

    /// Wraps a stream of `std` and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::TcpStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let stream = TcpStream::from_std(stream)?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::new(&super::current(Location::caller())?, mio::net::TcpStream::from_std(stream))
    }

    super::into_std!(
        std::net::TcpStream,
        Handle::into_io,
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
    ///     let (_served, peer) = listener.accept().await?;
    ///     assert_eq!(stream.local_addr()?, peer);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the stream is no longer
    /// connected.
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
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }

    /// Returns true if small writes are sent at once (`TCP_NODELAY`).
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
    ///     assert!(!stream.nodelay()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
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
    ///     assert_ne!(stream.ttl()?, 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.io().ttl()
    }

    /// Sets [`ttl`](Self::ttl).
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
    ///     stream.set_ttl(1)?;
    ///     assert_eq!(stream.ttl()?, 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.io().set_ttl(ttl)
    }

    /// Returns the idle time after which the system asks the peer whether it is still there
    /// (`SO_KEEPALIVE`, `TCP_KEEPIDLE`); `None` if it never does.
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
    ///     assert_eq!(stream.keepalive_time()?, None);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[cfg(not(any(windows, target_os = "haiku", target_os = "openbsd", target_os = "vita")))]
    pub fn keepalive_time(&self) -> io::Result<Option<Duration>> {
        let options = setup::options(self);
        Ok(if options.keepalive()? { Some(options.tcp_keepalive_time()?) } else { None })
    }

    /// Sets the idle time after which the system asks the peer whether it is still there; `None`:
    /// never. Go: `SetKeepAliveConfig`, `SetKeepAlive(false)`.
    ///
    /// A peer that does not answer is asked again after the same time, or after 15 seconds if that
    /// is less. After several such requests without an answer (9 on Linux), reads and writes fail
    /// with [`TimedOut`](io::ErrorKind::TimedOut). So with 15 seconds a peer that has vanished is
    /// found after two and a half minutes. While written data is not acknowledged, the system does
    /// not ask, but sends the data again, on Linux for a quarter of an hour.
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
    ///     assert_eq!(stream.linger()?, None);
    ///     Ok(())
    /// })
    /// # }
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream};
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (served, _peer) = listener.accept().await?;
    ///     stream.set_linger(Some(Duration::ZERO))?;
    ///     drop(stream);
    ///     let error = served.read(&mut [0; 8]).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    ///     Ok(())
    /// })
    /// # }
    /// ```
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

pub(crate) struct PeekInto<'a> {
    socket: &'a Handle<mio::net::TcpStream>,
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
    socket: &'a Handle<mio::net::TcpStream>,
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

operation! {
    /// The future of [`TcpStream::peek`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (stream, _peer) = listener.accept().await?;
    ///     let mut buffer = [0; 8];
    ///     let peek: futures::Peek<'_> = stream.peek(&mut buffer);
    ///     client.write_all(b"x").await?;
    ///     assert_eq!(peek.await?, 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    Peek<'a> = PeekInto<'a> => io::Result<usize>
}
