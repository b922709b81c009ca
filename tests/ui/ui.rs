//! Programs that must not compile: each file in `cases/`. The compiler's message is recorded next
//! to the case, and compared.
//!
//! Each release of the compiler words its messages differently. So the test needs the compiler of
//! `rust-toolchain.toml`, and fails with any other one.
//!
//! `TRYBUILD=overwrite cargo test --test ui` records the messages anew.

use std::process::Command;

#[test]
fn these_do_not_compile() {
    let toolchain = include_str!("../../rust-toolchain.toml");
    let pinned = toolchain.lines().find_map(|line| line.strip_prefix("channel = "));
    let pinned = pinned.expect("rust-toolchain.toml names a channel").trim_matches('"');
    let version = rustc_version();
    assert!(
        version.starts_with(&format!("rustc {pinned} ")),
        "this is {version}, and the messages in tests/ui/cases were recorded with rustc {pinned}: \
         run the test with the toolchain of rust-toolchain.toml. If the toolchain was raised, \
         record the messages anew: TRYBUILD=overwrite cargo test --test ui"
    );
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}

fn rustc_version() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("a compiler").stdout;
    let version = String::from_utf8(version).expect("a version").trim().to_owned();
    assert!(version.starts_with("rustc "), "{version}");
    version
}
