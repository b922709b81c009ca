use std::sync::Arc;
use std::task::{Wake, Waker};

use super::*;

#[derive(Debug)]
struct Flag;
impl Wake for Flag {
    fn wake(self: Arc<Self>) {}
}

fn wakers(n: usize) -> (Vec<Arc<Flag>>, Vec<Waker>) {
    (0..n).map(|_| Arc::new(Flag)).map(|flag| (flag.clone(), Waker::from(flag))).unzip()
}

#[test]
fn an_entry_is_as_small_as_a_waker() {
    assert_eq!(size_of::<Block<Waker>>(), BLOCK * size_of::<Waker>() + size_of::<u64>());
}

#[test]
fn entries_are_used_again_and_every_waker_is_given_back() {
    let registry = Registry::<Waker>::default();
    let (flags, wakers) = wakers(5);
    let indices: Vec<_> = wakers.iter().map(|waker| registry.insert(waker.clone())).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
    assert!(registry.remove(3, || ()).unwrap().will_wake(&wakers[3]));
    assert!(registry.remove(1, || ()).unwrap().will_wake(&wakers[1]));
    assert!(registry.get(1, || true).is_none(), "removed");
    assert!(registry.get(9, || true).is_none(), "never there");
    assert_eq!(registry.all().len(), 3);
    assert_eq!(registry.insert(wakers[1].clone()), 1, "a vacant one");
    assert_eq!(registry.insert(wakers[3].clone()), 3);
    assert!(registry.get(1, || false).is_none(), "it belongs to another goroutine");
    assert!(registry.get(1, || true).unwrap().will_wake(&wakers[1]));
    for index in indices {
        drop(registry.remove(index, || ()));
    }
    drop(wakers);
    assert!(flags.iter().all(|flag| Arc::strong_count(flag) == 1), "a waker was kept");
}

/// The number of entries of the empty blocks that are kept.
const MOST_KEPT: usize = KEPT * BLOCK;

fn room(registry: &Registry<Waker>) -> usize {
    let entries = lock(&registry.entries);
    (entries.blocks.iter().flatten().count() + entries.spare.len()) * BLOCK
}

/// Inserts `count` goroutines. Returns their entries.
fn crowd(registry: &Registry<Waker>, count: usize) -> Vec<u32> {
    (0..count).map(|_| registry.insert(Waker::noop().clone())).collect()
}

#[test]
fn a_crowd_takes_no_more_than_its_entries() {
    let registry = Registry::<Waker>::default();
    let indices = crowd(&registry, 10 * BLOCK);
    assert_eq!(room(&registry), indices.len());
    assert!(indices.iter().copied().eq(0..indices.len() as u32));
    assert_eq!(registry.all().len(), indices.len());
}

/// A bug: one long-lived goroutine kept the memory of all.
#[test]
fn a_long_lived_goroutine_keeps_the_memory_of_one_block_only() {
    let registry = Registry::<Waker>::default();
    let mut indices = crowd(&registry, 100 * BLOCK);
    let last = indices.pop().unwrap();
    for index in indices.iter().step_by(2).chain(indices.iter().skip(1).step_by(2)) {
        drop(registry.remove(*index, || ()));
    }
    assert!(room(&registry) <= BLOCK + MOST_KEPT, "{} entries", room(&registry));
    assert_eq!(registry.all().len(), 1);
    // The next goroutines use the same blocks.
    let indices = crowd(&registry, 99 * BLOCK);
    assert!(indices.iter().all(|index| *index < 100 * BLOCK as u32));
    for index in indices.into_iter().chain([last]) {
        assert!(registry.remove(index, || ()).is_some());
    }
    assert!(room(&registry) <= MOST_KEPT, "{} entries", room(&registry));
    assert_eq!(registry.all().len(), 0);
}

#[test]
fn a_crowd_that_goes_in_the_order_it_came_keeps_the_room_of_a_few() {
    let registry = Registry::<Waker>::default();
    for _ in 0..3 {
        for index in crowd(&registry, 20 * BLOCK) {
            drop(registry.remove(index, || ()));
        }
        assert!(room(&registry) <= MOST_KEPT, "{} entries", room(&registry));
    }
}

#[test]
fn one_that_comes_and_goes_finds_its_room() {
    let registry = Registry::<Waker>::default();
    for _ in 0..10 {
        let index = registry.insert(Waker::noop().clone());
        drop(registry.remove(index, || ()));
        assert_eq!(room(&registry), BLOCK);
    }
}

/// Compares the entries with a model, for inserts and removals in random order.
#[test]
fn each_waker_is_found_under_its_index_and_nowhere_else() {
    let registry = Registry::<Waker>::default();
    let (flags, wakers) = wakers(1500);
    let mut inside = std::collections::BTreeMap::new();
    let mut outside: Vec<usize> = (0..wakers.len()).collect();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..40_000 {
        // The registry repeatedly grows to all wakers and shrinks to none.
        let grows = round / 3000 % 2 == 0;
        if !outside.is_empty() && (grows || inside.is_empty()) {
            let one = outside.swap_remove(random.usize(..outside.len()));
            assert_eq!(
                inside.insert(registry.insert(wakers[one].clone()), one),
                None,
                "an index was given twice"
            );
        } else if !inside.is_empty() {
            let index = *inside.keys().nth(random.usize(..inside.len())).unwrap();
            let one = inside.remove(&index).unwrap();
            assert!(registry.get(index, || true).unwrap().will_wake(&wakers[one]));
            assert!(registry.remove(index, || ()).unwrap().will_wake(&wakers[one]));
            assert!(registry.get(index, || true).is_none());
            outside.push(one);
        }
        if round % 1000 == 0 {
            assert_eq!(registry.all().len(), inside.len());
        }
    }
    inside.keys().for_each(|index| drop(registry.remove(*index, || ())));
    drop(wakers);
    assert!(flags.iter().all(|flag| Arc::strong_count(flag) == 1), "a waker was kept");
}
