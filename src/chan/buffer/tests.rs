use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Blocks, Buffer, Values};

/// A buffer with the number of its values, which calls `maintain` when necessary.
struct Tried<T> {
    buffer: Option<Buffer<T>>,
    len: usize,
    capacity: usize,
    upkeep: usize,
}

impl<T> Tried<T> {
    fn new(capacity: usize) -> Self {
        Self { buffer: Some(Buffer::new(capacity)), len: 0, capacity, upkeep: 0 }
    }

    fn buffer(&mut self) -> &mut Buffer<T> {
        self.buffer.as_mut().unwrap()
    }

    fn maintain(&mut self) {
        let len = self.len;
        let mut blocks = Blocks::one(self.buffer().block_size());
        self.buffer().maintain(&mut blocks, len);
        self.upkeep += 1;
    }

    fn push(&mut self, value: T) {
        assert!(self.len < self.capacity);
        let mut value = Some(value);
        // SAFETY: there is room.
        while unsafe { self.buffer().push(|| value.take().unwrap()) }.is_err() {
            self.maintain();
        }
        self.len += 1;
    }

    fn pop(&mut self) -> T {
        assert!(self.len > 0);
        loop {
            let len = self.len;
            // SAFETY: there is a value.
            if let Ok(value) = unsafe { self.buffer().pop(len) } {
                self.len -= 1;
                return value;
            }
            self.maintain();
        }
    }
}

impl<T> Drop for Tried<T> {
    fn drop(&mut self) {
        // SAFETY: the buffer holds `len` values, as counted.
        drop(unsafe { Values::new(self.buffer.take().unwrap(), self.len) });
    }
}

#[test]
fn values_come_out_in_their_order_whatever_the_capacity() {
    for capacity in [1, 2, 3, 64, 512, 513, 1000, 5000] {
        let (mut buffer, mut model) = (Tried::<u64>::new(capacity), VecDeque::new());
        let mut next = 0;
        for _ in 0..40_000 {
            let fills = fastrand::usize(..2 * capacity + 2);
            for _ in 0..fastrand::usize(..200) {
                if model.len() < capacity && (model.is_empty() || model.len() < fills) {
                    buffer.push(next);
                    model.push_back(next);
                    next += 1;
                } else {
                    assert_eq!(Some(buffer.pop()), model.pop_front());
                }
            }
            if next > 40_000 {
                break;
            }
        }
        assert!(capacity > 512 || buffer.upkeep == 0, "a ring needs none");
    }
}

#[test]
fn a_large_buffer_grows_block_by_block_and_keeps_one_when_drained() {
    let mut buffer = Tried::<u64>::new(1_000_000);
    assert_eq!((buffer.buffer().blocks(), buffer.buffer().block_size()), (1, 128));
    for value in 0..12_800 {
        buffer.push(value);
    }
    assert_eq!(buffer.buffer().blocks(), 100);
    for value in 0..12_800 {
        assert_eq!(buffer.pop(), value);
    }
    assert!(buffer.buffer().blocks() <= 2, "{}", buffer.buffer().blocks());
    for round in 0..100_000 {
        buffer.push(round);
        assert_eq!(buffer.pop(), round);
    }
    assert_eq!(buffer.buffer().blocks(), 1);
}

#[test]
fn a_queue_of_some_length_uses_its_blocks_again() {
    let mut buffer = Tried::<u64>::new(1_000_000);
    for value in 0..500 {
        buffer.push(value);
    }
    let before = buffer.upkeep;
    for value in 500..100_500 {
        buffer.push(value);
        assert_eq!(buffer.pop(), value - 500);
    }
    assert!(buffer.upkeep - before <= 2, "{}", buffer.upkeep - before);
}

#[test]
fn values_without_a_size_are_counted_only() {
    for capacity in [1, 1_000_000, usize::MAX] {
        let mut buffer = Tried::<()>::new(capacity);
        for _ in 0..1000 {
            buffer.push(());
            if buffer.len == buffer.capacity {
                buffer.pop();
            }
        }
    }
}

#[test]
fn a_value_may_be_larger_than_a_block_should_be() {
    let mut buffer = Tried::<[u8; 3000]>::new(10);
    for value in 0..10 {
        buffer.push([value; 3000]);
    }
    for value in 0..10 {
        assert_eq!(buffer.pop(), [value; 3000]);
    }
}

#[test]
fn values_are_dropped_once_and_aligned() {
    #[repr(align(64))]
    struct Aligned(Arc<AtomicUsize>);
    impl Drop for Aligned {
        fn drop(&mut self) {
            assert_eq!(std::ptr::from_ref(self).addr() % 64, 0);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for capacity in [10, 1000] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut buffer = Tried::new(capacity);
        for _ in 0..capacity {
            buffer.push(Aligned(dropped.clone()));
        }
        drop(buffer.pop());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        drop(buffer);
        assert_eq!(dropped.load(Ordering::Relaxed), capacity);
    }
}

#[test]
fn a_destructor_that_panics_keeps_no_other_value_from_being_dropped() {
    struct Bad(bool, Arc<AtomicUsize>);
    impl Drop for Bad {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert!(!self.0, "on purpose");
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut buffer = Tried::new(1000);
    for number in 0..1000 {
        buffer.push(Bad(number == 300, dropped.clone()));
    }
    catch_unwind(AssertUnwindSafe(|| drop(buffer))).unwrap_err();
    assert_eq!(dropped.load(Ordering::Relaxed), 1000);
}
