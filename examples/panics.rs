//! A panic is never silent: it is the result of the join, or it is unrecovered.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gopark::sync::WaitGroup;
use gopark::{OnPanic, Runtime, go};

fn main() {
    // Joined: an error.
    let error = gopark::block_on(async { go(async { panic!("oh") }).await }).unwrap_err();
    println!("{error}");
    assert!(error.is_panic() && error.to_string().ends_with("panicked: oh"));
    assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"oh"));

    // Not joined, `OnPanic::Crash`: as in Go it ends the program, here by a panic of `block_on`.
    let crashing = Runtime::new();
    let crash = catch_unwind(AssertUnwindSafe(|| {
        crashing.block_on(async {
            go(async { panic!("nobody joins") });
            std::future::pending::<()>().await
        })
    }));
    let payload = crash.unwrap_err();
    println!("main ended by: {:?}", payload.downcast_ref::<&str>());
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"nobody joins"));

    // Not joined, `OnPanic::Isolate`: it is reported on stderr, and the others go on.
    let isolating = Runtime::builder().on_panic(OnPanic::Isolate).build().unwrap();
    let survived = isolating.block_on(async {
        let wg = WaitGroup::new();
        wg.go(async { panic!("noticed, and survived") });
        wg.wait().await;
        true
    });
    println!("survived: {survived}");
    assert!(survived);
}
