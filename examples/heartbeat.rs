//! A worker that sends heartbeats, and a watchdog that replaces a worker without them, so that
//! every job is done.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use gopark::chan::{self, Receiver, Sender};
use gopark::{JoinHandle, block_on, go, select, time};

const PULSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_millis(100);

/// Works through `jobs`, and sends a pulse now and then. If it is `ill`, it hangs at its third job.
fn worker(ill: bool, jobs: Receiver<u32>, done: Sender<u32>) -> (JoinHandle<()>, Receiver<()>) {
    let (pulse, pulses) = chan::bounded(1);
    let work = go(async move {
        let ticker = time::Ticker::new(PULSE);
        let mut begun = 0;
        while let Some(job) = jobs.recv().await {
            begun += 1;
            if ill && begun == 3 {
                time::sleep(Duration::from_secs(3600)).await;
            }
            let mut work = pin!(time::sleep(Duration::from_millis(3)));
            loop {
                select! {
                    _ = work.as_mut() => break,
                    // A pulse never delays the work: it is dropped if the watchdog is not
                    // receiving.
                    _ = ticker.tick() => { let _ = pulse.try_send(()); }
                }
            }
            done.send(job).await.unwrap();
        }
    });
    (work, pulses)
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let mut left: BTreeSet<u32> = (1..=10).collect();
    let (submit, jobs) = chan::bounded(left.len());
    let (done, results) = chan::bounded(left.len());
    left.iter().for_each(|job| submit.try_send(*job).unwrap());

    // The watchdog: pulses or results show that the worker is alive.
    let (mut work, mut pulses) = worker(true, jobs.clone(), done.clone());
    let (mut beats, mut replaced) = (0, 0);
    while !left.is_empty() {
        select! {
            job = results.recv() => { left.remove(&job.unwrap()); }
            beat = pulses.recv() => beats += u32::from(beat.is_some()),
            _ = time::sleep(PATIENCE) => {
                println!("no sign of life for {PATIENCE:?}: a new worker, left are {left:?}");
                work.abort();
                assert!(work.await.unwrap_err().is_aborted());
                replaced += 1;
                // The worker may have had a job in progress: submit all remaining jobs again.
                while jobs.try_recv().is_ok() {}
                left.iter().for_each(|job| submit.try_send(*job).unwrap());
                (work, pulses) = worker(false, jobs.clone(), done.clone());
            }
        }
    }
    println!("all done, {beats} pulses, {replaced} replaced");
    assert!(beats > 0 && replaced > 0);
    drop(submit);
    work.await.unwrap();
}
