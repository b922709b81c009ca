//! A server with a limited number of connections: the goroutine of each connection holds a permit.

use std::sync::Arc;

use gopark::chan::{self, Receiver, Sender};
use gopark::sync::{OwnedPermit, Semaphore, WaitGroup};
use gopark::{block_on, go, gosched};

const MOST: usize = 3;

/// A request, and the channel for its answer.
type Connection = (u32, Sender<u32>);

/// Accepts a connection only after it has a permit: the others wait in the listener's queue.
async fn serve(listener: Receiver<Connection>, permits: Arc<Semaphore>) {
    let handlers = WaitGroup::new();
    loop {
        let permit = permits.acquire_owned(1).await;
        let Some(connection) = listener.recv().await else { break };
        handlers.go(handle(connection, permit));
    }
    handlers.wait().await;
}

/// The permit is returned when this ends, also by a panic or an abort.
async fn handle((request, answer): Connection, _permit: OwnedPermit) {
    gosched().await; // the work
    let _ = answer.send(request * request).await;
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let permits = Arc::new(Semaphore::new(MOST));
    let (connect, listener) = chan::unbuffered();
    let server = go(serve(listener, permits.clone()));
    let clients: Vec<_> = (1..=20)
        .map(|n| {
            go!([connect, permits] async {
                let (answer, answered) = chan::unbuffered();
                connect.send((n, answer)).await.unwrap();
                // It was served, so a permit is taken.
                assert!(permits.available() < MOST);
                answered.recv().await.unwrap()
            })
        })
        .collect();
    drop(connect);
    let mut sum = 0;
    for client in clients {
        sum += client.await.unwrap();
    }
    server.await.unwrap();
    println!("20 clients, at most {MOST} at a time; their answers add up to {sum}");
    assert_eq!(sum, 20 * 21 * 41 / 6);
    assert_eq!(permits.available(), MOST);
}
