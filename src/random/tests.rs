use super::*;

fn draws() -> [usize; 64] {
    std::array::from_fn(|at| below(at + 1))
}

#[test]
fn draws_follow_from_the_seed() {
    let seeded = |n| {
        seed(n);
        draws()
    };
    let first = seeded(7);
    assert_ne!(draws(), first, "the generator goes on");
    assert_eq!(seeded(7), first);
    assert_ne!(seeded(8), first);
}

#[test]
fn each_thread_has_a_generator_of_its_own() {
    seed(7);
    let first = draws();
    seed(7);
    // The draws of another thread, seeded or not, do not affect this one.
    let other = std::thread::spawn(draws).join().unwrap();
    assert_eq!(draws(), first);
    assert_ne!(other, first);
}

#[test]
fn every_number_below_the_bound_is_drawn() {
    seed(1);
    for bound in 1..=20 {
        let mut counts = vec![0; bound];
        (0..1000 * bound).for_each(|_| counts[below(bound)] += 1);
        // 1000 of each are expected; the standard deviation is at most 32.
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
