//! What a test may return.

use std::fmt;
use std::process::ExitCode;

/// The output of a simulated test: `()`, an [`ExitCode`], or a `Result` of one of them.
#[diagnostic::on_unimplemented(
    message = "a simulated test cannot return `{Self}`",
    note = "it returns `()`, an `ExitCode`, or a `Result` of one of them"
)]
pub trait TestOutput {
    /// Why it is a failure, unless it is none.
    fn failure(self) -> Option<String>;
}

impl TestOutput for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl TestOutput for ExitCode {
    fn failure(self) -> Option<String> {
        (self != ExitCode::SUCCESS).then(|| format!("{self:?}"))
    }
}

impl<T: TestOutput, E: fmt::Debug> TestOutput for Result<T, E> {
    fn failure(self) -> Option<String> {
        match self {
            Ok(output) => output.failure(),
            Err(error) => Some(format!("Err({error:?})")),
        }
    }
}

/// Of what `#[gopark::test(sim)]` expands to: a run whose test returns a failure fails.
///
/// # Panics
///
/// With the failure, if it is one.
pub fn assert_passed(output: impl TestOutput) {
    if let Some(failure) = output.failure() {
        panic!("the test returned {failure}");
    }
}
