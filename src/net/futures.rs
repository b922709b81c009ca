//! The future types of the operations. Each can be a case of a [`select!`](crate::select!).
//!
//! # Examples
//!
//! ```
//! use gopark::net::{TcpListener, TcpStream, futures};
//!
//! struct Server<'a> {
//!     accept: futures::Accept<'a>,
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! gopark::block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let server = Server { accept: listener.accept() };
//!     let client = TcpStream::connect(listener.local_addr()?).await?;
//!     let (_stream, peer) = server.accept.await?;
//!     assert_eq!(peer, client.local_addr()?);
//!     Ok(())
//! })
//! # }
//! ```

pub use super::bytes::{Read, Write};
pub use super::connect::Connect;
pub use super::listener::Accept;
pub use super::tcp::Peek;
pub use super::udp::{PeekFrom, Recv, RecvFrom, Send, SendTo};
#[cfg(unix)]
pub use super::unix::UnixAccept;
#[cfg(unix)]
pub use super::unix_datagram::{UnixRecv, UnixRecvFrom, UnixSend};
