use super::*;

fn drain(queue: &RunQueue<usize>) -> Vec<usize> {
    // SAFETY: this thread alone knows the queue.
    std::iter::from_fn(|| queue.owner(unsafe { queue.own().claim() }).pop()).collect()
}

#[test]
fn what_a_change_left_in_the_shared_queue_comes_before_the_own_ones() {
    let queue = RunQueue::new(2);
    assert_eq!(
        (queue.push_shared(1), queue.push_shared(2), queue.push_shared(9)),
        (Ok(()), Ok(()), Err(9))
    );
    // SAFETY: this thread alone knows the queue.
    let mut own = queue.owner(unsafe { queue.own().claim() });
    assert_eq!((own.push(3), own.push(4), own.push(9)), (Ok(()), Ok(()), Err(9)));
    assert_eq!((queue.len(), queue.own_len(), queue.is_empty()), (4, 2, false));
    assert_eq!(drain(&queue), [1, 2, 3, 4]);
    assert_eq!((queue.len(), queue.own_len(), queue.is_empty()), (0, 0, true));
}

#[test]
fn a_queue_with_something_on_one_side_is_not_empty() {
    let (own, shared) = (RunQueue::new(2), RunQueue::new(2));
    // SAFETY: this thread alone knows the queue.
    own.owner(unsafe { own.own().claim() }).push(1).unwrap();
    shared.push_shared(1).unwrap();
    assert_eq!((own.is_empty(), shared.is_empty()), (false, false));
}

#[test]
fn the_own_queue_can_be_taken_as_a_whole() {
    let queue = RunQueue::new(2);
    // SAFETY: this thread alone knows the queue.
    let mut own = queue.owner(unsafe { queue.own().claim() });
    own.push("a").unwrap();
    own.push("b").unwrap();
    assert_eq!((own.take().collect::<Vec<_>>(), queue.is_empty()), (vec!["a", "b"], true));
}

#[test]
fn a_look_finds_each_once_and_keeps_their_order() {
    for len in [0, 1, IN_HAND - 1, IN_HAND, IN_HAND + 1, 64] {
        let queue = RunQueue::new(64);
        for item in 0..len {
            queue.push_shared(item).unwrap();
            // SAFETY: this thread alone knows the queue.
            queue.owner(unsafe { queue.own().claim() }).push(item).unwrap();
        }
        let expected: Vec<_> = (0..len).chain(0..len).collect();
        for _ in 0..2 {
            let (soon, mut seen) = (std::cell::Cell::new(0), Vec::new());
            // SAFETY: this thread alone knows the queue.
            let own = unsafe { queue.own().claim() };
            queue.owner(own).each(|_| soon.set(soon.get() + 1), |item| seen.push(*item));
            assert_eq!((&seen, soon.get()), (&expected, len + len.saturating_sub(IN_HAND)));
        }
        assert_eq!(drain(&queue), expected);
    }
}

/// Not one is taken meanwhile.
#[test]
fn a_global_queue_lags_if_it_is_not_empty() {
    let queue = GlobalQueue::default();
    assert!(!queue.lags_after(Duration::ZERO));
}
