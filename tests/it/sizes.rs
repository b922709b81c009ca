//! The size of a goroutine while it waits, and of the ends of a channel.

use std::sync::Arc;

use gopark::sync::{Mutex, Semaphore};
use gopark::{JoinHandle, chan, select};

/// In bytes, on systems with pointers of eight bytes. A future that grows makes each goroutine
/// larger that waits in it: if that is intended, change the number here. The size of a goroutine's
/// own header is asserted at its declaration.
#[test]
fn what_waits_has_the_size_that_it_is_known_to_have() {
    let ((tx, rx), (mutex, semaphore)) =
        (chan::bounded::<u64>(1), (Mutex::new(0_u64), Arc::new(Semaphore::new(1))));
    let selects = async {
        select! {
            got = rx.recv() => assert_eq!(got, None),
            sent = tx.send(1) => assert_eq!(sent, Ok(())),
        }
    };
    let sizes = [
        ("send", size_of_val(&tx.send(1)), 64),
        ("recv", size_of_val(&rx.recv()), 64),
        ("lock", size_of_val(&mutex.lock()), 72),
        ("acquire", size_of_val(&semaphore.acquire(1)), 88),
        ("select! of two", size_of_val(&selects), 216),
        ("Sender", size_of_val(&tx), 8),
        ("Receiver", size_of_val(&rx), 16),
        ("JoinHandle", size_of::<JoinHandle<u64>>(), 24),
    ];
    for (what, size, known) in sizes {
        assert_eq!(size, known, "{what}");
    }
}
