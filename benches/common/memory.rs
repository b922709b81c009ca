//! Goroutines that take room.

use super::{Executor, Group, for_ever};

/// The bytes of this process that are in memory.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = status.split(' ').nth(1).expect("a second field").parse().expect("a number");
    4096 * pages
}

/// What it costs `n` goroutines to wait, each with `STATE` bytes to keep while it does.
pub(crate) fn parked<E: Executor, const STATE: usize>(executor: E, n: usize) -> usize {
    let spawner = executor.clone();
    executor.block_on(async move {
        // The group is shared, but each goroutine's handle of it is its own, as any goroutine would have one.
        let group = E::Group::of(n);
        let before = resident();
        for _ in 0..n {
            let group = group.clone();
            spawner.go(async move {
                let mut state = [0u8; STATE];
                std::hint::black_box(&mut state);
                group.done();
                for_ever().await;
                std::hint::black_box(&mut state);
            });
        }
        group.wait().await;
        // Those that count down last are parked a moment later.
        for _ in 0..3 {
            E::yield_now().await;
        }
        resident().saturating_sub(before) / n
    })
}
