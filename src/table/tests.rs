use std::time::Duration;
use std::{ptr, thread};

use super::Table;

#[test]
fn numbers_are_used_again() {
    let table: Table<u16, 4> = Table::new();
    let things = [(); 3].map(|()| table.take(Duration::ZERO, |number| number).unwrap());
    assert_eq!(things, [&0, &1, &2]);
    table.put_back(things[1]);
    let again = table.take(Duration::ZERO, |_| unreachable!("one is free")).unwrap();
    assert!(ptr::eq(again, things[1]));
    assert_eq!(table.take(Duration::ZERO, |number| number), Some(&3));
    for number in 0..4 {
        // SAFETY: all four were made.
        assert_eq!(unsafe { table.get(number) }, &u16::try_from(number).unwrap());
    }
}

#[test]
fn at_the_limit_one_that_is_put_back_is_waited_for_until_the_patience_ends() {
    let table: &Table<u16, 2> = Box::leak(Box::new(Table::new()));
    let things = [(); 2].map(|()| table.take(Duration::ZERO, |number| number).unwrap());
    let take =
        |patience| table.take(patience, |_| unreachable!("there are as many as there may be"));
    assert_eq!((take(Duration::ZERO), take(Duration::from_millis(20))), (None, None));
    let waits: Vec<_> =
        (0..2).map(|_| thread::spawn(move || take(Duration::from_secs(60)))).collect();
    things.into_iter().for_each(|thing| table.put_back(thing));
    let mut taken: Vec<_> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
    taken.sort();
    assert_eq!(taken, [Some(&0), Some(&1)]);
    assert_eq!(take(Duration::ZERO), None);
}
