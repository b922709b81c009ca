use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use super::*;

/// A queue points to the waiters, so they are never freed.
fn waiter(extra: u8) -> OwnWaiter<'static, 'static, u8> {
    let waiter = Box::leak(Box::new(Waiter::new(TaskWaker::noop(), extra)));
    // SAFETY: it is never moved or dropped, and stays on this thread.
    unsafe { OwnWaiter::new(waiter) }
}

fn queues() -> &'static Queues<u8, (), 2> {
    Box::leak(Box::new(Queues::new(())))
}

/// Returns the data of the waiters of a queue, which is empty afterwards.
fn drain(held: &mut Held<'static, u8, (), 2>, queue: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(front) = held.front(queue).map(|front| front.extra) {
        all.push(front);
        assert!(held.grant_front(queue).is_some_and(|waker| waker.is_some()));
    }
    all
}

#[test]
fn a_waiter_is_removed_from_whichever_queue_it_is_in() {
    for queue in [0, 1] {
        for gone in 0..3 {
            let mut held = queues().lock();
            let waiters = [0, 1, 2].map(waiter);
            held.push_back(1 - queue, waiter(9));
            waiters.iter().for_each(|&waiter| held.push_back(queue, waiter));
            held.remove(waiters[usize::from(gone)]);
            let left: Vec<u8> = (0..3).filter(|&n| n != gone).collect();
            assert_eq!((drain(&mut held, queue), drain(&mut held, 1 - queue)), (left, vec![9]));
            assert!(waiters[usize::from(gone)].state() == UNLINKED);
        }
    }
}

#[test]
fn an_only_waiter_is_removed_from_either_queue() {
    for queue in [0, 1] {
        let mut held = queues().lock();
        let (only, other) = (waiter(1), waiter(2));
        held.push_front(queue, only);
        held.push_front(1 - queue, other);
        held.remove(only);
        assert!(held.is_empty(queue) && held.is_only(1 - queue, &other));
        held.push_back(queue, only);
        assert!(held.is_only(queue, &only));
    }
}

#[test]
fn waiters_go_to_another_queue_in_their_order() {
    let mut held = queues().lock();
    (1..=3).for_each(|n| held.push_back(0, waiter(n)));
    held.move_front(0, 1);
    held.move_front(0, 0);
    held.append(0, 1);
    assert_eq!((drain(&mut held, 0), drain(&mut held, 1)), (vec![], vec![1, 3, 2]));
}

#[test]
fn a_queue_refuses_a_waiter_that_is_not_its_own() {
    let refuses = |does: &mut dyn FnMut()| assert!(catch_unwind(AssertUnwindSafe(does)).is_err());
    let (here, there) = (queues(), queues());
    let (linked, new) = (waiter(1), waiter(2));
    here.lock().push_back(0, linked);
    refuses(&mut || there.lock().remove(linked));
    refuses(&mut || there.lock().push_back(0, linked));
    refuses(&mut || here.lock().push_back(1, linked));
    refuses(&mut || here.lock().remove(new));
    refuses(&mut || {
        there.look(linked, &mut Context::from_waker(Waker::noop()), |_, _| true);
    });
    here.lock().remove(linked);
    // It has a home for life.
    refuses(&mut || there.lock().push_back(0, linked));
    here.lock().push_back(1, linked);
    assert_eq!(drain(&mut here.lock(), 1), [1]);
}
