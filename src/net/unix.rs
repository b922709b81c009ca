//! Unix domain sockets: streams and listeners.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::panic::Location;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::bytes::{
    Read, ReadExact, ReadInto, ReadIntoAll, Write, WriteAll, WriteFrom, WriteFromAll,
};
use super::connect::Connect;
use super::listener::{accept_again, accepted, close};
use super::retry::Retrying;
use super::stream::{Handle, connected, stream};
use crate::io::attempt::{Attempts, Called, Operation, attempt_now, future, poll_attempt};
use crate::readiness::Direction;
use crate::sources::{Registered, Sources};

/// A Unix domain socket connection. Go: `net.UnixConn`. tokio: `UnixStream`.
///
/// Clones share the socket, which is closed when the last one is dropped.
///
/// # Examples
///
/// ```
/// use gopark::net::UnixStream;
///
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let (a, b) = UnixStream::pair()?;
///     a.write_all(b"hello").await?;
///     let mut hello = [0; 5];
///     b.read_exact(&mut hello).await?;
///     assert_eq!(&hello, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct UnixStream {
    socket: Handle<mio::net::UnixStream>,
}

impl UnixStream {
    fn new(sources: &Arc<Sources>, socket: mio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { socket: Handle::new(sources, socket)? })
    }

    /// Connects to the socket at `path`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future aborts the connection.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because there is no such socket,
    /// nothing listens at it, or its queue is full. Also if the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UnixListener, UnixStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-connect-{}", std::process::id()));
    /// gopark::block_on(async {
    ///     let _listener = UnixListener::bind(&path)?;
    ///     let stream = UnixStream::connect(&path).await?;
    ///     assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path));
    ///     std::fs::remove_file(&path)
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect(path: impl AsRef<Path>) -> Connect<'static, Self> {
        let (path, site) = (path.as_ref().to_owned(), Location::caller());
        Self::connect_by(move || mio::net::UnixStream::connect(path), site)
    }

    /// Connects to the socket at this address, for example an abstract one of Linux.
    ///
    /// # Cancellation
    ///
    /// Dropping the future aborts the connection.
    ///
    /// # Errors
    ///
    /// Same as [`connect`](Self::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # fn main() -> std::io::Result<()> {
    /// use gopark::net::{UnixListener, UnixStream};
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// gopark::block_on(async {
    ///     // A name without a file.
    ///     let name = format!("gopark-connect-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let listener = UnixListener::bind_addr(&address)?;
    ///     let client = UnixStream::connect_addr(&address).await?;
    ///     let (served, _) = listener.accept().await?;
    ///     client.write_all(b"hello").await?;
    ///     served.read_exact(&mut [0; 5]).await
    /// })
    /// # }
    /// # #[cfg(not(target_os = "linux"))]
    /// # fn main() {}
    /// ```
    #[track_caller]
    pub fn connect_addr(address: &SocketAddr) -> Connect<'static, Self> {
        let (address, site) = (address.clone(), Location::caller());
        Self::connect_by(move || mio::net::UnixStream::connect_addr(&address), site)
    }

    /// Connects; `begin` makes the system call.
    fn connect_by(
        begin: impl FnOnce() -> io::Result<mio::net::UnixStream> + Send + 'static,
        site: &'static Location<'static>,
    ) -> Connect<'static, Self> {
        Connect::new(async move {
            let stream = Self::new(&super::current(site)?, begin()?)?;
            Attempts::new(Connected { socket: &stream.socket }, site).await?;
            Ok(stream)
        })
    }

    /// Creates a pair of connected streams.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (a, b) = UnixStream::pair()?;
    ///     a.write_all(b"hello").await?;
    ///     b.read_exact(&mut [0; 5]).await
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = mio::net::UnixStream::pair()?;
        let sources = super::current(Location::caller())?;
        Ok((Self::new(&sources, a)?, Self::new(&sources, b)?))
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
    /// use gopark::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, b) = std::os::unix::net::UnixStream::pair()?;
    /// let (a, b) = (UnixStream::from_std(a)?, UnixStream::from_std(b)?);
    /// assert_eq!(a.try_write(b"hello")?, 5);
    /// assert_eq!(b.try_read(&mut [0; 16])?, 5);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(stream: std_net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::new(&super::current(Location::caller())?, mio::net::UnixStream::from_std(stream))
    }

    super::into_std!(
        std_net::UnixStream,
        Handle::into_io,
        "    let (socket, peer) = gopark::net::UnixStream::pair()?;
    let clone = socket.clone();
    # drop(peer);"
    );

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, _b) = UnixStream::pair()?;
    /// assert!(a.local_addr()?.is_unnamed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UnixListener, UnixStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-peer-{}", std::process::id()));
    /// gopark::block_on(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     let stream = UnixStream::connect(&path).await?;
    ///     let (served, _) = listener.accept().await?;
    ///     assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path));
    ///     assert!(served.peer_addr()?.is_unnamed());
    ///     std::fs::remove_file(&path)
    /// })
    /// # }
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }
}

stream!(
    UnixStream,
    UnixReadHalf,
    UnixWriteHalf,
    "UnixStream",
    "    // `a` and `b` are the two ends of a connection.
    # let (a, b) = gopark::net::UnixStream::pair()?;"
);
super::descriptor!(UnixStream, socket);

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixStream").finish_non_exhaustive()
    }
}

struct Connected<'a> {
    socket: &'a Handle<mio::net::UnixStream>,
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

/// A Unix domain socket that accepts connections. Go: `net.UnixListener`. tokio: `UnixListener`.
///
/// Clones share the socket, which is closed when the last one is dropped. Its file is not removed.
///
/// # Examples
///
/// ```
/// use gopark::net::{UnixListener, UnixStream};
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("gopark-doc-{}", std::process::id()));
/// gopark::block_on(async {
///     let listener = UnixListener::bind(&path)?;
///     let client = UnixStream::connect(&path).await?;
///     let (served, _) = listener.accept().await?;
///     client.write_all(b"hello").await?;
///     served.read_exact(&mut [0; 5]).await?;
///     std::fs::remove_file(&path)
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct UnixListener {
    socket: Arc<Registered<mio::net::UnixListener>>,
}

impl UnixListener {
    /// Binds a socket to a new file at `path` and listens.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the file exists, or if the
    /// runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-bind-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(mio::net::UnixListener::bind(path)?, Location::caller())
    }

    /// Binds a socket to this address, for example an abstract one of Linux, and listens.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the address is in use, or if
    /// the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # fn main() -> std::io::Result<()> {
    /// use gopark::net::UnixListener;
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// // A name without a file.
    /// let name = format!("gopark-bind-{}", std::process::id());
    /// let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    /// assert_eq!(listener.local_addr()?.as_abstract_name(), Some(name.as_bytes()));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(target_os = "linux"))]
    /// # fn main() {}
    /// ```
    #[track_caller]
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::new(mio::net::UnixListener::bind_addr(address)?, Location::caller())
    }

    fn new(socket: mio::net::UnixListener, site: &'static Location<'static>) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(Registered::new(&super::current(site)?, socket)?) })
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
    /// use gopark::net::UnixListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-from-std-{}", std::process::id()));
    /// let listener = std::os::unix::net::UnixListener::bind(&path)?;
    /// let listener = UnixListener::from_std(listener)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(listener: std_net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Self::new(mio::net::UnixListener::from_std(listener), Location::caller())
    }

    super::into_std!(
        std_net::UnixListener,
        super::into_io,
        "    # let name = format!(\"gopark-std-{}\", std::process::id());
    # let path = std::env::temp_dir().join(name);
    let socket = gopark::net::UnixListener::bind(&path)?;
    let clone = socket.clone();
    # std::fs::remove_file(&path)?;"
    );

    /// Waits for a connection, as [`TcpListener::accept`](super::TcpListener::accept) does.
    ///
    /// # Cancellation
    ///
    /// No connection is lost.
    ///
    /// # Errors
    ///
    /// Same as [`TcpListener::accept`](super::TcpListener::accept).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UnixListener, UnixStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-accept-{}", std::process::id()));
    /// gopark::block_on(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     let client = UnixStream::connect(&path).await?;
    ///     let (served, peer) = listener.accept().await?;
    ///     assert!(peer.is_unnamed());
    ///     served.write_all(b"hello").await?;
    ///     client.read_exact(&mut [0; 5]).await?;
    ///     std::fs::remove_file(&path)
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn accept(&self) -> UnixAccept<'_> {
        UnixAccept { future: Retrying::new(AcceptOne { socket: &self.socket }, Location::caller()) }
    }

    /// Accepts a connection without waiting, as
    /// [`TcpListener::try_accept`](super::TcpListener::try_accept) does.
    ///
    /// # Errors
    ///
    /// Same as [`TcpListener::try_accept`](super::TcpListener::try_accept).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixListener;
    /// use std::io::ErrorKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-try-accept-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn try_accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        attempt_now(&mut AcceptOne { socket: &self.socket })
    }

    /// Closes the socket, even if it has clones, as
    /// [`TcpListener::close`](super::TcpListener::close) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixListener;
    /// use std::io::ErrorKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-close-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// listener.close();
    /// assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::NotConnected);
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn close(&self) {
        close(&self.socket);
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
    /// use gopark::net::UnixListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-local-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }
}

super::descriptor!(UnixListener, socket);

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixListener").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct AcceptOne<'a> {
    socket: &'a Registered<mio::net::UnixListener>,
}

impl<'a> Operation<'a> for AcceptOne<'a> {
    type Output = (UnixStream, SocketAddr);

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<Self::Output>> {
        let (stream, peer) = accepted(self.socket, mio::net::UnixListener::accept)?;
        Ok(Called::once((UnixStream::new(self.socket.sources(), stream)?, peer)))
    }
}

accept_again!(AcceptOne<'a>);

future! {
    /// The future of [`UnixListener::accept`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UnixListener, UnixStream, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-accepts-{}", std::process::id()));
    /// gopark::block_on(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     let accept: futures::UnixAccept<'_> = listener.accept();
    ///     let client = UnixStream::connect(&path).await?;
    ///     let (served, _) = accept.await?;
    ///     client.write_all(b"hello").await?;
    ///     served.read_exact(&mut [0; 5]).await?;
    ///     std::fs::remove_file(&path)
    /// })
    /// # }
    /// ```
    UnixAccept<'a>: Retrying<'a, AcceptOne<'a>> => io::Result<(UnixStream, SocketAddr)>
}
