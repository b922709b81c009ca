//! The operating system's signals. Each test uses a signal that no other test uses, or runs in a
//! process of its own.

use std::time::Duration;

use gopark::context::{Context, ContextError};
use gopark::signal::{self, Signal, SignalError};
use gopark::{block_on, chan, go, select};

use crate::util::{in_child, isolated, no_hang, spin_until};

/// Sends a signal to this process.
fn raise(signal: Signal) {
    // SAFETY: the tests that call it catch the signal, or run in a process of their own.
    unsafe { libc::kill(libc::getpid(), signal.as_raw()) };
}

#[test]
fn each_receiver_is_told_of_the_signals_that_it_named() {
    no_hang(|| {
        let both = signal::notify(&[Signal::USR1, Signal::ALRM]);
        let one = signal::notify(&[Signal::USR1]);
        raise(Signal::ALRM);
        assert_eq!(both.recv_blocking(), Some(Signal::ALRM));
        raise(Signal::USR1);
        assert_eq!(both.recv_blocking(), Some(Signal::USR1));
        assert_eq!(one.recv_blocking(), Some(Signal::USR1));
        assert!(both.is_empty() && one.is_empty());
    });
}

#[test]
fn a_goroutine_waits_for_a_signal_in_a_select() {
    no_hang(|| {
        block_on(async {
            let resizes = signal::notify(&[Signal::WINCH]);
            let (_tx, rx) = chan::unbuffered::<()>();
            go(async { raise(Signal::WINCH) });
            select! {
                signal = resizes.recv() => assert_eq!(signal, Some(Signal::WINCH)),
                _ = rx.recv() => unreachable!("nothing is sent"),
            }
        });
    });
}

#[test]
fn a_signal_that_finds_the_channel_full_is_dropped() {
    isolated(|| {
        let full = signal::notify(&[Signal::USR1]);
        let other = signal::notify(&[Signal::USR1]);
        // Each one must arrive before the next is sent, because the system merges equal signals.
        for _ in 0..20 {
            raise(Signal::USR1);
            assert_eq!(other.recv_blocking(), Some(Signal::USR1));
        }
        spin_until(|| full.len() == 16);
        // The dropped ones are gone, but the next one is received.
        (0..16).for_each(|_| assert_eq!(full.try_recv(), Ok(Signal::USR1)));
        raise(Signal::USR1);
        assert_eq!(full.recv_blocking(), Some(Signal::USR1));
    });
}

#[test]
fn of_no_signals_the_channel_is_closed() {
    assert_eq!(signal::notify(&[]).recv_blocking(), None);
    assert_eq!(signal::notify_context(&Context::background(), &[]).0.err(), None);
}

/// The signal must end the process of the test.
fn ends_by(signal: Signal, body: impl FnOnce()) {
    match in_child(&[]) {
        None => {
            body();
            std::thread::sleep(Duration::from_secs(60)); // asleep: the signal ends it
        }
        Some(ended) => assert_eq!(ended.signal, Some(signal.as_raw()), "{ended:#?}"),
    }
}

#[test]
fn without_a_receiver_the_signal_does_what_it_did_before() {
    ends_by(Signal::USR2, || {
        let receiver = signal::notify(&[Signal::USR2]);
        raise(Signal::USR2);
        assert_eq!(receiver.recv_blocking(), Some(Signal::USR2));
        drop(receiver);
        raise(Signal::USR2);
    });
}

#[test]
fn another_receiver_keeps_the_signal_caught() {
    isolated(|| {
        let kept = signal::notify(&[Signal::USR2]);
        drop(signal::notify(&[Signal::USR2]));
        for _ in 0..3 {
            raise(Signal::USR2);
            assert_eq!(kept.recv_blocking(), Some(Signal::USR2));
        }
    });
}

#[test]
fn a_handler_that_was_there_before_is_called_as_well() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: libc::c_int) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    isolated(|| {
        let handler: extern "C" fn(libc::c_int) = count;
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
        let receiver = signal::notify(&[Signal::USR1]);
        raise(Signal::USR1);
        assert_eq!(receiver.recv_blocking(), Some(Signal::USR1));
        spin_until(|| CALLS.load(Ordering::SeqCst) == 1);
        drop(receiver);
        // There is no receiver: the handler is called once, and is then the only one again.
        raise(Signal::USR1);
        spin_until(|| CALLS.load(Ordering::SeqCst) == 2);
        raise(Signal::USR1);
        spin_until(|| CALLS.load(Ordering::SeqCst) == 3);
    });
}

#[test]
fn a_handler_that_came_later_and_calls_the_one_before_hides_no_signal() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn forward(
        signal: libc::c_int,
        info: *mut libc::siginfo_t,
        context: *mut libc::c_void,
    ) {
        CALLS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: it is gopark's handler, which takes three arguments.
        let before: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(BEFORE.load(Ordering::SeqCst)) };
        before(signal, info, context);
    }
    isolated(|| {
        let receiver = signal::notify(&[Signal::USR1]);
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = forward;
        // SAFETY: the handler is async-signal-safe, and the actions are complete.
        unsafe {
            let (mut before, mut mine): (libc::sigaction, libc::sigaction) =
                (std::mem::zeroed(), std::mem::zeroed());
            libc::sigaction(libc::SIGUSR1, std::ptr::null(), &raw mut before);
            BEFORE.store(before.sa_sigaction, Ordering::SeqCst);
            (mine.sa_sigaction, mine.sa_flags) = (handler as libc::sighandler_t, libc::SA_SIGINFO);
            libc::sigaction(libc::SIGUSR1, &raw const mine, std::ptr::null_mut());
        }
        raise(Signal::USR1);
        assert_eq!(receiver.recv_blocking(), Some(Signal::USR1));
        drop(receiver);
        // It is not the process's handler, so it stays installed, and does not call the other one.
        raise(Signal::USR1);
        spin_until(|| CALLS.load(Ordering::SeqCst) == 2);
        let receiver = signal::notify(&[Signal::USR1]);
        raise(Signal::USR1);
        assert_eq!(receiver.recv_blocking(), Some(Signal::USR1));
        // The second signal may have been delivered to the new receiver.
        spin_until(|| CALLS.load(Ordering::SeqCst) == 3);
    });
}

#[test]
fn a_signal_ends_the_context_and_is_its_cause() {
    no_hang(|| {
        block_on(async {
            let (parent, _cancel) = Context::background().with_value(7_u32).with_cancel();
            let (ctx, _stop) = signal::notify_context(&parent, &[Signal::CONT]);
            assert_eq!(ctx.err(), None);
            raise(Signal::CONT);
            ctx.done().await;
            assert_eq!(ctx.err(), Some(ContextError::Canceled));
            let cause = ctx.cause().unwrap();
            assert_eq!(cause.to_string(), "continued signal received");
            assert_eq!(cause.downcast_ref::<SignalError>().unwrap().signal(), Signal::CONT);
            assert_eq!(ctx.value::<u32>().as_deref(), Some(&7));
            assert_eq!(parent.err(), None);
        });
    });
}

#[test]
fn a_second_signal_ends_a_process_whose_context_has_ended() {
    ends_by(Signal::TERM, || {
        let (ctx, _stop) = signal::notify_context(&Context::background(), &[Signal::TERM]);
        raise(Signal::TERM);
        spin_until(|| ctx.err().is_some());
        // The context ends first, and then the default action is restored: a signal in between is
        // caught.
        loop {
            raise(Signal::TERM);
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_context_that_was_stopped_catches_no_more() {
    ends_by(Signal::TERM, || {
        let (ctx, stop) = signal::notify_context(&Context::background(), &[Signal::TERM]);
        stop.cancel();
        assert_eq!(ctx.cause().unwrap().to_string(), "context canceled");
        raise(Signal::TERM);
    });
}

#[test]
fn ctrl_c_completes_all_that_wait() {
    isolated(|| {
        block_on(async {
            let waiting = [signal::ctrl_c(), signal::ctrl_c()];
            raise(Signal::INT);
            for waiting in waiting {
                waiting.await;
            }
        });
    });
}

#[test]
fn dropped_ctrl_c_leaves_its_signal_to_the_next() {
    isolated(|| {
        block_on(async {
            // One signal that came while the future existed, and one that came between two futures.
            let probe = signal::notify(&[Signal::INT]);
            let dropped = signal::ctrl_c();
            raise(Signal::INT);
            assert_eq!(probe.recv().await, Some(Signal::INT));
            drop(dropped);
            signal::ctrl_c().await;
            drop(signal::ctrl_c());
            raise(Signal::INT);
            signal::ctrl_c().await;
        });
    });
}

#[test]
fn ctrl_c_in_a_loop_of_selects_is_never_lost() {
    isolated(|| {
        block_on(async {
            let (tx, rx) = chan::bounded(1);
            let sends = go(async move { while tx.send(()).await.is_ok() {} });
            let (mut turns, mut is_over) = (0, false);
            while !is_over {
                select! {
                    Some(()) = rx.recv() => turns += 1,
                    _ = signal::ctrl_c() => is_over = true,
                }
                // Only once: a second signal, after the first was reported, ends the process.
                if turns == 1000 && !is_over {
                    raise(Signal::INT);
                }
            }
            assert!(turns >= 1000);
            drop(rx);
            sends.await.unwrap();
        });
    });
}

#[test]
fn a_second_ctrl_c_ends_the_process() {
    ends_by(Signal::INT, || {
        raise_and_wait();
        raise(Signal::INT);
    });
}

fn raise_and_wait() {
    let waiting = signal::ctrl_c();
    raise(Signal::INT);
    block_on(waiting);
}

#[test]
fn signals_have_the_names_and_texts_of_go() {
    assert_eq!(
        (Signal::HUP.to_string(), format!("{:?}", Signal::HUP)),
        ("hangup".into(), "SIGHUP".into())
    );
    let unnamed = Signal::from_raw(libc::SIGURG).unwrap();
    assert_eq!(format!("{unnamed} {unnamed:?}"), format!("signal {0} Signal({0})", libc::SIGURG));
    for never in [0, -1, 65, libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV] {
        assert_eq!(Signal::from_raw(never), None);
    }
}
