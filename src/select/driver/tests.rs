use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::chan;
use crate::wait::case::{Case, Sealed};

#[test]
fn every_lock_is_taken_once_and_in_one_order_however_many() {
    for count in [0, 1, 8, 9, 16, 17, 40] {
        let all: Vec<RawLock> = iter::repeat_with(RawLock::new).take(count).collect();
        let own: Vec<_> = all.iter().map(ptr::from_ref).collect();
        for mut locks in [own.clone(), [&own[..], &own].concat()] {
            locks.sort_unstable();
            // SAFETY: the locks outlive the list. Acquiring a lock twice would hang.
            assert_eq!(unsafe { lock_each_once(&mut locks) }, own);
            // SAFETY: the locks were acquired above.
            all.iter().for_each(|lock| unsafe { lock.unlock() });
        }
    }
}

#[test]
fn each_candidate_is_drawn_once_and_in_order_if_biased_and_has_room_from_the_start() {
    for biased in [false, true] {
        let some: Vec<usize> = (0..200).filter(|number| number % 3 != 0).collect();
        let mut candidates = Candidates::new(biased, 200);
        let room = candidates.others.capacity();
        some.iter().for_each(|&number| candidates.push(number));
        assert_eq!(candidates.others.capacity(), room);
        let mut drawn: Vec<usize> = iter::from_fn(|| candidates.draw()).collect();
        assert_eq!(drawn == some, biased);
        drawn.sort_unstable();
        assert_eq!(drawn, some);
    }
}

#[test]
fn an_operation_is_attempted_only_under_its_lock_and_queued_only_once() {
    let (tx, rx) = chan::bounded::<u8>(1);
    let (receiving, token) = (pin!(rx.recv()), pin!(Token::new()));
    let op = receiving.as_ref().raw(Sealed::TOKEN).expect("a channel operation");
    let fails = |f: &dyn Fn()| catch_unwind(AssertUnwindSafe(f)).is_err();
    // SAFETY: the token is dropped after the operation has left the queue.
    let own = unsafe { OwnToken::new(&token) };
    // SAFETY: it claims no lock.
    let unlocked = unsafe { HeldLocks::new(&[]) };
    assert!(fails(&|| drop(op.attempt(unlocked, ptr::null()))));
    assert!(fails(&|| drop(op.enqueue(unlocked, own))));
    assert!(matches!(op.queue(own), Queued::First));
    assert!(matches!(op.queue(own), Queued::No));
    let locks = [ptr::from_ref(op.lock())];
    let guard = op.lock().guard();
    // SAFETY: the lock is held, as long as `guard`.
    let locked = unsafe { HeldLocks::new(&locks) };
    assert!(fails(&|| drop(op.enqueue(locked, own))));
    drop(guard);
    op.dequeue();
    tx.try_send(1).unwrap();
    let guard = op.lock().guard();
    assert!(matches!(op.attempt(locked, ptr::null()), Ok(Some(_))));
    assert!(fails(&|| drop(op.attempt(locked, ptr::null()))), "it is complete");
    drop(guard);
    assert_eq!(receiving.won(), Some(1));
}
