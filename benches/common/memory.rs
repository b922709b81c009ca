//! Goroutines that take room. Linux only: it is read from `/proc`.

use std::future::Future;
use std::hint::black_box;

use super::channels::GroupOf;
use super::{Executor, Group, Shared, for_ever};

/// The bytes of this process that are in memory.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = status.split(' ').nth(1).expect("a second field").parse().expect("a number");
    // SAFETY: the call only reads what the system knows of itself.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    page as usize * pages
}

/// What it costs `n` goroutines to wait for ever, each with `STATE` bytes to keep while it does.
pub(crate) fn pending<E: Executor, const STATE: usize>(executor: E, n: usize) -> usize {
    let goroutine = |group: E::Group| async move {
        let mut state = [0u8; STATE];
        black_box(&mut state);
        group.done();
        for_ever().await;
        black_box(&mut state);
    };
    parked(executor, n, goroutine)
}

/// The same for what most goroutines wait for: the next message. The channel is one for all.
pub(crate) fn receiving<C: Shared>(executor: C::On, n: usize) -> usize {
    let (_sender, receiver) = C::new(0);
    let goroutine = move |group: GroupOf<C>| {
        let mut receiver = C::share(&receiver);
        async move {
            group.done();
            C::recv(&mut receiver).await;
        }
    };
    parked(executor, n, goroutine)
}

/// A goroutine is done with the group when it begins to wait.
fn parked<E: Executor, F: Future<Output = ()> + Send + 'static>(
    executor: E,
    n: usize,
    goroutine: impl Fn(E::Group) -> F + Send + 'static,
) -> usize {
    let spawner = executor.clone();
    executor.block_on(async move {
        let mut before = 0;
        // One alone first: what starts late has started then, and the code is in memory.
        for n in [1, n] {
            before = resident();
            // The group is shared, but each goroutine's handle of it is its own, as any goroutine would have one.
            let group = E::Group::of(n);
            for _ in 0..n {
                spawner.go(goroutine(group.clone()));
            }
            group.wait().await;
            // Those that count down last are parked a moment later.
            for _ in 0..3 {
                E::yield_now().await;
            }
        }
        resident().saturating_sub(before) / n
    })
}
