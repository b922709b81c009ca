//! The size of a goroutine while it waits, and of the ends of a channel; the automatic traits of
//! locks.

use std::cell::Cell;
use std::marker::{PhantomData, PhantomPinned};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use gopark::sync::futures::{Lock, RLock, WLock};
use gopark::sync::{
    Mutex, MutexGuard, OwnedMutexGuard, OwnedRwMutexReadGuard, OwnedRwMutexWriteGuard, RwMutex,
    RwMutexReadGuard, RwMutexWriteGuard, Semaphore,
};
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
        ("lock", size_of_val(&mutex.lock()), 64),
        ("acquire", size_of_val(&semaphore.acquire(1)), 80),
        ("select! of two", size_of_val(&selects), 216),
        ("Sender", size_of_val(&tx), 8),
        ("Receiver", size_of_val(&rx), 16),
        ("JoinHandle", size_of::<JoinHandle<u64>>(), 24),
    ];
    for (what, size, known) in sizes {
        assert_eq!(size, known, "{what}");
    }
}

/// A type whose constants of these names say whether it is `Send`, and whether it is `Sync`.
struct Goes<T>(PhantomData<T>);

trait GoesNot {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T> GoesNot for Goes<T> {}

/// These are found before those of the trait.
impl<T: Send> Goes<T> {
    const SEND: bool = true;
}

impl<T: Sync> Goes<T> {
    const SYNC: bool = true;
}

macro_rules! goes {
    ($ty:ty) => {
        (Goes::<$ty>::SEND, Goes::<$ty>::SYNC)
    };
}

#[test]
fn locks_and_guards_go_to_other_threads_as_far_as_their_value_may() {
    type OnlySend = Cell<u8>;
    type OnlySync = std::sync::MutexGuard<'static, u8>;
    type Neither = *const u8;
    macro_rules! of_each {
        ($name:ident$(<$a:lifetime>)?) => {
            [
                goes!($name<$($a,)? u8>),
                goes!($name<$($a,)? OnlySend>),
                goes!($name<$($a,)? OnlySync>),
                goes!($name<$($a,)? Neither>),
            ]
        };
    }
    const BOTH: (bool, bool) = (true, true);
    const SEND: (bool, bool) = (true, false);
    const NONE: (bool, bool) = (false, false);
    assert_eq!(of_each!(Mutex), [BOTH, BOTH, NONE, NONE]);
    assert_eq!(of_each!(MutexGuard<'static>), [BOTH, SEND, NONE, NONE]);
    assert_eq!(of_each!(OwnedMutexGuard), [BOTH, SEND, NONE, NONE]);
    assert_eq!(of_each!(Lock<'static>), [BOTH, BOTH, NONE, NONE]);
    assert_eq!(of_each!(RwMutex), [BOTH, SEND, NONE, NONE]);
    assert_eq!(of_each!(RwMutexReadGuard<'static>), [BOTH, NONE, BOTH, NONE]);
    assert_eq!(of_each!(RwMutexWriteGuard<'static>), [BOTH, NONE, NONE, NONE]);
    assert_eq!(of_each!(OwnedRwMutexReadGuard), [BOTH, NONE, NONE, NONE]);
    assert_eq!(of_each!(OwnedRwMutexWriteGuard), [BOTH, NONE, NONE, NONE]);
    assert_eq!(of_each!(RLock<'static>), [BOTH, NONE, BOTH, NONE]);
    assert_eq!(of_each!(WLock<'static>), [BOTH, NONE, NONE, NONE]);
    fn unwinds<T: Unpin + UnwindSafe + RefUnwindSafe>() {}
    type Odd = (Cell<u8>, &'static mut u8, PhantomPinned);
    unwinds::<MutexGuard<'_, Odd>>();
    unwinds::<OwnedMutexGuard<Odd>>();
    unwinds::<RwMutexReadGuard<'_, Odd>>();
    unwinds::<RwMutexWriteGuard<'_, Odd>>();
    unwinds::<OwnedRwMutexReadGuard<Odd>>();
    unwinds::<OwnedRwMutexWriteGuard<Odd>>();
}
