//! Inspection: dumps of all goroutines, and goroutines that a test leaks.

use std::io::stdout;
use std::sync::Arc;
use std::time::Duration;

use gopark::inspect::{self, LeakCheck, named};
use gopark::sync::{Mutex, WaitGroup};
use gopark::{block_on, chan, go, gosched};

use crate::page::{heading, text};

pub(crate) fn chapter() {
    dump();
    leak_check();
}

fn dump() {
    heading(
        "A dump",
        "Every operation records where it waits and why. A dump has one line for all goroutines that do the same: how many, what\n\
         they wait for and for how long, where, and where they were started. Go prints its dump at SIGQUIT, and ends. With\n\
         `GOPARK_DEBUG=dump=on` gopark prints it too, and the program goes on.",
    );

    block_on(async {
        let (results, wg) = (chan::bounded::<u32>(1), WaitGroup::new());
        let lock = Arc::new(Mutex::new(0));
        let held = lock.lock().await;
        for _ in 0..1000 {
            let tx = results.0.clone();
            go(async move { tx.send(1).await });
        }
        for i in 0..3 {
            let lock = lock.clone();
            wg.go(named(format!("writer {i}"), async move { *lock.lock().await += i }));
        }
        while inspect::goroutines().iter().filter(|goroutine| goroutine.is_waiting()).count() < 1002
        {
            gosched().await;
        }
        inspect::dump(&mut stdout()).unwrap();
        drop(held);
        wg.wait().await;
        for _ in 0..1000 {
            results.1.recv().await;
        }
    });
    text(
        "If all goroutines waited for each other, the program would print these lines by itself, under the heading \"all\n\
         goroutines are asleep\".",
    );
}

fn leak_check() {
    heading(
        "A leak check",
        "A `LeakCheck` at the end of a test waits for the goroutines that were started since it was made, and fails with a line\n\
         for each one that does not end.",
    );

    block_on(async {
        let check = LeakCheck::new().grace(Duration::from_millis(50));
        let (tx, rx) = chan::unbuffered::<u32>();
        let (kept, forgotten) = (tx.clone(), named("forgotten", async move { tx.send(1).await }));
        let handle = go(forgotten);
        let found = go(async move { check.finish().await });
        println!(
            "{}",
            found.await.unwrap_err().into_panic().downcast::<String>().unwrap().trim_end()
        );
        assert_eq!(rx.recv().await, Some(1));
        handle.await.unwrap().unwrap();
        drop(kept);
    });
}
