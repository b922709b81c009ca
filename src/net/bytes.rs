//! The operations on byte streams.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem;

use crate::io::attempt::{Called, Operation, operation};
use crate::readiness::{Direction, Readiness};

/// A byte stream.
pub(crate) trait Bytes: Sync {
    fn readiness(&self) -> &Readiness;
    /// Returns true if a read may stop before the end of the available bytes: at a message that
    /// carries descriptors.
    fn has_messages(&self) -> bool;
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    fn write_vectored(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize>;
}

macro_rules! bytes {
    ($socket:ty, $has_messages:literal) => {
        impl $crate::net::bytes::Bytes for $crate::sources::Registered<$socket> {
            fn readiness(&self) -> &$crate::readiness::Readiness {
                self.readiness()
            }

            #[inline]
            fn has_messages(&self) -> bool {
                $has_messages
            }

            #[inline]
            fn read(&self, buffer: &mut [u8]) -> ::std::io::Result<usize> {
                self.io().read(buffer)
            }

            fn read_vectored(
                &self,
                buffers: &mut [::std::io::IoSliceMut<'_>],
            ) -> ::std::io::Result<usize> {
                self.io().read_vectored(buffers)
            }

            #[inline]
            fn write(&self, bytes: &[u8]) -> ::std::io::Result<usize> {
                self.io().write(bytes)
            }

            fn write_vectored(&self, bytes: &[::std::io::IoSlice<'_>]) -> ::std::io::Result<usize> {
                self.io().write_vectored(bytes)
            }
        }
    };
}
pub(super) use bytes;

pub(crate) struct ReadInto<'a> {
    pub(super) socket: &'a dyn Bytes,
    pub(super) buffer: &'a mut [u8],
}

impl<'a> Operation<'a> for ReadInto<'a> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        let bytes = self.socket.read(self.buffer)?;
        Ok(if self.socket.has_messages() {
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
    pub(super) socket: &'a dyn Bytes,
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
    pub(super) socket: &'a dyn Bytes,
    pub(super) buffers: &'a mut [IoSliceMut<'b>],
}

impl<'a> Operation<'a> for ReadIntoAll<'a, '_> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        // The system may accept fewer buffers than there are.
        self.socket.read_vectored(self.buffers).map(Called::once)
    }

    fn nothing_to_do(&self) -> Option<usize> {
        self.buffers.iter().all(|buffer| buffer.is_empty()).then_some(0)
    }
}

pub(crate) struct WriteFrom<'a> {
    pub(super) socket: &'a dyn Bytes,
    pub(super) bytes: &'a [u8],
}

impl<'a> Operation<'a> for WriteFrom<'a> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().write
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        let written = self.socket.write(self.bytes)?;
        Ok(Called::transfer(written, self.bytes.len()))
    }

    #[inline]
    fn nothing_to_do(&self) -> Option<usize> {
        self.bytes.is_empty().then_some(0)
    }
}

/// Writes all of the bytes. `bytes` are those that are not written yet.
pub(crate) struct WriteAll<'a> {
    pub(super) socket: &'a dyn Bytes,
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
    pub(super) socket: &'a dyn Bytes,
    pub(super) bytes: &'a [IoSlice<'a>],
}

impl<'a> Operation<'a> for WriteFromAll<'a> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().write
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        let written = self.socket.write_vectored(self.bytes)?;
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
