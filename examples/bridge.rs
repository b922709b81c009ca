//! Bridge: a channel of channels, read as one channel. Each inner channel is drained before the
//! next one is received.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go, gosched, num_goroutine};

/// Returns a channel of all values of all channels in `channels`, in order.
fn bridge<T: Send + 'static>(channels: Receiver<Receiver<T>>) -> Receiver<T> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        while let Some(inner) = channels.recv().await {
            while let Some(value) = inner.recv().await {
                if tx.send(value).await.is_err() {
                    return; // drops `inner` and `channels`, so their senders fail and end
                }
            }
        }
    });
    rx
}

/// The pages of a book. Each page is a channel of its words, so its writer does not wait for the
/// page before.
fn pages(text: &'static [&'static str]) -> Receiver<Receiver<&'static str>> {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        for page in text {
            let (words_tx, words) = chan::bounded(4);
            go(async move {
                for word in page.split(' ') {
                    if words_tx.send(word).await.is_err() {
                        return;
                    }
                }
            });
            if tx.send(words).await.is_err() {
                return;
            }
        }
    });
    rx
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    const BOOK: &[&str] =
        &["do not communicate", "by sharing memory", "share memory", "by communicating"];
    let words = bridge(pages(BOOK));
    let mut text = Vec::new();
    while let Some(word) = words.recv().await {
        text.push(word);
    }
    println!("{}", text.join(" "));
    assert_eq!(text.join(" "), BOOK.join(" "));

    // Dropping the receiver in the middle ends all goroutines.
    let words = bridge(pages(BOOK));
    assert_eq!(words.recv().await, Some("do"));
    drop(words);
    while num_goroutine() > 1 {
        gosched().await;
    }
    println!("and nobody is left");
}
