//! A TCP socket that listens.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use socket2::Domain;

use super::addr::{ToSocketAddrs, each_addr};
use super::setup::{self, AsSocket};
use super::stream::TcpStream;
use crate::io::attempt::{Attempts, Called, Operation, future};
use crate::readiness::Direction;
use crate::sources::{Registered, Registrable, Sources};
use crate::time::{Sleep, sleep};

/// Connections that wait to be accepted, at most: [`TcpListener::bind`].
const BACKLOG: u32 = 1024;

/// Accepts TCP connections. Go: `net.TCPListener`. tokio: `TcpListener`.
///
/// Clones share the socket, which is closed when the last one is dropped. A connection goes to one
/// of the goroutines that accept.
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
        Ok(Self { socket: Arc::new(Registered::new(sources, socket)?) })
    }

    /// Binds a socket to the address, or the first of several that work, and listens. Port 0 is any
    /// free port. Go: `net.Listen("tcp", address)`.
    ///
    /// On Unix `SO_REUSEADDR` is set, so that a server can be restarted at once.
    /// [`TcpSocket`](super::TcpSocket) has more options.
    ///
    /// # Cancellation
    ///
    /// Nothing is bound.
    ///
    /// # Errors
    ///
    /// Those of the system: the address is in use, not of this host, or reserved. The runtime is
    /// shutting down, or the system refuses a poller.
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

    /// Wraps a listener of `std`, and sets it non-blocking.
    ///
    /// # Errors
    ///
    /// Those of the system; and the runtime is shutting down.
    #[track_caller]
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Self::new(super::current(Location::caller())?, mio::net::TcpListener::from_std(listener))
    }

    /// Waits for a connection. Go: `l.Accept()`.
    ///
    /// A connection that its peer has given up is passed over. If the process or the system has no
    /// descriptors or no memory for it, this waits for some time, up to a second, and tries again;
    /// so a server goes on when others have closed theirs. (A connection that the poller has no
    /// room for is closed.) The new stream belongs to the listener's runtime.
    ///
    /// # Cancellation
    ///
    /// No connection is lost.
    ///
    /// # Errors
    ///
    /// Others of the system, which are rare; and the runtime has ended.
    #[track_caller]
    pub fn accept(&self) -> Accept<'_> {
        Accept { future: Accepting::new(AcceptOne { socket: &self.socket }, Location::caller()) }
    }

    /// Closes the socket, whatever clones there are. An [`accept`](Self::accept) that waits fails
    /// with an error of kind [`NotConnected`](io::ErrorKind::NotConnected), and so does every later
    /// one; clients are refused. The port is free once the last clone is dropped. Go: `l.Close()`.
    pub fn close(&self) {
        close(&self.socket);
    }

    /// The address that it is bound to: of interest if the port was 0.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// The error that is pending at the socket, which this takes.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.io().take_error()
    }

    /// How many hops its packets may take.
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
        let (stream, peer) = accepted(|| self.socket.io().accept())?;
        Ok(Called::once((TcpStream::new(self.socket.sources().clone(), stream)?, peer)))
    }
}

/// Ends the accepts, and what the system does for them.
pub(super) fn close<S: Registrable + AsSocket>(socket: &Registered<S>) {
    socket.readiness().read.close();
    // Not every system lets a socket that listens be shut down: there the drop does it.
    let _ = setup::options(socket.io()).shutdown(Shutdown::Both);
}

/// Accepts, and passes over connections that their peers have given up.
pub(super) fn accepted<T>(mut accept: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match accept() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            accepted => return accepted,
        }
    }
}

/// True if there is no descriptor, or no memory, for a connection.
fn is_exhausted(error: &io::Error) -> bool {
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

/// How long an accept waits that finds no descriptor: first, and at most. Go's `http.Server` waits
/// as long.
const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

pin_project! {
    /// The future of an [`Operation`] that accepts. It tries again while there is no descriptor.
    pub(super) struct Accepting<'a, O> {
        #[pin]
        attempts: Attempts<'a, O>,
        operation: O,
        site: &'static Location<'static>,
        #[pin]
        backoff: Option<Sleep>,
        delay: Duration,
    }
}

impl<'a, O: Operation<'a> + Copy> Accepting<'a, O> {
    pub(super) fn new(operation: O, site: &'static Location<'static>) -> Self {
        let attempts = Attempts::new(operation, site);
        Self { attempts, operation, site, backoff: None, delay: FIRST_DELAY }
    }
}

impl<'a, O: Operation<'a> + Copy> Future for Accepting<'a, O> {
    type Output = io::Result<O::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(backoff) = this.backoff.as_mut().as_pin_mut() {
                ready!(backoff.poll(cx));
                this.backoff.set(None);
            }
            match ready!(this.attempts.as_mut().poll(cx)) {
                Err(error) if is_exhausted(&error) => {
                    this.backoff.set(Some(sleep(*this.delay)));
                    *this.delay = (*this.delay * 2).min(LONGEST_DELAY);
                    this.attempts.set(Attempts::new(*this.operation, this.site));
                }
                accepted => return Poll::Ready(accepted),
            }
        }
    }
}

future! {
    /// Waits for a connection: [`TcpListener::accept`].
    Accept<'a>: Accepting<'a, AcceptOne<'a>> => io::Result<(TcpStream, SocketAddr)>
}
