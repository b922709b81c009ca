//! Ticks, and the state of a new processor.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{
    CONTENDED, GLOBAL_INTERVAL, LONG_TICKS, Place, Processor, RUN_NEXT_LIMIT, RUN_NEXT_LOOK,
    SHARING_LOOKS, SHARING_TICKS, Work,
};

impl Processor {
    /// Returns true if it is like a new one, except for its registry and counts.
    pub(crate) fn is_reset(&self) -> bool {
        let counts = [&self.ticks, &self.polls].map(|count| count.load(Relaxed));
        let since =
            [&self.ticks_since_global, &self.ticks_since_timers].map(|since| since.load(Relaxed));
        (counts, since, self.place.get()) == ([0; 2], [0; 2], Place::Retired)
            && self.queue.is_empty()
            && self.global_interval.load(Relaxed) == GLOBAL_INTERVAL
            && !self.has_long_polls()
            && self.sharing.load(Relaxed) == 0
    }
}

#[test]
fn the_global_queue_and_the_timers_have_their_turn_every_so_many_rounds() {
    let processor = Processor::new(0);
    for round in 1..=200 {
        let (global_first, look) = processor.begin_tick(false);
        // It stays true until a goroutine is taken from the global queue.
        assert_eq!(global_first, round >= GLOBAL_INTERVAL, "round {round}");
        assert_eq!(look, round % (GLOBAL_INTERVAL - 1) == 0, "round {round}");
    }
    assert_eq!((processor.ticks.load(Relaxed), processor.has_long_ticks()), (200, false));
    processor.took_from_global();
    processor.global_interval.store(LONG_TICKS, Relaxed);
    assert!(processor.has_long_ticks());
    assert_eq!(
        [(); 4].map(|()| processor.begin_tick(false)),
        [(false, true), (true, true), (true, true), (true, true)]
    );
}

#[test]
fn goroutines_that_contend_for_locks_count_as_sharing_state_for_a_while() {
    let processor = Processor::new(0);
    let shares = |ticks, contentions| {
        let done = Work { ticks, polls: ticks, cpu: Duration::ZERO, contentions };
        processor.adapt(&done, Duration::from_millis(5));
        processor.sharing.load(Relaxed) != 0
    };
    assert!(!shares(0, 0));
    assert!(!shares(CONTENDED, CONTENDED - 1), "too few to judge");
    assert!(!shares(100 * SHARING_TICKS + 1, 100), "seldom");
    assert!(shares(100 * SHARING_TICKS, 100));
    assert!((1..SHARING_LOOKS).all(|_| shares(1, 0)));
    assert!(!shares(1, 0));
}

#[test]
fn after_full_slices_the_global_queue_and_the_local_one_alternate() {
    let processor = Processor::new(0);
    for _ in 0..100 {
        assert_eq!(processor.begin_tick(true), (false, true));
        assert_eq!(processor.begin_tick(true), (true, true));
        // It comes first until it has had its turn.
        assert_eq!(processor.begin_tick(true), (true, true));
        processor.took_from_global();
    }
}

#[test]
fn slices_of_longer_polls_have_fewer_goroutines() {
    let processor = Processor::new(0);
    let adapt = |polls, cpu| {
        let done = Work { ticks: polls, polls, cpu, contentions: 0 };
        // It was busy all the time.
        processor.adapt(&done, cpu);
        (processor.run_next_limit(), processor.has_long_polls())
    };
    let limit = |cpu| adapt(100, cpu);
    assert_eq!(limit(Duration::from_micros(500)), (RUN_NEXT_LIMIT, false));
    assert_eq!(limit(Duration::from_millis(2)), (50, false));
    assert_eq!(limit(Duration::from_micros(3_500)), (28, false));
    assert_eq!(limit(Duration::from_micros(3_501)), (1, true));
    assert_eq!(adapt(0, Duration::ZERO), (RUN_NEXT_LIMIT, false));
    assert_eq!(adapt(0, Duration::from_millis(1)), (1, true));
}

/// Polls that block their thread for 1 ms use next to no CPU time. A slice had 128 of them, and the
/// goroutines in the queue waited as many milliseconds.
#[test]
fn slices_of_polls_that_block_their_thread_are_short() {
    let processor = Processor::new(0);
    let limit = |polls| {
        let done = Work { ticks: polls, polls, cpu: Duration::from_micros(25), contentions: 0 };
        processor.adapt(&done, Duration::from_millis(5));
        assert!(!processor.has_long_polls());
        processor.run_next_limit()
    };
    assert_eq!(limit(5), RUN_NEXT_LOOK);
    assert_eq!(limit(300), 60);
    assert_eq!(limit(1000), RUN_NEXT_LIMIT);
}
