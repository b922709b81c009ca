//! An operation on a descriptor: it attempts its system call, and waits if that would block.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::coop::{self, Reason};
use crate::panics::lock;
use crate::readiness::{Direction, Next, Wait};
use crate::sources::over;
use crate::wait::acquire::Acquisition;
use crate::wait::watch::Watch;

/// What a system call has done.
pub(crate) struct Called<T> {
    pub(crate) value: T,
    /// The next call may succeed as well.
    pub(crate) more: bool,
}

impl<T> Called<T> {
    /// It says nothing of the next one.
    pub(crate) fn once(value: T) -> Self {
        Self { value, more: true }
    }
}

impl Called<usize> {
    /// So many bytes of `room` were transferred. Fewer than there was room for have drained the direction, where readiness comes
    /// from epoll or kqueue; else only an error that it would block tells.
    pub(crate) fn transfer(bytes: usize, room: usize) -> Self {
        Self { value: bytes, more: bytes == room || bytes == 0 || cfg!(not(unix)) }
    }
}

/// A system call that may block.
pub(crate) trait Operation<'a> {
    type Output;

    fn direction(&self) -> &'a Direction;

    fn call(&mut self) -> io::Result<Called<Self::Output>>;
}

/// Waits for readiness, and gives it back.
pub(crate) struct BeReady<'a>(pub(crate) &'a Direction);

impl<'a> Operation<'a> for BeReady<'a> {
    type Output = ();

    fn direction(&self) -> &'a Direction {
        self.0
    }

    fn call(&mut self) -> io::Result<Called<()>> {
        Ok(Called::once(()))
    }
}

/// Gives readiness back that was taken: also if the call unwinds.
struct Taken<'a>(Option<&'a Direction>);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(direction) = self.0 {
            direction.give_back();
        }
    }
}

/// Makes the system call if the direction may be ready, or if `forced`. `None` if it would block.
#[inline]
pub(crate) fn attempt<T>(
    direction: &Direction,
    forced: bool,
    mut call: impl FnMut() -> io::Result<Called<T>>,
) -> Option<io::Result<T>> {
    loop {
        match direction.next() {
            Next::Fail => return Some(Err(over())),
            Next::Wait if !forced => return None,
            Next::Wait | Next::Try => {}
        }
        let mut taken = Taken(Some(direction));
        match call() {
            Ok(called) => {
                if !called.more {
                    taken.0 = None;
                }
                return Some(Ok(called.value));
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    taken.0 = None;
                    return None;
                }
                ErrorKind::Interrupted => {}
                // Not drained: connections that no descriptor is free for, for example, make no new edge.
                _ => return Some(Err(error)),
            },
        }
    }
}

pin_project! {
    /// The future of an [`Operation`].
    pub(crate) struct Attempts<'a, O> {
        operation: O,
        site: &'static Location<'static>,
        is_done: bool,
        #[pin]
        waiting: Option<Acquisition<Wait<'a>, ()>>,
    }
}

impl<'a, O: Operation<'a>> Attempts<'a, O> {
    pub(crate) fn new(operation: O, site: &'static Location<'static>) -> Self {
        Self { operation, site, is_done: false, waiting: None }
    }
}

impl<'a, O: Operation<'a>> Future for Attempts<'a, O> {
    type Output = io::Result<O::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        assert!(!*this.is_done, "gopark: future polled after completion");
        let direction = this.operation.direction();
        // No task waits: only the system call can tell.
        let forced = coop::tries_once(cx) || coop::is_last(cx.waker());
        loop {
            if let Some(waiting) = this.waiting.as_mut().as_pin_mut() {
                if !forced && waiting.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.waiting.set(None);
            }
            if !coop::poll_ready(cx, *this.site, Reason::Io, direction.object()) {
                return Poll::Pending;
            }
            if let Some(result) = attempt(direction, forced, || this.operation.call()) {
                *this.is_done = true;
                coop::spend();
                return Poll::Ready(result);
            }
            if forced {
                return Poll::Pending;
            }
            this.waiting.set(Some(direction.wait(this.site)));
        }
    }
}

/// As [`Attempts`], for a task that polls without a future that could wait. It waits at `watch`.
pub(crate) fn poll_attempt<T>(
    direction: &Direction,
    watch: &Mutex<Watch>,
    cx: &mut Context<'_>,
    mut call: impl FnMut() -> io::Result<Called<T>>,
) -> Poll<io::Result<T>> {
    let forced = coop::tries_once(cx) || coop::is_last(cx.waker());
    loop {
        if !coop::poll_ready(cx, None, Reason::Io, direction.object()) {
            return Poll::Pending;
        }
        if let Some(result) = attempt(direction, forced, &mut call) {
            coop::spend();
            return Poll::Ready(result);
        }
        if forced || direction.watch(&mut lock(watch), cx) {
            coop::park_at(cx, None, Reason::Io);
            return Poll::Pending;
        }
    }
}

/// Defines the public future of an [`Operation`], which is a case of a `select!` as well.
macro_rules! operation {
    ($(#[$meta:meta])* $name:ident<$a:lifetime> = $operation:ty => $output:ty) => {
        ::pin_project_lite::pin_project! {
            $(#[$meta])*
            #[must_use = "futures do nothing unless awaited"]
            pub struct $name<$a> {
                #[pin]
                attempts: $crate::io::attempt::Attempts<$a, $operation>,
            }
        }

        impl<$a> $name<$a> {
            #[inline]
            pub(crate) fn new(operation: $operation, site: &'static ::std::panic::Location<'static>) -> Self {
                Self { attempts: $crate::io::attempt::Attempts::new(operation, site) }
            }
        }

        impl<$a> ::std::future::Future for $name<$a> {
            type Output = $output;

            #[inline]
            fn poll(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                self.project().attempts.poll(cx)
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
pub(crate) use operation;

operation! {
    /// Waits until something may be read, or written: the `readable` and the `writable` of a socket.
    Ready<'a> = BeReady<'a> => io::Result<()>
}
