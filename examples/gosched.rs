//! `gosched` lets other goroutines run: on one processor, goroutines that yield take turns.

use std::sync::{Arc, Mutex};

use gopark::sync::WaitGroup;
use gopark::{Runtime, gosched};

fn main() {
    let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    rt.block_on(async {
        let wg = WaitGroup::new();
        for name in ['a', 'b', 'c'] {
            let log = log.clone();
            wg.go(async move {
                for _ in 0..4 {
                    log.lock().unwrap().push(name);
                    gosched().await; // goes behind all runnable goroutines
                }
            });
        }
        wg.wait().await;
    });
    let log = log.lock().unwrap();
    println!("{log}");
    assert_eq!(log.len(), 12);
    assert!("abc".chars().all(|name| log.matches(name).count() == 4));
}
