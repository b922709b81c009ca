//! An HTTP server on hyper: the example `http`, the same on async-executor, and on tokio.
//! `README.md` in this folder describes each case.

#[path = "../examples/integrations/http/limits.rs"]
mod limits;
#[path = "../examples/integrations/http/server.rs"]
#[allow(dead_code)] // no server ends gracefully here
mod server;

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};

use async_executor::StaticExecutor;
use async_io::Async;
use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use futures_lite::{AsyncRead, AsyncWrite};
use gopark::context::Context;
use hyper::Response;
use hyper::rt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

const CONNECTIONS: usize = 64;
const PROCS: [usize; 2] = [1, 2];
const PATIENCE: Duration = Duration::from_secs(10);

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn hello() -> Response<String> {
    Response::new("hello, world".to_owned())
}

/// The server lives as long as the value that is returned.
fn on_gopark(procs: usize) -> (SocketAddr, gopark::Runtime) {
    let rt = gopark::Runtime::builder().gomaxprocs(procs).build().expect("threads");
    let start =
        server::Server::start(Context::background(), anywhere(), PATIENCE, |_| async { hello() });
    (rt.block_on(start).expect("a port").addr, rt)
}

/// A socket of async-io for hyper.
struct Socket {
    stream: Async<TcpStream>,
    /// hyper's buffers are uninitialized, and async-io reads into initialized ones: a copy needs no
    /// `unsafe`.
    chunk: Box<[u8; 4096]>,
}

impl Socket {
    fn new(stream: Async<TcpStream>) -> Self {
        Self { stream, chunk: Box::new([0; 4096]) }
    }
}

impl rt::Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        mut into: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, chunk } = &mut *self;
        let room = into.remaining().min(chunk.len());
        let read = ready!(Pin::new(stream).poll_read(cx, &mut chunk[..room]))?;
        into.put_slice(&chunk[..read]);
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// async-io's timers for hyper.
struct AsyncIoTimer;

struct AsyncIoSleep(async_io::Timer);

impl rt::Timer for AsyncIoTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(AsyncIoSleep(async_io::Timer::after(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(AsyncIoSleep(async_io::Timer::at(deadline)))
    }
}

impl Future for AsyncIoSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(())
    }
}

impl rt::Sleep for AsyncIoSleep {}

/// The workers stay, parked, when the benchmark has ended.
fn on_async_executor(procs: usize) -> SocketAddr {
    let executor: &'static StaticExecutor = Box::leak(Box::new(StaticExecutor::new()));
    for _ in 0..procs {
        // A worker without tasks waits for sockets.
        thread::spawn(|| async_io::block_on(executor.run(std::future::pending::<()>())));
    }
    let listener = Async::<TcpListener>::bind(anywhere()).expect("a port");
    let addr = listener.get_ref().local_addr().expect("bound");
    let accept = executor.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.get_ref().set_nodelay(true).expect("a socket");
            let connection = executor.spawn(async move {
                let service = service_fn(|_| async { Ok::<_, Infallible>(hello()) });
                let socket = Socket::new(stream);
                _ = http1::Builder::new()
                    .timer(AsyncIoTimer)
                    .serve_connection(socket, service)
                    .await;
            });
            connection.detach();
        }
    });
    accept.detach();
    addr
}

fn on_tokio(procs: usize) -> (SocketAddr, tokio::runtime::Runtime) {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(procs)
        .enable_all()
        .build()
        .expect("threads");
    let listener = rt.block_on(tokio::net::TcpListener::bind(anywhere())).expect("a port");
    let addr = listener.local_addr().expect("bound");
    rt.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a socket");
            tokio::spawn(async move {
                let service = service_fn(|_| async { Ok::<_, Infallible>(hello()) });
                let socket = TokioIo::new(stream);
                _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(socket, service)
                    .await;
            });
        }
    });
    (addr, rt)
}

/// Sends a request on each connection, then reads all answers, and repeats.
struct Load {
    streams: Vec<TcpStream>,
    answer: Vec<u8>,
}

impl Load {
    fn new(addr: SocketAddr) -> Self {
        let connect = |_| {
            let stream = TcpStream::connect(addr).expect("the server listens");
            stream.set_nodelay(true).expect("a socket");
            stream
        };
        let mut load =
            Self { streams: (0..CONNECTIONS).map(connect).collect(), answer: Vec::new() };
        // All answers are as long as the first.
        let first = &mut load.streams[0];
        Self::ask(first);
        while !load.answer.ends_with(b"hello, world") {
            let mut byte = [0];
            first.read_exact(&mut byte).expect("an answer");
            load.answer.extend(byte);
        }
        load
    }

    fn ask(stream: &mut TcpStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("the server reads");
    }

    /// Returns the time of `n` requests.
    fn run(&mut self, n: u64) -> Duration {
        let rounds = n.div_ceil(CONNECTIONS as u64);
        let start = Instant::now();
        for _ in 0..rounds {
            self.streams.iter_mut().for_each(Self::ask);
            for stream in &mut self.streams {
                stream.read_exact(&mut self.answer).expect("an answer");
                assert!(self.answer.ends_with(b"hello, world"));
            }
        }
        start.elapsed().mul_f64(n as f64 / (rounds * CONNECTIONS as u64) as f64)
    }
}

fn http(c: &mut Criterion) {
    let mut group = c.benchmark_group("hello_64");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for procs in PROCS {
        let (addr, _rt) = on_gopark(procs);
        let load = &mut Load::new(addr);
        group.bench_function(BenchmarkId::new("gopark", procs), |b| b.iter_custom(|n| load.run(n)));
        let load = &mut Load::new(on_async_executor(procs));
        group.bench_function(BenchmarkId::new("async-executor", procs), |b| {
            b.iter_custom(|n| load.run(n))
        });
        let (addr, _rt) = on_tokio(procs);
        let load = &mut Load::new(addr);
        group.bench_function(BenchmarkId::new("tokio", procs), |b| b.iter_custom(|n| load.run(n)));
    }
    group.finish();
}

criterion_group!(benches, http);
criterion_main!(benches);
