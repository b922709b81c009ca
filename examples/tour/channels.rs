//! Channels: ends, buffers, close, ownership.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_lite::future::poll_once;
use gopark::chan::{self, Receiver, Sender};
use gopark::sync::WaitGroup;
use gopark::{Runtime, block_on, go, gosched};

use crate::page::{heading, text};

pub(crate) fn chapter() {
    first_word();
    directions();
    rendezvous();
    buffered();
    second_value();
    range();
    broadcast();
    nil();
    table();
    comes_back();
    ownership();
}

fn first_word() {
    heading(
        "A message through a channel",
        "`unbuffered` returns the two ends of a new channel. The receive waits until the goroutine has sent, so main cannot end\n\
         before that: the channel is the join point.",
    );

    block_on(async {
        let (tx, rx) = chan::unbuffered();
        go(async move { tx.send("Hello channels!").await });
        println!("{}", rx.recv().await.unwrap());
    });
}

fn directions() {
    heading(
        "Directional ends",
        "Go has `chan T`, and `chan<- T` and `<-chan T` for functions that may only send or only receive. Here the two ends\n\
         always have different types; a function that needs both takes both. The wrong direction does not compile:",
    );
    text(
        r#"fn write_and_read(tx: Sender<i32>, rx: Receiver<i32>) {
    tx.recv();
    rx.send(1);
}

error[E0599]: no method named `recv` found for struct `Sender<T>` in the current scope
error[E0599]: no method named `send` found for struct `Receiver<T>` in the current scope"#,
    );
    println!();

    async fn doubles(from: Receiver<i32>, to: Sender<i32>) {
        while let Some(n) = from.recv().await {
            to.send(2 * n).await.unwrap();
        }
    }

    block_on(async {
        let (tx, from) = chan::unbuffered();
        let (to, rx) = chan::unbuffered();
        go(doubles(from, to));
        for n in [4, 20, 21] {
            tx.send(n).await.unwrap();
            println!("{n} -> {}", rx.recv().await.unwrap());
        }
    });
}

/// Runs `main` on one processor, so that its output is the same in each run.
fn on_one_processor(main: impl Future<Output = ()> + Send) {
    Runtime::builder().gomaxprocs(1).build().unwrap().block_on(main);
}

fn rendezvous() {
    heading(
        "Without a buffer, sender and receiver meet",
        "A send on an unbuffered channel completes when a receiver has taken the value, not before. (This runs on one\n\
         processor, so that it prints the same each time. A woken goroutine goes into the run-next slot: it runs next, when\n\
         the goroutine that woke it waits or ends.)",
    );

    on_one_processor(async {
        let (tx, rx) = chan::unbuffered();
        let sender = go(async move {
            for n in 1..=2 {
                println!("sending {n}");
                tx.send(n).await.unwrap();
                println!("sent {n}");
            }
        });
        for _ in 0..3 {
            gosched().await;
        }
        println!("later, main receives");
        while let Some(n) = rx.recv().await {
            println!("received {n}");
        }
        sender.await.unwrap();
    });
}

fn buffered() {
    heading(
        "With a buffer, the sender can be ahead",
        "Capacity four: the producer sends four values before any is received, and waits with the fifth. If the number of values\n\
         is known, a buffer for all of them saves the switches.",
    );

    on_one_processor(async {
        let (tx, rx) = chan::bounded(4);
        let producer = go(async move {
            for n in 0..6 {
                tx.send(n).await.unwrap();
                println!("producer: sent {n}, {} in the buffer", tx.len());
            }
            println!("producer: done");
        });
        gosched().await;
        println!("main: len {}, cap {}", rx.len(), rx.capacity());
        let mut sum = 0;
        while let Some(n) = rx.recv().await {
            sum += n;
        }
        producer.await.unwrap();
        println!("main: the sum is {sum}");
    });
}

fn second_value() {
    heading(
        "The second value of a receive",
        "In Go's `v, ok := <-ch`, `ok` is false if the channel is closed, and `v` is then the zero value. Here a receive returns\n\
         an `Option`, so no zero value can be mistaken for a sent one. A closed channel returns `None` every time.",
    );

    block_on(async {
        let (tx, rx) = chan::bounded(1);
        tx.send(7).await.unwrap();
        println!("open, one value:      {:?}", rx.recv().await);
        println!("close:                {}", tx.close());
        println!("closed:               {:?}", rx.recv().await);
        println!("and again:            {:?}", rx.recv().await);
        let value = tx.send(8).await.unwrap_err().into_inner();
        println!("a send on it:         an error with the value {value} (Go panics)");
        println!("a second close:       {} (Go panics)", tx.close());
    });
}

fn range() {
    heading(
        "Ranging over a channel",
        "Go's `for v := range ch` ends when the channel is closed and empty, and so does `while let`. Dropping the last sender\n\
         closes the channel, so no `defer close(ch)` is needed. A receiver is also a `Stream`.",
    );

    block_on(async {
        let (tx, rx) = chan::unbuffered();
        go(async move {
            for n in 1..=5 {
                tx.send(n).await.unwrap();
            }
        });
        while let Some(n) = rx.recv().await {
            print!("{n} ");
        }
        println!("end");
    });
}

fn broadcast() {
    heading(
        "Closing as a broadcast",
        "A value reaches one receiver; a close reaches all of them. It is cheaper than a message to each, and the number of\n\
         receivers need not be known.",
    );

    block_on(async {
        let (begin, wait) = chan::unbuffered::<()>();
        let wg = WaitGroup::new();
        for i in 0..5 {
            let wait = wait.clone();
            wg.go(async move {
                wait.recv().await;
                println!("{i} starts");
            });
        }
        println!("closing the channel …");
        begin.close();
        wg.wait().await;
    });
}

fn nil() {
    heading(
        "Nil channels",
        "In Go, a channel variable without a `make` is nil: sends and receives on it never complete, and closing it panics. Here\n\
         a nil channel must be made explicitly. It can switch off a case of a `select!`.",
    );

    let (tx, rx) = (Sender::<i32>::nil(), Receiver::<i32>::nil());
    println!("send:    {}", once(tx.send(1)));
    println!("receive: {}", once(rx.recv()));
    println!("len {}, cap {}", rx.len(), rx.capacity());
    println!("close:   panics with {:?}", panic_of(|| _ = tx.close()));
}

/// Polls an operation once.
fn once<T: std::fmt::Debug>(operation: impl Future<Output = T>) -> String {
    match pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => format!("{value:?}"),
        Poll::Pending => "waits".to_owned(),
    }
}

/// Returns the text of a panic without printing it.
fn panic_of(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let payload = std::panic::catch_unwind(f).expect_err("it panics");
    std::panic::set_hook(hook);
    payload.downcast_ref::<&str>().map_or_else(|| "something".to_owned(), |text| (*text).to_owned())
}

fn table() {
    heading(
        "What each operation does",
        "The well-known table of Go's channels. Each cell is the result of a real operation on a new channel in that state.",
    );

    type Make = fn() -> (Sender<i32>, Receiver<i32>);
    let states: [(&str, Make); 6] = [
        ("nil", || (Sender::nil(), Receiver::nil())),
        ("open, empty", || chan::bounded(2)),
        ("open, not empty", || with(2, 1)),
        ("open, full", || with(1, 1)),
        ("closed, not empty", || {
            let ends = with(2, 1);
            ends.0.close();
            ends
        }),
        ("closed, empty", || {
            let ends = with(2, 0);
            ends.0.close();
            ends
        }),
    ];
    println!("{:<18} {:<10} {:<18} close", "", "receive", "send 9");
    for (state, make) in states {
        let (tx, rx) = make();
        let received = once(rx.recv());
        let (tx2, _rx2) = make();
        let sent = match pin!(tx2.send(9)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => "sent".to_owned(),
            Poll::Ready(Err(error)) => format!("{} comes back", error.into_inner()),
            Poll::Pending => "waits".to_owned(),
        };
        let (tx3, _rx3) = make();
        let closed =
            if tx3 == Sender::nil() { "panics".to_owned() } else { tx3.close().to_string() };
        println!("{state:<18} {received:<10} {sent:<18} {closed}");
        drop(tx);
    }
    println!();
    text(
        "Where Go panics, a send on a closed channel returns the value, and a second close returns `false`. In both languages\n\
         the wrong end of a channel is a compile error.",
    );
}

/// A channel of that capacity with that many values.
fn with(capacity: usize, values: usize) -> (Sender<i32>, Receiver<i32>) {
    let (tx, rx) = chan::bounded(capacity);
    (0..values).for_each(|_| tx.try_send(1).unwrap());
    (tx, rx)
}

fn comes_back() {
    heading(
        "A value comes back",
        "In Go an operation cannot be dropped; here it can, at any time. A receive waits; a send hands it the value, and so\n\
         completes; then the receive is dropped without another poll. The value goes back into the channel.",
    );

    block_on(async {
        let (tx, rx) = chan::unbuffered();
        {
            let mut waiting = pin!(rx.recv());
            assert!(poll_once(&mut waiting).await.is_none());
            tx.send("a letter").await.unwrap();
            println!("sent; the channel holds {}", rx.len());
        }
        println!("the receive was dropped; the channel holds {}", rx.len());
        println!("the next receive: {:?}", rx.recv().await);
    });
}

fn ownership() {
    heading(
        "Which goroutine owns a channel",
        "One goroutine makes the channel, sends, closes, and gives away only the receiving end. So it cannot send on a nil or\n\
         closed channel, and receivers can only receive: they must handle waiting and the end.",
    );

    fn results() -> Receiver<i32> {
        let (tx, rx) = chan::bounded(5);
        go(async move {
            for n in 0..=5 {
                tx.send(n).await.unwrap();
            }
        }); // drops the sender, which closes the channel
        rx
    }

    block_on(async {
        let results = results();
        while let Some(n) = results.recv().await {
            println!("received: {n}");
        }
        println!("done receiving");
    });
}
