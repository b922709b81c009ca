//! What must not compile, and what the compiler says then.

use std::process::Command;

/// The compiler whose words are recorded beside the cases; each release words things a little differently.
const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn these_do_not_compile() {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("a compiler").stdout;
    let version = String::from_utf8(version).expect("a version");
    assert!(version.starts_with("rustc "), "{version}");
    if version.starts_with(RECORDED_WITH) {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    }
}
