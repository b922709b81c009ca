//! Programs made of bytes: random ones, and those of `tests/corpus/channels`, which the fuzzer
//! starts from.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::dice::Dice;
use crate::interpreter::{run, run_with};
use crate::model::Tally;
use crate::util::no_hang;

/// Runs a program; turns a panic into an error.
fn tried(program: &[u8]) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| run(program)))
        .unwrap_or_else(|_| Err("it panicked, see above".into()))
}

/// A program of random length.
fn program(seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let len = 8 + dice.roll(400);
    (0..len).map(|_| dice.roll(256) as u8).collect()
}

/// The shortest program that still fails, as far as removing single bytes reaches.
fn shrunk(mut program: Vec<u8>) -> (Vec<u8>, String) {
    let mut error = tried(&program).expect_err("it fails");
    let mut at = 0;
    while at < program.len() {
        let mut fewer = program.clone();
        fewer.remove(at);
        match tried(&fewer) {
            Err(same) => (program, error, at) = (fewer, same, 0),
            Ok(_) => at += 1,
        }
    }
    (program, error)
}

#[test]
fn any_bytes_do_to_channels_what_they_do_to_gos() {
    no_hang(|| {
        let mut sum = [0; 11];
        for seed in 0..2000 {
            let program = program(seed);
            match tried(&program) {
                Ok(tally) => {
                    let Tally { handed, refilled, selected, passed_on, returned, .. } = tally;
                    let Tally { closed_under, defaults, taken_now, left, retasked, drawn, .. } =
                        tally;
                    let counts = [handed, refilled, selected, passed_on, returned];
                    let counts = counts.into_iter().chain([
                        closed_under,
                        defaults,
                        taken_now,
                        left,
                        retasked,
                        drawn,
                    ]);
                    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                }
                Err(_) => {
                    let (program, error) = shrunk(program);
                    panic!("seed {seed}: {error}replay with {program:?}");
                }
            }
        }
        // After a change to the meaning of the bytes, this shows whether they still reach
        // everything.
        assert!(sum.iter().all(|&count| count > 150), "some corner is never reached: {sum:?}");
    });
}

#[test]
fn the_committed_bytes_do_so_too() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/channels");
    let mut programs = 0;
    for entry in fs::read_dir(dir).expect("the corpus") {
        let path = entry.expect("a file").path();
        let program = fs::read(&path).expect("a program");
        no_hang(move || {
            tried(&program).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        programs += 1;
    }
    assert!(programs >= 12, "only {programs} programs");
}

#[test]
fn a_program_that_differs_from_the_model_is_told_step_by_step() {
    // `try_send` into the channel with room for one, then `try_recv`: there is one value, and the
    // model records the receive twice.
    let program = [5, 1, 6, 1, 2, 0];
    assert!(run(&program).is_ok());
    let mut steps = 0;
    let meddle = |gone: &mut Vec<u8>| {
        steps += 1;
        if steps == 2 {
            gone[0] += 1;
        }
    };
    let error = run_with(&program, meddle).expect_err("it differs");
    assert_eq!(
        error,
        "value 0 was dropped 1 times, not 2, after\n  \
         try_send 0x01\n  try_recv 0x01\n  poll 0x00\n",
        "the steps are told"
    );
}
