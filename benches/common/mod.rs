//! The shared part of the benches: each contender behind the same small traits, so that a case is
//! written once.

#![allow(dead_code)] // each bench uses a part of it

use std::future::{Future, pending};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_executor::StaticExecutor;
use event_listener::Event;

// The cases that more than one bench runs, each named after the bench that it belongs to; and the
// code that runs and evaluates them.
pub(crate) mod bystander;
pub(crate) mod channels;
pub(crate) mod everyday;
pub(crate) mod executor;
pub(crate) mod figures;
pub(crate) mod memory;
pub(crate) mod peers;
pub(crate) mod select;
pub(crate) mod sync;
pub(crate) mod time;

/// The numbers of worker threads that every case is run with.
pub(crate) const PROCS: [usize; 2] = [1, 2];

// -------------------------------------------------------------------------------------- executors

/// Something that runs goroutines, whatever its name for them.
pub(crate) trait Executor: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    type Group: Group;

    fn start(procs: usize) -> Self;
    /// The same, configured by users who know that number. Outside of `block_on` it may run
    /// nothing.
    fn at_best(procs: usize) -> Self {
        Self::start(procs)
    }
    /// Runs `main` on a worker, and blocks this thread until it is done.
    fn block_on<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T;
    /// Spawns a detached goroutine. Called on a worker.
    fn go(&self, future: impl Future<Output = ()> + Send + 'static);
    /// Spawns a goroutine; the future that is returned waits for its result. Called on a worker.
    fn join<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static;
    /// Spawns from a thread that is no worker.
    fn go_from_outside(&self, future: impl Future<Output = ()> + Send + 'static);
    fn yield_now() -> impl Future<Output = ()> + Send;
}

/// Waits until this number of things have ended.
pub(crate) trait Group: Clone + Send + Sync + 'static {
    fn of(n: usize) -> Self;
    fn done(&self);
    fn wait(&self) -> impl Future<Output = ()> + Send;
}

impl Group for gopark::sync::WaitGroup {
    fn of(n: usize) -> Self {
        let group = Self::new();
        group.add(n);
        group
    }

    fn done(&self) {
        self.done();
    }

    async fn wait(&self) {
        self.wait().await;
    }
}

/// The wait group of the others: the smallest one that works.
#[derive(Clone)]
pub(crate) struct Latch(Arc<(AtomicUsize, Event)>);

impl Group for Latch {
    fn of(n: usize) -> Self {
        Self(Arc::new((AtomicUsize::new(n), Event::new())))
    }

    fn done(&self) {
        if self.0.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.1.notify(usize::MAX);
        }
    }

    async fn wait(&self) {
        while self.0.0.load(Ordering::Acquire) != 0 {
            let listener = self.0.1.listen();
            if self.0.0.load(Ordering::Acquire) != 0 {
                listener.await;
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Gopark(Arc<gopark::Runtime>);

impl Executor for Gopark {
    const NAME: &'static str = "gopark";
    type Group = gopark::sync::WaitGroup;

    fn start(procs: usize) -> Self {
        Self(Arc::new(gopark::Runtime::builder().gomaxprocs(procs).build().expect("threads")))
    }

    fn block_on<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        self.0.block_on(main)
    }

    #[inline(always)]
    fn go(&self, future: impl Future<Output = ()> + Send + 'static) {
        gopark::go(future);
    }

    #[inline(always)]
    fn join<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let handle = gopark::go(future);
        async { handle.await.expect("does not panic") }
    }

    fn go_from_outside(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.go(future);
    }

    #[inline(always)]
    fn yield_now() -> impl Future<Output = ()> + Send {
        gopark::gosched()
    }
}

#[derive(Clone)]
pub(crate) struct Tokio(Arc<tokio::runtime::Runtime>);

impl Executor for Tokio {
    const NAME: &'static str = "tokio";
    type Group = Latch;

    fn start(procs: usize) -> Self {
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        Self(Arc::new(builder.worker_threads(procs).enable_time().build().expect("threads")))
    }

    fn at_best(procs: usize) -> Self {
        if procs > 1 {
            return Self::start(procs);
        }
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        Self(Arc::new(builder.enable_time().build().expect("a runtime")))
    }

    fn block_on<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        self.0.block_on(self.0.spawn(main)).expect("does not panic")
    }

    #[inline(always)]
    fn go(&self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }

    #[inline(always)]
    fn join<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let handle = tokio::spawn(future);
        async { handle.await.expect("does not panic") }
    }

    fn go_from_outside(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(future);
    }

    #[inline(always)]
    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }
}

impl Tokio {
    /// [`Executor::at_best`], with sockets.
    pub(crate) fn with_sockets(procs: usize) -> Self {
        let mut builder = if procs > 1 {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        };
        Self(Arc::new(builder.worker_threads(procs).enable_all().build().expect("threads")))
    }
}

/// `async-executor` in its faster form, on threads that do nothing but run it.
#[derive(Clone)]
pub(crate) struct Smol(Arc<SmolThreads>);

struct SmolThreads {
    executor: &'static StaticExecutor,
    stop: async_channel::Sender<()>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Drop for SmolThreads {
    fn drop(&mut self) {
        self.stop.close();
        for thread in self.threads.drain(..) {
            thread.join().expect("does not panic");
        }
    }
}

impl Executor for Smol {
    const NAME: &'static str = "async-executor";
    type Group = Latch;

    fn start(procs: usize) -> Self {
        let executor = async_executor::Executor::new().leak();
        let (stop, stopped) = async_channel::bounded::<()>(1);
        let run = |_| {
            let stopped = stopped.clone();
            thread::spawn(move || {
                let _ = futures_lite::future::block_on(executor.run(stopped.recv()));
            })
        };
        let threads = (0..procs).map(run).collect();
        Self(Arc::new(SmolThreads { executor, stop, threads }))
    }

    fn at_best(procs: usize) -> Self {
        // One worker is the thread that waits for the result.
        Self::start(if procs > 1 { procs } else { 0 })
    }

    fn block_on<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        let main = self.0.executor.spawn(main);
        if self.0.threads.is_empty() {
            return futures_lite::future::block_on(self.0.executor.run(main));
        }
        futures_lite::future::block_on(main)
    }

    #[inline(always)]
    fn go(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.executor.spawn(future).detach();
    }

    #[inline(always)]
    fn join<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        self.0.executor.spawn(future)
    }

    fn go_from_outside(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.executor.spawn(future).detach();
    }

    #[inline(always)]
    fn yield_now() -> impl Future<Output = ()> + Send {
        futures_lite::future::yield_now()
    }
}

// --------------------------------------------------------------------------------------- channels

/// A kind of channel, and the executor it is used on.
pub(crate) trait Channel: Send + Sync + 'static {
    const NAME: &'static str;
    type On: Executor;
    type Sender: Send + 'static;
    type Receiver: Send + 'static;

    /// `capacity` 0 is a rendezvous, if the crate has one; otherwise it is 1.
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver);
    /// The channel's own future, because its users would not have a wrapper around it.
    fn send(sender: &mut Self::Sender, value: usize) -> impl Future<Output: Sent> + Send;
    /// The same for a plain thread.
    fn send_blocking(sender: &Self::Sender, value: usize) -> bool;
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output: Received> + Send;
    fn try_recv(receiver: &mut Self::Receiver) -> Option<usize>;
}

/// The result of a send.
pub(crate) trait Sent {
    /// False if no receiver is left.
    fn sent(self) -> bool;
}

impl<E> Sent for Result<(), E> {
    #[inline(always)]
    fn sent(self) -> bool {
        self.is_ok()
    }
}

/// The result of a receive.
pub(crate) trait Received {
    fn value(self) -> Option<usize>;
}

impl Received for Option<usize> {
    #[inline(always)]
    fn value(self) -> Option<usize> {
        self
    }
}

impl<E> Received for Result<usize, E> {
    #[inline(always)]
    fn value(self) -> Option<usize> {
        self.ok()
    }
}

/// A channel with several senders and several receivers.
pub(crate) trait Shared: Channel<Sender: Clone> {
    fn share(receiver: &Self::Receiver) -> Self::Receiver;
}

macro_rules! channel {
    (
        $kind:ident $name:ident on $on:ty, $label:literal, $tx:ty, $rx:ty;
        new |$capacity:ident| $new:expr;
        send |$sender:ident, $value:ident| $send:expr;
        send_blocking |$thread_sender:ident, $thread_value:ident| $send_blocking:expr;
        recv |$receiver:ident| $recv:expr;
        try_recv |$try_receiver:ident| $try_recv:expr;
    ) => {
        pub(crate) struct $name;

        impl Channel for $name {
            const NAME: &'static str = $label;
            type On = $on;
            type Sender = $tx;
            type Receiver = $rx;

            fn new($capacity: usize) -> ($tx, $rx) {
                $new
            }

            #[inline(always)]
            fn send($sender: &mut $tx, $value: usize) -> impl Future<Output: Sent> + Send {
                $send
            }

            fn send_blocking($thread_sender: &$tx, $thread_value: usize) -> bool {
                $send_blocking.is_ok()
            }

            #[inline(always)]
            fn recv($receiver: &mut $rx) -> impl Future<Output: Received> + Send {
                $recv
            }

            #[inline(always)]
            fn try_recv($try_receiver: &mut $rx) -> Option<usize> {
                $try_recv
            }
        }

        channel!($kind $name);
    };
    (shared $name:ident) => {
        impl Shared for $name {
            fn share(receiver: &Self::Receiver) -> Self::Receiver {
                receiver.clone()
            }
        }
    };
    (single $name:ident) => {};
}

macro_rules! gopark_channel {
    ($name:ident on $on:ty, $label:literal) => {
        channel! {
            shared $name on $on, $label, gopark::chan::Sender<usize>, gopark::chan::Receiver<usize>;
            new |capacity| gopark::chan::bounded(capacity);
            send |sender, value| sender.send(value);
            send_blocking |sender, value| sender.send_blocking(value);
            recv |receiver| receiver.recv();
            try_recv |receiver| receiver.try_recv().ok();
        }
    };
}

gopark_channel!(Ours on Gopark, "gopark");
gopark_channel!(OursOnTokio on Tokio, "gopark-on-tokio");

channel! {
    single TokioMpsc on Tokio, "tokio",
        tokio::sync::mpsc::Sender<usize>, tokio::sync::mpsc::Receiver<usize>;
    new |capacity| tokio::sync::mpsc::channel(capacity.max(1));
    send |sender, value| sender.send(value);
    send_blocking |sender, value| sender.blocking_send(value);
    recv |receiver| receiver.recv();
    try_recv |receiver| receiver.try_recv().ok();
}

channel! {
    shared KanalOnTokio on Tokio, "kanal-on-tokio",
        kanal::AsyncSender<usize>, kanal::AsyncReceiver<usize>;
    new |capacity| kanal::bounded_async(capacity);
    send |sender, value| sender.send(value);
    send_blocking |sender, value| sender.as_sync().send(value);
    recv |receiver| receiver.recv();
    try_recv |receiver| receiver.try_recv().ok().flatten();
}

channel! {
    shared FlumeOnTokio on Tokio, "flume-on-tokio", flume::Sender<usize>, flume::Receiver<usize>;
    new |capacity| flume::bounded(capacity);
    send |sender, value| sender.send_async(value);
    send_blocking |sender, value| sender.send(value);
    recv |receiver| receiver.recv_async();
    try_recv |receiver| receiver.try_recv().ok();
}

macro_rules! crossfire_channel {
    ($kind:ident $name:ident, $label:literal, $flavour:ident, $tx:ident, $rx:ident) => {
        channel! {
            $kind $name on Tokio, $label,
                crossfire::$tx<crossfire::$flavour::Array<usize>>,
                crossfire::$rx<crossfire::$flavour::Array<usize>>;
            new |capacity| crossfire::$flavour::bounded_async(capacity.max(1));
            send |sender, value| sender.send(value);
            send_blocking |sender, value| futures_lite::future::block_on(sender.send(value));
            recv |receiver| receiver.recv();
            try_recv |receiver| receiver.try_recv().ok();
        }
    };
}

// The crate has a channel for one sender and one receiver, one for several senders, and one for
// several of both.
crossfire_channel!(single CrossfireSpsc, "crossfire-spsc-on-tokio", spsc, AsyncTx, AsyncRx);
crossfire_channel!(single CrossfireMpsc, "crossfire-mpsc-on-tokio", mpsc, MAsyncTx, AsyncRx);
crossfire_channel!(shared CrossfireMpmc, "crossfire-mpmc-on-tokio", mpmc, MAsyncTx, MAsyncRx);

macro_rules! async_channel_channel {
    ($name:ident on $on:ty, $label:literal) => {
        channel! {
            shared $name on $on, $label,
                async_channel::Sender<usize>, async_channel::Receiver<usize>;
            new |capacity| async_channel::bounded(capacity.max(1));
            send |sender, value| sender.send(value);
            send_blocking |sender, value| sender.send_blocking(value);
            recv |receiver| receiver.recv();
            try_recv |receiver| receiver.try_recv().ok();
        }
    };
}

async_channel_channel!(AsyncChannel on Smol, "async-channel");
async_channel_channel!(AsyncChannelOnTokio on Tokio, "async-channel-on-tokio");

// -------------------------------------------------------------------------------------- measuring

/// For criterion: `case` runs at least `n` operations, and returns how many it ran and how long
/// they took; the result is the time of `n`.
///
/// Criterion's own loop measures one thread. Here one iteration is one operation, and thousands of
/// them are one run.
pub(crate) fn time_of<E: Executor, F: Future<Output = (u64, Duration)> + Send + 'static>(
    executor: &E,
    n: u64,
    case: impl FnOnce(E, u64) -> F,
) -> Duration {
    let (done, took) = executor.block_on(case(executor.clone(), n));
    took.mul_f64(n as f64 / done as f64)
}

/// Computes for about this long, without a system call.
pub(crate) fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        for i in 0..100 {
            black_box(i);
        }
    }
}

/// Never ends.
pub(crate) async fn for_ever() {
    pending::<()>().await;
}

/// Whether the bench was started to measure: by `cargo bench`, and not as a trial.
pub(crate) fn measures() -> bool {
    let args: Vec<String> = std::env::args().collect();
    args.iter().any(|arg| arg == "--bench") && !args.iter().any(|arg| arg == "--test")
}
