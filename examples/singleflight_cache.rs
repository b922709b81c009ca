//! A cache in front of a slow lookup: goroutines that miss the same key at the same time share one
//! lookup.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopark::sync::{RwMutex, SingleFlight, WaitGroup};
use gopark::{block_on, gosched};

#[derive(Default)]
struct Cache {
    known: RwMutex<HashMap<u32, String>>,
    lookups: SingleFlight<u32, String>,
    looked_up: AtomicUsize,
}

impl Cache {
    async fn get(&self, key: u32) -> String {
        if let Some(value) = self.known.rlock().await.get(&key) {
            return value.clone();
        }
        let lookup = async {
            self.looked_up.fetch_add(1, Ordering::Relaxed);
            for _ in 0..100 {
                gosched().await; // the slow part
            }
            let value = format!("value {key}");
            self.known.lock().await.insert(key, value.clone());
            value
        };
        let (value, _shared) = self.lookups.work(key, lookup).await;
        value
    }
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (cache, wg) = (Arc::new(Cache::default()), WaitGroup::new());
    for i in 0..100 {
        let cache = cache.clone();
        wg.go(async move { assert_eq!(cache.get(i % 4).await, format!("value {}", i % 4)) });
    }
    wg.wait().await;
    let (keys, lookups) =
        (cache.known.rlock().await.len(), cache.looked_up.load(Ordering::Relaxed));
    println!("100 requests for {keys} keys took {lookups} lookups");
    // A goroutine that misses just as a lookup ends may start another one; a hundred do not.
    assert!(keys == 4 && (4..50).contains(&lookups));
}
