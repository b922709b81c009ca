//! An `ErrGroup`: many fetches, at most four at a time; the first error is the result.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopark::sync::ErrGroup;
use gopark::{block_on, gosched};

const LIMIT: usize = 4;

async fn fetch(page: usize) -> Result<usize, String> {
    for _ in 0..page % 5 {
        gosched().await; // the network
    }
    if page == 13 { Err(format!("page {page}: not found")) } else { Ok(page * 100) }
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let bytes = Arc::new(AtomicUsize::new(0));
    let group = ErrGroup::new();
    group.set_limit(LIMIT);
    for page in 0..20 {
        let (running, most, bytes) = (running.clone(), most.clone(), bytes.clone());
        // Waits while four are running.
        group
            .go(async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let fetched = fetch(page).await;
                running.fetch_sub(1, Ordering::SeqCst);
                bytes.fetch_add(fetched?, Ordering::SeqCst);
                Ok(())
            })
            .await;
    }
    let result = group.wait().await;
    let (most, bytes) = (most.load(Ordering::SeqCst), bytes.load(Ordering::SeqCst));
    println!("{bytes} bytes, at most {most} at a time, and: {result:?}");
    assert_eq!(result, Err("page 13: not found".to_owned()));
    assert_eq!(bytes, (0..20).filter(|page| *page != 13).sum::<usize>() * 100);
    assert!((1..=LIMIT).contains(&most));
}
