//! Copies from a reader to a writer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use crate::coop::{self, Reason};

/// The size of a buffer. Go's `io.Copy` also uses 32 KiB.
const BUFFER: usize = 32 * 1024;

/// Copies until the reader ends, and returns the number of bytes copied. Go: `io.Copy`.
///
/// A shared reference to a stream is a reader and a writer: `copy(&mut &stream, &mut &other)`.
///
/// # Cancellation
///
/// Bytes that were read but not yet written are lost.
///
/// # Errors
///
/// Returns the first error of the reader or the writer, or [`WriteZero`](io::ErrorKind::WriteZero)
/// if the writer accepts no more bytes.
///
/// # Examples
///
/// ```
/// use gopark::net::UnixStream;
/// use std::net::Shutdown;
///
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let (client, server) = UnixStream::pair()?;
///     client.write_all(b"echo").await?;
///     client.shutdown(Shutdown::Write)?;
///     let copied = gopark::io::copy(&mut &server, &mut &server).await?;
///     assert_eq!(copied, 4);
///     client.read_exact(&mut [0; 4]).await
/// })
/// # }
/// ```
pub async fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut copying = Copying::new();
    std::future::poll_fn(|cx| copying.poll(cx, reader, writer, false)).await
}

/// Copies in both directions until both have ended. tokio: `copy_bidirectional`.
///
/// When one direction ends, the writing half of its target is closed, and the other direction
/// continues. Returns the number of bytes copied from `a` to `b`, and from `b` to `a`.
///
/// # Cancellation
///
/// Bytes that were read but not yet written are lost.
///
/// # Errors
///
/// Same as [`copy`]. The first error ends both directions.
///
/// # Examples
///
/// ```
/// use gopark::io::copy_bidirectional;
/// use gopark::net::UnixStream;
/// use std::net::Shutdown;
///
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let (client, front) = UnixStream::pair()?;
///     let (back, server) = UnixStream::pair()?;
///     let proxy = gopark::go(async move { copy_bidirectional(&mut &front, &mut &back).await });
///     client.write_all(b"question").await?;
///     client.shutdown(Shutdown::Write)?;
///     server.read_exact(&mut [0; 8]).await?;
///     server.write_all(b"answer").await?;
///     drop(server);
///     client.read_exact(&mut [0; 6]).await?;
///     assert_eq!(proxy.await.unwrap()?, (8, 6));
///     Ok(())
/// })
/// # }
/// ```
pub async fn copy_bidirectional<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (mut there, mut back) = (Copying::new(), Copying::new());
    let mut back_first = false;
    std::future::poll_fn(|cx| {
        // They alternate in going first, because the first may exhaust the budget.
        back_first = !back_first;
        let early = if back_first { Some(back.poll(cx, b, a, true)?) } else { None };
        let sent = there.poll(cx, a, b, true)?;
        let received = match early {
            Some(received) => received,
            None => back.poll(cx, b, a, true)?,
        };
        Poll::Ready(Ok((ready!(sent), ready!(received))))
    })
    .await
}

/// The state of one direction.
struct Copying {
    buffer: Box<[u8]>,
    /// The bytes from `start` to `end` of the buffer are not written yet.
    start: usize,
    end: usize,
    copied: u64,
    needs_flush: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Copies,
    /// The reader has ended.
    Ends,
    Done,
}

impl Copying {
    fn new() -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { buffer, start: 0, end: 0, copied: 0, needs_flush: false, stage: Stage::Copies }
    }

    /// Copies as far as possible without waiting. At the end, flushes the writer, or closes it if
    /// `closes`.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        closes: bool,
    ) -> Poll<io::Result<u64>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        while self.stage == Stage::Copies {
            // For streams of other crates, which do not consume the budget.
            if !coop::poll_ready(cx, None, Reason::Io, None) {
                return Poll::Pending;
            }
            coop::spend();
            if self.start == self.end {
                let read = Pin::new(&mut *reader).poll_read(cx, &mut self.buffer);
                if read.is_pending() && self.needs_flush {
                    ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                    self.needs_flush = false;
                }
                (self.start, self.end) = (0, ready!(read)?);
                if self.end == 0 {
                    self.stage = Stage::Ends;
                    break;
                }
            }
            let written =
                ready!(Pin::new(&mut *writer).poll_write(cx, &self.buffer[self.start..self.end]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
            self.copied += written as u64;
            self.needs_flush = true;
        }
        if self.stage == Stage::Ends {
            let mut writer = Pin::new(writer);
            ready!(if closes {
                writer.as_mut().poll_close(cx)
            } else {
                writer.as_mut().poll_flush(cx)
            })?;
            self.stage = Stage::Done;
        }
        Poll::Ready(Ok(self.copied))
    }
}
