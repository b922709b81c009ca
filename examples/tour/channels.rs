//! Channels: their ends, their room, their closing, and who should own them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

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
    ownership();
}

fn first_word() {
    heading(
        "A word through a channel",
        "`unbuffered` makes a channel and gives its two ends. The receive waits until the goroutine has sent, so main cannot\n\
         end before that: the channel is the join point.",
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
        "Go has `chan T`, and `chan<- T` and `<-chan T` for functions that shall only send or only receive. Here the ends are\n\
         two types from the start; who needs both takes both. The wrong direction does not compile:",
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

/// What happens on one processor, in order: there it is the same each time.
fn on_one_processor(main: impl Future<Output = ()> + Send) {
    Runtime::builder().gomaxprocs(1).build().unwrap().block_on(main);
}

fn rendezvous() {
    heading(
        "Without a buffer, sender and receiver meet",
        "A send on an unbuffered channel is complete when somebody has taken the value, not before. (On one processor, so\n\
         that it prints the same each time. A goroutine that is woken is the next to run; whoever woke it goes on first.)",
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
        println!("a while later main comes to receive");
        while let Some(n) = rx.recv().await {
            println!("received {n}");
        }
        sender.await.unwrap();
    });
}

fn buffered() {
    heading(
        "With a buffer, the sender may be ahead",
        "Room for four: the producer is done with four values before anybody reads, and waits with the fifth. Whoever knows\n\
         how many values there will be can make room for all of them, and spare the goroutines the switching.",
    );

    on_one_processor(async {
        let (tx, rx) = chan::bounded(4);
        let producer = go(async move {
            for n in 0..6 {
                tx.send(n).await.unwrap();
                println!("producer: {n} is in, {} wait there", tx.len());
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
        "Go's `v, ok := <-ch` says by `ok` whether `v` was sent or the channel is closed. An `Option` says the same, and does\n\
         not let anybody take the zero value for a real one. A closed channel may be read for ever.",
    );

    block_on(async {
        let (tx, rx) = chan::bounded(1);
        tx.send(7).await.unwrap();
        println!("open, one value in it: {:?}", rx.recv().await);
        println!("closing it:            {}", tx.close());
        println!("closed:                {:?}", rx.recv().await);
        println!("and again:             {:?}", rx.recv().await);
        println!("a send now:            {:?}   (Go panics)", tx.send(8).await);
        println!("closing it again:      {}   (Go panics)", tx.close());
    });
}

fn range() {
    heading(
        "Ranging over a channel",
        "Go's `for v := range ch` ends when the channel is closed and empty; so does `while let`. Dropping the last sender\n\
         closes the channel, so the goroutine's end does: no `defer close(ch)`. A receiver is also a `Stream`.",
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
        println!("and out");
    });
}

fn broadcast() {
    heading(
        "Closing as a broadcast",
        "A value reaches one receiver, a close reaches all of them, whoever they are and however many: cheaper than sending\n\
         to each, and they need not be counted.",
    );

    block_on(async {
        let (begin, wait) = chan::unbuffered::<()>();
        let wg = WaitGroup::new();
        for i in 0..5 {
            let wait = wait.clone();
            wg.go(async move {
                wait.recv().await;
                println!("{i} has begun");
            });
        }
        println!("unblocking the goroutines …");
        begin.close();
        wg.wait().await;
    });
}

fn nil() {
    heading(
        "Nil channels",
        "A channel variable of Go that was never made: sends and receives on it wait for ever, and closing it panics. There\n\
         are no nil channels by mistake here, but there are on purpose: in a `select!` they switch a case off.",
    );

    let (tx, rx) = (Sender::<i32>::nil(), Receiver::<i32>::nil());
    println!("send:    {}", once(tx.send(1)));
    println!("receive: {}", once(rx.recv()));
    println!("len {}, cap {}", rx.len(), rx.capacity());
    println!("close:   panics with {:?}", panic_of(|| _ = tx.close()));
}

/// What one look at an operation says.
fn once<T: std::fmt::Debug>(operation: impl Future<Output = T>) -> String {
    match pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => format!("{value:?}"),
        Poll::Pending => "waits".to_owned(),
    }
}

/// The text of a panic, which is not printed.
fn panic_of(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let payload = std::panic::catch_unwind(f).expect_err("it panics");
    std::panic::set_hook(hook);
    payload.downcast_ref::<&str>().map_or_else(|| "something".to_owned(), |text| (*text).to_owned())
}

fn table() {
    heading(
        "What each operation comes to",
        "The table that every user of Go's channels has in mind, not written down but tried, one operation after the other:\n\
         for each state of a channel a fresh one.",
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
    println!("{:<18} {:<10} {:<20} close", "", "receive", "send");
    for (state, make) in states {
        let (tx, rx) = make();
        let received = once(rx.recv());
        let (tx2, _rx2) = make();
        let sent = once(tx2.send(9));
        let (tx3, _rx3) = make();
        let closed =
            if tx3 == Sender::nil() { "panics".to_owned() } else { tx3.close().to_string() };
        println!("{state:<18} {received:<10} {sent:<20} {closed}");
        drop(tx);
    }
    println!();
    text(
        "Where Go panics, at a send to a closed channel and at a second close, the send gives its value back and the close\n\
         says `false`. The wrong end of a channel is a compile error in both.",
    );
}

/// A channel with so much room and so many values.
fn with(room: usize, values: usize) -> (Sender<i32>, Receiver<i32>) {
    let (tx, rx) = chan::bounded(room);
    (0..values).for_each(|_| tx.try_send(1).unwrap());
    (tx, rx)
}

fn ownership() {
    heading(
        "Who owns a channel",
        "The owner makes the channel, writes to it, closes it, and gives only the reading end away. Then the owner cannot\n\
         write to a nil or a closed channel, and readers can do no harm: they need to handle waiting and the end.",
    );

    fn results() -> Receiver<i32> {
        let (tx, rx) = chan::bounded(5);
        go(async move {
            for n in 0..=5 {
                tx.send(n).await.unwrap();
            }
        }); // the sender goes here, and the channel closes
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
