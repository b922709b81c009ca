//! The future types of the operations. Each can be a case of a [`select!`](crate::select!).

pub use super::bytes::{Read, Write};
pub use super::connect::Connect;
pub use super::listener::Accept;
pub use super::stream::Peek;
pub use super::udp::{PeekFrom, Recv, RecvFrom, Send, SendTo};
#[cfg(unix)]
pub use super::unix::UnixAccept;
#[cfg(unix)]
pub use super::unix_datagram::{UnixRecv, UnixRecvFrom, UnixSend};
