//! Inside a tokio application: channels, `select!` and contexts between tokio's tasks, together
//! with tokio's own futures; and goroutines, which run on gopark's threads, started and joined from
//! tokio.

use std::{pin::pin, time::Duration};

use gopark::chan::{self, Receiver, Sender};
use gopark::context::Context;
use gopark::select::fut;
use gopark::{go, select};

const SENSORS: u64 = 4;
const BATCH: usize = 16;

/// Sends readings until the context ends. Returns how many were received.
async fn sensor(ctx: Context, number: u64, readings: Sender<u64>) -> usize {
    let mut given = 0;
    while let Ok(Ok(())) = ctx.run(readings.send(number)).await {
        given += 1;
    }
    given
}

/// Sends a batch when it is full, when its first reading has waited long enough by tokio's clock,
/// and at the end.
async fn collector(ctx: Context, readings: Receiver<u64>, batches: Sender<Vec<u64>>) {
    while let Some(first) = ctx.recv(&readings).await {
        let (mut batch, mut late) =
            (vec![first], pin!(tokio::time::sleep(Duration::from_millis(20))));
        while batch.len() < BATCH {
            select! {
                reading = ctx.recv(&readings) => match reading { Some(reading) => batch.push(reading), None => break },
                () = fut(late.as_mut()) => break,
            }
        }
        batches.send(batch).await.expect("the analysts are there until the end");
    }
}

/// A goroutine for work that would keep one of tokio's workers from its sockets.
async fn analyst(batches: Receiver<Vec<u64>>, analysed: Sender<usize>) -> u64 {
    let mut sum = 0;
    while let Some(batch) = batches.recv().await {
        sum += batch.iter().sum::<u64>();
        analysed.send(batch.len()).await.expect("main receives until the end");
    }
    sum
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (service, stop) = Context::background().with_cancel();
    let (sensing, stop_sensing) = service.with_cancel();
    let ((readings, collect), (batches, analyse)) = (chan::unbuffered(), chan::bounded(2));
    let (counts, analysed) = chan::unbuffered();
    let sensors: Vec<_> =
        (1..=SENSORS).map(|n| tokio::spawn(sensor(sensing.clone(), n, readings.clone()))).collect();
    let collecting = tokio::spawn(collector(service, collect, batches));
    let analysts: Vec<_> = (0..2).map(|_| go(analyst(analyse.clone(), counts.clone()))).collect();
    let (mut given, mut done, mut sum) = (0, 0, 0);
    while done < 50 * BATCH {
        done += analysed.recv().await.unwrap();
    }
    stop_sensing.cancel();
    for sensor in sensors {
        given += sensor.await.unwrap();
    }
    while done < given {
        done += analysed.recv().await.unwrap();
    }
    // One more batch, which is not filled up: only the timer sends it.
    readings.send(1000).await.unwrap();
    assert_eq!((done, analysed.recv().await), (given, Some(1)));
    // And a batch that is not full when the context ends.
    readings.send(2000).await.unwrap();
    stop.cancel();
    assert_eq!(analysed.recv().await, Some(1));
    collecting.await.unwrap();
    for analyst in analysts {
        sum += analyst.await.unwrap(); // a goroutine, joined from tokio
    }
    println!("{given} readings and two late ones, their sum is {sum}");
    assert!(given >= 50 * BATCH && sum >= 3000 + given as u64);
}
