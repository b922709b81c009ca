//! Lists goroutines, reports deadlocks, and finds leaked goroutines.
//!
//! | question | answer |
//! |---|---|
//! | What does each goroutine do now? | [`goroutines`], [`dump`] |
//! | Why does the program make no progress? | a report, see [`OnDeadlock`](crate::OnDeadlock) |
//! | Which goroutines did this test leave behind? | [`LeakCheck`] |
//! | Which were left when main returned? | `GOPARK_DEBUG=leaks=report` |
//! | Which grow in number? | [`leaks`] |
//!
//! Every operation of this crate records its call site and what it waits for in the header of its
//! goroutine. An inspection costs the goroutines nothing: it never polls them and does not stop the
//! world. Each line of a report was true when it was read.
//!
//! If a goroutine waits for a future of another crate, the reason is "foreign future", and the site
//! is unknown. If it polls several operations at once, the report shows one of them "and more".
//!
//! # `GOPARK_DEBUG`
//!
//! This environment variable holds settings, separated by commas. They override those of the
//! [`Builder`](crate::Builder). Go: `GODEBUG`.
//!
//! * `deadlock=report`, `deadlock=crash`, `deadlock=off`: as [`OnDeadlock`](crate::OnDeadlock)
//!   `::Report`, `Crash`, `Ignore`.
//! * `leaks=report`: when the last `block_on` of a runtime returns, lists the goroutines that are
//!   still parked, and those that the end of main has just woken. A woken one is not listed if main
//!   has received the value that it was sending, or if another worker has run it meanwhile, which
//!   is possible if [`block_on_local`](crate::block_on_local) polls main.
//!   `leaks=crash` panics with the list.
//! * `locks=on`, `locks=off`: each `Mutex` and `RwMutex` records its holders and where they locked
//!   it, for the reports; and each channel is listed, so that [`goroutines`] returns [its
//!   state](ChannelInfo). On by default in builds with debug assertions.
//! * `dump=on`: SIGQUIT (`Ctrl-\`) writes a [`dump`] to stderr, and the process goes on. On Unix.
//! * `sched=MS`: every `MS` milliseconds, one line for each runtime says how busy it is. Go:
//!   `schedtrace`.
//!
//! A report looks like this:
//!
//! ```text
//! gopark: all goroutines are asleep
//! goroutine 1 (main) [sync.WaitGroup.Wait, 1.1 s] at src/main.rs:14, spawned at src/main.rs:5
//! goroutine 257 "left" [sync.Mutex.Lock, 1.1 s] at src/main.rs:9, spawned at src/main.rs:7
//! ```
//!
//! # Examples
//!
//! ```
//! use gopark::inspect;
//!
//! gopark::block_on(inspect::named("server", async {
//!     let main = &inspect::goroutines()[0];
//!     assert_eq!(main.name.as_deref(), Some("server"));
//!     assert!(main.to_string().contains("[running]"));
//! }));
//! ```

mod deadlock;
mod dump;
mod info;
mod leaks;
mod named;
mod service;

use std::fmt::Write;

pub use crate::chan::record::ChannelInfo;
pub use crate::header::WaitReason;
#[cfg(feature = "net")]
pub use crate::sources::SocketInfo;
pub(crate) use deadlock::judge;
#[cfg(feature = "sim")]
pub(crate) use deadlock::report_of;
pub use dump::{dump, goroutines};
pub use info::{GoroutineInfo, GoroutineState, LockHolder, RuntimeId};
#[cfg(feature = "sim")]
pub(crate) use leaks::left_in;
pub use leaks::{LeakCheck, LeakGroup, leaks};
pub(crate) use leaks::{main_has_returned, of_mains};
pub use named::{Named, named};
pub(crate) use service::start as serve;

/// Appends a line for each goroutine, but for at most `most`.
fn lines(text: &mut String, goroutines: &[GoroutineInfo], most: usize) {
    // Writing to a string does not fail.
    for goroutine in &goroutines[..goroutines.len().min(most)] {
        let _ = writeln!(text, "{goroutine}");
        for holder in &goroutine.held_by {
            let _ = writeln!(text, "  held by {holder}");
        }
    }
    if goroutines.len() > most {
        let _ = writeln!(text, "and {} more goroutines", goroutines.len() - most);
    }
}
