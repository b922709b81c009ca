//! A pool reuses values that are expensive to make: here buffers, which a thousand goroutines need
//! for a moment each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gopark::block_on;
use gopark::sync::{Pool, WaitGroup};

static MADE: AtomicUsize = AtomicUsize::new(0);

fn main() {
    let buffers = Arc::new(Pool::new(|| {
        MADE.fetch_add(1, Ordering::Relaxed);
        Vec::<u8>::with_capacity(1 << 16)
    }));
    block_on(async {
        let wg = WaitGroup::new();
        for i in 0..1000_usize {
            let buffers = buffers.clone();
            wg.go(async move {
                // The guard puts the buffer back, with its contents.
                let mut buffer = buffers.get_guard();
                buffer.clear();
                buffer.extend_from_slice(i.to_string().as_bytes());
                assert_eq!(std::str::from_utf8(&buffer).unwrap().parse(), Ok(i));
            });
        }
        wg.wait().await;
    });
    let made = MADE.load(Ordering::Relaxed);
    println!("1000 goroutines, {made} buffers");
    // About one for each processor.
    assert!((1..100).contains(&made));
}
