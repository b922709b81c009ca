use super::JoinSet;

/// Before, each place that a goroutine had ever had was kept for the life of the set.
#[test]
fn a_set_that_was_large_gives_its_memory_back() {
    let mut set = JoinSet::new();
    crate::block_on(async {
        for burst in 0..3 {
            (0..10_000).for_each(|i| drop(set.go(async move { i })));
            let mut sum = 0;
            while let Some(i) = set.join_next().await {
                sum += i.unwrap();
            }
            assert_eq!(sum, 9_999 * 10_000 / 2, "burst {burst}");
        }
    });
    let places = set.members.handles.capacity() + set.members.free.capacity();
    assert!(places < 1000, "{places}");
}
