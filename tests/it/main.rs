//! One binary, one link: a file a subject.

mod select;
#[allow(dead_code)]
mod util;
