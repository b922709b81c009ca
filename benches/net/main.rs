//! Sockets: a server of each contender in a process of its own, and one client for all.
//! `../README.md` describes each case.
//!
//! `driver` requests each sample of `../sockets` in turn, and `report` prints the results.

#[cfg(target_os = "linux")]
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
#[path = "../sockets/mod.rs"]
mod sockets;

#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
mod report;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    driver::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this bench wants Linux, which says what another process has used");
}
