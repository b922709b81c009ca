//! One binary, one link: a file a subject.

#[allow(dead_code)]
mod util;
