//! A small service that is stopped, finishes the requests that it has accepted, and cleans up.
//!
//! A plain thread stops it: the cancel function may be called on any thread. With the feature
//! `net`, a context that ends with Ctrl-C is
//! `signal::notify_context(&Context::background(), &[Signal::INT])`: see the example `http`.

use std::thread;
use std::time::Duration;

use gopark::context::Context;
use gopark::sync::WaitGroup;
use gopark::{block_on, chan, go, gosched};

/// Answers requests until the service ends. It answers each request that it has received.
async fn worker(ctx: Context, requests: chan::Receiver<u64>, answers: chan::Sender<u64>) {
    while let Some(request) = ctx.recv(&requests).await {
        gosched().await; // the work
        answers.send(request * request).await.unwrap();
    }
}

fn main() {
    block_on(async {
        let (service, shut_down) = Context::background().with_cancel();
        let (requests, queue) = chan::unbuffered();
        let (answers, output) = chan::unbuffered();
        let (signal, signalled) = chan::unbuffered::<()>();

        // Runs after the service has ended, in a goroutine of its own.
        let (cleaned, cleanup) = chan::bounded(1);
        service.after_func(async move { cleaned.send("temporary files removed").await });

        let workers = WaitGroup::new();
        for _ in 0..3 {
            workers.go(worker(service.clone(), queue.clone(), answers.clone()));
        }
        drop(answers);
        let answered = go(async move {
            let mut answered = 0;
            while output.recv().await.is_some() {
                answered += 1;
            }
            answered
        });

        // Requests arrive until the service accepts no more.
        let clients = go({
            let service = service.clone();
            async move {
                let mut accepted = 0;
                while let Ok(Ok(())) = service.run(requests.send(accepted)).await {
                    accepted += 1;
                    if accepted == 100 {
                        signal.send(()).await.expect("the thread below waits"); // as if a user pressed Ctrl-C
                    }
                }
                accepted
            }
        });
        let ctrl_c = thread::spawn(move || {
            signalled.recv_blocking();
            shut_down.cancel();
        });

        // The workers may take their time, up to a limit: a new context, because the service's has
        // ended.
        service.done().await;
        let (grace, _) = service.without_cancel().with_timeout(Duration::from_secs(10));
        grace.run(workers.wait()).await.expect("the workers finish what they have begun");

        let (accepted, answered) = (clients.await.unwrap(), answered.await.unwrap());
        println!("{accepted} requests accepted, {answered} answered");
        assert!(accepted >= 100);
        assert_eq!(answered, accepted);
        assert_eq!(cleanup.recv().await, Some("temporary files removed"));
        ctrl_c.join().unwrap();
    });
}
