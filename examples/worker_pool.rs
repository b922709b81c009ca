//! A worker pool: several goroutines share one queue of jobs and one channel of results.

use gopark::sync::WaitGroup;
use gopark::{block_on, chan, go};

const WORKERS: usize = 4;
const JOBS: u64 = 1000;

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (jobs, queue) = chan::bounded(16);
    let (results, output) = chan::unbuffered();

    // Each job goes to exactly one worker.
    let workers = WaitGroup::new();
    for _ in 0..WORKERS {
        let (queue, results) = (queue.clone(), results.clone());
        workers.go(async move {
            while let Some(job) = queue.recv().await {
                results.send(job * 2).await.unwrap();
            }
        });
    }
    drop(results); // the workers have clones: when the last worker ends, the channel closes

    go(async move {
        for job in 1..=JOBS {
            jobs.send(job).await.unwrap();
        }
    }); // drops `jobs`, which closes the queue

    let (mut count, mut sum) = (0, 0);
    while let Some(result) = output.recv().await {
        count += 1;
        sum += result;
    }
    workers.wait().await;
    println!("{count} results, sum {sum}");
    assert_eq!((count, sum), (JOBS, JOBS * (JOBS + 1)));
}
