//! A pipeline: stages that run at the same time, each connected to the next by a channel.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go};

/// The source: 1, 2, …, n.
fn generate(n: u64) -> Receiver<u64> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        for i in 1..=n {
            if tx.send(i).await.is_err() {
                break; // the next stage has ended
            }
        }
    });
    rx
}

/// A stage: squares its input. When the input closes, the goroutine ends and drops `tx`, which
/// closes the output.
fn square(input: Receiver<u64>) -> Receiver<u64> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        while let Some(n) = input.recv().await {
            if tx.send(n * n).await.is_err() {
                break;
            }
        }
    });
    rx
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let squares = square(generate(100));
    let mut sum = 0;
    while let Some(n) = squares.recv().await {
        sum += n;
    }
    println!("sum of the first 100 squares: {sum}");
    assert_eq!(sum, 100 * 101 * 201 / 6);

    // Dropping the last receiver ends the stages one after the other, back to the source.
    let squares = square(square(generate(u64::MAX)));
    assert_eq!(squares.recv().await, Some(1));
    assert_eq!(squares.recv().await, Some(16));
    drop(squares);
    while gopark::num_goroutine() > 1 {
        gopark::gosched().await;
    }
    println!("all stages have ended");
}
