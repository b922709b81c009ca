//! The program and the report of `src/guide/test_it.md`, line by line.

use gopark::{chan, go, sim::Config};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

async fn withdraw(balance: &AtomicI64, audit: &chan::Sender<i64>, amount: i64) {
    if balance.load(Relaxed) >= amount {
        audit.send(amount).await.ok();
        balance.fetch_sub(amount, Relaxed);
    }
}

fn example() -> String {
    let found = std::panic::catch_unwind(|| {
        Config::new().check(|| async {
            let (balance, (audit, _log)) = (Arc::new(AtomicI64::new(100)), chan::bounded(8));
            let two = [60, 70].map(|amount| {
                let (balance, audit) = (balance.clone(), audit.clone());
                go(async move { withdraw(&balance, &audit, amount).await })
            });
            for one in two {
                one.await.unwrap();
            }
            assert!(balance.load(Relaxed) >= 0, "overdrawn");
        });
    });
    let report = *found.unwrap_err().downcast::<String>().unwrap();
    assert!(report.contains("overdrawn") && report.contains("GOPARK_SIM_SEED="));
    report
}

#[test]
fn the_guide_shows_the_report_of_its_program() {
    let guide = include_str!("../../src/guide/test_it.md");
    let block = |fence: &str| {
        guide.split(fence).nth(1).and_then(|rest| rest.split("\n```").next()).expect("a block")
    };
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let before = lines(include_str!("guide.rs"))
        .iter()
        .position(|line| line.starts_with("use "))
        .expect("its imports");
    // The guide has this body in `main`, and the report names that function; here it is in another
    // one.
    let mut program = lines(include_str!("guide.rs")).split_off(before);
    program.truncate(program.iter().position(|line| line == "report").expect("its end"));
    program.retain(|line| !line.starts_with("fn "));
    assert_eq!(lines(block("\n\n```\n")), program);

    let mut report = example();
    for line in 1..100 {
        let at = format!("tests/sim/guide.rs:{}\n", line + before);
        report = report.replace(&at, &format!("src/main.rs:{line}\n"));
    }
    assert_eq!(block("\n```text\n"), report.trim_end(), "the report is now:\n{report}");
}
