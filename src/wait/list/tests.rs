//! Compares the list with `VecDeque` under random operations.

use std::collections::VecDeque;
use std::ptr::NonNull;

use super::{Links, List, Node};
use crate::loom::UnsafeCell;

struct Item {
    links: UnsafeCell<Links<Item>>,
    number: usize,
}

// SAFETY: only this test accesses the links, on one thread.
unsafe impl Node for Item {
    unsafe fn with_links<R>(this: *mut Self, f: impl FnOnce(&mut Links<Self>) -> R) -> R {
        // SAFETY: passed on to the caller.
        unsafe { (*this).links.with_mut(|links| f(&mut *links)) }
    }
}

fn numbers(list: &List<Item>) -> VecDeque<usize> {
    let mut found = VecDeque::new();
    let mut at = list.front();
    while let Some(node) = at {
        // SAFETY: there is one thread, and linked items live.
        unsafe {
            found.push_back(node.as_ref().number);
            at = list.next(node);
        }
    }
    found
}

#[test]
fn the_list_agrees_with_a_deque_whatever_is_done_to_it() {
    const ITEMS: usize = 16;
    let items: Vec<NonNull<Item>> = (0..ITEMS)
        .map(|number| {
            NonNull::from(Box::leak(Box::new(Item {
                links: UnsafeCell::new(Links::UNLINKED),
                number,
            })))
        })
        .collect();
    let mut rng = fastrand::Rng::with_seed(1);
    let (list, other): (List<Item>, List<Item>) = (List::new(), List::new());
    let mut models = [VecDeque::new(), VecDeque::new()];
    for _ in 0..20_000 {
        let number = rng.usize(..ITEMS);
        let item = items[number].as_ptr();
        // SAFETY: there is one thread, and the items live to the end of the test.
        unsafe {
            match rng.u32(..20) {
                0 => {
                    list.append(&other);
                    let moved = std::mem::take(&mut models[1]);
                    models[0].extend(moved);
                }
                1 => assert_eq!(
                    list.pop_front().map(|node| node.as_ref().number),
                    models[0].pop_front()
                ),
                way => {
                    let (at, into) = if way < 8 { (1, &other) } else { (0, &list) };
                    if let Some(place) = models[0].iter().position(|&held| held == number) {
                        list.remove(item);
                        models[0].remove(place);
                    } else if let Some(place) = models[1].iter().position(|&held| held == number) {
                        other.remove(item);
                        models[1].remove(place);
                    } else {
                        into.push_back(item);
                        models[at].push_back(number);
                    }
                }
            }
            assert_eq!(numbers(&list), models[0]);
            assert_eq!(numbers(&other), models[1]);
            assert_eq!(list.is_only(item), models[0] == [number]);
            assert_eq!(list.seems_empty(), models[0].is_empty());
        }
    }
    // SAFETY: the items came from `Box::leak` above, and are no longer used.
    items.into_iter().for_each(|item| drop(unsafe { Box::from_raw(item.as_ptr()) }));
}
