//! Plain threads and goroutines exchange values over the same channels. The threads use the methods
//! with `_blocking`.

use std::thread;

use gopark::{chan, go};

fn main() {
    let (questions, asked) = chan::unbuffered::<u32>();
    let (answers, answered) = chan::bounded(4);

    // No `block_on` is needed: the goroutine runs in the background.
    go(async move {
        while let Some(n) = asked.recv().await {
            answers.send(n * n).await.unwrap();
        }
    });

    let asker = thread::spawn(move || {
        for n in 1..=5 {
            questions.send_blocking(n).unwrap();
        }
    }); // drops `questions` with the thread's closure: the goroutine ends, and closes `answers`

    let squares: Vec<_> = answered.iter_blocking().collect();
    asker.join().unwrap();
    println!("{squares:?}");
    assert_eq!(squares, [1, 4, 9, 16, 25]);
}
