//! What can be said of the scheduler's parts without a thread.

use super::{GLOBAL_INTERVAL, Idle, LONG_ROUNDS, Processor};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn somebody_is_woken_if_a_processor_is_idle_and_nobody_searches() {
    let idle = Idle::new();
    assert!((idle.idle(), idle.wants_wake(), idle.begin_wake()) == (0, false, false), "all are busy");
    idle.announce(false);
    assert_eq!((idle.idle(), idle.wants_wake()), (1, true));
    assert!(idle.begin_wake());
    assert!((idle.idle(), idle.wants_wake(), idle.begin_wake()) == (1, false, false), "one searches");
    idle.taken();
    assert_eq!((idle.idle(), idle.wants_wake(), idle.begin_wake()), (0, false, false));
    // It found nothing.
    idle.announce(true);
    assert_eq!((idle.idle(), idle.wants_wake(), idle.begin_wake()), (1, true, true));
    assert!(idle.end_search(), "the only one");
    assert_eq!((idle.idle(), idle.wants_wake()), (1, true));
}

#[test]
fn at_most_half_of_the_busy_ones_search() {
    let idle = Idle::new();
    idle.announce(false);
    idle.announce(false);
    assert_eq!([(); 4].map(|()| idle.begin_search(8)), [true, true, true, false]);
    assert_eq!([(); 3].map(|()| idle.end_search()), [false, false, true]);
    assert!(!idle.begin_search(2), "nobody is busy");
    assert!(!idle.begin_search(1), "retired ones are idle as well");
    assert!(idle.begin_search(3));
    assert!(!idle.begin_search(3));
    assert_eq!(idle.idle(), 2);
}

#[test]
fn the_global_queue_and_the_timers_have_their_turn_every_so_many_rounds() {
    let processor = Processor::new(0);
    for round in 1..=200 {
        let (global_first, look) = processor.begin_round();
        // It stays so until the global queue had something.
        assert_eq!(global_first, round >= GLOBAL_INTERVAL, "round {round}");
        assert_eq!(look, round % (GLOBAL_INTERVAL - 1) == 0, "round {round}");
    }
    assert_eq!((processor.rounds.load(Relaxed), processor.has_long_rounds()), (200, false));
    processor.local_rounds.set(0);
    processor.global_interval.store(LONG_ROUNDS, Relaxed);
    assert!(processor.has_long_rounds());
    assert_eq!([(); 4].map(|()| processor.begin_round()), [(false, true), (true, true), (true, true), (true, true)]);
}
