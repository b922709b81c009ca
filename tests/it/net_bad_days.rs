//! Errors and unusual events of sockets.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gopark::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use gopark::{Runtime, go, gomaxprocs, time};

use crate::util::{isolated, no_hang, spin_until};

/// Takes all descriptors that the process may have. Dropping it frees them.
pub(crate) fn exhaust() -> Vec<std::fs::File> {
    // SAFETY: a plain value, for which zeros are valid.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: `limit` is valid for the result, and then holds the value.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = 256;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}

#[test]
fn accept_waits_for_a_free_descriptor_and_goes_on() {
    isolated(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client = TcpStream::connect(address).await.unwrap();
            let all = exhaust();
            // The connection exists, but there is no descriptor for it.
            let limit = Duration::from_millis(30);
            assert!(time::timeout(limit, listener.accept()).await.is_err());
            drop(all);
            let (served, _) = listener.accept().await.unwrap();
            client.write_all(b"x").await.unwrap();
            served.read_exact(&mut [0]).await.unwrap();
        });
    });
}

#[test]
fn accept_without_descriptors_uses_little_time() {
    isolated(|| {
        let rt = Runtime::new();
        rt.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let all = exhaust();
            let before = cpu_time();
            assert!(time::timeout(Duration::from_millis(300), listener.accept()).await.is_err());
            let used = cpu_time() - before;
            assert!(used < Duration::from_millis(100), "{used:?}");
            drop((all, client));
        });
    });
}

/// The CPU time of the process.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the result.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

#[test]
fn a_poller_that_cannot_be_made_is_an_error_and_is_made_later() {
    isolated(|| {
        let rt = Runtime::new();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let all = exhaust();
        let another = socket.try_clone();
        assert!(another.is_err(), "no descriptor is left");
        rt.block_on(async {
            let error = UdpSocket::from_std(socket).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
            drop(all);
            let (a, b) = UnixStream::pair().unwrap();
            a.write_all(b"x").await.unwrap();
            b.read_exact(&mut [0]).await.unwrap();
        });
    });
}

#[test]
fn a_descriptor_that_others_close_harms_no_other_socket() {
    isolated(|| {
        use std::os::fd::AsRawFd;

        gopark::block_on(async {
            for _ in 0..100 {
                let (a, b) = UnixStream::pair().unwrap();
                let fd = b.as_raw_fd();
                // SAFETY: this is what the test is about: the number becomes another socket's.
                unsafe { libc::close(fd) };
                let (c, d) = UnixStream::pair().unwrap();
                assert!(c.as_raw_fd() == fd || d.as_raw_fd() == fd);
                assert_eq!(a.read(&mut [0]).await.unwrap(), 0);
                // The end of the first socket with that number does not harm the next one.
                let waits = go(async move {
                    let mut byte = [0];
                    d.read_exact(&mut byte).await.map(|()| (byte, d))
                });
                gopark::gosched().await;
                // SAFETY: so that the drop does not close the socket that has that number now.
                let spare = unsafe { libc::dup(fd) };
                c.write_all(b"y").await.unwrap();
                let (byte, d) = waits.await.unwrap().unwrap();
                assert_eq!(&byte, b"y");
                drop((c, d));
                // SAFETY: the number is free again, so `b` may close it.
                unsafe { libc::dup2(spare, fd) };
                drop(b);
                // SAFETY: the descriptor belongs to this test.
                unsafe { libc::close(spare) };
            }
        });
    });
}

#[test]
fn a_forked_child_leaves_its_parents_registrations_alone() {
    isolated(|| {
        let rt = Runtime::new();
        rt.block_on(async {
            let (a, b) = UnixStream::pair().unwrap();
            // SAFETY: the child drops its copy of a socket, and ends.
            match unsafe { libc::fork() } {
                0 => {
                    drop(b);
                    // SAFETY: as above.
                    unsafe { libc::_exit(0) }
                }
                child => {
                    let mut status = 0;
                    // SAFETY: `status` is valid for the result.
                    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                    assert_eq!(status, 0);
                }
            }
            let reads = go(async move { b.read_exact(&mut [0]).await });
            gopark::gosched().await;
            a.write_all(b"x").await.unwrap();
            reads.await.unwrap().unwrap();
        });
    });
}

#[test]
fn runtimes_with_sockets_come_and_go() {
    isolated(|| {
        let open = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
        let mut before = 0;
        for i in 0..300 {
            let rt = Runtime::builder().gomaxprocs(1 + i % 3).build().unwrap();
            rt.block_on(async {
                let (a, b) = UnixStream::pair().unwrap();
                go(async move { b.read(&mut [0; 2]).await });
                gopark::gosched().await;
                a.write_all(b"x").await.unwrap();
            });
            drop(rt);
            if i == 10 {
                before = open();
            }
        }
        // The drop of a runtime does not wait for a thread that is stopped for too long.
        spin_until(|| open() <= before + 3);
    });
}

#[test]
fn the_peers_of_many_parked_connections_vanish() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(2).build().unwrap();
        rt.block_on(async {
            let ended = Arc::new(AtomicUsize::new(0));
            let mut peers = Vec::new();
            let mut readers = Vec::new();
            for i in 0..2_000 {
                let (a, b) = UnixStream::pair().unwrap();
                peers.push(a);
                let ended = ended.clone();
                readers.push(go(async move {
                    let mut buffer = [0; 16];
                    if i % 2 == 0 {
                        assert_eq!(b.read(&mut buffer).await.unwrap(), 0);
                    } else {
                        // Through the poll functions of the traits.
                        let mut b = b;
                        let n = std::future::poll_fn(|cx| {
                            gopark::io::AsyncRead::poll_read(
                                std::pin::Pin::new(&mut b),
                                cx,
                                &mut buffer,
                            )
                        });
                        assert_eq!(n.await.unwrap(), 0);
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                }));
            }
            drop(peers);
            for reader in readers {
                reader.await.unwrap();
            }
            assert_eq!(ended.load(Ordering::Relaxed), 2_000);
        });
    });
}

#[test]
fn connects_and_closes_go_on_while_gomaxprocs_changes() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(2).build().unwrap();
        rt.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..4 {
                let listener = listener.clone();
                go(async move {
                    // Until the runtime ends.
                    while let Ok((stream, _)) = listener.accept().await {
                        go(async move {
                            let mut byte = [0];
                            if stream.read_exact(&mut byte).await.is_ok() {
                                let _ = stream.write_all(&byte).await;
                            }
                        });
                    }
                });
            }
            let clients: Vec<_> = (0..8u8).map(|i| go(connects(address, i))).collect();
            let changes = go(async {
                loop {
                    gomaxprocs(fastrand::usize(1..=4));
                    time::sleep(Duration::from_micros(300)).await;
                }
            });
            for client in clients {
                client.await.unwrap();
            }
            changes.abort();
        });
    });
}

/// Three hundred connections, of which some are reset and some dropped.
async fn connects(address: SocketAddr, name: u8) {
    for i in 0..300 {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            // The ports of closed connections stay in use for a minute.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return,
            Err(error) => panic!("{error}"),
        };
        match i % 4 {
            0 => continue,
            1 => stream.set_linger(Some(Duration::ZERO)).unwrap(),
            _ => {}
        }
        stream.write_all(&[name]).await.unwrap();
        if i % 4 != 1 {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, [name]);
        }
    }
}

#[test]
fn events_are_seen_beside_a_goroutine_that_blocks_its_thread() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
        rt.block_on(async {
            let (a, b) = UnixStream::pair().unwrap();
            let answers = go(async move {
                b.read_exact(&mut [0]).await.unwrap();
                b.write_all(b"y").await.unwrap();
            });
            gopark::gosched().await;
            let asks = std::thread::spawn(move || {
                futures_lite::future::block_on(async move {
                    let start = Instant::now();
                    a.write_all(b"x").await.unwrap();
                    a.read_exact(&mut [0]).await.unwrap();
                    start.elapsed()
                })
            });
            // It blocks the only worker; the monitor sees the event.
            std::thread::sleep(Duration::from_millis(300)); // asleep: the subject
            answers.await.unwrap();
            let took = asks.join().unwrap();
            assert!(took < Duration::from_millis(200), "{took:?}");
        });
    });
}

#[test]
fn idle_sockets_wake_no_thread() {
    isolated(|| {
        let rt = Runtime::builder().gomaxprocs(2).build().unwrap();
        let sockets = rt
            .block_on(async { (0..100).map(|_| UnixStream::pair().unwrap()).collect::<Vec<_>>() });
        std::thread::sleep(Duration::from_millis(1_500)); // asleep: until the runtime is at rest
        let before = (cpu_time(), switches());
        std::thread::sleep(Duration::from_millis(2_000)); // asleep: the subject
        let after = (cpu_time(), switches());
        assert!(after.1 - before.1 <= 10, "{} switches", after.1 - before.1);
        drop((sockets, rt));
    });
}

/// How often the threads of the process have gone to sleep.
fn switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |task: io::Result<std::fs::DirEntry>| {
        let mut text = String::new();
        std::fs::File::open(task.unwrap().path().join("status"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"))
            .unwrap()
            .to_owned();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    tasks.map(of).sum()
}

#[test]
fn sockets_are_served_while_all_processors_are_lent() {
    no_hang(|| {
        for procs in [1, 2] {
            let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
            rt.block_on(async {
                let (a, b) = UnixStream::pair().unwrap();
                let (tx, rx) = std::sync::mpsc::channel();
                go(async move {
                    b.read_exact(&mut [0]).await.unwrap();
                    tx.send(Instant::now()).unwrap();
                });
                gopark::gosched().await;
                let writer = std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(150)); // asleep: the monitor rests
                    let now = Instant::now();
                    futures_lite::future::block_on(a.write_all(b"x")).unwrap();
                    (a, now)
                });
                let seen = gopark::block_in_place(|| rx.recv().unwrap());
                let (_a, written) = writer.join().unwrap();
                let took = seen.duration_since(written);
                assert!(took < Duration::from_millis(100), "{took:?} at {procs}");
            });
        }
    });
}

#[test]
fn a_forced_question_whether_a_stream_is_readable_is_the_systems() {
    no_hang(|| {
        gopark::block_on(async {
            let (a, b) = UnixStream::pair().unwrap();
            // Before the first try nothing is known about the readiness of a new socket.
            assert_eq!(b.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            gopark::select! {
                _ = b.readable() => panic!("nothing is there"),
                default => {}
            }
            assert!(time::timeout(Duration::from_millis(2), b.readable()).await.is_err());
            a.write_all(b"x").await.unwrap();
            gopark::select! {
                ready = b.readable() => ready.unwrap(),
                default => panic!("a byte is there"),
            }
        });
    });
}

#[test]
fn many_buffers_at_once_are_no_sign_of_a_full_socket() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            go(async move { while let Ok(1..) = server.read(&mut [0; 4096]).await {} });
            time::sleep(Duration::from_millis(5)).await; // asleep: until the first event was seen
            let buffers: Vec<_> = (0..1_100).map(|_| io::IoSlice::new(b"abcd")).collect();
            let written = client.write_vectored(&buffers).await.unwrap();
            assert!(written > 0);
            client.write_all(b"more").await.unwrap();
        });
    });
}

#[test]
fn urgent_data_does_not_stop_a_reader() {
    use std::os::fd::AsRawFd;

    no_hang(|| {
        gopark::block_on(async {
            for _ in 0..50 {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                let reader = go(async move {
                    let (mut all, mut buffer) = (Vec::new(), [0; 64]);
                    while let n @ 1.. = server.read(&mut buffer).await.unwrap() {
                        all.extend_from_slice(&buffer[..n]);
                        if all.ends_with(b"efg") {
                            break;
                        }
                    }
                    all
                });
                client.write_all(b"abc").await.unwrap();
                // SAFETY: one byte of a literal.
                let sent = unsafe {
                    libc::send(client.as_raw_fd(), b"d".as_ptr().cast(), 1, libc::MSG_OOB)
                };
                assert_eq!(sent, 1);
                client.write_all(b"efg").await.unwrap();
                assert_eq!(reader.await.unwrap(), b"abcefg");
            }
        });
    });
}

#[test]
fn an_error_that_is_over_leaves_no_socket_ready() {
    no_hang(|| {
        gopark::block_on(async {
            let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(closed).await.unwrap();
            socket.send(b"x").await.unwrap();
            // The host reports that the port is closed.
            let error = socket.recv(&mut [0; 4]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert_turns(
                || async { socket.readable().await.unwrap() },
                || socket.try_recv_from(&mut [0; 4]).map(|_| ()),
            )
            .await;
        });
    });
}

#[test]
fn a_pipe_whose_writer_has_gone_waits_for_the_next_one() {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    no_hang(|| {
        let path = std::env::temp_dir().join(format!("gopark-fifo-{}", std::process::id()));
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the name ends with a zero byte.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        gopark::block_on(async {
            let reader =
                OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
            let reader = gopark::io::Async::new(reader).unwrap();
            drop(OpenOptions::new().write(true).open(&path).unwrap());
            let read = |mut file: &std::fs::File| file.read(&mut [0; 8]);
            assert_eq!(reader.read_with(read).await.unwrap(), 0);
            let _writer = OpenOptions::new().write(true).open(&path).unwrap();
            let look = || reader.try_read_with(read).map(|n| assert_ne!(n, 0));
            assert_turns(|| async { reader.readable().await.unwrap() }, look).await;
        });
        std::fs::remove_file(path).unwrap();
    });
}

/// Waits and checks in turn. There is nothing, so a few turns must be enough.
async fn assert_turns<F: Future<Output = ()>>(
    wait: impl Fn() -> F,
    look: impl Fn() -> io::Result<()>,
) {
    let turns = AtomicUsize::new(0);
    let spin = async {
        loop {
            wait().await;
            assert_eq!(look().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            turns.fetch_add(1, Ordering::Relaxed);
        }
    };
    let _ = time::timeout(Duration::from_millis(50), spin).await;
    assert!(turns.load(Ordering::Relaxed) < 10, "{turns:?} turns");
}

#[test]
fn an_event_of_one_direction_wakes_no_waiter_of_the_other() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
        rt.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let polls = Arc::new(AtomicUsize::new(0));
            let (reading, counts) = (client.clone(), polls.clone());
            let reader = go(async move {
                let mut buffer = [0];
                let mut read = std::pin::pin!(reading.read(&mut buffer));
                std::future::poll_fn(|cx| {
                    counts.fetch_add(1, Ordering::Relaxed);
                    read.as_mut().poll(cx)
                })
                .await
            });
            let drains = go(async move {
                let mut buffer = vec![0; 1 << 16];
                let mut left = 8 << 20;
                while left > 0 {
                    left -= server.read(&mut buffer).await.unwrap();
                }
                server.write_all(b"!").await.unwrap();
            });
            client.write_all(&vec![0; 8 << 20]).await.unwrap();
            drains.await.unwrap();
            assert_eq!(reader.await.unwrap().unwrap(), 1);
            let polls = polls.load(Ordering::Relaxed);
            assert!(polls <= 4, "{polls} polls");
        });
    });
}

#[test]
fn a_listener_that_is_closed_ends_its_accepts() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let accepting = listener.clone();
            let accepts = go(async move { accepting.accept().await.map(|_| ()) });
            gopark::gosched().await;
            listener.close();
            assert_eq!(accepts.await.unwrap().unwrap_err().kind(), io::ErrorKind::NotConnected);
            assert!(listener.accept().await.is_err());
            assert!(TcpStream::connect(address).await.is_err());
        });
    });
}

/// A worker whose queue is always full never takes an event; the monitor does.
#[test]
fn events_are_seen_beside_a_full_queue() {
    no_hang(|| {
        for procs in [1, 2] {
            let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
            rt.block_on(async {
                let (a, b) = UnixStream::pair().unwrap();
                let stop = Arc::new(AtomicUsize::new(0));
                for _ in 0..600 {
                    let stop = stop.clone();
                    go(async move {
                        while stop.load(Ordering::Relaxed) == 0 {
                            gopark::gosched().await;
                        }
                    });
                }
                let answers = go(async move {
                    b.read_exact(&mut [0]).await.unwrap();
                    b.write_all(b"y").await.unwrap();
                });
                let asks = std::thread::spawn(move || {
                    futures_lite::future::block_on(async move {
                        let start = Instant::now();
                        a.write_all(b"x").await.unwrap();
                        a.read_exact(&mut [0]).await.unwrap();
                        start.elapsed()
                    })
                });
                answers.await.unwrap();
                stop.store(1, Ordering::Relaxed);
                let took = asks.join().unwrap();
                assert!(took < Duration::from_millis(500), "{took:?} at {procs}");
            });
        }
    });
}

/// A runtime's executor passes to another runtime, on another thread, right after its end. The end
/// of the sockets belongs to the first runtime, and must not reach those of the second.
#[test]
fn the_end_of_a_runtime_does_not_end_the_sockets_of_the_next_one() {
    isolated(|| {
        let start = Instant::now();
        let rounds = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for patience in [Duration::ZERO, Duration::from_secs(60)] {
                let rounds = &rounds;
                for _ in 0..2 {
                    scope.spawn(move || {
                        while rounds.fetch_add(1, Ordering::Relaxed) < 600
                            && start.elapsed() < Duration::from_secs(30)
                        {
                            let rt = Runtime::builder()
                                .gomaxprocs(fastrand::usize(1..=2))
                                .build()
                                .unwrap();
                            // Its first sockets are opened while the executor's previous runtime
                            // may still be ending.
                            rt.block_on(open_and_use(fastrand::usize(1..8))).unwrap();
                            rt.shutdown_timeout(patience);
                        }
                    });
                }
            }
        });
        let rounds = rounds.load(Ordering::Relaxed);
        assert!(rounds >= 50, "{rounds} rounds are few");
    });
}

/// Opens sockets, uses them, and leaves a goroutine that waits for one.
async fn open_and_use(pairs: usize) -> io::Result<()> {
    for _ in 0..pairs {
        let (a, b) = UnixStream::pair()?;
        let echo = go(async move {
            let mut byte = [0];
            b.read_exact(&mut byte).await?;
            b.write_all(&byte).await?;
            io::Result::Ok(b)
        });
        a.write_all(b"x").await?;
        a.read_exact(&mut [0]).await?;
        let b = echo.await.expect("does not panic")?;
        go(async move {
            let _ = (a.read(&mut [0]).await, b);
        });
    }
    Ok(())
}
