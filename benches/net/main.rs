//! Sockets: a server of each contender in a process of its own, and one client for all.
//! `../README.md` describes each case.
//!
//! This file requests each sample in turn: `serve` is the server, over the sockets of `contenders`;
//! `load` is the client; both are this program again. `report` prints the results.

#[cfg(target_os = "linux")]
#[path = "../common/mod.rs"]
mod common;

#[cfg(target_os = "linux")]
mod contenders;
#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod serve;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    driver::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this bench wants Linux, which says what another process has used");
}
