//! Installs the handler of signals while a thread waits for them.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

use super::set::Signals;
use crate::panics::lock;
use crate::platform::signals::{self, Post, posts};

pub(crate) use crate::platform::signals::DUMP;
#[cfg(feature = "net")]
pub(crate) use crate::platform::signals::{SERVICE, raise_default};

/// The signals for which the handler is installed. It is installed and removed under this lock.
static INSTALLED: Mutex<Signals> = Mutex::new(Signals::NONE);

/// Catches signals until it is dropped.
#[derive(Debug)]
pub(crate) struct Catcher {
    post: &'static Post,
    /// Gets a byte when a signal has arrived.
    bell: UnixStream,
}

impl Catcher {
    /// Opens the catcher of a post. A post has one catcher in the lifetime of the process.
    pub(crate) fn open(post: &'static Post) -> io::Result<Self> {
        Ok(Self { post, bell: post.open()? })
    }

    /// Begins to catch the signal, instead of its default action.
    pub(crate) fn catch(&self, signal: i32) -> io::Result<()> {
        let mut installed = lock(&INSTALLED);
        // Before the handler may run.
        self.post.want(Signals::of(signal).0);
        // If it is installed, but other code has installed a handler on top, that one calls it. If
        // it were installed again, the two would call each other.
        if !installed.has(signal) {
            if let Err(error) = signals::install(signal) {
                self.post.want_no_more(Signals::of(signal).0);
                return Err(error);
            }
            *installed = installed.with(Signals::of(signal));
        }
        Ok(())
    }

    /// Stops catching the signal. If no post wants it, its previous action is restored.
    pub(crate) fn release(&self, signal: i32) {
        let mut installed = lock(&INSTALLED);
        self.post.want_no_more(Signals::of(signal).0);
        let is_wanted = posts().any(|post| Signals(post.wanted()).has(signal));
        if !is_wanted && signals::restore(signal) {
            *installed = installed.without(Signals::of(signal));
        }
    }

    /// Waits for signals, for at most `limit` if there is one.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Signals {
        // A time-out of zero is an error.
        let limit = limit.map(|limit| limit.max(Duration::from_micros(1)));
        let read = self.bell.set_read_timeout(limit).and_then(|()| (&self.bell).read(&mut [0; 64]));
        if !read.is_ok_and(|bytes| bytes > 0) {
            return Signals::NONE;
        }
        // After the read, so that a signal that arrives from now on writes another byte.
        Signals(self.post.take())
    }
}

/// Releases all signals.
impl Drop for Catcher {
    fn drop(&mut self) {
        Signals(self.post.wanted()).each().for_each(|signal| self.release(signal));
    }
}
