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
