use super::Idle;

#[test]
fn a_worker_is_woken_if_a_processor_is_idle_and_no_worker_searches() {
    let idle = Idle::new();
    assert!(
        (idle.idle(), idle.should_notify(), idle.try_begin_notify()) == (0, false, false),
        "all are busy"
    );
    idle.transition_to_idle();
    assert_eq!((idle.idle(), idle.should_notify()), (1, true));
    assert!(idle.try_begin_notify());
    assert!(
        (idle.idle(), idle.should_notify(), idle.try_begin_notify()) == (1, false, false),
        "one searches"
    );
    idle.acquire_processor();
    assert_eq!((idle.idle(), idle.should_notify(), idle.try_begin_notify()), (0, false, false));
    // The searching worker found nothing.
    assert!(idle.end_search());
    idle.transition_to_idle();
    assert_eq!((idle.idle(), idle.should_notify(), idle.try_begin_notify()), (1, true, true));
    assert!(idle.end_search(), "the only one");
    assert_eq!((idle.idle(), idle.should_notify()), (1, true));
}

#[test]
fn at_most_half_of_the_busy_workers_search() {
    let idle = Idle::new();
    idle.transition_to_idle();
    idle.transition_to_idle();
    assert_eq!([(); 4].map(|()| idle.try_begin_search(8)), [true, true, true, false]);
    assert_eq!([(); 3].map(|()| idle.end_search()), [false, false, true]);
    assert!(!idle.try_begin_search(2), "no worker is busy");
    assert!(!idle.try_begin_search(1), "retired ones are idle as well");
    assert!(idle.try_begin_search(3));
    assert!(!idle.try_begin_search(3));
    assert_eq!(idle.idle(), 2);
}
