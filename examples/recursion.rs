//! Recursion through `go`: a function that returns a handle may call itself, and each call is a
//! goroutine.
//!
//! An `async fn` that awaits itself does not compile, because its future would contain itself. Nor
//! does an `async fn` that passes itself to `go`. A plain function that calls `go` does, and each
//! call has a handle to the next.

use gopark::{JoinHandle, block_on, go};

/// Below this length a goroutine costs more than it saves.
const SMALL: usize = 100;

/// Sorts two halves at the same time and merges them.
fn sort(mut numbers: Vec<u32>) -> JoinHandle<Vec<u32>> {
    go(async move {
        if numbers.len() <= SMALL {
            numbers.sort_unstable();
            return numbers;
        }
        let upper = numbers.split_off(numbers.len() / 2);
        let (lower, upper) = (sort(numbers), sort(upper));
        // A panic of a call below is passed up through the joins.
        merge(lower.await.unwrap(), upper.await.unwrap())
    })
}

fn merge(a: Vec<u32>, b: Vec<u32>) -> Vec<u32> {
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    let next = || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if y < x => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    };
    std::iter::from_fn(next).collect()
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    // All numbers below 10 007, which is prime, in an order that looks random.
    let numbers: Vec<u32> = (0..10_007).map(|n| n * 5_003 % 10_007).collect();
    assert!(!numbers.is_sorted());
    let sorted = sort(numbers).await.unwrap();
    println!("{} numbers, from {} to {}", sorted.len(), sorted[0], sorted[sorted.len() - 1]);
    assert_eq!(sorted, Vec::from_iter(0..10_007));
}
