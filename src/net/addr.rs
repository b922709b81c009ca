//! Socket addresses and host names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::panic::Location;
use std::vec;

use crate::coop::{self, Reason};
use crate::runtime::unblock_at;

/// A type that can be converted to socket addresses: an address, an IP address with a port, or a
/// host name with a port.
///
/// A host name is resolved by [`lookup_host`]. tokio: `ToSocketAddrs`.
///
/// # Examples
///
/// ```
/// use gopark::net::{TcpListener, ToSocketAddrs};
///
/// async fn serve(address: impl ToSocketAddrs) -> std::io::Result<TcpListener> {
///     TcpListener::bind(address).await
/// }
///
/// gopark::block_on(async {
///     serve("127.0.0.1:0").await.unwrap();
///     serve(([127, 0, 0, 1], 0)).await.unwrap();
///     serve(("localhost", 0)).await.unwrap();
/// });
/// ```
pub trait ToSocketAddrs: sealed::Sealed {}

pub(super) mod sealed {
    use super::Addrs;

    /// Seals [`ToSocketAddrs`](super::ToSocketAddrs): only types of this crate and of `std`
    /// implement it.
    pub trait Sealed {
        #[doc(hidden)]
        fn addrs(&self) -> Addrs;
    }
}

/// Addresses, or a name that must be resolved.
#[doc(hidden)]
#[derive(Debug)]
pub enum Addrs {
    Known(Vec<SocketAddr>),
    Host(String, u16),
    HostAndPort(String),
}

impl Addrs {
    /// Resolves a name. Fails if it has no address.
    pub(super) async fn resolve(
        self,
        site: &'static Location<'static>,
    ) -> io::Result<vec::IntoIter<SocketAddr>> {
        use std::net::ToSocketAddrs as _;

        Ok(match self {
            Addrs::Known(addrs) => {
                coop::spent(site, Reason::Io).await;
                addrs.into_iter()
            }
            Addrs::Host(host, port) => {
                unblock_at(site, move || (host.as_str(), port).to_socket_addrs()).await?
            }
            Addrs::HostAndPort(text) => unblock_at(site, move || text.to_socket_addrs()).await?,
        })
    }
}

/// Returns the error for an empty list of addresses.
pub(super) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "gopark: no address")
}

/// Calls `f` with each address until it succeeds.
pub(super) async fn each_addr<T, F: Future<Output = io::Result<T>>>(
    addrs: Addrs,
    site: &'static Location<'static>,
    mut f: impl FnMut(SocketAddr) -> F,
) -> io::Result<T> {
    let mut error = no_address();
    for addr in addrs.resolve(site).await? {
        match f(addr).await {
            Ok(done) => return Ok(done),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// Resolves a host name with a port: `"example.org:80"`, or `("example.org", 80)`. Go:
/// `net.LookupHost`.
///
/// The system's resolver blocks its thread, so a name is resolved by [`unblock`](crate::unblock).
/// An IP address is not looked up.
///
/// # Cancellation
///
/// No data is lost. A look-up that has begun continues, and its result is dropped.
///
/// # Errors
///
/// Returns an error if the name has no address, the resolver fails, or the text has no port.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let addresses: Vec<_> = gopark::net::lookup_host("localhost:80").await?.collect();
///     assert!(addresses.iter().all(|address| address.ip().is_loopback()));
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn lookup_host<A: ToSocketAddrs>(
    host: A,
) -> impl Future<Output = io::Result<LookupHost>> + use<A> {
    let (addrs, site) = (host.addrs(), Location::caller());
    drop(host);
    async move { Ok(LookupHost(addrs.resolve(site).await?)) }
}

/// An iterator over the addresses of a host: the result of [`lookup_host`].
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gopark::block_on(async {
///     let mut addresses = gopark::net::lookup_host("127.0.0.1:80").await?;
///     assert_eq!(addresses.next().unwrap().port(), 80);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct LookupHost(vec::IntoIter<SocketAddr>);

impl Iterator for LookupHost {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

macro_rules! addresses {
    ($($type:ty, $this:ident => $addrs:expr;)*) => {
        $(
            impl ToSocketAddrs for $type {}

            impl sealed::Sealed for $type {
                fn addrs(&self) -> Addrs {
                    let $this = self;
                    $addrs
                }
            }
        )*
    };
}

addresses! {
    SocketAddr, this => Addrs::Known(vec![*this]);
    SocketAddrV4, this => Addrs::Known(vec![(*this).into()]);
    SocketAddrV6, this => Addrs::Known(vec![(*this).into()]);
    (IpAddr, u16), this => Addrs::Known(vec![(*this).into()]);
    (Ipv4Addr, u16), this => Addrs::Known(vec![(*this).into()]);
    (Ipv6Addr, u16), this => Addrs::Known(vec![(*this).into()]);
    ([u8; 4], u16), this => Addrs::Known(vec![(*this).into()]);
    ([u16; 8], u16), this => Addrs::Known(vec![(*this).into()]);
    [SocketAddr], this => Addrs::Known(this.to_vec());
    Vec<SocketAddr>, this => Addrs::Known(this.clone());
    (&str, u16), this => host(this.0, this.1);
    (String, u16), this => host(&this.0, this.1);
    str, this => host_and_port(this);
    String, this => host_and_port(this);
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {}

impl<T: ToSocketAddrs + ?Sized> sealed::Sealed for &T {
    fn addrs(&self) -> Addrs {
        (**self).addrs()
    }
}

fn host(host: &str, port: u16) -> Addrs {
    match host.parse::<IpAddr>() {
        Ok(ip) => Addrs::Known(vec![(ip, port).into()]),
        Err(_) => Addrs::Host(host.to_owned(), port),
    }
}

fn host_and_port(text: &str) -> Addrs {
    match text.parse::<SocketAddr>() {
        Ok(addr) => Addrs::Known(vec![addr]),
        Err(_) => Addrs::HostAndPort(text.to_owned()),
    }
}
