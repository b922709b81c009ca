//! Go's figures, measured next to gopark's where `go` is on the PATH.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What `benches/go/compare` measures for a case with `n` operations. `None` without Go, or if the
/// program does not build.
pub(crate) fn measure(case: &str, n: usize, procs: usize) -> Option<f64> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(build).as_ref()?;
    let mut command = Command::new(program);
    command.arg(case).arg(n.to_string()).env("GOMAXPROCS", procs.to_string());
    let output = command.stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The program is written next to the tour's own.
fn build() -> Option<PathBuf> {
    let program = env::current_exe().ok()?.with_file_name("tour-go");
    let mut command = Command::new("go");
    command.arg("build").arg("-o").arg(&program).arg("./compare");
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/go"));
    // An older Go fails instead of downloading a newer one.
    command.env("GOTOOLCHAIN", "local").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().ok()?.success().then_some(program)
}
