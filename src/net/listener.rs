//! TCP sockets that listen.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::panic::Location;
use std::sync::Arc;

use socket2::Domain;

use super::addr::{ToSocketAddrs, each_addr};
use super::retry::Retrying;
use super::setup::{self, AsSocket};
use super::tcp::TcpStream;
use crate::io::attempt::{Called, Operation, attempt_now, future};
use crate::readiness::Direction;
use crate::sources::{Registered, Registrable, Sources};

/// The backlog of [`TcpListener::bind`]: the most connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A TCP socket that accepts connections. Go: `net.TCPListener`. tokio: `TcpListener`.
///
/// Clones share the socket, which is closed when the last one is dropped. If several goroutines
/// accept, each connection goes to one of them.
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
///     let (_stream, peer) = listener.accept().await?;
///     assert_eq!(peer, client.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct TcpListener {
    socket: Arc<Registered<mio::net::TcpListener>>,
}

impl TcpListener {
    pub(super) fn new(sources: Arc<Sources>, socket: mio::net::TcpListener) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(Registered::new(&sources, socket)?) })
    }

    /// Binds a socket to the address and listens. Go: `net.Listen("tcp", address)`.
    ///
    /// If there are several addresses, it takes the first that works. Port 0 requests any free
    /// port.
    ///
    /// On Unix `SO_REUSEADDR` is set, so that a server can be restarted at once.
    /// [`TcpSocket`](super::TcpSocket) has more options.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, no socket is bound.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the address is in use, not of
    /// this host, or reserved. Also if the system refuses a poller, or the runtime is shutting
    /// down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     assert_ne!(listener.local_addr()?.port(), 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(address: A) -> impl Future<Output = io::Result<Self>> + use<A> {
        let (addrs, site) = (address.addrs(), Location::caller());
        drop(address);
        each_addr(addrs, site, move |addr| async move {
            let socket = setup::tcp(Domain::for_address(addr))?;
            #[cfg(unix)]
            socket.set_reuse_address(true)?;
            socket.bind(&addr.into())?;
            Self::new(super::current(site)?, setup::listen(socket, BACKLOG)?)
        })
    }

    /// Wraps a listener of `std` and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// assert_eq!(TcpListener::from_std(listener)?.local_addr()?, address);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Self::new(super::current(Location::caller())?, mio::net::TcpListener::from_std(listener))
    }

    /// Waits for a connection. Go: `l.Accept()`.
    ///
    /// A connection that its peer has aborted is skipped. If the process or the system is out of
    /// descriptors or memory, this waits, up to a second, and tries again, so a server continues
    /// after other connections have been closed. (A connection that the poller has no room for is
    /// closed.) The new stream belongs to the listener's runtime.
    ///
    /// # Cancellation
    ///
    /// No connection is lost.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails for another reason, which is rare, or if the
    /// runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     gopark::go(async move {
    ///         let client = TcpStream::connect(address).await?;
    ///         client.write_all(b"hello").await
    ///     });
    ///     let (stream, _peer) = listener.accept().await?;
    ///     stream.read_exact(&mut [0; 5]).await
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn accept(&self) -> Accept<'_> {
        Accept { future: Retrying::new(AcceptOne { socket: &self.socket }, Location::caller()) }
    }

    /// Accepts a connection without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if no connection waits. Otherwise same as
    /// [`accept`](Self::accept); but if no descriptor is free, it returns that error at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::TcpListener;
    /// use std::io::ErrorKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        attempt_now(&mut AcceptOne { socket: &self.socket })
    }

    /// Closes the socket, even if it has clones. Go: `l.Close()`.
    ///
    /// A pending [`accept`](Self::accept) and every later one fail with an error of kind
    /// [`NotConnected`](io::ErrorKind::NotConnected), and clients are refused. The port becomes
    /// free when the last clone is dropped.
    ///
    /// The socket itself is shut down, not only this handle. So its duplicates stop listening too,
    /// including those of other processes, as with socket activation. (Go closes its own descriptor
    /// only.) If others must go on listening, drop the clones instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     listener.close();
    ///     let error = listener.accept().await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn close(&self) {
        close(&self.socket);
    }

    super::into_std!(
        std::net::TcpListener,
        super::into_io,
        "    let socket = gopark::net::TcpListener::bind(\"127.0.0.1:0\").await?;
    let clone = socket.clone();"
    );

    /// Returns the local address. Use it to get the port after binding to port 0.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     assert!(address.ip().is_loopback());
    ///     assert_ne!(address.port(), 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// Returns and clears the pending error of the socket.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     assert!(listener.take_error()?.is_none());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.io().take_error()
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
    /// use gopark::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     assert_ne!(listener.ttl()?, 0);
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
    /// use gopark::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     listener.set_ttl(1)?;
    ///     assert_eq!(listener.ttl()?, 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.io().set_ttl(ttl)
    }
}

super::descriptor!(TcpListener, socket);

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("local_addr", &self.local_addr().ok())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct AcceptOne<'a> {
    socket: &'a Registered<mio::net::TcpListener>,
}

impl<'a> Operation<'a> for AcceptOne<'a> {
    type Output = (TcpStream, SocketAddr);

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<Self::Output>> {
        let (stream, peer) = accepted(self.socket, mio::net::TcpListener::accept)?;
        Ok(Called::once((TcpStream::new(self.socket.sources(), stream)?, peer)))
    }
}

/// Ends the pending and later accepts, and the listening of the socket.
pub(super) fn close<S: Registrable + AsSocket>(socket: &Registered<S>) {
    socket.readiness().read.close();
    // Not every system can shut a listening socket down: there the drop ends the listening.
    let _ = setup::options(socket.io()).shutdown(Shutdown::Both);
}

/// Accepts a connection, and skips connections that their peers have aborted.
pub(super) fn accepted<S: Registrable, T>(
    socket: &Registered<S>,
    accept: impl Fn(&S) -> io::Result<T>,
) -> io::Result<T> {
    // Before the system call, because a connection that cannot be registered is lost.
    socket.sources().check()?;
    loop {
        match accept(socket.io()) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            accepted => return accepted,
        }
    }
}

/// Returns true if the error means that there is no descriptor, or no memory, for a connection.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_known = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ENOSPC]
        .map(Some)
        .contains(&error.raw_os_error());
    // WSAEMFILE, WSAENOBUFS.
    #[cfg(windows)]
    let is_known = [10024, 10055].map(Some).contains(&error.raw_os_error());
    #[cfg(not(any(unix, windows)))]
    let is_known = error.kind() == io::ErrorKind::OutOfMemory;
    is_known
}

/// Out of descriptors or memory, an accept is tried again after the delays of Go's `http.Server`.
macro_rules! accept_again {
    ($operation:ty) => {
        impl<'a> $crate::net::retry::Retry<'a> for $operation {
            const FIRST_DELAY: ::std::time::Duration = ::std::time::Duration::from_millis(5);
            const LONGEST_DELAY: ::std::time::Duration = ::std::time::Duration::from_secs(1);
            const SEES_END: bool = true;

            fn may_pass(error: &::std::io::Error) -> bool {
                $crate::net::listener::is_exhausted(error)
            }
        }
    };
}
#[cfg(unix)]
pub(super) use accept_again;

accept_again!(AcceptOne<'a>);

future! {
    /// The future of [`TcpListener::accept`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let accept: futures::Accept<'_> = listener.accept();
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (_stream, peer) = accept.await?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    Accept<'a>: Retrying<'a, AcceptOne<'a>> => io::Result<(TcpStream, SocketAddr)>
}
