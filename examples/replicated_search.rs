//! Several replicas are asked, the first answer counts, and there is one deadline. After Rob Pike's
//! "Google search 3.0".

use std::time::Duration;

use gopark::sync::WaitGroup;
use gopark::{block_on, chan, go, num_goroutine, select, time};

const DEADLINE: Duration = Duration::from_millis(80);

/// A server: quick, slow, or dead.
async fn replica(kind: &'static str, number: usize, takes: Duration) -> String {
    time::sleep(takes).await;
    format!("{kind} by replica {number}")
}

/// Asks three replicas. The buffer has room for all answers, so a late replica does not wait.
async fn first(kind: &'static str, quickest: Duration) -> String {
    let (tx, rx) = chan::bounded(3);
    for number in 0..3 {
        let tx = tx.clone();
        go(async move {
            let slower = Duration::from_millis(20) * number as u32;
            let answer = replica(kind, number, quickest + slower).await;
            // Fails if the search has ended.
            let _ = tx.send(answer).await;
        });
    }
    rx.recv().await.expect("three answers")
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let before = num_goroutine();
    let start = time::now();
    let hour = Duration::from_secs(3600);
    let (tx, results) = chan::bounded(3);
    let searches = WaitGroup::new();
    let kinds = [("web", Duration::ZERO), ("image", Duration::from_millis(5)), ("video", hour)];
    for (kind, quickest) in kinds {
        let tx = tx.clone();
        searches.go(async move {
            // The time-out drops it, and all operations that wait in it.
            if let Ok(answer) =
                time::timeout(DEADLINE.saturating_sub(time::now() - start), first(kind, quickest))
                    .await
            {
                let _ = tx.send(answer).await;
            }
        });
    }
    drop(tx);

    let mut found = Vec::new();
    let deadline = time::sleep_until(start + DEADLINE);
    let mut deadline = std::pin::pin!(deadline);
    while found.len() < kinds.len() {
        select! {
            answer = results.recv() => match answer {
                Some(answer) => found.push(answer),
                None => break,
            },
            _ = deadline.as_mut() => break,
        }
    }
    println!("{found:?} in {:?}", time::now() - start);
    assert!(found.len() <= 2 && !found.iter().any(|answer| answer.starts_with("video")));
    searches.wait().await;
    // The replicas that lost have ended; only the dead ones still sleep.
    assert!(num_goroutine() <= before + 9);
}
