//! Channels and selects by bytes: `cargo +nightly fuzz run channels fuzz/corpus/channels tests/corpus/channels`.

#![no_main]

#[path = "../../tests/it/interpreter.rs"]
#[allow(dead_code)]
mod interpreter;
#[path = "../../tests/it/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../../tests/it/operation.rs"]
#[allow(dead_code)]
mod operation;
#[path = "../../tests/it/task.rs"]
#[allow(dead_code)]
mod task;

libfuzzer_sys::fuzz_target!(|program: &[u8]| {
    if let Err(error) = interpreter::run(program) {
        panic!("{error}replay with {program:?}");
    }
});
