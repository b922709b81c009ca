//! Asynchronous access to any descriptor.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::Location;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::io::attempt::{Attempts, BeReady, Called, Operation, Ready, attempt_now};
use crate::readiness::Direction;
use crate::runtime;
use crate::sources::Registered;

/// A descriptor that a goroutine can wait for: a pipe, a timer, a device. tokio: `AsyncFd`.
///
/// It wraps a descriptor of another crate or of the system.
///
/// The descriptor must be non-blocking: set `O_NONBLOCK` before. [`new`](Self::new) fails if the
/// poller does not support it, as for a regular file.
///
/// # Examples
///
/// ```
/// use std::io::{self, Read, Write};
///
/// use gopark::io::Async;
/// use std::os::unix::net::UnixStream;
///
/// # fn main() -> io::Result<()> {
/// gopark::block_on(async {
///     let (reader, mut writer) = UnixStream::pair()?;
///     reader.set_nonblocking(true)?;
///     let reader = Async::new(reader)?;
///     writer.write_all(b"hello")?;
///     let mut buffer = [0; 16];
///     let n = reader.read_with(|mut stream| stream.read(&mut buffer)).await?;
///     assert_eq!(&buffer[..n], b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct Async<T: AsFd> {
    source: Registered<Descriptor<T>>,
}

struct Descriptor<T> {
    inner: T,
    /// The descriptor that was registered, whatever `inner` returns later.
    fd: RawFd,
}

impl<T> AsRawFd for Descriptor<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl<T> Source for Descriptor<T> {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).deregister(registry)
    }
}

impl<T: AsFd> Async<T> {
    /// Registers the descriptor with the poller of the current runtime, or, outside of a runtime,
    /// with that of the global one.
    ///
    /// # Errors
    ///
    /// Returns an error if the system's poller does not support the descriptor, or if the runtime
    /// is shutting down.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, _b) = UnixStream::pair()?;
    /// a.set_nonblocking(true)?;
    /// let a = Async::new(a)?;
    /// assert!(a.get_ref().peer_addr().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn new(descriptor: T) -> io::Result<Self> {
        let sources = runtime::current_for_sockets(Location::caller()).sources()?;
        Ok(Self {
            source: Registered::new(
                &sources,
                Descriptor { fd: descriptor.as_fd().as_raw_fd(), inner: descriptor },
            )?,
        })
    }

    /// Deregisters the descriptor and returns it. tokio: the same.
    ///
    /// There is no `get_mut`, because it could replace the descriptor, which would stay registered.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, _b) = UnixStream::pair()?;
    /// a.set_nonblocking(true)?;
    /// let a: UnixStream = Async::new(a)?.into_inner();
    /// a.set_nonblocking(false)
    /// # }
    /// ```
    pub fn into_inner(self) -> T {
        self.source.into_io().inner
    }

    /// Returns a reference to the wrapped descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (a, _b) = UnixStream::pair()?;
    /// a.set_nonblocking(true)?;
    /// let a = Async::new(a)?;
    /// let stream: &UnixStream = a.get_ref();
    /// assert!(stream.local_addr()?.is_unnamed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_ref(&self) -> &T {
        &self.source.io().inner
    }

    /// Waits until something may be read.
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
    /// use std::io::{Read, Write};
    ///
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (reader, mut writer) = UnixStream::pair()?;
    ///     reader.set_nonblocking(true)?;
    ///     let reader = Async::new(reader)?;
    ///     writer.write_all(b"hello")?;
    ///     reader.readable().await?;
    ///     let mut buffer = [0; 16];
    ///     assert_eq!(reader.try_read_with(|mut stream| stream.read(&mut buffer))?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn readable(&self) -> Ready<'_> {
        Ready::new(BeReady::reads(&self.source), Location::caller())
    }

    /// Waits until something may be written.
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
    /// use std::io::Write;
    ///
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (writer, _reader) = UnixStream::pair()?;
    ///     writer.set_nonblocking(true)?;
    ///     let writer = Async::new(writer)?;
    ///     writer.writable().await?;
    ///     assert_eq!(writer.try_write_with(|mut stream| stream.write(b"hello"))?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn writable(&self) -> Ready<'_> {
        Ready::new(BeReady::writes(&self.source), Location::caller())
    }

    /// Calls `read` once, whether or not something may be read.
    ///
    /// # Errors
    ///
    /// Returns the error of `read`, for example [`WouldBlock`](io::ErrorKind::WouldBlock) if there
    /// is nothing to read. Also fails if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    ///
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (reader, _writer) = UnixStream::pair()?;
    /// reader.set_nonblocking(true)?;
    /// let reader = Async::new(reader)?;
    /// let mut buffer = [0; 16];
    /// let error = reader.try_read_with(|mut stream| stream.read(&mut buffer)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_read_with<R>(&self, read: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        attempt_now(&mut self.reads(read))
    }

    /// Calls `write` once, as [`try_read_with`](Self::try_read_with) calls `read`.
    ///
    /// # Errors
    ///
    /// Same as [`try_read_with`](Self::try_read_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (writer, _reader) = UnixStream::pair()?;
    /// writer.set_nonblocking(true)?;
    /// let writer = Async::new(writer)?;
    /// assert_eq!(writer.try_write_with(|mut stream| stream.write(b"hello"))?, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_write_with<R>(&self, write: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        attempt_now(&mut self.writes(write))
    }

    /// Calls `read` when something may be read, and again each time it has returned
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// `read` must return `WouldBlock` only if the system did, because the future then waits for
    /// the next event.
    ///
    /// # Cancellation
    ///
    /// `read` is not called again. Data that it has not read is not lost.
    ///
    /// # Errors
    ///
    /// Returns the error of `read`, or an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    ///
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (reader, mut writer) = UnixStream::pair()?;
    ///     reader.set_nonblocking(true)?;
    ///     let reader = Async::new(reader)?;
    ///     gopark::go(async move { writer.write_all(b"hello") });
    ///     let mut buffer = [0; 16];
    ///     assert_eq!(reader.read_with(|mut stream| stream.read(&mut buffer)).await?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn read_with<R>(
        &self,
        read: impl FnMut(&T) -> io::Result<R>,
    ) -> impl Future<Output = io::Result<R>> {
        Attempts::new(self.reads(read), Location::caller())
    }

    /// Calls `write` when something may be written, as [`read_with`](Self::read_with) calls `read`.
    ///
    /// # Cancellation
    ///
    /// `write` is not called again.
    ///
    /// # Errors
    ///
    /// Returns the error of `write`, or an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gopark::io::Async;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let (writer, _reader) = UnixStream::pair()?;
    ///     writer.set_nonblocking(true)?;
    ///     let writer = Async::new(writer)?;
    ///     assert_eq!(writer.write_with(|mut stream| stream.write(b"hello")).await?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn write_with<R>(
        &self,
        write: impl FnMut(&T) -> io::Result<R>,
    ) -> impl Future<Output = io::Result<R>> {
        Attempts::new(self.writes(write), Location::caller())
    }

    fn reads<R, F: FnMut(&T) -> io::Result<R>>(&self, call: F) -> Call<'_, T, F> {
        Call { descriptor: self.get_ref(), direction: &self.source.readiness().read, call }
    }

    fn writes<R, F: FnMut(&T) -> io::Result<R>>(&self, call: F) -> Call<'_, T, F> {
        Call { descriptor: self.get_ref(), direction: &self.source.readiness().write, call }
    }
}

impl<T: AsFd> AsFd for Async<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Async<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async").field("descriptor", self.get_ref()).finish_non_exhaustive()
    }
}

struct Call<'a, T, F> {
    descriptor: &'a T,
    direction: &'a Direction,
    call: F,
}

impl<'a, T, R, F: FnMut(&T) -> io::Result<R>> Operation<'a> for Call<'a, T, F> {
    type Output = R;

    fn direction(&self) -> &'a Direction {
        self.direction
    }

    fn call(&mut self) -> io::Result<Called<R>> {
        (self.call)(self.descriptor).map(Called::once)
    }
}
