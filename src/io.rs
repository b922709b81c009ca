//! I/O on descriptors and streams: [`Async`], [`copy`], [`copy_bidirectional`]. Go: package `io`.
//!
//! The sockets are in [`net`](crate::net). The traits are those of `futures-io`, re-exported here;
//! the features `hyper` and `tokio-io` add those of hyper and tokio.
//!
//! # Examples
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! gopark::block_on(async {
//!     let (mut reader, mut writer) = (&b"hello"[..], Vec::new());
//!     assert_eq!(gopark::io::copy(&mut reader, &mut writer).await?, 5);
//!     assert_eq!(writer, b"hello");
//!     Ok(())
//! })
//! # }
//! ```

pub(crate) mod attempt;
mod copy;
#[cfg(unix)]
mod descriptor;

pub use attempt::Ready;
pub use copy::{copy, copy_bidirectional};
#[cfg(unix)]
pub use descriptor::Async;
pub use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};
