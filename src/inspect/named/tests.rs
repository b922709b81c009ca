use super::{NAMES, lock, named};

/// A server names the goroutine of each connection. Before, the map kept the memory of the largest
/// number of names for the life of the process.
#[test]
fn names_that_are_gone_leave_no_memory_behind() {
    crate::block_on(async {
        let goroutines: Vec<_> = (0..20_000)
            .map(|_| crate::go(named("connection", std::future::pending::<()>())))
            .collect();
        crate::go(async {}).await.unwrap();
        goroutines.iter().for_each(|goroutine| goroutine.abort());
        for goroutine in goroutines {
            assert!(goroutine.await.unwrap_err().is_aborted());
        }
    });
    let capacity = lock(&NAMES).as_ref().map_or(0, |names| names.capacity());
    assert!(capacity < 5000, "{capacity}");
}
