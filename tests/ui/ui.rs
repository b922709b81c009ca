//! What must not compile: each file in `cases/`, with any compiler. What the compiler says then is recorded beside the case, and
//! compared where the compiler is the one of the recording, because each release words things a little differently.
//!
//! `TRYBUILD=overwrite cargo test --test ui` records anew.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The compiler of the recording.
const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn these_do_not_compile() {
    if rustc_version().starts_with(RECORDED_WITH) {
        return trybuild::TestCases::new().compile_fail("cases/*.rs");
    }
    println!(
        "not {RECORDED_WITH}: only that no case compiles is tested, not what the compiler says"
    );
    let copies = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui-cases");
    let _ = fs::remove_dir_all(&copies);
    fs::create_dir_all(&copies).expect("cargo's directory for tests");
    let mut cases = 0;
    for case in fs::read_dir("cases").expect("the cases") {
        let case = case.expect("a case").path();
        if case.extension().is_some_and(|extension| extension == "rs") {
            fs::copy(&case, copies.join(case.file_name().expect("a name"))).expect("a copy");
            cases += 1;
        }
    }
    assert_ne!(cases, 0);
    // SAFETY: this is the only test of the program, and no other thread looks at the environment.
    unsafe { std::env::set_var("TRYBUILD", "overwrite") };
    trybuild::TestCases::new().compile_fail(copies.join("*.rs"));
}

fn rustc_version() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("a compiler").stdout;
    let version = String::from_utf8(version).expect("a version");
    assert!(version.starts_with("rustc "), "{version}");
    version
}
