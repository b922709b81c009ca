//! The programs of the peers that are not written in Rust, and the paths of the repository and the
//! results.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository, and of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("`benches/` is in it")
}

pub(crate) fn me() -> PathBuf {
    std::env::current_exe().expect("a path")
}

/// A path in the target directory for files that a run of this bench leaves behind.
pub(crate) fn scratch(bench: &str) -> PathBuf {
    // This program is target/release/deps/BENCH-…
    me().ancestors().nth(3).expect("cargo's layout").join(bench)
}

/// Builds a package in `go/`, or returns why that is not possible.
pub(crate) fn build_go(package: &str, to: &Path) -> Result<PathBuf, String> {
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(to).arg(package).current_dir(root().join("benches/go"));
    match command.output() {
        Ok(output) if output.status.success() => Ok(to.to_owned()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("go build failed: {}", said.lines().next().unwrap_or_default()))
        }
        Err(_) => Err("no `go` on the PATH".to_owned()),
    }
}
