//! UDP sockets.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::Location;
use std::sync::Arc;

use super::addr::{ToSocketAddrs, each_addr};
use super::connect::Connect;
use super::datagram::{Receive, ReceiveFrom, Transmit, datagrams};
use crate::io::attempt::{attempt_now, operation};
use crate::sources::Registered;

type Socket = Registered<mio::net::UdpSocket>;

/// A UDP socket. Go: `net.UDPConn`. tokio: `UdpSocket`.
///
/// Clones share the socket, which is closed when the last one is dropped.
///
/// # Examples
///
/// ```
/// use gopark::net::UdpSocket;
///
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let server = UdpSocket::bind("127.0.0.1:0").await?;
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.send_to(b"ping", server.local_addr()?).await?;
///     let mut buffer = [0; 16];
///     let (n, peer) = server.recv_from(&mut buffer).await?;
///     assert_eq!((&buffer[..n], peer), (&b"ping"[..], client.local_addr()?));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct UdpSocket {
    socket: Arc<Socket>,
}

impl UdpSocket {
    /// Binds a socket to the address, or the first of several that work. Go:
    /// `net.ListenPacket("udp", address)`.
    ///
    /// # Cancellation
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// Those of the system: the address is in use, not of this host, or reserved. The runtime is
    /// shutting down.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(address: A) -> impl Future<Output = io::Result<Self>> + use<A> {
        let (addrs, site) = (address.addrs(), Location::caller());
        drop(address);
        each_addr(addrs, site, move |addr| async move {
            Self::wrap(std::net::UdpSocket::bind(addr)?, site)
        })
    }

    /// Wraps a socket of `std`, and sets it non-blocking.
    ///
    /// # Errors
    ///
    /// Those of the system; and the runtime is shutting down.
    #[track_caller]
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        Self::wrap(socket, Location::caller())
    }

    fn wrap(socket: std::net::UdpSocket, site: &'static Location<'static>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = Registered::new(super::current(site)?, mio::net::UdpSocket::from_std(socket))?;
        Ok(Self { socket: Arc::new(socket) })
    }

    /// Lets it send to that address, and receive from it alone: by [`send`](Self::send) and
    /// [`recv`](Self::recv).
    ///
    /// # Cancellation
    ///
    /// Nothing has been done.
    ///
    /// # Errors
    ///
    /// Those of the system.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> Connect<'_, ()> {
        let (addrs, site) = (address.addrs(), Location::caller());
        drop(address);
        Connect::new(each_addr(
            addrs,
            site,
            move |addr| async move { self.socket.io().connect(addr) },
        ))
    }

    /// Waits for a datagram. Returns its length, and where it comes from. What does not fit into
    /// the buffer is lost. Go: `c.ReadFrom`.
    ///
    /// # Cancellation
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Those of the system. The runtime has ended.
    #[track_caller]
    pub fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> RecvFrom<'a> {
        RecvFrom::new(ReceiveFrom { socket: &self.socket, buffer }, Location::caller())
    }

    /// Sends a datagram. Returns its length. Go: `c.WriteTo`.
    ///
    /// # Cancellation
    ///
    /// It has not been sent.
    ///
    /// # Errors
    ///
    /// Those of the system: it is too long, for example. The runtime has ended.
    #[track_caller]
    pub fn send_to<'a>(&'a self, bytes: &'a [u8], target: SocketAddr) -> SendTo<'a> {
        SendTo::new(
            Transmit { socket: &self.socket, bytes, target: Some(target) },
            Location::caller(),
        )
    }

    /// Waits for a datagram of the address that it is [connected](Self::connect) to.
    ///
    /// # Cancellation
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Those of the system: it is not connected, or the peer's host says that its port is closed.
    /// The runtime has ended.
    #[track_caller]
    pub fn recv<'a>(&'a self, buffer: &'a mut [u8]) -> Recv<'a> {
        Recv::new(Receive { socket: &self.socket, buffer }, Location::caller())
    }

    /// Sends a datagram to the address that it is [connected](Self::connect) to.
    ///
    /// # Cancellation
    ///
    /// It has not been sent.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and it is too long.
    #[track_caller]
    pub fn send<'a>(&'a self, bytes: &'a [u8]) -> Send<'a> {
        Send::new(Transmit { socket: &self.socket, bytes, target: None }, Location::caller())
    }

    /// Receives a datagram, without a wait.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; else as
    /// [`recv_from`](Self::recv_from).
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        attempt_now(&mut ReceiveFrom { socket: &self.socket, buffer })
    }

    /// Sends a datagram, without a wait.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; else as
    /// [`send_to`](Self::send_to).
    pub fn try_send_to(&self, bytes: &[u8], target: SocketAddr) -> io::Result<usize> {
        attempt_now(&mut Transmit { socket: &self.socket, bytes, target: Some(target) })
    }

    super::waits!("something may be received", "something may be sent");

    /// The address that it is bound to.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// The address that it is [connected](Self::connect) to.
    ///
    /// # Errors
    ///
    /// Those of the system: it is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }

    /// True if it may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.io().broadcast()
    }

    /// Sets [`broadcast`](Self::broadcast).
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.socket.io().set_broadcast(on)
    }

    /// How many hops its datagrams may take.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.io().ttl()
    }

    /// Sets [`ttl`](Self::ttl).
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.io().set_ttl(ttl)
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.io().join_multicast_v4(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.io().leave_multicast_v4(group, interface)
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.io().join_multicast_v6(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.io().leave_multicast_v6(group, interface)
    }

    /// The error that is pending at the socket, which this takes.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.io().take_error()
    }
}

super::descriptor!(UdpSocket, socket);

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket")
            .field("local_addr", &self.local_addr().ok())
            .finish_non_exhaustive()
    }
}

datagrams!(mio::net::UdpSocket, SocketAddr, SocketAddr);

operation! {
    /// Waits for a datagram: [`UdpSocket::recv_from`].
    RecvFrom<'a> = ReceiveFrom<'a, mio::net::UdpSocket> => io::Result<(usize, SocketAddr)>
}
operation! {
    /// Waits for a datagram: the `recv` of a socket that is connected.
    Recv<'a> = Receive<'a, mio::net::UdpSocket> => io::Result<usize>
}
operation! {
    /// Waits until a datagram can be sent: [`UdpSocket::send_to`].
    SendTo<'a> = Transmit<'a, mio::net::UdpSocket> => io::Result<usize>
}
operation! {
    /// Waits until a datagram can be sent: the `send` of a socket that is connected.
    Send<'a> = Transmit<'a, mio::net::UdpSocket> => io::Result<usize>
}
