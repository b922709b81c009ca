//! TCP, UDP and Unix domain sockets. Go: package `net`.
//!
//! A goroutine that waits for a socket is parked, and its worker runs other goroutines: the poller
//! (epoll, kqueue, IOCP) is part of the scheduler and has no thread of its own. tokio:
//! `tokio::net`.
//!
//! | Go | gopark | tokio |
//! |---|---|---|
//! | `net.Listen("tcp", addr)` | [`TcpListener::bind`] | `TcpListener` |
//! | `l.Accept()` | [`TcpListener::accept`] | `accept` |
//! | `net.Dial("tcp", addr)` | [`TcpStream::connect`] | `TcpStream` |
//! | `c.Read(b)` | [`TcpStream::read`] | `read` |
//! | `c.Write(b)` | [`TcpStream::write_all`] | `write_all` |
//! | `io.ReadFull(c, b)` | [`TcpStream::read_exact`] | `read_exact` |
//! | `c.SetDeadline(t)` | [`timeout`](crate::time::timeout()), or a `select!` | `timeout` |
//! | `c.CloseWrite()` | [`TcpStream::shutdown`] | `shutdown` |
//! | `net.ListenConfig`, `net.Dialer` | [`TcpSocket`] | `TcpSocket` |
//! | `net.ListenPacket("udp", addr)` | [`UdpSocket`] | `UdpSocket` |
//! | `net.LookupHost(name)` | [`lookup_host`] | `lookup_host` |
//!
//! # Which runtime
//!
//! A socket belongs to the runtime of the goroutine that creates it; outside of a runtime, to the
//! global one. It can be used in any goroutine, in any executor and on any thread that polls. After
//! the end of its runtime its operations fail.
//!
//! # Waits
//!
//! Operations take `&self`, so one goroutine may read while another one writes. The operations
//! whose futures are in [`futures`] can be cases of a [`select!`](crate::select!).
//! [`read_exact`](TcpStream::read_exact) and [`write_all`](TcpStream::write_all) cannot, because
//! after a drop it is unknown how many bytes they have transferred. In a select with a `default`,
//! an operation makes its system call once. The *Cancellation* section of an operation also applies
//! to a select that takes another case.
//!
//! # Fairness
//!
//! Operations consume the goroutine's budget, so that a socket that is always ready does not starve
//! other goroutines.
//!
//! # Examples
//!
//! ```
//! use gopark::go;
//! use gopark::net::{TcpListener, TcpStream};
//!
//! # fn main() -> std::io::Result<()> {
//! gopark::block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     go(async move {
//!         let (stream, _peer) = listener.accept().await?;
//!         let mut buffer = [0; 64];
//!         let n = stream.read(&mut buffer).await?;
//!         stream.write_all(&buffer[..n]).await
//!     });
//!     let stream = TcpStream::connect(address).await?;
//!     stream.write_all(b"hello").await?;
//!     let mut echo = [0; 5];
//!     stream.read_exact(&mut echo).await?;
//!     assert_eq!(&echo, b"hello");
//!     Ok(())
//! })
//! # }
//! ```

/// Implements access to the descriptor of a socket, for other crates.
macro_rules! descriptor {
    ($type:ty, $socket:ident) => {
        #[cfg(unix)]
        impl ::std::os::fd::AsFd for $type {
            fn as_fd(&self) -> ::std::os::fd::BorrowedFd<'_> {
                ::std::os::fd::AsFd::as_fd(self.$socket.io())
            }
        }

        #[cfg(unix)]
        impl ::std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> ::std::os::fd::RawFd {
                ::std::os::fd::AsRawFd::as_raw_fd(self.$socket.io())
            }
        }

        #[cfg(windows)]
        impl ::std::os::windows::io::AsSocket for $type {
            fn as_socket(&self) -> ::std::os::windows::io::BorrowedSocket<'_> {
                ::std::os::windows::io::AsSocket::as_socket(self.$socket.io())
            }
        }

        #[cfg(windows)]
        impl ::std::os::windows::io::AsRawSocket for $type {
            fn as_raw_socket(&self) -> ::std::os::windows::io::RawSocket {
                ::std::os::windows::io::AsRawSocket::as_raw_socket(self.$socket.io())
            }
        }
    };
}
use descriptor;

/// Implements the waits for readiness of a socket. The literals say what may be done then. `$pair`
/// connects the sockets `a` and `b` of an example, whose methods are `$try_read` and `$try_write`.
macro_rules! waits {
    ($to_read:literal, $to_write:literal, $pair:literal, $try_read:ident, $try_write:ident) => {
        #[doc = concat!("Waits until ", $to_read, ".")]
        ///
        /// # Cancellation
        ///
        /// Nothing is lost.
        ///
        /// # Errors
        ///
        /// Returns an error if the runtime has ended.
        ///
        /// # Examples
        ///
        /// ```
        /// use std::io::ErrorKind;
        ///
        /// # fn main() -> std::io::Result<()> {
        /// gopark::block_on(async {
        #[doc = $pair]
        #[doc = concat!("    a.", stringify!($try_write), "(b\"hello\")?;")]
        ///     let mut buffer = [0; 64];
        ///     let n = loop {
        ///         b.readable().await?;
        #[doc = concat!("        match b.", stringify!($try_read), "(&mut buffer) {")]
        ///             Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        ///             read => break read?,
        ///         }
        ///     };
        ///     assert_eq!(&buffer[..n], b"hello");
        ///     Ok(())
        /// })
        /// # }
        /// ```
        #[track_caller]
        pub fn readable(&self) -> $crate::io::Ready<'_> {
            let ready = $crate::io::attempt::BeReady::reads(&self.socket);
            $crate::io::Ready::new(ready, ::std::panic::Location::caller())
        }

        #[doc = concat!("Waits until ", $to_write, ".")]
        ///
        /// # Cancellation
        ///
        /// Nothing is lost.
        ///
        /// # Errors
        ///
        /// Returns an error if the runtime has ended.
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> std::io::Result<()> {
        /// gopark::block_on(async {
        #[doc = $pair]
        ///     a.writable().await?;
        #[doc = concat!("    assert_eq!(a.", stringify!($try_write), "(b\"hello\")?, 5);")]
        ///     # drop(b);
        ///     Ok(())
        /// })
        /// # }
        /// ```
        #[track_caller]
        pub fn writable(&self) -> $crate::io::Ready<'_> {
            let ready = $crate::io::attempt::BeReady::writes(&self.socket);
            $crate::io::Ready::new(ready, ::std::panic::Location::caller())
        }
    };
}
use waits;

/// Implements the conversion of a socket to one of `std`. `$make` creates the socket `socket` of an
/// example, and a clone of it as `clone`.
macro_rules! into_std {
    ($std:ty, $into_io:path, $make:literal) => {
        /// Returns the socket as one of `std`, if it has no clone.
        ///
        /// The socket stays non-blocking until its `set_nonblocking(false)`. A listener that was
        /// closed stays shut down. For a socket that has clones, duplicate the descriptor: on Unix
        /// with `as_fd().try_clone_to_owned()`.
        ///
        /// # Errors
        ///
        /// Returns `self` if it has clones.
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> std::io::Result<()> {
        /// gopark::block_on(async {
        #[doc = $make]
        ///     let socket = socket.into_std().expect_err("it has a clone");
        ///     drop(clone);
        ///     let socket = socket.into_std().expect("it has no clone");
        ///     socket.set_nonblocking(false)
        /// })
        /// # }
        /// ```
        pub fn into_std(self) -> Result<$std, Self> {
            match $into_io(self.socket) {
                Ok(socket) => Ok(socket.into()),
                Err(socket) => Err(Self { socket }),
            }
        }
    };
}
use into_std;

mod addr;
mod bytes;
mod connect;
mod datagram;
pub mod futures;
#[cfg(feature = "hyper")]
mod hyper;
mod listener;
mod retry;
mod setup;
mod socket;
mod stream;
mod tcp;
#[cfg(feature = "tokio-io")]
mod tokio;
mod traits;
mod udp;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_datagram;

#[cfg(feature = "hyper")]
pub use self::hyper::{HyperExecutor, HyperTimer};
pub use addr::{LookupHost, ToSocketAddrs, lookup_host};
pub use listener::TcpListener;
pub use socket::TcpSocket;
pub use tcp::{ReadHalf, TcpStream, WriteHalf};
pub use udp::UdpSocket;
#[cfg(unix)]
pub use unix::{UnixListener, UnixReadHalf, UnixStream, UnixWriteHalf};
#[cfg(unix)]
pub use unix_datagram::UnixDatagram;

use std::io;
use std::panic::Location;
use std::sync::Arc;

use crate::runtime;
use crate::sources::{Registered, Registrable, Sources};

/// The descriptors of the current runtime, for a socket that is made at that place.
fn current(site: &'static Location<'static>) -> io::Result<Arc<Sources>> {
    runtime::current_for_sockets(site).sources()
}

/// Takes the socket out of its only handle; `Err` if there is another one.
fn into_io<S: Registrable>(socket: Arc<Registered<S>>) -> Result<S, Arc<Registered<S>>> {
    Arc::try_unwrap(socket).map(Registered::into_io)
}
