//! A pipeline that a context ends: each stage stops at its next send.

use gopark::chan::{self, Receiver};
use gopark::context::{Context, ContextSendError};
use gopark::{block_on, go};

/// The source: all numbers, until the context ends.
fn count(ctx: Context) -> Receiver<u64> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        for n in 1.. {
            match ctx.send(&tx, n).await {
                Ok(()) => {}
                // A value that was not sent comes back.
                Err(ContextSendError::Context(_, unsent)) => {
                    println!("the source stops before {unsent}");
                    return;
                }
                Err(_) => return, // the next stage has ended
            }
        }
    });
    rx
}

/// A stage: squares its input.
fn square(ctx: Context, input: Receiver<u64>) -> Receiver<u64> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        while let Some(n) = ctx.recv(&input).await {
            if ctx.send(&tx, n * n).await.is_err() {
                return;
            }
        }
    });
    rx
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (ctx, cancel) = Context::background().with_cancel();
    let squares = square(ctx.clone(), count(ctx));
    let mut sum = 0;
    for _ in 0..100 {
        sum += squares.recv().await.unwrap();
    }
    println!("sum of the first 100 squares: {sum}");
    assert_eq!(sum, 100 * 101 * 201 / 6);

    // The receiver is still alive: the context ends both stages, although each waits in a send.
    cancel.cancel();
    while squares.recv().await.is_some() {}
    while gopark::num_goroutine() > 1 {
        gopark::gosched().await;
    }
    println!("all stages have ended");
}
