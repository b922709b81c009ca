//! A runtime with its own processors and goroutines, which end with it.

use std::sync::Arc;
use std::time::Duration;

use gopark::{Runtime, go, num_goroutine};

fn main() {
    let rt = Runtime::builder().gomaxprocs(2).thread_name("worker").build().unwrap();

    // Inside, the free functions use this runtime.
    let resource = Arc::new("held by three goroutines");
    rt.block_on(async {
        for _ in 0..3 {
            let resource = resource.clone();
            go(async move {
                std::future::pending::<()>().await;
                drop(resource);
            });
        }
        println!("{} goroutines, main among them", num_goroutine());
        assert_eq!(num_goroutine(), 4);
    });

    // Main has returned; the goroutines are still alive.
    println!("{} goroutines, {} owners", rt.num_goroutine(), Arc::strong_count(&resource));
    assert_eq!((rt.num_goroutine(), Arc::strong_count(&resource)), (3, 4));

    // Shutting down drops all of them, and everything they own. (So does dropping the runtime.)
    let stragglers = rt.shutdown_timeout(Duration::from_secs(5));
    println!("{stragglers} stragglers, {} owner", Arc::strong_count(&resource));
    assert_eq!((stragglers, Arc::strong_count(&resource)), (0, 1));
}
