//! Closing a channel wakes all of its receivers: Go's starting gun.

use gopark::{block_on, chan, go};

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let (gun, ready) = chan::unbuffered::<()>();
    let runners: Vec<_> = (1..=5)
        .map(|number| {
            let ready = ready.clone();
            go(async move {
                // No value is sent: this returns when the channel is closed.
                let start = ready.recv().await;
                (number, start)
            })
        })
        .collect();

    println!("ready, steady …");
    assert!(gun.close());

    let mut finished = 0;
    for runner in runners {
        let (number, start) = runner.await.unwrap();
        println!("runner {number} is off");
        assert_eq!(start, None);
        finished += 1;
    }
    assert_eq!(finished, 5);

    // It stays closed: a later receive does not wait, a second close returns false, a send returns
    // its value.
    assert_eq!(ready.recv().await, None);
    assert!(!gun.close());
    assert_eq!(gun.send(()).await.unwrap_err().into_inner(), ());
}
