use super::*;

#[test]
fn spins_that_find_nothing_become_rare() {
    let spins = Spins::default();
    let sleeps_before = |spins: &Spins| (0..).take_while(|_| !spins.may_begin()).count();
    for unspun in [0, 1, 3, 7, 15, 31, 63, 63] {
        assert_eq!(sleeps_before(&spins), unspun);
        spins.ended(false);
    }
    assert_eq!(sleeps_before(&spins), 63);
    spins.ended(true);
    assert_eq!(sleeps_before(&spins), 0);
}
