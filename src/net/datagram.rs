//! The operations of datagram sockets, generic over the address type.

use std::io;

use crate::io::attempt::{Called, Operation, attempt, wait};
use crate::readiness::Direction;
use crate::sources::{Registered, Registrable};

/// A non-blocking datagram socket.
pub(crate) trait Datagrams: Registrable {
    /// The address that a datagram comes from; `Target` is the address that it is sent to.
    type Source;
    type Target<'a>: Copy;
    /// True if an event tells when a target has room: the socket waits only for room of its own.
    const EVENTS_OF_TARGETS: bool;

    fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, Self::Source)>;
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn send_to(&self, bytes: &[u8], target: Self::Target<'_>) -> io::Result<usize>;
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// A `recv_from`.
pub(crate) struct ReceiveFrom<'a, S: Datagrams> {
    pub(super) socket: &'a Registered<S>,
    pub(super) buffer: &'a mut [u8],
}

impl<'a, S: Datagrams> Operation<'a> for ReceiveFrom<'a, S> {
    type Output = (usize, S::Source);

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<Self::Output>> {
        self.socket.io().recv_from(self.buffer).map(Called::once)
    }
}

/// A `recv`.
pub(crate) struct Receive<'a, S: Datagrams> {
    pub(super) socket: &'a Registered<S>,
    pub(super) buffer: &'a mut [u8],
}

impl<'a, S: Datagrams> Operation<'a> for Receive<'a, S> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().read
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        self.socket.io().recv(self.buffer).map(Called::once)
    }
}

/// A `send_to`, or a `send`.
pub(crate) struct Transmit<'a, S: Datagrams> {
    pub(super) socket: &'a Registered<S>,
    pub(super) bytes: &'a [u8],
    /// `None` if the socket is connected.
    pub(super) target: Option<S::Target<'a>>,
}

impl<'a, S: Datagrams> Operation<'a> for Transmit<'a, S> {
    type Output = usize;

    fn direction(&self) -> &'a Direction {
        &self.socket.readiness().write
    }

    fn call(&mut self) -> io::Result<Called<usize>> {
        let socket = self.socket.io();
        let sent = match self.target {
            Some(target) => socket.send_to(self.bytes, target),
            None => socket.send(self.bytes),
        };
        sent.map(Called::once)
    }

    /// Returns the error `WouldBlock` if the target has no room and no event will tell of it. An
    /// attempt that fails makes the socket itself ready again, so that says nothing.
    fn attempt(&mut self, forced: bool) -> Option<io::Result<usize>> {
        let is_told = S::EVENTS_OF_TARGETS || self.target.is_none();
        let sent = attempt(self.direction(), forced || !is_told, || self.call());
        if sent.is_some() || is_told || forced {
            return sent;
        }
        wait().or_else(|| Some(Err(io::ErrorKind::WouldBlock.into())))
    }
}

impl<S: Datagrams> Clone for Transmit<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Datagrams> Copy for Transmit<'_, S> {}

/// Implements [`Datagrams`] for a socket of mio, whose methods have the same names. `$send_to` may
/// be another function.
macro_rules! datagrams {
    ($socket:ty, $source:ty, $target:ty, $send_to:path, $events_of_targets:literal) => {
        impl $crate::net::datagram::Datagrams for $socket {
            type Source = $source;
            type Target<'a> = $target;
            const EVENTS_OF_TARGETS: bool = $events_of_targets;

            fn recv_from(&self, buffer: &mut [u8]) -> ::std::io::Result<(usize, $source)> {
                self.recv_from(buffer)
            }

            fn recv(&self, buffer: &mut [u8]) -> ::std::io::Result<usize> {
                self.recv(buffer)
            }

            fn send_to(&self, bytes: &[u8], target: Self::Target<'_>) -> ::std::io::Result<usize> {
                $send_to(self, bytes, target)
            }

            fn send(&self, bytes: &[u8]) -> ::std::io::Result<usize> {
                self.send(bytes)
            }
        }
    };
}
pub(super) use datagrams;
