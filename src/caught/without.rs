//! For systems where signals cannot be caught, or not in this way.

use std::io;
use std::time::Duration;

use super::set::Signals;

#[derive(Debug)]
pub(crate) struct Post;

pub(crate) static DUMP: Post = Post;

#[derive(Debug)]
pub(crate) enum Catcher {}

impl Catcher {
    pub(crate) fn open(_: &'static Post) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn catch(&self, _: i32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn wait(&self, _: Option<Duration>) -> Signals {
        match *self {}
    }
}
