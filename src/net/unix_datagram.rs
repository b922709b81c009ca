//! Unix domain datagram sockets.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::ffi::OsStr;
use std::fmt;
use std::io;
#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt as _;
use std::os::fd::AsFd as _;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockAddr;

use super::datagram::{Receive, ReceiveFrom, Transmit, datagrams};
use super::retry::{Retry, Retrying};
use super::setup;
use crate::io::attempt::{attempt_now, future, operation};
use crate::sources::{Registered, Sources};

type Datagrams = Registered<mio::net::UnixDatagram>;

/// A Unix domain datagram socket. Go: `net.UnixConn` of `"unixgram"`. tokio: `UnixDatagram`.
///
/// Clones share the socket, which is closed when the last one is dropped. Its file is not removed.
///
/// # Examples
///
/// ```
/// use gopark::net::UnixDatagram;
///
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let (a, b) = UnixDatagram::pair()?;
///     a.send(b"ping").await?;
///     let mut buffer = [0; 16];
///     let n = b.recv(&mut buffer).await?;
///     assert_eq!(&buffer[..n], b"ping");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct UnixDatagram {
    socket: Arc<Datagrams>,
}

impl UnixDatagram {
    fn new(sources: Arc<Sources>, socket: mio::net::UnixDatagram) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(Registered::new(&sources, socket)?) })
    }

    /// Binds a socket to a new file at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the file exists, or if the
    /// runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-datagrams-{}", std::process::id()));
    /// let socket = UnixDatagram::bind(&path)?;
    /// assert_eq!(socket.local_addr()?.as_pathname(), Some(&*path));
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(super::current(Location::caller())?, mio::net::UnixDatagram::bind(path)?)
    }

    /// Binds a socket to this address, for example an abstract one of Linux.
    ///
    /// # Errors
    ///
    /// Same as [`bind`](Self::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # fn main() -> std::io::Result<()> {
    /// use gopark::net::UnixDatagram;
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// gopark::block_on(async {
    ///     // A name without a file.
    ///     let name = format!("gopark-datagram-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let server = UnixDatagram::bind_addr(&address)?;
    ///     let client = UnixDatagram::unbound()?;
    ///     client.connect_addr(&address)?;
    ///     client.send(b"ping").await?;
    ///     assert_eq!(server.recv(&mut [0; 16]).await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// # #[cfg(not(target_os = "linux"))]
    /// # fn main() {}
    /// ```
    #[track_caller]
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::new(super::current(Location::caller())?, mio::net::UnixDatagram::bind_addr(address)?)
    }

    /// Creates a socket without an address.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let socket = UnixDatagram::unbound()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn unbound() -> io::Result<Self> {
        Self::new(super::current(Location::caller())?, mio::net::UnixDatagram::unbound()?)
    }

    /// Creates a pair of connected sockets.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     a.send(b"ping").await?;
    ///     assert_eq!(b.recv(&mut [0; 16]).await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = mio::net::UnixDatagram::pair()?;
        let sources = super::current(Location::caller())?;
        Ok((Self::new(sources.clone(), a)?, Self::new(sources, b)?))
    }

    /// Wraps a socket of `std` and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, b) = std::os::unix::net::UnixDatagram::pair()?;
    /// a.send(b"ping")?;
    /// assert_eq!(UnixDatagram::from_std(b)?.try_recv(&mut [0; 16])?, 4);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(socket: std_net::UnixDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::new(super::current(Location::caller())?, mio::net::UnixDatagram::from_std(socket))
    }

    /// Connects the socket to the one at `path`: [`send`](Self::send) sends to it, and the socket
    /// receives only from it.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because there is no such socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-to-{}", std::process::id()));
    /// let server = UnixDatagram::bind(&path)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.connect(&path)?;
    /// assert_eq!(client.try_send(b"ping")?, 4);
    /// assert_eq!(server.try_recv(&mut [0; 16])?, 4);
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.socket.io().connect(path)
    }

    /// Connects the socket to the one at this address, as [`connect`](Self::connect) does.
    ///
    /// # Errors
    ///
    /// Same as [`connect`](Self::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-to-addr-{}", std::process::id()));
    /// let server = UnixDatagram::bind(&path)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.connect_addr(&SocketAddr::from_pathname(&path)?)?;
    /// assert_eq!(client.try_send(b"ping")?, 4);
    /// assert_eq!(server.try_recv(&mut [0; 16])?, 4);
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        // mio's socket has no such function; the duplicate is a handle of the same socket.
        std_net::UnixDatagram::from(self.as_fd().try_clone_to_owned()?).connect_addr(address)
    }

    /// Waits for a datagram and returns its length and its sender.
    ///
    /// Bytes that do not fit into the buffer are lost.
    ///
    /// # Cancellation
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     a.send(b"ping").await?;
    ///     let (n, sender) = b.recv_from(&mut [0; 16]).await?;
    ///     assert!(n == 4 && sender.is_unnamed());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> UnixRecvFrom<'a> {
        UnixRecvFrom::new(ReceiveFrom { socket: &self.socket, buffer }, Location::caller())
    }

    /// Waits for a datagram and returns its length.
    ///
    /// # Cancellation
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](Self::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     a.send(b"ping").await?;
    ///     let mut buffer = [0; 16];
    ///     let n = b.recv(&mut buffer).await?;
    ///     assert_eq!(&buffer[..n], b"ping");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn recv<'a>(&'a self, buffer: &'a mut [u8]) -> UnixRecv<'a> {
        UnixRecv::new(Receive { socket: &self.socket, buffer }, Location::caller())
    }

    /// Sends a datagram to the socket at `path` and returns its length.
    ///
    /// If that socket has no room, this tries again after a delay, of 50 milliseconds at most,
    /// because the system does not tell when there is room. It does for [`send`](Self::send).
    ///
    /// # Cancellation
    ///
    /// The datagram has not been sent.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because there is no such socket or
    /// the datagram is too long. Also if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-send-to-{}", std::process::id()));
    /// gopark::block_on(async {
    ///     let server = UnixDatagram::bind(&path)?;
    ///     UnixDatagram::unbound()?.send_to(b"ping", &path).await?;
    ///     assert_eq!(server.recv(&mut [0; 16]).await?, 4);
    ///     std::fs::remove_file(&path)
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn send_to<'a>(&'a self, bytes: &'a [u8], path: &'a Path) -> UnixSend<'a> {
        self.transmit(bytes, Some(Target::Path(path)), Location::caller())
    }

    /// Sends a datagram to the socket at this address, as [`send_to`](Self::send_to) does: for
    /// example to the sender of a received one.
    ///
    /// # Cancellation
    ///
    /// The datagram has not been sent.
    ///
    /// # Errors
    ///
    /// Same as [`send_to`](Self::send_to), and if the address is that of a socket without a name.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-reply-{}", std::process::id()));
    /// gopark::block_on(async {
    ///     let (server, client) = (UnixDatagram::unbound()?, UnixDatagram::bind(&path)?);
    ///     let address = client.local_addr()?;
    ///     server.send_to_addr(b"pong", &address).await?;
    ///     assert_eq!(client.recv(&mut [0; 16]).await?, 4);
    ///     std::fs::remove_file(&path)
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn send_to_addr<'a>(&'a self, bytes: &'a [u8], address: &'a SocketAddr) -> UnixSend<'a> {
        self.transmit(bytes, Some(Target::Address(address)), Location::caller())
    }

    /// Sends a datagram to the [connected](Self::connect) socket and returns its length.
    ///
    /// # Cancellation
    ///
    /// The datagram has not been sent.
    ///
    /// # Errors
    ///
    /// Same as [`send_to`](Self::send_to), and if the socket is not connected.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     assert_eq!(a.send(b"ping").await?, 4);
    ///     assert_eq!(b.recv(&mut [0; 16]).await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn send<'a>(&'a self, bytes: &'a [u8]) -> UnixSend<'a> {
        self.transmit(bytes, None, Location::caller())
    }

    fn transmit<'a>(
        &'a self,
        bytes: &'a [u8],
        target: Option<Target<'a>>,
        site: &'static Location<'static>,
    ) -> UnixSend<'a> {
        let operation = Transmit { socket: &self.socket, bytes, target };
        UnixSend { future: Retrying::new(operation, site) }
    }

    /// Receives a datagram and its sender without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no datagram; otherwise same as
    /// [`recv_from`](Self::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, b) = UnixDatagram::pair()?;
    /// a.try_send(b"ping")?;
    /// let (n, sender) = b.try_recv_from(&mut [0; 16])?;
    /// assert!(n == 4 && sender.is_unnamed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        attempt_now(&mut ReceiveFrom { socket: &self.socket, buffer })
    }

    /// Receives a datagram without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv_from`](Self::try_recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    /// use std::io::ErrorKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, b) = UnixDatagram::pair()?;
    /// a.try_send(b"ping")?;
    /// let mut buffer = [0; 16];
    /// assert_eq!(b.try_recv(&mut buffer)?, 4);
    /// assert_eq!(b.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        attempt_now(&mut Receive { socket: &self.socket, buffer })
    }

    /// Sends a datagram to the socket at `path` without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; otherwise same as
    /// [`send_to`](Self::send_to).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-try-send-{}", std::process::id()));
    /// let server = UnixDatagram::bind(&path)?;
    /// UnixDatagram::unbound()?.try_send_to(b"ping", &path)?;
    /// assert_eq!(server.try_recv(&mut [0; 16])?, 4);
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn try_send_to(&self, bytes: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let target = Some(Target::Path(path.as_ref()));
        attempt_now(&mut Transmit { socket: &self.socket, bytes, target })
    }

    /// Sends a datagram to the socket at this address without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; otherwise same as
    /// [`send_to_addr`](Self::send_to_addr).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-try-reply-{}", std::process::id()));
    /// let (server, client) = (UnixDatagram::unbound()?, UnixDatagram::bind(&path)?);
    /// server.try_send_to_addr(b"pong", &client.local_addr()?)?;
    /// assert_eq!(client.try_recv(&mut [0; 16])?, 4);
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn try_send_to_addr(&self, bytes: &[u8], address: &SocketAddr) -> io::Result<usize> {
        let target = Some(Target::Address(address));
        attempt_now(&mut Transmit { socket: &self.socket, bytes, target })
    }

    /// Sends a datagram to the [connected](Self::connect) socket without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; otherwise same as
    /// [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    /// use std::io::ErrorKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, b) = UnixDatagram::pair()?;
    /// assert_eq!(a.try_send(b"ping")?, 4);
    /// let mut buffer = [0; 16];
    /// assert_eq!(b.try_recv(&mut buffer)?, 4);
    /// assert_eq!(b.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        attempt_now(&mut Transmit { socket: &self.socket, bytes, target: None })
    }

    super::waits!(
        "a datagram may be received",
        "a datagram may be sent",
        "    let (a, b) = gopark::net::UnixDatagram::pair()?;",
        try_recv,
        try_send
    );
    super::into_std!(
        std_net::UnixDatagram,
        super::into_io,
        "    let socket = gopark::net::UnixDatagram::unbound()?;
    let clone = socket.clone();"
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
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-address-{}", std::process::id()));
    /// let socket = UnixDatagram::bind(&path)?;
    /// assert_eq!(socket.local_addr()?.as_pathname(), Some(&*path));
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// Returns the address of the connected socket.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket is not connected.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gopark-connected-{}", std::process::id()));
    /// let _server = UnixDatagram::bind(&path)?;
    /// let client = UnixDatagram::unbound()?;
    /// assert!(client.peer_addr().is_err());
    /// client.connect(&path)?;
    /// assert_eq!(client.peer_addr()?.as_pathname(), Some(&*path));
    /// std::fs::remove_file(&path)
    /// # }
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
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
    /// use gopark::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let socket = UnixDatagram::unbound()?;
    /// assert!(socket.take_error()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.io().take_error()
    }
}

super::descriptor!(UnixDatagram, socket);

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixDatagram").finish_non_exhaustive()
    }
}

/// Where a datagram is sent.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    Path(&'a Path),
    Address(&'a SocketAddr),
}

datagrams!(mio::net::UnixDatagram, SocketAddr, Target<'a>, send_to, false);

fn send_to(socket: &mio::net::UnixDatagram, bytes: &[u8], target: Target<'_>) -> io::Result<usize> {
    match target {
        Target::Path(path) => socket.send_to(bytes, path),
        Target::Address(address) => setup::options(socket).send_to(bytes, &raw_addr(address)?),
    }
}

/// Converts an address to the form of the system call.
fn raw_addr(address: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = address.as_pathname() {
        return SockAddr::unix(path);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = address.as_abstract_name() {
        // The zero byte marks it as abstract.
        let name = [&[0], name].concat();
        return SockAddr::unix(OsStr::from_bytes(&name));
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "gopark: the address has no name"))
}

operation! {
    /// The future of [`UnixDatagram::recv_from`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UnixDatagram, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     let mut buffer = [0; 16];
    ///     let recv: futures::UnixRecvFrom<'_> = b.recv_from(&mut buffer);
    ///     a.send(b"ping").await?;
    ///     let (n, sender) = recv.await?;
    ///     assert!(n == 4 && sender.is_unnamed());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    UnixRecvFrom<'a> = ReceiveFrom<'a, mio::net::UnixDatagram> => io::Result<(usize, SocketAddr)>
}
operation! {
    /// The future of [`UnixDatagram::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UnixDatagram, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     let mut buffer = [0; 16];
    ///     let recv: futures::UnixRecv<'_> = b.recv(&mut buffer);
    ///     a.send(b"ping").await?;
    ///     assert_eq!(recv.await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    UnixRecv<'a> = Receive<'a, mio::net::UnixDatagram> => io::Result<usize>
}
future! {
    /// The future of [`UnixDatagram::send`], [`UnixDatagram::send_to`] and
    /// [`UnixDatagram::send_to_addr`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UnixDatagram, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     let send: futures::UnixSend<'_> = a.send(b"ping");
    ///     assert_eq!(send.await?, 4);
    ///     assert_eq!(b.recv(&mut [0; 16]).await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    UnixSend<'a>: Retrying<'a, Transmit<'a, mio::net::UnixDatagram>> => io::Result<usize>
}

/// A target without room is tried again.
impl<'a> Retry<'a> for Transmit<'a, mio::net::UnixDatagram> {
    const FIRST_DELAY: Duration = Duration::from_millis(1);
    const LONGEST_DELAY: Duration = Duration::from_millis(50);
    // Each attempt causes an event.
    const SEES_END: bool = false;

    fn may_pass(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock
    }
}
