//! What must not compile, and what the compiler says then.

#[test]
fn these_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
