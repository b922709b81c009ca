//! The guide: how to write Go's or tokio's programs with gopark.
//!
//! | page | read it if |
//! |---|---|
//! | [`from_go`] | you know Go: every construct of its concurrency, and its form here |
//! | [`from_tokio`] | you know tokio: the counterpart of each item, and what becomes simpler |
//! | [`cancellation`] | you drop futures, abort goroutines, or use time-outs |
//! | [`blocking`] | you call code that blocks its thread |
//! | [`panics`] | you want to know where a panic goes |
//! | [`when_it_hangs`] | the program makes no progress, or leaks goroutines |
#![cfg_attr(
    feature = "net",
    doc = "| [`network`] | you write servers and clients with sockets, hyper, processes and files |"
)]
#![cfg_attr(
    feature = "sim",
    doc = "| [`test_it`] | a bug appears once a week, and should fail every test |"
)]
//! | [`choosing`] | you must choose between channel, lock and atomic, or look for `sync.Map` |
//! | [`beside_tokio`] | you need tokio's sockets or a library that does, or have a tokio program |
//! | [`tuning`] | the program works, and should be faster or smaller |
//!
//! The tests compile and run all Rust code in the guide. The Go code is only for comparison.
//!
//! This module exists in the documentation only. Its pages are the Markdown files in `src/guide/`
//! of the package.

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
