//! Implements hyper's I/O traits: feature `hyper`.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::TcpStream;
#[cfg(unix)]
use super::UnixStream;
use super::stream::writer;

macro_rules! traits {
    ($stream:ty) => {
        impl Read for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                mut cursor: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: nothing uninitialized is written to it, see below.
                let room: *mut [MaybeUninit<u8>] = unsafe { cursor.as_mut() };
                // SAFETY: `poll_read_bytes` writes only initialized bytes, and reads none.
                let room = unsafe { &mut *(room as *mut [u8]) };
                let bytes = ready!(self.poll_read_bytes(cx, room))?;
                // SAFETY: `poll_read_bytes` has written this many bytes.
                unsafe { cursor.advance(bytes) };
                Poll::Ready(Ok(()))
            }
        }

        writer!(Write, $stream);
    };
}

traits!(TcpStream);
#[cfg(unix)]
traits!(UnixStream);
