//! The thread ring: 503 goroutines in a circle pass a token that counts down. The goroutine that
//! has it at zero wins.

use gopark::{block_on, chan, go};

const RING: usize = 503;
const HOPS: u32 = 1000;

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (announce, winner) = chan::unbuffered();
    let links: Vec<_> = (0..RING).map(|_| chan::unbuffered()).collect();
    for i in 0..RING {
        let (inbox, next) = (links[i].1.clone(), links[(i + 1) % RING].0.clone());
        let announce = announce.clone();
        go(async move {
            while let Some(token) = inbox.recv().await {
                if token == 0 {
                    announce.send(i + 1).await.unwrap();
                    return;
                }
                next.send(token - 1).await.unwrap();
            }
        });
    }
    links[0].0.send(HOPS).await.unwrap();
    let winner = winner.recv().await.unwrap();
    println!("{winner}");
    assert_eq!(winner, 498);
}
