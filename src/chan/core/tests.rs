use std::pin::pin;
use std::task::{Context, Waker};

use super::Core;
use crate::chan::{self, Receiver, Sender};

fn core<T>(rx: &Receiver<T>) -> &Core<T> {
    rx.handle.core().expect("not a nil channel")
}

fn is_rare<T>(rx: &Receiver<T>) -> bool {
    core(rx).held().rare
}

/// Hands a value to a receive that is then dropped.
fn return_one(tx: &Sender<usize>, rx: &Receiver<usize>, value: usize) {
    let mut receiving = pin!(rx.recv());
    assert!(receiving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    tx.try_send(value).expect("a receive waits");
}

/// A bug: a value that came back kept the channel on the slow path, even after it had been
/// received.
#[test]
fn a_channel_whose_returned_values_have_been_received_is_as_any_other() {
    for capacity in [0, 4] {
        let (tx, rx) = chan::bounded(capacity);
        for round in 0..3 {
            return_one(&tx, &rx, round);
            assert!(is_rare(&rx));
            assert_eq!(rx.try_recv(), Ok(round));
            assert!(!is_rare(&rx), "capacity {capacity}: it stays on the slow path");
        }
    }
}

#[test]
fn a_channel_stays_rare_for_as_long_as_there_is_a_reason() {
    // Another returned value.
    let (tx, rx) = chan::bounded(4);
    {
        let (mut a, mut b) = (pin!(rx.recv()), pin!(rx.recv()));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(a.as_mut().poll(cx).is_pending() && b.as_mut().poll(cx).is_pending());
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
    }
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(is_rare(&rx));
    // A close: a receive and a send must report it.
    tx.close();
    assert_eq!(rx.try_recv(), Ok(2));
    assert!(is_rare(&rx) && rx.try_recv().is_err() && tx.try_send(3).is_err());

    // Extras.
    let (tx, rx) = chan::bounded(4);
    core(&rx).held().extras();
    return_one(&tx, &rx, 1);
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(is_rare(&rx));
}
