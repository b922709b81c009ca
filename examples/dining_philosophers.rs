//! Five philosophers and five forks; each needs two forks to eat. They cannot deadlock, because
//! each takes the fork with the lower number first.

use std::sync::Arc;

use gopark::sync::{Mutex, WaitGroup};
use gopark::{block_on, gosched};

const SEATS: usize = 5;
const MEALS: usize = 1000;

/// A fork counts how often it has been used.
type Forks = [Mutex<usize>; SEATS];

async fn dine(seat: usize, forks: Arc<Forks>) {
    let (left, right) = (seat, (seat + 1) % SEATS);
    for _ in 0..MEALS {
        let mut first = forks[left.min(right)].lock().await;
        // If each had taken its left fork first, all of them could deadlock here.
        gosched().await;
        let mut second = forks[left.max(right)].lock().await;
        *first += 1;
        *second += 1;
    }
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let forks: Arc<Forks> = Arc::default();
    let table = WaitGroup::new();
    for seat in 0..SEATS {
        table.go(dine(seat, forks.clone()));
    }
    table.wait().await;
    for (number, fork) in forks.iter().enumerate() {
        let used = *fork.lock().await;
        println!("fork {number} was used {used} times");
        assert_eq!(used, 2 * MEALS);
    }
}
