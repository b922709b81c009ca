use super::*;

/// A bug: the monitor was woken twice while the worker's thread started. The CPU time of the start,
/// in which no poll began, passed for a long poll, so slices had one goroutine. Then one that
/// yielded came before the one that it had just started, in every fourth new runtime of a debug
/// build.
#[test]
fn two_checks_in_a_row_do_not_take_the_start_of_a_thread_for_a_long_poll() {
    let (watched, processor) = (Watched::new(), Processor::new(0));
    let clock = ThreadClock::of_this_thread();
    let look_after = |passed| {
        let before = clock.cpu_time();
        while clock.cpu_time() == before {
            std::hint::spin_loop();
        }
        watched.look(&processor, &clock, (Time::now(), passed), true, false);
        processor.has_long_polls()
    };
    assert!(!look_after(Duration::ZERO), "the first one");
    assert!(!look_after(Duration::from_micros(20)));
    assert!(look_after(Duration::from_millis(1)));
}
