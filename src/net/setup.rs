//! TCP sockets that are not connected and do not listen yet.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

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

/// Returns the time, rounded up to whole seconds.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// Sets `SO_LINGER`. The longest time is what every system accepts.
pub(super) fn set_linger(socket: &Socket, linger: Option<Duration>) -> io::Result<()> {
    const LONGEST: u64 = 32_767;
    // Some systems count seconds, and would take a part of one for zero.
    let rounded = |time| Duration::from_secs(whole_seconds(time).min(LONGEST));
    socket.set_linger(linger.map(rounded))
}
