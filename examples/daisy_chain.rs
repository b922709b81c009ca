//! A daisy chain of 100 000 goroutines: each receives a number from its right and sends it, plus
//! one, to its left.

use gopark::{block_on, chan, go};

const LINKS: u32 = 100_000;

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (leftmost, result) = chan::unbuffered();
    let mut left = leftmost;
    for _ in 0..LINKS {
        let (right, from_right) = chan::unbuffered();
        go(async move {
            let n: u32 = from_right.recv().await.unwrap();
            left.send(n + 1).await.unwrap();
        });
        left = right;
    }
    go(async move { left.send(1).await.unwrap() });
    let result = result.recv().await.unwrap();
    println!("{result}");
    assert_eq!(result, LINKS + 1);
}
