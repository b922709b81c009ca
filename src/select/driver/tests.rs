use std::iter;

use super::*;

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
