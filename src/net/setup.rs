//! TCP sockets that are not connected and do not listen yet.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Creates a non-blocking TCP socket.
pub(super) fn tcp(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Makes the socket listen.
pub(super) fn listen(socket: Socket, backlog: u32) -> io::Result<mio::net::TcpListener> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Starts to connect the socket.
pub(super) fn connect(socket: Socket, addr: SocketAddr) -> io::Result<mio::net::TcpStream> {
    match socket.connect(&addr.into()) {
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        #[cfg(not(unix))]
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        begun => begun?,
    }
    Ok(mio::net::TcpStream::from_std(socket.into()))
}

/// Returns a reference to the socket for its options.
pub(super) fn options(socket: &impl AsSocket) -> SockRef<'_> {
    SockRef::from(socket)
}

#[cfg(unix)]
pub(super) use std::os::fd::AsFd as AsSocket;
#[cfg(windows)]
pub(super) use std::os::windows::io::AsSocket;
