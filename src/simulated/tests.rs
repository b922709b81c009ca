use super::*;

#[test]
fn there_may_be_any_number_of_runs() {
    LOCAL.with(|l| l.world.set(u64::MAX / 3));
    assert_eq!(in_run(in_process(7)), 7);
    LOCAL.with(|l| l.world.set(0));
    assert_eq!(in_process(7), 7);
}
