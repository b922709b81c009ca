//! Ticks, and the state of a new processor.

use std::sync::atomic::Ordering::Relaxed;

use super::{GLOBAL_INTERVAL, LONG_TICKS, Place, Processor};

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
    }
}

#[test]
fn the_global_queue_and_the_timers_have_their_turn_every_so_many_rounds() {
    let processor = Processor::new(0);
    for round in 1..=200 {
        let (global_first, look) = processor.begin_tick();
        // It stays true until a goroutine is taken from the global queue.
        assert_eq!(global_first, round >= GLOBAL_INTERVAL, "round {round}");
        assert_eq!(look, round % (GLOBAL_INTERVAL - 1) == 0, "round {round}");
    }
    assert_eq!((processor.ticks.load(Relaxed), processor.has_long_ticks()), (200, false));
    processor.took_from_global();
    processor.global_interval.store(LONG_TICKS, Relaxed);
    assert!(processor.has_long_ticks());
    assert_eq!(
        [(); 4].map(|()| processor.begin_tick()),
        [(false, true), (true, true), (true, true), (true, true)]
    );
}
