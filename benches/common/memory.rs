//! The memory that goroutines take. Linux only, because it is read from `/proc`.

use std::future::Future;
use std::hint::black_box;

use super::channels::GroupOf;
use super::{Executor, Group, Shared, for_ever};

/// The resident bytes of this process.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = status.split(' ').nth(1).expect("a second field").parse().expect("a number");
    // SAFETY: the call only reads a property of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    page as usize * pages
}

/// The bytes for each of `n` goroutines that never end, each with `STATE` bytes that it keeps while
/// it waits.
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

/// The same for goroutines that wait for the next message, as most do. All share one channel.
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

/// A goroutine leaves the group when it begins to wait.
fn parked<E: Executor, F: Future<Output = ()> + Send + 'static>(
    executor: E,
    n: usize,
    goroutine: impl Fn(E::Group) -> F + Send + 'static,
) -> usize {
    let spawner = executor.clone();
    executor.block_on(async move {
        let mut before = 0;
        // One alone first, so that whatever starts late has started, and the code is resident.
        for n in [1, n] {
            before = resident();
            // The group is shared, but each goroutine has its own handle of it, as any goroutine
            // would.
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
