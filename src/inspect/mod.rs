//! What goroutines do: a dump, a report when they are stuck, a search for those that were
//! forgotten.
//!
//! | question | answer |
//! |---|---|
//! | What does each goroutine do now? | [`goroutines`], [`dump`]; on SIGQUIT with `GOPARK_DEBUG=dump=on` |
//! | Why does nothing go on? | a report on stderr, see [`OnDeadlock`](crate::OnDeadlock) |
//! | Which goroutines did this test leave behind? | [`LeakCheck`] |
//! | Which ones were left when main returned? | `GOPARK_DEBUG=leaks=report` |
//! | Which ones become more and more? | [`leaks`] |
//!
//! Every operation of this crate notes where it was called and what it waits for, in its
//! goroutine's header. To look costs the goroutines nothing, and never polls them or stops the
//! world. A line of a report is true at the moment at which it was read.
//!
//! A goroutine that waits for a future of another crate is said to wait for a "foreign future":
//! where, is not known. One that joined several operations in one poll waits "and more".
//!
//! # `GOPARK_DEBUG`
//!
//! Settings of the environment, separated by commas, that win over the
//! [`Builder`](crate::Builder)'s. Go: `GODEBUG`.
//!
//! | setting | what happens |
//! |---|---|
//! | `deadlock=report`, `crash`, `off` | as [`OnDeadlock`](crate::OnDeadlock)`::Report`, `Crash`, `Ignore` |
//! | `leaks=report`, `crash` | when the last `block_on` of a runtime returns, the goroutines are listed that are still parked, or that only the end of main has woken (unless another worker has taken them meanwhile, as it may where main is polled by [`block_on_local`](crate::block_on_local), or main has received what they sent); `crash` panics with the list |
//! | `locks=on`, `off` | each `Mutex` and `RwMutex` records its holders and where they locked it, for the reports, and each channel is listed, so that [`goroutines`] finds [its facts](ChannelInfo); on by default in builds with debug assertions |
//! | `dump=on` | SIGQUIT (`Ctrl-\`) writes a [`dump`] to stderr, and the process goes on; on Unix |
//! | `sched=MS` | every so many milliseconds a line for each runtime says how busy it is. Go: `schedtrace` |
//!
//! ```text
//! gopark: all goroutines are asleep
//! goroutine 1 (main) [sync.WaitGroup.Wait, 1.1 s] at src/main.rs:14, spawned at src/main.rs:5
//! goroutine 257 "left" [sync.Mutex.Lock, 1.1 s] at src/main.rs:9, spawned at src/main.rs:7
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

/// Adds a line for each of the goroutines, but for no more than `most`.
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
