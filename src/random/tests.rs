use super::*;

fn draws() -> [usize; 64] {
    std::array::from_fn(|at| below(at + 1))
}

#[test]
fn draws_follow_from_the_seed() {
    let seeded = |n| {
        seed(NonZeroU64::new(n).unwrap());
        draws()
    };
    let first = seeded(7);
    assert_ne!(draws(), first, "the generator goes on");
    assert_eq!(seeded(7), first);
    assert_ne!(seeded(8), first);
}

#[test]
fn each_thread_has_a_generator_of_its_own() {
    seed(NonZeroU64::new(7).unwrap());
    let first = draws();
    seed(NonZeroU64::new(7).unwrap());
    // What another thread draws, seeded or not, changes nothing here.
    let other = std::thread::spawn(draws).join().unwrap();
    assert_eq!(draws(), first);
    assert_ne!(other, first);
}

#[test]
fn every_number_below_the_bound_is_drawn() {
    seed(NonZeroU64::new(1).unwrap());
    for bound in 1..=20 {
        let mut counts = vec![0; bound];
        (0..1000 * bound).for_each(|_| counts[below(bound)] += 1);
        // 1000 of each are expected; the standard deviation is at most 32.
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
