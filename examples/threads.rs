//! Plain threads talk to goroutines: the same channels, with a `_blocking` at the end of the method's name.

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
    }); // `questions` is dropped with the thread's closure: the goroutine ends, and closes `answers`

    let squares: Vec<_> = answered.iter_blocking().collect();
    asker.join().unwrap();
    println!("{squares:?}");
    assert_eq!(squares, [1, 4, 9, 16, 25]);
}
