//! How late a goroutine is that has next to nothing to do, beside others that have much. Prints a table.
//!
//! A message says when it was sent; the bystander looks at the clock when it has it. It is sent in three ways: by a
//! goroutine that sleeps, by a thread, and by a thread to a goroutine that passes it on. The senders keep to their
//! timetable whether or not the bystander keeps up.

mod common;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Executor, Gopark, PROCS, Tokio, compute, measures};

/// Channels of instants, beside the executor.
trait World: Executor {
    type Sender: Clone + Send + Sync + 'static;
    type Receiver: Send + 'static;

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, sent: Instant) -> impl Future<Output = bool> + Send;
    fn send_blocking(sender: &Self::Sender, sent: Instant) -> bool;
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output = Option<Instant>> + Send;
}

impl World for Gopark {
    type Sender = gopark::chan::Sender<Instant>;
    type Receiver = gopark::chan::Receiver<Instant>;

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver) {
        gopark::chan::bounded(capacity)
    }

    async fn send(sender: &Self::Sender, sent: Instant) -> bool {
        sender.send(sent).await.is_ok()
    }

    fn send_blocking(sender: &Self::Sender, sent: Instant) -> bool {
        sender.send_blocking(sent).is_ok()
    }

    async fn recv(receiver: &mut Self::Receiver) -> Option<Instant> {
        receiver.recv().await
    }
}

impl World for Tokio {
    type Sender = tokio::sync::mpsc::Sender<Instant>;
    type Receiver = tokio::sync::mpsc::Receiver<Instant>;

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver) {
        tokio::sync::mpsc::channel(capacity)
    }

    async fn send(sender: &Self::Sender, sent: Instant) -> bool {
        sender.send(sent).await.is_ok()
    }

    fn send_blocking(sender: &Self::Sender, sent: Instant) -> bool {
        sender.blocking_send(sent).is_ok()
    }

    async fn recv(receiver: &mut Self::Receiver) -> Option<Instant> {
        receiver.recv().await
    }
}

/// What goes on beside the bystander.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beside {
    Nothing,
    /// Four goroutines that compute 3 ms between yields.
    Hogs,
    /// A goroutine that blocks its thread for 50 ms between yields.
    Blocked,
    /// Two goroutines that send each other messages.
    PingPong,
}

fn start<W: World>(on: &W, beside: Beside, stop: &Arc<AtomicBool>) {
    let goes_on = |stop: &Arc<AtomicBool>| !stop.load(Ordering::Relaxed);
    match beside {
        Beside::Nothing => {}
        Beside::Hogs => {
            for _ in 0..4 {
                let stop = stop.clone();
                on.go(async move {
                    while goes_on(&stop) {
                        compute(Duration::from_millis(3));
                        W::yield_now().await;
                    }
                });
            }
        }
        Beside::Blocked => {
            let stop = stop.clone();
            on.go(async move {
                while goes_on(&stop) {
                    thread::sleep(Duration::from_millis(50));
                    W::yield_now().await;
                }
            });
        }
        Beside::PingPong => {
            let (there, mut arrives) = W::channel(1);
            let (back, mut returns) = W::channel(1);
            on.go(async move {
                while let Some(message) = W::recv(&mut arrives).await {
                    W::send(&back, message).await;
                }
            });
            let stop = stop.clone();
            on.go(async move {
                let message = Instant::now();
                while goes_on(&stop) {
                    W::send(&there, message).await;
                    W::recv(&mut returns).await;
                }
            });
        }
    }
}

/// How the bystander is woken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Thread,
    Goroutine,
}

/// Lateness of `n` messages that are sent every millisecond or so.
fn lateness<W: World>(procs: usize, beside: Beside, by: By, n: usize) -> Vec<Duration> {
    let on = W::start(procs);
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut receiver) = W::channel(n);
    let (start_on, start_stop) = (on.clone(), stop.clone());
    let late = on.clone();
    on.block_on(async move { start(&start_on, beside, &start_stop) });
    let fed = match by {
        By::Thread => sender,
        By::Goroutine => {
            let (first, mut feed) = W::channel(n);
            let feeder = async move {
                while let Some(sent) = W::recv(&mut feed).await {
                    W::send(&sender, sent).await;
                }
            };
            on.go_from_outside(feeder);
            first
        }
    };
    let clock = thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..n {
            thread::sleep(Duration::from_micros(random.u64(500..1500)));
            assert!(W::send_blocking(&fed, Instant::now()));
        }
    });
    let mut late = late.block_on(async move {
        let mut late = Vec::with_capacity(n);
        while let Some(sent) = W::recv(&mut receiver).await {
            late.push(sent.elapsed());
        }
        late
    });
    stop.store(true, Ordering::Relaxed);
    clock.join().expect("does not panic");
    assert_eq!(late.len(), n);
    late.sort_unstable();
    late
}

fn main() {
    let n = if measures() { 2000 } else { 20 };
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    println!("lateness in microseconds: p50, p99, p99.9 of {n} messages, one every millisecond");
    println!("{:<34}{:>27}{:>27}{:>12}", "beside, woken by, workers", "gopark", "tokio", "p99 ratio");
    for beside in [Beside::Nothing, Beside::PingPong, Beside::Hogs, Beside::Blocked] {
        for by in [By::Thread, By::Goroutine] {
            for procs in PROCS {
                let case = format!("{beside:?}, {by:?}, {procs}");
                if wanted.as_ref().is_some_and(|wanted| !case.contains(wanted)) {
                    continue;
                }
                let [ours, theirs] = [lateness::<Gopark>, lateness::<Tokio>].map(|of| of(procs, beside, by, n));
                let at = |late: &[Duration], share: f64| late[((n - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
                let three =
                    |late: &[Duration]| [0.5, 0.99, 0.999].map(|share| format!("{:>9.0}", at(late, share))).concat();
                let ratio = at(&ours, 0.99) / at(&theirs, 0.99);
                println!("{case:<34}{}{}{ratio:>12.2}", three(&ours), three(&theirs));
            }
        }
    }
}
