use std::collections::HashMap;

use super::{FEW, remove};

#[test]
fn a_map_shrinks_as_it_empties_and_keeps_what_is_left() {
    let mut map: HashMap<usize, usize> = (0..100_000).map(|i| (i, i)).collect();
    for i in 0..100_000 {
        assert_eq!(remove(&mut map, &i), Some(i));
        assert_eq!(remove(&mut map, &i), None);
        assert!(map.capacity() <= 64 * map.len().max(FEW), "{} of {}", map.len(), map.capacity());
        let next = i + 1;
        assert_eq!(map.get(&next).copied(), (next < 100_000).then_some(next));
    }
}
