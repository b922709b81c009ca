use std::cell::RefCell;
use std::iter;

use super::*;

#[test]
fn every_lock_is_taken_once_and_in_one_order_however_many() {
    for count in [0, 1, 8, 9, 16, 17, 40] {
        let all: Vec<RawLock> = iter::repeat_with(RawLock::new).take(count).collect();
        let mut locks: Vec<_> = all.iter().rev().chain(&all).map(ptr::from_ref).collect();
        locks.sort_unstable();
        let seen = RefCell::new(Vec::new());
        // SAFETY: they outlive the list.
        unsafe { each_once(&locks, |lock| seen.borrow_mut().push(ptr::from_ref(lock))) };
        assert_eq!(seen.into_inner(), all.iter().map(ptr::from_ref).collect::<Vec<_>>());
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
