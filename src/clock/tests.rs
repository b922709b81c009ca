use super::*;

#[test]
fn what_is_too_long_is_never() {
    assert_eq!(Time::now().after(Duration::MAX), Time::NEVER);
    assert_eq!(Time::from_nanos(u64::MAX - 1).after(Duration::from_nanos(5)), Time::NEVER);
    assert_eq!(Time::NEVER.instant(), None);
    assert_eq!(Time::from_nanos(7).next_tick(Duration::MAX, Time::from_nanos(9)), Time::NEVER);
}

#[test]
fn an_instant_comes_back_as_it_went_in() {
    let instant = Instant::now() + Duration::from_secs(3);
    assert_eq!(Time::at(instant).instant(), Some(instant));
}

#[test]
fn a_late_tick_is_followed_by_the_next_of_the_grid_tm07() {
    let (due, period) = (Time::from_nanos(20), Duration::from_nanos(20));
    assert_eq!(due.next_tick(period, Time::from_nanos(20)), Time::from_nanos(40));
    assert_eq!(due.next_tick(period, Time::from_nanos(39)), Time::from_nanos(40));
    assert_eq!(due.next_tick(period, Time::from_nanos(40)), Time::from_nanos(60));
    assert_eq!(due.next_tick(period, Time::from_nanos(110)), Time::from_nanos(120));
}

#[test]
fn the_clock_is_monotonic_across_threads() {
    let latest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let before = latest.load(Ordering::Acquire);
                    let now = Time::now().as_nanos();
                    assert!(now >= before, "{now} follows {before}");
                    latest.fetch_max(now, Ordering::Release);
                }
            });
        }
    });
}

#[test]
fn a_reading_advances_the_epoch() {
    for _ in 0..1000 {
        let now = Time::now();
        let ahead = coarse_epoch().wrapping_sub((now.as_nanos() >> EPOCH_SHIFT) as u32);
        assert!(ahead < 1000, "the epoch is before the reading");
    }
}

#[test]
fn the_epoch_is_not_set_back_by_a_late_thread() {
    let epoch = Epoch { latest: AtomicU64::new(0) };
    for (reading, latest) in [(3, 3), (2, 3), (5, 5), (4, 5)] {
        epoch.advance(Time::from_nanos(reading << EPOCH_SHIFT));
        assert_eq!(epoch.latest.load(Ordering::Relaxed), latest);
    }
}
