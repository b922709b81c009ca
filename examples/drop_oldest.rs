//! A broker with slow subscribers: each one gets the latest few messages, and misses older ones.

use gopark::chan::{self, Receiver, Sender};
use gopark::{block_on, go};

/// The number of messages that are kept for a subscriber.
const BACKLOG: usize = 3;

#[derive(Default)]
struct Broker {
    subscribers: Vec<Sender<u32>>,
    missed: usize,
}

impl Broker {
    fn subscribe(&mut self) -> Receiver<u32> {
        let (tx, rx) = chan::bounded(BACKLOG);
        self.subscribers.push(tx);
        rx
    }

    /// Waits for no subscriber, and removes those that were dropped.
    fn publish(&mut self, message: u32) {
        let missed = &mut self.missed;
        self.subscribers.retain(|subscriber| match subscriber.force_send(message) {
            Ok(replaced) => {
                *missed += usize::from(replaced.is_some());
                true
            }
            Err(_) => false,
        });
    }
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let mut broker = Broker::default();
    let (attentive, slow, gone) = (broker.subscribe(), broker.subscribe(), broker.subscribe());
    drop(gone);
    let (seen, all) = chan::unbuffered();
    go(async move {
        while let Some(message) = attentive.recv().await {
            seen.send(message).await.unwrap();
        }
    });
    for message in 1..=10 {
        broker.publish(message);
        assert_eq!(all.recv().await, Some(message));
    }
    assert_eq!(broker.subscribers.len(), 2);
    println!("the slow one has missed {} of 10", broker.missed);
    assert_eq!(broker.missed, 7);
    drop(broker);
    let mut latest = Vec::new();
    while let Some(message) = slow.recv().await {
        latest.push(message);
    }
    println!("and has {latest:?}");
    assert_eq!(latest, [8, 9, 10]);
}
