use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

fn nodes(dues: impl IntoIterator<Item = u64>) -> Box<[Entry]> {
    dues.into_iter().map(|due| Entry::new(Due::new(Time::from_nanos(due)))).collect()
}

fn insert(wheel: &mut Wheel, node: &Entry) {
    // SAFETY: the nodes stay in their box and outlive the wheel; none is inserted twice.
    wheel.insert(unsafe { Lent::new(node.into()) });
}

fn pop_all(wheel: &mut Wheel, now: u64) -> Vec<u64> {
    let now = Time::from_nanos(now);
    let mut popped = Vec::new();
    wheel.advance(now);
    while let Some(node) = wheel.pop() {
        popped.push(node.get().as_nanos());
    }
    popped
}

#[test]
fn nodes_come_in_the_order_of_their_times_and_never_early() {
    let far = 1u64 << 60;
    let dues =
        [far, 3, 70_000, 65_535, 65_536, 5_000_000, 4_999_999, 1 << 40, 17_000_000_000, 70_000, 0];
    let nodes = nodes(dues);
    let mut wheel = Wheel::new();
    for node in &nodes[..] {
        insert(&mut wheel, node);
    }
    let mut sorted = dues;
    sorted.sort_unstable();
    let mut got = Vec::new();
    let mut moments = sorted.to_vec();
    moments.dedup();
    for due in moments {
        if due > 0 {
            got.extend(pop_all(&mut wheel, due - 1));
        }
        assert!(got.iter().all(|&popped| popped < due), "popped early");
        got.extend(pop_all(&mut wheel, due));
        assert_eq!(got.last(), Some(&due));
    }
    assert_eq!(got, sorted);
    assert_eq!(wheel.len(), 0);
}

#[test]
fn the_wheel_agrees_with_a_sorted_map_whatever_is_done_to_it() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let spread = 1u64 << rng.u32(10..50);
        let mut wheel = Wheel::new();
        let nodes = nodes(std::iter::repeat_n(0, 300));
        let mut free: Vec<usize> = (0..nodes.len()).collect();
        let mut model = BTreeMap::new();
        let mut now = rng.u64(0..spread);
        for _ in 0..3000 {
            match rng.u32(0..10) {
                0..5 => {
                    let Some(index) = free.pop() else { continue };
                    let due = if rng.u32(0..20) == 0 {
                        now
                    } else {
                        now.saturating_add(rng.u64(0..spread))
                    };
                    nodes[index].value.set(Time::from_nanos(due));
                    insert(&mut wheel, &nodes[index]);
                    model.insert((due, index), ());
                }
                5..8 if !model.is_empty() => {
                    let &(due, index) = model.keys().nth(rng.usize(0..model.len())).unwrap();
                    model.remove(&(due, index));
                    // SAFETY: it was inserted, and the test has one thread.
                    wheel.remove(unsafe { Member::new(&nodes[index]) });
                    free.push(index);
                }
                _ => {
                    now += rng.u64(0..1 + spread / 4);
                    let popped = pop_all(&mut wheel, now);
                    let mut expected = Vec::new();
                    while let Some((&(due, index), ())) = model.first_key_value() {
                        if due > now {
                            break;
                        }
                        model.pop_first();
                        expected.push(due);
                        free.push(index);
                    }
                    assert_eq!(popped, expected, "seed {seed}");
                    let next = wheel.next_due().as_nanos();
                    match model.first_key_value() {
                        Some((&(due, _), ())) => assert!(next <= due && next > now, "seed {seed}"),
                        None => assert_eq!(next, u64::MAX),
                    }
                }
            }
            assert_eq!(wheel.len(), model.len());
        }
        while wheel.pop_any().is_some() {}
        assert_eq!((wheel.len(), wheel.ready.is_empty(), wheel.occupied), (0, true, [0; LEVELS]));
    }
}

#[test]
fn nodes_of_the_same_time_come_in_the_order_of_their_insertion() {
    let mut rng = fastrand::Rng::with_seed(1);
    for len in [0, 1, 2, 3, 10, 1000] {
        let nodes = nodes((0..len).map(|_| 10_000 * rng.u64(0..1 + len / 4)));
        let mut expected: Vec<_> =
            nodes.iter().map(|node| (node.value.get(), std::ptr::NonNull::from(node))).collect();
        expected.sort_by_key(|(due, _)| *due);
        let mut wheel = Wheel::new();
        let mut now = Time::PAST;
        let mut popped = Vec::new();
        for node in &nodes[..] {
            // The wheel advances between two insertions, and moves its entries down.
            now = now.after(Duration::from_nanos(rng.u64(0..3)));
            wheel.advance(now);
            insert(&mut wheel, node);
        }
        wheel.advance(Time::NEVER);
        while let Some(node) = wheel.pop() {
            popped.push((node.get(), node.as_raw()));
        }
        assert_eq!(popped, expected);
    }
}
