//! Fan-in: many senders, one channel. Dropping the last sender closes it.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go};

/// Starts a goroutine that sends a few lines, and returns the channel.
fn says(name: &'static str, times: usize) -> Receiver<String> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        for i in 1..=times {
            if tx.send(format!("{name} {i}")).await.is_err() {
                return; // the receiver was dropped
            }
        }
    });
    rx
}

/// Merges several channels into one.
fn fan_in(inputs: Vec<Receiver<String>>) -> Receiver<String> {
    let (tx, rx) = chan::unbuffered();
    for input in inputs {
        let tx = tx.clone();
        go(async move {
            while let Some(text) = input.recv().await {
                if tx.send(text).await.is_err() {
                    return;
                }
            }
        });
    }
    rx
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let all = fan_in(vec![says("Ann", 3), says("Joe", 2)]);
    let mut heard = Vec::new();
    while let Some(text) = all.recv().await {
        println!("{text}");
        heard.push(text);
    }
    // Each speaker's lines come in order; how the two are mixed is not determined.
    let ann: Vec<_> = heard.iter().filter(|text| text.starts_with("Ann")).collect();
    assert_eq!(ann, ["Ann 1", "Ann 2", "Ann 3"]);
    assert_eq!(heard.len(), 5);
}
