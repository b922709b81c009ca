//! How often a debug build, which inlines nothing, copies a large value on its way through a
//! `select!`, and a large future on its way into a goroutine.

#![cfg(all(target_os = "linux", target_arch = "x86_64", debug_assertions))]

use std::arch::asm;
use std::cell::Cell;
use std::ffi::c_void;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use gopark::{chan, select};

type Value = [u8; 4096];

thread_local! {
    /// The bytes that this thread has copied, in calls that copy at least one value.
    static COPIED: Cell<usize> = const { Cell::new(0) };
}

/// Replaces libc's function, also for calls that the compiler emits.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void {
    if len >= size_of::<Value>() {
        COPIED.set(COPIED.get() + len);
    }
    // SAFETY: the caller's promise; it is not written in Rust, because the compiler might turn that
    // into a call of `memcpy`.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack),
        )
    };
    to
}

#[test]
fn a_large_value_is_copied_at_most_64_times_from_its_send_to_the_arm_of_a_select() {
    let (tx, rx) = chan::bounded::<Value>(1);
    let (_tx, never) = chan::bounded::<Value>(1);
    let mut passing = pin!(async {
        tx.send([7; 4096]).await.expect("a receiver");
        select! {
            value = rx.recv() => value.expect("sent")[4095],
            _ = never.recv() => unreachable!(),
        }
    });
    COPIED.set(0);
    let polled = passing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let copies = COPIED.get() / size_of::<Value>();
    assert_eq!(polled, Poll::Ready(7));
    assert!((1..=64).contains(&copies), "{copies} times");
}

/// A bug: each call between `go` and the allocation copied the future. The copies of a future of
/// 100 kB overflowed the stack of a thread.
#[test]
fn a_large_future_is_copied_at_most_10_times_on_its_way_into_a_goroutine() {
    /// Calls `start` with a future that holds a value.
    macro_rules! copies {
        (|$future:ident| $start:expr) => {{
            let value: Value = [7; 4096];
            let $future = async move { value[4095] };
            COPIED.set(0);
            let started = $start;
            (COPIED.get() / size_of::<Value>(), started)
        }};
    }
    // The start of the runtime copies as well.
    gopark::block_on(async {});
    let (go, handle) = copies!(|future| gopark::go(future));
    assert_eq!(gopark::block_on(handle).unwrap(), 7);
    let mut set = gopark::JoinSet::new();
    let (join_set, _) = copies!(|future| set.go(future));
    assert_eq!(gopark::block_on(set.join_all()), [7]);
    let (block_on, seven) = copies!(|future| gopark::block_on(future));
    assert_eq!(seven, 7);
    let (go_local, handle) = gopark::block_on_local(async {
        let (copies, handle) = copies!(|future| gopark::go_local(future));
        (copies, handle.await)
    });
    assert_eq!(handle.unwrap(), 7);
    for copies in [go, join_set, block_on, go_local] {
        assert!((1..=10).contains(&copies), "{go}, {join_set}, {block_on}, {go_local} times");
    }
}
