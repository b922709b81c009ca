//! Goroutines inside a synchronous library: a type with its own runtime, which is hidden from its
//! users, plain threads.

use std::collections::BTreeMap;
use std::thread;

use gopark::chan::{self, Receiver, Sender};
use gopark::{OnPanic, Runtime, select};

type Question = (String, Sender<usize>);

/// Counts words for any number of threads. It may be dropped at any time.
struct WordCounter {
    lines: Sender<String>,
    questions: Sender<Question>,
    totals: Receiver<BTreeMap<String, usize>>,
    _runtime: Runtime, // ends when the counter is dropped
}

impl WordCounter {
    fn new() -> Self {
        // A bug in here panics in the next call, in its caller's thread: a library must not end the
        // process.
        let builder =
            Runtime::builder().gomaxprocs(1).thread_name("words").on_panic(OnPanic::Isolate);
        let runtime = builder.build().expect("a thread");
        let ((lines, to_count), (questions, asked)) = (chan::bounded(16), chan::unbuffered());
        let (results, totals) = chan::bounded(1);
        runtime.go(count(to_count, asked, results));
        Self { lines, questions, totals, _runtime: runtime }
    }

    fn add(&self, line: &str) {
        self.lines.send_blocking(line.to_owned()).expect("counted until the end");
    }

    fn so_far(&self, word: &str) -> usize {
        let (answer, answered) = chan::bounded(1);
        self.questions.send_blocking((word.to_owned(), answer)).expect("answered until the end");
        answered.recv_blocking().expect("each question is answered")
    }

    /// Ends the input and returns the totals.
    fn finish(self) -> BTreeMap<String, usize> {
        drop(self.lines);
        self.totals.recv_blocking().expect("counted to the end")
    }
}

/// The goroutine that owns the counts.
async fn count(
    lines: Receiver<String>,
    asked: Receiver<Question>,
    results: Sender<BTreeMap<String, usize>>,
) {
    let mut counts = BTreeMap::<String, usize>::new();
    loop {
        select! {
            line = lines.recv() => {
                let Some(line) = line else { break };
                line.split(' ').for_each(|word| *counts.entry(word.to_lowercase()).or_default() += 1);
            }
            question = asked.recv() => {
                let Some((word, answer)) = question else { return };
                answer.try_send(counts.get(&word).copied().unwrap_or(0)).expect("there is room");
            }
        }
    }
    _ = results.send(counts).await; // fails if the counter was dropped
}

fn main() {
    let counter = WordCounter::new();
    let talk = || {
        for _ in 0..100 {
            counter.add("Share memory by communicating");
            counter.add("do not communicate by sharing memory");
            assert!(counter.so_far("memory") <= 800);
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(talk)));
    let counts = counter.finish();
    println!("{counts:?}");
    assert_eq!((counts["memory"], counts["by"], counts["share"], counts.len()), (800, 800, 400, 8));
    // Dropping an unfinished counter ends its goroutine.
    WordCounter::new().add("never mind");
}
