//! Maps that give back the memory of a burst.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// A map with this many entries or fewer keeps its memory.
const FEW: usize = 16;

/// Removes an entry. If the map had many times as many entries before, it also frees most of its
/// memory. That moves the entries that are left, which are few compared to those removed since.
pub(crate) fn remove<K, V, S>(map: &mut HashMap<K, V, S>, key: &K) -> Option<V>
where
    K: Eq + Hash,
    S: BuildHasher,
{
    let removed = map.remove(key);
    let enough = 2 * map.len().max(FEW);
    if map.capacity() > 8 * enough {
        map.shrink_to(enough);
    }
    removed
}

#[cfg(all(test, not(gopark_loom)))]
mod tests;
