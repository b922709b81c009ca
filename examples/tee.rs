//! Tee: each value goes to two readers. They may differ in speed; neither gets ahead by more than
//! one value.

use gopark::chan::{self, Receiver};
use gopark::{block_on, go, select};

/// Returns two channels, each with all values of `input`.
fn tee<T: Clone + Send + 'static>(input: Receiver<T>) -> (Receiver<T>, Receiver<T>) {
    let (left_tx, left) = chan::unbuffered();
    let (right_tx, right) = chan::unbuffered();
    go(async move {
        while let Some(value) = input.recv().await {
            // First the side that is ready, then the other. A condition switches off the side that
            // is done.
            let (mut to_left, mut to_right) = (true, true);
            while to_left || to_right {
                select! {
                    sent = left_tx.send(value.clone()), if to_left => {
                        if sent.is_err() { return }
                        to_left = false;
                    }
                    sent = right_tx.send(value.clone()), if to_right => {
                        if sent.is_err() { return }
                        to_right = false;
                    }
                }
            }
        }
    });
    (left, right)
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (tx, rx) = chan::unbuffered();
    go(async move {
        for n in 1..=5 {
            tx.send(n).await.unwrap();
        }
    });

    let (left, right) = tee(rx);
    // One reader adds, the other multiplies.
    let sum = go(async move {
        let mut sum = 0;
        while let Some(n) = left.recv().await {
            sum += n;
        }
        sum
    });
    let mut product = 1;
    while let Some(n) = right.recv().await {
        product *= n;
    }
    let sum: i32 = sum.await.unwrap();
    println!("1 to 5: the sum is {sum}, the product is {product}");
    assert_eq!((sum, product), (15, 120));
}
