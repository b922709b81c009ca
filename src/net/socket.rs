//! A TCP socket that is neither connected nor listens.

use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::time::Duration;

use socket2::{Domain, Socket};

use super::connect::Connect;
use super::listener::TcpListener;
use super::setup;
use super::stream::TcpStream;

/// A TCP socket whose options are set before it is connected, or listens. Go: `net.Dialer` and
/// `net.ListenConfig` with `Control`. tokio: `TcpSocket`.
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

macro_rules! options {
    ($($(#[$meta:meta])* $get:ident, $set:ident($type:ty) = $inner_get:ident, $inner_set:ident;)*) => {
        $(
            $(#[$meta])*
            ///
            /// # Errors
            ///
            /// Those of the system.
            pub fn $get(&self) -> io::Result<$type> {
                self.socket.$inner_get()
            }

            #[doc = concat!("Sets [`", stringify!($get), "`](Self::", stringify!($get), ").")]
            ///
            /// # Errors
            ///
            /// Those of the system.
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

    /// One for IPv4.
    ///
    /// # Errors
    ///
    /// Those of the system: there is no descriptor for it, for example.
    pub fn new_v4() -> io::Result<Self> {
        Self::new(Domain::IPV4)
    }

    /// One for IPv6.
    ///
    /// # Errors
    ///
    /// As [`new_v4`](Self::new_v4).
    pub fn new_v6() -> io::Result<Self> {
        Self::new(Domain::IPV6)
    }

    options! {
        /// `SO_REUSEADDR`: an address can be bound again while connections of it are closing.
        reuseaddr, set_reuseaddr(bool) = reuse_address, set_reuse_address;
        /// `SO_KEEPALIVE`.
        keepalive, set_keepalive(bool) = keepalive, set_keepalive;
        /// `TCP_NODELAY`: small writes are sent at once.
        nodelay, set_nodelay(bool) = tcp_nodelay, set_tcp_nodelay;
        /// `SO_LINGER`: how long a close waits for what is not sent yet.
        linger, set_linger(Option<Duration>) = linger, set_linger;
        /// `SO_SNDBUF`, in bytes. Linux doubles what is set.
        send_buffer_size, set_send_buffer_size(usize) = send_buffer_size, set_send_buffer_size;
        /// `SO_RCVBUF`, in bytes. Linux doubles what is set.
        recv_buffer_size, set_recv_buffer_size(usize) = recv_buffer_size, set_recv_buffer_size;
    }

    /// `SO_REUSEPORT`: several sockets listen at one address.
    ///
    /// # Errors
    ///
    /// Those of the system.
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    pub fn set_reuseport(&self, reuse: bool) -> io::Result<()> {
        self.socket.set_reuse_port(reuse)
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("gopark: no address of the internet"))
    }

    /// Binds it to an address.
    ///
    /// # Errors
    ///
    /// Those of the system: the address is in use, not of this host, or reserved.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.socket.bind(&addr.into())
    }

    /// Listens, with room for so many connections that wait to be accepted.
    ///
    /// # Errors
    ///
    /// Those of the system; and the runtime is shutting down.
    #[track_caller]
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        TcpListener::new(super::current(Location::caller())?, setup::listen(self.socket, backlog)?)
    }

    /// Connects it. Go: `net.Dial`.
    ///
    /// # Cancellation
    ///
    /// The socket is closed.
    ///
    /// # Errors
    ///
    /// Those of the system: the connection is refused, or times out. The runtime is shutting down.
    #[track_caller]
    pub fn connect(self, addr: SocketAddr) -> Connect<'static, TcpStream> {
        Connect::new(TcpStream::connect_by(self.socket, addr, Location::caller()))
    }
}
