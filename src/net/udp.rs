//! UDP sockets.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::Location;
use std::sync::Arc;

use super::addr::{ToSocketAddrs, each_addr};
use super::connect::Connect;
use super::datagram::{Receive, ReceiveFrom, Transmit, datagrams};
use crate::io::attempt::{Called, Operation, attempt_now, operation};
use crate::readiness::Direction;
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
    /// Binds a socket to the address. Go: `net.ListenPacket("udp", address)`.
    ///
    /// If there are several addresses, it takes the first that works.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, no socket is bound.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the address is in use, not of
    /// this host, or reserved. Also if the runtime is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     assert_ne!(socket.local_addr()?.port(), 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(address: A) -> impl Future<Output = io::Result<Self>> + use<A> {
        let (addrs, site) = (address.addrs(), Location::caller());
        drop(address);
        each_addr(addrs, site, move |addr| async move {
            Self::wrap(std::net::UdpSocket::bind(addr)?, site)
        })
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
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let address = socket.local_addr()?;
    /// assert_eq!(UdpSocket::from_std(socket)?.local_addr()?, address);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        Self::wrap(socket, Location::caller())
    }

    fn wrap(socket: std::net::UdpSocket, site: &'static Location<'static>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket =
            Registered::new(&super::current(site)?, mio::net::UdpSocket::from_std(socket))?;
        Ok(Self { socket: Arc::new(socket) })
    }

    /// Connects the socket to a peer: [`send`](Self::send) sends to that address, and the socket
    /// receives only from it.
    ///
    /// # Cancellation
    ///
    /// Nothing has been done.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
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
    ///     client.connect(server.local_addr()?).await?;
    ///     client.send(b"ping").await?;
    ///     assert_eq!(server.recv_from(&mut [0; 16]).await?.0, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
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

    /// Waits for a datagram and returns its length and its sender. Go: `c.ReadFrom`.
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
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.send_to(b"ping", server.local_addr()?).await?;
    ///     let mut buffer = [0; 16];
    ///     let (n, sender) = server.recv_from(&mut buffer).await?;
    ///     assert_eq!((&buffer[..n], sender), (&b"ping"[..], client.local_addr()?));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> RecvFrom<'a> {
        RecvFrom::new(ReceiveFrom { socket: &self.socket, buffer }, Location::caller())
    }

    /// Sends a datagram and returns its length. Go: `c.WriteTo`.
    ///
    /// # Cancellation
    ///
    /// The datagram has not been sent.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the datagram is too long, or
    /// if the runtime has ended.
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
    ///     assert_eq!(client.send_to(b"ping", server.local_addr()?).await?, 4);
    ///     let mut buffer = [0; 16];
    ///     let (n, _) = server.recv_from(&mut buffer).await?;
    ///     assert_eq!(&buffer[..n], b"ping");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn send_to<'a>(&'a self, bytes: &'a [u8], target: SocketAddr) -> SendTo<'a> {
        SendTo::new(
            Transmit { socket: &self.socket, bytes, target: Some(target) },
            Location::caller(),
        )
    }

    /// Waits for a datagram from the [connected](Self::connect) peer and returns its length.
    ///
    /// # Cancellation
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example because the socket is not connected,
    /// or because the peer's host reports that the port is closed. Also if the runtime has ended.
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
    ///     client.connect(server.local_addr()?).await?;
    ///     client.send(b"ping").await?;
    ///     let (n, peer) = server.recv_from(&mut [0; 16]).await?;
    ///     server.send_to(b"pong!", peer).await?;
    ///     assert_eq!((n, client.recv(&mut [0; 16]).await?), (4, 5));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn recv<'a>(&'a self, buffer: &'a mut [u8]) -> Recv<'a> {
        Recv::new(Receive { socket: &self.socket, buffer }, Location::caller())
    }

    /// Sends a datagram to the [connected](Self::connect) peer and returns its length.
    ///
    /// # Cancellation
    ///
    /// The datagram has not been sent.
    ///
    /// # Errors
    ///
    /// Same as [`recv`](Self::recv), and if the datagram is too long.
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
    ///     client.connect(server.local_addr()?).await?;
    ///     assert_eq!(client.send(b"ping").await?, 4);
    ///     let (_, peer) = server.recv_from(&mut [0; 16]).await?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn send<'a>(&'a self, bytes: &'a [u8]) -> Send<'a> {
        Send::new(Transmit { socket: &self.socket, bytes, target: None }, Location::caller())
    }

    /// Waits for a datagram as [`recv_from`](Self::recv_from) does, but leaves it for the next
    /// receive.
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
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.send_to(b"ping", server.local_addr()?).await?;
    ///     let mut buffer = [0; 16];
    ///     let (n, sender) = server.peek_from(&mut buffer).await?;
    ///     assert_eq!((&buffer[..n], sender), (&b"ping"[..], client.local_addr()?));
    ///     assert_eq!(server.recv_from(&mut buffer).await?, (n, sender));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn peek_from<'a>(&'a self, buffer: &'a mut [u8]) -> PeekFrom<'a> {
        PeekFrom::new(Peeking { socket: &self.socket, buffer }, Location::caller())
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
    /// use gopark::net::UdpSocket;
    /// use std::io::ErrorKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let error = socket.try_recv_from(&mut [0; 16]).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        attempt_now(&mut ReceiveFrom { socket: &self.socket, buffer })
    }

    /// Sends a datagram without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; otherwise same as
    /// [`send_to`](Self::send_to).
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
    ///     assert_eq!(client.try_send_to(b"ping", server.local_addr()?)?, 4);
    ///     assert_eq!(server.recv_from(&mut [0; 16]).await?.0, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn try_send_to(&self, bytes: &[u8], target: SocketAddr) -> io::Result<usize> {
        attempt_now(&mut Transmit { socket: &self.socket, bytes, target: Some(target) })
    }

    /// Receives a datagram from the [connected](Self::connect) peer without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no datagram; otherwise same as
    /// [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    /// use std::io::ErrorKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.connect(server.local_addr()?).await?;
    ///     let error = client.try_recv(&mut [0; 16]).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        attempt_now(&mut Receive { socket: &self.socket, buffer })
    }

    /// Sends a datagram to the [connected](Self::connect) peer without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; otherwise same as
    /// [`send`](Self::send).
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
    ///     client.connect(server.local_addr()?).await?;
    ///     client.writable().await?;
    ///     assert_eq!(client.try_send(b"ping")?, 4);
    ///     server.readable().await?;
    ///     assert_eq!(server.try_recv(&mut [0; 16])?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        attempt_now(&mut Transmit { socket: &self.socket, bytes, target: None })
    }

    super::waits!(
        "a datagram may be received",
        "a datagram may be sent",
        "    // `a` and `b` are connected to each other.
    # let a = gopark::net::UdpSocket::bind(\"127.0.0.1:0\").await?;
    # let b = gopark::net::UdpSocket::bind(\"127.0.0.1:0\").await?;
    # a.connect(b.local_addr()?).await?;
    # b.connect(a.local_addr()?).await?;",
        try_recv,
        try_send
    );
    super::into_std!(
        std::net::UdpSocket,
        super::into_io,
        "    let socket = gopark::net::UdpSocket::bind(\"127.0.0.1:0\").await?;
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
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let address = socket.local_addr()?;
    ///     assert!(address.ip().is_loopback());
    ///     assert_ne!(address.port(), 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// Returns the address of the [connected](Self::connect) peer.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket is not connected.
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
    ///     assert!(client.peer_addr().is_err());
    ///     client.connect(server.local_addr()?).await?;
    ///     assert_eq!(client.peer_addr()?, server.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }

    /// Returns true if the socket may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     assert!(!socket.broadcast()?);
    ///     socket.set_broadcast(true)?;
    ///     assert!(socket.broadcast()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.io().broadcast()
    }

    /// Sets [`broadcast`](Self::broadcast).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_broadcast(true)?;
    ///     assert!(socket.broadcast()?);
    ///     socket.set_broadcast(false)?;
    ///     assert!(!socket.broadcast()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.socket.io().set_broadcast(on)
    }

    /// Returns the time to live (hop limit) of the datagrams.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     assert_ne!(socket.ttl()?, 0);
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
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_ttl(1)?;
    ///     assert_eq!(socket.ttl()?, 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.io().set_ttl(ttl)
    }

    /// Joins an IPv4 multicast group.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    /// use std::net::Ipv4Addr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let group = Ipv4Addr::new(239, 255, 0, 1);
    ///     socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    ///     // It is a member now.
    ///     assert!(socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).is_err());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.io().join_multicast_v4(group, interface)
    }

    /// Leaves an IPv4 multicast group.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    /// use std::net::Ipv4Addr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let group = Ipv4Addr::new(239, 255, 0, 1);
    ///     socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    ///     socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    ///     // It is no member now.
    ///     assert!(socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).is_err());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.io().leave_multicast_v4(group, interface)
    }

    /// Joins an IPv6 multicast group.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    /// use std::net::Ipv6Addr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     // A host may have no IPv6.
    ///     if let Ok(socket) = UdpSocket::bind("[::1]:0").await {
    ///         let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 0x100);
    ///         // 0: the system chooses the interface, if there is one.
    ///         if socket.join_multicast_v6(&group, 0).is_ok() {
    ///             // It is a member now.
    ///             assert!(socket.join_multicast_v6(&group, 0).is_err());
    ///         }
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.io().join_multicast_v6(group, interface)
    }

    /// Leaves an IPv6 multicast group.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::UdpSocket;
    /// use std::net::Ipv6Addr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     // A host may have no IPv6.
    ///     if let Ok(socket) = UdpSocket::bind("[::1]:0").await {
    ///         let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 0x100);
    ///         // 0: the system chooses the interface, if there is one.
    ///         if socket.join_multicast_v6(&group, 0).is_ok() {
    ///             socket.leave_multicast_v6(&group, 0)?;
    ///             // It is no member now.
    ///             assert!(socket.leave_multicast_v6(&group, 0).is_err());
    ///         }
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.io().leave_multicast_v6(group, interface)
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
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     assert!(socket.take_error()?.is_none());
    ///     Ok(())
    /// })
    /// # }
    /// ```
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

datagrams!(mio::net::UdpSocket, SocketAddr, SocketAddr, mio::net::UdpSocket::send_to, true);

pub(crate) struct Peeking<'a> {
    socket: &'a Socket,
    buffer: &'a mut [u8],
}

impl<'a> Operation<'a> for Peeking<'a> {
    type Output = (usize, SocketAddr);

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<Self::Output>> {
        self.socket.io().peek_from(self.buffer).map(Called::once)
    }
}

operation! {
    /// The future of [`UdpSocket::recv_from`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UdpSocket, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let mut buffer = [0; 16];
    ///     let recv: futures::RecvFrom<'_> = server.recv_from(&mut buffer);
    ///     client.send_to(b"ping", server.local_addr()?).await?;
    ///     assert_eq!(recv.await?, (4, client.local_addr()?));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    RecvFrom<'a> = ReceiveFrom<'a, mio::net::UdpSocket> => io::Result<(usize, SocketAddr)>
}
operation! {
    /// The future of [`UdpSocket::peek_from`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UdpSocket, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let mut buffer = [0; 16];
    ///     let peek: futures::PeekFrom<'_> = server.peek_from(&mut buffer);
    ///     client.send_to(b"ping", server.local_addr()?).await?;
    ///     assert_eq!(peek.await?, (4, client.local_addr()?));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    PeekFrom<'a> = Peeking<'a> => io::Result<(usize, SocketAddr)>
}
operation! {
    /// The future of a connected socket's `recv`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UdpSocket, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.connect(server.local_addr()?).await?;
    ///     let mut buffer = [0; 16];
    ///     let recv: futures::Recv<'_> = client.recv(&mut buffer);
    ///     server.send_to(b"ping", client.local_addr()?).await?;
    ///     assert_eq!(recv.await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    Recv<'a> = Receive<'a, mio::net::UdpSocket> => io::Result<usize>
}
operation! {
    /// The future of [`UdpSocket::send_to`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UdpSocket, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let send: futures::SendTo<'_> = client.send_to(b"ping", server.local_addr()?);
    ///     assert_eq!(send.await?, 4);
    ///     assert_eq!(server.recv_from(&mut [0; 16]).await?.0, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    SendTo<'a> = Transmit<'a, mio::net::UdpSocket> => io::Result<usize>
}
operation! {
    /// The future of a connected socket's `send`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{UdpSocket, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let server = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let client = UdpSocket::bind("127.0.0.1:0").await?;
    ///     client.connect(server.local_addr()?).await?;
    ///     let send: futures::Send<'_> = client.send(b"ping");
    ///     assert_eq!(send.await?, 4);
    ///     assert_eq!(server.recv_from(&mut [0; 16]).await?.0, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    Send<'a> = Transmit<'a, mio::net::UdpSocket> => io::Result<usize>
}
