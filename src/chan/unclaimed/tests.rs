use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Node, Unclaimed};

#[test]
fn the_oldest_value_comes_out_first_whatever_the_order_of_return() {
    for start in [0, usize::MAX - 500] {
        let (mut unclaimed, mut model) = (Unclaimed::EMPTY, BTreeSet::new());
        let mut numbers: Vec<usize> = (0..1000).collect();
        fastrand::shuffle(&mut numbers);
        for offset in numbers {
            unclaimed.insert(Node::new(), offset, start.wrapping_add(offset));
            model.insert(offset);
            if fastrand::u8(..4) == 0 {
                drop(unclaimed.take_empty());
                assert_eq!(unclaimed.pop(), model.pop_first());
            }
            assert_eq!(unclaimed.len(), model.len());
        }
        while let Some(value) = unclaimed.pop() {
            assert_eq!(Some(value), model.pop_first());
        }
        assert!(model.is_empty());
    }
}

/// A bug: the drop of very many returned values, one of whose destructors panicked, overflowed the
/// stack.
#[test]
fn many_values_in_any_order_need_no_deep_recursion() {
    for order in [|number: usize| number, |number| 1_000_000 - number] {
        let mut unclaimed = Unclaimed::EMPTY;
        for number in 0..100_000 {
            unclaimed.insert(Node::new(), Box::new(number), order(number));
        }
        for _ in 0..100 {
            unclaimed.pop();
        }
        assert!(unclaimed.is_crowded());
        drop(unclaimed.take_empty());
        assert!(!unclaimed.is_crowded());
    }
}

/// A regression test. After a panic the rest was dropped by the nodes' own destructors, each inside
/// its parent's, and a hundred thousand nodes overflowed the stack.
#[test]
fn a_destructor_that_panics_keeps_no_other_value_from_being_dropped() {
    struct Value<'a>(usize, &'a AtomicUsize);
    impl Drop for Value<'_> {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert!(self.0 != 0, "a destructor that panics");
        }
    }
    let (count, dropped) = (100_000, AtomicUsize::new(0));
    let mut unclaimed = Unclaimed::EMPTY;
    for number in (0..count).rev() {
        unclaimed.insert(Node::new(), Value(number, &dropped), number);
    }
    assert!(catch_unwind(AssertUnwindSafe(|| drop(unclaimed))).is_err());
    assert_eq!(dropped.into_inner(), count);
}
