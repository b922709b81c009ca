//! [`TestOutput`]: the types that a simulated test may return.

use std::fmt;
use std::process::ExitCode;

/// The output of a simulated test: `()`, an [`ExitCode`], or a `Result` of one of them.
#[diagnostic::on_unimplemented(
    message = "a simulated test cannot return `{Self}`",
    note = "it returns `()`, an `ExitCode`, or a `Result` of one of them"
)]
pub trait TestOutput {
    /// Returns the text of the failure, if it is one.
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

/// Fails the run if the test returned a failure. The expansion of `#[gopark::test(sim)]` calls it.
///
/// # Panics
///
/// If `output` is a failure. The text has it.
pub fn assert_passed(output: impl TestOutput) {
    if let Some(failure) = output.failure() {
        panic!("the test returned {failure}");
    }
}
