//! What TCP and Unix streams share.

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use once_cell::race::OnceBox;

use super::bytes::{ByteStream, Kind};
use crate::io::attempt::Called;
use crate::readiness::Readiness;
use crate::sources::{Registered, Sources, Watch};

/// Checks the errors of a connecting socket: its pending error, and the error of asking for its
/// peer. Returns `WouldBlock` while it is still connecting.
pub(super) fn connected(
    readiness: &Readiness,
    pending: Option<io::Error>,
    no_peer: Option<io::Error>,
) -> io::Result<Called<()>> {
    match pending.or(no_peer) {
        None => Ok(Called::once(())),
        Some(error)
            if error.kind() == io::ErrorKind::NotConnected && !readiness.read.has_ended() =>
        {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Some(error) => Err(error),
    }
}

/// A handle of a stream of the kind `K`, and the places of its poll functions, for reading and
/// writing, which are allocated at the first wait.
pub(super) struct Handle<K> {
    watches: OnceBox<[Mutex<Watch>; 2]>,
    socket: Arc<Registered<ByteStream>>,
    _kind: PhantomData<K>,
}

impl<K: Kind> Handle<K> {
    pub(super) fn new(sources: &Arc<Sources>, socket: K) -> io::Result<Self> {
        Ok(Self::sharing(Arc::new(Registered::new(sources, socket.into_stream())?)))
    }

    fn sharing(socket: Arc<Registered<ByteStream>>) -> Self {
        Self { watches: OnceBox::new(), socket, _kind: PhantomData }
    }

    /// Returns the socket.
    pub(super) fn io(&self) -> &K {
        K::of_stream(self.socket.io())
    }

    /// Deregisters the socket and returns it; `Err` if there is another handle.
    pub(super) fn into_io(self) -> Result<K, Self> {
        match Arc::try_unwrap(self.socket) {
            Ok(socket) => Ok(K::from_stream(socket.into_io())),
            Err(socket) => Err(Self { socket, ..self }),
        }
    }

    fn watches(&self) -> &[Mutex<Watch>; 2] {
        let watch = |writes| Mutex::new(self.socket.watch(writes));
        self.watches.get_or_init(|| Box::new([watch(false), watch(true)]))
    }

    pub(super) fn reader(&self) -> &Mutex<Watch> {
        &self.watches()[0]
    }

    pub(super) fn writer(&self) -> &Mutex<Watch> {
        &self.watches()[1]
    }
}

impl<K: Kind> Clone for Handle<K> {
    fn clone(&self) -> Self {
        Self::sharing(self.socket.clone())
    }
}

impl<K> Deref for Handle<K> {
    type Target = Registered<ByteStream>;

    #[inline]
    fn deref(&self) -> &Registered<ByteStream> {
        &self.socket
    }
}

/// Implements the methods of a byte stream and the traits of `futures-io`. `$pair` connects the
/// streams `a` and `b` of an example.
macro_rules! stream {
    ($stream:ident, $read_half:ident, $write_half:ident, $doc:literal, $pair:literal) => {
        impl $stream {
            /// Reads the available bytes; waits until there is at least one. Go: `c.Read`.
            ///
            /// Returns the number of bytes read: 0 at the end of the stream, or if the buffer is
            /// empty.
            ///
            /// # Cancellation
            ///
            /// No byte is lost.
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails, for example because the connection was
            /// reset, or if the runtime has ended.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"hello").await?;
            ///     let mut buffer = [0; 64];
            ///     let n = b.read(&mut buffer).await?;
            ///     assert_eq!(&buffer[..n], b"hello");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            #[track_caller]
            #[inline]
            pub fn read<'a>(&'a self, buffer: &'a mut [u8]) -> Read<'a> {
                Read::new(ReadInto { socket: &*self.socket, buffer }, Location::caller())
            }

            /// Reads as [`read`](Self::read) does, into several buffers, one after the other.
            ///
            /// # Cancellation
            ///
            /// No byte is lost.
            ///
            /// # Errors
            ///
            /// Same as [`read`](Self::read).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::IoSliceMut;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"hello").await?;
            ///     let (mut start, mut rest) = ([0; 2], [0; 8]);
            ///     let buffers = &mut [IoSliceMut::new(&mut start), IoSliceMut::new(&mut rest)];
            ///     assert_eq!(b.read_vectored(buffers).await?, 5);
            ///     assert_eq!((&start, &rest[..3]), (b"he", &b"llo"[..]));
            ///     Ok(())
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn read_vectored<'a, 'b: 'a>(
                &'a self,
                buffers: &'a mut [IoSliceMut<'b>],
            ) -> impl Future<Output = io::Result<usize>> + use<'a, 'b> {
                Attempts::new(ReadIntoAll { socket: &*self.socket, buffers }, Location::caller())
            }

            /// Reads until the buffer is full. Go: `io.ReadFull`.
            ///
            /// # Cancellation
            ///
            /// The bytes read so far are in the buffer, but the caller does not know how many there
            /// are. So the future cannot be a case of a `select!`.
            ///
            /// # Errors
            ///
            /// Same as [`read`](Self::read), and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if
            /// the stream ends before the buffer is full.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"hello").await?;
            ///     let mut buffer = [0; 5];
            ///     b.read_exact(&mut buffer).await?;
            ///     assert_eq!(&buffer, b"hello");
            ///     Ok(())
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn read_exact<'a>(
                &'a self,
                buffer: &'a mut [u8],
            ) -> impl Future<Output = io::Result<()>> + use<'a> {
                let socket = &*self.socket;
                Attempts::new(ReadExact { socket, buffer }, Location::caller())
            }

            /// Reads the available bytes without waiting.
            ///
            /// # Errors
            ///
            /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing to read;
            /// otherwise same as [`read`](Self::read).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::ErrorKind;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let error = a.try_read(&mut [0; 64]).unwrap_err();
            ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
            ///     # drop(b);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                attempt_now(&mut ReadInto { socket: &*self.socket, buffer })
            }

            /// Writes some of the bytes, at least one; waits until the socket's buffer has room.
            ///
            /// Returns the number of bytes written; 0 if there are none to write. Go's `c.Write`
            /// is [`write_all`](Self::write_all).
            ///
            /// # Cancellation
            ///
            /// Nothing has been written.
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails, for example because the peer no longer
            /// reads, or if the runtime has ended.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     assert_eq!(a.write(b"hello").await?, 5);
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            #[inline]
            pub fn write<'a>(&'a self, bytes: &'a [u8]) -> Write<'a> {
                Write::new(WriteFrom { socket: &*self.socket, bytes }, Location::caller())
            }

            /// Writes as [`write`](Self::write) does, from several buffers, one after the other.
            ///
            /// # Cancellation
            ///
            /// Nothing has been written.
            ///
            /// # Errors
            ///
            /// Same as [`write`](Self::write).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::IoSlice;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let parts = [IoSlice::new(b"he"), IoSlice::new(b"llo")];
            ///     assert_eq!(a.write_vectored(&parts).await?, 5);
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn write_vectored<'a>(
                &'a self,
                bytes: &'a [IoSlice<'a>],
            ) -> impl Future<Output = io::Result<usize>> + use<'a> {
                Attempts::new(WriteFromAll { socket: &*self.socket, bytes }, Location::caller())
            }

            /// Writes all of the bytes. Go: `c.Write`.
            ///
            /// # Cancellation
            ///
            /// Some of the bytes may have been written, but the caller does not know how many. So
            /// the future cannot be a case of a `select!`.
            ///
            /// # Errors
            ///
            /// Same as [`write`](Self::write).
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"hello").await?;
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn write_all<'a>(
                &'a self,
                bytes: &'a [u8],
            ) -> impl Future<Output = io::Result<()>> + use<'a> {
                let socket = &*self.socket;
                Attempts::new(WriteAll { socket, bytes }, Location::caller())
            }

            /// Writes some of the bytes without waiting.
            ///
            /// # Errors
            ///
            /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room; otherwise
            /// same as [`write`](Self::write).
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     assert_eq!(a.try_write(b"hello")?, 5);
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
                attempt_now(&mut WriteFrom { socket: &*self.socket, bytes })
            }

            $crate::net::waits!(
                "a [`try_read`](Self::try_read) may succeed: \
                 there are bytes, or the end of the stream, or an error",
                "a [`try_write`](Self::try_write) may succeed",
                $pair,
                try_read,
                try_write
            );

            /// Shuts down the reading half, the writing half, or both. Go: `c.CloseWrite`,
            /// `c.CloseRead`.
            ///
            /// After the writing half is shut down, the peer reads the bytes written before, and
            /// then the end of the stream.
            ///
            /// # Errors
            ///
            /// Returns an error if the system call fails, for example because the stream is no
            /// longer connected.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::net::Shutdown;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     a.write_all(b"bye").await?;
            ///     a.shutdown(Shutdown::Write)?;
            ///     b.read_exact(&mut [0; 3]).await?;
            ///     assert_eq!(b.read(&mut [0; 64]).await?, 0);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.socket.io().shutdown(how)
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
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     assert!(a.take_error()?.is_none());
            ///     # drop(b);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.socket.io().take_error()
            }

            /// Splits the stream into halves, for two futures of one goroutine.
            ///
            /// The halves are references: they cost nothing, and dropping them shuts nothing down.
            /// For two goroutines, clone the stream.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let (reader, writer) = a.split();
            ///     writer.write_all(b"ping").await?;
            ///     b.read_exact(&mut [0; 4]).await?;
            ///     b.write_all(b"pong").await?;
            ///     reader.read_exact(&mut [0; 4]).await
            /// })
            /// # }
            /// ```
            pub fn split(&self) -> ($read_half<'_>, $write_half<'_>) {
                ($read_half(self), $write_half(self))
            }

            pub(super) fn poll_read_bytes(
                &self,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let mut operation = ReadInto { socket: &*self.socket, buffer };
                poll_attempt(&mut operation, || self.socket.reader(), cx)
            }

            pub(super) fn poll_read_buffers(
                &self,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                let mut operation = ReadIntoAll { socket: &*self.socket, buffers };
                poll_attempt(&mut operation, || self.socket.reader(), cx)
            }

            pub(super) fn poll_write_bytes(
                &self,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let mut operation = WriteFrom { socket: &*self.socket, bytes };
                poll_attempt(&mut operation, || self.socket.writer(), cx)
            }

            pub(super) fn poll_write_buffers(
                &self,
                cx: &mut Context<'_>,
                bytes: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let mut operation = WriteFromAll { socket: &*self.socket, bytes };
                poll_attempt(&mut operation, || self.socket.writer(), cx)
            }

            /// Shuts down the writing half. It is not an error if the peer has closed the
            /// connection already.
            pub(super) fn end_write(&self) -> io::Result<()> {
                match self.shutdown(Shutdown::Write) {
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                    ended => ended,
                }
            }
        }

        /// Shares the socket. Each clone has its own place for a task that waits by the poll
        /// functions of the I/O traits.
        impl Clone for $stream {
            fn clone(&self) -> Self {
                Self { socket: self.socket.clone() }
            }
        }

        #[doc = concat!("The reading half of a [`", $doc, "`].")]
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> std::io::Result<()> {
        /// gopark::block_on(async {
        #[doc = $pair]
        ///     let (reader, _writer) = b.split();
        ///     a.write_all(b"hello").await?;
        ///     reader.read_exact(&mut [0; 5]).await
        /// })
        /// # }
        /// ```
        #[derive(Clone, Copy, Debug)]
        pub struct $read_half<'a>(&'a $stream);

        #[doc = concat!("The writing half of a [`", $doc, "`].")]
        ///
        /// # Examples
        ///
        /// ```
        /// # fn main() -> std::io::Result<()> {
        /// gopark::block_on(async {
        #[doc = $pair]
        ///     let (_reader, writer) = a.split();
        ///     writer.write_all(b"hello").await?;
        ///     b.read_exact(&mut [0; 5]).await
        /// })
        /// # }
        /// ```
        #[derive(Clone, Copy, Debug)]
        pub struct $write_half<'a>(&'a $stream);

        impl<'a> $read_half<'a> {
            #[doc = concat!("Reads as [`", $doc, "::read`] does.")]
            ///
            /// # Cancellation
            ///
            /// No byte is lost.
            ///
            /// # Errors
            ///
            /// Same as the method of the stream.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let (reader, _writer) = b.split();
            ///     a.write_all(b"hello").await?;
            ///     assert_eq!(reader.read(&mut [0; 64]).await?, 5);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn read<'b>(&'b self, buffer: &'b mut [u8]) -> Read<'b>
            where
                'a: 'b,
            {
                self.0.read(buffer)
            }

            #[doc = concat!("Reads as [`", $doc, "::read_exact`] does.")]
            ///
            /// # Cancellation
            ///
            /// Same as the method of the stream.
            ///
            /// # Errors
            ///
            /// Same as the method of the stream.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let (reader, _writer) = b.split();
            ///     a.write_all(b"hello").await?;
            ///     reader.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn read_exact<'b>(
                &'b self,
                buffer: &'b mut [u8],
            ) -> impl Future<Output = io::Result<()>> + use<'a, 'b>
            where
                'a: 'b,
            {
                self.0.read_exact(buffer)
            }

            /// Returns the stream.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let (reader, writer) = b.split();
            ///     assert!(std::ptr::eq(reader.stream(), writer.stream()));
            ///     # drop(a);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            pub fn stream(&self) -> &'a $stream {
                self.0
            }
        }

        impl<'a> $write_half<'a> {
            #[doc = concat!("Writes as [`", $doc, "::write`] does.")]
            ///
            /// # Cancellation
            ///
            /// Nothing has been written.
            ///
            /// # Errors
            ///
            /// Same as the method of the stream.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let (_reader, writer) = a.split();
            ///     assert_eq!(writer.write(b"hello").await?, 5);
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn write<'b>(&'b self, bytes: &'b [u8]) -> Write<'b>
            where
                'a: 'b,
            {
                self.0.write(bytes)
            }

            #[doc = concat!("Writes as [`", $doc, "::write_all`] does.")]
            ///
            /// # Cancellation
            ///
            /// Same as the method of the stream.
            ///
            /// # Errors
            ///
            /// Same as the method of the stream.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let (_reader, writer) = a.split();
            ///     writer.write_all(b"hello").await?;
            ///     b.read_exact(&mut [0; 5]).await
            /// })
            /// # }
            /// ```
            #[track_caller]
            pub fn write_all<'b>(
                &'b self,
                bytes: &'b [u8],
            ) -> impl Future<Output = io::Result<()>> + use<'a, 'b>
            where
                'a: 'b,
            {
                self.0.write_all(bytes)
            }

            /// Returns the stream.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::net::Shutdown;
            ///
            /// # fn main() -> std::io::Result<()> {
            /// gopark::block_on(async {
            #[doc = $pair]
            ///     let (_reader, writer) = a.split();
            ///     writer.write_all(b"bye").await?;
            ///     writer.stream().shutdown(Shutdown::Write)?;
            ///     b.read_exact(&mut [0; 3]).await?;
            ///     assert_eq!(b.read(&mut [0; 64]).await?, 0);
            ///     Ok(())
            /// })
            /// # }
            /// ```
            pub fn stream(&self) -> &'a $stream {
                self.0
            }
        }

        $crate::net::traits::futures_io!(read: $stream, this => this);
        $crate::net::traits::futures_io!(read: &$stream, this => **this);
        $crate::net::traits::futures_io!(read: $read_half<'_>, this => this.0);
        $crate::net::traits::futures_io!(write: $stream, this => this);
        $crate::net::traits::futures_io!(write: &$stream, this => **this);
        $crate::net::traits::futures_io!(write: $write_half<'_>, this => this.0);
    };
}
pub(super) use stream;
