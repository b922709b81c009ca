//! How often a debug build, which inlines nothing, copies a large value on its way through a
//! `select!`.

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
