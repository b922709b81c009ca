//! What a goroutine may capture: it can outlive its parent, so it must own or share, and cannot
//! borrow.

use std::sync::{Arc, Mutex};

use gopark::sync::WaitGroup;
use gopark::{block_on, go};

fn main() {
    block_on(example());

    // Borrow: only main may, because `block_on` waits for it.
    let mut list = vec![3, 1, 2];
    block_on(async { list.sort() });
    println!("{list:?}");
    assert_eq!(list, [1, 2, 3]);
}

pub(crate) async fn example() {
    // Own: `move` gives each goroutine its own copy of the loop variable.
    let handles: Vec<_> = ["hello", "greetings", "good day"]
        .into_iter()
        .map(|salutation| go(async move { salutation.to_uppercase() }))
        .collect();
    let mut said = Vec::new();
    for handle in handles {
        said.push(handle.await.unwrap());
    }
    println!("{said:?}");
    assert_eq!(said, ["HELLO", "GREETINGS", "GOOD DAY"]);

    // Share: an `Arc` for the ownership, a lock for the writes.
    let salutation = Arc::new(Mutex::new("hello"));
    let wg = WaitGroup::new();
    let shared = salutation.clone();
    wg.go(async move { *shared.lock().unwrap() = "welcome" });
    wg.wait().await;
    println!("{}", salutation.lock().unwrap());
    assert_eq!(*salutation.lock().unwrap(), "welcome");
}
