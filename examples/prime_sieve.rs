//! The concurrent prime sieve: a chain of goroutines, one for each prime, that grows as it is used.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go};

/// Sends 2, 3, 4, … until the receiver is dropped.
fn generate() -> Receiver<u32> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        for i in 2.. {
            if tx.send(i).await.is_err() {
                return;
            }
        }
    });
    rx
}

/// Passes on the numbers that `prime` does not divide.
fn filter(input: Receiver<u32>, prime: u32) -> Receiver<u32> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        while let Some(i) = input.recv().await {
            if i % prime != 0 && tx.send(i).await.is_err() {
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
    let mut numbers = generate();
    let mut primes = Vec::new();
    for _ in 0..25 {
        let prime = numbers.recv().await.unwrap();
        primes.push(prime);
        numbers = filter(numbers, prime);
    }
    drop(numbers); // the chain ends, filter by filter
    println!("{primes:?}");
    assert_eq!((primes[0], primes[24]), (2, 97));
    assert_eq!(primes.iter().sum::<u32>(), 1060);
}
