//! Implements tokio's I/O traits: feature `tokio-io`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::TcpStream;
#[cfg(unix)]
use super::UnixStream;
use super::traits::writer;

macro_rules! traits {
    ($stream:ty) => {
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let bytes = ready!(self.poll_read_bytes(cx, buffer.initialize_unfilled()))?;
                buffer.advance(bytes);
                Poll::Ready(Ok(()))
            }
        }

        writer!(AsyncWrite, $stream);
    };
}

traits!(TcpStream);
#[cfg(unix)]
traits!(UnixStream);
