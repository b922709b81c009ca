//! TCP sockets that are neither connected nor listening.

use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::time::Duration;

use socket2::{Domain, Socket};

use super::connect::Connect;
use super::listener::TcpListener;
use super::setup;
use super::tcp::TcpStream;

/// A TCP socket whose options can be set before it connects or listens.
///
/// Go: `net.Dialer` and `net.ListenConfig` with `Control`. tokio: `TcpSocket`.
///
/// # Examples
///
/// ```
/// use gopark::net::{TcpSocket, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_recv_buffer_size(64 * 1024)?;
///     socket.bind(([127, 0, 0, 1], 0).into())?;
///     let listener = socket.listen(16)?;
///
///     let socket = TcpSocket::new_v4()?;
///     socket.set_nodelay(true)?;
///     let stream: TcpStream = socket.connect(listener.local_addr()?).await?;
///     assert!(stream.nodelay()?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct TcpSocket {
    socket: Socket,
}

/// Implements the options. The literals are lines of the examples, which have a `socket`.
macro_rules! options {
    ($(
        $(#[$meta:meta])*
        $get:ident, $set:ident($type:ty) = $inner_get:ident, $inner_set:ident;
        $get_example:literal, $set_example:literal;
    )*) => {
        $(
            $(#[$meta])*
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// let socket = gopark::net::TcpSocket::new_v4()?;
            #[doc = $get_example]
            /// # Ok(())
            /// # }
            /// ```
            pub fn $get(&self) -> io::Result<$type> {
                self.socket.$inner_get()
            }

            #[doc = concat!("Sets [`", stringify!($get), "`](Self::", stringify!($get), ").")]
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// let socket = gopark::net::TcpSocket::new_v4()?;
            #[doc = $set_example]
            /// # Ok(())
            /// # }
            /// ```
            pub fn $set(&self, value: $type) -> io::Result<()> {
                self.socket.$inner_set(value)
            }
        )*
    };
}

impl TcpSocket {
    fn new(domain: Domain) -> io::Result<Self> {
        Ok(Self { socket: setup::tcp(domain)? })
    }

    /// Takes a socket of `std` that neither is connected nor listens, and makes it non-blocking.
    /// tokio: the same.
    ///
    /// It is for a socket that another crate has made, with options that this type lacks. (`std`
    /// itself makes only connected streams.)
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use socket2::{Domain, Socket, Type};
    ///
    /// let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    /// let socket = gopark::net::TcpSocket::from_std_stream(socket.into())?;
    /// socket.bind(([127, 0, 0, 1], 0).into())
    /// # }
    /// ```
    pub fn from_std_stream(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { socket: stream.into() })
    }

    /// Creates a socket for IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because no descriptor is left.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gopark::net::TcpSocket::new_v4().unwrap();
    /// socket.set_keepalive(true).unwrap();
    /// assert!(socket.keepalive().unwrap());
    /// ```
    pub fn new_v4() -> io::Result<Self> {
        Self::new(Domain::IPV4)
    }

    /// Creates a socket for IPv6.
    ///
    /// # Errors
    ///
    /// Same as [`new_v4`](Self::new_v4).
    ///
    /// # Examples
    ///
    /// ```
    /// // A host may have no IPv6.
    /// if let Ok(socket) = gopark::net::TcpSocket::new_v6() {
    ///     socket.set_nodelay(true).unwrap();
    ///     # #[cfg(unix)]
    ///     assert!(socket.local_addr().unwrap().is_ipv6());
    /// }
    /// ```
    pub fn new_v6() -> io::Result<Self> {
        Self::new(Domain::IPV6)
    }

    options! {
        /// Returns `SO_REUSEADDR`: an address can be bound again while connections of it are
        /// closing.
        reuseaddr, set_reuseaddr(bool) = reuse_address, set_reuse_address;
        "assert!(!socket.reuseaddr()?);",
        "socket.set_reuseaddr(true)?;\nassert!(socket.reuseaddr()?);";
        /// Returns `SO_KEEPALIVE`.
        keepalive, set_keepalive(bool) = keepalive, set_keepalive;
        "assert!(!socket.keepalive()?);",
        "socket.set_keepalive(true)?;\nassert!(socket.keepalive()?);";
        /// Returns `TCP_NODELAY`: small writes are sent at once.
        nodelay, set_nodelay(bool) = tcp_nodelay, set_tcp_nodelay;
        "assert!(!socket.nodelay()?);",
        "socket.set_nodelay(true)?;\nassert!(socket.nodelay()?);";
        /// Returns `SO_SNDBUF`, in bytes. Linux doubles the value that is set.
        send_buffer_size, set_send_buffer_size(usize) = send_buffer_size, set_send_buffer_size;
        "assert_ne!(socket.send_buffer_size()?, 0);",
        "socket.set_send_buffer_size(4096)?;\nassert!(socket.send_buffer_size()? >= 4096);";
        /// Returns `SO_RCVBUF`, in bytes. Linux doubles the value that is set.
        recv_buffer_size, set_recv_buffer_size(usize) = recv_buffer_size, set_recv_buffer_size;
        "assert_ne!(socket.recv_buffer_size()?, 0);",
        "socket.set_recv_buffer_size(4096)?;\nassert!(socket.recv_buffer_size()? >= 4096);";
    }

    /// Returns `SO_LINGER`: how long a close waits for unsent data.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let socket = gopark::net::TcpSocket::new_v4()?;
    /// assert_eq!(socket.linger()?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket.linger()
    }

    /// Sets [`linger`](Self::linger) for the connection, as
    /// [`TcpStream::set_linger`] does.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let socket = gopark::net::TcpSocket::new_v4()?;
    /// socket.set_linger(Some(std::time::Duration::from_millis(1500)))?;
    /// assert_eq!(socket.linger()?, Some(std::time::Duration::from_secs(2)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        setup::set_linger(&self.socket, linger)
    }

    /// Sets `SO_REUSEPORT`: several sockets can listen at one address.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::TcpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (first, second) = (TcpSocket::new_v4()?, TcpSocket::new_v4()?);
    /// first.set_reuseport(true)?;
    /// second.set_reuseport(true)?;
    /// first.bind(([127, 0, 0, 1], 0).into())?;
    /// second.bind(first.local_addr()?)?;
    /// assert_eq!(second.local_addr()?, first.local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    pub fn set_reuseport(&self, reuse: bool) -> io::Result<()> {
        self.socket.set_reuse_port(reuse)
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
    /// use gopark::net::TcpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let socket = TcpSocket::new_v4()?;
    /// socket.bind(([127, 0, 0, 1], 0).into())?;
    /// assert!(socket.local_addr()?.ip().is_loopback());
    /// # Ok(())
    /// # }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("gopark: not an internet address"))
    }

    /// Binds the socket to an address.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the address is in use, not of
    /// this host, or reserved.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gopark::net::TcpSocket::new_v4().unwrap();
    /// socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    /// assert_ne!(socket.local_addr().unwrap().port(), 0);
    /// ```
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.socket.bind(&addr.into())
    }

    /// Makes the socket listen, with at most `backlog` connections that wait to be accepted.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails or the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gopark::net::TcpSocket::new_v4().unwrap();
    /// socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    /// let listener = socket.listen(16).unwrap();
    /// assert!(listener.local_addr().unwrap().ip().is_loopback());
    /// ```
    #[track_caller]
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        TcpListener::new(super::current(Location::caller())?, setup::listen(self.socket, backlog)?)
    }

    /// Connects the socket. Go: `net.Dial`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future closes the socket.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection is refused or times out, if another system call fails, or
    /// if the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpSocket};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpSocket::new_v4()?.connect(listener.local_addr()?).await?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect(self, addr: SocketAddr) -> Connect<'static, TcpStream> {
        Connect::new(TcpStream::connect_by(self.socket, addr, Location::caller()))
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for TcpSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for TcpSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for TcpSocket {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsRawSocket for TcpSocket {
    fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
        self.socket.as_raw_socket()
    }
}
