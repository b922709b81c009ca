//! The traits of hyper's runtimes: feature `hyper`.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::TcpStream;
#[cfg(unix)]
use super::UnixStream;

macro_rules! traits {
    ($stream:ty) => {
        impl Read for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                mut cursor: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: `poll_read_bytes` writes initialized bytes only, and reads none.
                let room = unsafe { &mut *(cursor.as_mut() as *mut [MaybeUninit<u8>] as *mut [u8]) };
                let bytes = ready!(self.poll_read_bytes(cx, room))?;
                // SAFETY: so many bytes have been written.
                unsafe { cursor.advance(bytes) };
                Poll::Ready(Ok(()))
            }
        }

        impl Write for $stream {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                self.poll_write_bytes(cx, bytes)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.poll_write_buffers(cx, bytes)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.end_write())
            }
        }
    };
}

traits!(TcpStream);
#[cfg(unix)]
traits!(UnixStream);
