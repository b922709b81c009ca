use super::*;

#[test]
fn each_setting_is_read_and_a_wrong_one_is_named() {
    let (settings, wrong) = parse("deadlock=crash, leaks=report,dump=on,sched=250");
    let expected = Settings {
        deadlock: Some(Action::Crash),
        leaks: Action::Report,
        locks: None,
        dump: true,
        sched: Some(Duration::from_millis(250)),
    };
    assert_eq!((settings, wrong), (expected, Vec::new()));
    let (settings, wrong) = parse("leeks=report,sched=0,dump=yes,locks=off,locks=1,deadlock=off");
    assert_eq!(
        settings,
        Settings { deadlock: Some(Action::Off), locks: Some(false), ..Settings::default() }
    );
    assert_eq!(wrong, ["leeks=report", "sched=0", "dump=yes", "locks=1"]);
    assert_eq!(parse(""), (Settings::default(), Vec::new()));
}
