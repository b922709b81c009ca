//! Fork and join: start goroutines, go on, then collect their results.

use gopark::{block_on, go};

async fn square(n: u64) -> u64 {
    n * n
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    // Fork: all of them run from here on. (The iterator is lazy; `collect` starts them.)
    let squares: Vec<_> = (1..=10).map(|n| go(square(n))).collect();

    // Join: each handle returns its goroutine's result.
    let mut sum = 0;
    for handle in squares {
        sum += handle.await.unwrap();
    }
    println!("1² + 2² + … + 10² = {sum}");
    assert_eq!(sum, 385);
}
