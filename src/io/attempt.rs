//! Operations on descriptors: each attempts its system call, and waits if the call would block.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::coop::{self, Reason};
use crate::fork;
use crate::readiness::{Direction, Next, Taken};
use crate::sources::{Fd, Registered, Registrable, Watch, over};
use crate::wait::acquire::Waiting;

/// The result of a system call.
pub(crate) struct Called<T> {
    pub(crate) value: T,
    /// True if the next call may succeed as well.
    pub(crate) more: bool,
}

impl<T> Called<T> {
    /// For a result that tells nothing about the next call.
    pub(crate) fn once(value: T) -> Self {
        Self { value, more: true }
    }
}

/// True if a transfer of fewer bytes than there was room for has drained the direction: where
/// readiness comes from epoll or kqueue. Elsewhere, and if mio is built to use `poll`, only
/// `WouldBlock` says so.
const CUT_SHORT_IS_DRAINED: bool = cfg!(all(
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "illumos",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
    ),
    not(mio_unsupported_force_poll_poll)
));

impl Called<usize> {
    /// For a transfer of `bytes` with room for `room`.
    pub(crate) fn transfer(bytes: usize, room: usize) -> Self {
        Self { value: bytes, more: bytes == room || bytes == 0 || !CUT_SHORT_IS_DRAINED }
    }
}

/// A system call that may block.
pub(crate) trait Operation<'a> {
    type Output;

    fn direction(&self) -> &'a Direction;

    fn call(&mut self) -> io::Result<Called<Self::Output>>;

    /// Returns the output of an operation that has nothing to do: it needs no system call, and does
    /// not wait.
    #[inline]
    fn nothing_to_do(&self) -> Option<Self::Output> {
        None
    }

    /// Makes the system call if the direction may be ready, or if `forced`. `None` if it would
    /// block.
    #[inline]
    fn attempt(&mut self, forced: bool) -> Option<io::Result<Self::Output>> {
        match self.nothing_to_do() {
            Some(output) => Some(Ok(output)),
            None => attempt(self.direction(), forced, || self.call()),
        }
    }

    /// Returns true if a system call has succeeded, but the operation needs another one.
    #[inline]
    fn needs_another(&self) -> bool {
        false
    }
}

/// Waits for readiness without consuming it. Its system call asks whether the descriptor is ready.
pub(crate) struct BeReady<'a> {
    direction: &'a Direction,
    fd: Fd,
    writes: bool,
}

impl<'a> BeReady<'a> {
    pub(crate) fn reads<S: Registrable>(socket: &'a Registered<S>) -> Self {
        Self { direction: &socket.readiness().read, fd: socket.io().fd(), writes: false }
    }

    pub(crate) fn writes<S: Registrable>(socket: &'a Registered<S>) -> Self {
        Self { direction: &socket.readiness().write, fd: socket.io().fd(), writes: true }
    }
}

impl<'a> Operation<'a> for BeReady<'a> {
    type Output = ();

    fn direction(&self) -> &'a Direction {
        self.direction
    }

    fn call(&mut self) -> io::Result<Called<()>> {
        if is_ready(self.fd, self.writes) {
            Ok(Called::once(()))
        } else {
            Err(ErrorKind::WouldBlock.into())
        }
    }

    /// Without an event nothing is known, as for a new socket. So the attempt of the trait asks the
    /// system. This system cannot be asked.
    #[cfg(not(unix))]
    fn attempt(&mut self, forced: bool) -> Option<io::Result<()>> {
        match self.direction.peek() {
            Next::Over => Some(Err(over())),
            Next::Closed => Some(Err(closed())),
            Next::Try(_) => Some(Ok(())),
            Next::Wait if forced => None,
            Next::Wait => wait(),
        }
    }
}

#[cfg(unix)]
use crate::platform::is_ready;
#[cfg(not(unix))]
fn is_ready((): Fd, _: bool) -> bool {
    false
}

/// Gives the readiness back if a system call unwinds.
struct Unwinds<'a>(&'a Direction, Taken);

impl Drop for Unwinds<'_> {
    fn drop(&mut self) {
        self.0.give_back(self.1, true);
    }
}

/// Returns the error of an operation on a closed listener.
fn closed() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, "gopark: use of a closed listener")
}

/// Returns `None`, because the operation must wait; or an error in a forked process, where no
/// thread polls and so no operation can wait.
pub(crate) fn wait<T>() -> Option<io::Result<T>> {
    fork::check().err().map(Err)
}

/// Makes the system call if the direction may be ready, or if `forced`. `None` if it would block.
#[inline]
pub(crate) fn attempt<T>(
    direction: &Direction,
    forced: bool,
    mut call: impl FnMut() -> io::Result<Called<T>>,
) -> Option<io::Result<T>> {
    loop {
        let taken = match direction.next() {
            Next::Over => return Some(Err(over())),
            Next::Closed => return Some(Err(closed())),
            Next::Wait if !forced => return wait(),
            Next::Wait => Taken::NOTHING,
            Next::Try(taken) => taken,
        };
        let unwinds = Unwinds(direction, taken);
        let called = call();
        mem::forget(unwinds);
        match called {
            Ok(called) => {
                direction.give_back(taken, called.more);
                return Some(Ok(called.value));
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => return if forced { None } else { wait() },
                ErrorKind::Interrupted => direction.give_back(taken, true),
                _ => {
                    // Not drained: there may be no new edge, for example for a connection that no
                    // descriptor was free for.
                    direction.give_back(taken, true);
                    return Some(Err(error));
                }
            },
        }
    }
}

/// Makes the system call once, without waiting.
pub(crate) fn attempt_now<'a, O: Operation<'a>>(operation: &mut O) -> io::Result<O::Output> {
    operation.attempt(true).unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))
}

pin_project! {
    /// The future of an [`Operation`].
    ///
    /// | `waiting` | the next step |
    /// |---|---|
    /// | new | the system call |
    /// | waits | the end of the wait |
    /// | done | none: the operation has completed |
    pub(crate) struct Attempts<'a, O: Operation<'a>> {
        operation: O,
        #[pin]
        waiting: Waiting<'a, ()>,
    }

    impl<'a, O: Operation<'a>> PinnedDrop for Attempts<'a, O> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.waiting.is_waiting() {
                this.waiting.leave(this.operation.direction().wait());
            }
        }
    }
}

impl<'a, O: Operation<'a>> Attempts<'a, O> {
    pub(crate) fn new(operation: O, site: &'static Location<'static>) -> Self {
        Self { operation, waiting: Waiting::new(site) }
    }
}

impl<'a, O: Operation<'a>> Future for Attempts<'a, O> {
    type Output = io::Result<O::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (operation, mut waiting) = (this.operation, this.waiting);
        let direction = operation.direction();
        let site = waiting.site();
        // `forced`: no task will wait, so only the system call can tell.
        let forced = coop::is_final(cx);
        if !waiting.is_new() {
            if forced && waiting.is_waiting() {
                waiting.as_mut().leave(direction.wait());
            } else {
                ready!(waiting.as_mut().poll(direction.wait(), cx));
            }
            waiting.as_mut().restart();
        }
        loop {
            if !coop::poll_ready(cx, site, Reason::Io, direction.object()) {
                return Poll::Pending;
            }
            if let Some(result) = operation.attempt(forced) {
                coop::spend();
                if result.is_ok() && operation.needs_another() {
                    continue;
                }
                waiting.finish();
                return Poll::Ready(result);
            }
            if forced {
                return Poll::Pending;
            }
            ready!(waiting.as_mut().poll(direction.wait(), cx));
            waiting.as_mut().restart();
        }
    }
}

/// Like [`Attempts`], for a poll function without a future that could wait. The task waits at
/// the [`Watch`] that `watch` returns.
pub(crate) fn poll_attempt<'a, 'w, O: Operation<'a>>(
    operation: &mut O,
    watch: impl Fn() -> &'w Mutex<Watch>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<O::Output>> {
    let direction = operation.direction();
    let forced = coop::is_final(cx);
    loop {
        if !coop::poll_ready(cx, None, Reason::Io, direction.object()) {
            return Poll::Pending;
        }
        if let Some(result) = operation.attempt(forced) {
            coop::spend();
            return Poll::Ready(result);
        }
        if forced || Watch::begin(watch(), cx) {
            coop::park_at(cx, None, Reason::Io);
            return Poll::Pending;
        }
    }
}

/// Defines a public future that wraps a future of this crate, and that can be a case of a
/// `select!`.
macro_rules! future {
    ($(#[$meta:meta])* $name:ident<$a:lifetime>: $future:ty => $output:ty) => {
        ::pin_project_lite::pin_project! {
            $(#[$meta])*
            #[must_use = "futures do nothing unless awaited"]
            pub struct $name<$a> {
                #[pin]
                future: $future,
            }
        }

        impl<$a> ::std::future::Future for $name<$a> {
            type Output = $output;

            #[inline]
            fn poll(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                self.project().future.poll(cx)
            }
        }

        $crate::wait::case::future_case!($name<$a>, $a);

        impl ::std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use future;

/// Defines the public [`future`](future!) of an [`Operation`].
macro_rules! operation {
    ($(#[$meta:meta])* $name:ident<$a:lifetime> = $operation:ty => $output:ty) => {
        $crate::io::attempt::future! {
            $(#[$meta])*
            $name<$a>: $crate::io::attempt::Attempts<$a, $operation> => $output
        }

        impl<$a> $name<$a> {
            #[inline]
            pub(crate) fn new(
                operation: $operation,
                site: &'static ::std::panic::Location<'static>,
            ) -> Self {
                Self { future: $crate::io::attempt::Attempts::new(operation, site) }
            }
        }
    };
}
pub(crate) use operation;

operation! {
    /// The future of `readable` and `writable`: waits until something may be read, or written.
    ///
    /// # Examples
    ///
    /// ```
    /// use gopark::io::Ready;
    /// use gopark::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// gopark::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let ready: Ready<'_> = socket.writable();
    ///     ready.await?;
    ///     let own = socket.local_addr()?;
    ///     assert_eq!(socket.try_send_to(b"ping", own)?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    Ready<'a> = BeReady<'a> => io::Result<()>
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
