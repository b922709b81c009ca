//! Fan-in: many senders, one channel. It closes when the last of them is gone.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go};

/// A goroutine that says something a few times, and the channel to hear it on.
fn says(name: &'static str, times: usize) -> Receiver<String> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        for i in 1..=times {
            if tx.send(format!("{name} {i}")).await.is_err() {
                return; // nobody listens any more
            }
        }
    });
    rx
}

/// One channel for what comes from several.
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
    // Each speaker's words come in order; how the two mix is open.
    let ann: Vec<_> = heard.iter().filter(|text| text.starts_with("Ann")).collect();
    assert_eq!(ann, ["Ann 1", "Ann 2", "Ann 3"]);
    assert_eq!(heard.len(), 5);
}
