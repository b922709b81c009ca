use std::sync::Arc;
use std::task::Wake;

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
    assert_eq!(size_of::<Entry>(), size_of::<Waker>());
}

#[test]
fn entries_are_used_again_and_every_waker_is_given_back() {
    let registry = Registry::new();
    let (flags, wakers) = wakers(5);
    let indices: Vec<_> = wakers.iter().map(|waker| registry.insert(waker.clone())).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
    assert!(registry.remove(3, || ()).unwrap().will_wake(&wakers[3]));
    assert!(registry.remove(1, || ()).unwrap().will_wake(&wakers[1]));
    assert!(registry.get(1, || true).is_none(), "removed");
    assert!(registry.get(9, || true).is_none(), "never there");
    assert_eq!(registry.all().len(), 3);
    assert_eq!(registry.insert(wakers[1].clone()), 1, "the last vacant one");
    assert_eq!(registry.insert(wakers[3].clone()), 3);
    assert!(registry.get(1, || false).is_none(), "another one's");
    assert!(registry.get(1, || true).unwrap().will_wake(&wakers[1]));
    for index in indices {
        drop(registry.remove(index, || ()));
    }
    assert_eq!(registry.insert(wakers[0].clone()), 0, "an empty one begins anew");
    drop(registry.remove(0, || ()));
    drop(wakers);
    assert!(flags.iter().all(|flag| Arc::strong_count(flag) == 1), "a waker was kept");
}

#[test]
fn an_empty_registry_keeps_no_room_of_a_crowd() {
    let registry = Registry::new();
    let waker = Waker::noop();
    for _ in 0..2 * KEPT {
        registry.insert(waker.clone());
    }
    for index in 0..2 * KEPT as u32 {
        drop(registry.remove(index, || ()));
    }
    assert_eq!(registry.with(|slots| slots.entries.capacity()), 0);
}

#[test]
fn an_empty_registry_keeps_the_room_of_a_few() {
    let registry = Registry::new();
    registry.with(|slots| slots.entries.reserve_exact(KEPT));
    let room = registry.with(|slots| slots.entries.capacity());
    registry.insert(Waker::noop().clone());
    drop(registry.remove(0, || ()));
    assert_eq!((room, registry.with(|slots| slots.entries.capacity())), (KEPT, KEPT));
}
