//! A worker that shows that it lives, and a watchdog that replaces one that does not.

use std::time::Duration;

use gopark::chan::{self, Receiver, Sender, TryRecvError};
use gopark::{JoinHandle, block_on, go, select, time};

const PULSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_millis(100);

/// Works through `jobs`, and sends a pulse every now and then. One that is `ill` gets stuck at its third job.
fn worker(ill: bool, jobs: Receiver<u32>, done: Sender<u32>) -> (JoinHandle<()>, Receiver<()>) {
    let (pulse, pulses) = chan::bounded(1);
    let work = go(async move {
        let ticker = time::Ticker::new(PULSE);
        let mut count = 0;
        loop {
            select! {
                _ = ticker.tick() => {
                    // Nobody may be looking: a pulse never holds up the work.
                    let _ = pulse.try_send(());
                }
                job = jobs.recv() => {
                    let Some(job) = job else { return };
                    count += 1;
                    if ill && count == 3 {
                        time::sleep(Duration::from_secs(3600)).await;
                    }
                    done.send(job * job).await.unwrap();
                }
            }
        }
    });
    (work, pulses)
}

fn main() {
    block_on(async {
        let (submit, jobs) = chan::bounded(10);
        let (done, results) = chan::bounded(10);
        for job in 1..=10 {
            submit.send(job).await.unwrap();
        }

        // The watchdog: as long as there are pulses or results, all is well.
        let (mut work, mut pulses) = worker(true, jobs.clone(), done.clone());
        let (mut beats, mut replaced, mut squares) = (0, 0, Vec::new());
        while squares.len() < 9 {
            select! {
                square = results.recv() => squares.extend(square),
                beat = pulses.recv() => beats += u32::from(beat.is_some()),
                _ = time::sleep(PATIENCE) => {
                    println!("no sign of life for {PATIENCE:?}: a new worker");
                    work.abort();
                    assert!(work.await.unwrap_err().is_aborted());
                    replaced += 1;
                    (work, pulses) = worker(false, jobs.clone(), done.clone());
                }
            }
        }
        println!("{beats} pulses, {replaced} replaced, results: {squares:?}");
        assert!(replaced >= 1);
        // The job that the ill one was at is lost with it, and nothing else.
        assert_eq!(squares.iter().sum::<u32>(), (1..=10).map(|n| n * n).sum::<u32>() - 9);
        assert_eq!(jobs.try_recv(), Err(TryRecvError::Empty));
        drop(submit);
        work.await.unwrap();
    });
}
