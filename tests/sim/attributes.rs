//! `#[gopark::test(sim)]`.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use gopark::{chan, go, go_local};

thread_local! {
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

#[gopark::test(sim, runs = 7)]
async fn counted() {
    RUNS.set(RUNS.get() + 1);
}

#[gopark::test(sim)]
async fn counted_by_default() {
    RUNS.set(RUNS.get() + 1);
}

#[test]
fn a_test_is_simulated_a_thousand_times_or_as_often_as_it_says() {
    counted();
    assert_eq!(RUNS.take(), 7);
    counted_by_default();
    assert_eq!(RUNS.take(), 1000);
}

#[gopark::test(sim, runs = 200)]
#[should_panic(expected = "GOPARK_SIM_SEED")]
async fn what_fails_in_one_order_is_found_and_has_a_seed() {
    let (tx, rx) = chan::bounded(2);
    for n in [1, 2] {
        go!([tx] async { tx.send(n).await });
    }
    assert_eq!(rx.recv().await, Some(1));
}

#[gopark::test(sim, runs = 3)]
#[should_panic(expected = "the test returned Err(\"lost\")")]
async fn an_error_fails_a_simulated_test() -> Result<ExitCode, &'static str> {
    gopark::gosched().await;
    Err("lost")
}

#[gopark::test(sim, runs = 3)]
#[should_panic(expected = "the test returned ExitCode")]
async fn so_does_an_exit_code() -> Result<ExitCode, &'static str> {
    Ok(ExitCode::FAILURE)
}

#[gopark::test(sim, runs = 3)]
async fn a_simulated_test_may_return_and_need_not_be_send() -> Result<(), std::num::ParseIntError> {
    let one = Rc::new("1");
    gopark::gosched().await;
    assert_eq!(one.parse::<i32>()?, 1);
    Ok(())
}

#[gopark::test(sim, runs = 50)]
async fn a_local_goroutine_is_simulated_as_any_other() {
    let (tx, rx) = chan::unbuffered();
    let total = Rc::new(Cell::new(0));
    let adders = [(); 2].map(|()| {
        let (rx, total) = (rx.clone(), total.clone());
        go_local(async move {
            while let Some(n) = rx.recv().await {
                total.set(total.get() + n);
            }
        })
    });
    let left = total.clone();
    drop(go_local(async move {
        std::future::pending::<()>().await;
        drop(left);
    }));
    go(async move {
        for n in 0..5 {
            tx.send(n).await.unwrap();
        }
    });
    for adder in adders {
        adder.await.unwrap();
    }
    assert_eq!(total.get(), 10);
}
