//! One binary, one link: a file a subject.

mod chan;
mod select;
#[allow(dead_code)]
mod util;
