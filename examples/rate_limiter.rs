//! One request per tick; then with a few ticks saved for a burst. After Go by Example's "Rate
//! Limiting".

use std::time::{Duration, Instant};

use gopark::chan::{self, Receiver};
use gopark::{
    block_on, go,
    time::{self, Ticker},
};

const PERIOD: Duration = Duration::from_millis(10);

fn five_requests() -> Receiver<u32> {
    let (tx, rx) = chan::bounded(5);
    (1..=5).for_each(|i| tx.try_send(i).expect("room for five"));
    rx
}

/// Returns the time of each request, in periods since the start.
fn periods(start: Instant, times: &[Instant]) -> Vec<f64> {
    times.iter().map(|at| at.duration_since(start).as_secs_f64() / PERIOD.as_secs_f64()).collect()
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    // Steady: every request waits for its tick.
    let requests = five_requests();
    let start = time::now();
    let limiter = Ticker::new(PERIOD);
    let mut sent = Vec::new();
    while let Some(request) = requests.recv().await {
        let tick = limiter.tick().await;
        println!("request {request} at {:?}", tick.duration_since(start));
        sent.push(tick);
    }
    for (i, at) in periods(start, &sent).into_iter().enumerate() {
        assert!(at >= (i + 1) as f64, "never before its tick");
    }
    // The ticks stay on a grid, however late one was received.
    assert!(sent.windows(2).all(|two| (two[1] - two[0]).as_nanos() % PERIOD.as_nanos() == 0));

    // Bursts: up to three ticks are saved.
    let (save, tokens) = chan::bounded(3);
    let start = time::now();
    (0..3).for_each(|_| save.try_send(start).expect("room for three"));
    let ticker = Ticker::new(PERIOD);
    let refill = go(async move {
        // Ends when the last receiver of tokens is dropped.
        while save.send(ticker.tick().await).await.is_ok() {}
    });
    let requests = five_requests();
    let mut sent = Vec::new();
    while let Some(request) = requests.recv().await {
        let token = tokens.recv().await.expect("refilled");
        println!("bursty request {request} at {:?}", token.duration_since(start));
        sent.push(token);
    }
    let sent = periods(start, &sent);
    assert_eq!(sent[..3], [0.0, 0.0, 0.0], "the three that were saved");
    assert!(sent[3] >= 1.0 && sent[4] >= 2.0, "then at the ticker's rate");
    drop(tokens);
    refill.await.unwrap();
}
