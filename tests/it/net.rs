//! Sockets.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use gopark::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use gopark::{Runtime, go, select};

use crate::util::no_hang;

/// Two ends of a connection.
pub(crate) async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    Ok((client, server))
}

#[test]
fn an_echo_comes_back() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            go(async move {
                let mut buffer = [0; 16];
                loop {
                    let n = server.read(&mut buffer).await.unwrap();
                    if n == 0 {
                        return;
                    }
                    server.write_all(&buffer[..n]).await.unwrap();
                }
            });
            for i in 0..10_000u32 {
                client.write_all(&i.to_le_bytes()).await.unwrap();
                let mut back = [0; 4];
                client.read_exact(&mut back).await.unwrap();
                assert_eq!(u32::from_le_bytes(back), i);
            }
        });
    });
}

#[test]
fn an_echo_comes_back_at_each_setting() {
    no_hang(|| {
        for procs in [1, 2, 4] {
            let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
            rt.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                go(async move {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        go(async move {
                            let mut buffer = [0; 64];
                            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                                stream.write_all(&buffer[..n]).await.unwrap();
                            }
                        });
                    }
                });
                let clients = (0..50).map(|i: u8| {
                    go(async move {
                        let stream = TcpStream::connect(address).await.unwrap();
                        for _ in 0..200 {
                            stream.write_all(&[i; 64]).await.unwrap();
                            let mut back = [0; 64];
                            stream.read_exact(&mut back).await.unwrap();
                            assert_eq!(back, [i; 64]);
                        }
                    })
                });
                for client in clients.collect::<Vec<_>>() {
                    client.await.unwrap();
                }
            });
        }
    });
}

#[test]
fn the_end_that_comes_with_the_last_bytes_is_seen() {
    no_hang(|| {
        gopark::block_on(async {
            for _ in 0..200 {
                let (client, server) = pair().await.unwrap();
                // The server waits, and then makes a short read.
                let reader = go(async move {
                    let mut buffer = [0; 64];
                    let mut total = 0;
                    loop {
                        match server.read(&mut buffer).await.unwrap() {
                            0 => return total,
                            n => total += n,
                        }
                    }
                });
                gopark::gosched().await;
                client.write_all(b"last words").await.unwrap();
                drop(client);
                assert_eq!(reader.await.unwrap(), 10);
            }
        });
    });
}

#[test]
fn a_refused_connect_is_an_error() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let error = TcpStream::connect(address).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    });
}

#[test]
fn a_reset_is_an_error_of_the_reader() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let reader = go(async move { server.read(&mut [0; 8]).await });
            gopark::gosched().await;
            client.set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            assert_eq!(reader.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        });
    });
}

#[test]
fn a_half_close_leaves_the_other_direction_open() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
            server.write_all(b"still").await.unwrap();
            let mut buffer = [0; 5];
            client.read_exact(&mut buffer).await.unwrap();
            assert_eq!(&buffer, b"still");
        });
    });
}

#[test]
fn a_default_makes_the_system_call() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let mut buffer = [0; 8];
            let nothing = select! {
                n = server.read(&mut buffer) => n.unwrap(),
                default => 100,
            };
            assert_eq!(nothing, 100);
            client.write_all(b"now").await.unwrap();
            // The poller may not have seen the event yet.
            let mut got = 100;
            while got == 100 {
                got = select! {
                    n = server.read(&mut buffer) => n.unwrap(),
                    default => 100,
                };
            }
            assert_eq!(&buffer[..got], b"now");
        });
    });
}

#[test]
fn a_read_that_loses_a_select_loses_no_byte() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let (tx, rx) = gopark::chan::unbuffered::<()>();
            go(async move { while tx.send(()).await.is_ok() {} });
            let writer = go(async move {
                for i in 0..2_000u16 {
                    client.write_all(&i.to_le_bytes()).await.unwrap();
                }
            });
            let mut all = Vec::new();
            let mut buffer = [0; 16];
            while all.len() < 4_000 {
                select! {
                    n = server.read(&mut buffer) => all.extend_from_slice(&buffer[..n.unwrap()]),
                    _ = rx.recv() => {}
                }
            }
            writer.await.unwrap();
            let numbers: Vec<u16> =
                all.chunks(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).collect();
            assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
        });
    });
}

#[test]
fn operations_fail_once_their_runtime_has_ended() {
    no_hang(|| {
        let rt = Runtime::new();
        let (client, server) = rt.block_on(pair()).unwrap();
        let waits = std::thread::spawn(move || {
            gopark::block_on(async move {
                let mut buffer = [0; 8];
                let read = go(async move { (server.read(&mut buffer).await, server) });
                let (result, server) = read.await.unwrap();
                assert!(result.unwrap_err().to_string().contains("has ended"));
                assert!(server.write(b"x").await.unwrap_err().to_string().contains("has ended"));
            });
        });
        // So that in most runs the read waits when the runtime ends: another runtime polls it.
        std::thread::sleep(Duration::from_millis(20)); // asleep: either order is right
        drop(rt);
        waits.join().unwrap();
        drop(client);
    });
}

#[test]
fn a_stream_is_read_and_written_by_two_goroutines() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            const TOTAL: usize = 8 << 20;
            let echo = go(async move { gopark::io::copy(&mut &server, &mut &server).await });
            let writer = client.clone();
            go(async move {
                let chunk = vec![7; 100_000];
                let mut left = TOTAL;
                while left > 0 {
                    let n = left.min(chunk.len());
                    writer.write_all(&chunk[..n]).await.unwrap();
                    left -= n;
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut buffer = vec![0; 70_000];
            let mut total = 0;
            loop {
                match client.read(&mut buffer).await.unwrap() {
                    0 => break,
                    n => {
                        assert!(buffer[..n].iter().all(|byte| *byte == 7));
                        total += n;
                    }
                }
            }
            assert_eq!(total, TOTAL);
            assert_eq!(echo.await.unwrap().unwrap(), TOTAL as u64);
        });
    });
}

#[test]
fn each_connection_goes_to_one_of_those_that_accept() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let acceptors: Vec<_> = (0..20)
                .map(|_| {
                    let listener = listener.clone();
                    go(async move {
                        for _ in 0..10 {
                            let (stream, _) = listener.accept().await.unwrap();
                            stream.write_all(b"!").await.unwrap();
                        }
                    })
                })
                .collect();
            for _ in 0..200 {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.read_exact(&mut [0]).await.unwrap();
            }
            for acceptor in acceptors {
                acceptor.await.unwrap();
            }
        });
    });
}

#[test]
fn datagrams_come_with_their_senders() {
    no_hang(|| {
        gopark::block_on(async {
            let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            go(async move {
                let mut buffer = [0; 64];
                loop {
                    let (n, peer) = server.recv_from(&mut buffer).await.unwrap();
                    server.send_to(&buffer[..n], peer).await.unwrap();
                }
            });
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.connect(address).await.unwrap();
            for i in 0..1_000u32 {
                client.send(&i.to_le_bytes()).await.unwrap();
                let mut back = [0; 4];
                assert_eq!(client.recv(&mut back).await.unwrap(), 4);
                assert_eq!(u32::from_le_bytes(back), i);
            }
        });
    });
}

#[test]
fn a_socket_works_on_another_executor() {
    no_hang(|| {
        let (a, b) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            futures_lite::future::block_on(async move {
                let mut buffer = [0; 5];
                a.read_exact(&mut buffer).await.unwrap();
                a.write_all(&buffer).await.unwrap();
            });
        });
        futures_lite::future::block_on(async move {
            b.write_all(b"hello").await.unwrap();
            let mut buffer = [0; 5];
            b.read_exact(&mut buffer).await.unwrap();
            assert_eq!(&buffer, b"hello");
        });
        thread.join().unwrap();
    });
}

#[test]
fn a_timeout_ends_a_read_and_the_next_one_goes_on() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let mut buffer = [0; 8];
            let limit = Duration::from_millis(5);
            assert!(gopark::time::timeout(limit, server.read(&mut buffer)).await.is_err());
            client.write_all(b"late").await.unwrap();
            assert_eq!(server.read(&mut buffer).await.unwrap(), 4);
        });
    });
}

#[test]
fn a_timer_is_exact_beside_sockets() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(1).build().unwrap();
        crate::util::in_time(Duration::from_micros(2_400), || {
            rt.block_on(async {
                let _listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let start = std::time::Instant::now();
                gopark::time::sleep(Duration::from_micros(1_500)).await;
                assert!(start.elapsed() >= Duration::from_micros(1_500));
                start.elapsed()
            })
        });
    });
}

#[test]
fn a_thousand_parked_connections_are_all_woken() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = go(async move {
                let mut readers = Vec::new();
                for _ in 0..1_000 {
                    let (stream, _) = listener.accept().await.unwrap();
                    readers.push(go(async move { stream.read(&mut [0; 8]).await.unwrap() }));
                }
                for reader in readers {
                    assert_eq!(reader.await.unwrap(), 0);
                }
            });
            let mut clients = Vec::new();
            for _ in 0..1_000 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            drop(clients);
            server.await.unwrap();
        });
    });
}

#[cfg(unix)]
#[test]
fn inspect_shows_the_peer_of_a_socket_that_is_waited_for() {
    use gopark::inspect::{self, GoroutineState, WaitReason};

    no_hang(|| {
        let rt = Runtime::new();
        rt.block_on(async {
            let (client, server) = pair().await.unwrap();
            let peer = client.local_addr().unwrap();
            let by_future = gopark::go_named("future", async move { server.read(&mut [0]).await });
            let (other, mut server) = pair().await.unwrap();
            let other_peer = other.local_addr().unwrap();
            let by_poll = gopark::go_named("poll", async move {
                let mut byte = [0];
                std::future::poll_fn(|cx| {
                    gopark::io::AsyncRead::poll_read(std::pin::Pin::new(&mut server), cx, &mut byte)
                })
                .await
            });
            for (name, peer) in [("future", peer), ("poll", other_peer)] {
                let found = loop {
                    let mut all = inspect::goroutines().into_iter();
                    // It has its name after it has run.
                    let waits = |state| {
                        matches!(state, GoroutineState::Waiting { reason: WaitReason::Io, .. })
                    };
                    let is_it = |goroutine: &inspect::GoroutineInfo| {
                        goroutine.name.as_deref() == Some(name)
                    };
                    if let Some(found) =
                        all.find(|goroutine| is_it(goroutine) && waits(goroutine.state))
                    {
                        break found;
                    }
                    gopark::gosched().await;
                };
                assert_eq!(found.socket.and_then(|socket| socket.peer), Some(peer));
                let line = found.to_string();
                assert!(
                    line.contains("[IO wait, ") && line.contains(&format!(", peer {peer}")),
                    "{line}"
                );
            }
            drop((client, other));
            assert_eq!(
                (by_future.await.unwrap().unwrap(), by_poll.await.unwrap().unwrap()),
                (0, 0)
            );
        });
    });
}

/// Polls `future` at most this many times, each time after it was woken, and then drops it.
async fn limited<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await
}

/// Sends chunks of these sizes through a stream; each operation on either side is dropped after one
/// to three polls. All bytes arrive once and in order.
macro_rules! drops_at_every_poll {
    ($client:expr, $server:expr) => {{
        const TOTAL: usize = 60_000;
        let (client, server) = ($client, $server);
        let writer = go(async move {
            let mut next = 0usize;
            while next < TOTAL {
                let bytes: Vec<u8> = (next..TOTAL.min(next + fastrand::usize(1..3_000)))
                    .map(|n| (n % 251) as u8)
                    .collect();
                let written = if fastrand::bool() {
                    limited(fastrand::usize(1..=3), client.write(&bytes)).await.map(Result::unwrap)
                } else {
                    let mut stream = &client;
                    let write = std::future::poll_fn(|cx| {
                        gopark::io::AsyncWrite::poll_write(
                            std::pin::Pin::new(&mut stream),
                            cx,
                            &bytes,
                        )
                    });
                    limited(fastrand::usize(1..=3), write).await.map(Result::unwrap)
                };
                match written {
                    Some(n) => next += n,
                    None => gopark::gosched().await,
                }
            }
            client.shutdown(Shutdown::Write).unwrap();
            client
        });
        let mut all = 0usize;
        let mut buffer = vec![0; 4_000];
        loop {
            let room = fastrand::usize(1..buffer.len());
            let read = if fastrand::bool() {
                limited(fastrand::usize(1..=3), server.read(&mut buffer[..room]))
                    .await
                    .map(Result::unwrap)
            } else {
                let mut stream = &server;
                let read = std::future::poll_fn(|cx| {
                    gopark::io::AsyncRead::poll_read(
                        std::pin::Pin::new(&mut stream),
                        cx,
                        &mut buffer[..room],
                    )
                });
                limited(fastrand::usize(1..=3), read).await.map(Result::unwrap)
            };
            match read {
                Some(0) => break,
                Some(n) => {
                    for byte in &buffer[..n] {
                        assert_eq!(*byte, (all % 251) as u8, "byte {all}");
                        all += 1;
                    }
                }
                None => gopark::gosched().await,
            }
        }
        assert_eq!(all, TOTAL);
        writer.await.unwrap();
    }};
}

#[test]
fn operations_that_are_dropped_at_every_poll_lose_no_byte() {
    no_hang(|| {
        for procs in [1, 2, 4] {
            let rt = Runtime::builder().gomaxprocs(procs).build().unwrap();
            rt.block_on(async {
                for _ in 0..5 {
                    let (client, server) = pair().await.unwrap();
                    drops_at_every_poll!(client, server);
                    #[cfg(unix)]
                    {
                        let (client, server) = UnixStream::pair().unwrap();
                        drops_at_every_poll!(client, server);
                    }
                }
            });
        }
    });
}

#[test]
fn accepts_that_are_dropped_at_every_poll_lose_no_connection() {
    no_hang(|| {
        let rt = Runtime::builder().gomaxprocs(2).build().unwrap();
        rt.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let clients = go(async move {
                let mut connected = 0;
                for i in 0..400u32 {
                    // One in four may be dropped.
                    let polls = if i % 4 == 0 { 1 } else { 100 };
                    if let Some(stream) = limited(polls, TcpStream::connect(address)).await {
                        stream.unwrap().write_all(b"!").await.unwrap();
                        connected += 1;
                    }
                }
                connected
            });
            let mut clients = std::pin::pin!(clients);
            let (mut greeted, mut connected) = (0, None);
            while connected != Some(greeted) {
                let accepts =
                    async { Ok(limited(fastrand::usize(1..=2), listener.accept()).await) };
                // After the last client, an accept would wait forever.
                let ends = async {
                    match connected {
                        None => Err(clients.as_mut().await.unwrap()),
                        Some(_) => std::future::pending().await,
                    }
                };
                match futures_lite::future::or(accepts, ends).await {
                    Err(count) => connected = Some(count),
                    Ok(None) => gopark::gosched().await,
                    Ok(Some(accepted)) => {
                        let mut byte = [0];
                        greeted += accepted.unwrap().0.read(&mut byte).await.unwrap_or(0);
                    }
                }
            }
        });
    });
}

#[cfg(feature = "hyper")]
#[test]
fn hypers_timer_sleeps_and_is_reset() {
    use gopark::net::HyperTimer;
    use hyper::rt::Timer;

    no_hang(|| {
        gopark::block_on(async {
            let (timer, hour) = (HyperTimer::new(), Duration::from_secs(3_600));
            let start = timer.now();
            timer.sleep(Duration::from_millis(5)).await; // asleep: its timer
            assert!(timer.now() >= start + Duration::from_millis(5));

            // A task that waits already, and hyper does not poll it after a reset.
            let mut sleep = timer.sleep_until(start + hour);
            assert!(limited(1, &mut sleep).await.is_none());
            let deadline = timer.now() + Duration::from_millis(5);
            timer.reset(&mut sleep, deadline);
            sleep.as_mut().await;
            assert!(timer.now() >= deadline);
            // hyper's keep-alive of an idle client polls a completed sleep.
            assert!(limited(1, &mut sleep).await.is_some());
            // It has completed, and hyper uses it again.
            timer.reset(&mut sleep, deadline);
            sleep.await;
        });
    });
}

#[cfg(feature = "hyper")]
#[test]
fn hypers_tasks_are_goroutines_that_were_started_by_the_user() {
    use gopark::inspect;
    use gopark::net::HyperExecutor;
    use hyper::rt::Executor;

    no_hang(|| {
        let rt = Runtime::new();
        rt.block_on(async {
            let (tx, rx) = gopark::chan::unbuffered();
            let executor = HyperExecutor::new();
            executor.execute(async move { tx.send(inspect::goroutines()).await });
            let all = rx.recv().await.unwrap();
            assert!(all.iter().any(|goroutine| {
                !goroutine.is_main && goroutine.spawned_at.file().ends_with("tests/it/net.rs")
            }));
        });
    });
}

#[test]
fn try_accept_takes_a_connection_that_waits_and_does_not_wait_for_one() {
    no_hang(|| {
        gopark::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let nothing = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
            assert!(listener.try_accept().is_err_and(nothing));
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, peer) = listener.try_accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert!(listener.try_accept().is_err_and(nothing));
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
            // It has not taken the readiness from an accept that waits.
            let accepts = go(async move { listener.accept().await.map(|(_, peer)| peer) });
            gopark::gosched().await;
            let client = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
            assert_eq!(accepts.await.unwrap().unwrap(), client.local_addr().unwrap());
        });
    });
}

#[test]
fn keepalive_is_an_idle_time_in_whole_seconds() {
    no_hang(|| {
        gopark::block_on(async {
            let (client, _server) = pair().await.unwrap();
            assert_eq!(client.keepalive_time().unwrap(), None);
            for (set, got) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (15_000, 15)] {
                client.set_keepalive_time(Some(Duration::from_millis(set))).unwrap();
                assert_eq!(client.keepalive_time().unwrap(), Some(Duration::from_secs(got)));
            }
            client.set_keepalive_time(None).unwrap();
            assert_eq!(client.keepalive_time().unwrap(), None);
            assert!(client.set_keepalive_time(Some(Duration::MAX)).is_err());
        });
    });
}

#[test]
fn a_peek_leaves_the_datagram_to_the_next_receive() {
    no_hang(|| {
        gopark::block_on(async {
            let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (address, sender) = (server.local_addr().unwrap(), client.local_addr().unwrap());
            let peeks = server.clone();
            let peeked = go(async move { peeks.peek_from(&mut [0; 8]).await });
            gopark::gosched().await;
            client.send_to(b"ping", address).await.unwrap();
            assert_eq!(peeked.await.unwrap().unwrap(), (4, sender));
            assert_eq!(server.recv_from(&mut [0; 8]).await.unwrap(), (4, sender));
        });
    });
}

/// Checks the forms that do not wait, of a pair of connected datagram sockets.
macro_rules! tries {
    ($a:expr, $b:expr) => {{
        let (a, b) = ($a, $b);
        let mut buffer = [0; 8];
        assert_eq!(b.try_recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(a.try_send(b"ping").unwrap(), 4);
        b.readable().await.unwrap();
        assert_eq!(b.try_recv(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"ping");
        assert_eq!(b.try_recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }};
}

#[test]
fn datagrams_are_sent_and_received_without_waiting() {
    no_hang(|| {
        gopark::block_on(async {
            let a = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let b = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            a.connect(b.local_addr().unwrap()).await.unwrap();
            b.connect(a.local_addr().unwrap()).await.unwrap();
            tries!(a, b);
            #[cfg(unix)]
            {
                use gopark::net::UnixDatagram;

                let (a, b) = UnixDatagram::pair().unwrap();
                tries!(&a, &b);
                // The queue of the receiver is full after a few.
                let full = loop {
                    if let Err(error) = a.try_send(&[0; 1024]) {
                        break error;
                    }
                };
                assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
                let sends = go(async move { a.send(b"last").await });
                gopark::gosched().await;
                while b.recv(&mut [0; 1024]).await.unwrap() == 1024 {}
                assert_eq!(sends.await.unwrap().unwrap(), 4);

                let name = format!("gopark-try-{}", std::process::id());
                let path = std::env::temp_dir().join(name);
                let server = UnixDatagram::bind(&path).unwrap();
                let client = UnixDatagram::unbound().unwrap();
                assert_eq!(client.try_send_to(b"ping", &path).unwrap(), 4);
                let (n, sender) = server.try_recv_from(&mut [0; 8]).unwrap();
                assert!(n == 4 && sender.is_unnamed());
                std::fs::remove_file(path).unwrap();
            }
        });
    });
}

#[test]
fn a_socket_without_clones_becomes_one_of_std() {
    use std::io::{Read, Write};

    no_hang(|| {
        gopark::block_on(async {
            let (client, server) = pair().await.unwrap();
            let clone = client.clone();
            let client = client.into_std().expect_err("it has a clone");
            drop(clone);
            let mut std = client.into_std().unwrap();
            // It is as the socket was: open, and non-blocking.
            let error = std.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            std.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).await.unwrap();
            // It can be registered again.
            let client = TcpStream::from_std(std).unwrap();
            let reads = go(async move { client.read(&mut [0; 8]).await });
            gopark::gosched().await;
            server.write_all(b"back").await.unwrap();
            assert_eq!(reads.await.unwrap().unwrap(), 4);
        });
    });
}

#[test]
fn a_vectored_read_of_the_traits_fills_each_buffer() {
    use gopark::io::AsyncRead;

    no_hang(|| {
        gopark::block_on(async {
            let (client, mut server) = pair().await.unwrap();
            client.write_all(b"hello").await.unwrap();
            let (mut first, mut second) = ([0; 2], [0; 8]);
            let n = std::future::poll_fn(|cx| {
                let mut buffers =
                    [io::IoSliceMut::new(&mut first), io::IoSliceMut::new(&mut second)];
                std::pin::Pin::new(&mut server).poll_read_vectored(cx, &mut buffers)
            });
            assert_eq!(n.await.unwrap(), 5);
            assert_eq!((&first, &second[..3]), (b"he", &b"llo"[..]));
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_address_has_no_file_and_is_free_after_the_last_handle() {
    use gopark::net::UnixListener;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    no_hang(|| {
        gopark::block_on(async {
            let name = format!("gopark-abstract-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(name).unwrap();
            for _ in 0..2 {
                let listener = UnixListener::bind_addr(&address).unwrap();
                let error = UnixListener::bind_addr(&address).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
                let nothing = listener.try_accept().unwrap_err();
                assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
                let client = UnixStream::connect_addr(&address).await.unwrap();
                let (server, _) = listener.try_accept().unwrap();
                client.write_all(b"x").await.unwrap();
                server.read_exact(&mut [0]).await.unwrap();
                let name = client.peer_addr().unwrap();
                assert_eq!(name.as_abstract_name(), address.as_abstract_name());
            }
            let error = UnixStream::connect_addr(&address).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    });
}
