//! The operations on byte streams.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem;

use mio::event::Source;
use mio::{Interest, Registry, Token};

use crate::io::attempt::{Called, Operation, operation};
use crate::readiness::Direction;
use crate::sources::Registered;

/// A byte stream. One type for both kinds makes the futures smaller than a trait object would.
#[derive(Debug)]
pub(crate) enum ByteStream {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

/// Evaluates an expression for the stream of either kind.
macro_rules! either {
    ($stream:expr, $inner:ident => $result:expr) => {
        match $stream {
            ByteStream::Tcp($inner) => $result,
            #[cfg(unix)]
            ByteStream::Unix($inner) => $result,
        }
    };
}

/// The stream of either kind.
pub(crate) trait Kind {
    fn into_stream(self) -> ByteStream;

    /// # Panics
    ///
    /// Panics if the stream is of the other kind.
    fn from_stream(stream: ByteStream) -> Self;

    /// # Panics
    ///
    /// Panics if the stream is of the other kind.
    fn of_stream(stream: &ByteStream) -> &Self;
}

macro_rules! kind {
    ($type:ty = $kind:ident) => {
        impl Kind for $type {
            fn into_stream(self) -> ByteStream {
                ByteStream::$kind(self)
            }

            fn from_stream(stream: ByteStream) -> Self {
                match stream {
                    ByteStream::$kind(stream) => stream,
                    #[cfg(unix)]
                    _ => unreachable!("the other kind of stream"),
                }
            }

            fn of_stream(stream: &ByteStream) -> &Self {
                match stream {
                    ByteStream::$kind(stream) => stream,
                    #[cfg(unix)]
                    _ => unreachable!("the other kind of stream"),
                }
            }
        }
    };
}
kind!(mio::net::TcpStream = Tcp);
#[cfg(unix)]
kind!(mio::net::UnixStream = Unix);

impl ByteStream {
    /// Returns true if a read may stop before the end of the available bytes: at a message that
    /// carries descriptors.
    #[inline]
    fn has_messages(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    #[inline]
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => (&*stream).read(buffer))
    }

    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        either!(self, stream => (&*stream).read_vectored(buffers))
    }

    #[inline]
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => (&*stream).write(bytes))
    }

    fn write_vectored(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => (&*stream).write_vectored(bytes))
    }
}

impl Source for ByteStream {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        either!(self, stream => stream.register(registry, token, interests))
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        either!(self, stream => stream.reregister(registry, token, interests))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        either!(self, stream => stream.deregister(registry))
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for ByteStream {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        either!(self, stream => stream.as_raw_fd())
    }
}

pub(crate) struct ReadInto<'a> {
    pub(super) socket: &'a Registered<ByteStream>,
    pub(super) buffer: &'a mut [u8],
}

impl<'a> Operation<'a> for ReadInto<'a> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        let bytes = self.socket.io().read(self.buffer)?;
        Ok(if self.socket.io().has_messages() {
            Called::once(bytes)
        } else {
            Called::transfer(bytes, self.buffer.len())
        })
    }

    #[inline]
    fn nothing_to_do(&self) -> Option<usize> {
        self.buffer.is_empty().then_some(0)
    }
}

/// Reads until the buffer is full. `buffer` is the part that is not filled yet.
pub(crate) struct ReadExact<'a> {
    pub(super) socket: &'a Registered<ByteStream>,
    pub(super) buffer: &'a mut [u8],
}

impl<'a> Operation<'a> for ReadExact<'a> {
    type Output = ();

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    /// Reads once.
    fn call(&mut self) -> io::Result<Called<()>> {
        let read = ReadInto { socket: self.socket, buffer: self.buffer }.call()?;
        if read.value == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer = &mut mem::take(&mut self.buffer)[read.value..];
        Ok(Called { value: (), more: read.more })
    }

    fn nothing_to_do(&self) -> Option<()> {
        self.buffer.is_empty().then_some(())
    }

    fn needs_another(&self) -> bool {
        !self.buffer.is_empty()
    }
}

pub(crate) struct ReadIntoAll<'a, 'b> {
    pub(super) socket: &'a Registered<ByteStream>,
    pub(super) buffers: &'a mut [IoSliceMut<'b>],
}

impl<'a> Operation<'a> for ReadIntoAll<'a, '_> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        // The system may accept fewer buffers than there are.
        self.socket.io().read_vectored(self.buffers).map(Called::once)
    }

    fn nothing_to_do(&self) -> Option<usize> {
        self.buffers.iter().all(|buffer| buffer.is_empty()).then_some(0)
    }
}

pub(crate) struct WriteFrom<'a> {
    pub(super) socket: &'a Registered<ByteStream>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Operation<'a> for WriteFrom<'a> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().write
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        let written = self.socket.io().write(self.bytes)?;
        Ok(Called::transfer(written, self.bytes.len()))
    }

    #[inline]
    fn nothing_to_do(&self) -> Option<usize> {
        self.bytes.is_empty().then_some(0)
    }
}

/// Writes all of the bytes. `bytes` are those that are not written yet.
pub(crate) struct WriteAll<'a> {
    pub(super) socket: &'a Registered<ByteStream>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Operation<'a> for WriteAll<'a> {
    type Output = ();

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().write
    }

    /// Writes once.
    fn call(&mut self) -> io::Result<Called<()>> {
        let written = WriteFrom { socket: self.socket, bytes: self.bytes }.call()?;
        if written.value == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes = &self.bytes[written.value..];
        Ok(Called { value: (), more: written.more })
    }

    fn nothing_to_do(&self) -> Option<()> {
        self.bytes.is_empty().then_some(())
    }

    fn needs_another(&self) -> bool {
        !self.bytes.is_empty()
    }
}

/// Every system accepts this many buffers in one call.
const FEW_BUFFERS: usize = 16;

pub(crate) struct WriteFromAll<'a> {
    pub(super) socket: &'a Registered<ByteStream>,
    pub(super) bytes: &'a [IoSlice<'a>],
}

impl<'a> Operation<'a> for WriteFromAll<'a> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().write
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        let written = self.socket.io().write_vectored(self.bytes)?;
        // The system may accept fewer buffers than there are.
        let few = self.bytes.len() <= FEW_BUFFERS;
        let room = || self.bytes.iter().map(|bytes| bytes.len()).sum();
        Ok(if few { Called::transfer(written, room()) } else { Called::once(written) })
    }

    fn nothing_to_do(&self) -> Option<usize> {
        self.bytes.iter().all(|bytes| bytes.is_empty()).then_some(0)
    }
}

operation! {
    /// The future of a stream's `read`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     // `a` and `b` are the two ends of a connection.
    ///     # let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     # let a = TcpStream::connect(listener.local_addr()?).await?;
    ///     # let (b, _) = listener.accept().await?;
    ///     let mut buffer = [0; 64];
    ///     let read: futures::Read<'_> = b.read(&mut buffer);
    ///     a.write_all(b"hello").await?;
    ///     assert_eq!(read.await?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    Read<'a> = ReadInto<'a> => io::Result<usize>
}
operation! {
    /// The future of a stream's `write`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::net::{TcpListener, TcpStream, futures};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     // `a` and `b` are the two ends of a connection.
    ///     # let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     # let a = TcpStream::connect(listener.local_addr()?).await?;
    ///     # let (b, _) = listener.accept().await?;
    ///     let write: futures::Write<'_> = a.write(b"hello");
    ///     assert_eq!(write.await?, 5);
    ///     b.read_exact(&mut [0; 5]).await
    /// })
    /// # }
    /// ```
    Write<'a> = WriteFrom<'a> => io::Result<usize>
}
