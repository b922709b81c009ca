//! The guide: how to write with gopark what you know how to write with Go, or with tokio.
//!
//! | page | for whom |
//! |---|---|
//! | [`from_go`] | you know Go: every construct of its concurrency, and its form here |
//! | [`from_tokio`] | you know tokio: what stands for what, and what becomes simpler |
//! | [`cancellation`] | you drop futures, abort goroutines, or give up after some time |
//! | [`blocking`] | you call code that blocks its thread |
//! | [`panics`] | you want to know where a panic goes |
//! | [`when_it_hangs`] | nothing goes on, or goroutines are left behind |
#![cfg_attr(
    feature = "net",
    doc = "| [`network`] | you write servers and clients: sockets, hyper, processes and files |"
)]
#![cfg_attr(
    feature = "sim",
    doc = "| [`test_it`] | a bug shows once a week, and must show in each test |"
)]
//! | [`choosing`] | channel, lock or atomic? And what for Go's `sync.Map`? |
//! | [`beside_tokio`] | you need tokio's sockets, or a library that does; or you have a tokio program already |
//! | [`tuning`] | it works, and is to be faster, or smaller |
//!
//! All Rust code in here is compiled and run with the tests. (The Go code is there to be compared
//! with.)
//!
//! This module is there in the documentation alone: a program that uses gopark has nothing of it.
//! Its pages are the Markdown files beside this one, below `src/`, so they are part of the package
//! and can be read there as well.

#[doc = include_str!("from_go.md")]
pub mod from_go {}

#[doc = include_str!("from_tokio.md")]
pub mod from_tokio {}

#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("blocking.md")]
pub mod blocking {}

#[doc = include_str!("panics.md")]
pub mod panics {}

#[doc = include_str!("when_it_hangs.md")]
pub mod when_it_hangs {}

#[cfg(feature = "net")]
#[doc = include_str!("network.md")]
pub mod network {}

#[cfg(feature = "sim")]
#[doc = include_str!("test_it.md")]
pub mod test_it {}

#[doc = include_str!("choosing.md")]
pub mod choosing {}

#[doc = include_str!("beside_tokio.md")]
pub mod beside_tokio {}

#[doc = include_str!("tuning.md")]
pub mod tuning {}
