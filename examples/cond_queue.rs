//! A bounded queue made of a mutex and two condition variables, for what a channel cannot do (here:
//! a consumer takes the smallest item).

use std::collections::BTreeSet;
use std::sync::Arc;

use gopark::block_on;
use gopark::sync::{Cond, Mutex, WaitGroup};

struct SmallestFirst {
    items: Mutex<BTreeSet<usize>>,
    room: usize,
    not_full: Cond,
    not_empty: Cond,
}

impl SmallestFirst {
    async fn put(&self, item: usize) {
        let items = self.items.lock().await;
        let mut items = self.not_full.wait_while(items, |items| items.len() == self.room).await;
        items.insert(item);
        self.not_empty.signal();
    }

    async fn take(&self) -> usize {
        let items = self.items.lock().await;
        let mut items = self.not_empty.wait_while(items, |items| items.is_empty()).await;
        let smallest = items.pop_first().expect("not empty");
        self.not_full.signal();
        smallest
    }
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let queue = Arc::new(SmallestFirst {
        items: Mutex::default(),
        room: 8,
        not_full: Cond::new(),
        not_empty: Cond::new(),
    });
    let (wg, sum) = (WaitGroup::new(), Arc::new(Mutex::new(0)));
    for worker in 0..4 {
        let (puts, takes, sum) = (queue.clone(), queue.clone(), sum.clone());
        wg.go(async move {
            for i in 0..250 {
                puts.put(i * 4 + worker).await;
            }
        });
        wg.go(async move {
            for _ in 0..250 {
                *sum.lock().await += takes.take().await;
            }
        });
    }
    wg.wait().await;
    let sum = *sum.lock().await;
    println!("1000 numbers came through, their sum is {sum}");
    assert_eq!(sum, 999 * 1000 / 2);
}
