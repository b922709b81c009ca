//! One binary, one link: a file a subject.

mod chan;
mod hand;
mod mutex;
mod rwmutex;
mod select;
#[allow(dead_code)]
mod util;
